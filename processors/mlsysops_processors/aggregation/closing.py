"""Computes a window that has closed, in steps, so that the event loop is not held up.

No I/O and no clock. What is known of series and results changes while a window is computed, so that
one window has to be done before the next.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mlsysops_processors.aggregation import distributions, numbers
from mlsysops_processors.aggregation.outputs import ADDED, BUCKETS, CLOSED, GAUGE, RUNNING
from mlsysops_processors.aggregation.windows import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlsysops_processors.aggregation.inputs import Inputs
    from mlsysops_processors.aggregation.numbers import Members, Outputs
    from mlsysops_processors.aggregation.outputs import Output
    from mlsysops_processors.aggregation.windows import Columns, Row, Window, Windows


class _All:
    """Every series has the same results."""

    __slots__ = ("_outputs",)

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def __getitem__(self, series: int) -> Outputs:
        return self._outputs


class Closing:
    """One window. ``fed``: the results that got something, once `steps` is through.

    ``causes``: what was wrong, by how many points; ``alive_ns``: since when nothing was missed;
    ``say``: told what is wrong with histograms that are left out.
    """

    def __init__(
        self, window: Window, inputs: Inputs, alive_ns: int, say: Callable[[str], None]
    ) -> None:
        self._window = window
        self._inputs = inputs
        self._alive_ns = alive_ns
        self._say = say
        self.fed: dict[Output, None] = {}
        self.causes: Counter[str] = Counter()

    def steps(self) -> Iterator[None]:
        """Compute it."""
        inputs, window = self._inputs, self._window
        for shard in sorted(window.shards):
            rows = rows_of(window.shards.pop(shard))
            self._fold(inputs.families[shard], rows, inputs.members)
            seen, start_ns = inputs.seen, window.start_ns
            for series in {row[0] for row in rows}:
                seen[series] = start_ns
            yield
        for place in list(window.overflown):
            family, outputs = place
            self._fold(family, rows_of(window.overflown.pop(place)), _All(outputs))
            yield

    def _fold(self, family: int, rows: Sequence[Row], members: Members) -> None:
        inputs, window = self._inputs, self._window
        if family == GAUGE:
            numbers.fold_gauges(rows, members)
        elif family == ADDED:
            numbers.fold_deltas(rows, members)
        elif family == RUNNING:
            self.causes += numbers.fold_running(
                rows, members, inputs, window.start_ns, self._alive_ns
            )
        elif family == BUCKETS:
            folding = distributions.Folding(
                inputs.known, window.start_ns, self._alive_ns, self._say
            )
            folding.fold(rows, members)
            self.causes += folding.causes
        self._drain(family, rows, members)

    def _drain(self, family: int, rows: Sequence[Row], members: Members) -> None:
        fold_ends = numbers.fold_ends if family < BUCKETS else distributions.fold_ends
        touched = {output for outputs in {members[row[0]] for row in rows} for output in outputs}
        if any(output.spec.needs.ends for output in touched):
            fold_ends(rows, members)
        start_ns = self._window.start_ns
        for output in touched:
            if not output.values and output.newest is None:
                continue  # nothing but points that were left out, or that ended series
            self.fed[output] = None
            output.fed_ns = start_ns
            numbers.begin(output, start_ns)
            if family != CLOSED and output.values:
                if family == BUCKETS:
                    distributions.drain(output)
                else:
                    numbers.drain(output)


def sweep(inputs: Inputs, windows: Windows, before_ns: int) -> Iterator[None]:
    """Forget what has been silent since before then, in steps. Not while requests are taken."""
    for shard in range(len(inputs.families)):
        expired = inputs.expired(shard, before_ns)
        if expired:
            waiting = _waiting(windows, shard)
            for series in expired:
                if series not in waiting:
                    inputs.forget(series)
        if expired or not shard % 16:
            yield
    yield from inputs.forget_results(before_ns)


def _waiting(windows: Windows, shard: int) -> set[int]:
    """The series of a shard that open windows have points of."""
    waiting: set[int] = set()
    for window in windows.by_start.values():
        columns: dict[str, Columns] = window.shards.get(shard, {})
        for column in columns.values():
            waiting.update(column.series)
    return waiting
