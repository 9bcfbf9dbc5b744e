"""Waits between attempts (OC-12, OG-7)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.delivery import RetryConfig
from mlsysops_pipeline.delivery.retry import RetrySchedule


def middle() -> float:
    """The random number with which jitter changes nothing."""
    return 0.5


def waits(schedule: RetrySchedule, count: int) -> list[float | None]:
    return [schedule.next_wait_s(0.0) for _ in range(count)]


def test_waits_grow_up_to_the_longest() -> None:
    schedule = RetrySchedule(RetryConfig(), 0.0, middle)

    assert [5.0, 7.5, 11.25, 16.875, 25.3125, 30.0, 30.0] == waits(schedule, 7)


@pytest.mark.parametrize(("drawn", "first"), [(0.0, 2.5), (0.5, 5.0), (1.0, 7.5)])
def test_jitter_spreads_a_wait_around_its_middle(drawn: float, first: float) -> None:
    """OC-12: back-off with jitter."""
    schedule = RetrySchedule(RetryConfig(), 0.0, lambda: drawn)

    assert first == schedule.next_wait_s(0.0)


def test_a_wait_is_as_long_as_the_destination_asks_for() -> None:
    """OG-7."""
    schedule = RetrySchedule(RetryConfig(), 0.0, middle)

    assert 20.0 == schedule.next_wait_s(0.0, 20.0)


def test_waits_grow_from_what_the_destination_asked_for() -> None:
    """OG-7: "growing from there if it fails again"."""
    schedule = RetrySchedule(RetryConfig(), 0.0, middle)
    schedule.next_wait_s(0.0, 8.0)

    assert [12.0, 18.0] == waits(schedule, 2)


def test_a_shorter_wait_than_the_back_off_is_not_asked_for() -> None:
    schedule = RetrySchedule(RetryConfig(), 0.0, middle)

    assert 5.0 == schedule.next_wait_s(0.0, 0.1)


def test_the_last_wait_is_skipped_rather_than_cut() -> None:
    schedule = RetrySchedule(RetryConfig(max_elapsed_time=30.0), 100.0, middle)

    assert 5.0 == schedule.next_wait_s(125.0)
    assert schedule.next_wait_s(125.0) is None


def test_a_wait_that_the_destination_asks_for_may_be_too_long_to_wait() -> None:
    schedule = RetrySchedule(RetryConfig(), 0.0, middle)

    assert schedule.next_wait_s(0.0, 301.0) is None


def test_it_never_gives_up_if_so_configured() -> None:
    schedule = RetrySchedule(RetryConfig(max_elapsed_time=0.0), 0.0, middle)

    assert 5.0 == schedule.next_wait_s(1e9)


@settings(max_examples=50)
@given(
    initial=st.floats(0, 100),
    factor=st.floats(0, 1),
    multiplier=st.floats(0, 10),
    ceiling=st.floats(0, 100),
    asked=st.lists(st.none() | st.floats(0, 1000), max_size=20),
    drawn=st.floats(0, 1),
)
def test_every_wait_is_bounded_and_honours_the_destination(
    *,
    initial: float,
    factor: float,
    multiplier: float,
    ceiling: float,
    asked: list[float | None],
    drawn: float,
) -> None:
    config = RetryConfig(
        initial_interval=initial,
        randomization_factor=factor,
        multiplier=multiplier,
        max_interval=ceiling,
        max_elapsed_time=0.0,
    )
    schedule = RetrySchedule(config, 0.0, lambda: drawn)
    longest = max([initial, ceiling, *(wait or 0.0 for wait in asked)])
    for wish in asked:
        wait = schedule.next_wait_s(0.0, wish)

        assert wait is not None
        assert (wish or 0.0) <= wait <= max(longest * (1 + factor), wish or 0.0)
