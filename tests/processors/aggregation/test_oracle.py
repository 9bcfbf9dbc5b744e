"""The recomputation itself, on cases that are worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.processors.aggregation.model import (
    CUMULATIVE,
    DELTA,
    Point,
    Rule,
    S,
    Series,
    Setup,
    Values,
    Within,
)
from tests.processors.aggregation.oracle import recompute

if TYPE_CHECKING:
    from collections.abc import Sequence

BORN = 1_000 * S
COUNTER = Series("m", "sum", "1", CUMULATIVE, is_monotonic=True)
Sent = tuple[float, float, Any]
"""Start (0: not known) and time in seconds since `BORN`, and a value."""


def results(points: Sequence[Sent], *functions: str, series: Series = COUNTER) -> list[Any]:
    """Start, time (in seconds since `BORN`) and value of all results, in the order of time."""
    rule = Rule(("*",), functions)
    made = [
        Point(series, BORN + int(start * S) if start else 0, BORN + int(time * S), value)
        for start, time, value in points
    ]
    found = recompute(Setup(10 * S, 5 * S, (rule,)), BORN, [(point.time, point) for point in made])
    assert not found.late
    return [
        ((result.start - BORN) / S, (result.time - BORN) / S, result.value)
        for result in found.results
    ]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        # What came before the first window counts from the start that is told, once.
        ([(-50, 2, 10), (-50, 12, 15)], [(-50, 10, 10), (-50, 20, 15)]),
        # Nobody knows since when: only what is added counts.
        ([(0, 2, 10), (0, 12, 15)], [(0, 10, 0), (0, 20, 5)]),
        # A new start is a reset: the total goes on (DM-6, DM-12).
        ([(-50, 2, 10), (11, 12, 3)], [(-50, 10, 10), (-50, 20, 13)]),
        # A start that is the time says that the start is not known.
        ([(-50, 2, 10), (12, 12, 3), (12, 13, 4)], [(-50, 10, 10), (-50, 20, 11)]),
        # A fall without a new start: a broken writer.
        ([(-50, 2, 10), (-50, 12, 3)], [(-50, 10, 10), (-50, 20, 13)]),
        # It ended, and comes back with the same start: nothing counts twice (DM-10).
        ([(-50, 2, 10), (0, 3, None), (-50, 12, 12)], [(-50, 10, 10), (-50, 20, 12)]),
        # Out of order within a window.
        ([(-50, 8, 12), (-50, 2, 10), (-50, 8, 12)], [(-50, 10, 12)]),
    ],
)
def test_running_totals(points: list[Sent], expected: list[Any]) -> None:
    assert expected == results(points, "sum")


def test_increases_do_not_count_what_was_before() -> None:
    points = [(-50, 2, 10), (-50, 9, 14), (11, 12, 3)]

    assert [(0, 10, 4), (10, 20, 3)] == results(points, "increase")
    assert [(0, 10, 0.4), (10, 20, 0.3)] == results(points, "rate")


def test_deltas_are_added_and_gauges_keep_their_last() -> None:
    delta = Series("m", "sum", "1", DELTA)
    gauge = Series("m", "gauge")

    assert [(0, 10, 7)] == results([(1, 2, 3), (2, 3, 4), (2, 3, 4)], "sum", series=delta)
    assert [(0, 10, 4)] == results([(0, 3, 4), (0, 2, 9)], "sum", series=gauge)
    assert [(0, 10, 2)] == results([(0, 3, 4), (0, 2, 9)], "count", series=gauge)
    ((*_, mean), (*_, deviation)) = results([(0, 3, 4), (0, 2, 8)], "mean", "stddev", series=gauge)
    assert (6.0, 2.0) == (mean, deviation)
    ((*_, median),) = results([(0, 3, 4), (0, 2, 8)], "p50", series=gauge)
    assert isinstance(median, Within)
    assert median.low < 6 < median.high


def test_histograms_are_merged_and_subtracted() -> None:
    """DM-3, DM-4."""
    totals = Series("m", "exponential_histogram", temporality=CUMULATIVE)
    fine = Values(1, (((1, 2), 1), ((1, 3), 2)), 9.0)
    coarse = Values(0, (((1, 1), 3), ((1, 2), 1)), 14.0)

    assert [
        (-50, 10, fine),
        (-50, 20, Values(0, (((1, 1), 3), ((1, 2), 1)), 14.0)),
    ] == results([(-50, 2, fine), (-50, 12, coarse)], "sum", series=totals)
    assert [(0, 10, 0), (10, 20, 1)] == results(
        [(-50, 2, fine), (-50, 12, coarse)], "increase", series=totals
    )
