"""The native gRPC server: sockets, tasks and timers around `GrpcConnection`.

Unary calls only, which is all that OTLP needs. A call that has to wait is a task of its own; one
whose client resets it, or whose deadline passes, is cancelled. Most need not wait and are answered
where they are read: the answers to all that one read brings leave in one write. A peer that does
not read its answers is not read from either, and is disconnected after a while.
"""

from __future__ import annotations

import asyncio
import math
import random
import socket
from typing import TYPE_CHECKING, Any, Final, cast

from mlsysops_pipeline.errors import Bug, Code, CollectorError, PeerError
from mlsysops_pipeline.transport import listen
from mlsysops_pipeline.transport.complaints import Complaints
from mlsysops_pipeline.transport.http2 import limits
from mlsysops_pipeline.transport.http2.calls import START, STOP, Call
from mlsysops_pipeline.transport.http2.grpc import GrpcConnection
from mlsysops_pipeline.transport.http2.requests import NO_AUTH, GrpcRequest, read_headers
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from mlsysops_pipeline.transport.tls import watch_handshakes

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from mlsysops_pipeline.clock import Clock, Timer
    from mlsysops_pipeline.transport.auth import ServerAuthenticator
    from mlsysops_pipeline.transport.http2.calls import Service, Work

_CLOSE_TIMEOUT_S: Final = 5.0
"""For the last bytes to leave before a socket is cut off."""

_LINGER_S: Final = 1.0
"""How long a connection that we ended is still read from, for the peer to see why."""

_WRITE_HIGH_BYTES: Final = 256 << 10
_PATH_SHOWN_MAX: Final = 200


def _age_factor() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311  spreads load, protects nothing


