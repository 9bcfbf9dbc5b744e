"""The streams of a connection: which are open, which are over, which were never there."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.fields import NO_LENGTH
from mlsysops_pipeline.transport.http2.frames import ConnectionFault, ErrorCode, StreamFault

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.headers import Fields

Chunk: TypeAlias = "bytes | memoryview"

_RECENT_STREAMS: Final = 256


class Stream:
    """One request and its answer (RFC 9113, section 5.1).

    ``send_window`` and ``receive_window``: bytes of DATA that may still go each way.
    ``length_left``: what a declared content-length still promises, or `NO_LENGTH`.
    ``owner``: whatever the user of the connection keeps with the stream.
    """

    __slots__ = (
        "id",
        "is_open",
        "is_responded",
        "length_left",
        "local_ended",
        "outbox",
        "owner",
        "receive_window",
        "remote_ended",
        "send_window",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.receive_window = receive_window
        self.length_left = NO_LENGTH
        self.is_open = True
        self.is_responded = False
        self.local_ended = False
        self.remote_ended = False
        self.outbox: deque[tuple[Fields | None, Chunk, bool]] | None = None
        self.owner: Any = None

    def take_data(self, size: int, content: int, *, ended: bool) -> None:
        """DATA of ``size`` bytes arrives, ``content`` of them without padding.

        Raises `StreamFault` if it may not: after the end, beyond the window, or not as long as
        the content-length said.
        """
        if self.remote_ended:
            raise StreamFault(self.id, ErrorCode.STREAM_CLOSED, "DATA after the end")
        if size > self.receive_window:
            raise StreamFault(
                self.id, ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the window of the stream"
            )
        self.receive_window -= content
        if self.length_left != NO_LENGTH:
            self.length_left -= content
            if self.length_left < 0 or (ended and self.length_left):
                raise StreamFault(
                    self.id, ErrorCode.PROTOCOL_ERROR, "body is not as long as content-length"
                )

    def __repr__(self) -> str:
        return (
            f"<Stream {self.id} open={self.is_open} ended={self.local_ended}/{self.remote_ended}"
            f" windows={self.send_window}/{self.receive_window}>"
        )


class StreamTable:
    """All streams of one side of a connection.

    ``open``: by id. ``last_peer``: the highest id that the peer opened. ``last_accepted``: new
    streams above it are ignored, since a GOAWAY said so. ``next_own``: the next id of our own.
    """

    __slots__ = (
        "_discarding",
        "_is_client",
        "_recent",
        "last_accepted",
        "last_peer",
        "next_own",
        "open",
    )

    def __init__(self, *, is_client: bool) -> None:
        self._is_client = is_client
        self.open: dict[int, Stream] = {}
        self.last_peer = 0
        self.last_accepted = frames.STREAM_ID_MAX
        self.next_own = 1 if is_client else 2
        self._discarding: dict[int, None] = {}
        self._recent: deque[int] = deque(maxlen=_RECENT_STREAMS)

    def is_ours(self, stream_id: int) -> bool:
        """Whether this side opens streams with such an id (odd ones are the client's)."""
        return stream_id & 1 == self._is_client

    def is_idle(self, stream_id: int) -> bool:
        """Whether the stream was never opened, and may not be ignored either."""
        if self.is_ours(stream_id):
            return stream_id >= self.next_own
        return self.last_peer < stream_id <= self.last_accepted

    def is_ignored(self, stream_id: int) -> bool:
        """Whether the peer opened the stream after it was told not to."""
        return stream_id > self.last_accepted and not self.is_ours(stream_id)

    def is_discarded(self, stream_id: int) -> bool:
        """Whether we ended the stream and its peer may not know yet."""
        return stream_id in self._discarding

    def take_late(self, stream_id: int, *, ended: bool) -> None:
        """A frame with content for a stream that is not open. Returns if it may be thrown away.

        Raises `ConnectionFault` if the peer must have known better.
        """
        if stream_id in self._discarding:
            if ended:
                del self._discarding[stream_id]
        elif self.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame of an idle stream")
        elif not self.is_ignored(stream_id):
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a frame of a closed stream")

    def reopening(self, stream_id: int) -> ConnectionFault:
        """What is wrong with opening a stream that is not above ``last_peer``."""
        if stream_id in self._recent:
            return ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS of a closed stream")
        return ConnectionFault(ErrorCode.PROTOCOL_ERROR, "streams do not open in order")

    @property
    def can_open(self) -> bool:
        """Whether there are numbers left for streams of ours."""
        return self.next_own <= min(frames.STREAM_ID_MAX, self.last_accepted)

    def open_own(self, send_window: int) -> Stream:
        """The next stream of ours."""
        stream = Stream(self.next_own, send_window, limits.STREAM_WINDOW_BYTES)
        self.next_own += 2
        self.open[stream.id] = stream
        return stream

    def close(self, stream: Stream) -> None:
        """The stream is over on both sides."""
        stream.is_open = False
        del self.open[stream.id]
        self._recent.append(stream.id)

    def discard(self, stream_id: int) -> None:
        """Expect frames of a stream that we ended, until its peer ends it too."""
        if len(self._discarding) >= limits.DISCARDED_STREAMS_MAX:
            del self._discarding[next(iter(self._discarding))]
        self._discarding[stream_id] = None

    def forget(self, stream_id: int) -> None:
        """The peer reset the stream: no more frames of it are expected."""
        self._discarding.pop(stream_id, None)

    def __repr__(self) -> str:
        return f"<StreamTable open={len(self.open)} discarding={len(self._discarding)}>"
