"""Frames as bytes: types, flags, settings, error codes, and how each frame is written.

Source: RFC 9113, sections 4 (layout), 6 (definitions) and 7 (error codes).
"""

from __future__ import annotations

import enum
import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every client sends first (RFC 9113, section 3.4)."""

FRAME_HEADER_BYTES: Final = 9

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

WINDOW_BYTES_MAX: Final = 2**31 - 1
STREAM_ID_MAX: Final = 2**31 - 1
DEFAULT_WINDOW_BYTES: Final = 65_535
DEFAULT_FRAME_BYTES: Final = 16_384
FRAME_BYTES_MAX: Final = 2**24 - 1
DEFAULT_TABLE_BYTES: Final = 4_096

HEADER: Final = struct.Struct(">BHBBI")
"""A frame header: length (8 high and 16 low bits), type, flags, stream."""

SETTING: Final = struct.Struct(">HI")
UINT32: Final = struct.Struct(">I")
_TWO_UINT32: Final = struct.Struct(">II")


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Exception):  # noqa: N818  the peer is at fault, not the caller
    """The peer broke a rule that ends the whole connection."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StreamFault(Exception):  # noqa: N818  the same, for one stream
    """The peer broke a rule that ends one stream."""

    def __init__(self, stream_id: int, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.stream_id = stream_id
        self.code = code
        self.message = message


def frame_header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The nine bytes in front of a payload of ``length`` bytes."""
    return HEADER.pack(length >> 16, length & 0xFFFF, kind, flags, stream_id)


def settings_frame(values: dict[int, int]) -> bytes:
    """A SETTINGS frame that is not an acknowledgement."""
    payload = b"".join(SETTING.pack(key, value) for key, value in values.items())
    return frame_header(len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK: Final = frame_header(0, SETTINGS, ACK, 0)


_PING_HEADER: Final = frame_header(8, PING, 0, 0)
_PING_ACK_HEADER: Final = frame_header(8, PING, ACK, 0)


def ping_frame(payload: bytes, *, ack: bool = False) -> bytes:
    """A PING with its eight bytes."""
    return (_PING_ACK_HEADER if ack else _PING_HEADER) + payload


def reset_frame(stream_id: int, code: int) -> bytes:
    """A RST_STREAM."""
    return frame_header(4, RST_STREAM, 0, stream_id) + UINT32.pack(code)


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE; stream 0 is the connection."""
    return frame_header(4, WINDOW_UPDATE, 0, stream_id) + UINT32.pack(increment)


def goaway_frame(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY: streams above ``last_stream_id`` were not and will not be processed."""
    return (
        frame_header(8 + len(debug), GOAWAY, 0, 0) + _TWO_UINT32.pack(last_stream_id, code) + debug
    )


def header_frames(stream_id: int, block: bytes, flags: int, frame_bytes_max: int) -> bytes:
    """HEADERS, followed by as many CONTINUATION frames as the block needs.

    ``flags``: END_STREAM or 0; END_HEADERS is set where it belongs.
    """
    size = len(block)
    if size <= frame_bytes_max:
        return frame_header(size, HEADERS, flags | END_HEADERS, stream_id) + block
    pieces = [
        frame_header(frame_bytes_max, HEADERS, flags, stream_id),
        block[:frame_bytes_max],
    ]
    for start in range(frame_bytes_max, size, frame_bytes_max):
        piece = block[start : start + frame_bytes_max]
        is_last = start + frame_bytes_max >= size
        pieces.append(
            frame_header(len(piece), CONTINUATION, END_HEADERS if is_last else 0, stream_id)
        )
        pieces.append(piece)
    return b"".join(pieces)