class GrpcProtocol(asyncio.Protocol):
    """One socket with its `GrpcConnection`."""

    def __init__(self, server: NativeGrpcServer) -> None:
        self.grpc = GrpcConnection(
            server.service, server.clock.monotonic(), age_factor=_age_factor()
        )
        self.peer = ""
        self._server = server
        self._clock = server.clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: Timer | None = None
        self._timer_s = math.inf
        self._is_paused = False
        self._paused_since_s = math.inf
        self._is_closing = False
        self._is_flushing = False

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # Event loops need not derive their transports from asyncio's (uvloop does not).
        transport = self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else ""
        transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        if not self._server.add(self):
            self._is_closing = True
            transport.abort()
            return
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() not in {None, "h2"}:
            self._server.complain("alpn", f"{self.peer} negotiated a protocol that is not h2")
            self._is_closing = True
            transport.abort()
            return
        self._schedule()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._is_closing:
            return
        grpc = self.grpc
        work = grpc.receive(data, self._clock.monotonic())
        if work:
            self._do(work)
        if grpc.refusal is not None:
            path, status = grpc.refusal
            grpc.refusal = None
            self._server.refused(self.peer, path, status.code, status.message)
        if work and grpc.calls and grpc.connection.outbound.frames and not grpc.is_over:
            # grpc-go sends a PING behind each message: its answer goes with those of calls that
            # end at their first step, in one write.
            if not self._is_flushing:
                self._is_flushing = True
                self._loop.call_soon(self._flush)
        else:
            self._settle()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: half-closed connections are closed."""
        return False

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: who does not read is not read from."""
        self._is_paused = True
        self._paused_since_s = self._clock.monotonic()
        if self._transport is not None and not self._is_closing:
            self._transport.pause_reading()
        self._schedule()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._is_paused = False
        self._paused_since_s = math.inf
        if self._transport is not None and not self._is_closing:
            self._transport.resume_reading()
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's
        """See `asyncio.Protocol`."""
        self._is_closing = True
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._do(self.grpc.lose())
        self._server.remove(self)

    # Calls.

    def _do(self, work: Work) -> None:
        for action, call in work:
            if action is START:
                self._begin(call)
            elif action is STOP:
                if call.authentication is not None:
                    call.authentication.cancel()
                if call.runner is None:
                    self.grpc.stopped(call)
                else:
                    call.runner.cancel()
                    self._server.linger(call.runner)
                    call.runner.add_done_callback(lambda _, call=call: self._stopped(call))
            else:
                call.authentication = self._loop.create_task(self._authenticate(call))
                self._server.linger(call.authentication)

    def _begin(self, call: Call) -> None:
        """Run a call whose message is here: at once, as far as it need not wait."""
        handle = call.method.handle_now
        rest = None
        if handle is not None and not call.is_compressed and call.authentication is None:
            if call.is_over:
                return  # reset by what came right behind it
            try:
                answer = handle(self._request(call, call.message, NO_AUTH))
            except Exception as error:  # noqa: BLE001  the edge: a bug must cost one call only
                self._fail(call, error)
                return
            if type(answer) is bytes:
                self.grpc.succeed(call, answer)
                return
            rest = cast("Callable[[], Awaitable[bytes]]", answer)
        # Not by the supervisor of tasks, whose bookkeeping would be a tenth of a small call:
        # `_run` lets nothing escape, and stopped calls are awaited by the server.
        call.runner = self._loop.create_task(self._run(call, rest))

    def _stopped(self, call: Call) -> None:
        call.runner = None
        self.grpc.stopped(call)
        self._settle()

    async def _run(self, call: Call, rest: Callable[[], Awaitable[bytes]] | None) -> None:
        """Run one call, or the ``rest`` of it, and answer it.

        Nothing escapes but the cancellation that we asked for.
        """
        grpc = self.grpc
        try:
            auth = NO_AUTH
            if call.authentication is not None:
                auth = await call.authentication
                if auth is None:
                    return  # refused, and answered
            answer = await (rest() if rest is not None else self._handle(call, auth))
        except asyncio.CancelledError:
            if call.is_over:
                raise
            grpc.fail(call, GrpcStatus(Code.CANCELLED, "the call was cancelled by the server"))
        except Exception as error:  # noqa: BLE001  the edge: a bug must cost one call only
            self._fail(call, error)
        else:
            grpc.succeed(call, answer)
        call.runner = None
        if not grpc.calls and not self._is_flushing:
            self._settle()
        elif not self._is_flushing:
            # Calls that came together end together: one write for all of them.
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        self._settle()

    async def _handle(self, call: Call, auth: Mapping[str, str]) -> bytes:
        message = call.message
        if call.is_compressed:
            message = await self._server.decompress(
                call.encoding, message, self._server.message_bytes_max
            )
        return await call.method.handle(self._request(call, message, auth))

    def _request(self, call: Call, message: bytes, auth: Mapping[str, str]) -> GrpcRequest:
        """What the method is given; ``message`` is that of the call, decompressed."""
        wire_bytes = len(call.message)
        call.message = b""  # not to be held as long as the call
        return GrpcRequest(message, wire_bytes, self.peer, auth, call.block)

    def _fail(self, call: Call, error: Exception) -> None:
        """Answer a call that raised; logged, if it is a failure of ours or the peer's fault."""
        if not isinstance(error, CollectorError):
            self._server.report(call, error)
            self.grpc.fail(call, GrpcStatus(Code.INTERNAL, "internal error"))
            return
        if isinstance(error, PeerError):
            self._server.refused(self.peer, call.path, error.code, error.message)
        self.grpc.fail(call, self.grpc.service.status_of(error))

    async def _authenticate(self, call: Call) -> Mapping[str, str] | None:
        """Who is it? ``None`` for a call that was refused, perhaps before its message was here."""
        authenticator = self._server.authenticator
        if authenticator is None:
            raise Bug("calls are announced only where there is an authenticator")
        try:
            return await authenticator.authenticate(read_headers(call.block))
        except CollectorError as error:
            if isinstance(error, PeerError):
                self._server.refused(self.peer, call.path, error.code, error.message)
            status = self.grpc.service.status_of(error)
        except Exception as error:  # noqa: BLE001  the edge: nobody gets in by a bug
            self._server.report(call, error)
            status = GrpcStatus(Code.INTERNAL, "internal error")
        self.grpc.fail(call, status)
        self._settle()
        return None

    # The socket.

    def _settle(self) -> None:
        """Write what there is, close what is over, and see to the timer."""
        grpc = self.grpc
        frames = grpc.connection.take()
        transport = self._transport
        if transport is None or self._is_closing:
            return
        if frames:
            transport.write(b"".join(frames))
        if grpc.is_over:
            self._close(transport)
        elif grpc.wake_s < self._timer_s:
            self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        grpc = self.grpc
        due_s = grpc.wake_s = grpc.wake_s or grpc.due_s()
        due_s = self._timer_s = min(due_s, self._paused_since_s + limits.STALL_TIMEOUT_S)
        self._timer = None
        if due_s != math.inf:
            delay_s = max(due_s - self._clock.monotonic(), 0.0)
            self._timer = self._clock.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        now_s = self._clock.monotonic()
        self._timer = None
        self._timer_s = math.inf
        if now_s >= self._paused_since_s + limits.STALL_TIMEOUT_S:
            self._server.complain("stall", f"{self.peer} does not read its answers")
            self.abort()
            return
        self._do(self.grpc.on_time(now_s))
        self._settle()

    def drain(self, grace_s: float) -> None:
        """End gracefully: see `Lifetime.drain`."""
        self.grpc.drain(grace_s, self._clock.monotonic())
        self._settle()

    def _close(self, transport: asyncio.Transport) -> None:
        """Let what is written arrive: closing while the peer still sends would destroy it."""
        self._is_closing = True
        if self.grpc.end_message:
            self._server.complain(self.grpc.end_message, f"{self.peer}: {self.grpc.end_message}")
        self._do(self.grpc.lose())
        if self._timer is not None:
            self._timer.cancel()
        if self._is_paused:
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
            self._timer = self._clock.call_later(_LINGER_S, self._cut)
        else:
            transport.close()
            self._timer = self._clock.call_later(_CLOSE_TIMEOUT_S, self.abort)

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._timer = self._clock.call_later(_CLOSE_TIMEOUT_S, self.abort)

    def abort(self) -> None:
        """Close the socket now."""
        if self._transport is not None:
            self._transport.abort()

    def __repr__(self) -> str:
        return f"<GrpcProtocol {self.peer} {self.grpc!r}>"


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


