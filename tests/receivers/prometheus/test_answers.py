from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_receivers.prometheus.fetch.answers import AnswerFault, AnswerReader
from mlsysops_receivers.prometheus.fetch.inflate import PIECE_BYTES, InflateError, Inflater
from mlsysops_receivers.prometheus.fetch.routes import is_exempt

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n"
)
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nhello"


def read(wire: bytes, cuts: list[int], *, ends: bool = False) -> tuple[AnswerReader, bytes]:
    """What comes of an answer that arrives in pieces."""
    reader = AnswerReader()
    body = b""
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    for start, stop in itertools.pairwise(edges):
        if wire[start:stop]:
            body += b"".join(reader.feed(wire[start:stop]))
    if ends:
        reader.end()
    return reader, body


@pytest.mark.parametrize("wire", [PLAIN, CHUNKED, UNTIL_CLOSE])
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_pieces_make_no_difference(wire: bytes, cuts: list[int]) -> None:
    reader, body = read(wire, cuts, ends=wire is UNTIL_CLOSE)

    assert (b"hello", True, False) == (body, reader.is_done, reader.is_overrun)
    assert reader.head is not None
    assert (wire is not UNTIL_CLOSE) == reader.head.keeps_alive


def test_interim_answers_are_skipped() -> None:
    reader, body = read(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n" + PLAIN, []
    )

    assert (b"hello", True) == (body, reader.is_done)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body(status: bytes) -> None:
    reader, body = read(b"HTTP/1.1 " + status + b"\r\n\r\n", [])

    assert (b"", True) == (body, reader.is_done)


def test_what_comes_behind_an_answer_ends_the_connection() -> None:
    reader, body = read(PLAIN + b"more", [])

    assert (b"hello", True, True) == (body, reader.is_done, reader.is_overrun)


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: " + b"x" * (70 << 10),
        b"HTTP/1.1 100 C\r\n\r\n" * 11,
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_what_is_no_answer_is_a_fault(wire: bytes) -> None:
    with pytest.raises(AnswerFault):
        read(wire, [])


@pytest.mark.parametrize("wire", [PLAIN[:-1], CHUNKED[:-3], PLAIN[:20], b""])
def test_an_answer_that_ends_too_early_is_a_fault(wire: bytes) -> None:
    with pytest.raises(AnswerFault, match="EOF"):
        read(wire, [], ends=True)


@given(st.binary(max_size=300))
def test_no_bytes_make_another_error(data: bytes) -> None:
    with contextlib.suppress(AnswerFault):
        read(b"HTTP/1.1 200 OK\r\n" + data, [7, 40])


def inflated(data: bytes, cuts: list[int], encoding: str = "gzip") -> bytes:
    inflater = Inflater(encoding)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [
        piece
        for start, stop in itertools.pairwise(edges)
        for piece in inflater.feed(data[start:stop])
    ]
    inflater.finish()
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@given(st.binary(max_size=200), st.integers(0, 3_000), st.lists(st.integers(0, 500), max_size=5))
def test_compressed_pieces_make_no_difference(seed: bytes, times: int, cuts: list[int]) -> None:
    plain = seed * times

    assert plain == inflated(gzip.compress(plain), cuts)
    assert plain == inflated(zlib.compress(plain), cuts, "deflate")


def test_several_members_are_one_page() -> None:
    wire = gzip.compress(b"one\n") + gzip.compress(b"") + gzip.compress(b"two\n" * 100_000)

    assert b"one\n" + b"two\n" * 100_000 == inflated(wire, [3, 30, 60])


@pytest.mark.parametrize(
    "wire", [b"hello", gzip.compress(b"hello")[:-1], gzip.compress(b"hello")[:-8] + b"12345678"]
)
def test_what_is_no_gzip_is_an_error(wire: bytes) -> None:
    with pytest.raises(InflateError):
        inflated(wire, [])


def test_an_encoding_that_is_not_known_is_an_error() -> None:
    with pytest.raises(InflateError, match="unsupported Content-Encoding 'br'"):
        Inflater("br")


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "expected"),
    [
        ("a.example", 80, "", False),
        ("a.example", 80, "a.example", True),
        ("a.example", 80, "example", True),
        ("a.example", 80, ".example", True),
        ("example", 80, ".example", False),
        ("a.example", 80, "*", True),
        ("A.example", 81, "a.example:80", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("11.1.2.3", 80, "10.0.0.0/8, x", False),
        ("::1", 80, "::1", True),
    ],
)
def test_who_is_asked_without_the_proxy(
    host: str, port: int, no_proxy: str, *, expected: bool
) -> None:
    assert expected == is_exempt(host, port, no_proxy)
