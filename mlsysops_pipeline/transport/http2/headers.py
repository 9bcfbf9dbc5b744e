"""Header compression (RFC 7541): a decoder and an encoder made for calls that repeat.

Decoding with `hpack.Decoder` costs about 15 us for a request; its static table and its Huffman
tables are used here, and the loop is our own, because it must be short for two kinds of peers:

- Those that send the same block again and again. A block that changed nothing in the dynamic
  table means the same as long as nothing else changes the table, so it is remembered until then.
- Those that put a new ``grpc-timeout`` into the dynamic table with nearly every request (grpc-go).
  Every index moves each time, so no block repeats, but the entries do: they are shared tuples. A
  list that differs from the one before in this field only means the same but for it.

The encoder writes what repeats into the peer's dynamic table once and refers to it from then on;
nothing else is ever inserted, so those references stay what they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from mlsysops_pipeline.transport.http2.fields import NO_LENGTH
from mlsysops_pipeline.transport.http2.frames import (
    DEFAULT_TABLE_BYTES,
    ConnectionFault,
    ErrorCode,
)
from mlsysops_pipeline.transport.http2.limits import (
    FIELD_CACHE_BYTES_MAX,
    FIELD_CACHE_ENTRIES_MAX,
    FIELD_CACHE_ENTRY_BYTES_MAX,
    HEADER_LIST_BYTES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

    from mlsysops_pipeline.transport.http2.answers import AnswerFields
    from mlsysops_pipeline.transport.http2.fields import RequestHead

Field: TypeAlias = "tuple[bytes, bytes]"
Fields: TypeAlias = "tuple[Field, ...]"

FIELD_OVERHEAD_BYTES: Final = 32
"""What a field counts beside its name and value (RFC 7541, section 4.1)."""

_STATIC: Final[tuple[Field, ...]] = (
    (b"", b""),
    *((bytes(name), bytes(value)) for name, value in HeaderTable.STATIC_TABLE),
)
_STATIC_LAST: Final = len(_STATIC) - 1
_LAST_OF_STATIC: Final = 0x80 | _STATIC_LAST
_STATIC_FIELDS: Final = {field: index for index, field in enumerate(_STATIC) if index}
_STATIC_NAMES: Final = {_STATIC[index][0]: index for index in range(_STATIC_LAST, 0, -1)}
_INTEGER_OCTETS_MAX: Final = 5
_SHORT_BYTES_MAX: Final = 8
_SHORT_STRINGS_MAX: Final = 2_048
"""Strings of so few bytes are remembered for all connections together."""

_SENSITIVE: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


class FieldBlock:
    """A decoded header block. The same object comes back when the same block does.

    ``list_bytes`` is the size by RFC 9113, section 6.5.2. ``head`` is for whoever interprets the
    fields, and lives as long as the block is remembered. ``volatile``: the fields that it left out.
    ``answer``: the same for whoever interprets the fields of an answer. ``well_formed_as``: what it
    was found to be well formed as, so that this is checked once. ``volatile_at``: where the only
    volatile field stands in a well-formed head, or -1. ``content_length``: of a response.
    """

    __slots__ = (
        "answer",
        "content_length",
        "fields",
        "head",
        "list_bytes",
        "volatile",
        "volatile_at",
        "well_formed_as",
    )

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.list_bytes = FIELD_OVERHEAD_BYTES * len(fields) + sum(
            [len(name) + len(value) for name, value in fields]
        )
        self.head: RequestHead | None = None
        self.volatile: Fields = ()
        self.volatile_at = -1
        self.content_length = NO_LENGTH
        self.answer: AnswerFields | None = None
        self.well_formed_as = ""

    def but_for(self, fields: list[Field]) -> FieldBlock | None:
        """The block of ``fields``, if they are those of this one but for the volatile one."""
        at = self.volatile_at
        if at < 0 or len(fields) != len(self.fields):
            return None
        field, before = fields[at], self.fields[at]
        value = field[1]
        if field[0] != before[0] or not value.isalnum():
            return None
        fields[at] = before
        is_same = tuple(fields) == self.fields
        fields[at] = field
        if not is_same:
            return None
        block = FieldBlock.__new__(FieldBlock)
        block.fields = tuple(fields)
        block.list_bytes = self.list_bytes + len(value) - len(before[1])
        block.head = self.head
        block.volatile = (field,)
        block.volatile_at = at
        block.content_length = NO_LENGTH
        block.answer = None
        block.well_formed_as = ""
        return block


class HeaderDecoder:
    """The receiving half of one connection's header compression.

    Every block of the connection must pass through it, in order. Raises `ConnectionFault`:
    COMPRESSION_ERROR for what cannot be decoded, ENHANCE_YOUR_CALM for a list that is far too
    large; the connection is lost in both cases, since the table can no longer be trusted.
    """

    def __init__(self, table_bytes_max: int = DEFAULT_TABLE_BYTES) -> None:
        self._allowed_bytes = table_bytes_max
        self._table_bytes_max = table_bytes_max
        self._table_bytes = 0
        self._table: list[Field] = []  # oldest first: index 62 is the last one
        self._changed = False
        self._blocks: dict[bytes, FieldBlock] = {}
        self._blocks_bytes = 0
        self._strings: dict[bytes, bytes] = {}
        self._strings_bytes = 0
        self._last = FieldBlock(())

    def decode(self, block: bytes) -> FieldBlock:
        """What ``block`` says."""
        known = self._blocks.get(block)
        if known is not None:
            return known
        self._changed = False
        try:
            fields = self._fields(block)
        except IndexError:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR, "header block is truncated or names an unknown entry"
            ) from None
        decoded = self._last.but_for(fields) or FieldBlock(tuple(fields))
        self._last = decoded
        if decoded.list_bytes > HEADER_LIST_BYTES_MAX:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"header list of {decoded.list_bytes} bytes, {HEADER_LIST_BYTES_MAX} are the limit",
            )
        if self._changed:
            self._blocks.clear()
            self._blocks_bytes = 0
        elif decoded.list_bytes <= FIELD_CACHE_ENTRY_BYTES_MAX:
            size = len(block) + decoded.list_bytes
            if _is_full(self._blocks, self._blocks_bytes + size):
                self._blocks.clear()
                self._blocks_bytes = 0
            self._blocks[block] = decoded
            self._blocks_bytes += size
        return decoded

    def _fields(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        append = fields.append
        table = self._table
        position, end = 0, len(block)
        while position < end:
            first = block[position]
            position += 1
            if (
                first > _LAST_OF_STATIC
            ):  # indexed field; an entry that is not there is an IndexError
                index = first & 0x7F
                if index == 0x7F:
                    index, position = _integer(block, position, 0x7F)
                append(table[_STATIC_LAST - index])
            elif first > 0x80:  # the same, in the static table
                append(_STATIC[first & 0x7F])
            elif first == 0x80:
                raise IndexError(first)
            elif first & 0x40:  # literal, to be inserted
                name, position = self._name(block, position, first & 0x3F, 0x3F)
                value, position = self._string(block, position)
                field = (name, value)
                append(field)
                self._insert(field)
            elif first & 0x20:  # size of the table
                if fields:
                    raise ConnectionFault(
                        ErrorCode.COMPRESSION_ERROR, "table size update after a field"
                    )
                size = first & 0x1F
                if size == 0x1F:
                    size, position = _integer(block, position, 0x1F)
                self._resize(size)
            else:  # literal, not to be inserted
                name, position = self._name(block, position, first & 0x0F, 0x0F)
                value, position = self._string(block, position)
                append((name, value))
        return fields

    def _name(self, block: bytes, position: int, index: int, mask: int) -> tuple[bytes, int]:
        if not index:
            return self._string(block, position)
        if index == mask:
            index, position = _integer(block, position, mask)
        if index <= _STATIC_LAST:
            return _STATIC[index][0], position
        if index - _STATIC_LAST > len(self._table):
            raise IndexError(index)
        return self._table[_STATIC_LAST - index][0], position

    def _string(self, block: bytes, position: int) -> tuple[bytes, int]:
        first = block[position]
        position += 1
        size = first & 0x7F
        if size == 0x7F:
            size, position = _integer(block, position, 0x7F)
        end = position + size
        if end > len(block):
            raise IndexError(end)
        raw = block[position:end]
        if not first & 0x80:
            return raw, end
        if size <= _SHORT_BYTES_MAX:
            return _unpacked(raw), end
        text = self._strings.get(raw)
        if text is None:
            text = _unpack(raw)
            if len(raw) <= FIELD_CACHE_ENTRY_BYTES_MAX:
                size = len(raw) + len(text)
                if _is_full(self._strings, self._strings_bytes + size):
                    self._strings.clear()
                    self._strings_bytes = 0
                self._strings[raw] = text
                self._strings_bytes += size
        return text, end

    def _insert(self, field: Field) -> None:
        self._changed = True
        size = len(field[0]) + len(field[1]) + FIELD_OVERHEAD_BYTES
        if size > self._table_bytes_max:
            self._table.clear()
            self._table_bytes = 0
            return
        table = self._table
        table.append(field)
        left = self._table_bytes_max - self._table_bytes - size
        while left < 0:  # once or not at all where entries have about the same size
            name, value = table.pop(0)
            left += len(name) + len(value) + FIELD_OVERHEAD_BYTES
        self._table_bytes = self._table_bytes_max - left

    def _resize(self, size: int) -> None:
        if size > self._allowed_bytes:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR,
                f"header table of {size} bytes, {self._allowed_bytes} are allowed",
            )
        self._changed = True
        self._table_bytes_max = size
        self._evict()

    def _evict(self) -> None:
        table = self._table
        count = 0
        while self._table_bytes > self._table_bytes_max:
            name, value = table[count]
            self._table_bytes -= len(name) + len(value) + FIELD_OVERHEAD_BYTES
            count += 1
        del table[:count]

    def __repr__(self) -> str:
        return (
            f"<HeaderDecoder entries={len(self._table)} bytes={self._table_bytes}"
            f" blocks={len(self._blocks)}>"
        )


class HeaderEncoder:
    """The sending half. Blocks must go out in the order in which they were encoded.

    ``pinned``: fields that occur in most blocks, together far below 4096 bytes. Each is inserted
    when it is first used; the peer's table is big enough unless it says otherwise, and then they
    are written out. ``changes``: a number that differs whenever fields may be encoded otherwise
    than before.
    """

    def __init__(self, pinned: Iterable[Field] = ()) -> None:
        self._pinned = frozenset(pinned)
        self._pinned_bytes = sum(
            len(name) + len(value) + FIELD_OVERHEAD_BYTES for name, value in self._pinned
        )
        self.changes = 0
        self._inserted: dict[Field, int] = {}
        self._table_bytes_max = DEFAULT_TABLE_BYTES
        self._announce: list[int] = []
        self._blocks: dict[Fields, bytes] = {}
        self._blocks_bytes = 0

    def resize(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE: takes effect with the next block.

        We never need more than the default, so a larger table is not used.
        """
        size = min(size, DEFAULT_TABLE_BYTES)
        if size == self._table_bytes_max and not self._announce:
            return
        # The smallest size in between must be told as well (RFC 7541, section 4.2).
        smallest = min([size, *self._announce])
        self._announce = [smallest] if smallest == size else [smallest, size]
        self._table_bytes_max = size
        if smallest < self._pinned_bytes:
            self._inserted.clear()
        self._forget_blocks()
        self.changes += 1

    def encode(self, fields: Fields) -> bytes:
        """The block that says ``fields``."""
        known = self._blocks.get(fields)
        if known is not None:
            return known
        block = bytearray()
        for size in self._announce:
            _put_integer(block, size, 0x20, 0x1F)
        is_repeatable = not self._announce
        if not is_repeatable:
            self.changes += 1
            self._announce.clear()
        list_bytes = 0
        for field in fields:
            is_repeatable &= not self._put(block, field)
            list_bytes += len(field[0]) + len(field[1])
        encoded = bytes(block)
        if is_repeatable and list_bytes <= FIELD_CACHE_ENTRY_BYTES_MAX:
            size = list_bytes + len(encoded)
            if _is_full(self._blocks, self._blocks_bytes + size):
                self._forget_blocks()
            self._blocks[fields] = encoded
            self._blocks_bytes += size
        return encoded

    def _forget_blocks(self) -> None:
        self._blocks.clear()
        self._blocks_bytes = 0

    def _put(self, block: bytearray, field: Field) -> bool:
        """Append one field; whether that changed the table (and every index with it)."""
        index = _STATIC_FIELDS.get(field)
        if index is not None:
            _put_integer(block, index, 0x80, 0x7F)
            return False
        inserted = self._inserted.get(field)
        if inserted is not None:
            index = _STATIC_LAST + len(self._inserted) - inserted
            _put_integer(block, index, 0x80, 0x7F)
            return False
        name, value = field
        is_pinned = field in self._pinned and self._pinned_bytes <= self._table_bytes_max
        if is_pinned:
            first, mask = 0x40, 0x3F
        elif name in _SENSITIVE:
            first, mask = 0x10, 0x0F
        else:
            first, mask = 0x00, 0x0F
        name_index = _STATIC_NAMES.get(name, 0)
        _put_integer(block, name_index, first, mask)
        if not name_index:
            _put_string(block, name, pack=is_pinned)
        _put_string(block, value, pack=is_pinned)
        if is_pinned:
            self._inserted[field] = len(self._inserted)
            self._forget_blocks()
            self.changes += 1
        return is_pinned

    def __repr__(self) -> str:
        return f"<HeaderEncoder inserted={len(self._inserted)} blocks={len(self._blocks)}>"


