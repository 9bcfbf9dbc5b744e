"""How the debug exporter writes values: the way of the Collector, whose output people grep.

All of it is text for people. Strings come as bytes from the full view and may not be UTF-8.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ESCAPES: Final = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})
_KINDS: Final = {
    None: "Empty",
    "string_value": "Str",
    "bool_value": "Bool",
    "int_value": "Int",
    "double_value": "Double",
    "array_value": "Slice",
    "kvlist_value": "Map",
    "bytes_value": "Bytes",
}


def text(data: bytes) -> str:
    """A string field."""
    return data.decode("utf-8", "replace")


def identifier(data: bytes) -> str:
    """A trace or span id in hex; nothing if it is all zeros, which means that there is none."""
    return data.hex() if any(data) else ""


def timestamp(unix_ns: int) -> str:
    """A time in UTC without trailing zeros: ``2020-02-11 20:26:12.000000321 +0000 UTC``.

    What is beyond the year 2262 wraps around, as it does in 64 signed bits.
    """
    signed = unix_ns - (1 << 64) if unix_ns >= 1 << 63 else unix_ns
    seconds, rest_ns = divmod(signed, 1_000_000_000)
    moment = _EPOCH + dt.timedelta(seconds=seconds)
    fraction = f".{rest_ns:09d}".rstrip("0") if rest_ns else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def fixed(number: float) -> str:
    """Six decimals (``%f``)."""
    return f"{number:.6f}" if math.isfinite(number) else _not_finite(number)


def shortest(number: float) -> str:
    """The fewest digits that mean the number (Go's ``%v``): ``15``, ``0.1``, ``1e+06``."""
    if not math.isfinite(number):
        return _not_finite(number)
    exponent = Decimal(repr(number)).adjusted()
    return _plain(number) if not number or -4 <= exponent < 6 else _scientific(number)


def value(any_value: Any) -> str:
    """An attribute's or body's value: ``text``, ``5``, ``{"a":1}``; nothing for an empty one."""
    kind = any_value.WhichOneof("value")
    if kind == "string_value":
        return text(any_value.string_value)
    if kind in {"array_value", "kvlist_value"}:
        try:
            return _json(any_value)
        except OverflowError:
            return ""  # JSON has no word for it, and the Collector gives up on the whole value
    if kind == "double_value" and math.isinf(any_value.double_value):
        return "Infinity" if any_value.double_value > 0 else "-Infinity"
    if kind == "double_value" and math.isnan(any_value.double_value):
        return "NaN"
    if kind == "bytes_value":
        return base64.b64encode(any_value.bytes_value).decode()
    return "" if kind is None or kind not in _KINDS else _json(any_value)


def typed_value(any_value: Any) -> str:
    """A value with its type: ``Str(text)``, ``Int(5)``, ``Map({"a":1})``, ``Empty()``."""
    kind = _KINDS.get(any_value.WhichOneof("value"), "Empty")
    return f"{kind}({value(any_value)})"


def pairs(attributes: Any) -> list[str]:
    """Attributes as ``key=value``."""
    return [f"{text(attribute.key)}={value(attribute.value)}" for attribute in attributes]


def _json(any_value: Any) -> str:
    """JSON in Go's dialect: sorted keys, no needless digits. `OverflowError`: not a number."""
    match any_value.WhichOneof("value"):
        case "string_value":
            return _quoted(any_value.string_value)
        case "bool_value":
            return "true" if any_value.bool_value else "false"
        case "int_value":
            return str(any_value.int_value)
        case "double_value":
            return _json_number(any_value.double_value)
        case "bytes_value" if any_value.bytes_value:  # without bytes it is null
            return f'"{base64.b64encode(any_value.bytes_value).decode()}"'
        case "array_value":
            return "[" + ",".join(map(_json, any_value.array_value.values)) + "]"
        case "kvlist_value":
            members = {item.key: _json(item.value) for item in any_value.kvlist_value.values}
            return "{" + ",".join(f"{_quoted(key)}:{members[key]}" for key in sorted(members)) + "}"
        case _:
            return "null"


def _quoted(data: bytes) -> str:
    return encode_basestring(text(data)).translate(_ESCAPES)


def _json_number(number: float) -> str:
    if not math.isfinite(number):
        raise OverflowError
    if not number or 1e-6 <= abs(number) < 1e21:
        return _plain(number)
    mantissa, exponent = _scientific(number).split("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"


def _plain(number: float) -> str:
    return format(Decimal(repr(number)).normalize(), "f")


def _scientific(number: float) -> str:
    digits = len(Decimal(repr(number)).normalize().as_tuple().digits)
    return f"{number:.{digits - 1}e}"


def _not_finite(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "+Inf" if number > 0 else "-Inf"
