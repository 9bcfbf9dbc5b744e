"""A payload in parts of limited size, each of which is sent before the next one is assembled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mlsysops_exporters.prometheusremotewrite.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlsysops_exporters.prometheusremotewrite.families import Families
    from mlsysops_exporters.prometheusremotewrite.order import Latest
    from mlsysops_exporters.prometheusremotewrite.packing import Request
    from mlsysops_exporters.prometheusremotewrite.series import Series
    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.prometheus.points import Batch, Columns

STAGE_SERIES: Final = 20_000
"""Series of a stage: one or two requests of the usual size, packed within some 15 ms."""

TURN_S: Final = 0.003
"""After that long others get their turn."""

TURN_POINTS: Final = 100
"""Points between two looks at the clock. New series take many times as long as known ones."""


class Stages:
    """Assembles ``batches``. ``families``: what to say about metrics, if anything is said at all.

    ``assembled`` is told of every stage before it is sent.
    """

    def __init__(
        self,
        batches: Iterator[Columns[Series] | Batch[Series]],
        latest: Latest,
        clock: Clock,
        *,
        bytes_max: int,
        families: Families | None,
        assembled: Callable[[Assembly], None],
    ) -> None:
        self._batches = batches
        self._latest = latest
        self._clock = clock
        self._bytes_max = bytes_max
        self._families = families
        self._assembled = assembled
        self._assembly: Assembly | None = None

    async def next(self) -> list[list[Request]] | None:
        """The lanes of the next stage; ``None`` after the last.

        If it is cancelled, the next call goes on with what was assembled.
        """
        assembly = self._assembly
        if assembly is None:
            now_ms = self._clock.unix_ns() // 1_000_000
            assembly = self._assembly = Assembly(self._latest, now_ms)
        families = self._families
        see = None if families is None else families.see
        until_s = self._clock.monotonic() + TURN_S
        while assembly.take_some(self._batches, TURN_POINTS, see):
            if len(assembly) >= STAGE_SERIES:
                break
            if self._clock.monotonic() >= until_s:
                await asyncio.sleep(0)
                until_s = self._clock.monotonic() + TURN_S
        self._assembly = None
        self._assembled(assembly)
        said = b""
        if families is not None and assembly.items:
            said = families.due(self._clock.monotonic())
        return assembly.lanes(self._bytes_max, said) or None

    def __repr__(self) -> str:
        return f"<Stages {self._assembly!r}>"
