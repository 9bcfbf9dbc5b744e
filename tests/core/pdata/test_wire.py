"""Reading and writing the wire format by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata import wire as wire_format
from tests.core.pdata.wires import field, varint


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300)), max_size=5))
def test_fields_are_found_where_they_lie(expected: list[tuple[int, bytes]]) -> None:
    wire = b"".join(field(number, content) for number, content in expected)
    padded = b"\xff" + wire + b"\xff"
    found = list(wire_format.fields(padded, 1, len(padded) - 1))
    assert expected == [(tag >> 3, padded[content:end]) for tag, _, content, end in found]
    assert [wire_format.message_tag(number) for number, _ in expected] == [f[0] for f in found]
    assert wire == b"".join(padded[start:end] for _, start, _, end in found)


@given(st.integers(1, 2**29 - 1), st.integers(0, 2**31 - 1))
def test_prefix_is_what_the_wire_format_says(number: int, length: int) -> None:
    assert varint(number << 3 | 2) + varint(length) == wire_format.length_prefix(number, length)


def test_numbers_and_groups_have_no_content() -> None:
    parts = [
        b"\x08\x96\x01",
        b"\x11" + bytes(8),
        b"\x1d" + bytes(4),
        b"\x23\x0a\x01a\x2b\x2c\x24",  # a group with a field and an empty group in it
    ]
    found = list(wire_format.fields(b"".join(parts), 0, sum(map(len, parts))))
    assert [1, 2, 3, 4] == [tag >> 3 for tag, _, _, _ in found]
    assert parts == [b"".join(parts)[start:end] for _, start, _, end in found]
    assert all(content == end for _, _, content, end in found)


@pytest.mark.parametrize(
    "broken",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x08",
        b"\x08\xff",
        b"\x09\x00",
        b"\x0d\x00",
        b"\x0b",
        b"\x0b\x0a\x05\x0c",
        b"\x0b\x14",  # another group ends than began
        b"\x0c\x00",
        b"\x0e\x00",
        b"\x0f\x00",
        b"\x08" + b"\xff" * 11,
        b"\x0a" + b"\xff" * 11,
        b"\x0b" * 200 + b"\x0c" * 200,
    ],
)
def test_broken_fields_are_malformed(broken: bytes) -> None:
    with pytest.raises(MalformedError):
        list(wire_format.fields(broken, 0, len(broken)))


def test_a_field_must_not_reach_beyond_its_message() -> None:
    wire = field(1, b"abcdef")
    with pytest.raises(MalformedError):
        list(wire_format.fields(wire, 0, len(wire) - 1))
