"""Adding up changes, exponential histograms as fixed ones, and the words for numbers and labels."""

from __future__ import annotations

import math
from bisect import bisect_left
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mlsysops_exporters.prometheus.cardinality import culprit
from mlsysops_exporters.prometheus.store import Group, Series
from mlsysops_exporters.prometheus.values import Histogram, Summary, added, fixed, lines
from mlsysops_exporters.prometheus.wording import float_word, label_names, label_text, rewritten
from mlsysops_pipeline.prometheus.escaping import Escaping
from mlsysops_pipeline.prometheus.points import ExponentialPoint, Type


def exponential(
    values: list[float], scale: int, *, threshold: float = 1e-128
) -> ExponentialPoint[Any]:
    """A point of some numbers, counted one by one as the data model says."""
    sides: dict[bool, dict[int, int]] = {True: {}, False: {}}
    zeros = 0
    for value in values:
        if abs(value) <= threshold:
            zeros += 1
            continue
        side = sides[value > 0]
        index = _index(abs(value), scale)
        side[index] = side.get(index, 0) + 1

    def buckets(side: dict[int, int]) -> tuple[int, tuple[int, ...]]:
        if not side:
            return 0, ()
        first, last = min(side), max(side)
        return first, tuple(side.get(index, 0) for index in range(first, last + 1))

    return ExponentialPoint(
        series=None,
        timestamp_ns=1,
        start_ns=0,
        count=len(values),
        sum=sum(values),
        scale=scale,
        zero_count=zeros,
        zero_threshold=threshold,
        positive=buckets(sides[True]),
        negative=buckets(sides[False]),
        exemplars=(),
        is_stale=False,
    )


