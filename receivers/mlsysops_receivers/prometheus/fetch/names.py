"""Names of hosts, looked up so that one which takes long keeps no other waiting.

A look-up blocks a thread until the system gives it up, whatever deadline its caller has. So each
name is looked up once at a time, and in threads that are for nothing else: those of the event loop
also read files.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

THREADS_MAX: Final = 16


class Names:
    """The look-ups of one client. `close` abandons those that are under way."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._under_way: dict[tuple[str, int], asyncio.Future[Any]] = {}

    async def look_up(self, host: str, port: int) -> Any:
        """As `socket.getaddrinfo` for streams. Raises `OSError`."""
        key = (host, port)
        found = self._under_way.get(key)
        if found is None:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="names")
            loop = asyncio.get_running_loop()
            found = loop.run_in_executor(self._executor, _look_up, host, port)
            self._under_way[key] = found
            found.add_done_callback(lambda _: self._under_way.pop(key, None))
        # Whoever waits may be cancelled; the look-up goes on, for the next one who asks.
        return await asyncio.shield(found)

    def close(self) -> None:
        """Wait for nobody."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def __repr__(self) -> str:
        return f"<Names under_way={len(self._under_way)}>"


def _look_up(host: str, port: int) -> Any:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror as error:
        raise OSError(f"lookup {host}: {error.strerror}") from error
