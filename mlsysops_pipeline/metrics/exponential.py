"""Exponential histograms: to a lower scale, together and apart (conformance DM-4, DM-5).

All of it is exact: an index at a lower scale is the index shifted, negative ones too. Memory is
bounded whatever the offsets are: buckets are laid side by side only after they were brought to a
scale at which they are at most `BUCKETS_MAX`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from mlsysops_pipeline.metrics.values import uint64

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BUCKETS_MAX = 160
"""Buckets of either sign after a merge."""
SCALE_MIN, SCALE_MAX = -10, 20
"""Scales that doubles have a use for."""
_EXPONENT_MIN, _EXPONENT_MAX = -1074, 1024
"""Doubles other than zero are from ``2 ** _EXPONENT_MIN`` to just below ``2 ** _EXPONENT_MAX``."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Counts from the index ``offset`` on; neither the first nor the last is zero."""

    offset: int = 0
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, offset: int, counts: Sequence[int]) -> Self:
        """Any buckets."""
        first, last = 0, len(counts)
        while last and not counts[last - 1]:
            last -= 1
        while first < last and not counts[first]:
            first += 1
        return cls(offset + first, tuple(counts[first:last])) if last else cls()

    @property
    def end(self) -> int:
        """The index after the last."""
        return self.offset + len(self.counts)

    def downscaled(self, by: int) -> Buckets:
        """The same at a scale that is lower by that much."""
        if by <= 0 or not self.counts:
            return self
        first = self.offset >> by
        counts = [0] * (((self.end - 1) >> by) - first + 1)
        for index, count in enumerate(self.counts, self.offset):
            counts[(index >> by) - first] += count
        return Buckets.of(first, counts)

    def without(self, end: int) -> tuple[int, Buckets]:
        """How many are in buckets before an index, and the others."""
        cut = min(max(end - self.offset, 0), len(self.counts))
        if not cut:
            return 0, self
        return sum(self.counts[:cut]), Buckets.of(self.offset + cut, self.counts[cut:])

    def holds_doubles(self, scale: int) -> bool:
        """Whether there are doubles in the first bucket and in the last (DM-5)."""
        if not self.counts:
            return True
        width = 2.0**-scale
        return (self.offset + 1) * width >= _EXPONENT_MIN and (
            (self.end - 1) * width < _EXPONENT_MAX
        )

    def count_at(self, index: int) -> int:
        """What is in a bucket."""
        return self.counts[index - self.offset] if self.offset <= index < self.end else 0

    def plus(self, other: Buckets) -> Buckets:
        """Both together, at the same scale and not far from each other."""
        if not self.counts or not other.counts:
            return self if self.counts else other
        first = min(self.offset, other.offset)
        counts = [0] * (max(self.end, other.end) - first)
        for buckets in (self, other):
            for index, count in enumerate(buckets.counts, buckets.offset - first):
                counts[index] += count
        return Buckets.of(first, list(map(uint64, counts)))

    def minus(self, other: Buckets) -> Buckets | None:
        """What is here and not there; ``None`` if there is more there."""
        if not other.counts:
            return self
        if other.offset < self.offset or other.end > self.end:
            return None
        counts = list(self.counts)
        for index, count in enumerate(other.counts, other.offset - self.offset):
            counts[index] -= count
        return None if min(counts) < 0 else Buckets.of(self.offset, counts)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Where the values of an exponential histogram are."""

    scale: int
    zero_threshold: float
    zero_count: int
    positive: Buckets
    negative: Buckets

    @classmethod
    def of(cls, point: Any) -> Self | None:
        """Of a data point of a view; ``None`` if scale, threshold or an index make no sense.

        They make none if no double lies there (DM-5). Empty buckets may be anywhere.
        """
        scale = point.scale
        if not SCALE_MIN <= scale <= SCALE_MAX or not 0 <= point.zero_threshold < math.inf:
            return None
        positive = Buckets.of(point.positive.offset, point.positive.bucket_counts)
        negative = Buckets.of(point.negative.offset, point.negative.bucket_counts)
        if not (positive.holds_doubles(scale) and negative.holds_doubles(scale)):
            return None
        return cls(scale, point.zero_threshold, point.zero_count, positive, negative)

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(self.negative.counts) + self.zero_count + sum(self.positive.counts)

    def write(self, point: Any) -> None:
        """Into a data point of a view."""
        point.scale = self.scale
        point.zero_threshold = self.zero_threshold
        point.zero_count = self.zero_count
        for target, buckets in ((point.positive, self.positive), (point.negative, self.negative)):
            target.offset = buckets.offset
            target.bucket_counts[:] = buckets.counts

    def downscaled(self, scale: int) -> Exponential:
        """The same at a lower scale."""
        by = self.scale - scale
        if by <= 0:
            return self
        return replace(
            self,
            scale=scale,
            positive=self.positive.downscaled(by),
            negative=self.negative.downscaled(by),
        )

    def widened(self, threshold: float) -> Exponential:
        """The same with a larger zero bucket, which takes whole buckets only."""
        if threshold <= self.zero_threshold:
            return self
        end = math.floor(math.log2(threshold) * 2.0**self.scale)
        if self.positive.count_at(end) or self.negative.count_at(end):
            bound = _power(end, self.scale)
            if bound < threshold:
                end += 1
                threshold = _power(end, self.scale)
        positive_zeros, positive = self.positive.without(end)
        negative_zeros, negative = self.negative.without(end)
        return Exponential(
            self.scale,
            threshold,
            uint64(self.zero_count + positive_zeros + negative_zeros),
            positive,
            negative,
        )

    def plus(self, other: Exponential) -> Exponential:
        """Both together."""
        one, two = self._aligned(other)
        scale = _scale_for(one, two)
        one, two = one.downscaled(scale), two.downscaled(scale)
        return Exponential(
            scale,
            one.zero_threshold,
            uint64(one.zero_count + two.zero_count),
            one.positive.plus(two.positive),
            one.negative.plus(two.negative),
        )

    def minus(self, earlier: Exponential) -> Exponential | None:
        """What came since ``earlier``; ``None`` if that is not a part of this (a reset).

        A scale that rises and a threshold that falls are a reset too, as for the Collector: see
        `since` for what goes by the values alone.
        """
        if self.scale > earlier.scale or self.zero_threshold < earlier.zero_threshold:
            return None
        before = earlier.widened(self.zero_threshold).downscaled(self.scale)
        zeros = self.zero_count - before.zero_count
        positive = self.positive.minus(before.positive)
        negative = self.negative.minus(before.negative)
        if zeros < 0 or positive is None or negative is None:
            return None
        return Exponential(self.scale, self.zero_threshold, zeros, positive, negative)

    def since(self, earlier: Exponential) -> Exponential | None:
        """What came since ``earlier``, at the lower scale; ``None`` if something went away."""
        one, two = self._aligned(earlier)
        return one.minus(two)

    def quantile(
        self, fraction: float, least: float | None = None, greatest: float | None = None
    ) -> float | None:
        """The value below which ``fraction`` (0 to 1) of the values lie; ``None`` of no values.

        Within a bucket it is interpolated by the exponent, as Prometheus does, and in that of zero
        by the value. ``least`` and ``greatest`` are those of all values, where they are known.
        """
        rank = min(max(fraction, 0.0), 1.0) * self.total
        seen, value = 0, None
        for count, index, sign in self._in_order():
            if not count:
                continue
            part = min(max((rank - seen) / count, 0.0), 1.0)
            seen += count
            if sign:
                value = sign * _power(index + (part if sign > 0 else 1 - part), self.scale)
            else:
                value = self._in_zero_bucket(part)
            if seen >= rank:
                break
        if value is None:
            return None
        value = value if least is None else max(value, least)
        return value if greatest is None else min(value, greatest)

    def _in_order(self) -> Iterator[tuple[int, int, int]]:
        """Count, index and sign of all buckets from the lowest values on."""
        negative, positive = self.negative, self.positive
        for index in range(negative.end - 1, negative.offset - 1, -1):
            yield negative.counts[index - negative.offset], index, -1
        yield self.zero_count, 0, 0
        for index, count in enumerate(positive.counts, positive.offset):
            yield count, index, 1

    def _in_zero_bucket(self, part: float) -> float:
        """It reaches to the side on which there are other values."""
        low = -self.zero_threshold if self.negative.counts or not self.positive.counts else 0.0
        high = self.zero_threshold if self.positive.counts or not self.negative.counts else 0.0
        return low + (high - low) * part

    def _aligned(self, other: Exponential) -> tuple[Exponential, Exponential]:
        """Both at the same scale and with the same zero bucket."""
        scale = min(self.scale, other.scale)
        one, two = self.downscaled(scale), other.downscaled(scale)
        while one.zero_threshold != two.zero_threshold:
            # A threshold that cuts a bucket is raised to its end, and then the other follows.
            threshold = max(one.zero_threshold, two.zero_threshold)
            one, two = one.widened(threshold), two.widened(threshold)
        return one, two


def _power(index: float, scale: int) -> float:
    """The lower bound of a bucket, or the highest double. Also of a place within a bucket."""
    try:
        return float(2.0 ** (index * 2.0**-scale))
    except OverflowError:
        return sys.float_info.max


def _scale_for(one: Exponential, two: Exponential) -> int:
    """The highest scale at which both together have no more buckets than they may."""
    by = 0
    for first, second in ((one.positive, two.positive), (one.negative, two.negative)):
        filled = [buckets for buckets in (first, second) if buckets.counts]
        if filled:
            low = min(buckets.offset for buckets in filled)
            high = max(buckets.end for buckets in filled) - 1
            while (high >> by) - (low >> by) >= BUCKETS_MAX:
                by += 1
    return one.scale - by
