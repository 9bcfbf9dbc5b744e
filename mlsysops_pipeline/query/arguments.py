"""What callers give, as the HTTP API writes it. `ValueError` and `TypeError` for what is wrong."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from numbers import Real
from typing import Final, TypeAlias

from mlsysops_pipeline.config.values import parse_duration

__all__ = ["Step", "Time", "checked_expression", "checked_range", "step_s", "time_s"]

Time: TypeAlias = datetime | float
"""A `datetime` with a time zone (`pandas.Timestamp` is one), or seconds since 1970."""

Step: TypeAlias = timedelta | float | str
"""A `timedelta`, seconds, or a duration such as ``15s`` or ``1h30m``."""

_TIME_S_MAX: Final = 9e9
_STEP_S_MIN: Final = 0.001


def checked_expression(expression: str) -> str:
    """A PromQL expression that is not empty."""
    if not isinstance(expression, str):
        raise TypeError(f"an expression is a text, not {type(expression).__name__}")
    if not expression.strip():
        raise ValueError("the expression is empty")
    return expression


def checked_range(start: Time, end: Time, step: Step) -> tuple[float, float, float]:
    """All three in seconds."""
    start_s, end_s = time_s(start, "start"), time_s(end, "end")
    if end_s < start_s:
        raise ValueError(f"end ({end}) is before start ({start})")
    return start_s, end_s, step_s(step)


def time_s(time: Time, name: str) -> float:
    """Seconds since 1970."""
    if isinstance(time, datetime):
        if time.utcoffset() is None:
            raise ValueError(
                f"{name} has no time zone: use datetime.now(UTC), or .astimezone() for local time"
            )
        return time.timestamp()
    seconds = _real(time, name, "a datetime or seconds since 1970")
    if not abs(seconds) <= _TIME_S_MAX:
        raise ValueError(f"{name} ({time}) is no time in seconds since 1970")
    return seconds


def step_s(step: Step) -> float:
    """Seconds between two points, at least a millisecond."""
    if isinstance(step, timedelta):
        seconds = step.total_seconds()
    elif isinstance(step, str):
        seconds = parse_duration(step)
    else:
        seconds = _real(step, "step", "a timedelta, seconds or a duration such as 15s")
    if not _STEP_S_MIN <= seconds < math.inf:
        raise ValueError(f"step ({step}) must be a millisecond at least")
    return seconds


def _real(number: object, name: str, wanted: str) -> float:
    if isinstance(number, bool) or not isinstance(number, Real):
        raise TypeError(f"{name} is {wanted}, not {type(number).__name__}")
    return float(number)
