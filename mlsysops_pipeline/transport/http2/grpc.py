"""Unary gRPC calls on one HTTP/2 connection, server side, without I/O.

``receive`` and ``on_time`` return what the caller has to do: start a call, or stop one. It answers
with ``succeed`` or ``fail`` when the call is done, and writes what ``connection.take()`` holds.

Admission is decided once a message, when its five-byte prefix is here: the method's ``admit`` may
refuse (the call is answered at once and the rest of it is thrown away); what it admits always gets
the window it needs and is charged to the memory account until the call is over.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import Code, CollectorError, PeerError, RetryableError
from mlsysops_pipeline.transport.http2 import limits
from mlsysops_pipeline.transport.http2.calls import START, STOP, Action, Call, LateAnswer
from mlsysops_pipeline.transport.http2.connection import Connection
from mlsysops_pipeline.transport.http2.events import (
    ConnectionEnded,
    DataReceived,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    StreamReset,
    TrailersReceived,
)
from mlsysops_pipeline.transport.http2.frames import ErrorCode
from mlsysops_pipeline.transport.http2.lifetime import Lifetime
from mlsysops_pipeline.transport.http2.messages import PREFIX_BYTES, MessageBuffer
from mlsysops_pipeline.transport.http2.routes import TOO_LARGE, read_timeout
from mlsysops_pipeline.transport.http2.status import (
    PINNED_FIELDS,
    RESPONSE_HEAD,
    RESPONSE_TRAILERS,
    GrpcStatus,
    HttpAnswer,
    http1_answer,
)

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.calls import Service, Work
    from mlsysops_pipeline.transport.http2.events import Event

_prefix = struct.Struct(">BI").pack


class GrpcConnection:
    """The server side of one connection.

    ``calls``: those that are not over. ``wake_s``: when `on_time` should be called at the latest;
    0 means that `due_s` has to be asked. ``refusal``: path and answer of the last call that was
    refused for what it is, until whoever logs it sets it to ``None``.
    """

    def __init__(self, service: Service, now_s: float, *, age_factor: float = 1.0) -> None:
        self.service = service
        self.connection = Connection(
            streams_max=service.streams_max, pinned=PINNED_FIELDS, heads=service.heads
        )
        self._counted = 0
        self._late: dict[int, LateAnswer] = {}
        self.lifetime = Lifetime(self.connection, service.times, now_s, age_factor)
        self.calls: dict[int, Call] = {}
        self.wake_s = 0.0
        self.end_message = ""
        self.refusal: tuple[str, GrpcStatus] | None = None
        self._work: Work = []
        self._now_s = now_s
        self._incomplete: list[Call] = []
        self._was_partial = False

    def receive(self, data: bytes, now_s: float) -> Work:
        """What is to be done because of ``data``."""
        self._now_s = now_s
        work: Work = []
        self._work = work
        self.lifetime.last_read_s = now_s
        connection, service = self.connection, self.service
        if service.streams >= limits.CROWD_STREAMS or connection.streams_max != service.streams_max:
            self._count_streams()
        for event in connection.receive(data, now_s):
            if type(event) is DataReceived:
                self._take_data(event)
            elif type(event) is RequestReceived:
                self._take_request(event)
            else:
                self._take_other(event)
        if self._incomplete:
            for call in self._incomplete:
                if call.buffer is not None:
                    call.buffer.settle(len(data))
            self._incomplete.clear()
        partial = connection.partial_frame
        if partial:
            self.lifetime.on_partial_frame(partial, now_s)
            self._wake(now_s + limits.FRAME_TIMEOUT_S)
            self._was_partial = True
        elif self._was_partial:
            self.lifetime.on_whole_frames()
            self._was_partial = False
        if connection.is_ended:
            self._stop_all()
        elif self._counted or len(connection.streams) > limits.CROWD_STREAMS_EACH:
            self._count_streams()
        return work

    def _count_streams(self) -> None:
        """Tell the service how many streams there are beyond a few, and ask how many may be."""
        connection, service = self.connection, self.service
        count = len(connection.streams) + connection.held_streams
        if count <= limits.CROWD_STREAMS_EACH or connection.is_ended:
            count = 0
        service.streams += count - self._counted
        self._counted = count
        connection.streams_max = service.streams_now

    def _wake(self, at_s: float) -> None:
        if at_s < self.wake_s:  # noqa: PLR1730  `min` takes three times as long
            self.wake_s = at_s

    def _take_request(self, event: RequestReceived) -> None:
        stream = event.stream
        route = self.service.route(event)
        method = route.method
        if event.is_too_large or method is None:
            self._refuse_request(event, TOO_LARGE if event.is_too_large else route.refusal)
            return
        call = Call(stream, event.block, method, route.encoding)
        if event.block.volatile:
            try:
                timeout_s = read_timeout(event.block.volatile)
            except ValueError as error:
                self._refuse_request(event, GrpcStatus(Code.INTERNAL, str(error)))
                return
            if timeout_s is not None:
                call.deadline_s = self._now_s + timeout_s
                self._wake(call.deadline_s)
        stream.owner = call
        self.calls[stream.id] = call
        if event.block.list_bytes > limits.FIELD_CACHE_ENTRY_BYTES_MAX and not self._hold_head(
            call
        ):
            return
        if event.ended:
            self._reject(call, GrpcStatus(Code.INTERNAL, "the request has no message"))
            return
        call.body_since_s = self._now_s
        call.body_due_s = self._now_s + limits.BODY_TIMEOUT_S
        self._wake(call.body_due_s)
        if self.service.wants_heads:
            self._work.append((Action.OPEN, call))

    def _hold_head(self, call: Call) -> bool:
        """Count a head that no other call shares; whether there is room for it."""
        service, size = self.service, call.block.list_bytes
        if service.head_bytes + size > limits.HEADS_BYTES_MAX:
            error = RetryableError("too many calls with large metadata are under way")
            self.fail(call, service.status_of(error))
            return False
        call.head_bytes = call.charged_bytes = size
        service.head_bytes += size
        service.memory.charge(size)
        return True

    def _refuse_request(
        self, event: RequestReceived, refusal: GrpcStatus | HttpAnswer | None
    ) -> None:
        stream, path = event.stream, event.head.path.decode("latin-1")
        if isinstance(refusal, HttpAnswer):
            due_s = self._now_s + limits.BODY_TIMEOUT_S
            late = stream.owner = LateAnswer(stream, path, refusal, due_s)
            self._late[stream.id] = late
            if event.ended:
                self._answer_late(late)
            else:
                self._wake(due_s)
        elif refusal is not None:
            self.connection.send(stream, refusal.trailers_only(), ended=True)
            self.refusal = (path, refusal)

    def _answer_late(self, late: LateAnswer) -> None:
        stream, answer = late.stream, late.answer
        stream.owner = None
        del self._late[stream.id]
        self.connection.send(stream, answer.head())
        self.connection.send(stream, None, answer.body, ended=True)
        self.refusal = (late.path, GrpcStatus(Code.UNIMPLEMENTED, answer.text))

    def _reject(self, call: Call, status: GrpcStatus) -> None:
        """Answer a call that is at fault itself."""
        self.refusal = (call.path, status)
        self.fail(call, status)

    def _take_data(self, event: DataReceived) -> None:
        call: Call | LateAnswer | None = event.stream.owner
        if type(call) is not Call:
            if type(call) is LateAnswer and event.ended:
                self._answer_late(call)
            return
        pieces = event.pieces
        buffer = call.buffer
        if buffer is None:
            if event.ended and pieces:
                # The usual case: a message that comes as a whole.
                first = pieces[0]
                is_one = len(pieces) == 1
                size = (len(first) if is_one else sum(map(len, pieces))) - PREFIX_BYTES
                if size >= 0 and int.from_bytes(first[1:PREFIX_BYTES]) == size:
                    if self._admit(call, first[0], size):
                        rest = first[PREFIX_BYTES:]
                        self._start(call, bytes(rest) if is_one else b"".join((rest, *pieces[1:])))
                    return
            buffer = call.buffer = MessageBuffer()
        was_known = buffer.size >= 0
        is_new = False
        for piece in pieces:
            buffer.add(piece)
            if not was_known and buffer.size >= 0:
                was_known = is_new = True
                if not self._admit(call, buffer.is_compressed, buffer.size):
                    return
        if is_new:
            self.connection.expect(event.stream, buffer.size - buffer.received)
        if buffer.size >= 0 and buffer.received > buffer.size:
            self._reject(call, GrpcStatus(Code.INTERNAL, "more than one message in a unary call"))
        elif event.ended:
            self._complete(call, buffer)
        elif not self._incomplete or self._incomplete[-1] is not call:
            self._incomplete.append(call)

    def _admit(self, call: Call, flag: int, size: int) -> bool:
        """Decide about a message whose prefix is here; a refused call has been answered."""
        if flag:
            if flag != 1:
                self._reject(call, GrpcStatus(Code.INTERNAL, f"message flag {flag} is unknown"))
                return False
            if call.encoding == "identity":
                self._reject(
                    call, GrpcStatus(Code.INTERNAL, "compressed message without grpc-encoding")
                )
                return False
            call.is_compressed = True
        if size > self.service.message_bytes_max:
            # OTLP: not retryable, therefore without RetryInfo (OG-2).
            self._reject(
                call,
                GrpcStatus(
                    Code.RESOURCE_EXHAUSTED,
                    f"message of {size} bytes, {self.service.message_bytes_max} are allowed",
                ),
            )
            return False
        if call.method.admit is not None:
            try:
                call.method.admit(size)
            except CollectorError as error:
                refuse = self._reject if isinstance(error, PeerError) else self.fail
                refuse(call, self.service.status_of(error))
                return False
        call.charged_bytes += size
        self.service.memory.charge(size)
        call.body_since_s = self._now_s
        call.body_due_s = self._now_s + limits.BODY_TIMEOUT_S
        return True

    def _complete(self, call: Call, buffer: MessageBuffer) -> None:
        if buffer.size < 0 or buffer.received < buffer.size:
            self._reject(call, GrpcStatus(Code.INTERNAL, "the request ends within its message"))
        else:
            call.buffer = None
            self._start(call, buffer.take())

    def _start(self, call: Call, message: bytes) -> None:
        call.message = message
        call.body_due_s = math.inf
        call.is_started = True
        self._work.append((START, call))

    def _take_other(self, event: Event) -> None:
        if type(event) is StreamReset:
            call: Call | LateAnswer | None = event.stream.owner
            if type(call) is Call:
                self._stop(call)
            else:
                self._late.pop(event.stream.id, None)
        elif type(event) is TrailersReceived:
            call = event.stream.owner
            if type(call) is Call:
                self._complete(call, call.buffer or MessageBuffer())
            elif type(call) is LateAnswer:
                self._answer_late(call)
        elif type(event) is PingReceived:
            self.lifetime.on_ping(len(self.calls), self._now_s)
        elif type(event) is PingAcknowledged:
            self.lifetime.on_ping_acknowledged(event.payload)
        elif type(event) is ConnectionEnded:
            self.end_message = event.message
            if not self.connection.is_established:
                answer = http1_answer(self.connection.preface)
                if answer and not self.connection.is_greeted:
                    self.connection.outbound.frames[:] = [answer]

    # Ending calls.

    def succeed(self, call: Call, message: bytes) -> None:
        """Answer ``call`` with ``message``."""
        if call.is_over:
            return
        body = _prefix(0, len(message)) + message
        self.connection.answer(call.stream, RESPONSE_HEAD, body, RESPONSE_TRAILERS)
        self._forget(call)

    def fail(self, call: Call, status: GrpcStatus) -> None:
        """Answer ``call`` with an error."""
        if call.is_over:
            return
        self.connection.send(call.stream, status.trailers_only(), ended=True)
        self._forget(call)

    def stopped(self, call: Call) -> None:
        """A call that was to be stopped has ended: its place is free again."""
        if call.is_started:
            call.is_started = False
            self.connection.held_streams -= 1

    def _forget(self, call: Call) -> None:
        call.is_over = True
        stream = call.stream
        stream.owner = None
        call.buffer = None
        if call.charged_bytes:
            self.service.memory.release(call.charged_bytes)
            self.service.head_bytes -= call.head_bytes
            call.charged_bytes = call.head_bytes = 0
        del self.calls[stream.id]
        if not self.calls:
            if self._counted:
                self._count_streams()
            self.lifetime.on_idle(self._now_s)
            self._wake(self._now_s + self.service.times.idle_max_s)
        if self.connection.outbound.unsent_bytes:
            self._wake(self.lifetime.on_blocked(self._now_s))

    def _stop(self, call: Call) -> None:
        """Forget a call without an answer."""
        self._forget(call)
        if call.is_started:
            self.connection.held_streams += 1
        self._work.append((STOP, call))

    def _stop_all(self) -> None:
        for call in list(self.calls.values()):
            self._stop(call)
        self._late.clear()

    def lose(self) -> Work:
        """The socket is gone."""
        work: Work = []
        self._work = work
        self.connection.is_ended = True
        self._stop_all()
        self._count_streams()
        return work

    # Time.

    def on_time(self, now_s: float) -> Work:
        """Do what is due, and what is to be done because of it."""
        self._now_s = now_s
        work: Work = []
        self._work = work
        for call in list(self.calls.values()):
            if now_s >= call.deadline_s:
                self._expire(call, GrpcStatus(Code.DEADLINE_EXCEEDED, "the deadline has passed"))
            elif now_s >= call.body_due_s and not self._is_coming(call):
                self._expire(
                    call, GrpcStatus(Code.DEADLINE_EXCEEDED, "the message did not come in time")
                )
                if not self.calls:
                    self.connection.end(ErrorCode.ENHANCE_YOUR_CALM, "a message came too slowly")
        for late in list(self._late.values()):
            if now_s >= late.due_s:
                self._answer_late(late)
        self.lifetime.on_time(len(self.calls), now_s)
        if self.connection.is_ended:
            self._stop_all()
        if self._counted:
            self._count_streams()
        self.wake_s = self.due_s()
        return work

    def _is_coming(self, call: Call) -> bool:
        """Whether a message that is not here yet is no slower than agreed; if so, ask again later.

        What counts is what has come and not what was announced: an admitted message holds memory
        that others are refused for.
        """
        received = call.buffer.received if call.buffer is not None else 0
        call.body_due_s = (
            call.body_since_s + limits.BODY_TIMEOUT_S + received / limits.BODY_BYTES_PER_S
        )
        return self._now_s < call.body_due_s

    def _expire(self, call: Call, status: GrpcStatus) -> None:
        is_started = call.is_started
        self.fail(call, status)
        if is_started:
            self.connection.held_streams += 1
        self._work.append((STOP, call))

    def due_s(self) -> float:
        """When `on_time` has something to do, as far as is known now."""
        due = self.lifetime.due_s(len(self.calls))
        for call in self.calls.values():
            due = min(due, call.deadline_s, call.body_due_s)
        for late in self._late.values():
            due = min(due, late.due_s)
        return due

    def drain(self, grace_s: float, now_s: float) -> None:
        """Take no new calls; those under way have ``grace_s`` left."""
        self._now_s = now_s
        self.lifetime.drain(grace_s, now_s)
        self.wake_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the socket should be closed once everything is written."""
        connection = self.connection
        return connection.is_ended or (self.lifetime.is_refusing and not connection.streams)

    def __repr__(self) -> str:
        return f"<GrpcConnection calls={len(self.calls)} {self.lifetime!r} {self.connection!r}>"
