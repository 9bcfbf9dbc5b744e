"""One socket of a gRPC client with its `ClientConnection`: reading, writing, timers."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol, cast

from mlsysops_pipeline.transport.http2 import limits
from mlsysops_pipeline.transport.http2.client import ClientCall, ClientConnection, ClientTimes

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.clock import Clock, Timer
    from mlsysops_pipeline.transport.dialing import Address
    from mlsysops_pipeline.transport.http2.headers import Field

CLOSE_TIMEOUT_S: Final = 2.0
"""For the last bytes to leave before a socket is cut off."""

_TLS_CLOSE_S: Final = 0.1
_WRITE_HIGH_BYTES: Final = 8 << 20
"""What may wait in the socket's buffer before no call begins any more. Without TLS most of it are
views of requests that somebody holds anyway.
"""

_WRITEV_BYTES_MIN: Final = 32 << 10
"""Below this, joining the pieces costs less than handing them over one by one."""


class LinkOwner(Protocol):
    """What a link needs of its channel."""

    clock: Clock
    times: ClientTimes
    pinned: tuple[Field, ...]
    waiting: deque[ClientCall]

    def pump(self) -> None:
        """There may be room: begin calls that wait."""

    def on_answers(self, calls: Iterable[ClientCall]) -> None:
        """The peer answered these calls."""

    def settle(self, calls: Iterable[ClientCall]) -> None:
        """These calls are over."""

    def remove(self, link: GrpcLink, message: str) -> None:
        """The connection is over."""


class GrpcLink(asyncio.Protocol):
    """One socket with its `ClientConnection`.

    ``address``: where it leads. ``opened`` is done when the peer's SETTINGS are here, or never
    will be: then ``problem`` says why. ``ended`` is done when the socket is gone.
    """

    def __init__(self, channel: LinkOwner) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self.channel = channel
        self.grpc = ClientConnection(
            channel.times, channel.clock.monotonic(), pinned=channel.pinned
        )
        self.opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.problem = ""
        self.address: Address | None = None
        self.is_paused = False
        self._clock = channel.clock
        self._transport: asyncio.Transport | None = None
        self._is_tls = False
        self._writes_pieces = False
        self._is_closing = False
        self._is_flush_due = False
        self._timer: Timer | None = None
        self._timer_s = math.inf
        self._paused_since_s = 0.0

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # Event loops need not derive their transports from asyncio's (uvloop does not).
        made: object = transport
        transport = self._transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        # We offer nothing but h2, so whatever was negotiated, HTTP/2 is what may be spoken.
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        # asyncio's own transports either join what they are given, or (3.12 and later) forget to
        # say that the peer does not read; TLS would make a record of each piece.
        self._writes_pieces = not self._is_tls and not isinstance(made, asyncio.Transport)
        self._settle()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._is_closing:
            return
        grpc = self.grpc
        over = grpc.receive(data, self._clock.monotonic())
        if grpc.connection.is_ended:
            self.channel.settle(over)
        elif over:
            self.channel.on_answers(over)
        if not self.opened.done() and grpc.connection.is_established:
            self.opened.set_result(None)
        self._settle()
        if self.channel.waiting:
            self.channel.pump()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: half-closed connections are closed."""
        return False

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: no call begins while the peer does not read."""
        self.is_paused = True
        self._paused_since_s = self._clock.monotonic()
        self._schedule()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.is_paused = False
        self.channel.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._is_closing = True
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        grpc = self.grpc
        message = grpc.end_message
        if not message and not grpc.is_over:
            message = "the peer closed the connection"
            if exc is not None:
                message = f"the connection was lost: {exc}"
        if grpc.calls:
            grpc.end_message = message or "the connection was closed"
            self.channel.settle(grpc.lose())
        self.channel.remove(self, message)
        if not self.opened.done():
            self.problem = message or "the connection was closed"
            self.opened.set_result(None)
        if not self.ended.done():
            self.ended.set_result(None)

    # For the channel.

    def begin(self, call: ClientCall, now_s: float) -> bool:
        """Send a call, if there is room for it."""
        if self.is_paused or self._is_closing:
            return False
        if not self.grpc.begin(call, now_s):
            if self.grpc.is_over:
                self._settle()
            return False
        if len(self.grpc.calls) == 1:
            self._settle()
        elif not self._is_flush_due:
            # Calls begin in groups, and a write is a system call: one for the group.
            self._is_flush_due = True
            self._loop.call_soon(self._flush)
        return True

    def _flush(self) -> None:
        self._is_flush_due = False
        self._settle()

    def cancel(self, call: ClientCall) -> bool:
        """Reset a call, if it is one of ours."""
        stream = call.stream
        if stream is None or self.grpc.calls.get(stream.id) is not call:
            return False
        self.grpc.cancel(call, self._clock.monotonic())
        self._settle()
        return True

    def close(self) -> None:
        """Say goodbye and close; calls under way are lost."""
        self.grpc.close()
        self.channel.settle(self.grpc.lose())
        self._settle()

    def abort(self) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._transport.abort()

    # The socket.

    def _settle(self) -> None:
        """Write what there is, close what is over, and see to the timer."""
        grpc = self.grpc
        frames = grpc.connection.take()
        transport = self._transport
        if transport is None or self._is_closing:
            return
        if frames:
            if len(frames) == 1:
                transport.write(frames[0])
            elif self._writes_pieces and sum(map(len, frames)) >= _WRITEV_BYTES_MIN:
                transport.writelines(frames)
            else:
                transport.write(b"".join(frames))
        if grpc.is_over:
            self._is_closing = True
            transport.close()
            # What is written should leave, but nobody depends on it any more: no time for a peer
            # that owes the end of TLS.
            self._replace_timer(_TLS_CLOSE_S if self._is_tls else CLOSE_TIMEOUT_S, self.abort)
        elif grpc.wake_s < self._timer_s:
            self._schedule()

    def _schedule(self) -> None:
        grpc = self.grpc
        due_s = grpc.wake_s = grpc.wake_s or grpc.due_s()
        if self.is_paused:
            due_s = min(due_s, self._paused_since_s + limits.STALL_TIMEOUT_S)
        self._timer_s = due_s
        now_s = self._clock.monotonic()
        self._replace_timer(max(due_s - now_s, 0.0), self._on_timer)

    def _replace_timer(self, delay_s: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay_s != math.inf:
            self._timer = self._clock.call_later(delay_s, call)

    def _on_timer(self) -> None:
        now_s = self._clock.monotonic()
        self._timer = None
        self._timer_s = math.inf
        if self.is_paused and now_s >= self._paused_since_s + limits.STALL_TIMEOUT_S:
            self.grpc.end_message = "the peer does not read what is sent"
            self.abort()
            return
        self.channel.settle(self.grpc.on_time(now_s))
        self._settle()
        if self.is_paused and self._timer is None:
            self._schedule()
        if self.channel.waiting:
            self.channel.pump()

    def __repr__(self) -> str:
        return f"<GrpcLink paused={self.is_paused} {self.grpc!r}>"