def _is_full(cache: Sized, size: int) -> bool:
    """Whether a cache has as many entries as it may, or its entries would say ``size`` bytes."""
    return len(cache) >= FIELD_CACHE_ENTRIES_MAX or size > FIELD_CACHE_BYTES_MAX


def _unpack(raw: bytes) -> bytes:
    try:
        return bytes(decode_huffman(raw))
    except HPACKDecodingError as error:
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)) from error


_unpacked: Final = lru_cache(_SHORT_STRINGS_MAX)(_unpack)
"""For all connections: the deadlines of grpc-go are a few hundred values, none of which repeats
soon.
"""


def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """The rest of an integer whose prefix was all ones (RFC 7541, section 5.1)."""
    number = prefix
    for shift in range(0, 7 * _INTEGER_OCTETS_MAX, 7):
        octet = block[position]
        position += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, position
    raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "integer in a header block is too long")


def _put_integer(block: bytearray, number: int, first: int, mask: int) -> None:
    if number < mask:
        block.append(first | number)
        return
    block.append(first | mask)
    number -= mask
    while number >= 0x80:
        block.append(number & 0x7F | 0x80)
        number >>= 7
    block.append(number)


def _put_string(block: bytearray, text: bytes, *, pack: bool) -> None:
    """``pack``: Huffman coding, worth its time for what is written once and referred to."""
    packed = _huffman.encode(text) if pack else text
    if len(packed) < len(text):
        _put_integer(block, len(packed), 0x80, 0x7F)
        block += packed
    else:
        _put_integer(block, len(text), 0x00, 0x7F)
        block += text
