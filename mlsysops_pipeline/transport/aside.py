"""Long computations in a thread, one after the other.

What takes long enough to be kept out of the event loop also takes several times the memory of the
request that it is for (a decompressed body, a JSON document as objects), which nobody knows before.
In the pool that `asyncio.to_thread` uses, as many of them run as there are senders; here it is one,
so memory is bounded, and the event loop, which does the rest alone too, is not starved.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Aside:
    """One thread, started when it is first needed. ``name``: of the thread."""

    __slots__ = ("_executor", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """What ``function`` returns or raises. Cancelled while it waits, it is never called."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, function, *arguments
        )

    def __repr__(self) -> str:
        return f"<Aside {self._name}>"
