"""Metrics whose bytes were seen before, but for the starts, times and values of their points.

A sender writes the points of a metric again and again in one order, and only these change, which
have a fixed length. So all else is compared at once, by one hash for the metric, and nothing of it
is parsed: a third of what it costs to open it (`benchmarks/micro_aggregation.py`). No I/O.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from mlsysops_pipeline.metrics.closed import points, tail
from mlsysops_processors.aggregation.windows import FORMS, START_TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.metrics.closed import Head
    from mlsysops_processors.aggregation.inputs import Source
    from mlsysops_processors.aggregation.windows import Form

_POINTS_MAX = 300_000
"""Points of the metrics that are remembered (some 80 bytes each); beyond it all are forgotten."""


class Layout(NamedTuple):
    """Where the points of a metric lie, and what it is.

    ``unpack``: its bytes in turn: those between the heads of points, and heads (see `Form`);
    ``times``: of the heads together; ``tags``: every ninth byte of these, where all tags are;
    ``length``: how many points they are of.
    """

    unpack: Callable[[bytes], tuple[bytes, ...]]
    times: Callable[[bytes], tuple[int, ...]]
    tags: bytes
    form: Form
    length: int
    source: Source


class Layouts:
    """By a hash of scope and head of the metric, which tells the length of what follows.

    What lies between the heads tells the series: its hash is looked up in `Source.runs`.
    """

    __slots__ = ("_known", "_points", "find")

    def __init__(self) -> None:
        self._known: dict[int, Layout] = {}
        self._points = 0
        self.find = self._known.get

    def learn(self, seen: int, metric: bytes, head: Head, source: Source) -> int | None:
        """Remember where the points of a metric lie; the hash of all between their heads.

        Nothing if that cannot be told without opening it, or forms differ.
        """
        read = points(metric, head[4])
        if read is None or not read[0]:
            return None
        numbers, after = read
        if tail(metric, after) is None:
            return None
        form = FORMS[metric[numbers[0][0]] == START_TAG, numbers[0][5]]
        pieces = ["<"]
        at = 0
        for begin, rest, _, _, _, tag, _ in numbers:
            if rest - begin != form.size or tag != metric[numbers[0][1] - 9]:
                return None
            pieces.append(f"{begin - at}s{form.size}s")
            at = rest
        pieces.append(f"{len(metric) - at}s")
        unpack = Struct("".join(pieces)).unpack
        before = self._known.get(seen)
        count = len(numbers)
        self._points += count - (before.length if before is not None else 0)
        if self._points > _POINTS_MAX:
            self._known.clear()
            self._points = count
        tags = b"".join([tag for _, tag in form.tags]) * count
        self._known[seen] = Layout(unpack, _times(form, count), tags, form, count, source)
        return hash(unpack(metric)[::2])


@lru_cache(maxsize=200)
def _times(form: Form, count: int) -> Callable[[bytes], tuple[Any, ...]]:
    """Reads the times of so many heads."""
    behind = form.size - form.time_at - 8
    return Struct("<" + f"{form.time_at}xQ{behind}x" * count).unpack
