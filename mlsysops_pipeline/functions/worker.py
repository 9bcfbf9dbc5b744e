"""A thread that runs a user's function, and can be left behind when it does not come back.

The threads of an executor are waited for when the process ends, and would keep it from ending: a
worker's is a daemon. Nothing here knows of time: whoever waits decides how long.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, asyncio.Future[Any]]


class CallFailedError(Exception):
    """A function raised what must not travel through an event loop, such as `SystemExit`."""


class Worker:
    """One thread, started with the first call. Calls are made one after the other.

    ``name``: of the thread, as debuggers show it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call ``function`` in the thread; the future gets what it returns or raises.

        A future that is cancelled meanwhile stays so: the late result is thrown away.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.put((function, loop, future))
        if self._thread is None:
            self._thread = threading.Thread(
                target=_work, args=(self._jobs,), name=self._name, daemon=True
            )
            self._thread.start()
        return future

    def leave(self) -> None:
        """Let the thread end when it has done what it was given; never waits."""
        self._jobs.put(None)

    def __repr__(self) -> str:
        return f"<Worker {self._name} started={self._thread is not None}>"


def _work(jobs: queue.SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        function, loop, future = job
        result: Any = None
        error: BaseException | None = None
        try:
            result = function()
        except Exception as failure:  # noqa: BLE001  the edge: whatever it is, its caller gets it
            error = failure
        except BaseException as failure:  # noqa: BLE001  a user's sys.exit() ends a call, not us
            error = CallFailedError(f"{type(failure).__name__}: {failure}")
        try:
            loop.call_soon_threadsafe(partial(_deliver, future, result, error))
        except RuntimeError:  # the loop was closed while the function ran
            return
        del job, function, loop, future, result, error  # nothing is held while waiting


def _deliver(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # no future takes one
        error = CallFailedError("StopIteration")
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
