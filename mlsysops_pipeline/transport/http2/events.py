"""What a connection reports: one object for each thing that happened, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlsysops_pipeline.transport.http2.fields import RequestHead
    from mlsysops_pipeline.transport.http2.frames import ErrorCode
    from mlsysops_pipeline.transport.http2.headers import FieldBlock
    from mlsysops_pipeline.transport.http2.streams import Chunk, Stream

# Constructors take positional arguments, because several run for every request.
# ruff: noqa: FBT001


class RequestReceived:
    """A peer asks for something. ``is_too_large``: its header list is above what we advertised."""

    __slots__ = ("block", "ended", "head", "is_too_large", "stream")

    def __init__(
        self, stream: Stream, head: RequestHead, block: FieldBlock, ended: bool, is_too_large: bool
    ) -> None:
        self.stream = stream
        self.head = head
        self.block = block
        self.ended = ended
        self.is_too_large = is_too_large


class ResponseReceived:
    """The head of an answer, to the side that asked."""

    __slots__ = ("block", "ended", "stream")

    def __init__(self, stream: Stream, block: FieldBlock, ended: bool) -> None:
        self.stream = stream
        self.block = block
        self.ended = ended


class DataReceived:
    """Part of a message body. ``pieces`` may be views into the bytes that were received."""

    __slots__ = ("ended", "pieces", "stream")

    def __init__(self, stream: Stream, pieces: Sequence[Chunk], ended: bool) -> None:
        self.stream = stream
        self.pieces = pieces
        self.ended = ended

    @property
    def data(self) -> Chunk:
        """All of them in one."""
        pieces = self.pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class TrailersReceived:
    """Fields after the body; they always end the peer's half of the stream."""

    __slots__ = ("block", "stream")

    def __init__(self, stream: Stream, block: FieldBlock) -> None:
        self.stream = stream
        self.block = block


class StreamReset:
    """The stream ended before its time. ``by_peer``: they reset it; otherwise they broke a rule."""

    __slots__ = ("by_peer", "code", "message", "stream")

    def __init__(self, stream: Stream, code: int, message: str, by_peer: bool) -> None:
        self.stream = stream
        self.code = code
        self.message = message
        self.by_peer = by_peer


class PingReceived:
    """The peer asked whether we are there; the connection has answered already."""

    __slots__ = ()


class PingAcknowledged:
    """Our PING with this ``payload`` came back."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class GoAwayReceived:
    """The peer will not take new streams; those above ``last_stream_id`` were not processed."""

    __slots__ = ("code", "debug", "last_stream_id")

    def __init__(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self.last_stream_id = last_stream_id
        self.code = code
        self.debug = debug


class ConnectionEnded:
    """The connection broke; what is to be sent ends with a GOAWAY.

    Its streams are gone, without further events.
    """

    __slots__ = ("code", "message")

    def __init__(self, code: ErrorCode, message: str) -> None:
        self.code = code
        self.message = message


Event: TypeAlias = (
    "RequestReceived | ResponseReceived | DataReceived | TrailersReceived | StreamReset"
    " | PingReceived | PingAcknowledged | GoAwayReceived | ConnectionEnded"
)
