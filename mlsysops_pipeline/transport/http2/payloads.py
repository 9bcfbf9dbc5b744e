"""What control frames say: layout and ranges by RFC 9113, section 6. Nothing here has state."""

from __future__ import annotations

from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.frames import ConnectionFault, ErrorCode, StreamFault


def is_whole_preface(begin: bytes) -> bool:
    """Whether a client's preface is complete. Raises when what it sends is none."""
    if not frames.PREFACE.startswith(begin):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
    return begin == frames.PREFACE


def read_reset(stream_id: int, payload: bytes) -> int:
    """The error code of a RST_STREAM."""
    if not stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on stream 0")
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
    return int.from_bytes(payload)


def read_window_update(payload: bytes) -> int:
    """The increment of a WINDOW_UPDATE; 0 is a fault that depends on the stream."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
    return int.from_bytes(payload) & 0x7FFFFFFF


def check_increment(stream_id: int, increment: int) -> None:
    """Raise for the increment 0: a fault of the stream, or of the connection on stream 0."""
    if increment:
        return
    if stream_id:
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")


def check_ping(stream_id: int, payload: bytes) -> None:
    """Raise unless this is a PING as it should be."""
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
    if len(payload) != 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 bytes")


def read_goaway(stream_id: int, payload: bytes) -> tuple[int, int, bytes]:
    """Last stream, error code and debug data of a GOAWAY."""
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
    if len(payload) < 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
    last = int.from_bytes(payload[:4]) & 0x7FFFFFFF
    return last, int.from_bytes(payload[4:8]), payload[8:]


def check_priority(stream_id: int, payload: bytes) -> None:
    """Raise for a faulty PRIORITY. A right one is ignored: the scheme is deprecated."""
    if not stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
    if len(payload) != 5:
        raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")
    if int.from_bytes(payload[:4]) & 0x7FFFFFFF == stream_id:
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")


def read_settings(
    flags: int, stream_id: int, payload: bytes, *, from_server: bool
) -> list[tuple[int, int]] | None:
    """Keys and values of a SETTINGS in order, or ``None`` for an acknowledgement."""
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
    if flags & frames.ACK:
        if payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ack with a payload")
        return None
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is not a multiple of 6")
    if len(payload) > 6 * limits.SETTINGS_ENTRIES_MAX:
        raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many entries in SETTINGS")
    entries = list(frames.SETTING.iter_unpack(payload))
    for key, value in entries:
        if key == frames.ENABLE_PUSH and value > (0 if from_server else 1):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is out of range")
        if key == frames.INITIAL_WINDOW_SIZE and value > frames.WINDOW_BYTES_MAX:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is out of range"
            )
        if key == frames.MAX_FRAME_SIZE and not (
            frames.DEFAULT_FRAME_BYTES <= value <= frames.FRAME_BYTES_MAX
        ):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
    # Unknown settings are ignored, and not kept.
    return [(key, value) for key, value in entries if 0 < key <= frames.MAX_HEADER_LIST_SIZE]


def first_settings(streams_max: int, *, is_client: bool) -> dict[int, int]:
    """What either side announces when it begins."""
    settings = {
        frames.INITIAL_WINDOW_SIZE: limits.STREAM_WINDOW_BYTES,
        frames.MAX_FRAME_SIZE: limits.FRAME_BYTES,
        frames.MAX_HEADER_LIST_SIZE: limits.HEADER_LIST_BYTES,
    }
    if is_client:
        settings[frames.ENABLE_PUSH] = 0
    else:
        settings[frames.MAX_CONCURRENT_STREAMS] = streams_max
    return settings
