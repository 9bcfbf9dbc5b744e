"""Exponential buckets as Prometheus's native histograms have them (conformance PO-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlsysops_pipeline.prometheus.points import Buckets

SCALE_MIN = -4
SCALE_MAX = 8
_GAP_MAX = 2
"""Empty buckets that are written out rather than skipped by a new span, as Prometheus does."""
_EXPONENT_MIN, _EXPONENT_MAX = -1074, 1024
"""A float lies between two to the one and two to the other."""


def scaled_down(offset: int, counts: Sequence[int], levels: int) -> Buckets:
    """Buckets at a scale that is ``levels`` lower: exactly, as each is in one of those (DM-4)."""
    if not levels or not counts:
        return offset, tuple(counts)
    first = offset >> levels
    merged = [0] * ((offset + len(counts) - 1 >> levels) - first + 1)
    for index, count in enumerate(counts, offset):
        merged[(index >> levels) - first] += count
    return first, tuple(merged)


def is_in_range(buckets: Buckets, scale: int) -> bool:
    """Whether all that is in the buckets can be a float (DM-5)."""
    offset, counts = buckets
    filled = [index for index, count in enumerate(counts, offset) if count]
    if not filled:
        return True
    lowest, highest = filled[0], filled[-1]
    factor = 2.0**-scale
    return (lowest + 1) * factor > _EXPONENT_MIN and highest * factor < _EXPONENT_MAX


def spans(buckets: Buckets) -> tuple[list[tuple[int, int]], list[int]]:
    """``(spans, deltas)`` of a native histogram.

    A span is ``(offset, length)``: the first's offset is an index, the others' the distance from
    the end before. A delta is the change against the count before. Prometheus indexes buckets by
    their upper bound and OTLP by the lower, so indexes are one higher.
    """
    found: list[tuple[int, int]] = []
    deltas: list[int] = []
    before = 0
    end = 0  # the index after the last bucket that was written
    for index, count in enumerate(buckets[1], buckets[0] + 1):
        if not count:
            continue
        gap = index - end
        if found and gap <= _GAP_MAX:
            if gap:
                deltas += [-before] + [0] * (gap - 1)
                before = 0
            found[-1] = (found[-1][0], found[-1][1] + gap + 1)
        else:
            found.append((gap, 1))
        deltas.append(count - before)
        before = count
        end = index + 1
    return found, deltas
