"""Unary gRPC calls on one HTTP/2 connection, client side, without I/O.

``receive``, ``on_time`` and ``lose`` return the calls that are over, each with its ``outcome``;
the caller tells whoever waits for them, and writes what ``connection.take()`` holds. A connection
takes calls when the server's SETTINGS are here (``is_ready``): before that nobody knows whether it
speaks HTTP/2 at all, nor how many calls it takes.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.answers import (
    AnswerFields,
    Outcome,
    readable,
    reset_outcome,
)
from mlsysops_pipeline.transport.http2.connection import Connection
from mlsysops_pipeline.transport.http2.events import (
    ConnectionEnded,
    DataReceived,
    GoAwayReceived,
    PingAcknowledged,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from mlsysops_pipeline.transport.http2.frames import ErrorCode
from mlsysops_pipeline.transport.http2.messages import PREFIX_BYTES, MessageBuffer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.transport.http2.events import Event
    from mlsysops_pipeline.transport.http2.headers import Field, Fields
    from mlsysops_pipeline.transport.http2.streams import Stream

Message: TypeAlias = bytes | tuple[bytes, ...]
"""A serialized message, or the pieces that it consists of; then none of them is empty."""

ANSWER_BYTES_MAX: Final = 4 << 20
"""Of one answer, as it comes and decompressed (OC-11)."""

_TEXT_BYTES_MAX: Final = 1_024
_PROBE_INTERVAL_S: Final = 300.0
_PROBE_AFTER_S: Final = 1.0
_PROBE_TIMEOUT_S: Final = 2.0
"""Servers count pings that come more often than this against a client (gRPC's default)."""

_PING: Final = b"areyouup"
_prefix = struct.Struct(">BI").pack


@dataclass(frozen=True, slots=True)
class ClientTimes:
    """The keepalive settings of a client, in seconds; infinity is never.

    ``ping_after_s``: of silence while calls are under way (or always, with ``pings_idle``), a PING
    is sent; its answer may take ``ping_timeout_s``.
    """

    ping_after_s: float = math.inf
    ping_timeout_s: float = 20.0
    pings_idle: bool = False


class ClientCall:
    """One unary call. ``outcome`` is there when it is over.

    ``fields``: the whole head of the request. ``pieces``: its message, already compressed if
    ``is_compressed``, which has ``size`` bytes. ``deadline_s``: by the clock that is passed to
    `ClientConnection`. ``waiter``: for whoever runs the call.
    """

    __slots__ = (
        "answer",
        "body",
        "buffer",
        "deadline_s",
        "fields",
        "is_compressed",
        "outcome",
        "pieces",
        "size",
        "started_s",
        "stream",
        "waiter",
    )

    def __init__(
        self,
        fields: Fields,
        message: Message,
        deadline_s: float,
        *,
        is_compressed: bool = False,
    ) -> None:
        self.fields = fields
        self.pieces = (message,) if isinstance(message, bytes) else message
        self.size = sum(map(len, self.pieces))
        self.deadline_s = deadline_s
        self.is_compressed = is_compressed
        self.started_s = 0.0
        self.stream: Stream | None = None
        self.answer: AnswerFields | None = None
        self.body: bytes | None = None
        self.buffer: MessageBuffer | None = None
        self.outcome: Outcome | None = None
        self.waiter: Any = None

    def __repr__(self) -> str:
        stream = None if self.stream is None else self.stream.id
        return f"<ClientCall bytes={self.size} stream={stream} {self.outcome!r}>"


class ClientConnection:
    """The client side of one connection.

    ``calls``: those that are not over, by stream. ``wake_s``: when `on_time` should be called at
    the latest; 0 means that `due_s` has to be asked. ``is_draining``: no call may begin any more,
    those under way go on. ``was_called_calm``: the peer wants fewer pings.
    """

    def __init__(self, times: ClientTimes, now_s: float, *, pinned: Iterable[Field] = ()) -> None:
        self.times = times
        self.connection = Connection(is_client=True, pinned=pinned)
        self.connection.outbound.unsent_bytes_max = limits.REQUESTS_UNSENT_BYTES_MAX
        self.calls: dict[int, ClientCall] = {}
        self.is_draining = False
        self.end_message = ""
        self.was_called_calm = False
        self.last_read_s = now_s
        self.wake_s = now_s + limits.HANDSHAKE_TIMEOUT_S
        self._started_s = now_s
        self._busy_since_s = now_s
        self._ping_due_s = math.inf
        self._pinged_s = self._probed_s = -math.inf
        self._over: list[ClientCall] = []

    @property
    def is_ready(self) -> bool:
        """Whether calls may begin, as far as the connection is concerned."""
        connection = self.connection
        return connection.is_established and not self.is_draining and not connection.is_ended

    @property
    def is_over(self) -> bool:
        """Whether the socket should be closed once everything is written."""
        return self.connection.is_ended or (self.is_draining and not self.calls)

    def begin(self, call: ClientCall, now_s: float) -> bool:
        """Send a call; ``False`` if the peer takes no more for now, or at all (`is_draining`)."""
        connection = self.connection
        if self.is_draining or not connection.is_established:
            return False
        unsent = connection.outbound.unsent_bytes
        if unsent and unsent + call.size > limits.REQUESTS_UNSENT_BYTES_MAX // 2:
            return False
        stream = connection.open()
        if stream is None:
            # Not because there are too many: the numbers of streams are used up.
            self.is_draining |= len(connection.streams) < self.streams_max
            return False
        call.stream = stream
        call.started_s = now_s
        stream.owner = call
        if not self.calls:
            self._busy_since_s = now_s
        self.calls[stream.id] = call
        self._send(stream, call)
        self.wake_s = min(self.wake_s, call.deadline_s)
        if self.times.ping_after_s != math.inf:
            self.wake_s = min(self.wake_s, self._ping_at_s())
        return True

    def _send(self, stream: Stream, call: ClientCall) -> None:
        connection, fields, pieces = self.connection, call.fields, call.pieces
        prefix = _prefix(call.is_compressed, call.size)
        size = PREFIX_BYTES + call.size
        if connection.outbound.send_request(stream, fields, prefix, pieces, size):
            stream.local_ended = True
            return
        connection.send(stream, fields)
        connection.send(stream, None, prefix)
        for piece in pieces[:-1]:
            connection.send(stream, None, piece)
        connection.send(stream, None, pieces[-1], ended=True)

    def _ping_at_s(self) -> float:
        """When the peer has been silent for so long that a PING is due."""
        times = self.times
        if times.pings_idle:
            return self.last_read_s + times.ping_after_s
        # Silence counts from when there was something to answer.
        return max(self.last_read_s, self._busy_since_s) + times.ping_after_s

    @property
    def streams_max(self) -> int:
        """How many calls the peer takes at the same time."""
        allowed = self.connection.peer_settings.get(
            frames.MAX_CONCURRENT_STREAMS, limits.STREAMS_MAX
        )
        return min(allowed, limits.STREAMS_MAX)

    def cancel(self, call: ClientCall, now_s: float) -> None:
        """Nobody waits for this call any more."""
        if call.outcome is None and call.stream is not None:
            self._probe(call, now_s)
            self._close(call, Outcome(Code.CANCELLED, "the call was cancelled"))

    def receive(self, data: bytes, now_s: float) -> list[ClientCall]:
        """The calls that are over because of ``data``."""
        over: list[ClientCall] = []
        self._over = over
        self.last_read_s = now_s
        was_established = self.connection.is_established
        for event in self.connection.receive(data, now_s):
            if type(event) is ResponseReceived:
                self._take_head(event)
            elif type(event) is DataReceived:
                self._take_data(event)
            elif type(event) is TrailersReceived:
                call: ClientCall | None = event.stream.owner
                if call is not None:
                    self._take_end(call, AnswerFields.of(event.block))
            else:
                self._take_other(event)
        if not was_established and self.connection.is_ended and data.startswith(b"HTTP/1."):
            self.end_message = (
                "the peer speaks HTTP/1, not gRPC; OTLP/HTTP has a port of its own, 4318 by default"
            )
        if self.connection.is_ended:
            self._end_all()
        return over

    def _take_head(self, event: ResponseReceived) -> None:
        call: ClientCall | None = event.stream.owner
        if call is None:
            return
        answer = AnswerFields.of(event.block)
        if event.ended:
            self._take_end(call, answer)
        else:
            call.answer = answer

    def _take_data(self, event: DataReceived) -> None:
        stream = event.stream
        call: ClientCall | None = stream.owner
        if call is None or call.answer is None:
            return
        if not call.answer.is_grpc:
            self._take_text(call, event)
            return
        buffer = call.buffer
        data = event.data
        if buffer is None:
            size = len(data) - PREFIX_BYTES
            if size >= 0 and not (event.ended or data[0]) and size == int.from_bytes(data[1:5]):
                # The usual case: a message that comes in one piece, and is far below the limit.
                if call.body is None:
                    call.body = bytes(data[PREFIX_BYTES:])
                else:
                    self._end(call, _second_message())
                return
            buffer = call.buffer = MessageBuffer()
        was_known = buffer.size >= 0
        buffer.add(data)
        if not was_known and buffer.size >= 0:
            problem = self._check(call.answer, buffer)
            if problem is not None:
                self._end(call, problem)
                return
            self.connection.expect(stream, buffer.size - buffer.received)
        if call.body is not None or 0 <= buffer.size < buffer.received:
            self._end(call, _second_message())
        elif event.ended:
            self._take_end(call, AnswerFields(()))
        else:
            buffer.settle(len(data))

    @staticmethod
    def _check(answer: AnswerFields, buffer: MessageBuffer) -> Outcome | None:
        """What is wrong with a message whose prefix is here."""
        if buffer.size > ANSWER_BYTES_MAX:
            return Outcome(
                Code.RESOURCE_EXHAUSTED,
                f"answer of {buffer.size} bytes, {ANSWER_BYTES_MAX} are allowed",
            )
        if buffer.is_compressed > 1:
            return Outcome(Code.INTERNAL, f"message flag {buffer.is_compressed} is unknown")
        if buffer.is_compressed and answer.encoding == "identity":
            return Outcome(Code.INTERNAL, "compressed message without grpc-encoding")
        return None

    def _take_text(self, call: ClientCall, event: DataReceived) -> None:
        """A web server, or a proxy, explains itself."""
        answer = call.answer
        if answer is None:
            return
        buffer = call.buffer
        if buffer is None:
            buffer = call.buffer = MessageBuffer()
            buffer.size = _TEXT_BYTES_MAX
        room = _TEXT_BYTES_MAX - buffer.received
        buffer.add(bytes(event.data[:room]))
        if event.ended or len(event.data) >= room:
            self._end(call, answer.http_outcome(readable(buffer.take())))

    def _take_end(self, call: ClientCall, trailers: AnswerFields) -> None:
        """The peer has said everything."""
        head = call.answer
        buffer = call.buffer
        if head is not None and not head.is_grpc and trailers.code is None:
            text = "" if buffer is None else readable(buffer.take())
            self._end(call, head.http_outcome(text))
            return
        outcome = trailers.outcome()
        if call.body is not None:
            outcome.body = call.body
        elif buffer is not None and outcome.code is Code.OK:
            if buffer.size < 0 or buffer.received < buffer.size:
                outcome = Outcome(Code.INTERNAL, "the answer ends within its message")
            else:
                outcome.body = buffer.take()
                if buffer.is_compressed and head is not None:
                    outcome.encoding = head.encoding
        # A success without a message is a success: the peer has the data.
        self._end(call, outcome)

    def _take_other(self, event: Event) -> None:
        if type(event) is StreamReset:
            call: ClientCall | None = event.stream.owner
            if call is not None:
                outcome = reset_outcome(event.code, event.message, by_peer=event.by_peer)
                self._end(call, outcome)
        elif type(event) is GoAwayReceived:
            self._take_goaway(event)
        elif type(event) is PingAcknowledged:
            if event.payload == _PING:
                self._ping_due_s = math.inf
                self.wake_s = 0.0
        elif type(event) is ConnectionEnded:
            self.end_message = f"the peer broke HTTP/2: {event.message}"

    def _take_goaway(self, event: GoAwayReceived) -> None:
        self.is_draining = True
        debug = event.debug[:200].decode("utf-8", "replace")
        self.was_called_calm |= debug == "too_many_pings"
        if event.code:
            self.end_message = f"the peer sent GOAWAY {event.code} {debug}".rstrip()
        for stream_id, call in list(self.calls.items()):
            if stream_id > event.last_stream_id:
                if call.stream is not None:
                    self.connection.reset(call.stream, None)
                self._end(
                    call,
                    Outcome(Code.UNAVAILABLE, "the peer is shutting down", is_unprocessed=True),
                )

    def _end(self, call: ClientCall, outcome: Outcome) -> None:
        self._close(call, outcome)
        self._over.append(call)

    def _close(self, call: ClientCall, outcome: Outcome) -> None:
        call.outcome = outcome
        call.buffer = None
        stream = call.stream
        if stream is not None:
            stream.owner = None
            del self.calls[stream.id]
            if stream.is_open and not (stream.local_ended and stream.remote_ended):
                self.connection.reset(stream, ErrorCode.CANCEL)

    def _end_all(self) -> None:
        message = self.end_message or "the connection was lost"
        for call in list(self.calls.values()):
            self._end(call, Outcome(Code.UNAVAILABLE, message, is_unanswered=True))

    def lose(self) -> list[ClientCall]:
        """The socket is gone."""
        over: list[ClientCall] = []
        self._over = over
        self.connection.is_ended = True
        self._end_all()
        return over

    def close(self) -> None:
        """Take no more calls; the connection is over when those under way are."""
        if not self.is_draining and not self.connection.is_ended:
            self.is_draining = True
            self.connection.refuse_streams()

    # Time.

    def on_time(self, now_s: float) -> list[ClientCall]:
        """Do what is due; the calls that are over because of it."""
        over: list[ClientCall] = []
        self._over = over
        connection = self.connection
        if not connection.is_established and not connection.is_ended:
            if now_s >= self._started_s + limits.HANDSHAKE_TIMEOUT_S:
                self._give_up(ErrorCode.SETTINGS_TIMEOUT, "the peer does not answer with HTTP/2")
        elif now_s >= self._ping_due_s:
            if self.last_read_s < self._pinged_s:
                self._give_up(ErrorCode.NO_ERROR, "the peer does not answer a keepalive PING")
            self._ping_due_s = math.inf
        for call in list(self.calls.values()):
            if now_s >= call.deadline_s:
                self._expire(call, now_s)
        is_watched = bool(self.calls) or self.times.pings_idle
        if is_watched and now_s >= self._ping_at_s():
            self._ping(now_s, self.times.ping_timeout_s)
        self.wake_s = self.due_s()
        return over

    def _expire(self, call: ClientCall, now_s: float) -> None:
        """Time is up."""
        self._probe(call, now_s)
        message = "the deadline has passed"
        self._end(call, Outcome(Code.DEADLINE_EXCEEDED, message, is_unanswered=True))

    def _probe(self, call: ClientCall, now_s: float) -> None:
        """Ask a peer that has said nothing at all since a call began whether it is there.

        A peer that works hard answers at once, one that cannot be reached is given up soon: calls
        that are repeated on a dead connection come in any order when it turns out to be alive.
        """
        is_silent = self.last_read_s <= call.started_s <= now_s - _PROBE_AFTER_S
        if is_silent and now_s >= self._probed_s + _PROBE_INTERVAL_S:
            self._probed_s = now_s
            self._ping(now_s, _PROBE_TIMEOUT_S)

    def _ping(self, now_s: float, timeout_s: float) -> None:
        if self._ping_due_s == math.inf and self.connection.is_established:
            self._pinged_s = now_s
            self._ping_due_s = now_s + timeout_s
            self.wake_s = 0.0
            self.connection.ping(_PING)

    def _give_up(self, code: ErrorCode, message: str) -> None:
        self.end_message = message
        self.connection.end(code, message)
        self._end_all()

    def due_s(self) -> float:
        """When `on_time` has something to do, as far as is known now."""
        if self.connection.is_ended:
            return math.inf
        due = self._ping_due_s
        if not self.connection.is_established:
            due = min(due, self._started_s + limits.HANDSHAKE_TIMEOUT_S)
        if (self.calls or self.times.pings_idle) and self._ping_due_s == math.inf:
            due = min(due, self._ping_at_s())
        for call in self.calls.values():
            due = min(due, call.deadline_s)
        return due

    def __repr__(self) -> str:
        state = "draining" if self.is_draining else "ready" if self.is_ready else "not ready"
        return f"<ClientConnection {state} calls={len(self.calls)} {self.connection!r}>"


def _second_message() -> Outcome:
    return Outcome(Code.INTERNAL, "more than one message in a unary answer")
