"""The sketch of quantiles against the sorted values."""

from __future__ import annotations

import math
import random
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.metrics.sketch import BUCKETS_MAX, SCALE_START, Sketch

if TYPE_CHECKING:
    from collections.abc import Sequence

NORMAL = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.floats(-1000, 1000, allow_subnormal=False),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from([0, 0.0, -0.0, 1.0, 2.0, -4.0, sys.float_info.max, sys.float_info.min]),
)
ANY = st.one_of(NORMAL, st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 5e-324]))
FRACTIONS = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.99, 1.0]))


def sketch(values: Sequence[float]) -> Sketch:
    made = Sketch()
    made.add_all(values)
    return made


def state(of: Sketch) -> tuple[object, ...]:
    return tuple(getattr(of, name) for name in Sketch.__slots__)


def exact(values: Sequence[float], fraction: float) -> tuple[float, float]:
    """The quantile as NumPy has it, and what a relative error of 1 in both neighbours means."""
    ordered = sorted(values)
    rank = fraction * (len(ordered) - 1)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    rest = rank - math.floor(rank)
    return low * (1 - rest) + high * rest, abs(low) * (1 - rest) + abs(high) * rest


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(values=st.lists(NORMAL, min_size=1, max_size=60), fraction=FRACTIONS)
def test_a_quantile_is_within_the_bound_of_the_exact_one(
    values: list[float], fraction: float
) -> None:
    made = sketch(values)
    expected, unit = exact(values, fraction)
    found = made.quantile(fraction)

    assert made.error < 0.0055
    assert found is not None
    assert abs(found - expected) <= unit * (made.error + 1e-9)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.lists(ANY, max_size=30), min_size=1, max_size=5), data=st.data())
def test_only_the_values_count_not_order_nor_grouping(
    parts: list[list[float]], data: st.DataObject
) -> None:
    """Merging is associative and commutative, and so is adding one by one."""
    values = [value for part in parts for value in part]
    one_by_one = Sketch()
    for value in data.draw(st.permutations(values)):
        one_by_one.add(value)
    sketches = [sketch(part) for part in data.draw(st.permutations(parts))]
    while len(sketches) > 1:
        at = data.draw(st.integers(0, len(sketches) - 2))
        other = sketches.pop(at + 1)
        before = state(other)
        sketches[at].merge(other)
        assert before == state(other)

    assert state(sketch(values)) == state(one_by_one) == state(sketches[0])
    assert sum(not math.isnan(value) for value in values) == one_by_one.count


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_widening_keeps_counts_and_the_bound_it_says(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  not a secret
    values = [rng.choice((1, -1)) * 10 ** rng.uniform(-300, 300) for _ in range(6000)]
    whole, merged = sketch(values), Sketch()
    for first in range(0, len(values), 500):
        part = sketch(values[first : first + 500])
        part.merge(merged)
        merged = part
    one_by_one = Sketch()
    for value in reversed(values):
        one_by_one.add(value)

    assert whole.scale < SCALE_START
    assert state(whole) == state(merged) == state(one_by_one)
    assert len(values) == whole.count
    assert len(whole._positive) + len(whole._negative) <= BUCKETS_MAX
    for fraction in (0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 1.0):
        expected, unit = exact(values, fraction)
        found = whole.quantile(fraction)
        assert found is not None
        assert abs(found - expected) <= unit * whole.error


def test_times_from_a_nanosecond_to_a_second_are_never_widened() -> None:
    made = sketch([10 ** (-9 + 9 * step / 20_000) for step in range(20_000)])

    assert SCALE_START == made.scale
    assert made.error < 0.0055


def test_what_is_simple_is_exact() -> None:
    assert Sketch().quantile(0.5) is None
    assert sketch([math.nan]).quantile(0.5) is None
    assert sketch([3.3]).quantile(0.99) == 3.3
    assert sketch([7, 7, 7]).quantile(0.5) == 7
    assert sketch([1.5, 2.5]).quantile(0.5) == 2.0
    assert sketch([-1.0, 0.0, 1.0]).quantile(0.5) == 0.0
    assert sketch([2.0, -3.0]).quantile(0.0) == -3.0


def test_infinities_are_ends_and_never_make_a_nan() -> None:
    made = sketch([-math.inf, 1.0, 2.0, math.inf])

    assert made.count == 4
    assert made.quantile(0.0) == -math.inf
    assert made.quantile(1.0) == math.inf
    assert made.quantile(0.9) == math.inf
    assert made.quantile(0.1) == -math.inf
    assert made.quantile(0.5) == pytest.approx(1.5, rel=0.0055)
    assert sketch([-math.inf, math.inf]).quantile(0.5) == math.inf


def test_a_value_counts_as_often_as_it_is_said_to() -> None:
    made = Sketch()
    made.add(1.0, 99)
    made.add(5.0)

    assert made.count == 100
    assert made.quantile(0.5) == pytest.approx(1.0, rel=0.0055)
    assert "count=100" in repr(made)
