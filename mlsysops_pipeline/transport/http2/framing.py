"""Cuts a byte stream into frames, whatever the pieces in which it arrives.

DATA is passed on as it comes, so that a frame of a megabyte is never held here and the bytes of a
large message are copied once, when the message is joined. Other frames are collected whole;
their size is checked before their payload is awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.frames import ConnectionFault, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlsysops_pipeline.transport.http2.streams import Chunk, Stream

ANY_FRAME: Final = -1
_VIEW_BYTES_MIN: Final = 1_024
"""Smaller pieces of DATA are copied, which is cheaper than a view of them."""


class FrameSink(Protocol):
    """Who handles frames. Every method may raise `ConnectionFault` or `StreamFault`."""

    def accept_data(self, stream_id: int, size: int, content: int, *, ended: bool) -> Stream | None:
        """A DATA frame begins: ``size`` bytes with padding, ``content`` without.

        Returns the stream whose content is wanted, if it is.
        """

    def deliver(self, stream: Stream, pieces: Sequence[Chunk], *, ended: bool) -> None:
        """Content of the stream that `accept_data` returned, in one piece or more."""

    def dispatch(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Any other frame, complete. The payload of an unknown type may be missing."""


class FrameReader:
    """The receiving end of the byte stream of one connection, after the preface.

    ``expected`` and ``expected_stream``: the only kind of frame that may come next (`ANY_FRAME`
    and 0 when all may), and on which stream. ``collected_frames``: how many came in pieces.
    """

    __slots__ = (
        "_accept_data",
        "_data_ended",
        "_data_left",
        "_data_stream",
        "_deliver",
        "_dispatch",
        "_position",
        "_rest",
        "_skip_left",
        "collected_frames",
        "expected",
        "expected_stream",
    )

    def __init__(self, sink: FrameSink) -> None:
        self.expected = frames.SETTINGS
        self.expected_stream = 0
        self._accept_data = sink.accept_data
        self._deliver = sink.deliver
        self._dispatch = sink.dispatch
        self._position = 0
        self._rest = bytearray()
        self._data_left = 0
        self._data_stream: Stream | None = None
        self._data_ended = False
        self._skip_left = 0
        self.collected_frames = 0

    def feed(self, data: bytes, position: int = 0) -> int:
        """Handle ``data`` from ``position`` on; returns where to go on, ``len(data)`` at the end.

        After a `StreamFault` the caller deals with the stream and calls again with `position`.
        """
        end = len(data)
        unpack = frames.HEADER.unpack_from
        while position < end:
            if self._data_left or self._skip_left:
                position = self._continue_data(data, position, end)
                continue
            start = position + frames.FRAME_HEADER_BYTES
            if self._rest or start > end:
                position = self._collect(data, position, end)
                continue
            high, low, kind, flags, stream_id = unpack(data, position)
            length = high << 16 | low
            stop = start + length
            if self.expected != ANY_FRAME or length > frames.DEFAULT_FRAME_BYTES:
                self._check(kind, length, stream_id)
            if kind == frames.DATA:
                if flags & frames.PADDED or stop > end:
                    position = self._begin_data(data, position, end)
                    continue
                ended = flags & frames.END_STREAM != 0
                if not ended and stop < end and length >= _VIEW_BYTES_MIN:
                    position = self._take_run(data, position, end)
                    continue
                self._position = position = stop
                stream = self._accept_data(stream_id & 0x7FFFFFFF, length, length, ended=ended)
                if stream is not None:
                    if length < _VIEW_BYTES_MIN:
                        self._deliver(stream, (data[start:stop],), ended=ended)
                    else:
                        self._deliver(stream, (memoryview(data)[start:stop],), ended=ended)
            elif stop <= end:
                self._position = position = stop
                self._dispatch(kind, flags, stream_id & 0x7FFFFFFF, data[start:stop])
            else:
                position = self._collect(data, position, end)
        return position

    @property
    def position(self) -> int:
        """Where in the data of the last `feed` the faulty frame is over."""
        return self._position

    def _take_run(self, data: bytes, position: int, end: int) -> int:
        """A DATA frame that is complete, with those of the same stream right behind it.

        A large message is many frames, of 16 KiB from most peers: together they cost a third of
        what they would one by one.
        """
        view = memoryview(data)
        unpack = frames.HEADER.unpack_from
        high, low, _, flags, stream_id = unpack(data, position)
        start = position + frames.FRAME_HEADER_BYTES
        total = high << 16 | low
        stop: int = start + total
        pieces = [view[start:stop]]
        while not flags & frames.END_STREAM:
            start = stop + frames.FRAME_HEADER_BYTES
            if start > end:
                break
            high, low, kind, next_flags, next_id = unpack(data, stop)
            length = high << 16 | low
            if (
                kind != frames.DATA
                or next_id != stream_id
                or next_flags & frames.PADDED
                or not 0 < length <= frames.DEFAULT_FRAME_BYTES
                or start + length > end
            ):
                break
            flags = next_flags
            total += length
            stop = start + length
            pieces.append(view[start:stop])
        self._position = stop
        ended = flags & frames.END_STREAM != 0
        stream = self._accept_data(stream_id & 0x7FFFFFFF, total, total, ended=ended)
        if stream is not None:
            self._deliver(stream, pieces, ended=ended)
        return stop

    def _begin_data(self, data: bytes, position: int, end: int) -> int:
        """A DATA frame with padding, or of which a part is missing; its header is complete."""
        high, low, _, flags, stream_id = frames.HEADER.unpack_from(data, position)
        length = high << 16 | low
        start = position + frames.FRAME_HEADER_BYTES
        content = length
        padding = 0
        if flags & frames.PADDED:
            if not length:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "DATA without its pad length")
            if start == end:
                self._rest += data[position:end]
                return end
            padding = data[start]
            start += 1
            content = length - 1 - padding
            if content < 0:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than DATA")
        # State comes first: if the stream is at fault, its content is skipped all the same.
        self._data_left = content
        self._skip_left = padding
        self._data_stream = None
        self._data_ended = ended = flags & frames.END_STREAM != 0
        self._position = start
        stream = self._accept_data(stream_id & 0x7FFFFFFF, length, content, ended=ended)
        self._data_stream = stream
        if stream is not None and ended and not content:
            self._deliver(stream, (), ended=True)
        return start

    def _continue_data(self, data: bytes, position: int, end: int) -> int:
        """More of a DATA frame, or of what is skipped."""
        if not self._data_left:
            stop = min(position + self._skip_left, end)
            self._skip_left -= stop - position
            return stop
        stop = min(position + self._data_left, end)
        self._data_left -= stop - position
        self._position = stop
        stream = self._data_stream
        if stream is not None and stream.is_open:
            ended = self._data_ended and not self._data_left
            if stop - position < _VIEW_BYTES_MIN:
                self._deliver(stream, (data[position:stop],), ended=ended)
            else:
                self._deliver(stream, (memoryview(data)[position:stop],), ended=ended)
        return stop

    def _collect(self, data: bytes, position: int, end: int) -> int:
        """Take what an incomplete frame (or its header) still needs from ``data``."""
        rest = self._rest
        if not rest:
            self.collected_frames += 1
        position = self._fill(data, position, end, frames.FRAME_HEADER_BYTES)
        if len(rest) < frames.FRAME_HEADER_BYTES:
            return end
        high, low, kind, flags, stream_id = frames.HEADER.unpack_from(rest, 0)
        length = high << 16 | low
        self._check(kind, length, stream_id)
        if kind == frames.DATA:
            # Its header and pad length are all that is ever collected of DATA.
            is_padded = flags & frames.PADDED != 0 and length > 0
            needed = frames.FRAME_HEADER_BYTES + is_padded
            position = self._position = self._fill(data, position, end, needed)
            if len(rest) == needed:
                head = bytes(rest)
                rest.clear()
                try:
                    self._begin_data(head, 0, needed)
                finally:
                    self._position = position
            return position
        if kind > frames.CONTINUATION:
            rest.clear()
            self._skip_left = length
            self._position = position
            self._dispatch(kind, flags, stream_id & 0x7FFFFFFF, b"")
            return position
        position = self._position = self._fill(
            data, position, end, frames.FRAME_HEADER_BYTES + length
        )
        if len(rest) == frames.FRAME_HEADER_BYTES + length:
            payload = bytes(rest[frames.FRAME_HEADER_BYTES :])
            rest.clear()
            self._dispatch(kind, flags, stream_id & 0x7FFFFFFF, payload)
        return position

    def _fill(self, data: bytes, position: int, end: int, size: int) -> int:
        """Bring what is collected up to ``size`` bytes, as far as ``data`` goes."""
        missing = size - len(self._rest)
        if missing <= 0:
            return position
        stop = min(position + missing, end)
        self._rest += data[position:stop]
        return stop

    def _check(self, kind: int, length: int, stream_id: int) -> None:
        """What can be wrong with a frame, seen from its header."""
        if self.expected != ANY_FRAME and (
            kind != self.expected or stream_id & 0x7FFFFFFF != self.expected_stream
        ):
            if self.expected_stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame inside a header block")
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if length > limits.FRAME_BYTES:
            raise ConnectionFault(
                ErrorCode.FRAME_SIZE_ERROR,
                f"frame of {length} bytes, {limits.FRAME_BYTES} are allowed",
            )
        if length > limits.CONTROL_FRAME_BYTES_MAX and 0 < kind <= frames.CONTINUATION:
            is_header = kind in {frames.HEADERS, frames.CONTINUATION}
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM if is_header else ErrorCode.FRAME_SIZE_ERROR,
                f"frame of type {kind} with {length} bytes,"
                f" {limits.CONTROL_FRAME_BYTES_MAX} are allowed",
            )

    @property
    def is_collecting(self) -> bool:
        """Whether the rest of a frame (other than the content of DATA) is awaited."""
        return bool(self._rest)

    def __repr__(self) -> str:
        return (
            f"<FrameReader collected={len(self._rest)} data_left={self._data_left}"
            f" skip_left={self._skip_left}>"
        )
