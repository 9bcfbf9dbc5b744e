"""One HTTP/2 connection without I/O: bytes in, events and bytes out (RFC 9113).

``receive(data, now_s)`` takes what came from the socket, in pieces of any size, and returns what
happened; what is to be written collects in ``take()``. Everything that costs a peer little and us
something is bounded (`limits`), and a peer that goes too far gets a GOAWAY.

Received windows are credited at once. What bounds memory is the admission of messages, above
this module: an admitted message always gets the window that it needs (`expect`), and what nobody
wants is thrown away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.transport.http2 import events as happened
from mlsysops_pipeline.transport.http2 import frames, limits, payloads
from mlsysops_pipeline.transport.http2.blocks import BlockAssembler
from mlsysops_pipeline.transport.http2.events import DataReceived, RequestReceived
from mlsysops_pipeline.transport.http2.fields import (
    NO_LENGTH,
    RequestHeads,
    response_problem,
    trailers_problem,
)
from mlsysops_pipeline.transport.http2.frames import ConnectionFault, ErrorCode, StreamFault
from mlsysops_pipeline.transport.http2.framing import ANY_FRAME, FrameReader
from mlsysops_pipeline.transport.http2.headers import HeaderDecoder, HeaderEncoder
from mlsysops_pipeline.transport.http2.outbound import Outbound
from mlsysops_pipeline.transport.http2.streams import Stream, StreamTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlsysops_pipeline.transport.http2.events import Event
    from mlsysops_pipeline.transport.http2.headers import Field, FieldBlock, Fields
    from mlsysops_pipeline.transport.http2.streams import Chunk

# ruff: noqa: FBT001  what runs for every request takes positional arguments

_UPDATES_PER_STREAM: Final = 4
_UPDATES_PER_DATA: Final = 8
_IDLES_PER_STREAM: Final = 4
_HEAD_FLAGS: Final = frames.PADDED | frames.HAS_PRIORITY | frames.END_HEADERS


class Connection:
    """One side of a connection; ``is_client`` says which.

    ``streams``: those that are open. ``held_streams``: calls that are gone from the wire but
    still occupy their server; they count against ``streams_max``. ``peer_settings``: what the
    peer announced. ``preface``: what a client has sent of its preface. ``pinned``: fields that
    most of what this side sends will contain.
    """

    def __init__(
        self,
        *,
        is_client: bool = False,
        streams_max: int = limits.STREAMS_MAX,
        pinned: Iterable[Field] = (),
        heads: RequestHeads | None = None,
    ) -> None:
        self.is_client = is_client
        self.streams_max = streams_max
        self._table = StreamTable(is_client=is_client)
        self.streams = self._table.open
        self.held_streams = 0
        self.opened_streams = 0
        self.completed_streams = 0
        self.peer_settings: dict[int, int] = {}
        self.is_ended = False
        self.preface = b""
        self.outbound = Outbound(HeaderEncoder(pinned))
        self._decoder = HeaderDecoder()
        self._heads = RequestHeads() if heads is None else heads
        self._reader = FrameReader(self)
        self._receive_window = frames.DEFAULT_WINDOW_BYTES
        self._events: list[Event] = []
        self._now_s = 0.0
        self.is_greeted = is_client
        self._assembler = BlockAssembler()
        self._allowance = limits.Allowance()
        if is_client:
            self._greet()

    def receive(self, data: bytes, now_s: float) -> list[Event]:
        """What ``data`` means. ``now_s``: seconds that never go back.

        Faults of the peer become events and frames, never exceptions.
        """
        events: list[Event] = []
        self._events = events
        self._now_s = now_s
        if self.is_ended:
            return events
        position, end = 0, len(data)
        try:
            if not self.is_greeted:
                position = self._take_preface(data)
            while position < end:
                try:
                    position = self._reader.feed(data, position)
                except StreamFault as fault:
                    self._fail_stream(fault)
                    position = self._reader.position
        except ConnectionFault as fault:
            self.end(fault.code, fault.message)
            events.append(happened.ConnectionEnded(fault.code, fault.message))
        return events

    def take(self) -> list[Chunk]:
        """What is to be written to the socket, in order. It is the caller's from now on."""
        taken, self.outbound.frames = self.outbound.frames, []
        return taken

    def _greet(self) -> None:
        if self.is_client:
            self.outbound.frames.append(frames.PREFACE)
        settings = payloads.first_settings(self.streams_max, is_client=self.is_client)
        self.outbound.frames.append(frames.settings_frame(settings))
        self._credit_connection()

    def _take_preface(self, data: bytes) -> int:
        taken = len(frames.PREFACE) - len(self.preface)
        self.preface += data[:taken]
        if payloads.is_whole_preface(self.preface):
            self.is_greeted = True
            self._greet()
        return taken

    def _spend(self, budget: limits.Budget, what: str, worth: float = 0.0) -> None:
        if not budget.spend(self._now_s, worth):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")

    @property
    def is_established(self) -> bool:
        """Whether the peer has sent its preface and its first SETTINGS."""
        return self.is_greeted and self._reader.expected != frames.SETTINGS

    @property
    def partial_frame(self) -> int:
        """A number for the frame or header block whose rest is awaited, 0 if there is none."""
        if self._reader.is_collecting or self._assembler.stream_id:
            return self._reader.collected_frames + 1
        return 0

    # DATA: `FrameSink`.

    def accept_data(self, stream_id: int, size: int, content: int, *, ended: bool) -> Stream | None:
        """See `FrameSink.accept_data`: windows, content-length and the state of the stream."""
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
        self._receive_window -= size
        if self._receive_window < limits.CONNECTION_WINDOW_BYTES // 2:
            self._credit_connection()
        if not content and not ended:
            self._spend(self._allowance.empties, "empty DATA frames")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._table.take_late(stream_id, ended=ended)
            return None
        if self.is_client and not stream.is_responded:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "DATA before HEADERS")
        if stream.remote_ended or size > stream.receive_window or stream.length_left != NO_LENGTH:
            stream.take_data(size, content, ended=ended)
        else:
            stream.receive_window -= content
        if size > content and not ended:
            # Padding never counts against the window that a message was given.
            self.outbound.frames.append(frames.window_update_frame(stream_id, size - content))
        return stream

    def deliver(self, stream: Stream, pieces: Sequence[Chunk], *, ended: bool) -> None:
        """See `FrameSink.deliver`."""
        if ended or pieces[0]:
            self._events.append(DataReceived(stream, pieces, ended))
        if ended:
            self._end_remote(stream)

    def _credit_connection(self) -> None:
        if self._receive_window < 0:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window"
            )
        increment = limits.CONNECTION_WINDOW_BYTES - self._receive_window
        self._receive_window = limits.CONNECTION_WINDOW_BYTES
        self.outbound.frames.append(frames.window_update_frame(0, increment))

    def expect(self, stream: Stream, size: int) -> None:
        """Let the peer send at least ``size`` more bytes on ``stream``."""
        missing = size - stream.receive_window
        if missing > 0 and stream.is_open and not stream.remote_ended:
            stream.receive_window += missing
            self.outbound.frames.append(frames.window_update_frame(stream.id, missing))

    # All other frames.

    def dispatch(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """See `FrameSink.dispatch`."""
        if kind == frames.HEADERS:
            if flags & _HEAD_FLAGS == frames.END_HEADERS and stream_id:  # as nearly all are
                self._take_block(stream_id, payload, flags & frames.END_STREAM != 0, False)  # noqa: FBT003
            else:
                self._take_headers(flags, stream_id, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._take_window_update(stream_id, payload)
        elif kind == frames.PING:
            self._take_ping(flags, stream_id, payload)
        elif kind == frames.SETTINGS:
            self._take_settings(flags, stream_id, payload)
        elif kind == frames.CONTINUATION:
            self._take_continuation(flags, stream_id, payload)
        elif kind == frames.RST_STREAM:
            self._take_reset(stream_id, payload)
        elif kind == frames.GOAWAY:
            self._take_goaway(stream_id, payload)
        elif kind == frames.PRIORITY:
            self._spend_idle("PRIORITY frames")
            payloads.check_priority(stream_id, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "push is not enabled")
        else:
            self._spend_idle("unknown frames")

    def _spend_idle(self, what: str) -> None:
        self._spend(self._allowance.idles, what, self.opened_streams * _IDLES_PER_STREAM)

    def _take_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._assembler.headers(flags, stream_id, payload)
        if block is not None:
            self._take_block(stream_id, *block)
            return
        if not payload:
            self._spend(self._allowance.empties, "empty HEADERS frames")
        self._reader.expected = frames.CONTINUATION
        self._reader.expected_stream = stream_id

    def _take_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._assembler.continuation(flags, payload)
        if block is not None:
            self._reader.expected = ANY_FRAME
            self._reader.expected_stream = 0
            self._take_block(stream_id, *block)
        elif not payload:
            self._spend(self._allowance.empties, "empty CONTINUATION frames")

    def _take_block(self, stream_id: int, data: bytes, ended: bool, is_circular: bool) -> None:
        """See `EncodedBlock`. It is decoded whatever becomes of it: the table needs it."""
        block = self._decoder.decode(data)
        stream = self.streams.get(stream_id)
        if stream is None:
            table = self._table
            if self.is_client or not stream_id & 1 or table.is_discarded(stream_id):
                table.take_late(stream_id, ended=ended)
                self._spend_idle("late HEADERS")
            else:
                self._take_request(stream_id, block, ended, is_circular)
            return
        if stream.remote_ended:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "HEADERS after the end")
        if self.is_client and not stream.is_responded:
            self._take_response(stream, block, ended=ended)
            return
        problem = trailers_problem(block) if ended else "HEADERS in the middle of a body"
        if is_circular:
            problem = "a stream depends on itself"
        elif not problem and stream.length_left > 0:
            problem = "body is not as long as content-length"
        if problem:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, problem)
        self._events.append(happened.TrailersReceived(stream, block))
        self._end_remote(stream)

    def _take_request(
        self, stream_id: int, block: FieldBlock, ended: bool, is_circular: bool
    ) -> None:
        table = self._table
        if stream_id <= table.last_peer:
            raise table.reopening(stream_id)
        if table.is_ignored(stream_id):
            self._spend(self._allowance.idles, "streams after GOAWAY")
            return
        table.last_peer = stream_id
        if len(self.streams) + self.held_streams >= self.streams_max:
            self._spend(self._allowance.refusals, "streams above the limit")
            if not ended:
                table.discard(stream_id)
            self.outbound.frames.append(frames.reset_frame(stream_id, ErrorCode.REFUSED_STREAM))
            return
        self.opened_streams += 1
        stream = Stream(stream_id, self.outbound.initial_window, limits.STREAM_WINDOW_BYTES)
        self.streams[stream_id] = stream
        stream.remote_ended = ended
        head = block.head or self._heads.of(block)
        problem = head.problem
        if is_circular:
            problem = "a stream depends on itself"
        elif head.content_length != NO_LENGTH:
            stream.length_left = head.content_length
            if ended and stream.length_left:
                problem = "body is not as long as content-length"
        if problem:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, problem)
        is_too_large = block.list_bytes > limits.HEADER_LIST_BYTES
        if is_too_large:
            self._spend(self._allowance.large, "header lists that are too large")
        self._events.append(RequestReceived(stream, head, block, ended, is_too_large))

    def _take_response(self, stream: Stream, block: FieldBlock, *, ended: bool) -> None:
        problem = response_problem(block, ended=ended)
        if problem:
            raise StreamFault(stream.id, ErrorCode.PROTOCOL_ERROR, problem)
        if block.fields[0][1][:1] == b"1":  # informational: the answer is still to come
            self._spend_idle("informational responses")
            return
        stream.is_responded = True
        stream.length_left = block.content_length
        self._events.append(happened.ResponseReceived(stream, block, ended))
        if ended:
            self._end_remote(stream)

    def _take_reset(self, stream_id: int, payload: bytes) -> None:
        code = payloads.read_reset(stream_id, payload)
        if self._table.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM of an idle stream")
        self._table.forget(stream_id)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._spend_idle("RST_STREAM frames")
            return
        self._spend(self._allowance.resets, "streams that are reset", self.completed_streams)
        self._close(stream)
        self._events.append(happened.StreamReset(stream, code, "reset by the peer", by_peer=True))

    def _take_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        entries = payloads.read_settings(flags, stream_id, payload, from_server=self.is_client)
        if entries is None:
            if self._reader.expected == frames.SETTINGS:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first SETTINGS is an ack")
            self._spend_idle("SETTINGS acknowledgements")
            return
        self._spend(self._allowance.settings, "SETTINGS frames")
        self._reader.expected = ANY_FRAME
        self.outbound.frames.append(frames.SETTINGS_ACK)  # in front of what it lets go
        for key, value in entries:
            self.peer_settings[key] = value
            for stream in self.outbound.apply(key, value, list(self.streams.values())):
                self._end_local(stream)

    def _take_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        payloads.check_ping(stream_id, payload)
        self._spend(self._allowance.pings, "PING frames", self.outbound.sent_frames)
        if flags & frames.ACK:
            self._events.append(happened.PingAcknowledged(payload))
            return
        self.outbound.frames.append(frames.ping_frame(payload, ack=True))
        self._events.append(happened.PingReceived())

    def _take_goaway(self, stream_id: int, payload: bytes) -> None:
        last, code, debug = payloads.read_goaway(stream_id, payload)
        self._spend_idle("GOAWAY frames")
        self._events.append(happened.GoAwayReceived(last, code, debug))

    def _take_window_update(self, stream_id: int, payload: bytes) -> None:
        increment = payloads.read_window_update(payload)
        sent = self.outbound.sent_frames
        worth = self.opened_streams * _UPDATES_PER_STREAM + sent * _UPDATES_PER_DATA
        self._spend(self._allowance.updates, "WINDOW_UPDATE frames", worth)
        stream = self.streams.get(stream_id)
        is_gone = stream is None and stream_id != 0
        if is_gone and self._table.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of an idle stream")
        payloads.check_increment(stream_id, increment)
        if is_gone:
            return
        for done in self.outbound.open_window(stream, increment):
            self._end_local(done)

    # Streams end.

    def _end_remote(self, stream: Stream) -> None:
        stream.remote_ended = True
        if stream.local_ended:
            self._finish(stream)

    def _end_local(self, stream: Stream) -> None:
        """The end of our message has been written."""
        stream.local_ended = True
        if stream.remote_ended:
            self._finish(stream)
        elif not self.is_client:
            # The answer is complete before the request is: tell the peer to stop sending
            # (RFC 9113, section 8.1), and throw away what it has sent already.
            self.outbound.frames.append(frames.reset_frame(stream.id, ErrorCode.NO_ERROR))
            self._finish(stream)
            self._table.discard(stream.id)

    def _finish(self, stream: Stream) -> None:
        self._table.close(stream)
        self.completed_streams += 1

    def _close(self, stream: Stream) -> None:
        """The stream ended before its time."""
        self.outbound.forget(stream)
        self._table.close(stream)

    def _fail_stream(self, fault: StreamFault) -> None:
        """The peer broke a rule: end the stream and say so."""
        self._spend(self._allowance.resets, "streams that are reset", self.completed_streams)
        stream_id = fault.stream_id
        self.outbound.frames.append(frames.reset_frame(stream_id, fault.code))
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        self._close(stream)
        if not stream.remote_ended:
            self._table.discard(stream_id)
        self._events.append(happened.StreamReset(stream, fault.code, fault.message, by_peer=False))

    # Sending.

    def open(self) -> Stream | None:
        """A new stream of a client; ``None`` when the peer takes no more, for now or at all."""
        streams_max = self.peer_settings.get(frames.MAX_CONCURRENT_STREAMS, limits.STREAMS_MAX)
        if self.is_ended or len(self.streams) >= streams_max or not self._table.can_open:
            return None
        self.opened_streams += 1
        return self._table.open_own(self.outbound.initial_window)

    def answer(self, stream: Stream, head: Fields, body: bytes, trailers: Fields) -> None:
        """Send a whole message with trailers, which ends our half of the stream.

        Ignored when the stream is not open any more, like everything that sends.
        """
        if not stream.is_open or stream.local_ended:
            return
        if self.outbound.send_whole(stream, head, body, trailers):
            self._end_local(stream)
            return
        self.send(stream, head)
        self.send(stream, None, body)
        self.send(stream, trailers, ended=True)

    def send(
        self, stream: Stream, fields: Fields | None, data: Chunk = b"", *, ended: bool = False
    ) -> None:
        """Send ``fields`` as HEADERS or, if there are none, ``data``; wait for windows if needed.

        Ends the connection when too much waits for this peer.
        """
        if not stream.is_open or stream.local_ended:
            return
        try:
            if self.outbound.put(stream, fields, data, ended=ended):
                self._end_local(stream)
        except ConnectionFault as fault:
            self.end(fault.code, fault.message)

    def reset(self, stream: Stream, code: ErrorCode | None) -> None:
        """End a stream before its time. No event follows. ``None``: the peer knows already."""
        if not stream.is_open:
            return
        if code is not None:
            self.outbound.frames.append(frames.reset_frame(stream.id, code))
        self._close(stream)
        if not stream.remote_ended:
            self._table.discard(stream.id)

    def ping(self, payload: bytes) -> None:
        """Ask whether the peer is there; `PingAcknowledged` brings the eight bytes back."""
        self.outbound.frames.append(frames.ping_frame(payload))

    def warn_goaway(self) -> None:
        """Announce that no new streams will be taken soon; those under way still are.

        RFC 9113, section 6.8: a second GOAWAY, by `refuse_streams`, follows a round trip later.
        """
        self.outbound.frames.append(frames.goaway_frame(frames.STREAM_ID_MAX, ErrorCode.NO_ERROR))

    def refuse_streams(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: str = "") -> None:
        """Take no new streams from now on; those that are open go on."""
        last = self._table.last_accepted = self._table.last_peer
        self.outbound.frames.append(frames.goaway_frame(last, code, debug.encode()))

    def end(self, code: ErrorCode, message: str) -> None:
        """Say why and take no notice of anything any more. The caller writes and closes."""
        if self.is_ended:
            return
        self.is_ended = True
        last = self._table.last_peer
        self.outbound.frames.append(frames.goaway_frame(last, code, message.encode()))
        for stream in list(self.streams.values()):
            self._close(stream)

    def __repr__(self) -> str:
        return (
            f"<Connection {'client' if self.is_client else 'server'} streams={len(self.streams)}"
            f" held={self.held_streams} completed={self.completed_streams} {self.outbound!r}>"
        )
