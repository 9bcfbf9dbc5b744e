"""Exponential histograms, recomputed bucket by bucket (DM-4)."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.metrics.exponential import BUCKETS_MAX, Buckets, Exponential

BUCKETS = st.builds(
    Buckets.of, st.integers(-400, 400), st.lists(st.integers(0, 5), max_size=BUCKETS_MAX)
)
HISTOGRAMS = st.builds(
    Exponential,
    st.integers(-2, 6),
    st.sampled_from([0.0, 0.0, 1e-3, 1.5, 1.0]),
    st.integers(0, 5),
    BUCKETS,
    BUCKETS,
)


def total(one: Exponential) -> int:
    return one.zero_count + sum(one.positive.counts) + sum(one.negative.counts)


def at_scale(buckets: Buckets, by: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for index, count in enumerate(buckets.counts, buckets.offset):
        if count:
            found[math.floor(index / 2**by)] += count
    return found


def counted(buckets: Buckets) -> Counter[int]:
    return at_scale(buckets, 0)


@settings(max_examples=80, deadline=None)
@given(one=HISTOGRAMS, other=HISTOGRAMS)
def test_merging_loses_nothing_and_is_commutative(one: Exponential, other: Exponential) -> None:
    both = one.plus(other)

    assert both == other.plus(one)
    assert total(one) + total(other) == total(both)
    assert both.zero_threshold >= max(one.zero_threshold, other.zero_threshold)
    assert len(both.positive.counts) <= BUCKETS_MAX
    if not one.zero_threshold and not other.zero_threshold:
        expected = at_scale(one.positive, one.scale - both.scale)
        expected += at_scale(other.positive, other.scale - both.scale)
        assert expected == counted(both.positive)


@settings(max_examples=80, deadline=None)
@given(one=HISTOGRAMS, other=HISTOGRAMS)
def test_what_was_added_can_be_taken_away(one: Exponential, other: Exponential) -> None:
    both = one.plus(other)
    rest = both.minus(one)

    assert rest is not None
    assert total(other) == total(rest)


@settings(max_examples=60, deadline=None)
@given(buckets=BUCKETS, by=st.integers(0, 40))
def test_downscaling_shifts_indexes(buckets: Buckets, by: int) -> None:
    assert at_scale(buckets, by) == counted(buckets.downscaled(by))


def test_a_threshold_that_cuts_a_bucket_is_raised_to_its_end() -> None:
    one = Exponential(0, 0.0, 1, Buckets(0, (2, 3)), Buckets())  # (1, 2] and (2, 4]

    assert Exponential(0, 2.0, 3, Buckets(1, (3,)), Buckets()) == one.widened(1.5)
    assert Exponential(0, 2.0, 3, Buckets(1, (3,)), Buckets()) == one.widened(2.0)
    assert Exponential(0, 0.75, 1, Buckets(0, (2, 3)), Buckets()) == one.widened(0.75)


def test_offsets_at_the_ends_of_their_range_take_no_memory() -> None:
    low = Exponential(20, 0.0, 0, Buckets(-(1 << 31), (1,)), Buckets())
    high = Exponential(-10, 1e300, 0, Buckets((1 << 31) - 1, (1,)), Buckets())

    both = low.plus(high)

    assert total(both) == 2
    assert len(both.positive.counts) <= BUCKETS_MAX


@settings(max_examples=60, deadline=None)
@given(one=HISTOGRAMS, other=HISTOGRAMS, scale=st.integers(-4, 8))
def test_a_difference_is_taken_at_the_lower_scale(
    one: Exponential, other: Exponential, scale: int
) -> None:
    """DM-4: where `minus` sees a reset in a scale that rises, `since` does not."""
    both = one.plus(other)
    before = one.downscaled(scale)
    rest = both.since(before)

    assert rest is not None
    assert min(both.scale, before.scale) == rest.scale
    assert total(other) == total(rest)
    assert one.since(both) is None or not total(other)
