"""What one window knows of one result: sums, extremes, quantiles, ends. No I/O.

Values come shard by shard and are forgotten then; what is kept does not grow with them. Sums are
exact until they are rounded once (`math.fsum`), so that the order of values does not show.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlsysops_pipeline.metrics.sketch import Sketch

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mlsysops_processors.aggregation.config import Function

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1


def exact_sum(values: Collection[float]) -> float:
    """The sum, rounded once; of integers an integer."""
    total: float = sum(values)
    if isinstance(total, int):
        return total
    try:
        return math.fsum(values)
    except (ValueError, OverflowError):  # infinities of both signs, or beyond all doubles
        return total


def in_range(value: float) -> float:
    """An integer that 64 bits cannot hold becomes a double, the nearest there is."""
    if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value


class Total:
    """A sum that grows: of integers one, else a double and what rounding has left."""

    __slots__ = ("_parts", "_whole")

    def __init__(self) -> None:
        self._whole = 0
        self._parts: list[float] = []

    def add(self, values: Sequence[float]) -> None:
        """Add all of them."""
        total = exact_sum(values)
        if isinstance(total, int):
            self._whole += total
        elif not self._parts and math.isfinite(total):
            self._parts = [total, exact_sum([*values, -total])]
        elif math.isfinite(total):
            parts = self._parts
            total = exact_sum([*parts, *values])
            self._parts = [total]
            if math.isfinite(total):
                self._parts.append(exact_sum([*parts, *values, -total]))
        else:
            self._parts = [exact_sum([*self._parts, total])]

    @property
    def value(self) -> float:
        """The sum so far."""
        if not self._parts:
            return in_range(self._whole)
        return exact_sum([*self._parts, float(in_range(self._whole))])


class Needs:
    """Which parts of a `Tally` the functions of a rule need."""

    __slots__ = ("ends", "extremes", "lasts", "quantiles", "spread", "total")

    def __init__(self, functions: Collection[Function], *, is_gauge: bool) -> None:
        names = {function.name for function in functions}
        self.lasts = is_gauge and "sum" in names
        summed = {"mean"} if is_gauge else {"mean", "sum", "increase", "rate"}
        self.total = bool(names & summed)
        self.extremes = bool(names & {"min", "max"})
        self.spread = "stddev" in names
        self.quantiles = any(function.fraction is not None for function in functions)
        self.ends = bool(names & {"first", "last"})


class Tally:
    """The values of one window.

    ``count``: how many; ``more``: how many points they are of beside one for each.
    ``first`` and ``last``: time and value of the oldest and newest point; at equal times the larger
    value. ``least`` and ``greatest``: NaN only if there is nothing else.
    """

    __slots__ = (
        *("_mean", "_squares", "count", "first", "greatest", "last", "lasts"),
        *("least", "more", "sketch", "total"),
    )

    def __init__(self, needs: Needs) -> None:
        self.count = 0
        self.more = 0
        self.total = Total()
        self.lasts = Total()
        self.least: float | None = None
        self.greatest: float | None = None
        self.first: tuple[int, float] | None = None
        self.last: tuple[int, float] | None = None
        self.sketch = Sketch() if needs.quantiles else None
        self._mean = 0.0
        self._squares = 0.0

    def add(self, values: Sequence[float], needs: Needs) -> None:
        """Take in what a shard has."""
        if needs.total:
            self.total.add(values)
        if needs.extremes:
            self._add_extremes(values)
        if self.sketch is not None:
            self.sketch.add_all(values)
        if needs.spread:
            self._add_spread(values)
        self.count += len(values)

    def _add_extremes(self, values: Sequence[float]) -> None:
        least, greatest = min(values), max(values)
        if any(map(math.isnan, values)):  # then neither means anything
            numbers = [value for value in values if not math.isnan(value)]
            if not numbers:
                if self.least is None:
                    self.least = self.greatest = math.nan
                return
            least, greatest = min(numbers), max(numbers)
        if self.least is None or self.greatest is None or math.isnan(self.least):
            self.least, self.greatest = least, greatest
        else:
            self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)

    def _add_spread(self, values: Sequence[float]) -> None:
        """Means and squared distances of both parts give those of all (Chan and others, 1979)."""
        count = len(values)
        mean = float(exact_sum(values)) / count
        squares = float(exact_sum([(value - mean) * (value - mean) for value in values]))
        if not self.count:
            self._mean, self._squares = mean, squares
            return
        both = self.count + count
        apart = mean - self._mean
        self._squares += squares + apart * apart * self.count * count / both
        self._mean += apart * count / both

    @property
    def mean(self) -> float:
        """The sum over the count; there are values."""
        return float(self.total.value) / self.count

    @property
    def deviation(self) -> float:
        """The standard deviation of all values there are."""
        return math.sqrt(self._squares / self.count) if self._squares >= 0 else math.nan

    def quantile(self, fraction: float) -> float:
        """See `Sketch`; NaN if there is nothing else."""
        found = self.sketch.quantile(fraction) if self.sketch is not None else None
        return math.nan if found is None else found

    def add_end(self, time_ns: int, value: float) -> None:
        """Maybe the oldest or newest point."""
        first, last = self.first, self.last
        if first is None or time_ns < first[0] or (time_ns == first[0] and beats(value, first[1])):
            self.first = (time_ns, value)
        if last is None or time_ns > last[0] or (time_ns == last[0] and beats(value, last[1])):
            self.last = (time_ns, value)


def beats(value: float, other: float) -> bool:
    """Whether a value counts and not another of the same time: the larger, before NaN."""
    return value > other or (math.isnan(other) and not math.isnan(value))
