"""Adds points to windows so that this can be undone, if the next stage refuses the rest. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_processors.aggregation.blocks import Block
from mlsysops_processors.aggregation.windows import POINT_BYTES

if TYPE_CHECKING:
    from mlsysops_processors.aggregation.inputs import Runs
    from mlsysops_processors.aggregation.windows import Columns, Form, Window


class Journal:
    """What was added to windows since `keep`."""

    __slots__ = ("_columns", "_rounds")

    def __init__(self) -> None:
        self._columns: dict[int, tuple[Columns, int, int, Window]] = {}
        self._rounds: list[tuple[Block, int, Window]] = []

    def noted(self, columns: Columns, window: Window) -> Columns:
        """Remember how columns are before they grow."""
        if id(columns) not in self._columns:
            self._columns[id(columns)] = (columns, len(columns), columns.size, window)
        return columns

    def add_runs(self, runs: Runs, heads: bytes, form: Form, window: Window) -> None:
        """Add numbers to columns."""
        stride = form.size
        for shard, begin, end, series in runs:
            columns = self.noted(window.columns(shard, form), window)
            columns.series.extend(series)
            columns.heads += heads[begin * stride : end * stride]

    def add_round(
        self, runs: Runs, heads: bytes, form: Form, window: Window, span_ns: tuple[int, int]
    ) -> None:
        """Add numbers to blocks. ``span_ns``: the times of the oldest and newest."""
        blocks = window.blocks
        stride = form.size
        for run in runs:
            shard, begin, end, series = run
            block = blocks.get(id(series))
            if block is None:
                block = blocks[id(series)] = Block(shard, series, form)
            elif block.form is not form:
                self.add_runs((run,), heads, form, window)
                continue
            self._rounds.append((block, len(block.heads), window))
            if span_ns[0] <= block.last_ns:
                block.is_ordered = False
            block.last_ns = span_ns[1]
            block.heads += heads if len(runs) == 1 else heads[begin * stride : end * stride]

    def keep(self, hops: int) -> tuple[int, int]:
        """What was added is kept; of how many points and bytes it is. ``hops``: see `Window`."""
        points = size = 0
        added = [
            (window, len(columns) - length, columns.size - size_before)
            for columns, length, size_before, window in self._columns.values()
        ]
        added += [
            (window, len(block.series), len(block.series) * POINT_BYTES)
            for block, _, window in self._rounds
        ]
        for window, more, bytes_more in added:
            window.points += more
            window.size += bytes_more
            window.hops = max(window.hops, hops)
            points += more
            size += bytes_more
        self._columns, self._rounds = {}, []
        return points, size

    def undo(self) -> None:
        """As if nothing had been added."""
        for columns, length, _, _ in self._columns.values():
            columns.truncate(length)
        for block, size, _ in reversed(self._rounds):
            block.truncate(size)
        self._columns, self._rounds = {}, []
