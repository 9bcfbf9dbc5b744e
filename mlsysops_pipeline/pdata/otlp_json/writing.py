"""Protobuf to OTLP/JSON: the text is put together directly, without a tree of objects.

The request is parsed by upb into classes of our own descriptor pool, which differ from the
official ones in that strings are bytes (one that is not UTF-8 must not refuse a request), enums
are plain integers, and attributes stay closed: the same ones come again and again, so the text of
an attribute is kept under its bytes. A *formatter* turns a field's value into JSON.
"""

from __future__ import annotations

import base64
import math
from functools import cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor

from mlsysops_pipeline.pdata.otlp_json.schema import ID_SIZES, request_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.pdata.signal import Signal

    Formatter: TypeAlias = Callable[[Any], str]

_KEY_VALUE = "opentelemetry.proto.common.v1.KeyValue"
_KEPT_MAX = 8192
_KEPT_BYTES_MAX = 512
"""How many attributes, and of which size at most, have their texts kept: some 8 MiB in all."""


@cache
def request_writer(signal: Signal) -> Callable[[bytes], str]:
    """A function from a serialized request of the signal to its JSON text.

    It raises protobuf's `DecodeError` if the bytes are something else.
    """
    official = request_descriptor(signal)
    pool = descriptor_pool.DescriptorPool()
    _add_adapted(pool, official.file)
    parse = _class_of(pool, official.full_name).FromString
    message = _Formatters(pool).message(official)

    def write(wire: bytes) -> str:
        return message(parse(wire))

    return write


def _class_of(pool: descriptor_pool.DescriptorPool, full_name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))


def _add_adapted(pool: descriptor_pool.DescriptorPool, file: Any) -> None:
    """Add a file and those that it needs, changed as the module says."""
    for dependency in file.dependencies:
        _add_adapted(pool, dependency)
    definition = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(definition)
    for message in definition.message_type:
        _adapt(message)
    pool.Add(definition)


def _adapt(message: descriptor_pb2.DescriptorProto) -> None:
    for nested in message.nested_type:
        _adapt(nested)
    for field in message.field:
        if field.type == field.TYPE_STRING:
            field.type = field.TYPE_BYTES
        elif field.type == field.TYPE_ENUM:
            field.type = field.TYPE_INT32
            field.ClearField("type_name")
        elif _is_closed(message.name, field.type_name.removeprefix(".")):
            field.type = field.TYPE_BYTES
            field.ClearField("type_name")


def _is_closed(owner: str, type_name: str) -> bool:
    """Whether a field holds attributes; those inside values are open, for protobuf's depth limit."""
    return type_name == _KEY_VALUE and owner != "KeyValueList"


class _Formatters:
    """Makes the formatters of messages and fields, one of each message type."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool
        self._messages: dict[str, Formatter] = {}

    def message(self, official: Any) -> Formatter:
        """The formatter of a message whose official descriptor is given."""
        known = self._messages.get(official.full_name)
        if known is not None:
            return known
        fields: dict[Any, tuple[str, Formatter]] = {}

        def format_message(message: Any) -> str:
            members = []
            for field, value in message.ListFields():
                key, format_value = fields[field]
                members.append(key + format_value(value))
            return "{" + ",".join(members) + "}"

        # Known before its fields are, because messages contain themselves.
        self._messages[official.full_name] = format_message
        adapted = self._pool.FindMessageTypeByName(official.full_name)
        for field in official.fields:
            key = f'"{field.json_name}":'
            fields[adapted.fields_by_number[field.number]] = (key, self._field(field))
        return format_message

    def _field(self, field: Any) -> Formatter:
        format_one = self._element(field)
        if not field.is_repeated:
            return format_one

        def format_all(values: Any) -> str:
            return "[" + ",".join(map(format_one, values)) + "]"

        return format_all

    def _element(self, field: Any) -> Formatter:
        if field.message_type is None:
            return _format_id if field.name in ID_SIZES else _SCALARS[field.type]
        if _is_closed(field.containing_type.name, field.message_type.full_name):
            return self._closed(field.message_type)
        return self.message(field.message_type)

    def _closed(self, official: Any) -> Formatter:
        """A formatter from the bytes of a message to its text, which it remembers."""
        known = self._messages.get("closed")
        if known is not None:
            return known
        parse = _class_of(self._pool, official.full_name).FromString
        format_open = self.message(official)
        texts: dict[bytes, str] = {}

        def format_closed(wire: bytes) -> str:
            text = texts.get(wire)
            if text is None:
                text = format_open(parse(wire))
                if len(wire) <= _KEPT_BYTES_MAX:
                    if len(texts) >= _KEPT_MAX:
                        texts.clear()  # the texts in use are back after one request
                    texts[wire] = text
            return text

        self._messages["closed"] = format_closed
        return format_closed


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
