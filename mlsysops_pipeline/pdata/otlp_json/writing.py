"""Protobuf to OTLP/JSON: the text is put together directly, without a tree of objects.

The view leaves attributes closed: the same ones come again and again, so the text of an attribute
is kept under its bytes. A *formatter* turns a field's value into JSON.
"""

from __future__ import annotations

import base64
import math
from functools import cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from mlsysops_pipeline.pdata.otlp_json.attributes import Memory, from_wire
from mlsysops_pipeline.pdata.otlp_json.schema import ID_SIZES, request_descriptor
from mlsysops_pipeline.pdata.views import Depth, parse, view

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.pdata.signal import Signal

    Formatter: TypeAlias = Callable[[Any], str]


@cache
def request_writer(signal: Signal) -> Callable[[bytes], str]:
    """A function from a serialized request of the signal to its JSON text.

    It raises `MalformedError`, or protobuf's `DecodeError` for an attribute.
    """
    descriptor: Any = view(signal, Depth.TEXT).DESCRIPTOR
    format_request = _Formatters(signal).message(request_descriptor(signal), descriptor)

    def write(wire: bytes) -> str:
        return format_request(parse(signal, Depth.TEXT, wire))

    return write


class _Formatters:
    """Makes the formatters of one signal, one for each message class of a view.

    The official descriptor of a message says what its fields mean, the view's how they come.
    """

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._made: dict[str, Formatter] = {}

    def message(self, official: Any, viewed: Any) -> Formatter:
        """The formatter of a message, given both descriptors."""
        made = self._made.get(viewed.full_name)
        if made is not None:
            return made
        fields: dict[Any, tuple[str, Formatter]] = {}

        def format_message(message: Any) -> str:
            members = []
            for field, value in message.ListFields():
                key, format_value = fields[field]
                members.append(key + format_value(value))
            return "{" + ",".join(members) + "}"

        # Known before its fields are, because messages contain themselves.
        self._made[viewed.full_name] = format_message
        for field in official.fields:
            viewed_field = viewed.fields_by_number[field.number]
            key = f'"{field.json_name}":'
            fields[viewed_field] = (key, self._field(field, viewed_field))
        return format_message

    def _field(self, field: Any, viewed: Any) -> Formatter:
        if viewed.message_type is None and field.message_type is not None:
            return self._closed(field.message_type)
        format_one = self._element(field, viewed)
        if not field.is_repeated:
            return format_one

        def format_all(values: Any) -> str:
            return "[" + ",".join(map(format_one, values)) + "]"

        return format_all

    def _element(self, field: Any, viewed: Any) -> Formatter:
        if field.message_type is not None:
            return self.message(field.message_type, viewed.message_type)
        return _format_id if field.name in ID_SIZES else _SCALARS[field.type]

    def _closed(self, official: Any) -> Formatter:
        """A formatter of a list of closed messages, which remembers their texts."""
        key = f"closed {official.full_name}"
        made = self._made.get(key)
        if made is not None:
            return made
        message_class: Any = view(self._signal, Depth.FULL, official.name)
        parse_one = message_class.FromString
        format_one = self.message(official, message_class.DESCRIPTOR)
        memory: Memory[bytes, str] = Memory()
        known, keep = memory.get, memory.keep

        def format_new(wire: bytes) -> str:
            parts = from_wire(wire)
            if parts is None:
                text = format_one(parse_one(wire))
            else:
                name, value = map(_format_text, parts)
                text = f'{{"key":{name},"value":{{"stringValue":{value}}}}}'
            keep(wire, text, len(wire))
            return text

        def format_all(wires: Any) -> str:
            return "[" + ",".join([known(wire) or format_new(wire) for wire in wires]) + "]"

        self._made[key] = format_all
        return format_all


def _format_text(data: bytes) -> str:
    return encode_basestring(data.decode("utf-8", "replace"))


def _format_base64(data: bytes) -> str:
    return f'"{base64.b64encode(data).decode()}"'


def _format_id(data: bytes) -> str:
    return f'"{data.hex()}"'


def _format_wide(number: int) -> str:
    return f'"{number}"'


def _format_double(number: float) -> str:
    if math.isfinite(number):
        return repr(number)
    if math.isnan(number):
        return '"NaN"'
    return '"Infinity"' if number > 0 else '"-Infinity"'


def _format_bool(value: bool) -> str:  # noqa: FBT001  a value, not a switch
    return "true" if value else "false"


_SCALARS: dict[int, Formatter] = {
    FieldDescriptor.TYPE_STRING: _format_text,
    FieldDescriptor.TYPE_BYTES: _format_base64,
    FieldDescriptor.TYPE_BOOL: _format_bool,
    FieldDescriptor.TYPE_ENUM: str,
    FieldDescriptor.TYPE_INT32: str,
    FieldDescriptor.TYPE_UINT32: str,
    FieldDescriptor.TYPE_SINT32: str,
    FieldDescriptor.TYPE_FIXED32: str,
    FieldDescriptor.TYPE_SFIXED32: str,
    FieldDescriptor.TYPE_INT64: _format_wide,
    FieldDescriptor.TYPE_UINT64: _format_wide,
    FieldDescriptor.TYPE_SINT64: _format_wide,
    FieldDescriptor.TYPE_FIXED64: _format_wide,
    FieldDescriptor.TYPE_SFIXED64: _format_wide,
    FieldDescriptor.TYPE_DOUBLE: _format_double,
}
