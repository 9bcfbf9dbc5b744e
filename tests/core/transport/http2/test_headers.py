"""Header compression against the `hpack` library, both ways (RFC 7541)."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.transport.http2 import limits
from mlsysops_pipeline.transport.http2.frames import ConnectionFault, ErrorCode
from mlsysops_pipeline.transport.http2.headers import HeaderDecoder, HeaderEncoder

_NAMES = st.sampled_from(
    [b":path", b":method", b"content-type", b"grpc-timeout", b"x-a", b"x-b", b"authorization"]
)
_VALUES = st.one_of(
    st.sampled_from([b"", b"POST", b"application/grpc", b"100m", b"1S"]),
    st.binary(min_size=0, max_size=90),
)
_LISTS = st.lists(st.tuples(_NAMES, _VALUES), max_size=12).map(tuple)


@given(lists=st.lists(_LISTS, max_size=12), huffman=st.booleans(), size=st.integers(0, 4_096))
@settings(max_examples=50, deadline=None)
def test_what_hpack_encodes_is_decoded(
    lists: list[tuple[tuple[bytes, bytes], ...]], huffman: bool, size: int
) -> None:
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    encoder.header_table_size = size
    for fields in [*lists, *lists]:  # the second time, caches and tables answer
        block = encoder.encode(list(fields), huffman=huffman)
        assert fields == decoder.decode(block).fields


@given(lists=st.lists(_LISTS, max_size=12), sizes=st.lists(st.integers(0, 4_096), max_size=3))
def test_what_is_encoded_hpack_decodes(
    lists: list[tuple[tuple[bytes, bytes], ...]], sizes: list[int]
) -> None:
    encoder = HeaderEncoder([(b"content-type", b"application/grpc"), (b"x-a", b"")])
    decoder = hpack.Decoder()
    for number, fields in enumerate([*lists, *lists]):
        if number < len(sizes):
            encoder.resize(sizes[number])
            decoder.max_allowed_table_size = sizes[number]
        block = encoder.encode(fields)
        assert list(fields) == [tuple(field) for field in decoder.decode(block, raw=True)]


def test_a_block_that_repeats_is_the_same_object() -> None:
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    fields = [(b":method", b"POST"), (b"x-a", b"1")]
    first = decoder.decode(encoder.encode(fields))
    second = decoder.decode(encoder.encode(fields))
    assert first is not second  # the first inserted into the table
    assert second is decoder.decode(encoder.encode(fields))
    decoder.decode(encoder.encode([(b"x-b", b"2")]))
    third = decoder.decode(encoder.encode(fields))
    assert second is not third
    assert second.fields == third.fields


def test_secrets_are_never_indexed() -> None:
    encoder = HeaderEncoder()
    block = encoder.encode(((b"authorization", b"Bearer x"),))
    assert 0x10 == block[0] & 0xF0  # RFC 7541, section 6.2.3


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff\xff\xff\xff\xff\xff\xff",  # an integer without end
        b"\xff\x00",  # an entry beyond the table
        b"\x40",  # truncated
        b"\x40\x05ab",
        b"\x00\x03abc\x7f\xff\xff\xff\x0f",  # a string longer than the block
        b"\x7e\x00",  # the name of an entry that is not there
        b"\x3f\xff\xff\x07",  # a table larger than allowed
        b"\x82\x20",  # a table size after a field
        b"\x00\x81\xff\x00",  # Huffman padding that is none
    ],
)
def test_what_cannot_be_decoded_ends_the_connection(block: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        HeaderDecoder().decode(block)
    assert ErrorCode.COMPRESSION_ERROR == caught.value.code


def test_a_header_list_that_is_far_too_large_ends_the_connection() -> None:
    # The "HPACK bomb": a large entry, referred to by one byte each time.
    decoder = HeaderDecoder()
    decoder.decode(b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4_000)
    with pytest.raises(ConnectionFault) as caught:
        decoder.decode(b"\xbe" * 1_000)
    assert ErrorCode.ENHANCE_YOUR_CALM == caught.value.code


@given(st.binary(max_size=200))
def test_random_blocks_are_decoded_or_refused(block: bytes) -> None:
    decoder = HeaderDecoder()
    for data in (block, block[::-1]):
        try:
            decoder.decode(data)
        except ConnectionFault:
            return


def test_caches_are_bounded() -> None:
    decoder, encoder = HeaderDecoder(), HeaderEncoder()
    for number in range(1_000):
        value = b"%d" % number
        decoder.decode(b"\x00\x01a" + bytes([len(value)]) + value)
        encoder.encode(((b"a", value),))
    assert len(decoder._blocks) <= limits.FIELD_CACHE_ENTRIES_MAX
    assert len(encoder._blocks) <= limits.FIELD_CACHE_ENTRIES_MAX


def test_the_table_keeps_within_its_size() -> None:
    decoder = HeaderDecoder()
    for number in range(500):
        value = b"%03d" % number
        decoder.decode(b"\x40\x01a\x03" + value)
    assert decoder._table_bytes <= 4_096
    assert 4_096 // (32 + 4) == len(decoder._table)
    decoder.decode(b"\x40\x01a\x7f\x81\x20" + b"x" * 4_224)  # an entry larger than the table
    assert [] == decoder._table
