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

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, view
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
from mlsysops_pipeline.prometheus.single import Singles, find_window

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
_FIRST_TAGS = frozenset({bytes((_START_TAG,)), bytes((_TIME_TAG,))})
_VALUE_TAGS = frozenset({0x21, _INT_TAG})
"""What stands before the fields of a ``NumberDataPoint`` that have eight bytes."""
_ATTRIBUTES = 7
"""The number of its field for attributes."""
_STARTED_BYTES, _UNSTARTED_BYTES = 26, 17
"""What follows the first tag: start, time and value, or time and value."""
_unpack_started = struct.Struct("<QBQBd").unpack_from
_unpack_unstarted = struct.Struct("<QBd").unpack_from
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
            bytes_max=options.cache_bytes_max // 8,
        )
        self._singles = Singles(options.cache_bytes_max // 8)
        self._series: Recent[bytes, S] = Recent(options.cache_bytes_max * 3 // 4)
        self._open_metric = view(Signal.METRICS, Depth.RECORD, "Metric").FromString

    def translate(self, wire: bytes) -> Iterator[Batch[S]]:
        """The points of one request, in its order, in batches of at most 1,000 points.

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
                    single = self._single(wire, scope)
                    for batch, time in (single,) if single else self._general(wire, scope):
                        if time > newest:  # noqa: PLR1730  at a third of a call's cost
                            newest = time
                        yield batch
            if newest and resource.target:
                targets[resource.identity] = (resource, newest)
        if targets and self._options.has_target_info:
            yield Numbers(TARGET_INFO, [self._target(*target) for target in targets.values()])

    def _single(self, wire: bytes, scope: Scope) -> tuple[Batch[S], int] | None:
        """The batch of a metric of one plain point that is known by its bytes: see `single`."""
        try:
            at = self._singles.hint(wire[: wire[1] + 2])
            if at is None:
                return None
            at += 2 + (wire[at + 1] >> 7)  # behind the length of the data, of one or two bytes
            at += 3 + (wire[at + 1] >> 7)  # behind that of the point, and its first tag
            metric = self._singles.metric(wire[:at])
            if metric is None:
                return None
            if wire[at - 1] == _START_TAG:
                start, tag, time, value_tag, value = _unpack_started(wire, at)
                at += _STARTED_BYTES
            else:
                start, tag = 0, _TIME_TAG
                time, value_tag, value = _unpack_unstarted(wire, at)
                at += _UNSTARTED_BYTES
        except (IndexError, struct.error):
            return None
        if tag != _TIME_TAG or value_tag not in _VALUE_TAGS:
            return None
        series = self._series.get(scope.mark + metric.single_mark + wire[at:])
        if series is None:
            return None
        if value_tag == _INT_TAG:
            value = float(_unpack_int(wire, at - 8)[0])
        elif value != value:  # noqa: PLR0124  NaN, at a third of a call's cost
            value = NAN
        return Numbers(metric.family, [(series, time, start, value, ())]), time

    def _general(self, wire: bytes, scope: Scope) -> Iterable[tuple[Batch[S], int]]:
        """The batches of any metric, none of them empty."""
        try:
            opened = self._open_metric(wire)
        except DecodeError:
            self._report(Cause.MALFORMED, 0, "")
            return
        metric, wires = self._open(opened)
        if metric.cause is not None:
            if wires:
                self._report(metric.cause, len(wires), metric.otlp_name)
            return
        count = len(wires)
        if count == 1 and metric.family.kind in _NUMBERS:
            single = self._learn_single(wire, wires[0], metric, scope)
            if single is not None:
                yield single
                return
        for at in range(0, count, BATCH_POINTS_MAX):
            chunk = wires if count <= BATCH_POINTS_MAX else wires[at : at + BATCH_POINTS_MAX]
            found = self._batch(metric, scope, chunk)
            if found[0].points:
                yield found

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
                    start, tag, time, value_tag, value = _unpack_started(wire, 1)
                    rest = wire[1 + _STARTED_BYTES :]
                else:
                    start, tag = 0, wire[0]
                    time, value_tag, value = _unpack_unstarted(wire, 1)
                    rest = wire[1 + _UNSTARTED_BYTES :]
                if tag == _TIME_TAG and value_tag in _VALUE_TAGS:
                    if value_tag == _INT_TAG:
                        value = float(_unpack_int(wire, len(wire) - len(rest) - 8)[0])
                    elif value != value:  # noqa: PLR0124  NaN, at a third of a call's cost
                        value = NAN
                    series = known(prefix + rest)
                    if series is None:
                        series = self._learn(prefix + rest, rest, metric, scope)
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

    def _learn(self, key: bytes, rest: bytes, metric: Metric, scope: Scope) -> S | None:
        """The series of a point, given what follows its value; ``None`` if there is more to it."""
        point = open_point("NumberDataPoint", rest)
        fields = point.ListFields()
        if len(fields) > 1 or (fields and fields[0][0].name != "attributes"):
            return None
        return self._make(key, point.attributes, metric, scope)

    def _learn_single(
        self, wire: bytes, point: bytes, metric: Metric, scope: Scope
    ) -> tuple[Batch[S], int] | None:
        """The batch of a metric of one point, if `_single` can find it the next time."""
        window = find_window(wire)
        if window is None or point[:1] not in _FIRST_TAGS:
            return None
        data_tag, begin = window
        is_started = point[0] == _START_TAG
        end = 1 + (_STARTED_BYTES if is_started else _UNSTARTED_BYTES)
        key = scope.mark + metric.single_mark + wire[begin + end :]
        if self._series.get(key) is None:
            tags = point[9:end:9] if is_started else bytes((_TIME_TAG, *point[9:end:9]))
            if len(point) < end or tags[0] != _TIME_TAG or tags[1] not in _VALUE_TAGS:
                return None
            try:
                if self._learn(key, point[end:], metric, scope) is None:
                    return None
            except MalformedError:
                return None  # and is reported by who opens it
        self._singles.put(wire, data_tag, begin, metric)
        return self._single(wire, scope)

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
        return self._series.bytes + self._contexts.bytes + self._singles.bytes


def _framed(attribute: bytes) -> bytes:
    return length_prefix(_ATTRIBUTES, len(attribute)) + attribute


def _newest(points: Sequence[_Timed]) -> int:
    return max([point.timestamp_ns for point in points], default=0)
