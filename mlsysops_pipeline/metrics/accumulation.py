"""Adding the points of a delta stream up (component C10). No I/O and no clock.

A state is a tuple: when it was last heard of, the start, the time of the last point, and what was
counted so far. Every point becomes the total up to its time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from mlsysops_pipeline.metrics.exponential import Exponential
from mlsysops_pipeline.metrics.values import int64, totals, uint64

if TYPE_CHECKING:
    from collections.abc import Callable

OLDER_START, OUT_OF_ORDER, INVALID = "older_start", "out_of_order", "invalid"

State: TypeAlias = tuple[Any, ...]
Step: TypeAlias = "tuple[State | None, str]"
"""The new state, or why the point is to be dropped."""


def accumulate(kind: str, point: Any, state: State | None, now: float) -> Step:
    """Add a point to its stream, or begin a stream with it. It has a value."""
    start_ns, time_ns = point.start_time_unix_nano, point.time_unix_nano
    if state is not None:
        if start_ns < state[1]:
            return None, OLDER_START
        if time_ns <= state[2]:
            return None, OUT_OF_ORDER
    content = add(kind, point, state[3:] if state is not None else None)
    if content is None:
        return None, INVALID
    begin, values = content
    if state is not None and not begin:
        start_ns = state[1]
        point.start_time_unix_nano = start_ns
    return (now, start_ns, time_ns, *values), ""


def accumulate_number(
    start_ns: int, time_ns: int, value: float, state: State | None, now: float
) -> Step:
    """The same of a sum that is not opened, and whose point is not changed."""
    if state is None:
        return ((now, start_ns, time_ns, value), "") if math.isfinite(value) else (None, INVALID)
    if start_ns < state[1]:
        return None, OLDER_START
    if time_ns <= state[2]:
        return None, OUT_OF_ORDER
    total = add_numbers(value, state[3])
    return ((now, state[1], time_ns, total), "") if total is not None else (None, INVALID)


def add_numbers(one: float, other: float) -> float | None:
    """Their sum, integers as 64 bits hold it; nothing if it is no finite number."""
    total = one + other
    if isinstance(total, int):
        return int64(total)
    return total if math.isfinite(total) else None


Content: TypeAlias = "tuple[bool, tuple[Any, ...]] | None"
"""Whether the stream begins anew, and what a state has of a kind; nothing: no such point."""


def add(kind: str, point: Any, before: tuple[Any, ...] | None) -> Content:
    """Make a delta point, which has a value, the total of it and what was before.

    ``before`` is what this gave for the same stream.
    """
    return _ADDERS[kind](point, before)


def _number(point: Any, before: tuple[Any, ...] | None) -> Content:
    kind = point.WhichOneof("value") or "as_int"
    value = getattr(point, kind)
    if not math.isfinite(value):  # it would be all there is from here on
        return None
    if before is None:
        return False, (value,)
    total = add_numbers(value, before[0])
    if total is None:
        return None
    if isinstance(total, int):
        point.as_int = total
    else:
        point.as_double = total
    return False, (total,)


def _histogram(point: Any, before: tuple[Any, ...] | None) -> Content:
    counts, bounds = tuple(point.bucket_counts), tuple(point.explicit_bounds)
    if before is not None and bounds == before[5]:
        bounds = before[5]  # one object for all that came since
    if before is None or bounds != before[5] or len(counts) != len(before[4]):
        begins = before is not None  # it is the state from here on (DM-11)
        return begins, (point.count, *_sum_and_extremes(point), counts, bounds)
    count = uint64(before[0] + point.count)
    added = tuple(totals(before[4], counts))
    point.count = count
    point.bucket_counts[:] = added
    _add_sum_and_extremes(point, before)
    return False, (count, *_sum_and_extremes(point), added, bounds)


def _exponential(point: Any, before: tuple[Any, ...] | None) -> Content:
    found = Exponential.of(point)
    if found is None:
        return None
    if before is None:
        return False, (point.count, *_sum_and_extremes(point), found)
    merged = before[4].plus(found)
    point.count = uint64(before[0] + point.count)
    merged.write(point)
    _add_sum_and_extremes(point, before)
    return False, (point.count, *_sum_and_extremes(point), merged)


def _sum_and_extremes(point: Any) -> tuple[float | None, float | None, float | None]:
    return (
        point.sum if point.HasField("sum") else None,
        point.min if point.HasField("min") else None,
        point.max if point.HasField("max") else None,
    )


def _add_sum_and_extremes(point: Any, before: tuple[Any, ...]) -> None:
    """What one of them does not know, both together do not know either."""
    _, total, least, greatest, *_ = before
    if total is None or not point.HasField("sum"):
        point.ClearField("sum")
    else:
        point.sum += total
    if least is None or not point.HasField("min"):
        point.ClearField("min")
    else:
        point.min = min(point.min, least)
    if greatest is None or not point.HasField("max"):
        point.ClearField("max")
    else:
        point.max = max(point.max, greatest)


_ADDERS: dict[str, Callable[[Any, tuple[Any, ...] | None], Content]] = {
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
}
KINDS = frozenset(_ADDERS)
"""The names of ``data`` that can be accumulated."""
