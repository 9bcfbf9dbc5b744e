"""A mergeable sketch of quantiles with a bound on its error. No I/O.

Values are counted in buckets of equal width on a logarithmic scale, those of an exponential
histogram at `SCALE_START`: bucket ``k`` holds ``2 ** ((k - 1) / 64) < value <= 2 ** (k / 64)``.
What stands for a bucket is at most **0.55 %** away from each value in it (`Sketch.error`).

When more than `BUCKETS_MAX` buckets are filled, all of them become twice as wide, two by two (as
in UDDSketch, Epicoco and others, 2020). So memory has a limit whatever comes, the error is the same
for all quantiles, and, because a wide bucket is made of whole narrow ones, **the result depends
only on which values came**: not on their order, and not on how they were split over sketches that
were merged. Merging is associative and commutative, and counts are exact. 2,048 buckets are enough
for every value from a nanosecond to four seconds before the first widening; after it the error is
at most 1.1 %, then 2.2 %, 4.4 %, and so on. The least and the greatest value are kept as they are.

Why not a library: `ddsketch` 3.0.1, pure Python and documented, is the nearest. Its bounded store
gives the lowest buckets up when they are too many, so that low quantiles have no bound (of 1e-300
and 1e300 it says 1e282 is the least); its other store has no limit (600 kB for those two). It
raises for infinities, takes NaN and the smallest doubles for zero, and takes 1.25 us a value where
`Sketch.add_all` takes 0.2 us. Digests (`tdigest`, `fastdigest`, `crick`) have no bound on the error
of a value and depend on the order of merging; HdrHistogram takes integers of a range that must be
known before.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SCALE_START = 6
"""As of an exponential histogram: 64 buckets from a number to its double."""
BUCKETS_MAX = 2048
"""Filled buckets of both signs together, about 130 bytes each."""

_ceil, _log2 = math.ceil, math.log2


class Sketch:
    """How many values lie where. NaN is left out: it has no place in an order.

    Infinities are counted at both ends, zero (of either sign) in a bucket of its own. ``least`` and
    ``greatest`` are exact; of no values they are infinity and minus infinity.
    """

    __slots__ = (
        *("_infinite", "_minus_infinite", "_negative", "_positive", "_zeros"),
        *("greatest", "least", "scale"),
    )

    def __init__(self) -> None:
        self.scale = SCALE_START
        self.least = math.inf
        self.greatest = -math.inf
        self._positive: Counter[int] = Counter()
        self._negative: Counter[int] = Counter()
        self._zeros = 0
        self._infinite = 0
        self._minus_infinite = 0

    @property
    def count(self) -> int:
        """How many values there are, without NaN."""
        finite = self._positive.total() + self._zeros + self._negative.total()
        return self._minus_infinite + finite + self._infinite

    @property
    def error(self) -> float:
        """The bound of the relative error of a quantile: 0.0055 until buckets are widened.

        It holds for all doubles of full precision, which are those from 2.3e-308 on.
        """
        base: float = 2.0 ** (2.0**-self.scale)
        # A rounding error of the logarithm may put a value into the next bucket.
        return (base - 1) / (base + 1) + 1e-12

    def add(self, value: float, count: int = 1) -> None:
        """Count a value that came so many times."""
        if value > 0:
            if value < math.inf:
                self._positive[_ceil(_log2(value) * 2.0**self.scale)] += count
            else:
                self._infinite += count
        elif value < 0:
            if value > -math.inf:
                self._negative[_ceil(_log2(-value) * 2.0**self.scale)] += count
            else:
                self._minus_infinite += count
        elif value == 0:
            self._zeros += count
        else:
            return
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)
        self._widen()

    def add_all(self, values: Sequence[float]) -> None:
        """Count many values, several times as fast as one by one."""
        if not values:
            return
        least, greatest = min(values), max(values)
        if not (least > 0 and greatest < math.inf) or math.isnan(sum(values)):
            self._add_any([value for value in values if not math.isnan(value)])
            return
        self._positive.update(self._places(values))
        self.least = min(self.least, least)
        self.greatest = max(self.greatest, greatest)
        self._widen()

    def _add_any(self, values: Sequence[float]) -> None:
        """The same of values that are not all positive and finite. None is NaN."""
        if not values:
            return
        self._positive.update(self._places([value for value in values if 0 < value < math.inf]))
        negative = [-value for value in values if -math.inf < value < 0]
        self._negative.update(self._places(negative))
        self._zeros += values.count(0)
        self._infinite += values.count(math.inf)
        self._minus_infinite += values.count(-math.inf)
        self.least = min(self.least, *values)
        self.greatest = max(self.greatest, *values)
        self._widen()

    def _places(self, values: Iterable[float]) -> Iterator[int]:
        """The buckets of positive values, in half the time of a loop."""
        return map(_ceil, map((2.0**self.scale).__mul__, map(_log2, values)))

    def merge(self, other: Sketch) -> None:
        """Take in what another has, which stays as it is."""
        if other.scale < self.scale:
            self._widen_to(other.scale)
        by = other.scale - self.scale
        self._positive.update(_shifted(other._positive, by))
        self._negative.update(_shifted(other._negative, by))
        self._zeros += other._zeros
        self._infinite += other._infinite
        self._minus_infinite += other._minus_infinite
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)
        self._widen()

    def quantile(self, fraction: float) -> float | None:
        """The value below which ``fraction`` (0 to 1) of the values lie; ``None`` of no values.

        As in PromQL and NumPy: the rank is ``fraction * (count - 1)``, and between two ranks it is
        interpolated. Exact at 0 and 1, and where all values are equal. Never NaN.
        """
        negative, positive = sorted(self._negative, reverse=True), sorted(self._positive)
        counts = [self._negative[place] for place in negative]
        counts += [self._zeros, *[self._positive[place] for place in positive]]
        ends = list(accumulate(counts, initial=self._minus_infinite))
        count = ends[-1] + self._infinite
        if not count:
            return None
        rank = min(max(fraction, 0.0), 1.0) * (count - 1)
        first = math.floor(rank)
        rest = rank - first

        def value(rank: int) -> float:
            if rank <= 0:
                return self.least
            if rank >= count - 1:
                return self.greatest
            place = bisect_right(ends, rank) - 1
            return self._value(place - len(negative), negative, positive)

        low, high = value(first), value(first + 1)
        if low == high or not rest:
            return low
        if math.isinf(low) or math.isinf(high):
            return low if rest < 0.5 else high
        return low * (1 - rest) + high * rest

    def _value(self, place: int, negative: Sequence[int], positive: Sequence[int]) -> float:
        """What stands for a bucket in the order of values; that of zero has the place 0."""
        if place < 0:
            at = place + len(negative)
            value = -self._middle(negative[at]) if at >= 0 else -math.inf
        elif place > 0:
            value = self._middle(positive[place - 1]) if place <= len(positive) else math.inf
        else:
            value = 0.0
        return min(max(value, self.least), self.greatest)

    def _middle(self, place: int) -> float:
        """What is equally far, in relation, from both ends of a bucket."""
        base: float = 2.0 ** (2.0**-self.scale)
        middle: float = 2.0 ** ((place - 1) * 2.0**-self.scale) * (2 * base / (base + 1))
        return min(middle, sys.float_info.max)

    def _widen(self) -> None:
        while len(self._positive) + len(self._negative) > BUCKETS_MAX:
            self._widen_to(self.scale - 1)

    def _widen_to(self, scale: int) -> None:
        by = self.scale - scale
        self._positive = _shifted(self._positive, by)
        self._negative = _shifted(self._negative, by)
        self.scale = scale

    def __repr__(self) -> str:
        return f"<Sketch count={self.count} error={self.error:.2%}>"


def _shifted(buckets: Counter[int], by: int) -> Counter[int]:
    """The buckets of a scale that is lower by that much."""
    if not by:
        return buckets
    wide: Counter[int] = Counter()
    for place, count in buckets.items():
        wide[-(-place >> by)] += count
    return wide
