"""Metrics whose bytes were seen before, but for the times and values of their points.

A sender writes the points of a metric again and again in one order, of which only times and numbers
change; both have a fixed length. So all else can be compared at once, by one hash for the metric,
and nothing has to be looked up for each of its points: 0.4 times what that costs
(`benchmarks/micro_streams.py`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, TypeAlias

from mlsysops_pipeline.metrics.closed import STARTED_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_POINTS_MAX = 300_000
"""Points of the metrics that are remembered (some 110 bytes each); beyond it all are forgotten."""
_POINTS_MIN = 2
"""Metrics of fewer points are not remembered: it would take more memory than it saves time."""
_TIME_AT, _TIME_BYTES, _VALUE_BYTES = 10, 8, 8
"""Where a started point has its time (behind the start and two tags), and what that takes."""

Layout: TypeAlias = (
    "tuple[Callable[[bytes], tuple[Any, ...]], Callable[[bytes], tuple[int, ...]], int, int]"
)
"""What is the same each time, the times, the hash of the former, and the key of the metric."""


class Layouts:
    """By a hash of scope and head of the metric, which tells the length of what follows."""

    __slots__ = ("_known", "_points")

    def __init__(self) -> None:
        self._known: dict[int, Layout] = {}
        self._points = 0

    def key(self, seen: int) -> int | None:
        """The key of a metric that was learnt."""
        layout = self._known.get(seen)
        return None if layout is None else layout[3]

    def times(self, seen: int, metric: bytes) -> tuple[int, tuple[int, ...]] | None:
        """Hash and times of a metric that is as it was learnt; if it is not, that is forgotten."""
        same, times, expected, _ = self._known[seen]
        if hash(same(metric)) == expected:
            return expected, times(metric)
        del self._known[seen]
        return None

    def learn(
        self, seen: int, metric: bytes, key: int, parts: Sequence[tuple[int, int, int, int]]
    ) -> int:
        """Remember a metric by its key, with points as `closed.known_points` gives; its hash.

        0: it is not, as it was before, has few points, or one of its streams twice.
        """
        if (
            seen in self._known
            or len(parts) < _POINTS_MIN
            or len({part[0] for part in parts}) < len(parts)
        ):
            return 0
        if self._points + len(parts) > _POINTS_MAX:
            self._known.clear()
            self._points = 0
        same, times = ["<"], ["<"]
        at = before = 0
        for _, begin, _, _ in parts:
            time_at = begin + _TIME_AT
            same.append(f"{time_at - at}s{_TIME_BYTES}xB{_VALUE_BYTES}x")
            times.append(f"{time_at - before}xQ")
            before = time_at + _TIME_BYTES
            at = begin + STARTED_BYTES
        same.append(f"{len(metric) - at}s")
        times.append(f"{len(metric) - before}x")
        unpack = Struct("".join(same)).unpack
        self._points += len(parts)
        expected = hash(unpack(metric))
        self._known[seen] = (unpack, Struct("".join(times)).unpack, expected, key)
        return expected
