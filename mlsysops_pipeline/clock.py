"""Time as an argument: components ask a `Clock`, and tests give them one that they can turn."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer(Protocol):
    """A call that has been scheduled and may be taken back."""

    def cancel(self) -> None:
        """Take the call back; harmless when it has been made already."""


class Clock(Protocol):
    """What a component may know of time. `SystemClock` is real, `testing.JumpClock` turns."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    def unix_ns(self) -> int:
        """Nanoseconds since 1970, as OTLP writes times."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make a synchronous call after ``seconds``, from the event loop."""


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def unix_ns(self) -> int:
        """See `Clock.unix_ns`."""
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(seconds, call)
