"""Child processes that cannot outlive this one, with their output caught.

Each child runs in a process group of its own, so that a Ctrl-C at the terminal reaches only the
supervisor, which then stops the children in order. `guard` covers the ends that no code survives.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlsysops_pipeline.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

_LOG_LINES_MAX = 200
_LINE_BYTES_MAX = 64 * 1024
_KILL_WAIT_S = 5.0
_GUARD = str(Path(__file__).with_name("guard.py"))
_FOREIGN_PREFIXES = ("OTEL_", "MLSYSOPS_COLLECTOR_", "MLS_OTEL_")
_FOREIGN_NAMES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "no_grpc_proxy")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would lead the demo's telemetry elsewhere, or switch it off.

    Those are the variables of SDKs and of the collector, and proxies, which gRPC would ask even
    for the loopback.
    """
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name.lower() not in _FOREIGN_NAMES
    }


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module; the current folder cannot shadow what it imports."""
    return [sys.executable, "-P", "-m", module, *arguments]


class Child:
    """One process: started, watched, told, stopped.

    ``on_line`` gets each line of its standard output. The last lines of its standard error are
    in ``log``; ``on_log`` sees each of them.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        on_line: Callable[[str], None] | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.log: deque[str] = deque(maxlen=_LOG_LINES_MAX)
        self.killed = False
        """Whether it had to be ended by force."""
        self._on_line = on_line
        self._on_log = on_log
        self._process: asyncio.subprocess.Process | None = None
        self._tasks = Tasks(logging.getLogger(__name__))
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start it. Raises `OSError` when there can be no more processes."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _GUARD, str(os.getpid())),
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=clean_environment(os.environ),
            process_group=0,
        )
        assert self._process.stdout is not None  # noqa: S101  asked for as pipes above
        assert self._process.stderr is not None  # noqa: S101
        self._readers = [
            self._tasks.spawn(f"{self.name} output", self._read_output(self._process.stdout)),
            self._tasks.spawn(f"{self.name} log", self._read_log(self._process.stderr)),
        ]

    @property
    def status(self) -> int | None:
        """The exit status; negative: the signal that ended it; ``None``: not ended."""
        return None if self._process is None else self._process.returncode

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id. Only after `start`."""
        assert self._process is not None  # noqa: S101  the contract above
        return self._process.pid

    def tell(self, word: str) -> None:
        """Write a word to its standard input; a process that has ended does not mind."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(word.encode() + b"\n")

    def terminate(self) -> None:
        """Send SIGTERM, if it runs."""
        self._signal(signal.SIGTERM)

    async def kill(self) -> None:
        """End it by force if it runs, and wait until it is gone. Marks it as ``killed``."""
        if self.running:
            self.killed = True
            self._signal(signal.SIGKILL)
        await self.close()

    async def close(self) -> None:
        """Wait for what an ended process has still written, and let go of its pipes."""
        if self._process is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_KILL_WAIT_S):
                await self._process.wait()
                # The pipes end with the process, unless it left a child of its own behind.
                await asyncio.wait(self._readers)
        await self._tasks.shutdown()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def last_lines(self, count: int) -> list[str]:
        """The last lines of its log, oldest first."""
        return list(self.log)[-count:]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _read_output(self, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            if self._on_line is not None:
                self._on_line(line)

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            self.log.append(line)
            if self._on_log is not None:
                self._on_log(line)

    def __repr__(self) -> str:
        return f"<Child {self.name} status={self.status} killed={self.killed}>"


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    rest = b""
    while chunk := await stream.read(_LINE_BYTES_MAX):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
        # A line without an end keeps its beginning: that is where the reason stands.
        rest = rest[:_LINE_BYTES_MAX]
    if rest:
        yield rest.decode(errors="replace")
