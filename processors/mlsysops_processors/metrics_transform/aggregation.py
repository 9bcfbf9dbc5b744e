"""Points that have become the same, made into one (component C5, aggregation detail).

The same are points with equal attributes and times, of deltas also equal starts, of histograms
equal bounds and of exponential ones equal scale. A point without a recorded value adds
nothing to others (DM-10).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.metrics.exponential import Exponential
from mlsysops_pipeline.metrics.identity import canonical_pairs
from mlsysops_pipeline.metrics.values import int64, totals, uint64
from mlsysops_pipeline.metrics.walking import DELTA, NO_VALUE

if TYPE_CHECKING:
    from collections.abc import Sequence

_INT_MAX = (1 << 63) - 1


def aggregate(metric: Any, kind: str, aggregation: str) -> int:
    """Make one of the points of a metric that are the same; how many are gone."""
    if kind == "summary":
        return 0
    data = getattr(metric, kind)
    is_delta = kind != "gauge" and data.aggregation_temporality == DELTA
    groups: dict[Any, list[Any]] = {}
    for point in data.data_points:
        groups.setdefault(_key(point, kind, is_delta=is_delta), []).append(point)
    before = len(data.data_points)
    if len(groups) == before:
        return 0
    merged = [
        _merged(points, kind, aggregation) if len(points) > 1 else points[0]
        for points in groups.values()
    ]
    del data.data_points[:]
    data.data_points.extend(merged)
    return before - len(merged)


def _key(point: Any, kind: str, *, is_delta: bool) -> tuple[Any, ...]:
    key = (
        canonical_pairs(point.attributes),
        point.time_unix_nano,
        point.start_time_unix_nano if is_delta else 0,
    )
    if kind in {"gauge", "sum"}:
        return key
    extremes = (point.HasField("min"), point.HasField("max"), point.flags)
    if kind == "histogram":
        return (*key, *extremes, len(point.bucket_counts), *point.explicit_bounds)
    if Exponential.of(point) is None:
        return (*key, id(point))  # it makes no sense, and stays what it is
    return (*key, *extremes, point.scale)


def _merged(points: Sequence[Any], kind: str, aggregation: str) -> Any:
    first = points[0]
    starts = [point.start_time_unix_nano for point in points]
    if kind in {"gauge", "sum"}:
        valued = [point for point in points if not point.flags & NO_VALUE]
        first = valued[0] if valued else first
        if len(valued) > 1:
            _merge_numbers(valued, aggregation)
    else:
        for other in points[1:]:
            if other.count:
                (_add_histogram if kind == "histogram" else _add_exponential)(first, other)
                _add_rest(first, other)
    for other in points:
        if other is not first:
            first.exemplars.extend(other.exemplars)
    if first.HasField("start_time_unix_nano") or any(starts):
        first.start_time_unix_nano = min(starts)
    return first


def _merge_numbers(points: Sequence[Any], aggregation: str) -> None:
    """Into the first, whose kind of number decides."""
    first = points[0]
    if first.WhichOneof("value") == "as_double":
        first.as_double = _doubles([float(_value(point)) for point in points], aggregation)
    else:
        first.as_int = int64(_integers([whole(_value(point)) for point in points], aggregation))


def _value(point: Any) -> float:
    kind = point.WhichOneof("value")
    found: float = 0 if kind is None else getattr(point, kind)
    return found


def whole(value: float) -> int:
    """A number without its fraction, in 64 bits; what is no number is 0."""
    if isinstance(value, int):
        return value
    if math.isnan(value):
        return 0
    return int(min(max(value, -_INT_MAX - 1), _INT_MAX)) if math.isfinite(value) else _end(value)


def _end(value: float) -> int:
    return _INT_MAX if value > 0 else -_INT_MAX - 1


def _doubles(values: list[float], aggregation: str) -> float:
    if aggregation in {"sum", "mean"}:
        total = sum(values)
        return total / len(values) if aggregation == "mean" else total
    if aggregation == "count":
        return float(len(values))
    if aggregation == "median":
        low, high = _middle(sorted(values))
        return float(low if low == high else (low + high) / 2)
    return math.nan if any(map(math.isnan, values)) else _extreme(values, aggregation)


def _integers(values: list[int], aggregation: str) -> int:
    if aggregation in {"sum", "mean"}:
        total = sum(values)
        return _divided(total, len(values)) if aggregation == "mean" else total
    if aggregation == "count":
        return len(values)
    if aggregation == "median":
        low, high = _middle(sorted(values))
        return low if low == high else _divided(low + high, 2)
    return int(_extreme(values, aggregation))


def _extreme(values: Sequence[float], aggregation: str) -> float:
    return max(values) if aggregation == "max" else min(values)


def _middle(values: Sequence[Any]) -> tuple[Any, Any]:
    return values[(len(values) - 1) // 2], values[len(values) // 2]


def _divided(total: int, count: int) -> int:
    """Towards zero, as Go divides integers."""
    return -(-total // count) if total < 0 else total // count


def _add_histogram(first: Any, other: Any) -> None:
    first.bucket_counts[:] = totals(first.bucket_counts, other.bucket_counts)


def _add_exponential(first: Any, other: Any) -> None:
    one, two = Exponential.of(first), Exponential.of(other)
    if one is not None and two is not None:  # which `_key` has seen to
        one.plus(two).write(first)


def _add_rest(first: Any, other: Any) -> None:
    """Count, sum and extremes; what one does not know, both do not know."""
    first.count = uint64(first.count + other.count)
    if first.HasField("sum") and other.HasField("sum"):
        first.sum += other.sum
    else:
        first.ClearField("sum")
    if first.HasField("min"):
        first.min = min(first.min, other.min)
    if first.HasField("max"):
        first.max = max(first.max, other.max)
