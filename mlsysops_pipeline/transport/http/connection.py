"""One connection of an `HttpServer`: reads requests one after the other, runs the handler, answers.

A request is never read ahead of the answer to the one before; what a client sends meanwhile waits
in a bounded buffer, and beyond that in its own socket. Every state has a deadline: head, body,
the time between requests, and the time a peer takes to read its answer.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, cast

from mlsysops_pipeline.errors import Code, MalformedError, PeerError, TooLargeError
from mlsysops_pipeline.transport.compression import decompress_aside
from mlsysops_pipeline.transport.http import http1
from mlsysops_pipeline.transport.http.http1 import HEAD_BYTES_MAX, Body, HttpFault
from mlsysops_pipeline.transport.http.messages import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from mlsysops_pipeline.clock import Timer
    from mlsysops_pipeline.transport.http.server import HttpServer, Later

HEADER_TIMEOUT_S: Final = 60.0
BODY_TIMEOUT_S: Final = 30.0
BODY_BYTES_PER_S: Final = 16 << 10
"""A body may take `BODY_TIMEOUT_S`, and longer if it comes at least this fast."""
WRITE_TIMEOUT_S: Final = 30.0
ANSWER_BYTES_PER_S: Final = 64 << 10
"""An answer of many pieces may take that long, and longer while it is read at least this fast."""
_LINGER_S: Final = 5.0
"""How long a connection that we ended is still read from, for the peer to see why."""
_HALF_CLOSED_S: Final = 1.0
_READ_AHEAD_BYTES_MAX: Final = 64 << 10
_WRITE_HIGH_BYTES: Final = 256 << 10
_UNREADABLE_CODES: Final = {501: Code.UNIMPLEMENTED, 505: Code.UNIMPLEMENTED}


class HttpConnection(asyncio.Protocol):
    """One socket."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._clock = server.clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.peer = ""
        self._pending = b""
        self._request: HttpRequest | None = None
        self._body: Body | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._charged_bytes = 0
        self._is_answered = False
        self._is_streaming = False
        self._is_closing = False
        self._closes_after = False
        self._is_half_closed = False
        self._is_in_head = True
        self._body_since_s = 0.0
        self._due_s = math.inf
        self._write_due_s = math.inf
        self._timer: Timer | None = None
        self._timer_s = math.inf

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
        self._set_due(self._clock.monotonic() + self._head_timeout_s())

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._is_closing:
            return
        if self._pending:
            data = self._pending + data
            self._pending = b""
        self._take(data)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: who stops sending within a request will not complete it."""
        transport = self._transport
        if self._task is None or self._is_closing or transport is None:
            return False
        if transport.get_extra_info("sslcontext") is not None:
            return False  # TLS cannot close one half
        # It has gone, or it only says that it will send no more: an answer that is ready soon is
        # worth writing, and a handler that takes longer has nobody waiting for it.
        self._closes_after = self._is_half_closed = True
        if not self._is_streaming:
            self._set_due(self._clock.monotonic() + _HALF_CLOSED_S)
        return True

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: who does not read is not read from."""
        self._write_due_s = self._clock.monotonic() + self._write_timeout_s()
        if self._transport is not None and not self._is_closing:
            self._transport.pause_reading()
        self._schedule()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._write_due_s = math.inf
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if not self._is_closing:  # a transport that is being closed does not read any more
            self._resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's
        """See `asyncio.Protocol`: nobody waits for the answer any more."""
        self._transport = None
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._release()
        self._cancel()
        self._server.remove(self)

    # Requests.

    def _take(self, data: bytes) -> None:
        """Go through ``data``; what has to wait becomes ``_pending``."""
        position, end = 0, len(data)
        try:
            while position < end and not self._is_closing:
                if self._request is None:
                    position = self._take_head(data, position)
                    if position < 0:
                        return
                elif self._body is not None and not self._body.is_done:
                    position = self._take_body(self._body, data, position)
                else:
                    self._wait(data[position:])
                    return
        except HttpFault as fault:
            self._fail(fault)
        else:
            if self._body is not None and not self._body.is_done:
                self._await_body(self._body)

    def _await_body(self, body: Body) -> None:
        """More of a body is to come, not slower than agreed."""
        if not self._body_since_s:
            self._body_since_s = self._clock.monotonic()
        # What has come counts, not what was announced: that holds memory others are refused for.
        came_s = body.received / BODY_BYTES_PER_S
        limit_s = self._server.config.read_timeout or BODY_TIMEOUT_S + came_s
        self._set_due(self._body_since_s + limit_s)

    def _wait(self, rest: bytes) -> None:
        """The client sends its next request before the answer to this one."""
        self._pending = rest
        if len(rest) > _READ_AHEAD_BYTES_MAX and self._transport is not None:
            self._transport.pause_reading()

    def _take_head(self, data: bytes, position: int) -> int:
        """Read a head; where its body begins, or -1 when the rest is still to come."""
        while data[position : position + 2] == b"\r\n":  # RFC 9112, section 2.2
            position += 2
        stop = data.find(b"\r\n\r\n", position, position + HEAD_BYTES_MAX)
        if stop < 0:
            rest = data[position:]
            http1.check_beginning(rest)
            if len(rest) >= HEAD_BYTES_MAX:
                raise HttpFault(431, f"the head of a request is above {HEAD_BYTES_MAX} bytes")
            if rest and not self._is_in_head:
                self._is_in_head = True
                self._set_due(self._clock.monotonic() + self._head_timeout_s())
            self._pending = rest
            return -1
        head = self._server.heads.read(data[position:stop])
        self._begin(HttpRequest(head, self.peer))
        return stop + 4

    def _begin(self, request: HttpRequest) -> None:
        """The head is here: refuse, or make ready for the body."""
        server, head = self._server, request.head
        self._request = request
        self._is_answered = False
        self._is_in_head = False
        self._body_since_s = 0.0
        self._due_s = math.inf
        self._closes_after = (
            not head.keeps_alive or not server.config.keep_alives_enabled or server.is_stopping
        )
        body = self._body = Body(head.length, server.body_bytes_max)
        if server.cors is not None and server.cors.is_preflight(head):
            fields = tuple(server.cors.preflight_fields(head))
            self._answer(HttpResponse(204, headers=fields))
            return
        try:
            self._check_head(request)
        except Exception as error:  # noqa: BLE001  the edge: `on_head` is the caller's
            self._refuse(error)
            return
        if head.length > 0:
            self._charge(head.length)
        if server.authenticator is not None or body.is_done:
            self._start()
        if head.expects_continue and not body.is_done and self._transport is not None:
            self._transport.write(http1.CONTINUE)

    def _check_head(self, request: HttpRequest) -> None:
        server, head = self._server, request.head
        if head.length > server.body_bytes_max:
            raise TooLargeError(
                f"request body of {head.length} bytes, {server.body_bytes_max} are allowed"
            )
        if head.content_encoding not in server.encodings:
            raise MalformedError(f"unsupported Content-Encoding: {head.content_encoding[:100]}")
        if server.on_head is not None:
            server.on_head(request)

    def _write_timeout_s(self) -> float:
        return self._server.config.write_timeout or WRITE_TIMEOUT_S

    def _head_timeout_s(self) -> float:
        return self._server.config.read_header_timeout or HEADER_TIMEOUT_S

    def _take_body(self, body: Body, data: bytes, position: int) -> int:
        before = body.received
        position = body.feed(data, position)
        if self._is_answered:
            if body.is_done:
                self._next()
            return position
        if body.length < 0:
            self._charge(body.received - before)
        if body.is_too_large:
            limit = self._server.body_bytes_max
            self._refuse(TooLargeError(f"request body is above {limit} bytes"))
        elif body.is_done:
            if self._arrived is not None and not self._arrived.done():
                self._arrived.set_result(None)
            elif self._task is None:
                self._start()
        return position

    def _start(self) -> None:
        """Run the handler: at once, as far as it need not wait."""
        request, body, server = self._request, self._body, self._server
        if request is None:
            return
        later = None
        is_plain = request.head.content_encoding in {"", "identity"}
        if server.handle_now is not None and is_plain and body is not None and body.is_done:
            self._due_s = math.inf
            request.body = body.take()
            try:
                response = server.handle_now(request)
            except Exception as error:  # noqa: BLE001  the edge: a bug must cost one request only
                response = server.refuse(request, error)
            if isinstance(response, HttpResponse):
                self._answer(response)
                return
            later = response
        # Not by the supervisor of tasks, whose bookkeeping would be a tenth of a small request:
        # `_run` lets nothing escape, and a lost connection cancels it.
        self._task = self._loop.create_task(self._run(request, later))

    async def _run(self, request: HttpRequest, later: Later | None) -> None:
        """Run the handler, or the rest of it, and answer. Nothing escapes but our cancelling."""
        server = self._server
        try:
            response = await (self._handle(request) if later is None else later())
        except Exception as error:  # noqa: BLE001  the edge: a bug must cost one request only
            response = server.refuse(request, error)
        try:
            if self._request is request and not self._is_answered:
                if response.pieces and request.method != "HEAD":
                    await self._stream(request, response)
                else:
                    self._task = None
                    self._answer(response)
        finally:
            if response.finished is not None:
                response.finished()

    async def _handle(self, request: HttpRequest) -> HttpResponse:
        server, body = self._server, self._body
        if server.authenticator is not None:
            request.auth = await server.authenticator.authenticate(server.credentials(request))
        if body is None:
            return await server.handler(request)
        if not body.is_done:
            self._arrived = self._loop.create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        self._due_s = math.inf
        content = body.take()
        encoding = request.head.content_encoding
        if encoding not in {"", "identity"}:
            plain = await decompress_aside(encoding, content, server.body_bytes_max)
            self._charge(len(plain) - len(content))
            content = plain
        request.body = content
        return await server.handler(request)

    def _cancel(self) -> None:
        """Stop the handler, if one runs; the server awaits its end."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            self._server.linger(task)

    # Answers.

    def _refuse(self, error: Exception) -> None:
        """Answer before the body is here; what still comes of it is thrown away."""
        self._cancel()
        self._answer(self._server.refuse(self._request, error))

    def _answer(self, response: HttpResponse) -> None:
        """Write an answer; then the next request, or the end."""
        self._release()
        transport, body = self._transport, self._body
        if transport is None or self._is_closing or self._is_answered:
            return
        self._is_answered = True
        is_whole = body is None or body.is_done
        if not is_whole and body is not None:
            body.discard()
            is_waiting = self._request is not None and self._request.head.expects_continue
            self._closes_after |= body.is_too_large or (is_waiting and not body.received)
        self._closes_after |= self._server.is_stopping
        transport.write(self._server.answer(self._request, response, closes=self._closes_after))
        if self._closes_after:
            self._close(lingers=not is_whole)
        elif is_whole:
            self._next()

    async def _stream(self, request: HttpRequest, response: HttpResponse) -> None:
        """Write an answer of many pieces, no faster than the peer reads.

        A lost connection cancels this; the time that a peer takes is limited as for any answer.
        """
        transport = self._transport
        if transport is None or self._is_closing:
            return
        self._release()
        self._is_streaming = True
        self._due_s = math.inf
        self._closes_after |= self._server.is_stopping
        transport.write(self._server.answer(request, response, closes=self._closes_after))
        due_s = self._clock.monotonic() + self._write_timeout_s()
        for piece in response.pieces:
            if self._write_due_s < math.inf:
                self._writable = self._loop.create_future()
                await self._writable
            else:
                await asyncio.sleep(0)  # a peer that reads fast does not hold up the others
            if transport.is_closing():
                return
            if self._clock.monotonic() > due_s:
                self._server.complain("write", f"{self.peer} reads its answers too slowly")
                self.abort()
                return
            due_s += len(piece) / ANSWER_BYTES_PER_S
            transport.write(piece)
        self._is_streaming = False
        self._is_answered = True
        self._task = None
        if self._closes_after or self._server.is_stopping:
            self._close(lingers=False)
        else:
            self._next()

    def _next(self) -> None:
        """Ready for another request; one may be here already."""
        self._request = None
        self._body = None
        idle_s = self._server.config.idle_timeout
        self._set_due(self._clock.monotonic() + idle_s if idle_s else math.inf)
        if self._server.is_stopping:
            self._close(lingers=False)
        elif self._pending:
            # Not at once: a client that sends many requests ahead would hold up the others.
            self._loop.call_soon(self._go_on)
        else:
            self._resume_reading()

    def _go_on(self) -> None:
        data, self._pending = self._pending, b""
        if not self._is_closing and self._request is None:
            self._take(data)
        else:
            self._pending = data
        if len(self._pending) <= _READ_AHEAD_BYTES_MAX:
            self._resume_reading()

    def _fail(self, fault: HttpFault) -> None:
        """What came cannot be read, so nothing after it can either."""
        code = _UNREADABLE_CODES.get(fault.status, Code.INVALID_ARGUMENT)
        error = PeerError(fault.message, code, http_status=fault.status)
        self._server.complain(fault.message, f"{self.peer}: {fault.message}")
        self._closes_after = True
        self._cancel()
        if self._is_answered or self._transport is None:
            self._close(lingers=False)
            return
        response = self._server.on_error(self._request, error)  # it is in the log already
        self._release()
        self._transport.write(self._server.answer(self._request, response, closes=True))
        self._close(lingers=True)

    # The socket.

    def _charge(self, size: int) -> None:
        self._charged_bytes += size
        self._server.memory.charge(size)

    def _release(self) -> None:
        self._server.memory.release(self._charged_bytes)
        self._charged_bytes = 0

    def _resume_reading(self) -> None:
        if self._transport is not None and self._write_due_s == math.inf:
            self._transport.resume_reading()

    def drain(self) -> None:
        """Close when the request under way is answered; now, if there is none."""
        self._closes_after = True
        if self._request is None or self._is_answered:
            self._close(lingers=False)

    def _close(self, *, lingers: bool) -> None:
        """End the connection. ``lingers``: the peer still sends; closing would lose the answer."""
        transport = self._transport
        if transport is None or self._is_closing:
            return
        self._is_closing = True
        self._pending = b""
        if lingers:
            if transport.can_write_eof():
                transport.write_eof()
            self._resume_reading()
            self._set_due(self._clock.monotonic() + _LINGER_S)
        else:
            transport.close()
            self._set_due(self._clock.monotonic() + WRITE_TIMEOUT_S)

    def abort(self) -> None:
        """Close the socket now."""
        if self._transport is not None:
            self._is_closing = True
            self._transport.abort()

    # Time.

    def _set_due(self, due_s: float) -> None:
        """Something has to happen by ``due_s``."""
        self._due_s = due_s
        if self._due_s < self._timer_s:
            self._schedule()

    def _schedule(self) -> None:
        """One timer for all deadlines. It is not moved when a deadline moves away."""
        due_s = min(self._due_s, self._write_due_s)
        if due_s >= self._timer_s or due_s == math.inf:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._clock.call_later(
            max(due_s - self._clock.monotonic(), 0.0), self._on_timer
        )

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_s = math.inf
        now_s = self._clock.monotonic()
        if now_s >= self._write_due_s:
            self._server.complain("write", f"{self.peer} does not read its answers")
            self.abort()
        elif now_s < self._due_s:
            self._schedule()
        elif self._is_closing or self._is_half_closed:
            self.abort()
        elif self._request is None and not self._pending:
            self._close(lingers=False)  # idle, or nothing ever came
        else:
            what = "body" if self._request is not None else "head"
            self._fail(HttpFault(408, f"the {what} of a request did not come in time"))

    def __repr__(self) -> str:
        return f"<HttpConnection {self.peer} {self._request!r} {self._body!r}>"
