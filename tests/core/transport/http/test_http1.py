"""The sans-I/O half of the HTTP server, byte by byte."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.transport.http.http1 import (
    Body,
    Head,
    Heads,
    HttpFault,
    answer,
    check_beginning,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def _head(*lines: str, first: str = "POST /v1/metrics HTTP/1.1", host: bool = True) -> Head:
    return Head("\r\n".join([first, *(["Host: here"] if host else []), *lines]).encode("latin-1"))


def _status_of_fault(read: Callable[[], object]) -> int:
    """The status with which ``read`` refuses; 0 if it does not."""
    try:
        read()
    except HttpFault as fault:
        return fault.status
    return 0


def test_a_head_is_taken_apart() -> None:
    head = _head(
        "Content-Type: Application/JSON ; charset=utf-8",
        "Content-Length: 12",
        "Content-Encoding: GZIP",
        "X-Twice: one",
        "x-twice:  two\t",
        first="POST /v1/metrics%20x?a=1&b HTTP/1.1",
    )
    assert ("POST", "/v1/metrics x", "a=1&b") == (head.method, head.path, head.query)
    assert ("application/json", "gzip", 12) == (
        head.media_type,
        head.content_encoding,
        head.length,
    )
    assert ("one", "two") == head.headers["x-twice"]
    assert ("one, two", "") == (head.header("x-twice"), head.header("absent"))


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://host:4318/v1/logs?x", "/v1/logs", "x"),
        ("HTTP://host", "/", ""),
        ("*", "*", ""),
        ("//double", "//double", ""),
    ],
)
def test_targets(target: str, path: str, query: str) -> None:
    head = _head(first=f"GET {target} HTTP/1.1")
    assert (path, query) == (head.path, head.query)


@pytest.mark.parametrize(
    ("version", "field", "expected"),
    [
        ("1.1", "Accept: */*", True),
        ("1.1", "Connection: Close", False),
        ("1.1", "Connection: te, close", False),
        ("1.0", "Accept: */*", False),
        ("1.0", "Connection: Keep-Alive", True),
        ("1.7", "Accept: */*", True),
    ],
)
def test_who_wants_to_send_more(version: str, field: str, *, expected: bool) -> None:
    assert expected == _head(field, first=f"GET / HTTP/{version}").keeps_alive


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, ["Content-Length: 1", "Content-Length: 2"]),
        (400, ["Content-Length: +1"]),
        (400, ["Content-Length: 1_000"]),
        (400, ["Content-Length: -1"]),
        (400, ["Content-Length: " + "9" * 19]),
        (400, ["Content-Length: 3", "Transfer-Encoding: chunked"]),
        (501, ["Transfer-Encoding: gzip"]),
        (501, ["Transfer-Encoding: chunked, chunked"]),
        (400, ["Name : value"]),
        (400, ["no colon"]),
        (400, [" folded: line"]),
        (400, ["A: b", "\tc"]),
        (400, ["A: b\x00c"]),
        (400, ["A: b\nc: d"]),
        (400, ["A: b\rc"]),
        (400, [": empty"]),
        (400, ["Host: second"]),
        (431, [f"A{n}: b" for n in range(300)]),
    ],
)
def test_what_two_programs_could_read_differently_is_refused(status: int, lines: list[str]) -> None:
    with pytest.raises(HttpFault) as caught:
        _head(*lines)
    assert status == caught.value.status


@pytest.mark.parametrize(
    ("status", "first"),
    [
        (400, "POST"),
        (400, "POST /"),
        (400, "POST  / HTTP/1.1"),
        (400, "POST / HTTP/1.1 "),
        (400, "PO ST / HTTP/1.1"),
        (400, "POST /\x00 HTTP/1.1"),
        (400, "POST /a b HTTP/1.1"),
        (505, "POST / HTTP/2.0"),
        (505, "POST / HTTP/0.9"),
        (400, "POST / http/1.1"),
    ],
)
def test_request_lines_that_are_none(status: int, first: str) -> None:
    with pytest.raises(HttpFault) as caught:
        _head(first=first)
    assert status == caught.value.status


def test_a_request_names_its_host() -> None:
    with pytest.raises(HttpFault, match="Host"):
        _head(host=False)
    assert "" == _head(first="GET / HTTP/1.0", host=False).header("host")
    with pytest.raises(HttpFault, match="or HTTP/1"):
        _head("Transfer-Encoding: chunked", first="GET / HTTP/1.0")


def test_what_is_no_http_is_told_from_its_first_bytes() -> None:
    for data, status in ((b"\x16\x03\x01", 400), (b"PRI * HTTP/2.0\r\n", 505)):
        with pytest.raises(HttpFault) as caught:
            check_beginning(data)
        assert status == caught.value.status
    for data in (b"", b"P", b"PRI", b"POST / HTTP"):
        check_beginning(data)


def test_heads_are_remembered_and_the_memory_is_bounded() -> None:
    heads = Heads()
    raw = b"GET / HTTP/1.1\r\nHost: here"
    assert heads.read(raw) is heads.read(bytes(bytearray(raw)))
    for number in range(1_000):
        heads.read(raw + b"\r\nX: %d" % number)
    large = raw + b"\r\nX: " + b"x" * 4_000
    assert heads.read(large) is not heads.read(large)
    assert len(heads._heads) <= 256


@given(st.binary(max_size=300))
def test_random_heads_are_read_or_refused(raw: bytes) -> None:
    for data in (raw, b"GET / HTTP/1.1\r\nHost: x\r\n" + raw):
        assert _status_of_fault(partial(Head, data)) in {0, 400, 431, 501, 505}


def _chunked(parts: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    chunks = [b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts if part]
    return b"".join([*chunks, b"0\r\n", trailer, b"\r\n"])


def _feed(body: Body, data: bytes, step: int) -> int:
    """Feed ``data`` in pieces; how much of it the body took."""
    taken = 0
    while taken < len(data) and not body.is_done:
        piece = data[taken : taken + step]
        taken += body.feed(piece, 0)
    return taken


@given(
    parts=st.lists(st.binary(max_size=60), max_size=8),
    step=st.integers(1, 50),
    extension=st.sampled_from([b"", b";a=b", b"  ;x"]),
    trailer=st.sampled_from([b"", b"A: b\r\n"]),
)
def test_chunked_bodies_arrive_whole_in_any_pieces(
    parts: list[bytes], step: int, extension: bytes, trailer: bytes
) -> None:
    data = _chunked(parts, extension, trailer)
    body = Body(-1, 10_000)
    assert len(data) == _feed(body, data + b"GET /next", step)
    assert body.is_done
    assert b"".join(parts) == body.take()
    assert len(b"".join(parts)) == body.received


@given(content=st.binary(max_size=300), step=st.integers(1, 100))
def test_sized_bodies_end_where_they_should(content: bytes, step: int) -> None:
    body = Body(len(content), 10_000)
    assert len(content) == _feed(body, content + b"GET /next", step)
    assert body.is_done
    assert content == body.take()


def test_large_pieces_and_small_ones_keep_their_order() -> None:
    pieces = [b"a" * 10, b"b" * 9_000, b"c", b"d" * 5_000, b"e" * 4_096, b"f"]
    body = Body(sum(map(len, pieces)), 1 << 20)
    for piece in pieces:
        body.feed(b"?" + piece, 1)
    assert b"".join(pieces) == body.take()


def test_a_body_above_the_limit_is_not_kept() -> None:
    body = Body(-1, 100)
    data = _chunked([b"x" * 60, b"y" * 60, b"z" * 60])
    _feed(body, data, 7)
    assert body.is_done
    assert body.is_too_large
    assert 180 == body.received
    assert b"" == body.take()
    assert Body(101, 100).is_too_large
    assert not Body(100, 100).is_too_large


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"x\r\n"),
        (400, b"\r\n"),
        (400, b"-1\r\n"),
        (400, b"0x5\r\n"),
        (400, b"5\n"),
        (400, b"3\r\nabcd\r\n"),
        (400, b"3\r\nabcXX"),
        (400, b"f" * 16 + b"\r\n"),
        (400, b"1;" + b"x" * 300),
        (431, b"0\r\n" + b"A: b\r\n" * 2_000),
        (431, b"0\r\nA: " + b"b" * 9_000),
    ],
)
def test_framing_that_is_wrong_is_refused(status: int, data: bytes) -> None:
    for step in (1, 3, 10_000):
        with pytest.raises(HttpFault) as caught:
            _feed(Body(-1, 100), data + b"\r\nxxxxxx", step)
        assert status == caught.value.status


@given(st.binary(max_size=200), st.integers(1, 50))
def test_random_framing_is_read_or_refused(data: bytes, step: int) -> None:
    body = Body(-1, 100)
    assert _status_of_fault(lambda: _feed(body, data, step)) in {0, 400, 431}


def test_answers_are_written_as_http() -> None:
    assert b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nyes" == answer(
        200, [("content-type", "text/plain")], b"yes"
    )
    assert b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" == answer(
        200, [], b"yes", has_body=False
    )
    assert b"HTTP/1.1 204 No Content\r\n\r\n" == answer(204, [], b"")
