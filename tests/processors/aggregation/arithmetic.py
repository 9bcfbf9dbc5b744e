"""The arithmetic of the recomputation: increases, sums, histograms, and functions of numbers."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tests.processors.aggregation.model import Point, Values, Within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SKETCH_ERROR = 0.0055
"""The bound that is documented."""


@dataclass(frozen=True)
class Last:
    """Up to where an input was counted."""

    start: int
    time: int
    value: Any
    has_ended: bool = False


def walk(
    points: Iterable[Point], last: Last | None, counts_fully: Callable[[Point], bool]
) -> tuple[list[tuple[int, Any]], Last | None]:
    """By how much a cumulative input increased and when (DM-6, DM-12), and how far it is counted.

    ``counts_fully``: whether a first point is an increase from nothing. Of histograms those with
    the bounds of the newest are left (DM-11).
    """
    parts: list[tuple[int, Any]] = []
    for point in points:
        if point.value is None:
            last = None if last is None else replace(last, has_ended=True)
            continue
        if last is None or (last.has_ended and not point.start):
            is_full = last is None and 0 < point.start < point.time and counts_fully(point)
            part = point.value if is_full else _nothing(point.value)
        elif point.start <= last.start:
            part = _since(point.value, last.value)
        elif point.start == point.time:
            part = _nothing(point.value)
        elif point.start >= last.time or not _has_grown(point.value, last.value):
            part = point.value
        else:
            part = _since(point.value, last.value)
        parts.append((point.time, part))
        is_new = last is None or (last.has_ended and not point.start)
        start = point.start if is_new or last is None else max(last.start, point.start)
        last = Last(start, point.time, point.value)
    return [part for part in parts if _fit(parts[-1][1], part[1])], last


def _fit(one: Any, other: Any) -> bool:
    return not isinstance(one, Values) or one.fits(other)


def together(parts: Sequence[tuple[int, Any]]) -> Any:
    """Numbers are added, and so are histograms with the bounds of the newest (DM-11)."""
    if not isinstance(parts[0][1], Values):
        return total_of([value for _, value in parts])
    _, newest = max(parts, key=lambda part: (part[0], part[1].layout))
    return merge([value for _, value in parts if newest.fits(value)])


def _has_grown(value: Any, before: Any) -> bool:
    if not isinstance(value, Values):
        return bool(value >= before)
    return _minus(value, before) is not None


def _since(value: Any, before: Any) -> Any:
    """The difference, or all of it if it fell: then it began anew without saying so."""
    if not isinstance(value, Values):
        return value - before if value >= before else value
    rest = _minus(value, before)
    return value if rest is None else rest


def _nothing(value: Any) -> Any:
    if not isinstance(value, Values):
        return type(value)(0)
    return Values(value.layout, (), 0.0)


def _minus(value: Values, before: Values) -> Values | None:
    if value.is_exponential:
        scale = min(value.layout, before.layout)
        layout, cells, old = scale, value.at(scale), before.at(scale)
    elif value.layout != before.layout:
        return None
    else:
        layout, cells, old = value.layout, Counter(dict(value.cells)), Counter(dict(before.cells))
    cells.subtract(old)
    if any(count < 0 for count in cells.values()):
        return None
    total = None if value.sum is None or before.sum is None else value.sum - before.sum
    return Values(layout, _cells(cells), total)


def _cells(counts: Counter[Any]) -> tuple[tuple[Any, int], ...]:
    return tuple(sorted((cell, count) for cell, count in counts.items() if count))


def total_of(values: Sequence[Any]) -> Any:
    """Of numbers. Integers stay integers; anything else is exact until the end."""
    if all(isinstance(value, int) for value in values):
        total = sum(values)
        return total if -(1 << 63) <= total < 1 << 63 else float(total)
    if not all(map(math.isfinite, values)):
        return float(sum(values))
    return float(sum(map(Fraction, values)))


def merge(parts: Sequence[Values]) -> Values:
    """All of them. They have the same bounds, or any scales."""
    scale = min(part.layout for part in parts) if parts[0].is_exponential else None
    cells: Counter[Any] = Counter()
    for part in parts:
        cells.update(Counter(dict(part.cells)) if scale is None else part.at(scale))
    known = [part for part in parts if part.count]
    return Values(
        parts[0].layout if scale is None else scale,
        _cells(cells),
        _all_known([part.sum for part in known or parts], total_of),
        _all_known([part.least for part in known], min),
        _all_known([part.greatest for part in known], max),
    )


def _all_known(values: list[Any], combine: Callable[[list[Any]], Any]) -> Any:
    return combine(values) if values and None not in values else None


def aggregate(function: str, values: list[Any]) -> Any:
    """Of plain numbers. NaN is left out where order counts."""
    if function in {"mean", "stddev"}:
        if not all(map(math.isfinite, values)):
            return math.nan if function == "stddev" else sum(values) / len(values)
        mean = sum(map(Fraction, values)) / len(values)
        if function == "mean":
            return float(mean)
        variance = sum((Fraction(value) - mean) ** 2 for value in values) / len(values)
        return math.sqrt(variance) if variance < sys.float_info.max else math.inf
    ordered = sorted(value for value in values if not math.isnan(value))
    if not ordered:
        return math.nan
    if function in {"min", "max"}:
        return ordered[0] if function == "min" else ordered[-1]
    rank = float(function[1:]) / 100 * (len(ordered) - 1)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    if math.isinf(low) or math.isinf(high):
        return Within(low, high)
    rest = rank - math.floor(rank)
    value = low * (1 - rest) + high * rest
    error = (abs(low) * (1 - rest) + abs(high) * rest) * SKETCH_ERROR + 1e-9
    return Within(value - error, value + error)


def bucket_of(values: Values, fraction: float) -> Within:
    """Where a quantile of a histogram must lie: in the bucket of its rank."""
    rank = fraction * values.count
    ordered = [cell for cell, count in sorted(values.cells, key=_position) for _ in range(count)]
    return _edges(values, ordered[min(max(math.ceil(rank) - 1, 0), len(ordered) - 1)])


def _position(counted: tuple[Any, int]) -> Any:
    cell, _ = counted
    if isinstance(cell, int):
        return cell
    sign, index = cell
    return sign, sign * index


def _edges(values: Values, cell: Any) -> Within:
    if values.is_exponential:
        sign, index = cell
        near = 2.0 ** (index * 2.0**-values.layout) * sign * (1 - 1e-9)
        far = 2.0 ** ((index + 1) * 2.0**-values.layout) * sign * (1 + 1e-9)
        return Within(min(near, far), max(near, far))
    bounds = (-math.inf, *values.layout, math.inf)
    return Within(bounds[cell], bounds[cell + 1])
