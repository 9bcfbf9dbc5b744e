"""Histograms of both kinds: together, apart, and their quantiles (DM-2, DM-3, DM-11).

No I/O and no clock. A `Histogram` is what a data point says of its values, as plain data; where
the values are is `Explicit` or `mlsysops_pipeline.metrics.exponential.Exponential`, which have the
same methods. What one of two does not know (sum, least or greatest) both together do not know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

from mlsysops_pipeline.metrics.exponential import Exponential
from mlsysops_pipeline.metrics.values import differences, totals, uint64

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = frozenset({"histogram", "exponential_histogram"})
"""The names of ``data`` that a `Histogram` can be made of."""


@dataclass(frozen=True, slots=True)
class Explicit:
    """Counts between bounds: the first up to ``bounds[0]``, the last above ``bounds[-1]``."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, point: Any) -> Self | None:
        """Of a data point of a view; ``None`` if the bounds do not ascend or the counts do not fit.

        A point without buckets has all its values in one.
        """
        bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
        if not counts and not bounds:
            counts = (point.count,)
        if len(counts) != len(bounds) + 1:
            return None
        if not all(low < high for low, high in pairwise(bounds)):
            return None
        return None if any(map(math.isnan, bounds)) else cls(bounds, counts)

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def fits(self, other: Explicit | Exponential) -> bool:
        """Whether they can be put together: adding buckets of other bounds would be wrong."""
        return isinstance(other, Explicit) and self.bounds == other.bounds

    def plus(self, other: Explicit) -> Explicit:
        """Both together, which fit."""
        return Explicit(self.bounds, tuple(totals(self.counts, other.counts)))

    def since(self, earlier: Explicit) -> Explicit | None:
        """What came since ``earlier``, which fits; ``None`` if something went away."""
        counts = differences(self.counts, earlier.counts)
        return None if counts is None else Explicit(self.bounds, tuple(counts))

    def quantile(
        self, fraction: float, least: float | None = None, greatest: float | None = None
    ) -> float | None:
        """The value below which ``fraction`` (0 to 1) of the values lie; ``None`` if unknown.

        Interpolated within a bucket by the value, as Prometheus does: the first bucket begins at
        zero if its bound is above zero, and what lies beyond the last bound is said to lie there.
        Where ``least`` and ``greatest`` of all values are known, they are the ends instead.
        """
        rank = min(max(fraction, 0.0), 1.0) * self.total
        seen, edges, part = 0, None, 0.0
        for place, count in enumerate(self.counts):
            if not count:
                continue
            edges = self._edges(place, least, greatest)
            part = min(max((rank - seen) / count, 0.0), 1.0)
            seen += count
            if seen >= rank:
                break
        if edges is None:
            return None
        low, high = edges
        value = low + (high - low) * part
        value = value if least is None else max(value, least)
        return value if greatest is None else min(value, greatest)

    def _edges(
        self, place: int, least: float | None, greatest: float | None
    ) -> tuple[float, float] | None:
        """Where the values of a bucket may lie; ``None`` if nothing is known of them."""
        low = self.bounds[place - 1] if place else -math.inf
        high = self.bounds[place] if place < len(self.bounds) else math.inf
        low = low if least is None else max(low, least)
        high = high if greatest is None else min(high, greatest)
        if math.isinf(low) and math.isinf(high):
            return None
        if math.isinf(high):
            return low, low
        if math.isinf(low):
            return (0.0 if high > 0 else high), high
        return low, max(low, high)

    def write(self, point: Any) -> None:
        """Into a data point of a view."""
        point.explicit_bounds[:] = self.bounds
        point.bucket_counts[:] = self.counts


