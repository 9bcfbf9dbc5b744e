"""Small HTTP servers for tests of scrapes: they answer what a test tells them, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self

from mlsysops_pipeline.testing import settle

if TYPE_CHECKING:
    import ssl

Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[Any]]


def answer(
    body: bytes | str = b"",
    status: str = "200 OK",
    content_type: str = "text/plain; version=0.0.4",
    **fields: str,
) -> bytes:
    """A whole answer."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}"]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class Peer:
    """A server on a free port. ``reply``: bytes, or a coroutine function that writes.

    ``requests``: heads of what was asked. ``connections``: how many there were. ``replies``: by
    path, for those that have one of their own. ``port``: where it listens.
    """

    def __init__(
        self, reply: Reply = b"", *, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        self.reply: Reply = reply
        self.replies: dict[str, Reply] = {}
        self.requests: list[str] = []
        self.connections = 0
        self.closes_after_answer = False
        self.port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await settle()

    def hang_up(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def fields(self, index: int = -1) -> dict[str, str]:
        """The header fields of a request, names in lower case."""
        lines = self.requests[index].split("\r\n")[1:]
        pairs = (line.partition(": ") for line in lines if line)
        return {name.lower(): value for name, _, value in pairs}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head)
                path = head.split(" ", 2)[1].partition("?")[0]
                reply = self.replies.get(path, self.reply)
                if isinstance(reply, bytes):
                    writer.write(reply)
                else:
                    await reply(writer)
                await writer.drain()
                if self.closes_after_answer or not reply:
                    break
