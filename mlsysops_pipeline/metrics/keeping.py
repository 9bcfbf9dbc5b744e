"""What processors that keep the state of every stream have in common.

Requests go through one at a time, what a refused one changed is undone (`turns`), what is taken
out is counted only once the rest was taken, and streams that are silent for long are forgotten.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic

from mlsysops_pipeline.errors import DropReason
from mlsysops_pipeline.metrics.identity import Identities
from mlsysops_pipeline.metrics.streams import Streams, T
from mlsysops_pipeline.metrics.turns import Turns
from mlsysops_pipeline.metrics.walking import rewrite

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mlsysops_pipeline.component import Consumer, Settings
    from mlsysops_pipeline.metrics.walking import Change, ChangeClosed
    from mlsysops_pipeline.pdata.payload import Payload

_OPEN_FACTOR = 3
"""What an open view is charged, in sizes of the wire (see "Payload and views" in the design)."""


class Keeper(Generic[T]):
    """The streams of a processor, and the way of payloads through it.

    ``change`` and ``closed`` are called for every metric, as in `rewrite`; while it runs, ``now``
    is the time that states begin with, and what it takes out it reports to `drop` or `filter`.
    ``on_counted(cause, points)`` is called for what was taken out, once that is certain.
    ``max_age_s``: streams that are silent for longer are forgotten, looked for every ``sweep_s``;
    0: never. ``streams_max``: above, those that are silent longest are forgotten.
    """

    def __init__(
        self,
        settings: Settings,
        next_: Consumer,
        change: Change,
        closed: ChangeClosed,
        on_counted: Callable[[str, int], None],
        *,
        max_age_s: float,
        sweep_s: float,
        streams_max: int,
    ) -> None:
        self.streams: Streams[T] = Streams()
        self.identities = Identities()
        self.now = settings.clock.monotonic()
        self._turns = Turns(settings, next_, self._process, self._settle)
        self.consume = self._turns.consume
        self.accept_now = self._turns.accept_now
        self._settings = settings
        self._change = change
        self._closed = closed
        self._on_counted = on_counted
        self._max_age_s = max_age_s
        self._sweep_s = sweep_s
        self._streams_max = streams_max
        self._dropped: Counter[tuple[DropReason, str]] = Counter()
        self._filtered: Counter[str] = Counter()
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to forget."""
        if self._max_age_s > 0:
            name = f"{self._settings.id} sweeper"
            self._sweeper = self._settings.tasks.spawn_forever(name, self._sweep)

    def stop(self) -> None:
        """End what `start` began."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def drop(self, reason: DropReason, cause: str) -> None:
        """A point is lost."""
        self._dropped[reason, cause] += 1

    def filter(self, cause: str) -> None:
        """A point is taken out, as it should be."""
        self._filtered[cause] += 1

    def _process(self, payload: Payload) -> Payload | None:
        self.now = self._settings.clock.monotonic()
        with self._settings.memory.held(_OPEN_FACTOR * payload.size):
            wires = tuple([self._rewrite(wire) for wire in payload.wires])
        if all(new is old for new, old in zip(wires, payload.wires, strict=True)):
            return payload
        result = payload.with_wires(wires)
        gone = self._dropped.total() + self._filtered.total()
        lost = payload.items - result.items - gone
        if lost:  # of several members of a oneof, protobuf knows only the last
            self._dropped[DropReason.MALFORMED, "malformed"] += lost
        return result if result.items else None

    def _rewrite(self, wire: bytes) -> bytes:
        return rewrite(wire, self.identities, self._change, self._closed)

    def _settle(self, is_taken: bool) -> None:  # noqa: FBT001  the contract of `Turns`
        if is_taken:
            self.streams.keep()
            ledger = self._settings.pipeline_ledger
            for (reason, cause), points in self._dropped.items():
                ledger.drop(reason, points)
                self._on_counted(cause, points)
            for cause, points in self._filtered.items():
                ledger.filter(cause, points)
                self._on_counted(cause, points)
            self.streams.shrink(self._streams_max)
        else:
            self.streams.undo()
        self._dropped.clear()
        self._filtered.clear()

    async def _sweep(self) -> None:
        clock = self._settings.clock
        while True:
            await clock.sleep(self._sweep_s)
            await self._turns.turn()
            self.streams.expire(clock.monotonic() - self._max_age_s)
            self._turns.end_turn()

    def __repr__(self) -> str:
        return f"<Keeper streams={len(self.streams)}>"
