"""What aggregation must give, recomputed from the plain list of all points and when they came.

Nothing here is taken from the processor: no columns, no state that moves with what arrives, no
slices. A window is the list of the points that came before it closed; every result is computed
from such a list by the most obvious means. Sums are those of fractions, quantiles those of sorted
values. Cumulative series are walked through window by window, as their state outlives them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.processors.aggregation.arithmetic import (
    Last,
    aggregate,
    bucket_of,
    together,
    total_of,
    walk,
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
    is_possible,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass
class Outcome:
    """What comes of the points of one life of a processor."""

    results: list[Result] = field(default_factory=list)
    passed: list[Point] = field(default_factory=list)
    left_alone: int = 0
    impossible: int = 0
    late: int = 0
    taken: int = 0


def recompute(
    setup: Setup, born: int, arrivals: Sequence[tuple[int, Point]], stopped: int | None = None
) -> Outcome:
    """What a processor gives that was started and stopped then; not stopped: all windows closed."""
    outcome = Outcome()
    windows: dict[int, list[Point]] = defaultdict(list)
    for at, given in arrivals:
        point = given if given.time else replace(given, time=at)
        begin = point.time // setup.interval * setup.interval
        naming = [rule for rule in setup.rules if rule.names(given.series)]
        if setup.keeps_original:
            outcome.passed.append(given)
        if naming and setup.drops_impossible and not any(rule.can(given.series) for rule in naming):
            outcome.impossible += 1
        elif not any(rule.means(given.series) for rule in setup.rules):
            outcome.left_alone += 1
            if not setup.keeps_original:
                outcome.passed.append(given)
        elif given.value is None and not given.series.is_counter:
            outcome.taken += 1  # there is nothing that it could end
        elif (
            begin + setup.interval + setup.lateness <= at
            or point.time >= at + setup.interval + setup.lateness
        ):
            outcome.late += 1
            if setup.forwards_late and not setup.keeps_original:
                outcome.passed.append(given)
        else:
            outcome.taken += 1
            windows[begin].append(point)
    memory = Memory(born)
    for begin, found in sorted(windows.items()):
        end = begin + setup.interval
        time, is_cut = end, stopped is not None and stopped < end + setup.lateness
        if stopped is not None and stopped < end:
            time = max(stopped, begin + 1)
        results = list(_window(setup, Span(begin, time, is_cut or begin < born), found, memory))
        if not (begin < born and setup.withholds):
            outcome.results.extend(results)
    return outcome


@dataclass(frozen=True)
class Span:
    """A window, and when its results are said to be of."""

    begin: int
    time: int
    is_partial: bool


@dataclass
class Memory:
    """What outlives a window: how far inputs were counted, and what results began with."""

    born: int
    inputs: dict[Series, Last] = field(default_factory=dict)
    outputs: dict[Any, Output] = field(default_factory=dict)


@dataclass
class Output:
    """A cumulative result. ``life``: inputs that began since then are counted from nothing."""

    start: int
    life: int
    total: Any = None


def _window(setup: Setup, span: Span, points: list[Point], memory: Memory) -> Iterable[Result]:
    """All results of one window, and the memory moved on."""
    inputs: dict[Series, list[Point]] = defaultdict(list)
    for point in points:
        inputs[point.series].append(point)
    inputs = {series: _distinct(found) for series, found in inputs.items()}
    for number, rule in enumerate(setup.rules):
        groups: dict[Any, dict[Series, list[Point]]] = defaultdict(dict)
        for series, found in inputs.items():
            if rule.means(series) and any(point.value is not None for point in found):
                groups[series.metric, rule.group(series)][series] = found
        for key, group in groups.items():
            computing = _Computing(setup, rule, span, key, group, memory, (number, *key))
            for function in rule.functions:
                yield from computing.results(function)
    for series, found in inputs.items():
        if series.is_counter:
            _, last = walk(found, memory.inputs.get(series), lambda _: False)
            if last is not None:
                memory.inputs[series] = last


def _distinct(points: list[Point]) -> list[Point]:
    """Each once, by time. Of several for the same time the greatest counts."""
    series = points[0].series
    best: dict[Any, Point] = {}
    for point in points:
        is_delta = series.temporality == DELTA
        key = (point.time, point.start) if is_delta else point.time
        other = best.get(key)
        if other is None or _rank(point) > _rank(other):
            best[key] = point
    return sorted(best.values(), key=lambda point: (point.time, point.start))


def _rank(point: Point) -> tuple[Any, ...]:
    if isinstance(point.value, Values):
        return (point.start,)
    start = point.start if point.series.is_counter else 0
    return (start, point.value is not None, order_of(point.value or 0))


def order_of(value: float) -> tuple[bool, float]:
    """Every number is greater than NaN."""
    return (False, 0.0) if math.isnan(value) else (True, value)


@dataclass
class _Computing:
    """One group of inputs in one window."""

    setup: Setup
    rule: Rule
    span: Span
    key: tuple[Any, tuple[Labels, Labels]]
    group: dict[Series, list[Point]]
    memory: Memory
    identity: Any

    def __post_init__(self) -> None:
        (self.name, self.kind, self.unit, self.temporality, self.is_monotonic), _ = self.key
        self.is_counter = next(iter(self.group)).is_counter
        self.output = self.memory.outputs.get(self.identity)
        self.is_new = self.output is None
        if self.output is None:
            life = min(self.span.begin, self.memory.born)
            self.output = Output(self.span.begin, life)
            self.memory.outputs[self.identity] = self.output
        self.points = [
            point for found in self.group.values() for point in found if point.value is not None
        ]
        self.parts = {series: self._parts(series, found) for series, found in self.group.items()}
        self.increases = [
            total_of([value for _, value in parts])
            for parts in self.parts.values()
            if parts and self.kind == "sum"
        ]
        self._feed()

    def _parts(self, series: Series, found: list[Point]) -> list[tuple[int, Any]]:
        """By how much an input increased in this window, and when."""
        assert self.output is not None
        life = self.output.life
        if self.is_counter:
            last = self.memory.inputs.get(series)
            return walk(found, last, lambda point: point.start >= life)[0]
        if self.temporality == DELTA:
            return [(point.time, point.value) for point in found if point.value is not None]
        return []

    def _feed(self) -> None:
        """Move a running total on."""
        output = self.output
        assert output is not None
        if not self.is_counter or "sum" not in self.rule.functions:
            return
        parts = [part for found in self.parts.values() for part in found]
        if self.is_new:
            starts, parts = [], []
            for series, found in self.group.items():
                last = self.memory.inputs.get(series)
                parts += walk(found, last, lambda _: True)[0]
                first = next(point for point in found if point.value is not None)
                if last is None and 0 < first.start < first.time:
                    starts.append(first.start)
            output.start = min(starts, default=self.span.begin)
        increase = together(parts)
        if isinstance(increase, Values):
            increase = replace(increase, least=None, greatest=None)
            if output.total is not None and not increase.fits(output.total):
                output.total, output.start = None, self.span.begin  # DM-11
        output.total = (
            increase if output.total is None else together([(0, output.total), (0, increase)])
        )

    def results(self, function: str) -> Iterable[Result]:
        """What a function gives, if it means anything here."""
        if not is_possible(function, next(iter(self.group))):
            return
        for kind, temporality, is_monotonic, start, value in self._values(function):
            if value is None:
                continue
            name = self.rule.name(self.name, function)
            resource, attributes = self.key[1]
            yield Result(
                (name, kind, self.unit, temporality, is_monotonic),
                resource,
                attributes,
                self.span.is_partial,
                start,
                self.span.time,
                value,
            )

    def _values(self, function: str) -> Iterable[tuple[str, int, bool, int, Any]]:
        """Kind, temporality, monotonicity, start and value."""
        begin = self.span.begin
        if function == "sum":
            yield self._total()
        elif function == "increase":
            monotonic = self.is_monotonic or self.kind != "sum"
            yield "sum", DELTA, monotonic, begin, self._increase()
        elif function == "rate":
            yield "gauge", 0, False, begin, self._increase() / (self.setup.interval / S)
        elif self.kind in {"gauge", "sum"}:
            yield "gauge", 0, False, begin, self._number(function)
        else:
            yield "gauge", 0, False, begin, self._of_histogram(function)

    def _total(self) -> tuple[str, int, bool, int, Any]:
        assert self.output is not None
        if self.is_counter:
            output = self.output
            return self.kind, CUMULATIVE, self.is_monotonic, output.start, output.total
        if self.temporality == DELTA:
            value = self._merged() if self.kind != "sum" else self._increase()
            return self.kind, DELTA, self.is_monotonic, self.span.begin, value
        lasts = [
            [point.value for point in found if point.value is not None]
            for found in self.group.values()
        ]
        value = total_of([values[-1] for values in lasts if values])
        start = self.output.start if self.kind == "sum" else self.span.begin
        return self.kind, self.temporality, self.is_monotonic, start, value

    def _increase(self) -> Any:
        return self._merged().count if self.kind != "sum" else total_of(self.increases)

    def _merged(self) -> Values:
        """The histogram of the window's increase."""
        found: Values = together([part for parts in self.parts.values() for part in parts])
        return replace(found, least=None, greatest=None) if self.is_counter else found

    def _number(self, function: str) -> Any:
        ordered = sorted(self.points, key=lambda point: (point.time, order_of(point.value)))
        if function == "count":
            return len(self.points)
        if function == "last":
            return ordered[-1].value
        if function == "first":
            return max(
                (point.value for point in ordered if point.time == ordered[0].time), key=order_of
            )
        if self.is_counter or self.temporality == DELTA:
            values = self.increases
        else:
            values = [point.value for point in self.points]
        return aggregate(function, values)

    def _of_histogram(self, function: str) -> Any:
        found = self._merged()
        if function == "count":
            return found.count
        if function == "min":
            return found.least
        if function == "max":
            return found.greatest
        if not found.count:
            return None
        if function == "mean":
            return None if found.sum is None else found.sum / found.count
        return bucket_of(found, float(function[1:]) / 100)
