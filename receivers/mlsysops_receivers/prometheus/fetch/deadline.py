"""A limit on how long a block may take, by the component's clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from mlsysops_pipeline.clock import Clock, Timer


class Deadline:
    """``with Deadline(clock, 5.0):`` raises `TimeoutError` inside a task when time is up.

    As `asyncio.timeout`, which knows only the event loop's own time, and cannot be paused.
    """

    __slots__ = ("_cancelling", "_clock", "_due_s", "_is_over", "_left_s", "_task", "_timer")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._left_s = seconds
        self._due_s = 0.0
        self._task: asyncio.Task[object] | None = None
        self._timer: Timer | None = None
        self._cancelling = 0
        self._is_over = False

    def __enter__(self) -> Self:
        task = self._task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task")
        self._cancelling = task.cancelling()
        self.resume()
        return self

    def pause(self) -> None:
        """What follows does not count."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left_s = max(self._due_s - self._clock.monotonic(), 0.0)

    def resume(self) -> None:
        """It counts again."""
        if self._timer is None:
            self._due_s = self._clock.monotonic() + self._left_s
            self._timer = self._clock.call_later(self._left_s, self._expire)

    def _expire(self) -> None:
        if self._task is not None:
            self._is_over = True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_over or task is None:
            return
        is_ours = task.uncancel() <= self._cancelling
        if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def __repr__(self) -> str:
        return f"<Deadline {self._left_s:g} s>"