class NativeGrpcServer:
    """Serves a `Service` on sockets that are bound already.

    ``decompress(encoding, data, bytes_max)`` raises `TooLargeError` or `MalformedError`;
    ``message_bytes_max`` limits what it may return. With an ``authenticator`` no method runs for
    a sender that it does not know. ``start``, then ``shutdown``; the latter is safe before the
    former and twice.
    """

    def __init__(
        self,
        service: Service,
        sockets: Sequence[socket.socket],
        *,
        clock: Clock,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        decompress: Callable[[str, bytes, int], Awaitable[bytes]],
        tls: ssl.SSLContext | None = None,
        authenticator: ServerAuthenticator | None = None,
        connections_max: int = limits.CONNECTIONS_MAX,
    ) -> None:
        self.service = service
        self.clock = clock
        self.decompress = decompress
        self.authenticator = authenticator
        self.message_bytes_max = service.message_bytes_max
        self._sockets = tuple(sockets)
        self._logger = logger
        self._tls = tls
        self._connections_max = connections_max
        self._servers: list[asyncio.Server] = []
        self._protocols: set[GrpcProtocol] = set()
        self._lingering: set[asyncio.Task[Any]] = set()
        self._complaints = Complaints(logger, clock)
        self._is_stopping = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        service.wants_heads = authenticator is not None

    async def start(self) -> None:
        """Listen. Raises `OSError` when that is not possible."""
        loop = asyncio.get_running_loop()
        if self._tls is not None:
            watch_handshakes(self._tls, self._handshake_failed)
        for sock in self._sockets:
            make = (
                loop.create_unix_server
                if sock.family == getattr(socket, "AF_UNIX", None)
                else loop.create_server
            )
            self._servers.append(
                await make(
                    lambda: GrpcProtocol(self),
                    sock=sock,
                    ssl=self._tls,
                    backlog=listen.BACKLOG,
                    ssl_handshake_timeout=limits.HANDSHAKE_TIMEOUT_S if self._tls else None,
                )
            )

    async def shutdown(self, grace_s: float) -> None:
        """Take no new connections and calls; what is under way has ``grace_s`` seconds left."""
        self._is_stopping = True
        servers, self._servers = self._servers, []
        listen.remove_files(self._sockets)
        for server in servers:
            server.close()
        listen.close(self._sockets)
        for protocol in list(self._protocols):
            protocol.drain(grace_s)
        if self._protocols:
            await self._wait_until_empty(grace_s)
        for protocol in list(self._protocols):
            protocol.abort()
        if self._protocols:
            await self._wait_until_empty(0.0)
        if self._lingering:
            await asyncio.wait(self._lingering, timeout=_LINGER_S)

    async def _wait_until_empty(self, grace_s: float) -> None:
        """Return when no connection is left, or time is up."""
        waiter = asyncio.get_running_loop().create_task(self._is_empty.wait())
        timer = self.clock.call_later(grace_s + _LINGER_S, lambda: _cancel(waiter))
        try:
            await asyncio.wait({waiter})
        finally:
            timer.cancel()
            waiter.cancel()

    # For connections.

    def add(self, protocol: GrpcProtocol) -> bool:
        """Whether another connection may be served."""
        if self._is_stopping:
            return False
        if len(self._protocols) >= self._connections_max:
            self.complain("connections", f"more than {self._connections_max} connections")
            return False
        self._protocols.add(protocol)
        self._is_empty.clear()
        return True

    def remove(self, protocol: GrpcProtocol) -> None:
        """A connection is over."""
        self._protocols.discard(protocol)
        if not self._protocols:
            self._is_empty.set()

    def linger(self, task: asyncio.Task[Any]) -> None:
        """Remember a task that nobody else awaits until it has ended."""
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)

    def _handshake_failed(self, why: str) -> None:
        self.complain(f"tls: {why}", f"TLS handshake failed: {why}")

    def complain(self, cause: str, message: str) -> None:
        """Log why a connection was ended, each cause once a minute at most."""
        self._complaints.say(cause, f"gRPC connection ended: {message}")

    def refused(self, peer: str, path: str, code: Code, message: str) -> None:
        """Log a call that was refused for what it is, each code once a minute at most."""
        who = peer or "a client"
        self._complaints.say(code, f"refused {who} at {path[:_PATH_SHOWN_MAX]!r}: {message}")

    def report(self, call: Call, error: Exception) -> None:
        """Log a failure of ours."""
        self._logger.error("%s failed: %r", call.path, error, exc_info=error)

    def __repr__(self) -> str:
        return (
            f"<NativeGrpcServer sockets={len(self._sockets)} connections={len(self._protocols)}"
            f" stopping={len(self._lingering)}>"
        )
