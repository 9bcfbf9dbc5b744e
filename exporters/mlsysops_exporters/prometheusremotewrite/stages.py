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

STAGE_SERIES: Final = 10_000
"""Series of a stage: a request of half the usual size, packed within some 10 ms."""

TURN_S: Final = 0.003
"""After that long others get their turn."""

TURN_POINTS: Final = 25
"""Points between two looks at the clock. New series take up to 150 us each."""

PARTS: Final = 16
"""Parts that members are taken apart into: each is a request, which the next payload waits for."""


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
        """What the stage in the making has of each member."""
        self._given: list[list[Points]] = []
        """What the last one had."""
        self._parts: deque[list[list[Points]]] = deque()
        """Members that were refused together and are sent again, these before anything else."""
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
        self._given = []
        while self._parts:
            part = self._parts[0]
            assembly = self._begin()
            await self._fill(assembly, chain.from_iterable(part), None)
            self._given = self._parts.popleft()
            lanes = assembly.lanes(self._bytes_max)
            if lanes:
                return lanes
        families = self._families
        assembly = self._assembly = self._begin() if self._assembly is None else self._assembly
        await self._fill(assembly, self._points, STAGE_SERIES)
        self._assembly = None
        self._given, self._taken = self._taken, [[]]
        self._assembled(assembly)
        said = b""
        if families is not None and assembly.items:
            said = families.due(self._clock.monotonic())
        return assembly.lanes(self._bytes_max, said) or None

    def _begin(self) -> Assembly:
        return Assembly(self._latest, self._clock.unix_ns() // 1_000_000)

    async def _fill(
        self, assembly: Assembly, points: Iterator[Points], series_max: int | None
    ) -> None:
        """Take points until there are ``series_max`` series or no more points."""
        is_stage = series_max is not None
        see = self._families.see if is_stage and self._families is not None else None
        until_s = self._clock.monotonic() + TURN_S
        while assembly.take_some(points, TURN_POINTS, see):
            if series_max is not None and len(assembly) >= series_max:
                break
            if self._clock.monotonic() >= until_s:
                await asyncio.sleep(0)
                until_s = self._clock.monotonic() + TURN_S

    def take_apart(self) -> bool:
        """Give what the last stage had of its members in parts; whether it had several.

        What of it has arrived is known to be no news by then, and is not sent again.
        """
        members = [points for points in self._given if points]
        self._given = []
        if len(members) < 2:
            return False
        size = -(-len(members) // PARTS)
        parts = [members[at : at + size] for at in range(0, len(members), size)]
        self._parts.extendleft(reversed(parts))
        return True

    def __repr__(self) -> str:
        return f"<Stages {self._assembly!r} parts={len(self._parts)}>"
