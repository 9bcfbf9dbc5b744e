"""What callers may give for times, steps and expressions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlsysops_pipeline.query.arguments import checked_expression, checked_range, step_s, time_s

T0 = 1_700_000_000


@pytest.mark.parametrize(
    "time",
    [
        T0,
        float(T0),
        np.float64(T0),
        np.int64(T0),
        datetime.fromtimestamp(T0, UTC),
        datetime.fromtimestamp(T0, timezone(timedelta(hours=5))),
        pd.Timestamp(T0, unit="s", tz="Europe/Athens"),
    ],
)
def test_times(time: Any) -> None:
    assert T0 == time_s(time, "start")


@pytest.mark.parametrize(
    ("time", "error", "problem"),
    [
        (datetime(2024, 1, 1), ValueError, "start has no time zone"),  # noqa: DTZ001  that it is
        (math.nan, ValueError, "no time in seconds"),
        (math.inf, ValueError, "no time in seconds"),
        (T0 * 1000, ValueError, "no time in seconds"),
        ("2024-01-01T00:00:00Z", TypeError, "datetime or seconds since 1970, not str"),
        (None, TypeError, "not NoneType"),
        (True, TypeError, "not bool"),
    ],
)
def test_no_times(time: Any, error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        time_s(time, "start")


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (15, 15),
        (0.5, 0.5),
        ("15s", 15),
        ("1h30m", 5400),
        ("250ms", 0.25),
        (timedelta(minutes=2), 120),
        (np.int64(5), 5),
        (pd.Timedelta("1min"), 60),
    ],
)
def test_steps(step: Any, seconds: float) -> None:
    assert seconds == step_s(step)


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (0, "a millisecond at least"),
        (-1, "a millisecond at least"),
        (math.nan, "a millisecond at least"),
        (math.inf, "a millisecond at least"),
        ("0s", "a millisecond at least"),
        (timedelta(microseconds=10), "a millisecond at least"),
        ("15", "has no unit"),
        ("1d", "write days as 24h"),
        ("soon", "is no duration"),
    ],
)
def test_no_steps(step: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        step_s(step)


def test_a_range_ends_after_it_begins() -> None:
    assert (T0, T0, 1) == checked_range(T0, T0, 1)
    with pytest.raises(ValueError, match="is before start"):
        checked_range(T0, T0 - 1, 1)


def test_an_expression_is_a_text_that_is_not_empty() -> None:
    assert "up" == checked_expression("up")
    with pytest.raises(ValueError, match="empty"):
        checked_expression(" \n")
    with pytest.raises(TypeError, match="not NoneType"):
        checked_expression(None)  # type: ignore[arg-type]  # what is tested
