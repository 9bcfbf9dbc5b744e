"""Reads a collector's own Prometheus page now and then: a program beside the harness.

It reads one line, a JSON object with ``port`` and ``every_s``; then it prints a JSON line for every
line that it reads: the pages read, the bytes of the last one, its own CPU time.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import time
from contextlib import suppress

_TIMEOUT_S = 10.0


class Reader:
    """Counts what it has read."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.pages = 0
        self.bytes = 0

    def read(self) -> None:
        """One page. Raises `OSError` or `http.client.HTTPException` when there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", "/metrics")
            self.bytes = len(connection.getresponse().read())
            self.pages += 1
        finally:
            connection.close()

    def line(self) -> str:
        """For the harness."""
        return json.dumps({"pages": self.pages, "bytes": self.bytes, "cpu_s": time.process_time()})


async def _read_for_ever(reader: Reader, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        with suppress(OSError, http.client.HTTPException):
            await asyncio.to_thread(reader.read)


async def main() -> None:
    plan = json.loads(await asyncio.to_thread(sys.stdin.readline))
    reader = Reader(plan["port"])
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_read_for_ever(reader, plan["every_s"]))
        while await asyncio.to_thread(sys.stdin.readline):
            print(reader.line(), flush=True)
        reading.cancel()


if __name__ == "__main__":
    asyncio.run(main())
