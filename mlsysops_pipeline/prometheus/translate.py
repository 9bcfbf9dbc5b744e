"""From serialized OTLP metrics requests to points of canonical Prometheus series (A7).

Telemetry repeats itself: what a resource, a scope, a metric and the attributes of a point are in
Prometheus is found out once and remembered by their bytes. The bytes are a key to the series, not
its identity: see `points`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, view
from mlsysops_pipeline.prometheus.context import CUMULATIVE, Contexts
from mlsysops_pipeline.prometheus.labels import make_labels
from mlsysops_pipeline.prometheus.names import Kind, Strategy
from mlsysops_pipeline.prometheus.numbers import NumberReader
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
    Unfit,
    exponential,
    histogram,
    open_point,
    read_exemplars,
    summary,
)
from mlsysops_pipeline.prometheus.series import MakeSeries, SeriesIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mlsysops_pipeline.prometheus.context import Metric, Resource, Scope
    from mlsysops_pipeline.prometheus.points import (
        Batch,
        Exemplar,
        ExponentialPoint,
        HistogramPoint,
        NumberPoint,
        SummaryPoint,
    )

__all__ = [
    "BATCH_POINTS_MAX",
    "CACHE_BYTES",
    "NEW_POINTS_MAX",
    "TARGET_INFO",
    "MakeSeries",
    "Options",
    "Translator",
]

_NUMBERS = frozenset({Kind.GAUGE, Kind.COUNTER, Kind.UP_DOWN_COUNTER})
_time_of = itemgetter(1)

BATCH_POINTS_MAX = 1_000
NEW_POINTS_MAX = 25
"""Points of a batch whose series may have to be made, which takes up to 150 us each."""

TARGET_INFO = Family("target_info", Kind.GAUGE, Type.INFO, help_="Target metadata", unit="")
"""The family of target infos, always this object: compare with ``is``."""

CACHE_BYTES = 160 << 20
"""What a translator may remember unless told otherwise: about 200,000 series."""

P = TypeVar("P")


class _Timed(Protocol):
    timestamp_ns: int


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
        memory = options.cache_bytes_max
        self._options = options
        self._make_series = make_series
        self._report = report
        self._contexts: Contexts[S] = Contexts(
            strategy=options.strategy,
            namespace=options.namespace,
            has_scope_labels=options.has_scope_labels,
            takes_deltas=options.takes_deltas,
            resource_labels=options.resource_labels,
            bytes_max=memory // 8,
        )
        self._series = SeriesIndex(make_series, options.strategy, memory * 3 // 4)
        self._numbers = NumberReader(self._series, options.strategy, report, memory // 8)
        self._open_metric = view(Signal.METRICS, Depth.RECORD, "Metric").FromString

    def translate(self, wire: bytes) -> Iterator[Batch[S]]:
        """The points of one request, in its order, in batches of at most 1,000 points.

        Of at most 25 where their series may be new, so that a batch does not take long.

        Target infos come last, one for each job and instance (PO-14); another one with the same
        job and instance, in whatever request, replaces the one before.

        Raises `MalformedError` at once if the bytes are no request. A malformed point costs only
        itself. Other requests may be translated between two batches.
        """
        return self._batches(parse(Signal.METRICS, Depth.SCOPE, wire))

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
                for wire in scoped.metrics:
                    known = self._numbers.known(wire, scope)
                    if known is not None and len(known.points) <= BATCH_POINTS_MAX:
                        if known.points:
                            if resource.target:
                                newest = max(newest, _newest(known))
                            yield known
                        continue
                    for batch in _split(known) if known else self._unknown(wire, scope):
                        newest = max(newest, _newest(batch))
                        yield batch
            if newest and resource.target:
                targets[resource.identity] = (resource, newest)
        if targets and self._options.has_target_info:
            yield Numbers(TARGET_INFO, [self._target(*target) for target in targets.values()])

    def _unknown(self, wire: bytes, scope: Scope) -> Iterator[Batch[S]]:
        """The batches of any metric."""
        try:
            metric, wires = self._open(self._open_metric(wire))
        except DecodeError:
            self._report(Cause.MALFORMED, 0, "")
            return
        count = len(wires)
        if metric.cause is not None:
            if count:
                self._report(metric.cause, count, metric.otlp_name)
            return
        if count and metric.family.kind in _NUMBERS:
            self._numbers.learn(wire, metric)
        for at in range(0, count, NEW_POINTS_MAX):
            batch = self._batch(metric, scope, wires[at : at + NEW_POINTS_MAX])
            if batch.points:
                yield batch

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

    def _drop_scopes(self, groups: Iterable[Any]) -> None:
        """Report every point of ``ScopeMetrics`` whose resource or scope cannot be read."""
        for group in groups:
            for wire in group.metrics:
                try:
                    metric, points = self._open(self._open_metric(wire))
                except DecodeError:
                    self._report(Cause.MALFORMED, 0, "")
                else:
                    if points:
                        self._report(Cause.MALFORMED, len(points), metric.otlp_name)

    def _batch(self, metric: Metric, scope: Scope, wires: Sequence[bytes]) -> Batch[S]:
        """The points of a metric that was opened."""
        family = metric.family
        if family.kind in _NUMBERS:
            return Numbers(family, self._numbers.read(wires, metric, scope))
        if family.kind is Kind.HISTOGRAM:
            name = "HistogramDataPoint"
            return Histograms(family, self._points(metric, scope, wires, name, self._histogram))
        if family.kind is Kind.EXPONENTIAL_HISTOGRAM:
            name = "ExponentialHistogramDataPoint"
            return Exponentials(family, self._points(metric, scope, wires, name, self._exponential))
        name = "SummaryDataPoint"
        return Summaries(family, self._points(metric, scope, wires, name, self._summary))

    def _points(
        self,
        metric: Metric,
        scope: Scope,
        wires: Iterable[bytes],
        name: str,
        read: Callable[[Any, S, Metric], P],
    ) -> list[P]:
        """The points of a metric of another kind."""
        points: list[P] = []
        dropped: Counter[Cause] = Counter()
        for wire in wires:
            try:
                point = open_point(name, wire)
                series = self._series.of(point.attributes, metric, scope)
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
        return self._series.bytes + self._contexts.bytes + self._numbers.bytes


def _split(batch: Numbers[S]) -> Iterator[Numbers[S]]:
    for at in range(0, len(batch.points), BATCH_POINTS_MAX):
        yield Numbers(batch.family, batch.points[at : at + BATCH_POINTS_MAX])


def _newest(batch: Batch[Any]) -> int:
    """The latest time in a batch that is not empty."""
    if isinstance(batch, Numbers):
        newest: int = max(map(_time_of, batch.points))
        return newest
    times: Iterable[_Timed] = batch.points
    return max(point.timestamp_ns for point in times)
