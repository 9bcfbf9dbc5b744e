"""OTLP/JSON to protobuf, without a message object in between.

Objects arrive as tuples of (key, value) pairs, so that a key that stands twice is not lost: as in
protobuf, lists are appended, messages merged, and of scalars the last one counts. A *reader* takes
a JSON value and returns the field's bytes, tag included. There is one table of readers for each
message type and depth, filled when a value first needs it; so data that is nested deeper than
protobuf parsers go is refused without counting anything at run time.

Messages are written with known fields only, each oneof resolved to its last member, so what comes
out is what the official classes would serialize, but for the order of fields.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from mlsysops_pipeline.pdata.otlp_json import scalars
from mlsysops_pipeline.pdata.otlp_json.attributes import Memory, to_wire
from mlsysops_pipeline.pdata.otlp_json.errors import ValueProblem
from mlsysops_pipeline.pdata.otlp_json.scalars import SHORT, varint
from mlsysops_pipeline.pdata.otlp_json.schema import (
    ID_SIZES,
    KEY_VALUE,
    choice_of,
    request_descriptor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.pdata.signal import Signal

    Reader: TypeAlias = Callable[[Any], bytes]
    Scalar: TypeAlias = tuple[int, Callable[[Any], Any], Callable[[Any], bytes]]

_DEPTH_MAX = 100  # sub-messages that protobuf's C parsers open inside each other

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_MASK64 = (1 << 64) - 1


def _signed(number: int) -> bytes:
    return varint(number & _MASK64)


def _zigzag(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _delimited(data: bytes) -> bytes:
    return varint(len(data)) + data


_INT32 = scalars.integer(-(1 << 31), (1 << 31) - 1)
_INT64 = scalars.integer(-(1 << 63), (1 << 63) - 1)
_UINT32 = scalars.integer(0, (1 << 32) - 1)
_UINT64 = scalars.integer(0, (1 << 64) - 1)

# Field type: wire type, JSON value to Python value, Python value to bytes.
_SCALARS: dict[int, Scalar] = {
    FieldDescriptor.TYPE_STRING: (_DELIMITED, scalars.text, _delimited),
    FieldDescriptor.TYPE_BYTES: (_DELIMITED, scalars.base64_bytes, _delimited),
    FieldDescriptor.TYPE_BOOL: (_VARINT, scalars.boolean, SHORT.__getitem__),
    FieldDescriptor.TYPE_INT32: (_VARINT, _INT32, _signed),
    FieldDescriptor.TYPE_INT64: (_VARINT, _INT64, _signed),
    FieldDescriptor.TYPE_UINT32: (_VARINT, _UINT32, varint),
    FieldDescriptor.TYPE_UINT64: (_VARINT, _UINT64, varint),
    FieldDescriptor.TYPE_SINT32: (_VARINT, _INT32, _zigzag),
    FieldDescriptor.TYPE_SINT64: (_VARINT, _INT64, _zigzag),
    FieldDescriptor.TYPE_FIXED32: (_FIXED32, _UINT32, struct.Struct("<I").pack),
    FieldDescriptor.TYPE_FIXED64: (_FIXED64, _UINT64, struct.Struct("<Q").pack),
    FieldDescriptor.TYPE_SFIXED32: (_FIXED32, _INT32, struct.Struct("<i").pack),
    FieldDescriptor.TYPE_SFIXED64: (_FIXED64, _INT64, struct.Struct("<q").pack),
    FieldDescriptor.TYPE_DOUBLE: (_FIXED64, scalars.double, struct.Struct("<d").pack),
}


@cache
def request_reader(signal: Signal) -> Reader:
    """The reader of a whole request of the signal."""
    read = _Readers().message(request_descriptor(signal), b"", depth=0)

    def read_request(value: Any) -> bytes:
        if value is None:
            raise ValueProblem.unexpected("an object", value)
        return read(value)

    return read_request


class _Readers:
    """Makes the readers of one request. ``depth`` counts the messages around a message."""

    def __init__(self) -> None:
        self._memory: Memory[Any, bytes] = Memory()

    def message(self, descriptor: Any, tag: bytes, *, depth: int) -> Reader:
        """A reader of one message; without a ``tag``, of a message that nothing surrounds."""
        plain: dict[str, Reader] = {}
        choices: dict[str, Reader] = {}
        for field in descriptor.fields:
            table = choices if choice_of(field) else plain
            reader = self._field(field, table, depth)
            # snake_case is not valid, but the Collector takes it, and so must we (OJ-3).
            table[field.json_name] = table[field.name] = reader
        get_plain, get_choice = plain.get, choices.get

        def read(value: Any) -> bytes:
            if type(value) is not tuple:
                if value is not None:
                    raise ValueProblem.unexpected("an object", value)
                value = ()  # an element of a list; elsewhere null is an absent field (OJ-8)
            parts: list[bytes] = []
            chosen = b""
            try:
                for key, item in value:
                    if item is None:
                        continue
                    reader = get_plain(key)
                    if reader is not None:
                        parts.append(reader(item))
                        continue
                    reader = get_choice(key)
                    if reader is not None:
                        chosen = reader(item)
            except ValueProblem as problem:
                problem.path.append(key)
                raise
            if chosen:
                parts.append(chosen)
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            size = len(body)
            return tag + (SHORT[size] if size < 0x80 else varint(size)) + body if tag else body

        return read

    def _field(self, field: Any, table: dict[str, Reader], depth: int) -> Reader:
        if field.message_type is not None:
            return self._when_needed(field, table, depth)
        wire_type, check, pack = _scalar(field)
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            return _text_reader(_tag(field, wire_type))
        if not field.is_repeated:
            return _scalar_reader(_tag(field, wire_type), check, pack)
        if wire_type == _DELIMITED:
            read_one = _scalar_reader(_tag(field, wire_type), check, pack)
            # As in the Collector, null in a list of texts is an empty one: it cannot be left out.
            return _list_reader(lambda item: read_one("" if item is None else item))
        return _packed_reader(_tag(field, _DELIMITED), check, pack)

    def _when_needed(self, field: Any, table: dict[str, Reader], depth: int) -> Reader:
        """Stands in for the reader of a message, which is made when there is a message to read."""

        def first(value: Any) -> bytes:
            if depth >= _DEPTH_MAX:
                raise ValueProblem(f"nested deeper than {_DEPTH_MAX} messages")
            tag = _tag(field, _DELIMITED)
            reader = self.message(field.message_type, tag, depth=depth + 1)
            if field.message_type.full_name == KEY_VALUE and depth + 2 <= _DEPTH_MAX:
                reader = self._attribute(reader, tag)
            if field.is_repeated:
                reader = _list_reader(reader)
            table[field.json_name] = table[field.name] = reader
            return reader(value)

        return first

    def _attribute(self, read: Reader, tag: bytes) -> Reader:
        """A reader of attributes that knows most of them already.

        Only texts are remembered, under the attribute as it was read: in Python 1 == True == 1.0
        and 0.0 == -0.0, but texts equal only texts.
        """
        known, keep = self._memory.get, self._memory.keep

        def read_attribute(value: Any) -> bytes:
            try:
                data = known(value)
            except TypeError:  # it holds a list
                return read(value)
            if data is None:
                data = to_wire(value)
                if data is None:
                    return read(value)
                keep(value, data, len(data))
            return tag + data

        return read_attribute


def _scalar(field: Any) -> Scalar:
    if field.enum_type is not None:
        names = {value.name: value.number for value in field.enum_type.values}
        return _VARINT, scalars.enum(names), _signed
    if field.name in ID_SIZES and field.type == FieldDescriptor.TYPE_BYTES:
        return _DELIMITED, scalars.hex_id(ID_SIZES[field.name]), _delimited
    return _SCALARS[field.type]


def _tag(field: Any, wire_type: int) -> bytes:
    return varint(field.number << 3 | wire_type)


def _text_reader(tag: bytes) -> Reader:
    """What `_scalar_reader` does for strings, in one call: they are most of what is read."""

    def read(value: Any) -> bytes:
        data = scalars.text(value)
        size = len(data)
        return tag + (SHORT[size] if size < 0x80 else varint(size)) + data

    return read


def _scalar_reader(tag: bytes, check: Callable[[Any], Any], pack: Callable[[Any], bytes]) -> Reader:
    def read(value: Any) -> bytes:
        return tag + pack(check(value))

    return read


def _list_reader(read_element: Reader) -> Reader:
    def read(value: Any) -> bytes:
        if type(value) is not list:
            raise ValueProblem.unexpected("an array", value)
        parts: list[bytes] = []
        try:
            parts.extend(map(read_element, value))
        except ValueProblem as problem:
            problem.path.append(len(parts))  # those before it have been read
            raise
        return b"".join(parts)

    return read


def _packed_reader(tag: bytes, check: Callable[[Any], Any], pack: Callable[[Any], bytes]) -> Reader:
    read_list = _list_reader(lambda item: pack(check(item)))

    def read(value: Any) -> bytes:
        body = read_list(value)
        return tag + varint(len(body)) + body if body else b""

    return read
