"""Protobuf's wire format, as far as it is read and written without a message class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)

_VARINT_BYTES_MAX = 10
_NESTING_MAX = 100
"""Levels of groups that are followed, as in protobuf itself."""


def fields(wire: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message that lies at ``start:end``, nested ones closed.

    Each is its tag (see `message_tag`), where it begins, where its content begins and where it
    ends. A field without a length (a number, a group) has no content: that begins where it ends.
    Reads as it goes: raises `MalformedError` where the first broken field is reached.
    """
    at = start
    while at < end:
        first = at
        try:
            # Most fields have a tag of one byte and a length of one or two. This is the inner loop
            # of counting and splitting, where a call for each number would double the time.
            tag, length = wire[at], wire[at + 1]
            if tag & 0x87 == _LENGTH and (length < 0x80 or wire[at + 2] < 0x80):
                if length < 0x80:
                    content = at + 2
                else:
                    length += (wire[at + 2] - 1) << 7
                    content = at + 3
                at = content + length
            else:
                tag, content, at = _read(wire, at)
        except IndexError:
            at = end + 1
        if at > end:
            raise MalformedError("a field ends after the message that holds it")
        yield tag, first, content, at


def _read(wire: bytes, at: int) -> tuple[int, int, int]:
    """The tag of any field, and where its content begins and ends. May raise `IndexError`."""
    tag, at = _varint(wire, at)
    if tag & 7 != _LENGTH:
        end = _skip(wire, tag, at)
        return tag, end, end
    length, content = _varint(wire, at)
    return tag, content, content + length


def message_tag(number: int) -> int:
    """The tag of a field of bytes, text or a message."""
    return number << 3 | _LENGTH


def length_prefix(number: int, length: int) -> bytes:
    """What stands before a message of ``length`` bytes in field ``number``: tag and length."""
    return varint(message_tag(number)) + varint(length)


def varint(value: int) -> bytes:
    """A number as protobuf writes tags and lengths."""
    if value < 0x80:
        return value.to_bytes()
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(wire: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where the next byte is. May raise `IndexError`."""
    value = shift = 0
    for index in range(at, at + _VARINT_BYTES_MAX):
        byte = wire[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    raise MalformedError("a number is longer than ten bytes")


def _skip(wire: bytes, tag: int, at: int) -> int:
    """Where a field ends that has no length and whose tag ends at ``at``. A group may nest."""
    groups: list[int] = []
    while True:
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(wire, at)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        elif kind == _LENGTH:
            length, at = _varint(wire, at)
            at += length
        elif kind == _GROUP:
            groups.append(tag >> 3)
            if len(groups) > _NESTING_MAX:
                raise MalformedError("groups nest too deep")
        elif kind != _GROUP_END or not groups or groups.pop() != tag >> 3:
            raise MalformedError("a field of no known type")
        if not groups:
            return at
        tag, at = _varint(wire, at)
