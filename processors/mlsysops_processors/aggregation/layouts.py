"""Metrics whose bytes were seen before, but for the starts, times and values of their points.

A sender writes the points of a metric again and again in one order, and only these change, which
have a fixed length. So all else is compared at once, by one hash for the metric, and nothing of it
is parsed: a third of what it costs to open it (`benchmarks/micro_aggregation.py`). No I/O.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from mlsysops_pipeline.metrics.closed import head, points, tail
from mlsysops_processors.aggregation.windows import FORMS, START_TAG

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Sequence

    from mlsysops_pipeline.metrics.closed import Head
    from mlsysops_processors.aggregation.inputs import Runs, Source
    from mlsysops_processors.aggregation.windows import Form

_POINTS_MAX = 300_000
"""Points of the metrics that are remembered (some 80 bytes each); beyond it all are forgotten."""
WHOLE_MAX = 4000
"""Points of a scope that are taken together."""
_TRIES_MAX = 10_000
"""Scopes that came, of which that is remembered."""


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


class Whole(NamedTuple):
    """All metrics of a scope, one behind the other, as a `Layout`.

    ``same``: the hash of what lies between heads; ``runs``: the series of all; ``sources``: the
    metrics, each with the `Source.runs` that it had, which is another as soon as one of its series
    is forgotten.
    """

    unpack: Callable[[bytes], tuple[bytes, ...]]
    times: Callable[[bytes], tuple[int, ...]]
    tags: bytes
    form: Form
    same: int
    runs: Runs
    sources: Sequence[tuple[Source, dict[int, Runs]]]


class Layouts:
    """By a hash of scope and head of the metric, which tells the length of what follows.

    What lies between the heads tells the series: its hash is looked up in `Source.runs`.
    """

    __slots__ = (
        "_known",
        "_points",
        "_points_of_wholes",
        "_tries",
        "_wholes",
        "find",
        "find_whole",
    )

    def __init__(self) -> None:
        self._known: dict[int, Layout] = {}
        self._points = 0
        self.find = self._known.get
        self._wholes: dict[int, Whole] = {}
        self._points_of_wholes = 0
        self._tries: dict[int, int] = {}
        self.find_whole = self._wholes.get

    def learn(self, seen: int, metric: bytes, found: Head, source: Source) -> int | None:
        """Remember where the points of a metric lie; the hash of all between their heads.

        Nothing if that cannot be told without opening it, or forms differ.
        """
        read = points(metric, found[4])
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

    def is_wanted(self, seen: int) -> bool:
        """Whether to learn a `Whole`: when it comes again, and ever less often if it changes."""
        if len(self._tries) >= _TRIES_MAX:
            self._tries.clear()
        tries = self._tries[seen] = self._tries.get(seen, 0) + 1
        return tries > 1 and not tries & (tries - 1)

    def learn_whole(
        self, seen: int, metrics: Sequence[bytes], known: Sequence[tuple[int, Layout, Runs]]
    ) -> None:
        """Remember the metrics of a scope instead of each one's `Layout`, if forms are the same.

        More than `WHOLE_MAX` points are not.
        """
        form = known[0][1].form
        if sum([layout.length for _, layout, _ in known]) > WHOLE_MAX:
            return
        pieces = ["<"]
        at = begun = count = 0
        runs: list[tuple[int, int, int, array[int]]] = []
        for metric, (_, layout, its_runs) in zip(metrics, known, strict=True):
            found = head(metric)
            read = points(metric, found[4]) if found is not None else None
            if layout.form is not form or read is None:
                return
            for begin, rest, *_ in read[0]:
                pieces.append(f"{begun + begin - at}s{form.size}s")
                at = begun + rest
            for shard, begin, end, series in its_runs:
                _append(runs, (shard, count + begin, count + end, series))
            begun += len(metric)
            count += layout.length
        pieces.append(f"{begun - at}s")
        before = self._wholes.pop(seen, None)
        self._points_of_wholes += count - (before.runs[-1][2] if before is not None else 0)
        if self._points_of_wholes > _POINTS_MAX:
            self._wholes.clear()
            self._points_of_wholes = count
        for key, _, _ in known:
            gone = self._known.pop(key, None)
            self._points -= gone.length if gone is not None else 0
        unpack = Struct("".join(pieces)).unpack
        self._wholes[seen] = Whole(
            unpack,
            _times(form, count),
            b"".join([tag for _, tag in form.tags]) * count,
            form,
            hash(unpack(b"".join(metrics))[::2]),
            tuple(runs),
            [(layout.source, layout.source.runs) for _, layout, _ in known],
        )


def _append(
    runs: list[tuple[int, int, int, array[int]]], run: tuple[int, int, int, array[int]]
) -> None:
    """Add a run, to the last one if it is of the same shard."""
    if runs and runs[-1][0] == run[0]:
        shard, begin, _, series = runs[-1]
        runs[-1] = (shard, begin, run[2], series + run[3])
    else:
        runs.append(run)


@lru_cache(maxsize=50)
def _times(form: Form, count: int) -> Callable[[bytes], tuple[Any, ...]]:
    """Reads the times of so many heads."""
    behind = form.size - form.time_at - 8
    return Struct("<" + f"{form.time_at}xQ{behind}x" * count).unpack
