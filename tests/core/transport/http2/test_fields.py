"""Well-formed and malformed header lists (RFC 9113, section 8)."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.transport.http2.fields import (
    NO_LENGTH,
    RequestHead,
    RequestHeads,
    response_problem,
    trailers_problem,
)
from mlsysops_pipeline.transport.http2.headers import FieldBlock, Fields, HeaderDecoder

GOOD = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a"),
    (b":authority", b"x"),
    (b"te", b"trailers"),
    (b"content-length", b"12"),
    (b"x-token", b"trailing blank "),
)


def test_a_head_is_taken_apart() -> None:
    head = RequestHead(GOOD)
    assert "" == head.problem
    assert (b"POST", b"http", b"/a", b"x", 12) == (
        head.method,
        head.scheme,
        head.path,
        head.authority,
        head.content_length,
    )
    assert GOOD[4:] == head.fields
    assert NO_LENGTH == RequestHead(GOOD[:4]).content_length


@pytest.mark.parametrize(
    ("problem", "fields"),
    [
        ("no :method", GOOD[1:]),
        ("no :scheme or no :path", GOOD[:1] + GOOD[2:]),
        ("no :scheme or no :path", (*GOOD[:2], (b":path", b""), *GOOD[3:])),
        (":scheme or :path with CONNECT", ((b":method", b"CONNECT"), *GOOD[1:])),
        ("twice", (*GOOD[:1], *GOOD)),
        ("after a regular field", (*GOOD, (b":path", b"/b"))),
        ("does not belong here", ((b":status", b"200"), *GOOD)),
        ("does not belong here", ((b":unknown", b"200"), *GOOD)),
        ("not a field name", (*GOOD, (b"Upper", b"x"))),
        ("not a field name", (*GOOD, (b"", b"x"))),
        ("not a field name", (*GOOD, (b"a b", b"x"))),
        ("forbidden character", (*GOOD, (b"a", b"x\ny"))),
        ("forbidden character", (*GOOD, (b"a", b"x\x00"))),
        ("forbidden character", ((b":method", b"PO\r"), *GOOD[1:])),
        ("not allowed in HTTP/2", (*GOOD, (b"connection", b"close"))),
        ("not allowed in HTTP/2", (*GOOD, (b"transfer-encoding", b"chunked"))),
        ("te is not", (*GOOD, (b"te", b"gzip"))),
        ("several values", (*GOOD, (b"content-length", b"13"))),
        ("not a number", (*GOOD[:5], (b"content-length", b"-1"))),
        ("not a number", (*GOOD[:5], (b"content-length", b"9" * 30))),
    ],
)
def test_malformed_heads(problem: str, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    assert problem in RequestHead(fields).problem


def test_fields_that_always_differ_do_not_defeat_the_cache() -> None:
    heads = RequestHeads(frozenset({b"grpc-timeout"}))
    blocks = [FieldBlock((*GOOD, (b"grpc-timeout", b"%dm" % n))) for n in range(3)]
    assert 1 == len({id(heads.of(block)) for block in blocks})
    assert ((b"grpc-timeout", b"2m"),) == blocks[2].volatile
    assert 1 == len(heads._heads)


def test_volatile_fields_do_not_hide_malformed_heads() -> None:
    heads = RequestHeads(frozenset({b"grpc-timeout"}))
    early = FieldBlock(((b"grpc-timeout", b"1m"), *GOOD))
    assert "after a regular field" in heads.of(early).problem
    broken = FieldBlock((*GOOD, (b"grpc-timeout", b"1\n")))
    assert "forbidden character" in heads.of(broken).problem


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"1S", b"4999958u", b"17m", b"5\n", b"", b"soon?"]),
            st.sampled_from([(), ((b"x", b"1"),), ((b"x", b"2"),), ((b"te", b"gzip"),)]),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_a_head_like_the_last_one_means_what_it_says(
    requests: list[tuple[bytes, tuple[tuple[bytes, bytes], ...], bool]],
) -> None:
    """Whatever is derived from the block before is what the block itself would give."""
    decoder, encoder = HeaderDecoder(), hpack.Encoder()
    heads = RequestHeads(frozenset({b"grpc-timeout"}))
    for timeout, extra, is_early in requests:
        field = (b"grpc-timeout", timeout)
        fields = (*GOOD, field, *extra) if is_early else (*GOOD, *extra, field)
        block = decoder.decode(encoder.encode(fields))
        head = heads.of(block)
        fresh = FieldBlock(fields)
        expected = RequestHeads(frozenset({b"grpc-timeout"})).of(fresh)
        assert (fields, fresh.list_bytes) == (block.fields, block.list_bytes)
        assert (expected.problem, expected.fields) == (head.problem, head.fields)
        assert (expected.path, fresh.volatile) == (head.path, block.volatile)


def test_remembered_heads_are_bounded() -> None:
    heads = RequestHeads()
    for number in range(1_000):
        heads.of(FieldBlock((*GOOD, (b"x", b"%d" % number))))
    assert len(heads._heads) <= 256


def test_trailers_and_responses() -> None:
    for _ in range(2):  # the second time it is remembered
        assert "" == trailers_problem(FieldBlock(((b"grpc-status", b"0"),)))
        assert "does not belong" in trailers_problem(FieldBlock(((b":path", b"/"),)))
        assert "" == response_problem(FieldBlock(((b":status", b"200"), (b"a", b"b"))))
    head = FieldBlock(((b":status", b"200"),))
    assert "" == response_problem(head)
    assert "does not belong" in trailers_problem(head)
    assert "no :status" in response_problem(FieldBlock(()))
    bad: tuple[Fields, ...] = (((b":status", b"20"),), ((b":status", b"abc"),))
    for fields in bad:
        assert ":status is no code" in response_problem(FieldBlock(fields))
    both = ((b":path", b"/"), (b":status", b"200"))
    assert "does not belong" in response_problem(FieldBlock(both))


def test_bodies_of_responses_are_as_long_as_they_say() -> None:
    # RFC 9113, section 8.1.1
    def block(*lengths: bytes) -> FieldBlock:
        fields = [(b"content-length", length) for length in lengths]
        return FieldBlock(((b":status", b"200"), *fields))

    assert "not a number" in response_problem(block(b"many"))
    assert "several values" in response_problem(block(b"1", b"2"))
    promising = block(b"12")
    assert "" == response_problem(promising)
    assert 12 == promising.content_length
    assert "not as long" in response_problem(promising, ended=True)
    assert "" == response_problem(block(b"0"), ended=True)  # as tonic does
    assert NO_LENGTH == FieldBlock(()).content_length


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=6))
def test_random_fields_never_raise(fields: list[tuple[bytes, bytes]]) -> None:
    RequestHead((*GOOD[:4], *fields))
    assert isinstance(trailers_problem(FieldBlock(tuple(fields))), str)
