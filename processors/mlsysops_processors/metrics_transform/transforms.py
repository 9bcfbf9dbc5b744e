"""The actions on the metrics of one scope (component C5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.metrics.walking import remove
from mlsysops_processors.metrics_transform import labels
from mlsysops_processors.metrics_transform.aggregation import aggregate
from mlsysops_processors.metrics_transform.matching import Matcher
from mlsysops_processors.metrics_transform.operations import FOR_ALL_POINTS, Gone, make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlsysops_processors.metrics_transform.config import TransformConfig


class Transform:
    """One entry of ``transforms``. ``warn`` is told why metrics could not be combined."""

    def __init__(self, config: TransformConfig, warn: Callable[[str], None]) -> None:
        self._config = config
        self._warn = warn
        self._new_name = config.new_name.encode()
        self.matcher = Matcher(config)
        self._operations = [
            (operation.action in FOR_ALL_POINTS, make(operation, self.matcher))
            for operation in config.operations
        ]
        self._actions = {
            "update": self._update,
            "insert": self._insert,
            "combine": self._combine,
        }

    @property
    def is_group(self) -> bool:
        """Whether metrics are moved to another resource, by `group`."""
        return self._config.action == "group"

    def run(self, block: Any, gone: Gone) -> bool:
        """Change the metrics of a scope; whether any was meant."""
        return self._actions[self._config.action](block.metrics, gone)

    def group(self, group: Any, block: Any, request: Any) -> None:
        """Move the metrics that are meant to a new resource, which is made in any case."""
        moved = request.resource_metrics.add()
        moved.resource.CopyFrom(group.resource)
        for label, text in self._config.group_resource_labels.items():
            labels.put(moved.resource.attributes, label.encode(), text.encode())
        target = moved.scope_metrics.add()
        target.scope.CopyFrom(block.scope)
        for message, source in ((moved, group), (target, block)):
            if source.HasField("schema_url"):
                message.schema_url = source.schema_url
        target.metrics.extend(self._extract(block.metrics))

    def _update(self, metrics: Any, gone: Gone) -> bool:
        emptied = []
        has_matched = False
        for index, metric in enumerate(metrics):
            if self.matcher.matches(metric):
                has_matched = True
                is_whole = self.matcher.matches_all(metric)
                if not self._transform(metric, gone, is_whole=is_whole):
                    emptied.append(index)
        if emptied:
            remove(metrics, emptied)
        return has_matched

    def _insert(self, metrics: Any, gone: Gone) -> bool:
        matched = [metric for metric in metrics if self.matcher.matches(metric)]
        for metric in matched:
            copy = type(metric)()
            copy.CopyFrom(metric)
            if self.matcher.needs_labels:
                self._split(copy)
            gone.created += len(labels.points_of(copy))
            if self._transform(copy, gone, is_whole=True):
                metrics.append(copy)
        return bool(matched)

    def _combine(self, metrics: Any, gone: Gone) -> bool:
        matched = [metric for metric in metrics if self.matcher.matches(metric)]
        if not matched:
            return False
        reason = _why_not(matched)
        if reason:
            self._warn(reason)
            return False
        extracted = self._extract(metrics)
        for metric in extracted:
            self._label_by_name(metric)
        combined = extracted[0]
        kind = combined.WhichOneof("data")
        combined.name = self._new_name
        for other in extracted[1:]:
            if kind is not None:
                getattr(combined, kind).data_points.extend(getattr(other, kind).data_points)
        if self._config.aggregation_type and kind is not None:
            gone.aggregated += aggregate(combined, kind, self._config.aggregation_type)
        if self._transform(combined, gone, is_whole=True):
            metrics.append(combined)
        return True

    def _label_by_name(self, metric: Any) -> None:
        case = self._config.submatch_case
        for label, text in self.matcher.labels_of(metric.name):
            value = text.lower() if case == "lower" else text.upper() if case == "upper" else text
            for point in labels.points_of(metric):
                labels.put(point.attributes, label, value)

    def _transform(self, metric: Any, gone: Gone, *, is_whole: bool) -> bool:
        """Rename a metric and operate on it; whether it stays.

        ``is_whole``: all of its points are meant.
        """
        if self._new_name and is_whole:
            metric.name = self.matcher.renamed(metric.name, self._new_name)
        kind = metric.WhichOneof("data")
        if not self._operations or kind is None:
            return True
        points = getattr(metric, kind).data_points
        if not points:
            return True
        for needs_all, operate in self._operations:
            if is_whole or not needs_all:
                operate(metric, kind, gone)
        return bool(points)

    def _extract(self, metrics: Any) -> list[Any]:
        """Take out the metrics that are meant; points that are not stay where they are."""
        found = []
        emptied = []
        for index, metric in enumerate(metrics):
            if not self.matcher.matches(metric):
                continue
            copy = type(metric)()
            copy.CopyFrom(metric)
            found.append(copy)
            if self.matcher.needs_labels and self._split(copy):
                points = labels.points_of(metric)
                rest = [point for point in points if not self.matcher.has_labels(point)]
                del points[:]
                points.extend(rest)
            else:
                emptied.append(index)
        if emptied:
            remove(metrics, emptied)
        return found

    def _split(self, metric: Any) -> bool:
        """Leave a metric only the points that are meant; whether others were among them."""
        points = labels.points_of(metric)
        kept = [point for point in points if self.matcher.has_labels(point)]
        if len(kept) == len(points):
            return False
        del points[:]
        points.extend(kept)
        return True


def _why_not(metrics: Sequence[Any]) -> str:
    """Why metrics cannot be combined; nothing if they can."""
    first = metrics[0]
    name = _text(first.name)
    kind = first.WhichOneof("data")
    keys = _keys(first)
    for metric in metrics:
        other = _text(metric.name)
        if metric.WhichOneof("data") == "summary":
            return f"Summary metrics cannot be combined: {other}"
        if metric.WhichOneof("data") != kind:
            return f"metrics cannot be combined as they are of different types: {name} and {other}"
        if metric.unit != first.unit:
            return f"metrics cannot be combined as they have different units: {name} and {other}"
        if _keys(metric) != keys:
            return (
                f"metrics cannot be combined as they have different attributes: {name} and {other}"
            )
        if kind is None or kind == "gauge":
            continue
        one, two = getattr(first, kind), getattr(metric, kind)
        if one.aggregation_temporality != two.aggregation_temporality:
            return (
                "metrics cannot be combined as they have different aggregation temporalities: "
                f"{name} and {other}"
            )
        if kind == "sum" and one.is_monotonic != two.is_monotonic:
            what = "different monotonicity"
            return f"metrics cannot be combined as they have {what}: {name} and {other}"
    return ""


def _keys(metric: Any) -> frozenset[bytes]:
    return frozenset(pair.key for point in labels.points_of(metric) for pair in point.attributes)


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
