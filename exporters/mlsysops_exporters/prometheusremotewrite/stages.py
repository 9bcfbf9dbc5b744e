"""A payload in parts of limited size, each of which is sent before the next one is assembled.

What waits together is sent together, so a payload may have members from many senders. If one of
them is refused for what is in it, the others have to be told apart: see `Stages.take_apart`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from mlsysops_exporters.prometheusremotewrite.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlsysops_exporters.prometheusremotewrite.families import Families
    from mlsysops_exporters.prometheusremotewrite.order import Latest
    from mlsysops_exporters.prometheusremotewrite.packing import Request
    from mlsysops_exporters.prometheusremotewrite.series import Series
    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.prometheus.points import Batch, Columns

    Points: TypeAlias = Columns[Series] | Batch[Series]

STAGE_SERIES: Final = 20_000
"""Series of a stage: one or two requests of the usual size, packed within some 15 ms."""

TURN_S: Final = 0.003
"""After that long others get their turn."""

TURN_POINTS: Final = 100
"""Points between two looks at the clock. New series take many times as long as known ones."""


PARTS_MAX: Final = 100
"""Parts that a stage is taken apart into: each is a request, and the next payload waits for it."""


class Stages:
    """Assembles the points of ``members``. ``families``: what to say about metrics, if anything.

    ``assembled`` is told of every stage before it is sent.
    """

    def __init__(
        self,
        members: Sequence[Iterator[Points]],
        latest: Latest,
        clock: Clock,
        *,
        bytes_max: int,
        families: Families | None,
        assembled: Callable[[Assembly], None],
    ) -> None:
        self._latest = latest
        self._clock = clock
        self._bytes_max = bytes_max
        self._families = families
        self._assembled = assembled
        self._assembly: Assembly | None = None
        self._taken: list[list[Points]] = []
        """What the stage has of each member."""
        self._parts: deque[Iterator[Points]] = deque()
        """What was refused together and is now sent again."""
        is_merged = len(members) > 1
        self._points = self._noted(members) if is_merged else chain.from_iterable(members)

    def _noted(self, members: Sequence[Iterator[Points]]) -> Iterator[Points]:
        for member in members:
            self._taken.append([])
            for points in member:
                self._taken[-1].append(points)
                yield points

    async def next(self) -> list[list[Request]] | None:
        """The lanes of the next stage; ``None`` after the last.

        If it is cancelled, the next call goes on with what was assembled.
        """
        while self._parts:
            assembly = await self._fill(self._parts[0], None)
            self._parts.popleft()
            lanes = assembly.lanes(self._bytes_max)
            if lanes:
                return lanes
        if self._assembly is None:
            self._taken = [[]]
        families = self._families
        assembly = await self._fill(self._points, families)
        self._assembled(assembly)
        said = b""
        if families is not None and assembly.items:
            said = families.due(self._clock.monotonic())
        return assembly.lanes(self._bytes_max, said) or None

    async def _fill(self, points: Iterator[Points], families: Families | None) -> Assembly:
        """As many points as a stage has."""
        assembly = self._assembly
        if assembly is None:
            now_ms = self._clock.unix_ns() // 1_000_000
            assembly = self._assembly = Assembly(self._latest, now_ms)
        see = None if families is None else families.see
        until_s = self._clock.monotonic() + TURN_S
        while assembly.take_some(points, TURN_POINTS, see):
            if len(assembly) >= STAGE_SERIES:
                break
            if self._clock.monotonic() >= until_s:
                await asyncio.sleep(0)
                until_s = self._clock.monotonic() + TURN_S
        self._assembly = None
        return assembly

    def take_apart(self) -> bool:
        """Give what the last stage had of each member as a stage of its own; whether it had many.

        What of it has arrived is known to be no news by then, and is not sent again.
        """
        taken = [points for points in self._taken if points]
        self._taken = []
        if len(taken) < 2:
            return False
        size = -(-len(taken) // PARTS_MAX)
        self._parts.extend(
            chain.from_iterable(taken[at : at + size]) for at in range(0, len(taken), size)
        )
        return True

    def __repr__(self) -> str:
        return f"<Stages {self._assembly!r} parts={len(self._parts)}>"
