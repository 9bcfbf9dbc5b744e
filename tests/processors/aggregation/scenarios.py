"""What random senders send, as points with the times at which they arrive, and as requests.

All times are whole quarters of seconds and all values whole quarters, so that nothing is rounded
but what is divided.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from tests.processors.aggregation.model import (
    CUMULATIVE,
    DELTA,
    Labels,
    Point,
    Result,
    Rule,
    S,
    Series,
    Setup,
    Values,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

T0 = 1_700_000_000 * S
"""What a `JumpClock` begins with."""
QUARTER = S // 4
NO_VALUE = 1
BOUNDS = ((0.0, 5.0, 20.0), (1.0, 10.0))
ODD_DOUBLES = (math.nan, math.inf, -math.inf, 1e300, -0.0)
ODD_INTEGERS = ((1 << 63) - 1, -(1 << 63), 1 << 62)
SCOPE = "mlsysops.aggregation"
PARTIAL = "aggregation.partial"

RULES = (
    Rule(("*",), ("sum", "count"), by=("service",), rename="all.{name}"),
    Rule(
        ("gauge", "level"),
        ("mean", "min", "max", "stddev", "p50", "p99", "first", "last"),
        without=("pod",),
        rename="levels.{name}",
    ),
    Rule(
        ("counter", "delt?", "up_down"),
        ("increase", "rate", "mean", "min", "max", "stddev", "p90", "count", "first", "last"),
        by=("pod", "zone"),
        rename="flows.{name}",
    ),
    Rule(
        ("hist_*", "exp_*"),
        ("sum", "mean", "min", "max", "p10", "p90", "increase", "rate", "count"),
        by=("zone",),
        rename="{function}_of_{name}",
    ),
    Rule(("*",), ("sum",), match=(("zone", "x"),), rename="x.{name}"),
    Rule(("*",), ("increase",), rename="grown.{name}"),
)

METRICS: tuple[dict[str, Any], ...] = (
    {"name": "gauge", "kind": "gauge", "unit": "1"},
    {"name": "level", "kind": "sum", "temporality": CUMULATIVE},
    {"name": "delta", "kind": "sum", "temporality": DELTA, "is_monotonic": True},
    {"name": "up_down", "kind": "sum", "temporality": DELTA},
    {"name": "counter", "kind": "sum", "temporality": CUMULATIVE, "is_monotonic": True},
    {"name": "hist_delta", "kind": "histogram", "temporality": DELTA},
    {"name": "hist_total", "kind": "histogram", "temporality": CUMULATIVE},
    {"name": "exp_delta", "kind": "exponential_histogram", "temporality": DELTA},
    {"name": "exp_total", "kind": "exponential_histogram", "temporality": CUMULATIVE},
    {"name": "summary", "kind": "summary"},
    {"name": "gauge", "kind": "sum", "temporality": DELTA, "is_monotonic": True},
)
"""The last is a metric of the name of another and of another type."""


def setup(rng: random.Random) -> Setup:
    """Any configuration."""
    rules = rng.sample(RULES, rng.randint(1, 3))
    return Setup(
        interval=rng.choice((5, 10)) * S,
        lateness=rng.choice((0, 3, 12)) * S,
        rules=tuple(rules),
        forwards_late=rng.random() < 0.5,
        withholds=rng.random() < 0.3,
        keeps_original=rng.random() < 0.2,
        drops_impossible=rng.random() < 0.3,
    )


def config(of: Setup) -> dict[str, Any]:
    """The same as it is written."""
    return {
        "interval": f"{of.interval // S}s",
        "allowed_lateness": f"{of.lateness // S}s",
        "late": "forward" if of.forwards_late else "drop",
        "max_stale": "1h",
        "keep_original": of.keeps_original,
        "unmergeable": "drop" if of.drops_impossible else "pass",
        "partial_windows": "withhold" if of.withholds else "flag",
        "rules": [
            {
                "metrics": list(rule.metrics),
                "functions": list(rule.functions),
                "match": dict(rule.match),
                "rename": rule.rename,
                **({} if rule.by is None else {"by": list(rule.by)}),
                **({} if rule.without is None else {"without": list(rule.without)}),
            }
            for rule in of.rules
        ],
    }


def arrivals(rng: random.Random, *, series: int, points: int) -> list[tuple[int, Point]]:
    """Points of some series and when they arrive, in that order: late, twice, out of order."""
    made: list[tuple[int, Point]] = []
    for identity in dict.fromkeys(_series(rng) for _ in range(series)):
        for point in Sender(rng, identity).points(rng.randint(1, points)):
            at = point.time + _delay(rng)
            sent = replace(point, time=0) if _rarely(rng) and _is_gauge(point) else point
            if _rarely(rng):
                sent = replace(point, time=point.time + rng.choice((6, 12, 70)) * S + 1)
            made.append((at, sent))
            if rng.random() < 0.15 and sent.time:
                made.append((at + _delay(rng), sent))
            if _rarely(rng) and isinstance(sent.value, int | float) and sent.time:
                made.append((at + _delay(rng), replace(sent, value=type(sent.value)(7))))
    return sorted(made, key=lambda arrival: arrival[0])


def _rarely(rng: random.Random) -> bool:
    return rng.random() < 0.03


def _is_gauge(point: Point) -> bool:
    return point.series.kind == "gauge" and point.value is not None


def _delay(rng: random.Random) -> int:
    return rng.choice((0, 0, 0, 1, 3, 9, 30, 80)) * QUARTER


def _series(rng: random.Random) -> Series:
    attributes = {"pod": rng.choice("012"), "zone": rng.choice("xy")}
    if rng.random() < 0.2:
        attributes["service"] = "of the point"
    return Series(
        **rng.choice(METRICS),
        resource=(("host", "h"), ("service", rng.choice("ab"))),
        attributes=tuple(sorted(attributes.items())),
    )


class Sender:
    """One series: what it says of its start, and what happens to it."""

    def __init__(self, rng: random.Random, series: Series) -> None:
        self._rng = rng
        self._series = series
        self._time = T0 + rng.randint(-20, 60) * QUARTER
        self._start = rng.choice((0, T0 - 100 * S, self._time - QUARTER, self._time))
        self._is_float = rng.random() < 0.5
        self._value: Any = None
        self._scale = rng.randint(0, 3)
        self._bounds: tuple[float, ...] = BOUNDS[0]

    def points(self, count: int) -> Iterator[Point]:
        """So many, in the order of time."""
        for _ in range(count):
            before = self._time
            self._time += self._rng.randint(1, 16) * QUARTER
            if _rarely(self._rng):
                self._bounds = self._rng.choice(BOUNDS)
                self._value = None
            if self._rng.random() < 0.1:
                yield Point(self._series, self._start, self._time, None)
                continue
            if self._series.temporality == DELTA:
                self._start = before
                value = self._fresh()
            elif self._series.is_counter:
                value = self._counted(before)
            else:
                value = self._fresh()
            yield Point(self._series, self._start, self._time, value)

    def _counted(self, before: int) -> Any:
        """The next value of a total, which now and then begins anew."""
        event = self._rng.random()
        if event < 0.06:  # a true reset
            self._start, self._value = before + QUARTER, None
            if self._start == self._time:
                self._start = before
        elif event < 0.09:  # a start that is not known
            self._start, self._value = self._time, None
        elif event < 0.12:  # a broken writer
            self._value = None
        elif event < 0.15 and self._start:  # two writers
            self._start = before - QUARTER
        more = self._fresh()
        if self._value is None:
            self._value = more
        elif isinstance(more, Values):
            self._value = _both(self._value, more)
        else:
            self._value += more
        return self._value

    def _fresh(self) -> Any:
        rng = self._rng
        if self._series.kind in {"histogram", "exponential_histogram"}:
            return self._histogram([rng.randint(-8, 120) / 4 for _ in range(rng.randint(0, 6))])
        if self._series.kind == "summary":
            return rng.randint(0, 9)
        if not self._series.is_monotonic and _rarely(rng):
            return rng.choice(ODD_DOUBLES if self._is_float else ODD_INTEGERS)
        low = 0 if self._series.is_monotonic else -40
        value = rng.randint(low, 400)
        return value / 4 if self._is_float else value

    def _histogram(self, values: list[float]) -> Values:
        cells: Counter[Any] = Counter()
        for value in values:
            if self._series.kind == "histogram":
                cells[sum(value > bound for bound in self._bounds)] += 1
            else:
                sign = (value > 0) - (value < 0)
                index = math.ceil(math.log2(abs(value)) * 2**self._scale) - 1 if sign else 0
                cells[sign, index] += 1
        layout = self._bounds if self._series.kind == "histogram" else self._scale
        extremes = (min(values), max(values)) if values else (None, None)
        return Values(layout, tuple(sorted(cells.items())), float(sum(values)), *extremes)


def _both(one: Values, other: Values) -> Values:
    cells = Counter(dict(one.cells)) + Counter(dict(other.cells))
    return Values(one.layout, tuple(sorted(cells.items())), (one.sum or 0.0) + (other.sum or 0.0))


def request(points: Iterable[Point]) -> bytes:
    """A request with these points, in this order."""
    made = ExportMetricsServiceRequest()
    for resource, of_resource in groupby(points, key=lambda point: point.series.resource):
        group = made.resource_metrics.add()
        _label(group.resource.attributes, resource)
        block = group.scope_metrics.add()
        block.scope.name = "sender"
        for series, of_series in groupby(of_resource, key=lambda point: point.series):
            metric = block.metrics.add(name=series.name, unit=series.unit)
            data = getattr(metric, series.kind)
            if series.temporality:
                data.aggregation_temporality = series.temporality
            if series.is_monotonic:
                data.is_monotonic = True
            for point in of_series:
                write(data.data_points.add(), point)
    return bytes(made.SerializeToString())


def _label(attributes: Any, labels: Labels) -> None:
    for key, value in labels:
        attributes.add(key=key).value.string_value = value


def write(target: Any, point: Point) -> None:
    """Into a data point."""
    _label(target.attributes, point.series.attributes)
    target.start_time_unix_nano, target.time_unix_nano = point.start, point.time
    value = point.value
    if value is None:
        target.flags = NO_VALUE
    elif isinstance(value, Values):
        target.count = value.count
        for name, known in (("sum", value.sum), ("min", value.least), ("max", value.greatest)):
            if known is not None:
                setattr(target, name, known)
        _write_cells(target, value)
    elif point.series.kind == "summary":
        target.count = value
    else:
        setattr(target, "as_int" if isinstance(value, int) else "as_double", value)


def _write_cells(target: Any, value: Values) -> None:
    cells = dict(value.cells)
    if not value.is_exponential:
        target.explicit_bounds.extend(value.layout)
        counts = [cells.get(place, 0) for place in range(len(value.layout) + 1)]
        target.bucket_counts.extend(counts)
        return
    target.scale = value.layout
    target.zero_count = cells.get((0, 0), 0)
    for sign, buckets in ((1, target.positive), (-1, target.negative)):
        indexes = [index for side, index in cells if side == sign]
        if indexes:
            buckets.offset = min(indexes)
            for index in range(min(indexes), max(indexes) + 1):
                buckets.bucket_counts.append(cells.get((sign, index), 0))


def read(wire: bytes) -> tuple[list[Result], list[Point]]:
    """What a request has: results of aggregation, and points that only passed through."""
    results, passed = [], []
    for group in ExportMetricsServiceRequest.FromString(wire).resource_metrics:
        resource = _labels(group.resource.attributes)
        for block in group.scope_metrics:
            for metric in block.metrics:
                kind = metric.WhichOneof("data") or ""
                data = getattr(metric, kind)
                series = Series(
                    metric.name,
                    kind,
                    metric.unit,
                    getattr(data, "aggregation_temporality", 0),
                    getattr(data, "is_monotonic", False),
                    resource,
                )
                for found in data.data_points:
                    if block.scope.name == SCOPE:
                        results.append(_result(series, found))
                    else:
                        passed.append(_point(series, found))
    return results, passed


def _labels(attributes: Any) -> Labels:
    return tuple((pair.key, pair.value.string_value) for pair in attributes if pair.key != PARTIAL)


def _result(series: Series, found: Any) -> Result:
    is_partial = any(pair.key == PARTIAL and pair.value.bool_value for pair in found.attributes)
    return Result(
        series.metric,
        tuple(sorted(series.resource)),
        tuple(sorted(_labels(found.attributes))),
        is_partial,
        found.start_time_unix_nano,
        found.time_unix_nano,
        _value(series.kind, found),
    )


def _point(series: Series, found: Any) -> Point:
    identity = replace(series, attributes=_labels(found.attributes))
    start, time = found.start_time_unix_nano, found.time_unix_nano
    value = None if found.flags & NO_VALUE else _value(series.kind, found)
    return Point(identity, start, time, value)


def _value(kind: str, found: Any) -> Any:
    if kind == "summary":
        return found.count
    if kind in {"gauge", "sum"}:
        return getattr(found, found.WhichOneof("value") or "as_int")
    cells: dict[Any, int] = {}
    if kind == "histogram":
        cells = {place: count for place, count in enumerate(found.bucket_counts) if count}
        layout: Any = tuple(found.explicit_bounds)
    else:
        for sign, buckets in ((1, found.positive), (-1, found.negative)):
            for index, count in enumerate(buckets.bucket_counts, buckets.offset):
                if count:
                    cells[sign, index] = count
        if found.zero_count:
            cells[0, 0] = found.zero_count
        layout = found.scale
    known = [
        getattr(found, name) if found.HasField(name) else None for name in ("sum", "min", "max")
    ]
    values = Values(layout, tuple(sorted(cells.items())), *known)
    assert found.count == values.count
    return values


@dataclass(frozen=True)
class Life:
    """From when to when a processor lived, and what arrived in between. No end: to the end."""

    born: int
    arrivals: list[tuple[int, Point]]
    stopped: int | None