@dataclass(frozen=True, slots=True)
class Histogram:
    """What is known of values that were observed. An unknown sum or extreme is ``None``."""

    count: int
    sum: float | None
    min: float | None
    max: float | None
    buckets: Explicit | Exponential

    @classmethod
    def of(cls, point: Any, kind: str) -> Self | None:
        """Of a data point of a view whose ``data`` is ``kind``; ``None`` if it contradicts itself.

        That is: counts that do not add up, bounds that do not ascend, a scale or an index where no
        double lies (DM-5). `problem` says which. A sum or an extreme that is NaN is not known, and
        neither is an infinite sum, which would hide all that comes later.
        """
        maker = Exponential if kind == "exponential_histogram" else Explicit
        buckets = maker.of(point)
        if buckets is None or buckets.total != point.count:
            return None
        total = point.sum if point.HasField("sum") else math.nan
        least = point.min if point.HasField("min") else math.nan
        greatest = point.max if point.HasField("max") else math.nan
        return cls(
            point.count,
            total if math.isfinite(total) else None,
            None if math.isnan(least) else least,
            None if math.isnan(greatest) else greatest,
            buckets,
        )

    @property
    def mean(self) -> float | None:
        """Of all values; ``None`` if there are none or the sum is not known."""
        return self.sum / self.count if self.count and self.sum is not None else None

    def fits(self, other: Histogram) -> bool:
        """Whether `plus` and `since` make sense: with other bounds they do not (DM-11)."""
        if isinstance(self.buckets, Explicit):
            return self.buckets.fits(other.buckets)
        return isinstance(other.buckets, Exponential)

    def plus(self, other: Histogram) -> Histogram:
        """Both together, which fit (DM-2). An empty one changes nothing but where buckets are."""
        return Histogram(
            uint64(self.count + other.count),
            _both(self, other, "sum"),
            _both(self, other, "min"),
            _both(self, other, "max"),
            self.buckets.plus(other.buckets),  # type: ignore[arg-type]  # they fit
        )

    def since(self, earlier: Histogram) -> Histogram | None:
        """What came since ``earlier`` of the same stream; ``None`` if it began anew.

        It did if a bucket has less than before, or, without saying so, if the bounds are others.
        The extremes of all values say nothing of the last ones (DM-3).
        """
        if not self.fits(earlier) or self.count < earlier.count:
            return None
        buckets = self.buckets.since(earlier.buckets)  # type: ignore[arg-type]  # they fit
        if buckets is None:
            return None
        before = earlier.sum if earlier.count else 0.0
        total = None if self.sum is None or before is None else self.sum - before
        return Histogram(self.count - earlier.count, total, None, None, buckets)

    def without_extremes(self) -> Histogram:
        """The same as the increase of a cumulative stream from nothing (DM-3)."""
        if self.min is None and self.max is None:
            return self
        return replace(self, min=None, max=None)

    def quantile(self, fraction: float) -> float | None:
        """The value below which ``fraction`` (0 to 1) lie, interpolated within a bucket.

        ``None`` of no values, or if nothing is known of where they are.
        """
        return self.buckets.quantile(fraction, self.min, self.max)

    def write(self, point: Any) -> None:
        """Into a data point of a view. Times, attributes and flags are left alone."""
        point.count = self.count
        for name in ("sum", "min", "max"):
            value = getattr(self, name)
            if value is None:
                point.ClearField(name)
            else:
                setattr(point, name, value)
        self.buckets.write(point)


def merged(parts: Iterable[tuple[int, Histogram]]) -> tuple[Histogram | None, int]:
    """Histograms with their times as one, and how many had to be left out; ``None`` of none.

    All that have the bounds of the newest are added, in whatever order they stand; those with other
    bounds are left out (DM-11). Of several newest, the one with the greater bounds decides.
    """
    ordered = list(parts)
    if not ordered:
        return None, 0
    newest = max(ordered, key=_newness)[1]
    fitting = [part for part in map(itemgetter(1), ordered) if part.fits(newest)]
    total = fitting[0]
    for part in fitting[1:]:
        total = total.plus(part)
    return total, len(ordered) - len(fitting)


def problem(point: Any, kind: str) -> str:
    """Why `Histogram.of` gives nothing for a point, for a log; empty if it does give something."""
    if Histogram.of(point, kind) is not None:
        return ""
    if kind == "exponential_histogram":
        if Exponential.of(point) is None:
            return f"scale {point.scale}, zero threshold or an index is out of the range of doubles"
    elif Explicit.of(point) is None:
        return (
            f"{len(point.bucket_counts)} buckets do not fit {len(point.explicit_bounds)} bounds"
            " that ascend"
        )
    return f"the buckets do not add up to the count of {point.count}"


def _newness(part: tuple[int, Histogram]) -> tuple[int, tuple[float, ...]]:
    time_ns, histogram = part
    buckets = histogram.buckets
    return time_ns, buckets.bounds if isinstance(buckets, Explicit) else ()


def _both(one: Histogram, other: Histogram, name: str) -> float | None:
    """Sum, least or greatest of two. What has no values has nothing to say about it."""
    first: float | None = getattr(one, name)
    second: float | None = getattr(other, name)
    if bool(one.count) != bool(other.count):
        return first if one.count else second
    if first is None or second is None:
        return None
    if name != "sum":
        return min(first, second) if name == "min" else max(first, second)
    total = first + second
    return total if math.isfinite(total) else None
