"""From serialized OTLP metrics requests to points of canonical Prometheus series (A7).

Telemetry repeats itself: what a resource, a scope, a metric and the attributes of a point are in
Prometheus is found out once and remembered by their bytes. The bytes are a key to the series, not
its identity: see `points`.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
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
    Columns,
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
    plain_bytes,
    read_exemplars,
    summary,
)
from mlsysops_pipeline.prometheus.series import MakeSeries, SeriesIndex
from mlsysops_pipeline.prometheus.singles import Singles, find_cut

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
_HIGH_BYTES = (0x7F, 0xFF)
"""The last byte of doubles that may be no numbers, and of other very large ones."""

BATCH_POINTS_MAX = 1_000
NEW_POINTS_MAX = 25
"""Points of a batch whose series may have to be made, which takes up to 150 us each."""

TARGET_INFO = Family("target_info", Kind.GAUGE, Type.INFO, help_="Target metadata", unit="")
"""The family of target infos, always this object: compare with ``is``."""

CACHE_BYTES = 224 << 20
"""What a translator may remember unless told otherwise: over 200,000 series, each a metric of its
own, or of 70,000 metrics that have several. It takes as much as there is to remember."""

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
    ``has_details``: whether `Columns` say families and start times, which takes time and memory.
    ``cache_bytes_max``: memory for what is known of series.
    """

    strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES
    namespace: str = ""
    has_scope_labels: bool = True
    has_target_info: bool = True
    takes_deltas: bool = False
    resource_labels: Callable[[str], bool] | None = None
    has_details: bool = True
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
            bytes_max=memory * 3 // 16,
        )
        self._series = SeriesIndex(make_series, options.strategy, memory // 2)
        self._singles = Singles(
            self._series, has_details=options.has_details, plans_bytes_max=memory // 32
        )
        self._numbers = NumberReader(
            self._series,
            options.strategy,
            report,
            has_details=options.has_details,
            outlines_bytes_max=memory * 9 // 32,
        )
        self._open_metric = view(Signal.METRICS, Depth.RECORD, "Metric").FromString

    def translate(self, wire: bytes) -> Iterator[Batch[S]]:
        """As `columns`, but all points in batches of one family. Needs `has_details`."""
        return _by_family(self.columns(wire))

    def columns(self, wire: bytes) -> Iterator[Columns[S] | Batch[S]]:
        """The points of one request, in its order, in batches of at most 1,000 points.

        Of at most 25 where their series may be new, so that a batch does not take long.

        Target infos come last, one for each job and instance (PO-14); another one with the same
        job and instance, in whatever request, replaces the one before.

        Raises `MalformedError` at once if the bytes are no request. A malformed point costs only
        itself. Other requests may be translated between two batches.
        """
        return self._batches(parse(Signal.METRICS, Depth.SCOPE, wire))

    def _batches(self, request: Any) -> Iterator[Columns[S] | Batch[S]]:
        targets: dict[tuple[str, str], tuple[Resource[S], int]] = {}
        columns: Columns[S] = Columns()
        for group in request.resource_metrics:
            try:
                resource = self._contexts.resource(group)
            except MalformedError:
                self._drop_scopes(group.scope_metrics)
                continue
            newest, seen = 0, len(columns)
            for scoped in group.scope_metrics:
                try:
                    scope = self._contexts.scope(scoped, resource)
                except MalformedError:
                    self._drop_scopes([scoped])
                    continue
                for batch in self._scope(scoped.metrics, scope, columns):
                    newest = max(newest, *columns.times_ns[seen:], *_times(batch))
                    seen = 0
                    yield from _drain(columns)
                    if batch is not None:
                        yield batch
            newest = max(newest, *columns.times_ns[seen:], 0)
            if newest and resource.target:
                targets[resource.identity] = (resource, newest)
        yield from _drain(columns)
        if targets and self._options.has_target_info:
            yield Numbers(TARGET_INFO, [self._target(*target) for target in targets.values()])

    def _scope(
        self, metrics: Sequence[bytes], scope: Scope, columns: Columns[S]
    ) -> Iterator[Batch[S] | None]:
        """Put the points of a scope into the columns.

        Those that cannot be there are given in batches, before which the columns have to be
        drained. So they have for ``None``.
        """
        for first in range(0, len(metrics), BATCH_POINTS_MAX):
            piece = metrics[first : first + BATCH_POINTS_MAX]
            if self._singles.take_all(piece, first, scope, columns):
                if len(columns) >= BATCH_POINTS_MAX:
                    yield None
                continue
            wires = iter(piece)
            opened, are_single = 0, True
            while (wire := self._singles.take(wires, scope, columns)) is not None:
                are_single = False
                for one in self._numbers.take(chain((wire,), wires), scope, columns):
                    if isinstance(one, bytes):
                        yield from self._unknown(one, scope, columns)
                        opened += 1
                        if opened % NEW_POINTS_MAX == 0:
                            yield None
                    elif one is None:
                        yield None
                    else:
                        yield from _split(one)
            if are_single:
                self._singles.plan(piece, first, scope)
            if len(columns) >= BATCH_POINTS_MAX:
                yield None

    def _unknown(self, wire: bytes, scope: Scope, columns: Columns[S]) -> Iterator[Batch[S]]:
        """The points of any metric: in the columns, or in batches."""
        cut = find_cut(wire)
        if cut is not None and self._singles.find(wire, cut, scope, columns):
            return
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
        if cut is not None:
            try:
                self._singles.learn(wire, cut, metric, scope, columns)
            except MalformedError:
                self._report(Cause.MALFORMED, 1, metric.otlp_name)
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
        parts = (self._series, self._singles, self._contexts, self._numbers)
        return sum([part.bytes for part in parts])


def _split(batch: Numbers[S]) -> Iterator[Numbers[S]]:
    for at in range(0, len(batch.points), BATCH_POINTS_MAX):
        yield Numbers(batch.family, batch.points[at : at + BATCH_POINTS_MAX])


def _drain(columns: Columns[S]) -> Iterator[Columns[S]]:
    """What is in the columns, in pieces; they are empty afterwards."""
    if not columns.series:
        return
    last_bytes = b"".join(columns.values)[7::8]
    if any(high in last_bytes for high in _HIGH_BYTES):
        columns.values = list(map(plain_bytes, columns.values))
    taken = columns.take_out()
    count = len(taken)
    if count <= BATCH_POINTS_MAX:
        yield taken
        return
    for at in range(0, count, BATCH_POINTS_MAX):
        yield taken.part(at, at + BATCH_POINTS_MAX)


def _by_family(batches: Iterator[Columns[S] | Batch[S]]) -> Iterator[Batch[S]]:
    for batch in batches:
        if isinstance(batch, Columns):
            yield from _families(batch)
        else:
            yield batch


def _families(columns: Columns[S]) -> Iterator[Numbers[S]]:
    """The points of columns, in a batch for each family in a row."""
    families = columns.families
    values = struct.unpack(f"<{len(columns)}d", b"".join(columns.values))
    points: list[NumberPoint[S]] = list(
        zip(columns.series, columns.times_ns, columns.starts_ns, values, repeat(()), strict=False)
    )
    borders = [at for at, (one, next_) in enumerate(pairwise(families), 1) if one is not next_]
    for start, stop in pairwise((0, *borders, len(points))):
        yield Numbers(families[start], points[start:stop])


def _times(batch: Batch[Any] | None) -> Iterable[int]:
    """The times in a batch, at least one."""
    if batch is None:
        return (0,)
    if isinstance(batch, Numbers):
        return [point[1] for point in batch.points]
    points: Iterable[_Timed] = batch.points
    return [point.timestamp_ns for point in points]
