"""The pieces of OTLP that are written byte by byte, with fields in the order of their numbers."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.pdata.wire import fields, length_prefix, varint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.prometheus.exposition import Exemplar

__all__ = [
    "NS_MAX",
    "STALE_FLAG",
    "attribute",
    "attribute_pair",
    "attributes",
    "bytes_field",
    "exemplar",
    "fixed64_field",
    "from_milliseconds",
    "from_seconds",
    "pack_double",
    "pack_value",
    "text_field",
]

NS_MAX: Final = (1 << 64) - 1
"""The latest time that OTLP has."""
STALE_FLAG: Final = b"\x01"
"""The value of ``flags`` with NoRecordedValue."""
_PAIRS_MAX: Final = 10_000
_PAIR_CHARACTERS_MAX: Final = 200
"""Longer attributes are not remembered."""
_TRACE_ID_CHARACTERS, _SPAN_ID_CHARACTERS = 32, 16
_NS_PER_MS: Final = 1_000_000

pack_value = struct.Struct("<Bd").pack
"""The field of a double: tag and number."""
pack_double = struct.Struct("<d").pack
_pack_fixed64 = struct.Struct("<BQ").pack


def bytes_field(number: int, content: bytes) -> bytes:
    """A message, text or bytes, also if empty."""
    return length_prefix(number, len(content)) + content


def text_field(number: int, text: str) -> bytes:
    """A text; nothing if it is empty."""
    return bytes_field(number, text.encode()) if text else b""


def fixed64_field(number: int, value: int) -> bytes:
    """A time or a count; nothing if it is 0."""
    return _pack_fixed64(number << 3 | 1, value) if value else b""


def attribute(key: str, value: str) -> bytes:
    """A ``KeyValue`` with its length before it, but without the tag of the field that holds it.

    Most come again in many series, which then share them.
    """
    is_short = len(key) + len(value) <= _PAIR_CHARACTERS_MAX
    return _attribute(key, value) if is_short else _attribute.__wrapped__(key, value)


@lru_cache(_PAIRS_MAX)
def _attribute(key: str, value: str) -> bytes:
    pair = text_field(1, key) + bytes_field(2, bytes_field(1, value.encode()))
    return varint(len(pair)) + pair


def attribute_pair(pair: bytes) -> tuple[str, str]:
    """The key and value of what `attribute` gave."""
    _, _, begin, end = next(fields(b"\x0a" + pair, 0, len(pair) + 1))
    pair = (b"\x0a" + pair)[begin:end]
    found = {tag: pair[begin:end] for tag, _, begin, end in fields(pair, 0, len(pair))}
    value = found[0x12]
    _, _, begin, end = next(fields(value, 0, len(value)))
    return found.get(0x0A, b"").decode(), value[begin:end].decode()


def from_milliseconds(milliseconds: int) -> int | None:
    """A time in nanoseconds, ``None`` if OTLP cannot say it."""
    found = milliseconds * _NS_PER_MS
    return found if 0 <= found <= NS_MAX else None


def from_seconds(seconds: float) -> int:
    """A time in nanoseconds, exact to the microsecond; 0, that is unset, if OTLP cannot say it."""
    if not 0 <= seconds <= NS_MAX / 1e9 - 1:
        return 0
    return round(seconds * 1e6) * 1000


def exemplar(number: int, found: Exemplar, time_ns: int) -> bytes:
    """An exemplar in field ``number`` (PI-5). ``time_ns``: that of its point, if it has none."""
    trace_id = span_id = b""
    others: list[tuple[str, str]] = []
    for key, value in found.labels:
        if key == "trace_id" and not trace_id and (identity := _id(value, _TRACE_ID_CHARACTERS)):
            trace_id = identity
        elif key == "span_id" and not span_id and (identity := _id(value, _SPAN_ID_CHARACTERS)):
            span_id = identity
        else:
            others.append((key, value))
    at_ns = time_ns if found.timestamp_s is None else from_seconds(found.timestamp_s)
    content = (
        fixed64_field(2, at_ns),
        pack_value(0x19, found.value),
        bytes_field(4, span_id) if span_id else b"",
        bytes_field(5, trace_id) if trace_id else b"",
        attributes(0x3A, (attribute(*pair) for pair in others)),
    )
    return bytes_field(number, b"".join(content))


def attributes(tag: int, pairs: Iterable[bytes]) -> bytes:
    """Attributes (see `attribute`) in the field whose tag this is."""
    mark = tag.to_bytes()
    return b"".join([mark + pair for pair in pairs])


def _id(text: str, characters: int) -> bytes:
    """A trace or span id; empty if it is none that is valid."""
    if len(text) != characters or not text.isascii() or not text.isalnum():
        return b""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if any(found) else b""
