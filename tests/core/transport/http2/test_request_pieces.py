"""A request whose message comes in pieces is written as if it were one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.transport.http2 import frames
from mlsysops_pipeline.transport.http2.client import ClientCall, ClientConnection, ClientTimes
from mlsysops_pipeline.transport.http2.headers import HeaderEncoder
from mlsysops_pipeline.transport.http2.outbound import Outbound
from mlsysops_pipeline.transport.http2.streams import Stream
from tests.core.transport.http2.wire import read_frames

_HEAD = ((b":method", b"POST"),)
_PREFIX = b"\0\0\0\1\2"
_SIZES = st.lists(st.integers(1, 70_000), min_size=1, max_size=8)


def pieces_of(sizes: list[int]) -> tuple[bytes, ...]:
    """Pieces that can be told apart."""
    return tuple(bytes([index + 1]) * size for index, size in enumerate(sizes))


@given(_SIZES, st.sampled_from([16_384, 20_000, 1 << 20]))
def test_frames_are_full_and_hold_the_pieces_in_order(sizes: list[int], frame_max: int) -> None:
    outbound = Outbound(HeaderEncoder())
    outbound.window = frames.WINDOW_BYTES_MAX
    outbound.frame_bytes_max = frame_max
    stream = Stream(1, frames.WINDOW_BYTES_MAX, 0)
    pieces = pieces_of(sizes)
    size = len(_PREFIX) + sum(sizes)
    assert outbound.send_request(stream, _HEAD, _PREFIX, pieces, size)
    head, *data = read_frames(b"".join(outbound.frames))
    assert (frames.HEADERS, frames.END_HEADERS) == (head.kind, head.flags)
    assert _PREFIX + b"".join(pieces) == b"".join(frame.payload for frame in data)
    assert all(len(frame.payload) == frame_max for frame in data[:-1])
    ends = [bool(frame.flags & frames.END_STREAM) for frame in data]
    assert [False] * (len(data) - 1) + [True] == ends
    assert 1 + (size >> 14) == outbound.sent_frames  # in frames of the usual size
    assert frames.WINDOW_BYTES_MAX - size == outbound.window == stream.send_window


@given(_SIZES)
def test_a_small_window_is_waited_for(sizes: list[int]) -> None:
    client = ClientConnection(ClientTimes(), 0.0)
    client.receive(frames.settings_frame({}), 0.0)
    client.connection.take()
    pieces = pieces_of(sizes)
    call = ClientCall(_HEAD, pieces, 10.0)
    assert client.begin(call, 0.0)
    got = b"".join(client.connection.take())
    for stream_id in (0, 1):
        client.receive(frames.window_update_frame(stream_id, 1 << 20), 0.0)
    got += b"".join(client.connection.take())
    data = [frame for frame in read_frames(got) if frame.kind == frames.DATA]
    assert b"\0" + sum(sizes).to_bytes(4) + b"".join(pieces) == b"".join(
        frame.payload for frame in data
    )
    assert data[-1].flags & frames.END_STREAM
