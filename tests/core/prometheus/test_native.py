"""Exponential buckets as native histograms (conformance PO-8, DM-4, DM-5)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.prometheus.native import is_in_range, scaled_down, spans

_COUNTS = st.lists(st.integers(0, 3), max_size=40)


def _expanded(found: tuple[list[tuple[int, int]], list[int]]) -> dict[int, int]:
    """What a reader makes of spans and deltas: counts by Prometheus's index."""
    pieces, deltas = found
    counts = {}
    index = count = 0
    left = iter(deltas)
    for offset, length in pieces:
        index += offset
        for _ in range(length):
            count += next(left)
            counts[index] = count
            index += 1
    assert next(left, None) is None
    return {index: count for index, count in counts.items() if count}


@given(offset=st.integers(-100, 100), counts=_COUNTS)
def test_spans_say_what_the_buckets_said(offset: int, counts: list[int]) -> None:
    """PO-8: indexes are one higher, and empty buckets need not be there."""
    found = spans((offset, tuple(counts)))
    expected = {index: count for index, count in enumerate(counts, offset + 1) if count}
    assert expected == _expanded(found)
    assert all(gap > 2 for gap, _ in found[0][1:])


def test_short_gaps_are_written_out() -> None:
    assert spans((3, (10, 0, 0, 20, 5, 2))) == ([(4, 6)], [10, -10, 0, 20, -15, -3])
    assert spans((0, (1, 0, 0, 0, 1))) == ([(1, 1), (3, 1)], [1, 0])
    assert spans((-2, (1, 4))) == ([(-1, 2)], [1, 3])
    assert spans((5, (0, 0))) == ([], [])
    assert spans((5, ())) == ([], [])


@given(offset=st.integers(-1000, 1000), counts=_COUNTS, levels=st.integers(0, 12))
def test_scaling_down_is_exact(offset: int, counts: list[int], levels: int) -> None:
    """DM-4: index >> n, negative ones too."""
    begin, merged = scaled_down(offset, counts, levels)
    expected: dict[int, int] = {}
    for index, count in enumerate(counts, offset):
        expected[index >> levels] = expected.get(index >> levels, 0) + count
    assert expected == dict(enumerate(merged, begin))


def test_scaling_down_by_absurdly_much_is_cheap() -> None:
    assert scaled_down(-1, (1, 2), 2**31) == (-1, (1, 2))
    assert scaled_down(5, (1, 2), 2**31) == (0, (3,))


def test_buckets_beyond_every_number_are_found() -> None:
    """DM-5."""
    assert is_in_range((1023, (1,)), 0)
    assert not is_in_range((1024, (1,)), 0)
    assert is_in_range((1024, (0,)), 0)
    assert is_in_range((-1075, (1, 0)), 0) is False
    assert is_in_range((-1074, (1,)), 0)
    assert not is_in_range((2**31, (1,)), 8)
