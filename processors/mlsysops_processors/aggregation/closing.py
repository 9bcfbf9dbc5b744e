"""Computes a window that has closed, in steps, so that the event loop is not held up.

No I/O and no clock. What is known of series and results changes while a window is computed, so that
one window has to be done before the next.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from mlsysops_processors.aggregation import distributions, numbers, ordered
from mlsysops_processors.aggregation.outputs import ADDED, BUCKETS, CLOSED, GAUGE, RUNNING
from mlsysops_processors.aggregation.windows import Columns, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mlsysops_processors.aggregation.blocks import Block
    from mlsysops_processors.aggregation.inputs import Inputs
    from mlsysops_processors.aggregation.numbers import Members, Outputs
    from mlsysops_processors.aggregation.outputs import Output
    from mlsysops_processors.aggregation.windows import Row, Shard, Window, Windows


_DRAIN_POINTS = 50_000
"""Numbers that wait in lists before they are added up."""
_DRAIN_RESULTS = 100


class _All:
    """Every series has the same results."""

    __slots__ = ("_outputs",)

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def __getitem__(self, series: int) -> Outputs:
        return self._outputs


class _Momentary:
    """What is known of cumulative series for which there is no room: nothing but one window."""

    def __init__(self) -> None:
        self.values: defaultdict[int, float] = defaultdict(int)
        self.starts: defaultdict[int, int] = defaultdict(int)
        self.times: defaultdict[int, int] = defaultdict(int)
        self.ended: dict[int, float] = {}
        self.known: dict[int, distributions.Known] = {}


class Closing:
    """One window. ``fed``: the results that got something, once `steps` is through.

    ``causes``: what was wrong, by how many points; ``overflown``: points of series for which there
    was no room, by the attribute that makes these; ``alive_ns``: since when nothing was missed;
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
        self.overflown: Counter[bytes] = Counter()
        self._unsound: set[tuple[int, int]] = set()

    def steps(self) -> Iterator[None]:
        """Compute it."""
        inputs, window = self._inputs, self._window
        waiting = 0
        blocks: defaultdict[int, list[Block]] = defaultdict(list)
        for block in window.blocks.values():
            blocks[block.shard].append(block)
        window.blocks = {}
        for number in sorted({*window.shards, *blocks}):
            shard = window.shards.pop(number, {})
            together = blocks.pop(number, [])
            waiting += sum(map(len, shard.values())) + sum(map(len, together))
            family = inputs.families[number]
            self._fold_shard(number, family, shard, together)
            self._note_fed(family, inputs.results_of(number))
            yield
            if waiting >= _DRAIN_POINTS or family == BUCKETS:
                waiting = 0
                yield from self._drain()
        for place in list(window.overflown):
            family, outputs = place
            shard = window.overflown.pop(place)
            self.overflown[outputs[0].spec.offender] += sum(map(len, shard.values()))
            self._fold(family, shard, _All(outputs), _Momentary(), is_simple=False)
            self._note_fed(family, outputs)
            yield
        yield from self._drain()

    def _fold_shard(self, number: int, family: int, shard: Shard, blocks: list[Block]) -> None:
        """Give results what the points of a shard are, of which it has several in ``blocks``."""
        inputs = self._inputs
        singly = set[int]().union(*[columns.series for columns in shard.values()])
        series = singly.union(*[block.series for block in blocks])
        inputs.mark_seen(number, series, self._window.start_ns)
        apart = sum([len(block.series) for block in blocks], len(singly))
        rest: list[Row] = []
        for block in blocks:
            if inputs.wants_ends or apart > len(series) or not block.is_repeated:
                hard = None
            elif family == RUNNING:
                hard = block.fold_growing(inputs.members, inputs)
            else:
                hard = block.fold_plain(family, inputs.members)
            if hard is None:
                singly.update(block.series)
                columns = shard.get(block.form)
                if columns is None:
                    columns = shard[block.form] = Columns(block.form)
                block.spread(columns)
            else:
                rest += hard
        self._fold_running(rest, inputs.members, inputs)
        if shard:
            points = sum(map(len, shard.values()))
            is_simple = len(singly) == points and len(shard) == 1
            self._fold(family, shard, inputs.members, inputs, is_simple=is_simple)

    def _fold(
        self,
        family: int,
        shard: Shard,
        members: Members,
        state: Inputs | _Momentary,
        *,
        is_simple: bool,
    ) -> None:
        """Give results what the points of a shard are."""
        window = self._window
        rows: Sequence[Row] | None = None
        if family in {GAUGE, ADDED} and is_simple:
            (columns,) = shard.values()
            numbers.fold_simple(columns.series, columns.values, members)
        elif family == RUNNING and is_simple:
            (columns,) = shard.values()
            rest = numbers.fold_running_simple(columns.rows(), members, state)
            self._fold_running(rest, members, state)
        elif not self._fold_ordered(family, shard, members, state):
            rows = rows_of(shard)
            if family == GAUGE:
                numbers.fold_gauges(rows, members)
            elif family == ADDED:
                numbers.fold_deltas(rows, members)
            elif family == RUNNING:
                self._fold_running(rows, members, state)
            elif family == BUCKETS:
                folding = distributions.Folding(
                    state.known, window.start_ns, self._alive_ns, self._say
                )
                folding.fold(rows, members)
                self.causes += folding.causes
                self._unsound = folding.unsound
        self._fold_ends(family, shard, rows, members)

    def _fold_ordered(
        self, family: int, shard: Shard, members: Members, state: Inputs | _Momentary
    ) -> bool:
        """Give results what numbers are that came in order, if they did."""
        if family not in {GAUGE, ADDED, RUNNING} or len(shard) > 1:
            return False
        (columns,) = shard.values()
        points = ordered.ordered(columns, is_running=family == RUNNING)
        if points is None or (family == RUNNING and not points.is_growing):
            return False
        if family == GAUGE:
            ordered.fold_gauges(points, members)
        elif family == ADDED:
            ordered.fold_deltas(points, members)
        else:
            rest = ordered.fold_growing(points, members, state)
            self._fold_running(rest, members, state)
        return True

    def _fold_running(self, rows: Sequence[Row], members: Members, state: numbers.State) -> None:
        self.causes += numbers.fold_running(
            rows, members, state, self._window.start_ns, self._alive_ns
        )

    def _fold_ends(
        self, family: int, shard: Shard, rows: Sequence[Row] | None, members: Members
    ) -> None:
        """Find the first and last points where a function wants them."""
        if not self._inputs.wants_ends:
            return
        fold_ends = numbers.fold_ends if family < BUCKETS else distributions.fold_ends
        sound: Iterable[Row] = rows_of(shard) if rows is None else rows
        if family == RUNNING:
            sound = (row for row in sound if numbers.is_sound(row[3]))
        elif family == BUCKETS:
            sound = (row for row in sound if (row[0], row[1]) not in self._unsound)
        fold_ends(sound, members)

    def _note_fed(self, family: int, outputs: Iterable[Output]) -> None:
        """Note which results got something in this window."""
        start_ns = self._window.start_ns
        for output in outputs:
            if output.values or (family == CLOSED and output.newest is not None):
                self.fed[output] = None
                output.fed_ns = max(output.fed_ns, start_ns)
                numbers.begin(output, start_ns)
            else:
                output.forget_window()

    def _drain(self) -> Iterator[None]:
        """Keep of what results were given only what functions need."""
        for number, output in enumerate(self.fed):
            if output.values:
                if output.spec.family == BUCKETS:
                    distributions.drain(output)
                else:
                    numbers.drain(output)
            if not number % _DRAIN_RESULTS:
                yield


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
        for columns in window.shards.get(shard, {}).values():
            waiting.update(columns.series)
        for block in window.blocks.values():
            if block.shard == shard:
                waiting.update(block.series)
    return waiting
