"""OTLP's `AnyValue`: from Python values, and as the Collector writes it as text."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.pdata.wire import length_prefix, varint

if TYPE_CHECKING:
    from collections.abc import Iterable

_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _KVLIST, _BYTES = range(1, 8)
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_HTML = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)
"""What Go's JSON encoder escapes inside strings beside what JSON wants."""
_HTML_FIND = re.compile("[<>&\u2028\u2029]").search
_encode = json.JSONEncoder(ensure_ascii=False).encode


def serialize(value: Any) -> bytes:
    """A Python value (as YAML reads them) as a serialized ``AnyValue``. ``None`` is the empty one.

    Raises `ValueError` for what OTLP cannot hold.
    """
    if value is None:
        return b""
    if isinstance(value, str):
        return _framed(_STRING, value.encode())
    if isinstance(value, bool):
        return varint(_BOOL << 3) + varint(value)
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise ValueError(f"{value} does not fit into 64 bits")
        return varint(_INT << 3) + varint(value & (1 << 64) - 1)
    if isinstance(value, float):
        return varint(_DOUBLE << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, bytes):
        return _framed(_BYTES, value)
    if isinstance(value, list | tuple):
        return serialize_array(map(serialize, value))
    if isinstance(value, dict):
        pairs = [key_value(str(key).encode(), serialize(inner)) for key, inner in value.items()]
        return _framed(_KVLIST, b"".join(_framed(1, pair) for pair in pairs))
    raise ValueError(f"an attribute cannot be of type {type(value).__name__}")


def serialize_string(text: bytes) -> bytes:
    """UTF-8 text as a serialized ``AnyValue``."""
    return _framed(_STRING, text)


def serialize_array(values: Iterable[bytes]) -> bytes:
    """Serialized ``AnyValue``s as one that is their list."""
    return _framed(_ARRAY, b"".join(_framed(1, value) for value in values))


def _framed(number: int, content: bytes) -> bytes:
    return length_prefix(number, len(content)) + content


def key_value(key: bytes, value: bytes) -> bytes:
    """A serialized ``KeyValue`` of a key and a serialized ``AnyValue``."""
    return _framed(1, key) + _framed(2, value)


def as_text(value: Any) -> str:
    """An ``AnyValue`` of a view as text, as Go's ``pcommon.Value.AsString`` writes it."""
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "string_value":
        return _decoded(value.string_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    if kind == "double_value":
        return format_double(value.double_value)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return as_json(value)


def format_double(number: float) -> str:
    """The shortest text of a double, as JavaScript and the Collector write it."""
    if math.isnan(number) or math.isinf(number):
        name = "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
        return f"json: unsupported value: {name}"
    if number and not 1e-6 <= abs(number) < 1e21:
        digits, _, exponent = repr(number).partition("e")
        return f"{digits}e{exponent[0]}{exponent[1:].lstrip('0')}"
    return format(Decimal(repr(number)), "f").removesuffix(".0")


def as_json(value: Any) -> str:
    """An ``AnyValue`` of a view as JSON, as the Collector writes it inside lists and maps."""
    kind = value.WhichOneof("value")
    if kind is None:
        return "null"
    if kind == "array_value":
        return f"[{','.join(map(as_json, value.array_value.values))}]"
    if kind == "kvlist_value":
        # The first of equal keys counts, as in the rest of the processor.
        pairs = {_decoded(pair.key): pair.value for pair in reversed(value.kvlist_value.values)}
        inner = (f"{quoted(key)}:{as_json(pairs[key])}" for key in sorted(pairs))
        return f"{{{','.join(inner)}}}"
    text = as_text(value)
    is_text = kind in {"string_value", "bytes_value"} or text.startswith("json:")
    return quoted(text) if is_text else text


def quoted(text: str) -> str:
    """Text as JSON, as Go's encoder writes it."""
    found = _encode(text)
    return found.translate(_HTML) if _HTML_FIND(found) else found


def _decoded(text: bytes) -> str:
    return text.decode(errors="replace")