def _index(value: float, scale: int) -> int:
    """The bucket of a number, without rounding: 2**index < value ** (2**scale) <= 2**(index+1)."""
    power: Fraction = Fraction(value) ** int(2 ** max(scale, 0))
    exponent: int = power.numerator.bit_length() - power.denominator.bit_length() - 1
    while Fraction(2) ** exponent < power:
        exponent += 1
    return -(-exponent // int(2 ** max(-scale, 0))) - 1


numbers = st.lists(
    st.one_of(
        st.floats(0.01, 1000), st.floats(-1000, -0.01), st.just(0.0), st.sampled_from([1.0, 2.0])
    ),
    max_size=20,
)


@given(values=numbers, scale=st.integers(-2, 4))
def test_fixed_buckets_count_what_the_exponential_ones_counted(
    values: list[float], scale: int
) -> None:
    # PO-8: converted to fixed buckets, never emitted half.
    found = fixed(exponential(values, scale))
    assert list(found.bounds) == sorted(set(found.bounds))
    assert len(values) == found.buckets[-1]
    for bound, count in zip(found.bounds, found.buckets, strict=False):
        # A negative number on a bound belongs to the bucket nearer to zero.
        at_most = sum(value <= bound if bound >= 0 else value < bound for value in values)
        assert at_most == count


def test_bounds_are_powers_of_two_whatever_the_scale() -> None:
    assert (0.0, 0.5, 1.0, 2.0, 4.0) == fixed(exponential([1.0, 1.5, 3.0], 0)).bounds
    assert (0.0, 0.5, 1.0, 2.0, 4.0) == fixed(exponential([1.0, 1.5, 3.0], 5)).bounds
    assert (0.0, 0.0625, 1.0, 16.0) == fixed(exponential([1.0, 1.5, 3.0], -2)).bounds
    mixed = fixed(exponential([-3.0, 0.2, 3.0], 0, threshold=0.5))
    assert ((-4.0, -2.0, 0.5, 2.0, 4.0), (0, 1, 2, 2, 3, 3)) == (mixed.bounds, mixed.buckets)
    widest = fixed(exponential([1e300, 1e-300], 0, threshold=0.0))
    assert len(widest.bounds) < 2_100
    assert 2 == widest.buckets[-1]


def test_a_zero_threshold_swallows_the_buckets_below_it() -> None:
    found = fixed(exponential([0.3, 0.3, 3.0], 0, threshold=0.25))
    assert (0.25, 0.5, 1.0, 2.0, 4.0) == found.bounds
    point = exponential([0.3, 0.3, 3.0], 0)
    point.zero_threshold = 1.0
    assert Histogram((1.0, 2.0, 4.0), (2, 2, 3, 3), 3.6).buckets == fixed(point).buckets


@given(first=numbers, second=numbers, scales=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_changes_of_exponential_histograms_add_up(
    first: list[float], second: list[float], scales: tuple[int, int]
) -> None:
    whole = fixed(exponential(first + second, 0))
    parts = [
        fixed(exponential(values, scale))
        for values, scale in zip((first, second), scales, strict=True)
    ]
    together = added(*parts)
    assert isinstance(together, Histogram)
    assert whole.buckets[-1] == together.buckets[-1]
    for bound, count in zip(together.bounds, together.buckets, strict=False):
        assert (
            whole.buckets[bisect_left(whole.bounds, bound)] if bound in whole.bounds else count
        ) == count


def test_changes_of_histograms_with_other_bounds_begin_anew() -> None:
    # DM-11: adding them bucket by bucket is wrong.
    old, new = Histogram((1.0,), (1, 2), 3.0), Histogram((1.0, 2.0), (1, 1, 1), 1.0)
    assert new is added(old, new)
    total = added(old, Histogram((1.0,), (2, 5), 4.0))
    assert isinstance(total, Histogram)
    assert ((3, 7), 7.0) == (total.buckets, total.sum)
    without = added(old, Histogram((1.0,), (2, 5), None))
    assert isinstance(without, Histogram)
    assert without.sum is None
    summary = Summary((), 1, 1.0)
    assert summary is added(summary, summary)
    assert 5 == added(old, 5)
    assert (4, 2, 1) == (lines(old), lines(summary), lines(1.0))


@pytest.mark.parametrize(
    ("value", "plain", "canonical"),
    [
        (1.0, "1", "1.0"),
        (0.5, "0.5", "0.5"),
        (0.0, "0", "0.0"),
        (-2.5, "-2.5", "-2.5"),
        (100000.0, "100000", "100000.0"),
        (1e6, "1e+06", "1e+06"),
        (1234567.0, "1.234567e+06", "1.234567e+06"),
        (0.0001, "0.0001", "0.0001"),
        (1e-5, "1e-05", "1e-05"),
        (1e100, "1e+100", "1e+100"),
        (math.inf, "+Inf", "+Inf"),
        (-math.inf, "-Inf", "-Inf"),
        (math.nan, "NaN", "NaN"),
    ],
)
def test_bounds_are_written_as_go_does(value: float, plain: str, canonical: str) -> None:
    # OM-3
    assert plain == float_word(value, is_canonical=False)
    assert canonical == float_word(value, is_canonical=True)


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_no_bound_loses_anything(value: float) -> None:
    for is_canonical in (True, False):
        assert value == float(float_word(value, is_canonical=is_canonical))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
labels = st.dictionaries(texts.filter(bool), texts, max_size=4)


@given(pairs=labels)
def test_labels_can_be_read_back(pairs: dict[str, str]) -> None:
    # TX-1, TX-2
    text = label_text(sorted(pairs.items()))
    assert [name for name, _ in label_names(text)] == sorted(pairs)
    if not any(name.startswith("__") or "\r" in name + value for name, value in pairs.items()):
        (family,) = text_string_to_metric_families(f'{{"m"{"," if text else ""}{text}}} 1\n')
        assert pairs == family.samples[0].labels


def test_labels_that_become_one_are_joined() -> None:
    # PO-12, ES-1
    text = label_text([("a.b", "1"), ("a/b", 'x"y'), ("c", "3")])
    assert '"a.b"="1","a/b"="x\\"y",c="3"' == text == rewritten(text, Escaping.ALLOW_UTF_8)
    assert 'a_b="1;x\\"y",c="3"' == rewritten(text, Escaping.UNDERSCORES)
    assert 'a_b="x\\"y",a_dot_b="1",c="3"' == rewritten(text, Escaping.DOTS)


@pytest.mark.parametrize(
    ("name", "scheme"), [("_name_", Escaping.DOTS), (".\u00e9name..", Escaping.UNDERSCORES)]
)
def test_no_label_takes_the_place_of_the_name_of_the_metric(name: str, scheme: Escaping) -> None:
    # ES-1: readers refuse the whole page for it.
    assert 'exported___name__="x"' == rewritten(label_text([(name, "x")]), scheme)


def test_the_label_that_makes_most_series_is_named() -> None:
    group = Group("requests", Type.COUNTER, "", "")
    for number in range(3_000):
        text = f'path="/{number % 7}",traceparent="00-{number}"'
        group.members[text] = Series(text)
    found = culprit({"requests": group, "other": Group("other", Type.GAUGE, "", "")})
    assert "the label traceparent of requests has 1000 values" in found
    names = {str(number): Group(str(number), Type.GAUGE, "", "") for number in range(10)}
    assert "there are 10 metric names" in culprit(names)
    assert "larger" in culprit({})
    group.members = {"": Series("")}
    assert "requests" in culprit({"requests": group})
