"""Header blocks from HEADERS and CONTINUATION frames (RFC 9113, sections 6.2 and 6.10)."""

from __future__ import annotations

from typing import NamedTuple

from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.frames import ConnectionFault, ErrorCode


class EncodedBlock(NamedTuple):
    """A complete block, still compressed.

    ``ended``: the stream ends with it. ``is_circular``: its priority makes the stream depend on
    itself.
    """

    data: bytes
    ended: bool
    is_circular: bool


class BlockAssembler:
    """Puts header blocks together; they may not be interleaved with anything.

    ``stream_id``: the stream whose block is incomplete, or 0.
    """

    __slots__ = ("_data", "_frames", "_is_circular", "_is_ended", "stream_id")

    def __init__(self) -> None:
        self.stream_id = 0
        self._data = bytearray()
        self._frames = 0
        self._is_ended = False
        self._is_circular = False

    def headers(self, flags: int, stream_id: int, payload: bytes) -> EncodedBlock | None:
        """A HEADERS frame; the block, if it is complete."""
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        is_circular = False
        if flags & (frames.PADDED | frames.HAS_PRIORITY):
            payload, is_circular = _strip(flags, stream_id, payload)
        ended = flags & frames.END_STREAM != 0
        if flags & frames.END_HEADERS:
            return EncodedBlock(payload, ended, is_circular)
        self.stream_id = stream_id
        self._data += payload
        self._frames = 0
        self._is_ended = ended
        self._is_circular = is_circular
        return None

    def continuation(self, flags: int, payload: bytes) -> EncodedBlock | None:
        """A CONTINUATION frame; the block, if it is complete."""
        if not self.stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._data += payload
        self._frames += 1
        if self._frames > limits.CONTINUATION_FRAMES_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        if len(self._data) > limits.HEADER_BLOCK_BYTES_MAX:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"header block above {limits.HEADER_BLOCK_BYTES_MAX} bytes",
            )
        if not flags & frames.END_HEADERS:
            return None
        block = bytes(self._data)
        self._data.clear()
        self.stream_id = 0
        return EncodedBlock(block, self._is_ended, self._is_circular)

    def __repr__(self) -> str:
        return f"<BlockAssembler stream={self.stream_id} bytes={len(self._data)}>"


def _strip(flags: int, stream_id: int, payload: bytes) -> tuple[bytes, bool]:
    """The block of a HEADERS frame without padding and priority; whether that is circular."""
    start, stop = 0, len(payload)
    is_circular = False
    if flags & frames.PADDED:
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without its pad length")
        start = 1
        stop -= payload[0]
    if flags & frames.HAS_PRIORITY:
        start += 5
        if start > len(payload):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without its priority")
        depends_on = frames.UINT32.unpack_from(payload, start - 5)[0] & 0x7FFFFFFF
        is_circular = depends_on == stream_id
    if start > stop:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than HEADERS")
    return payload[start:stop], is_circular
