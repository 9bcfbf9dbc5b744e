from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.transport.http2.messages import MessageBuffer
from mlsysops_pipeline.transport.http2.status import (
    GrpcStatus,
    HttpAnswer,
    binary_value,
    http1_answer,
    percent_encoded,
    read_binary_value,
)


def _wire(content: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(content).to_bytes(4) + content


@given(
    content=st.binary(max_size=300).flatmap(lambda b: st.sampled_from([b, b * 200])),
    cuts=st.lists(st.integers(0, 70_000), max_size=10),
    views=st.booleans(),
    flag=st.sampled_from([0, 1]),
)
def test_a_message_is_whole_whatever_its_pieces(
    content: bytes, cuts: list[int], views: bool, flag: int
) -> None:
    wire = _wire(content, flag)
    buffer = MessageBuffer()
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    for start, stop in pairwise(edges):
        piece = wire[start:stop]
        buffer.add(memoryview(piece) if views else piece)
        buffer.settle(len(piece) * 3)
        assert max(stop - 5, 0) == buffer.received
    assert (len(content), flag) == (buffer.size, buffer.is_compressed)
    assert content == buffer.take()
    assert b"" == buffer.take()


def test_views_that_keep_much_more_alive_are_copied() -> None:
    buffer = MessageBuffer()
    data = bytes(1_000_000)
    buffer.add(memoryview(_wire(bytes(50_000))[:10]))
    buffer.add(memoryview(data)[:20_000])
    buffer.settle(len(data))
    assert all(type(part) is bytes for part in buffer._parts)
    buffer.add(memoryview(data)[:30_000])
    buffer.settle(35_000)
    assert memoryview in {type(part) for part in buffer._parts}


def test_clear_lets_go() -> None:
    buffer = MessageBuffer()
    buffer.add(_wire(bytes(10_000)))
    buffer.clear()
    assert b"" == buffer.take()


@given(st.text(max_size=300))
def test_a_message_is_printable_and_comes_back(message: str) -> None:
    from urllib.parse import unquote

    encoded = percent_encoded(message)
    assert all(0x20 <= octet <= 0x7E for octet in encoded)
    assert message.encode("utf-8", "replace").decode() == unquote(encoded.decode())


def test_long_messages_and_details_are_cut() -> None:
    assert len(percent_encoded("x" * 5_000)) <= 1_024
    names = [name for name, _ in GrpcStatus(Code.INTERNAL, "x", bytes(5_000)).fields()]
    assert [b"grpc-status", b"grpc-message"] == names


@given(st.binary(max_size=60))
def test_binary_values_come_back(data: bytes) -> None:
    assert data == read_binary_value(binary_value(data))


def test_binary_values_may_be_padded_or_joined() -> None:
    assert b"a,b" == read_binary_value(b"YQ==,Yg")
    with pytest.raises(ValueError, match="base64"):
        read_binary_value(b"!")


def test_http1_clients_are_told() -> None:
    answer = http1_answer(b"POST /v1/traces HTTP/1.1")
    assert answer.startswith(b"HTTP/1.1 505 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head
    assert b"" == http1_answer(b"\x16\x03\x01")
    assert b"" == http1_answer(b"INVALID CONNECTION PREFA")
    assert b"" == http1_answer(b"")


def test_answers_to_other_clients_of_http2() -> None:
    answer = HttpAnswer(415, "no", ((b"allow", b"POST"),))
    assert (b":status", b"415") == answer.head()[0]
    assert (b"content-length", b"3") in answer.head()
    assert b"no\n" == answer.body
