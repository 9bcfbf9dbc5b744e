"""What a series holds, and how changes are added to it (conformance DM-7, DM-11). Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing import Any

    from mlsysops_pipeline.prometheus.points import Buckets, ExponentialPoint

_EXPONENT_MAX = 1023
_TINY = 1e-128
"""A zero bucket that is no wider than this holds zeros."""


class Histogram:
    """A histogram of fixed buckets. Never changed: a series gets another one.

    ``buckets[i]`` counts what is at most ``bounds[i]``; the last is the count. ``grid``: for what
    was exponential, the scale and the zero threshold that its bounds were made with.
    """

    __slots__ = ("bounds", "buckets", "grid", "sum")

    def __init__(
        self,
        bounds: tuple[float, ...],
        buckets: tuple[int, ...],
        sum_: float | None,
        grid: tuple[int, float] | None = None,
    ) -> None:
        self.bounds = bounds
        self.buckets = buckets
        self.sum = sum_
        self.grid = grid


class Summary:
    """A summary. Never changed."""

    __slots__ = ("count", "quantiles", "sum")

    def __init__(self, quantiles: tuple[tuple[float, float], ...], count: int, sum_: float) -> None:
        self.quantiles = quantiles
        self.count = count
        self.sum = sum_


Value: TypeAlias = int | float | Histogram | Summary


def lines(value: Value) -> int:
    """How many lines of a page a value takes."""
    if isinstance(value, Histogram):
        return len(value.buckets) + 2
    if isinstance(value, Summary):
        return len(value.quantiles) + 2
    return 1


def added(total: Value | None, change: Value) -> Value:
    """``total`` and ``change`` together; the change alone where they do not fit (DM-11)."""
    if isinstance(change, Histogram):
        return _added_histogram(total, change) if isinstance(total, Histogram) else change
    if isinstance(change, Summary) or total is None or isinstance(total, Histogram | Summary):
        return change
    return total + change


def _added_histogram(total: Histogram, change: Histogram) -> Histogram:
    if total.grid != change.grid:
        return change
    sum_ = None if total.sum is None or change.sum is None else total.sum + change.sum
    if total.bounds == change.bounds:
        pairs = zip(total.buckets, change.buckets, strict=True)
        return Histogram(change.bounds, tuple([a + b for a, b in pairs]), sum_, change.grid)
    if total.grid is None:
        return change
    # Bounds of one grid without gaps: what one of them does not name lies beyond its ends.
    bounds = tuple(sorted({*total.bounds, *change.bounds}))
    counts = [_at_most(total, bound) + _at_most(change, bound) for bound in bounds]
    return Histogram(bounds, (*counts, total.buckets[-1] + change.buckets[-1]), sum_, change.grid)


def _at_most(histogram: Histogram, bound: float) -> int:
    place = bisect_right(histogram.bounds, bound)
    return histogram.buckets[place - 1] if place else 0


def fixed(point: ExponentialPoint[Any]) -> Histogram:
    """An exponential histogram with bounds that are powers of two.

    Text formats have no exponential histograms. Buckets are merged until each reaches from one
    power of two to the next (for scales below zero from one power of ``2 ** 2**-scale`` to the
    next), which is exact and makes bounds that stay when the scale changes, so that rates can be
    taken of them. The bucket of zeros ends at its threshold.
    """
    scale = min(point.scale, 0)
    shift, width = point.scale - scale, 1 << -scale
    threshold = point.zero_threshold if point.zero_threshold > _TINY else 0.0
    negative, near_zero = _powers(point.negative, shift, width, threshold, is_negative=True)
    positive, rest = _powers(point.positive, shift, width, threshold, is_negative=False)
    near_zero += rest + point.zero_count
    bounds: list[float] = []
    counts: list[int] = []
    total = 0
    for bound, count in (*reversed(negative), (threshold, near_zero), *positive):
        total += count
        if -math.inf < bound < math.inf:
            bounds.append(bound)
            counts.append(total)
    grid = (scale, threshold)
    return Histogram(tuple(bounds), (*counts, max(total, point.count)), point.sum, grid)


def _powers(
    buckets: Buckets, shift: int, width: int, threshold: float, *, is_negative: bool
) -> tuple[list[tuple[float, int]], int]:
    """Upper bounds with their counts, from zero outward, and what lies within the threshold."""
    offset, counts = buckets
    merged: dict[int, int] = {}
    for index, count in enumerate(counts, offset):
        if count:
            merged[index >> shift] = merged.get(index >> shift, 0) + count
    if not merged:
        return [], 0
    near_zero = 0
    found: dict[float, int] = {}
    # One more bucket, which is empty, says where the outermost or innermost one begins.
    first, last = min(merged) - (not is_negative), max(merged) + is_negative
    for index in range(first, last + 1):
        count = merged.get(index, 0)
        outer = _power((index + 1) * width)
        if outer <= threshold:
            near_zero += count
            continue
        bound = -max(_power(index * width), threshold) if is_negative else outer
        if not bound:
            near_zero += count
            continue
        found[bound] = found.get(bound, 0) + count
    return list(found.items()), near_zero


def _power(exponent: int) -> float:
    return math.ldexp(1.0, exponent) if exponent <= _EXPONENT_MAX else math.inf
