"""Histograms of both kinds against the values that they were made of (DM-2, DM-3, DM-11)."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
)

from mlsysops_pipeline.metrics.exponential import Buckets, Exponential
from mlsysops_pipeline.metrics.histograms import Explicit, Histogram, merged, problem

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDS = (-5.0, 0.0, 1.0, 10.0)
OTHER_BOUNDS = (0.0, 2.0)
VALUES = st.lists(st.integers(-20, 30).map(float), max_size=12)


def explicit(values: Sequence[float], bounds: tuple[float, ...] = BOUNDS) -> Histogram:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    return histogram(values, Explicit(bounds, tuple(counts)))


def exponential(values: Sequence[float], scale: int = 2) -> Histogram:
    sides = []
    for sign in (1, -1):
        indexes = [
            math.ceil(math.log2(sign * value) * 2**scale) - 1
            for value in values
            if sign * value > 0
        ]
        low = min(indexes, default=0)
        counts = [indexes.count(low + i) for i in range(max(indexes, default=-1) - low + 1)]
        sides.append(Buckets.of(low, counts))
    return histogram(values, Exponential(scale, 0.0, list(values).count(0), *sides))


def histogram(values: Sequence[float], buckets: Explicit | Exponential) -> Histogram:
    if not values:
        return Histogram(0, None, None, None, buckets)
    return Histogram(len(values), sum(values), min(values), max(values), buckets)


MAKERS = pytest.mark.parametrize("make", [explicit, exponential])


@MAKERS
@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(parts=st.lists(VALUES, min_size=3, max_size=3))
def test_merging_is_that_of_the_values_in_any_order(make: Any, parts: list[list[float]]) -> None:
    """DM-2: counts, sums and buckets add, extremes combine; associative and commutative."""
    a, b, c = map(make, parts)

    assert (
        make([*parts[0], *parts[1], *parts[2]])
        == a.plus(b).plus(c)
        == a.plus(b.plus(c))
        == c.plus(a).plus(b)
    )


@MAKERS
@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(before=VALUES, more=VALUES)
def test_an_increase_is_that_of_the_values(
    make: Any, before: list[float], more: list[float]
) -> None:
    """DM-3: without extremes."""
    increase = make(before + more).since(make(before))

    assert increase is not None
    assert (len(more), None, None) == (increase.count, increase.min, increase.max)
    assert increase.sum == sum(more) or not before + more
    assert make(more).buckets == increase.buckets


@MAKERS
@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(values=VALUES.filter(bool), lost=st.data())
def test_what_went_away_is_a_reset(make: Any, values: list[float], lost: st.DataObject) -> None:
    """DM-6."""
    at = lost.draw(st.integers(0, len(values) - 1))
    fewer = values[:at] + values[at + 1 :]

    assert make(fewer).since(make(values)) is None
    in_another_bucket = 1000.0 if values[at] < 0 else -1000.0
    assert make([*fewer, in_another_bucket]).since(make(values)) is None


def test_an_increase_over_other_bounds_is_a_reset() -> None:
    """DM-11: and kinds never mix."""
    assert explicit([1.0, 2.0], OTHER_BOUNDS).since(explicit([1.0])) is None
    assert not explicit([1.0]).fits(explicit([1.0], OTHER_BOUNDS))
    assert not explicit([1.0]).fits(exponential([1.0]))
    assert not exponential([1.0]).fits(explicit([1.0]))


def test_a_scale_that_rose_is_brought_down_for_the_difference() -> None:
    """DM-4."""
    values = [0.5, 1.0, 3.0, -4.0, 0.0]

    assert exponential([7.0], 1).buckets == (
        increase(exponential([*values, 7.0], 5), exponential(values, 1))
    )
    assert exponential([7.0], 1).buckets == (
        increase(exponential([*values, 7.0], 1), exponential(values, 5))
    )


def increase(new: Histogram, old: Histogram) -> Explicit | Exponential:
    found = new.since(old)
    assert found is not None
    return found.buckets


def test_the_bounds_of_the_newest_decide_in_any_order() -> None:
    """DM-11: the others are left out, and how many they are is told."""
    old, new = explicit([1.0, 2.0]), explicit([1.0], OTHER_BOUNDS)
    parts = [(1, old), (3, new), (2, old), (2, new)]

    assert (new.plus(new), 2) == merged(parts) == merged(reversed(parts))
    assert (None, 0) == merged([])
    assert merged([(1, new), (1, old)]) == merged([(1, old), (1, new)])


def test_what_one_does_not_know_both_do_not_know() -> None:
    known, unknown = explicit([2.0]), Histogram(1, None, None, 4.0, explicit([4.0]).buckets)
    both = known.plus(unknown)

    assert (2, None, None, 4.0) == (both.count, both.sum, both.min, both.max)
    assert both.mean is None
    assert (1, 2.0, 2.0, 2.0) == _plain(known.plus(explicit([])))
    assert (1, 2.0, 2.0, 2.0) == _plain(explicit([]).plus(known))
    assert (1, 2.0, None, None) == _plain(known.without_extremes())
    huge = Histogram(1, 1.7e308, None, None, known.buckets)
    assert huge.plus(huge).sum is None


def _plain(of: Histogram) -> tuple[float | None, ...]:
    return of.count, of.sum, of.min, of.max


def point(**fields: Any) -> Any:
    made = HistogramDataPoint(explicit_bounds=[1.0, 2.0], bucket_counts=[1, 2, 3], count=6, sum=9.0)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(made, name)[:] = value
        else:
            setattr(made, name, value)
    return made


def test_a_point_is_read_and_written() -> None:
    found = Histogram.of(point(min=0.5, max=7.0), "histogram")
    expected = Histogram(6, 9.0, 0.5, 7.0, Explicit((1.0, 2.0), (1, 2, 3)))
    written = point(min=1.0, bucket_counts=[9], count=1)

    assert expected == found
    expected.without_extremes().write(written)
    assert point() == written
    empty = Histogram.of(HistogramDataPoint(count=4, sum=2.0), "histogram")
    assert empty == Histogram(4, 2.0, None, None, Explicit((), (4,)))


def test_sums_and_extremes_that_are_no_numbers_are_not_known() -> None:
    found = Histogram.of(point(sum=math.inf, min=math.nan, max=math.inf), "histogram")

    assert found is not None
    assert (6, None, None, math.inf) == _plain(found)
    assert found.quantile(0.9) == 2.0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"count": 7}, "do not add up to the count of 7"),
        ({"bucket_counts": [1, 5]}, "2 buckets do not fit 2 bounds"),
        ({"bucket_counts": []}, "0 buckets do not fit"),
        ({"explicit_bounds": []}, "3 buckets do not fit 0"),
        ({"explicit_bounds": [2.0, 1.0]}, "ascend"),
        ({"explicit_bounds": [1.0, 1.0]}, "ascend"),
        ({"explicit_bounds": [1.0, math.nan]}, "ascend"),
    ],
)
def test_explicit_points_that_contradict_themselves_are_rejected(
    fields: dict[str, Any], said: str
) -> None:
    assert Histogram.of(point(**fields), "histogram") is None
    assert said in problem(point(**fields), "histogram")
    assert problem(point(), "histogram") == ""


def exponential_point(scale: int, index: int, **fields: Any) -> Any:
    made = ExponentialHistogramDataPoint(scale=scale, count=1, **fields)
    made.positive.offset = index
    made.positive.bucket_counts.append(1)
    return made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (exponential_point(21, 0), "scale 21"),
        (exponential_point(-11, 0), "scale -11"),
        (exponential_point(0, 1024), "index"),
        (exponential_point(0, -1076), "index"),
        (exponential_point(20, 2**31 - 1), "index"),
        (exponential_point(-10, 1), "index"),
        (exponential_point(0, 0, zero_threshold=math.nan), "threshold"),
        (exponential_point(0, 0, zero_threshold=-1.0), "threshold"),
        (exponential_point(0, 0, zero_count=1), "do not add up"),
    ],
)
def test_exponential_points_out_of_range_are_rejected(made: Any, said: str) -> None:
    """DM-5."""
    kind = "exponential_histogram"

    assert Histogram.of(made, kind) is None
    assert said in problem(made, kind)


@pytest.mark.parametrize(
    ("scale", "index"), [(0, 1023), (0, -1075), (20, 1024 * 2**20 - 1), (-10, 0), (-10, -2)]
)
def test_exponential_points_at_the_ends_of_the_range_are_taken(scale: int, index: int) -> None:
    """DM-5: an empty bucket may be anywhere."""
    made = exponential_point(scale, index)
    made.negative.offset = 2**31 - 1
    made.negative.bucket_counts.append(0)
    found = Histogram.of(made, "exponential_histogram")

    assert found is not None
    assert found.quantile(0.5) is not None
    assert math.isfinite(found.quantile(0.5) or 0)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(values=VALUES, fraction=st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(
    values: list[float], fraction: float
) -> None:
    rank = math.ceil(fraction * len(values)) - 1
    if not values:
        assert explicit(values).quantile(fraction) is None
        assert exponential(values).quantile(fraction) is None
        return
    expected = sorted(values)[max(rank, 0)]
    found, logarithmic = explicit(values).quantile(fraction), exponential(values).quantile(fraction)

    assert found is not None
    assert logarithmic is not None
    assert min(values) <= found <= max(values)
    edges = (-math.inf, *BOUNDS, math.inf)
    place = bisect_left(BOUNDS, expected)
    assert edges[place] <= found <= edges[place + 1]
    assert logarithmic == pytest.approx(expected, rel=2**0.25 - 1 + 1e-9)


def test_quantiles_without_extremes_are_those_of_prometheus() -> None:
    made = explicit([0.5, 0.5, 5.0, 5.0, 100.0], (1.0, 10.0)).without_extremes()

    assert made.quantile(0.2) == 0.5  # the first bucket begins at zero
    assert made.quantile(0.6) == 5.5
    assert made.quantile(1.0) == 10.0  # beyond the last bound
    assert explicit([-9.0], (-5.0, 1.0)).without_extremes().quantile(0.5) == -5.0
    assert Explicit((), (3,)).quantile(0.5) is None
    assert Explicit((), (3,)).quantile(0.5, 1.0, 3.0) == 2.0
    assert Explicit((1.0, math.inf), (1, 1, 0)).quantile(1.0) == 1.0
    assert Explicit((-math.inf, 1.0), (0, 1, 0)).quantile(1.0) == 1.0


def test_the_zero_bucket_reaches_to_where_other_values_are() -> None:
    zeros = Exponential(0, 0.5, 4, Buckets(), Buckets())

    assert zeros.quantile(0.5) == 0.0
    assert zeros.plus(Exponential(0, 0.5, 0, Buckets(0, (4,)), Buckets())).quantile(0.25) == 0.25
    assert zeros.plus(Exponential(0, 0.5, 0, Buckets(), Buckets(0, (4,)))).quantile(0.75) == -0.25
