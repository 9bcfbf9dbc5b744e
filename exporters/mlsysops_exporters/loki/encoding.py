"""The bytes of Loki's push request (`logproto.PushRequest`), piece by piece. Pure functions.

    PushRequest       1 streams*
    StreamAdapter     1 labels (text), 2 entries*
    EntryAdapter      1 timestamp (google.protobuf.Timestamp), 2 line, 3 structuredMetadata*
    LabelPairAdapter  1 name, 2 value

Most records have lines and metadata that come as bytes and leave as the same bytes, so entries are
put together from pieces instead of going through a message class: 1 us instead of 4.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.pdata.wire import varint

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORT_MAX: Final = 1 << 11
_SHORT: Final = tuple([varint(number) for number in range(_SHORT_MAX)])
"""The lengths of nearly all entries and lines."""
_ENTRY: Final = tuple([b"\x12" + short for short in _SHORT])

_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode
_SECOND_NS: Final = 1_000_000_000
_SECONDS_MAX: Final = 128


def length(number: int) -> bytes:
    """A length as a varint."""
    return _SHORT[number] if number < _SHORT_MAX else varint(number)


def pair(name: str, value: str) -> bytes:
    """A field `structuredMetadata` of an entry."""
    key, content = name.encode(), value.encode()
    inner = b"\x0a" + length(len(key)) + key + b"\x12" + length(len(content)) + content
    return b"\x1a" + length(len(inner)) + inner


def line_field(line: str) -> bytes:
    """The field `line` of an entry."""
    content = line.encode()
    return b"\x12" + length(len(content)) + content


def string_as_line(body: bytes) -> bytes | None:
    """The field `line` for a serialized ``AnyValue``; ``None`` if it is not just one valid string.

    The value and the field end in the same bytes: the length of the text and the text itself.
    """
    size = len(body)
    if size < 2 or body[0] != 0x0A:
        return None
    if body[1] < 0x80:
        if body[1] + 2 != size:
            return None
        text = body  # tag and length are ASCII, too
    elif size > 2 and body[2] < 0x80 and (body[1] & 0x7F | body[2] << 7) + 3 == size:
        text = body[3:]
    else:
        return None
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return None
    return b"\x12" + body[1:]


def string_attribute(raw: bytes) -> tuple[bytes, bytes] | None:
    """Key and value of a serialized ``KeyValue`` of a string; ``None`` for anything else.

    Only the usual form is read: both lengths below 128, in the order of their numbers.
    """
    size = len(raw)
    if size < 4 or raw[0] != 0x0A or raw[1] >= 0x80:
        return None
    value = raw[1] + 2
    # The value is the rest, and the string all of the value.
    if size < value + 4 or raw[value] != 0x12 or raw[value + 2] != 0x0A:
        return None
    if raw[value + 1] >= 0x80 or raw[value + 1] + value + 2 != size:
        return None
    if raw[value + 3] + value + 4 != size:
        return None
    return raw[2:value], raw[value + 4 :]


class Timestamps:
    """The field `timestamp`; what all records of a second have in common is made once."""

    __slots__ = ("_heads",)

    def __init__(self) -> None:
        self._heads: dict[int, tuple[bytes, bytes]] = {}

    def field(self, time_ns: int) -> bytes:
        """The field for a time after 1970."""
        second, nanos = divmod(time_ns, _SECOND_NS)
        heads = self._heads.get(second)
        if heads is None:
            heads = self._head(second)
        if nanos >= 1 << 28:
            return heads[1] + bytes(
                (
                    nanos & 0x7F | 0x80,
                    nanos >> 7 & 0x7F | 0x80,
                    nanos >> 14 & 0x7F | 0x80,
                    nanos >> 21 & 0x7F | 0x80,
                    nanos >> 28,
                )
            )
        if nanos >= 1 << 21:
            return heads[0] + bytes(
                (
                    nanos & 0x7F | 0x80,
                    nanos >> 7 & 0x7F | 0x80,
                    nanos >> 14 & 0x7F | 0x80,
                    nanos >> 21,
                )
            )
        rest = b"\x08" + varint(second) + b"\x10" + length(nanos)
        return b"\x0a" + length(len(rest)) + rest

    def _head(self, second: int) -> tuple[bytes, bytes]:
        """What stands before four and before five bytes of nanoseconds."""
        if len(self._heads) >= _SECONDS_MAX:
            self._heads.clear()
        head = b"\x08" + varint(second) + b"\x10"
        usual = b"\x0a" + length(len(head) + 4) + head, b"\x0a" + length(len(head) + 5) + head
        self._heads[second] = usual
        return usual


def entry_field(entry: bytes) -> bytes:
    """A field `entries` of a stream."""
    size = len(entry)
    return (_ENTRY[size] if size < _SHORT_MAX else b"\x12" + varint(size)) + entry


def stream_head(labels: str) -> bytes:
    """The field `labels` of a stream."""
    content = labels.encode()
    return b"\x0a" + length(len(content)) + content


def stream_field(head: bytes, entries: Iterable[bytes]) -> bytes:
    """A field `streams` of a request: labels (`stream_head`), and fields `entries`."""
    content = head + b"".join(entries)
    return b"\x0a" + length(len(content)) + content


def labels_text(labels: dict[str, str]) -> str:
    """Labels as Loki reads them: ``{name="value", …}``, sorted, quoted as Go does."""
    inner = [f"{name}={_quoted(value)}" for name, value in sorted(labels.items())]
    return f"{{{', '.join(inner)}}}"
