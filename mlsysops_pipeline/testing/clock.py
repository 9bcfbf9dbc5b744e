"""A clock that stands still until a test turns it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SETTLE_ROUNDS = 25


class _Timer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class JumpClock:
    """Implements `mlsysops_pipeline.clock.Clock`. `advance` turns it and lets tasks run."""

    def __init__(self, start_s: float = 1_000.0, unix_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now = start_s
        self._epoch_ns = unix_ns - int(start_s * 1e9)
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._now

    def unix_ns(self) -> int:
        """See `Clock.unix_ns`."""
        return self._epoch_ns + int(self._now * 1e9)

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await done
        finally:
            timer.cancel()

    def call_later(self, seconds: float, call: Callable[[], object]) -> _Timer:
        """See `Clock.call_later`."""
        timer = _Timer(call)  # type: ignore[arg-type]  # the result is ignored
        heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Turn the clock forward, firing timers in order and letting tasks run in between."""
        await settle()
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if not timer.cancelled:
                timer.call()
                await settle()
        self._now = end
        await settle()

    @property
    def pending(self) -> int:
        """Timers that would still fire."""
        return sum(not timer.cancelled for _, _, timer in self._timers)


async def advance_until(
    clock: JumpClock,
    condition: Callable[[], object],
    *,
    step_s: float = 1.0,
    timeout_s: float = 10.0,
) -> None:
    """Turn ``clock`` in steps of ``step_s`` until ``condition`` holds.

    Between two steps sockets get a moment of real time. Raises `TimeoutError` after ``timeout_s``
    of that.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():
            await clock.advance(step_s)
            await asyncio.sleep(0.001)


async def settle() -> None:
    """Let every task run that can run without time passing."""
    for _ in range(_SETTLE_ROUNDS):
        await asyncio.sleep(0)
