"""The operations on a metric, each once made from its configuration (component C5).

An operation takes a metric and its kind and returns nothing; what it removes it reports to `Gone`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from mlsysops_pipeline.metrics.exponential import SCALE_MAX, SCALE_MIN
from mlsysops_processors.metrics_transform import labels
from mlsysops_processors.metrics_transform.aggregation import aggregate, whole
from mlsysops_processors.metrics_transform.config import with_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_processors.metrics_transform.config import OperationConfig
    from mlsysops_processors.metrics_transform.matching import Matcher


class Gone:
    """Points that operations removed: ``aggregated`` into others, ``deleted``; and ``created``."""

    __slots__ = ("aggregated", "created", "deleted")

    def __init__(self) -> None:
        self.aggregated = 0
        self.deleted = 0
        self.created = 0


_OFFSET_MIN, _OFFSET_MAX = -(1 << 31), (1 << 31) - 1

Operation: TypeAlias = "Callable[[Any, str, Gone], None]"

FOR_ALL_POINTS = frozenset(
    {"aggregate_labels", "aggregate_label_values", "add_label", "delete_label_value"}
)
"""What ``update`` does only to metrics all of whose points are meant."""


def make(config: OperationConfig, matcher: Matcher) -> Operation:
    """An operation. Those that are not `FOR_ALL_POINTS` look at ``matcher`` for every point."""
    return _MAKERS[config.action](config, matcher)


def _add_label(config: OperationConfig, matcher: Matcher) -> Operation:  # noqa: ARG001  of all
    label, value = config.new_label.encode(), with_version(config.new_value)

    def operate(metric: Any, kind: str, gone: Gone) -> None:  # noqa: ARG001  of all
        for point in getattr(metric, kind).data_points:
            labels.put(point.attributes, label, value)

    return operate


def _update_label(config: OperationConfig, matcher: Matcher) -> Operation:
    label, new_label = config.label.encode(), config.new_label.encode()
    values = {one.value.encode(): with_version(one.new_value) for one in config.value_actions}

    def operate(metric: Any, kind: str, gone: Gone) -> None:  # noqa: ARG001  of all
        for point in getattr(metric, kind).data_points:
            pair = labels.find(point, label)
            if pair is None or not matcher.has_labels(point):
                continue
            if new_label and new_label != label:
                pair.key = new_label
                pair = labels.remove_others(point, pair)
            if pair.value.WhichOneof("value") == "string_value":
                new_value = values.get(pair.value.string_value)
                if new_value is not None:
                    pair.value.string_value = new_value

    return operate


def _delete_label_value(config: OperationConfig, matcher: Matcher) -> Operation:  # noqa: ARG001  of all
    label, value = config.label.encode(), config.label_value.encode()

    def operate(metric: Any, kind: str, gone: Gone) -> None:
        points = getattr(metric, kind).data_points
        kept = []
        for point in points:
            pair = labels.find(point, label)
            if pair is None or labels.text_of(pair) != value:
                kept.append(point)
        if len(kept) < len(points):
            gone.deleted += len(points) - len(kept)
            del points[:]
            points.extend(kept)

    return operate


def _toggle(config: OperationConfig, matcher: Matcher) -> Operation:  # noqa: ARG001  of all
    def operate(metric: Any, kind: str, gone: Gone) -> None:  # noqa: ARG001  of all
        if kind not in {"gauge", "sum"}:
            return
        for point in getattr(metric, kind).data_points:
            if not matcher.has_labels(point):
                continue
            number = point.WhichOneof("value")
            if number == "as_int":
                point.as_double = float(point.as_int)
            elif number == "as_double" and math.isfinite(point.as_double):
                point.as_int = whole(point.as_double)

    return operate


def _scale(config: OperationConfig, matcher: Matcher) -> Operation:
    scale = config.experimental_scale

    def operate(metric: Any, kind: str, gone: Gone) -> None:  # noqa: ARG001  of all
        change = _SCALERS.get(kind)
        if change is not None:
            for point in getattr(metric, kind).data_points:
                if matcher.has_labels(point):
                    change(point, scale)

    return operate


def _scale_number(point: Any, scale: float) -> None:
    number = point.WhichOneof("value")
    if number == "as_int":
        point.as_int = whole(point.as_int * scale)
    elif number == "as_double":
        point.as_double *= scale


def _scale_histogram(point: Any, scale: float) -> None:
    """Bounds have to ascend: with a negative scale all is the other way round."""
    _scale_rest(point, scale)
    bounds = [bound * scale for bound in point.explicit_bounds]
    if scale < 0:
        bounds.reverse()
        point.bucket_counts[:] = list(point.bucket_counts)[::-1]
    point.explicit_bounds[:] = bounds


def _scale_exponential(point: Any, scale: float) -> None:
    """Buckets move by whole ones, so they are right to half a bucket; count and sum are exact."""
    if not SCALE_MIN <= point.scale <= SCALE_MAX:
        return
    _scale_rest(point, scale)
    shift = round(math.log2(abs(scale)) * 2.0**point.scale)
    point.zero_threshold *= abs(scale)
    for buckets in (point.positive, point.negative):
        buckets.offset = min(max(buckets.offset + shift, _OFFSET_MIN), _OFFSET_MAX)
    if scale < 0:
        positive = type(point.positive)()
        positive.CopyFrom(point.positive)
        point.positive.CopyFrom(point.negative)
        point.negative.CopyFrom(positive)


def _scale_rest(point: Any, scale: float) -> None:
    """Sum and extremes."""
    if point.HasField("sum"):
        point.sum *= scale
    low, high = (
        getattr(point, name) * scale if point.HasField(name) else None for name in ("min", "max")
    )
    if scale < 0:
        low, high = high, low
    for name, value in (("min", low), ("max", high)):
        if value is None:
            point.ClearField(name)
        else:
            setattr(point, name, value)


_SCALERS: dict[str, Callable[[Any, float], None]] = {
    "gauge": _scale_number,
    "sum": _scale_number,
    "histogram": _scale_histogram,
    "exponential_histogram": _scale_exponential,
}


def _aggregate_labels(config: OperationConfig, matcher: Matcher) -> Operation:  # noqa: ARG001  of all
    kept = frozenset(label.encode() for label in config.label_set)

    def operate(metric: Any, kind: str, gone: Gone) -> None:
        if kind == "summary":  # which cannot be put together, and would have equal series
            return
        for point in getattr(metric, kind).data_points:
            labels.keep(point, kept)
        gone.aggregated += aggregate(metric, kind, config.aggregation_type)

    return operate


def _aggregate_label_values(config: OperationConfig, matcher: Matcher) -> Operation:  # noqa: ARG001  of all
    label, new_value = config.label.encode(), with_version(config.new_value)
    values = frozenset(value.encode() for value in config.aggregated_values)

    def operate(metric: Any, kind: str, gone: Gone) -> None:
        if kind == "summary":  # as above
            return
        for point in getattr(metric, kind).data_points:
            pair = labels.find(point, label)
            if (
                pair is not None
                and pair.value.WhichOneof("value") == "string_value"
                and pair.value.string_value in values
            ):
                pair.value.string_value = new_value
        gone.aggregated += aggregate(metric, kind, config.aggregation_type)

    return operate


_MAKERS: dict[str, Callable[[OperationConfig, Matcher], Operation]] = {
    "add_label": _add_label,
    "update_label": _update_label,
    "delete_label_value": _delete_label_value,
    "toggle_scalar_data_type": _toggle,
    "experimental_scale_value": _scale,
    "aggregate_labels": _aggregate_labels,
    "aggregate_label_values": _aggregate_label_values,
}
