"""Background tasks that cannot fail in silence and cannot outlive their component."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Coroutine

_RESTART_PAUSE_S = 1.0
_RECOVERED_AFTER_S = 60.0
"""A task that was restarted and has run this long is well again."""


class Tasks:
    """The supervisor of one component's tasks.

    A task that raises is logged with its traceback and reported to ``on_failure``; it is run
    again after a pause when it was spawned with `spawn_forever`, and reported to ``on_recovery``
    once it has run for a minute. `shutdown` cancels and awaits whatever is still running.
    """

    def __init__(
        self,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        on_failure: Callable[[str, BaseException], None] | None = None,
        on_recovery: Callable[[str], None] | None = None,
    ) -> None:
        self._logger = logger
        self._on_failure = on_failure
        self._on_recovery = on_recovery
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine that ends by itself. The caller may await or cancel the task."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return task

    def spawn_forever(
        self, name: str, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[Any]:
        """Run a loop that must not end: after a failure it starts again, a second later."""
        return self.spawn(name, self._again(name, function))

    async def _again(self, name: str, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        recovery: asyncio.TimerHandle | None = None
        while True:
            try:
                await function()
            except Exception as error:  # noqa: BLE001  the edge: whatever it is, it is reported
                self._report(name, error)
                await asyncio.sleep(_RESTART_PAUSE_S)
            else:
                return
            finally:
                if recovery is not None:
                    recovery.cancel()
            recovery = asyncio.get_running_loop().call_later(
                _RECOVERED_AFTER_S, self._recovered, name
            )

    def _recovered(self, name: str) -> None:
        self._logger.info("task %r runs again", name)
        if self._on_recovery is not None:
            self._on_recovery(name)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(task.get_name(), error)

    def _report(self, name: str, error: BaseException) -> None:
        self._logger.error("task %r failed: %s", name, error, exc_info=error)
        if self._on_failure is not None:
            self._on_failure(name, error)

    async def shutdown(self) -> None:
        """Cancel and await every task. Safe to call twice."""
        current = asyncio.current_task()
        tasks = [task for task in self._running if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._running)

    def __repr__(self) -> str:
        return f"<Tasks running={sorted(task.get_name() for task in self._running)}>"
