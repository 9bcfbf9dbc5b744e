"""Attempts at delivery that end in time, at the cost of one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from mlsysops_pipeline.errors import Code, ConsumeError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mlsysops_pipeline.clock import Clock, Timer

What = TypeVar("What")
Result = TypeVar("Result")


class _Attempt:
    __slots__ = ("deadline", "task", "verdict")

    def __init__(self, task: asyncio.Task[object], deadline: float) -> None:
        self.task = task
        self.deadline = deadline
        self.verdict: ConsumeError | None = None


class Attempts(Generic[What, Result]):
    """Runs ``export`` with a limit of ``timeout_s`` (0: none), and can end all attempts at once.

    All attempts may take equally long, so they end in the order of their beginning and one timer,
    set for the oldest, is enough. `asyncio.timeout` sets and cancels one for each.
    """

    __slots__ = ("_clock", "_export", "_running", "_timeout_s", "_timer")

    def __init__(
        self,
        export: Callable[[What], Awaitable[Result]],
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self._export = export
        self._timeout_s = timeout_s
        self._clock = clock
        self._running: dict[_Attempt, None] = {}
        self._timer: Timer | None = None

    async def run(self, what: What, task: asyncio.Task[object], now: float) -> Result:
        """One attempt, in the current ``task``, which begins ``now``.

        Raises what ``export`` raises, and `RetryableError` when time is up.
        """
        requests_before = task.cancelling()
        if self._timeout_s and self._timer is None:
            self._timer = self._clock.call_later(self._timeout_s, self._end_overdue)
        attempt = _Attempt(task, now + self._timeout_s)
        self._running[attempt] = None
        try:
            return await self._export(what)
        except asyncio.CancelledError as cancelled:
            if attempt.verdict is None or task.cancelling() > requests_before + 1:
                raise  # somebody else cancels the task
            raise attempt.verdict from cancelled
        finally:
            del self._running[attempt]
            if attempt.verdict is not None:
                task.uncancel()

    def abort(self, verdict: ConsumeError) -> None:
        """End every attempt that is running, with this error."""
        for attempt in list(self._running):
            self._end(attempt, verdict)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_overdue(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for attempt in list(self._running):
            if attempt.deadline > now:
                self._timer = self._clock.call_later(attempt.deadline - now, self._end_overdue)
                break
            self._end(
                attempt,
                RetryableError(
                    f"no answer within {self._timeout_s:g} s",
                    code=Code.DEADLINE_EXCEEDED,
                    is_unanswered=True,
                ),
            )

    @staticmethod
    def _end(attempt: _Attempt, verdict: ConsumeError) -> None:
        if attempt.verdict is None:
            attempt.verdict = verdict
            attempt.task.cancel()

    def __len__(self) -> int:
        return len(self._running)

    def __repr__(self) -> str:
        return f"<Attempts running={len(self._running)} timeout_s={self._timeout_s:g}>"
