"""Answers that repeat are kept as written; they say the same whatever happens in between."""

from __future__ import annotations

from hpack import Decoder

from mlsysops_pipeline.transport.http2 import frames
from mlsysops_pipeline.transport.http2.headers import HeaderEncoder
from mlsysops_pipeline.transport.http2.outbound import Outbound
from mlsysops_pipeline.transport.http2.status import (
    PINNED_FIELDS,
    RESPONSE_HEAD,
    RESPONSE_TRAILERS,
)
from mlsysops_pipeline.transport.http2.streams import Stream
from tests.core.transport.http2.wire import read_frames

_EMPTY = bytes(5)


class _Peer:
    """The other end: decodes what an `Outbound` writes."""

    def __init__(self) -> None:
        self.outbound = Outbound(HeaderEncoder(PINNED_FIELDS))
        self._decoder = Decoder()
        self._next = 1

    def answer(self, body: bytes = _EMPTY) -> None:
        """Send one answer, and read it as it was meant."""
        stream = Stream(self._next, 65_535, 65_535)
        self._next += 2
        self.outbound.frames = []
        assert self.outbound.send_whole(stream, RESPONSE_HEAD, body, RESPONSE_TRAILERS)
        head, data, trailers = read_frames(b"".join(self.outbound.frames))
        assert [stream.id] * 3 == [head.stream, data.stream, trailers.stream]
        assert (frames.HEADERS, frames.END_HEADERS) == (head.kind, head.flags)
        assert (frames.DATA, 0, body) == (data.kind, data.flags, data.payload)
        ended = frames.END_HEADERS | frames.END_STREAM
        assert (frames.HEADERS, ended) == (trailers.kind, trailers.flags)
        assert [*RESPONSE_HEAD] == self._decoder.decode(head.payload, raw=True)
        assert [*RESPONSE_TRAILERS] == self._decoder.decode(trailers.payload, raw=True)


def test_every_answer_says_the_same_on_its_own_stream() -> None:
    peer = _Peer()
    for _ in range(5):
        peer.answer()


def test_another_body_is_not_mistaken_for_the_one_before() -> None:
    peer = _Peer()
    for body in (_EMPTY, _EMPTY, b"\0\0\0\0\1x", b"\0\0\0\0\1y", bytes(1_000), _EMPTY):
        peer.answer(body)


def test_a_table_that_the_peer_makes_smaller_changes_what_is_written() -> None:
    peer = _Peer()
    for _ in range(3):
        peer.answer()
    for size in (0, 4_096, 100):
        peer.outbound.encoder.resize(size)
        for _ in range(3):
            peer.answer()


def test_windows_pay_for_repeated_answers_too() -> None:
    peer = _Peer()
    before = peer.outbound.window
    for _ in range(4):
        peer.answer()
    assert before - 4 * len(_EMPTY) == peer.outbound.window
    assert 4 == peer.outbound.sent_frames
