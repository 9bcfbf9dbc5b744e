"""The routing table of one signal: into which parts a payload falls. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mlsysops_pipeline.conditions import Level, Scene
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.judging import Judge
from mlsysops_pipeline.pdata.sieve import Opened, keep_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlsysops_pipeline.conditions import Condition
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.pdata.signal import Signal

REST = -1
"""Stands for the default in the place of a row's number."""


class Row(NamedTuple):
    """A row of the table. ``number``: its place in the configuration."""

    number: int
    condition: Condition
    moves: bool


class Table:
    """The rows for one signal, ready to take payloads apart."""

    def __init__(
        self, signal: Signal, rows: Sequence[Row], *, rest_is_untaken: bool = False
    ) -> None:
        """``rest_is_untaken``: what a row copies does not remain for the default."""
        self._signal = signal
        self._rest_is_untaken = rest_is_untaken
        self._tests = [(row.number, row.condition.test, row.moves) for row in rows]
        self._level = max((row.condition.level for row in rows), default=Level.REQUEST)
        needs = frozenset(need for row in rows for need in row.condition.needs)
        self.opens = self._level > Level.RESOURCE
        """Whether more than resources has to be opened."""
        keys = frozenset(key for row in rows for key in row.condition.keys)
        self._judge = Judge(signal, self._level, needs, self._rows_of, keys)

    def parts(self, payload: Payload, malformed: Callable[[Payload, str], None]) -> Parts:
        """What goes where, by the number of the row; `REST` is what no row moved.

        A part that is the whole payload is the payload itself. A member that is malformed is told
        of and left out where there are others; alone, `MalformedError` is raised.
        """
        if self._level is Level.REQUEST:
            return dict.fromkeys(self._rows_of(Scene(payload.metadata)), payload)
        wires: dict[int, list[bytes]] = {}
        is_whole = True
        for wire in payload.wires:
            try:
                found = self._split(wire, payload)
            except MalformedError as error:
                if len(payload.wires) == 1:
                    raise
                malformed(payload.with_wires(wire), error.message)
                is_whole = False
                continue
            for number, part in found.items():
                wires.setdefault(number, []).append(part)
        same = payload.wires if is_whole else ()
        return {number: _payload(payload, parts, same) for number, parts in wires.items()}

    def _split(self, wire: bytes, payload: Payload) -> dict[int, bytes]:
        opened = None
        if self.opens:
            opened = Opened(self._signal, wire)
            marks = self._judge.of_lists(opened, payload.metadata)
        else:
            marks = self._judge.of_groups(wire, payload.metadata)
        kinds = set(marks)
        if not kinds:
            # Nothing in it that a row could choose: it stays together.
            return {REST: wire}
        if len(kinds) == 1:
            return dict.fromkeys(kinds.pop(), wire)
        parts = {}
        for number in sorted({number for rows in kinds for number in rows}):
            wanted = [number in rows for rows in marks]
            parts[number] = self._keep(wire, wanted)
        return parts

    def _keep(self, wire: bytes, wanted: list[bool]) -> bytes:
        if not self.opens:
            return keep_groups(wire, wanted)
        opened = Opened(self._signal, wire)  # pruning uses it up
        if self._level is Level.METRIC:
            return opened.keep_metrics(wanted)
        return opened.keep_items(wanted)

    def _rows_of(self, scene: Scene) -> tuple[int, ...]:
        """The rows that take what is in a scene, in order, and `REST` if none of them moves it."""
        taken = []
        for number, test, moves in self._tests:
            if test(scene):
                taken.append(number)
                if moves:
                    return tuple(taken)
        if taken and self._rest_is_untaken:
            return tuple(taken)
        return (*taken, REST)


Parts = dict[int, "Payload"]


def _payload(payload: Payload, parts: list[bytes], same: Sequence[bytes]) -> Payload:
    if len(parts) == len(same) and all(
        part is wire for part, wire in zip(parts, same, strict=True)
    ):
        return payload
    return payload.with_wires(parts)
