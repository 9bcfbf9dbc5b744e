"""From one point of a cumulative stream to the next (component C9). No I/O and no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from mlsysops_pipeline.metrics.exponential import Exponential
from mlsysops_pipeline.metrics.values import differences, int64, uint64

if TYPE_CHECKING:
    from collections.abc import Callable

RESET, INITIAL, MISMATCH = "reset", "initial", "bucket_mismatch"
OUT_OF_ORDER, INVALID = "out_of_order", "invalid"

State: TypeAlias = tuple[Any, ...]
"""When it was last heard of, the time of the last point, and what that said."""


@dataclass(frozen=True, slots=True)
class Initial:
    """What becomes of the first point of a stream. ``since_ns``: when the component started."""

    mode: str
    since_ns: int

    def keeps(self, start_ns: int, time_ns: int) -> bool:
        """Whether the first point goes on as it is, as the sum of all since its start."""
        if self.mode == "auto":
            return self.since_ns <= start_ns != time_ns
        return self.mode == "keep"


Step: TypeAlias = "tuple[State | None, str]"
"""What to remember, if anything, and why the point is to be dropped; nothing: it was changed."""


def number(point: Any, state: State | None, now: float, initial: Initial) -> Step:
    """A point of a monotonic sum. It is no NaN."""
    kind = point.WhichOneof("value") or "as_int"
    time_ns = point.time_unix_nano
    value = getattr(point, kind)
    if state is None:
        is_kept = initial.keeps(point.start_time_unix_nano, time_ns)
        return (now, time_ns, value), "" if is_kept else INITIAL
    cause = why_not(time_ns, value, state)
    if cause == OUT_OF_ORDER:
        return None, cause
    if not cause:
        setattr(point, kind, difference(value, state[2]))
        point.start_time_unix_nano = state[1]
    return (now, time_ns, value), cause


def why_not(time_ns: int, value: float, state: State) -> str:
    """Why there is no difference to the last point of a sum; nothing: there is."""
    if time_ns < state[1]:
        return OUT_OF_ORDER
    return RESET if value < state[2] else ""


def difference(value: float, before: float) -> float:
    """What a value, which is not smaller, has more than one of its kind."""
    delta = value - before
    if isinstance(delta, int):
        return int64(delta)
    # Infinity stays infinity, and adds nothing.
    return delta if delta == delta else 0.0  # noqa: PLR0124  a NaN, in half the time


def histogram(point: Any, state: State | None, now: float, initial: Initial) -> Step:
    """A point with explicit bounds. A reset goes on as it is, as the sum of all since then."""
    time_ns = point.time_unix_nano
    total = point.sum if point.HasField("sum") else None
    if state is not None and total is not None and math.isnan(total):
        total = state[3]
    bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    if state is not None and bounds == state[4]:
        bounds = state[4]  # one object for all streams that come from here
    after = (now, time_ns, point.count, total, bounds, counts)
    if state is None:
        _clear_extremes(point)
        return after, "" if initial.keeps(point.start_time_unix_nano, time_ns) else INITIAL
    if time_ns < state[1]:
        return None, OUT_OF_ORDER
    _, since_ns, old_count, old_total, old_bounds, old_counts = state
    if len(counts) != len(old_counts) or bounds != old_bounds:
        return after, MISMATCH
    _clear_extremes(point)
    point.start_time_unix_nano = since_ns
    deltas = differences(counts, old_counts)
    if point.count < old_count or deltas is None:
        return after, ""
    point.count -= old_count
    point.bucket_counts[:] = deltas
    _write_sum(point, total, old_total)
    return after, ""


def exponential(point: Any, state: State | None, now: float, initial: Initial) -> Step:
    """A point of an exponential histogram. What is seen at a reset is not remembered."""
    found = Exponential.of(point)
    if found is None:
        return None, INVALID
    time_ns = point.time_unix_nano
    total = point.sum if point.HasField("sum") else None
    after = (now, time_ns, point.count, total, found)
    if state is None:
        _clear_extremes(point)
        return after, "" if initial.keeps(point.start_time_unix_nano, time_ns) else INITIAL
    if time_ns < state[1]:
        return None, OUT_OF_ORDER
    _, since_ns, old_count, old_total, old = state
    delta = found.minus(old) if point.count >= old_count else None
    if delta is None:
        return None, RESET
    _clear_extremes(point)
    point.start_time_unix_nano = since_ns
    point.count = uint64(point.count - old_count)
    delta.write(point)
    _write_sum(point, total, old_total)
    return after, ""


def _write_sum(point: Any, new: float | None, old: float | None) -> None:
    if new is None or old is None:
        point.ClearField("sum")
    else:
        point.sum = new - old


def _clear_extremes(point: Any) -> None:
    """The least and greatest of all since the start say nothing of what came last (DM-3)."""
    point.ClearField("min")
    point.ClearField("max")


CONVERSIONS: dict[str, Callable[[Any, State | None, float, Initial], Step]] = {
    "sum": number,
    "histogram": histogram,
    "exponential_histogram": exponential,
}
