"""Requests made of what a window gave. No I/O."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.metrics.walking import CUMULATIVE, DELTA
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.sieve import POINT_NAMES
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, serialize, view
from mlsysops_pipeline.pdata.wire import length_prefix, varint
from mlsysops_processors.aggregation.distributions import BOUNDS
from mlsysops_processors.aggregation.outputs import ADDED, BUCKETS, CLOSED, RUNNING
from mlsysops_processors.aggregation.tally import exact_sum, in_range

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator

    from mlsysops_pipeline.metrics.histograms import Histogram
    from mlsysops_processors.aggregation.config import Function
    from mlsysops_processors.aggregation.outputs import Output

SCOPE = b"mlsysops.aggregation"
"""The scope of all results."""
PARTIAL, OVERFLOW, OFFENDER = (
    "aggregation.partial",
    "otel.metric.overflow",
    "aggregation.overflow.label",
)
"""The attributes of results of windows that are not whole, and of those of all series for which
there was no room; the last names the attribute that most of these differ in."""
_STEP_RESULTS = 200
_GAUGE, _SUM = "gauge", "sum"
_DATA_FIELDS = {
    "gauge": 5,
    "sum": 7,
    "histogram": 9,
    "exponential_histogram": 10,
    "summary": 11,
}
_ATTRIBUTE_FIELDS = {
    "gauge": 7,
    "sum": 7,
    "histogram": 9,
    "exponential_histogram": 1,
    "summary": 7,
}
_pack_double = struct.Struct("<BQBQBd").pack
_pack_int = struct.Struct("<BQBQBq").pack
_NAME, _DESCRIPTION, _UNIT = 1, 2, 3
_NS_PER_S = 1_000_000_000


CLASH = "clash"
"""A result was left out because there is another of the same name, type and attributes."""

Metrics = dict[tuple[Any, ...], tuple[bytes, dict[tuple[bytes, ...], bytes]]]
"""By name, kind, temporality, monotonicity and unit: the description, and points by attributes."""


class Writer:
    """The results of one window as requests. ``items``: their points, once `steps` is through.

    ``end_ns``: the time of results, ``is_partial``: whether something of the window is missing.
    ``causes`` is counted up.
    """

    def __init__(
        self,
        start_ns: int,
        end_ns: int,
        interval_ns: int,
        causes: Counter[str],
        *,
        is_partial: bool,
    ) -> None:
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._interval_s = interval_ns / _NS_PER_S
        self._causes = causes
        self._flag = (_attribute(PARTIAL, True),) if is_partial else ()  # noqa: FBT003  a value
        self._found: dict[tuple[bytes, ...], Metrics] = {}
        self.items = 0
        self.wires: list[bytes] = []

    def steps(self, fed: Iterable[Output]) -> Iterator[None]:
        """Write results, and make them ready for the next window."""
        for number, output in enumerate(fed):
            self._add(output)
            output.forget_window()
            if not number % _STEP_RESULTS:
                yield
        for resource in list(self._found):
            self.wires.append(_request(resource, self._found.pop(resource)))
            yield

    def _add(self, output: Output) -> None:
        spec = output.spec
        points = self._found.setdefault(output.kept.resource, {})
        attributes = (*output.kept.point, *self._flag)
        if spec.overflow is output:
            attributes += _overflow(spec.offender)
        if spec.family == BUCKETS:
            made = self._histograms(output, attributes)
        elif spec.family == CLOSED:
            made = self._ends(output, attributes)
        else:
            made = self._numbers(output, attributes)
        for name, kind, temporality, is_monotonic, point in made:
            key = (name, kind, temporality, is_monotonic, spec.unit)
            found = points.get(key)
            if found is None:
                found = points[key] = (spec.description, {})
            if attributes in found[1]:
                self._causes[CLASH] += 1
            else:
                found[1][attributes] = point
                self.items += 1

    def _numbers(self, output: Output, attributes: Any) -> Iterator[tuple[Any, ...]]:
        spec, tally = output.spec, output.tally
        if tally is None:
            return
        total = tally.total.value
        if spec.family == RUNNING:
            output.start_ns = output.start_ns or self._start_ns
            grown = exact_sum([output.total or 0, total, exact_sum(output.extra)])
            output.total = in_range(grown)
        for function, name in spec.functions:
            start_ns = self._start_ns
            value: float
            form: tuple[str, int, bool] = (_GAUGE, 0, False)
            if function.name == "sum":
                form = (spec.kind, spec.temporality, spec.is_monotonic)
                if spec.family == RUNNING:
                    value, start_ns = output.total, output.start_ns
                elif spec.family == ADDED:
                    value = total
                else:
                    value = tally.lasts.value
                    start_ns = output.born_ns if spec.kind == _SUM else start_ns
            elif function.name == "increase":
                value, form = total, (_SUM, DELTA, spec.is_monotonic)
            elif function.name == "rate":
                value = total / self._interval_s
            else:
                value = _NUMBERS.get(function.name, _quantile)(tally, function)
            yield (name, *form, _number(start_ns, self._end_ns, value, attributes))

    def _histograms(self, output: Output, attributes: Any) -> Iterator[tuple[Any, ...]]:
        spec = output.spec
        if output.buckets is None:
            return
        growth, extra = output.buckets
        merged, left_out = growth.merged()
        if merged is None:
            return
        if left_out:
            self._causes[BOUNDS] += left_out
        if spec.temporality == CUMULATIVE:
            self._add_up(output, merged, extra.merged()[0])
        for function, name in spec.functions:
            form: tuple[str, int, bool] = (_GAUGE, 0, False)
            value: float | None
            if function.name == "sum":
                start_ns, whole = self._start_ns, merged
                if spec.temporality == CUMULATIVE:
                    start_ns, whole = output.start_ns, output.total
                point = _histogram(spec.kind, start_ns, self._end_ns, whole, attributes)
                yield (name, spec.kind, spec.temporality, False, point)
                continue
            if function.name in {"first", "last"}:
                yield from self._end(output, function, name, attributes)
                continue
            if function.name == "increase":
                value, form = merged.count, (_SUM, DELTA, True)
            elif function.name == "rate":
                value = merged.count / self._interval_s
            else:
                value = _HISTOGRAMS.get(function.name, _histogram_quantile)(merged, function)
            if value is not None:
                yield (name, *form, _number(self._start_ns, self._end_ns, value, attributes))

    def _add_up(self, output: Output, growth: Histogram, extra: Histogram | None) -> None:
        """The running total of a cumulative histogram."""
        output.start_ns = output.start_ns or self._start_ns
        if output.total is not None and not output.total.fits(growth):
            self._causes[BOUNDS] += 1  # it begins anew with the newer bounds (DM-11)
            output.total, output.start_ns = None, self._start_ns
        parts = [output.total] if output.total is not None else []
        if extra is not None and extra.fits(growth):
            parts.append(extra)
        total = growth
        for part in parts:
            total = total.plus(part)
        output.total = total

    def _ends(self, output: Output, attributes: Any) -> Iterator[tuple[Any, ...]]:
        for function, name in output.spec.functions:
            yield from self._end(output, function, name, attributes)

    def _end(
        self, output: Output, function: Function, name: bytes, attributes: Any
    ) -> Iterator[tuple[Any, ...]]:
        """The oldest or newest point as it was, but for its attributes."""
        end = output.newest if function.name == "last" else output.oldest
        if end is not None:
            spec = output.spec
            point = end[1] + _framed_all(_ATTRIBUTE_FIELDS[spec.kind], attributes)
            yield (name, spec.kind, spec.temporality, False, point)


def _quantile(tally: Any, function: Function) -> float:
    return float(tally.quantile(function.fraction))


def _histogram_quantile(merged: Histogram, function: Function) -> float | None:
    return None if function.fraction is None else merged.quantile(function.fraction)


_NUMBERS: dict[str, Callable[[Any, Function], float]] = {
    "count": lambda tally, _: tally.count + tally.more,
    "mean": lambda tally, _: tally.mean,
    "min": lambda tally, _: tally.least,
    "max": lambda tally, _: tally.greatest,
    "stddev": lambda tally, _: tally.deviation,
    "first": lambda tally, _: tally.first[1],
    "last": lambda tally, _: tally.last[1],
}
_HISTOGRAMS: dict[str, Callable[[Histogram, Function], float | None]] = {
    "count": lambda merged, _: merged.count,
    "mean": lambda merged, _: merged.mean,
    "min": lambda merged, _: merged.min,
    "max": lambda merged, _: merged.max,
}


def _number(start_ns: int, time_ns: int, value: float, attributes: Iterable[bytes]) -> bytes:
    """A ``NumberDataPoint``."""
    value = in_range(value)
    pack, tag = (_pack_int, 0x31) if isinstance(value, int) else (_pack_double, 0x21)
    point = pack(0x11, start_ns, 0x19, time_ns, tag, value)
    return point + _framed_all(_ATTRIBUTE_FIELDS[_GAUGE], attributes)


def _histogram(
    kind: str, start_ns: int, time_ns: int, whole: Histogram, attributes: Iterable[bytes]
) -> bytes:
    point: Any = view(Signal.METRICS, Depth.POINT, POINT_NAMES[kind])()
    point.start_time_unix_nano = start_ns
    point.time_unix_nano = time_ns
    whole.write(point)
    point.attributes.extend(attributes)
    return serialize(point)


def _overflow(offender: bytes) -> tuple[bytes, ...]:
    flag = _attribute(OVERFLOW, True)  # noqa: FBT003  a value
    if not offender:
        return (flag,)
    name = any_values.key_value(OFFENDER.encode(), any_values.serialize_string(offender))
    return (flag, name)


def _attribute(key: str, value: Any) -> bytes:
    return any_values.key_value(key.encode(), any_values.serialize(value))


def _request(resource: Iterable[bytes], metrics: Metrics) -> bytes:
    """A request of one resource."""
    scope = _framed(1, _framed(1, SCOPE))
    pieces = [scope]
    for (name, kind, temporality, is_monotonic, unit), (description, points) in metrics.items():
        data = [_framed_all(1, points.values())]
        if temporality:
            data.append(varint(2 << 3) + varint(temporality))
        if is_monotonic:
            data.append(varint(3 << 3) + varint(1))
        metric = [_framed(_NAME, name)]
        if description:
            metric.append(_framed(_DESCRIPTION, description))
        if unit:
            metric.append(_framed(_UNIT, unit))
        metric.append(_framed(_DATA_FIELDS[kind], b"".join(data)))
        pieces.append(_framed(2, b"".join(metric)))
    group = _framed(1, _framed_all(1, resource)) + _framed(2, b"".join(pieces))
    return _framed(1, group)


def _framed_all(number: int, contents: Iterable[bytes]) -> bytes:
    return b"".join([_framed(number, content) for content in contents])


def _framed(number: int, content: bytes) -> bytes:
    return length_prefix(number, len(content)) + content
