"""From serialized OTLP metrics requests to points of canonical Prometheus series (A7).

Telemetry repeats itself: what a resource, a scope, a metric and the attributes of a point are in
Prometheus is found out once and remembered by their bytes. The bytes are a key to the series, not
its identity: see `points`.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse
from mlsysops_pipeline.pdata.wire import length_prefix
from mlsysops_pipeline.prometheus.context import CUMULATIVE, Contexts
from mlsysops_pipeline.prometheus.labels import make_labels, read_attributes
from mlsysops_pipeline.prometheus.names import Kind, Strategy
from mlsysops_pipeline.prometheus.points import (
    Cause,
    Exponentials,
    Family,
    Histograms,
    Numbers,
    S,
    Summaries,
    Type,
)
from mlsysops_pipeline.prometheus.reading import (
    NAN,
    Unfit,
    exponential,
    histogram,
    number,
    open_point,
    read_exemplars,
    summary,
)
from mlsysops_pipeline.prometheus.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mlsysops_pipeline.prometheus.context import Metric, Resource, Scope
    from mlsysops_pipeline.prometheus.points import (
        Batch,
        Exemplar,
        ExponentialPoint,
        HistogramPoint,
        Labels,
        NumberPoint,
        SummaryPoint,
    )

_START_TAG, _TIME_TAG, _INT_TAG = 0x11, 0x19, 0x31
_VALUE_TAGS = frozenset({0x21, _INT_TAG})
"""What stands before the fields of a ``NumberDataPoint`` that have eight bytes."""
_ATTRIBUTES = 7
"""The number of its field for attributes."""
_unpack_started = struct.Struct("<BQBQBd").unpack_from
_unpack_unstarted = struct.Struct("<BQBd").unpack_from
_unpack_int = struct.Struct("<q").unpack_from
_NUMBERS = frozenset({Kind.GAUGE, Kind.COUNTER, Kind.UP_DOWN_COUNTER})
_SERIES_OVERHEAD_BYTES = 250
"""What a remembered series takes beside its key and the text of its labels."""

BATCH_POINTS_MAX = 1_000

TARGET_INFO = Family("target_info", Kind.GAUGE, Type.INFO, help_="Target metadata", unit="")
"""The family of target infos, always this object: compare with ``is``."""

CACHE_BYTES = 128 << 20
"""What a translator may remember unless told otherwise: about 200,000 series."""

S_co = TypeVar("S_co", covariant=True)
P = TypeVar("P")


class _Timed(Protocol):
    timestamp_ns: int


class MakeSeries(Protocol[S_co]):
    """Makes what a caller calls a series. Called when one is seen that is not (or no longer) known.

    The same family name and labels can be asked for again: after other descriptions, after
    attributes in another order, or after the cache forgot. Must not raise.
    """

    def __call__(self, family: Family, labels: Labels, /) -> S_co:
        """The series of a family with these labels."""


@dataclass(frozen=True, slots=True)
class Options:
    """How requests are translated.

    ``has_scope_labels``: put ``otel_scope_*`` on every series (PO-13). ``has_target_info``: give a
    ``target_info`` for each resource that has more attributes than those of the service (PO-14).
    ``takes_deltas``: the caller adds up deltas; they are dropped otherwise (PO-6).
    ``resource_labels``: says which resource attributes become labels of every series, by key; of a
    point that has the same attribute, its own counts.
    ``cache_bytes_max``: memory for what is known of series.
    """

    strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES
    namespace: str = ""
    has_scope_labels: bool = True
    has_target_info: bool = True
    takes_deltas: bool = False
    resource_labels: Callable[[str], bool] | None = None
    cache_bytes_max: int = CACHE_BYTES


class Translator(Generic[S]):
    """Translates requests of many senders, remembering their series.

    ``report`` is told how many points were dropped for which cause, with the metric's name in OTLP.
    """

    def __init__(
        self,
        options: Options,
        make_series: MakeSeries[S],
        report: Callable[[Cause, int, str], None],
    ) -> None:
        self._options = options
        self._make_series = make_series
        self._report = report
        self._contexts: Contexts[S] = Contexts(
            strategy=options.strategy,
            namespace=options.namespace,
            has_scope_labels=options.has_scope_labels,
            takes_deltas=options.takes_deltas,
            resource_labels=options.resource_labels,
            bytes_max=options.cache_bytes_max // 4,
        )
        self._series: Recent[bytes, S] = Recent(options.cache_bytes_max * 3 // 4)

    def translate(self, wire: bytes) -> Iterator[Batch[S]]:
        """The points of one request, in its order, in batches of at most 1,000 points.

        Target infos come last, one for each job and instance (PO-14); another one with the same
        job and instance, in whatever request, replaces the one before.

        Raises `MalformedError` at once if the bytes are no request. A malformed point costs only
        itself. Other requests may be translated between two batches.
        """
        return self._batches(parse(Signal.METRICS, Depth.RECORD, wire))

    def _batches(self, request: Any) -> Iterator[Batch[S]]:
        targets: dict[tuple[str, str], tuple[Resource[S], int]] = {}
        for group in request.resource_metrics:
            try:
                resource = self._contexts.resource(group)
            except MalformedError:
                self._drop_scopes(group.scope_metrics)
                continue
            newest = 0
            for scoped in group.scope_metrics:
                try:
                    scope = self._contexts.scope(scoped, resource)
                except MalformedError:
                    self._drop_scopes([scoped])
                    continue
                for metric in scoped.metrics:
                    found, wires = self._open(metric)
                    for chunk in self._chunks(found, wires):
                        batch, time = self._batch(found, scope, chunk)
                        newest = max(newest, time)
                        if batch.points:
                            yield batch
            if newest and resource.target:
                targets[resource.identity] = (resource, newest)
        if targets and self._options.has_target_info:
            yield Numbers(TARGET_INFO, [self._target(*target) for target in targets.values()])

    def _open(self, metric: Any) -> tuple[Metric, Any]:
        """What a metric is, and its serialized points."""
        # A oneof: one of these is set at most. Asking for each is cheaper than asking for which.
        if metric.HasField("gauge"):
            data, kind, temporality = metric.gauge, Kind.GAUGE, CUMULATIVE
        elif metric.HasField("sum"):
            data = metric.sum
            kind = Kind.COUNTER if data.is_monotonic else Kind.UP_DOWN_COUNTER
            temporality = data.aggregation_temporality
        elif metric.HasField("histogram"):
            data, kind = metric.histogram, Kind.HISTOGRAM
            temporality = data.aggregation_temporality
        elif metric.HasField("exponential_histogram"):
            data, kind = metric.exponential_histogram, Kind.EXPONENTIAL_HISTOGRAM
            temporality = data.aggregation_temporality
        elif metric.HasField("summary"):
            data, kind, temporality = metric.summary, Kind.SUMMARY, CUMULATIVE
        else:
            self._report(Cause.NO_DATA, 0, metric.name.decode(errors="replace"))
            return self._contexts.metric(metric, Kind.GAUGE, CUMULATIVE), ()
        return self._contexts.metric(metric, kind, temporality), data.data_points

    def _chunks(self, metric: Metric, wires: Any) -> Iterable[Any]:
        """The points of a metric in batches, unless they are dropped."""
        if metric.cause is not None:
            if wires:
                self._report(metric.cause, len(wires), metric.otlp_name)
            return ()
        count = len(wires)
        if count <= BATCH_POINTS_MAX:
            return (wires,)
        return (wires[at : at + BATCH_POINTS_MAX] for at in range(0, count, BATCH_POINTS_MAX))

    def _drop_scopes(self, groups: Iterable[Any]) -> None:
        """Report every point of ``ScopeMetrics`` whose resource or scope cannot be read."""
        for group in groups:
            for metric in group.metrics:
                found, wires = self._open(metric)
                if wires:
                    self._report(Cause.MALFORMED, len(wires), found.otlp_name)

    def _batch(self, metric: Metric, scope: Scope, wires: Any) -> tuple[Batch[S], int]:
        """The points of a chunk, and the newest time among them."""
        kind = metric.family.kind
        if kind in _NUMBERS:
            return self._numbers(metric, scope, wires)
        if kind is Kind.HISTOGRAM:
            histograms = self._points(metric, scope, wires, "HistogramDataPoint", self._histogram)
            return Histograms(metric.family, histograms), _newest(histograms)
        if kind is Kind.EXPONENTIAL_HISTOGRAM:
            name = "ExponentialHistogramDataPoint"
            exponentials = self._points(metric, scope, wires, name, self._exponential)
            return Exponentials(metric.family, exponentials), _newest(exponentials)
        summaries = self._points(metric, scope, wires, "SummaryDataPoint", self._summary)
        return Summaries(metric.family, summaries), _newest(summaries)

    def _numbers(self, metric: Metric, scope: Scope, wires: Any) -> tuple[Numbers[S], int]:
        """The points of a gauge or sum: the hot path.

        Encoders write fields in the order of their numbers: start, time and value, each in nine
        bytes, and then what repeats with the series. So a point is taken apart without being
        opened, and the rest of it is the key to its series. Whatever does not look like that is
        opened.
        """
        prefix = scope.mark + metric.mark
        known = self._series.get
        points: list[NumberPoint[S]] = []
        newest = malformed = 0
        for wire in wires:
            try:
                if wire[0] == _START_TAG:
                    _, start, tag, time, value_tag, value = _unpack_started(wire)
                    rest = wire[27:]
                else:
                    tag, time, value_tag, value = _unpack_unstarted(wire)
                    start = 0
                    rest = wire[18:]
                if tag == _TIME_TAG and value_tag in _VALUE_TAGS:
                    if value_tag == _INT_TAG:
                        value = float(_unpack_int(wire, len(wire) - len(rest) - 8)[0])
                    elif value != value:  # noqa: PLR0124  NaN, at a third of a call's cost
                        value = NAN
                    series = known(prefix + rest)
                    if series is None:
                        series = self._learn(rest, metric, scope)
                    if series is not None:
                        points.append((series, time, start, value, ()))
                        if time > newest:  # noqa: PLR1730  at a third of a call's cost
                            newest = time
                        continue
            except (IndexError, struct.error):
                pass  # too short to look like that
            except MalformedError:
                malformed += 1
                continue
            try:
                point = self._number(wire, metric, scope)
            except MalformedError:
                malformed += 1
            else:
                points.append(point)
                newest = max(newest, point[1])
        if malformed:
            self._report(Cause.MALFORMED, malformed, metric.otlp_name)
        return Numbers(metric.family, points), newest

    def _learn(self, rest: bytes, metric: Metric, scope: Scope) -> S | None:
        """The series of a point, given what follows its value; ``None`` if there is more to it."""
        point = open_point("NumberDataPoint", rest)
        fields = point.ListFields()
        if len(fields) > 1 or (fields and fields[0][0].name != "attributes"):
            return None
        return self._make(scope.mark + metric.mark + rest, point.attributes, metric, scope)

    def _number(self, wire: bytes, metric: Metric, scope: Scope) -> NumberPoint[S]:
        point = open_point("NumberDataPoint", wire)
        series = self._series_of(point.attributes, metric, scope)
        exemplars: tuple[Exemplar, ...] = ()
        if point.exemplars and metric.family.kind is Kind.COUNTER:
            exemplars = read_exemplars(point.exemplars, self._options.strategy)
        return number(point, series, exemplars)

    def _points(
        self,
        metric: Metric,
        scope: Scope,
        wires: Any,
        name: str,
        read: Callable[[Any, S, Metric], P],
    ) -> list[P]:
        """The points of a metric of another kind."""
        points: list[P] = []
        dropped: Counter[Cause] = Counter()
        for wire in wires:
            try:
                point = open_point(name, wire)
                series = self._series_of(point.attributes, metric, scope)
                points.append(read(point, series, metric))
            except MalformedError:
                dropped[Cause.MALFORMED] += 1
            except Unfit as unfit:
                dropped[unfit.cause] += 1
        for cause, count in dropped.items():
            self._report(cause, count, metric.otlp_name)
        return points

    def _histogram(self, point: Any, series: S, metric: Metric) -> HistogramPoint[S]:
        found = histogram(point, series, self._exemplars(point))
        if found.bounds == metric.bounds:
            found.bounds = metric.bounds
        else:
            metric.bounds = found.bounds
        return found

    def _exponential(self, point: Any, series: S, _: Metric) -> ExponentialPoint[S]:
        return exponential(point, series, self._exemplars(point))

    def _summary(self, point: Any, series: S, _: Metric) -> SummaryPoint[S]:
        return summary(point, series)

    def _exemplars(self, point: Any) -> tuple[Exemplar, ...]:
        wires = point.exemplars
        return read_exemplars(wires, self._options.strategy) if wires else ()

    def _series_of(self, attributes: Any, metric: Metric, scope: Scope) -> S:
        """The series of opened points, by the same key under which `_learn` knows it."""
        key = b"".join((scope.mark, metric.mark, *map(_framed, attributes)))
        series = self._series.get(key)
        return self._make(key, attributes, metric, scope) if series is None else series

    def _make(self, key: bytes, attributes: Any, metric: Metric, scope: Scope) -> S:
        own = read_attributes(attributes)
        labels = make_labels(
            {**scope.shared, **own} if scope.shared else own,
            scope.fixed,
            self._options.strategy,
            metric.reserved,
        )
        series = self._make_series(metric.family, labels)
        text = sum([len(name) + len(value) for name, value in labels])
        self._series.put(key, series, len(key) + text + _SERIES_OVERHEAD_BYTES)
        return series

    def _target(self, resource: Resource[S], time: int) -> NumberPoint[S]:
        series = resource.target_series
        if series is None:
            labels = make_labels(resource.target, resource.fixed, self._options.strategy)
            series = resource.target_series = self._make_series(TARGET_INFO, labels)
        return (series, time, 0, 1.0, ())

    def __repr__(self) -> str:
        return f"<Translator series={len(self._series)} bytes={self.bytes}>"

    @property
    def bytes(self) -> int:
        """The memory of what is remembered, about."""
        return self._series.bytes + self._contexts.bytes


def _framed(attribute: bytes) -> bytes:
    return length_prefix(_ATTRIBUTES, len(attribute)) + attribute


def _newest(points: Sequence[_Timed]) -> int:
    return max([point.timestamp_ns for point in points], default=0)
