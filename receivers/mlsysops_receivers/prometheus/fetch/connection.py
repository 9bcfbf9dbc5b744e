"""One socket to a peer: a request, then its answer, as often as both sides like.

What has come and not been read yet is limited: beyond `AHEAD_BYTES_MAX` it waits in the socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from mlsysops_receivers.prometheus.fetch.answers import AnswerFault, AnswerReader

if TYPE_CHECKING:
    from mlsysops_receivers.prometheus.fetch.answers import Head

AHEAD_BYTES_MAX: Final = 256 << 10
"""How much of a body is read ahead of whoever uses it."""


class Connection(asyncio.Protocol):
    """One connection. ``is_open``: whether another request may be tried on it.

    ``idle_since_s``: for whoever keeps it, by the component's clock.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._pieces: deque[bytes] = deque()
        self._ahead_bytes = 0
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._is_lost = False
        self.is_open = False
        self.idle_since_s = 0.0

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # Event loops need not derive their transports from asyncio's (uvloop does not).
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        reader = self._reader
        if reader is None or self._error is not None:
            self.close()  # nobody asked for it
            return
        try:
            pieces = reader.feed(data)
        except AnswerFault as fault:
            self._fail(fault)
            return
        if pieces:
            self._pieces.extend(pieces)
            self._ahead_bytes += sum(map(len, pieces))
            if self._ahead_bytes > AHEAD_BYTES_MAX and not self._is_paused and self._transport:
                self._is_paused = True
                self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._is_lost = True
        self._ended(exc)

    def _ended(self, exc: Exception | None) -> None:
        self.is_open = False
        reader = self._reader
        if reader is None or self._error is not None:
            return
        try:
            reader.end()
        except AnswerFault as fault:
            self._error = exc or fault
        self._wake()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self.close()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # Called by who asks.

    async def ask(self, request: bytes) -> Head:
        """Send a request; the head of its answer. Raises `AnswerFault` or `OSError`."""
        if self._transport is None or not self.is_open:
            raise ConnectionResetError("the connection is closed")
        reader = self._reader = AnswerReader()
        self._transport.write(request)
        while reader.head is None:
            await self._more()
        return reader.head

    @property
    def has_answer(self) -> bool:
        """Whether anything of an answer to the last request has come."""
        return self._reader is not None and self._reader.has_begun

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end. Raises `AnswerFault` or `OSError`."""
        while not self._pieces:
            if self._reader is None or self._reader.is_done:
                return b""
            await self._more()
        piece = self._pieces.popleft()
        self._ahead_bytes -= len(piece)
        if self._is_paused and self._ahead_bytes <= AHEAD_BYTES_MAX // 2:
            self._is_paused = False
            if self._transport is not None and not self._is_lost:
                self._transport.resume_reading()
        return piece

    async def _more(self) -> None:
        """Return when something has happened. Raises what went wrong."""
        if self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._error is not None and not self._pieces:
            raise self._error

    def release(self) -> bool:
        """The answer is read. Whether the connection can be used again; if not, it is closed."""
        reader, self._reader = self._reader, None
        is_clean = (
            reader is not None
            and reader.head is not None
            and reader.head.keeps_alive
            and reader.is_done
            and not reader.is_overrun
            and self._error is None
            and self.is_open
            and not self._pieces
        )
        if not is_clean:
            self.close()
        return is_clean

    def close(self) -> None:
        """End the connection at once."""
        self.is_open = False
        self._pieces.clear()
        if self._transport is not None and not self._is_lost:
            self._transport.abort()

    def __repr__(self) -> str:
        return f"<Connection open={self.is_open} ahead={self._ahead_bytes}>"
