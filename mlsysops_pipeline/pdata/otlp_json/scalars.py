"""JSON values to field values: what OTLP/JSON allows for each kind of field (A4 of the checklist).

Every function takes a value as `json` gives it and returns a Python value that fits the field,
or raises `ValueProblem`. Nothing passes through a float that is not a floating-point field.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.pdata.otlp_json.errors import ValueProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DIGITS_MAX = 40
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_URL_SAFE = str.maketrans("-_", "+/")
_DOUBLE_MAX = 1.7976931348623157e308

WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""The doubles that JSON has no numbers for (OJ-6)."""
_TOLERATED_WORDS = {
    sign + word: float(sign + word)
    for sign in ("", "+", "-")
    for word in ("nan", "inf", "infinity")
}
"""What the Collector takes besides, in any case."""


SHORT = tuple(bytes([number]) for number in range(0x80))
"""The variable-length form of small numbers, which is one byte."""


def varint(number: int) -> bytes:
    """A non-negative integer below 2**64 in protobuf's variable-length form."""
    if number < 0x80:
        return SHORT[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(value: Any) -> bytes:
    """A string as UTF-8. Half a surrogate pair becomes U+FFFD, as in the Collector."""
    if type(value) is not str:
        raise ValueProblem.unexpected("a string", value)
    try:
        return value.encode()
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", value).encode()


def boolean(value: Any) -> bool:
    """``true`` or ``false``; no numbers, no words."""
    if value is True or value is False:
        return bool(value)
    raise ValueProblem.unexpected("true or false", value)


def integer(low: int, high: int) -> Callable[[Any], int]:
    """Reads a number or a decimal string from ``low`` to ``high``; no fractions (OJ-5, OJ-9)."""
    expected = f"an integer from {low} to {high}"

    def read(value: Any) -> int:
        if type(value) is str and _is_integer(value):
            number = int(value)
        elif type(value) is int:
            number = value
        else:
            raise ValueProblem.unexpected(expected, value)
        if not low <= number <= high:
            raise ValueProblem.unexpected(expected, value)
        return number

    return read


def _is_integer(value: str) -> bool:
    """Whether a text is a decimal integer, of a length that is cheap to convert."""
    digits = value[1:] if value[:1] in {"-", "+"} else value
    return digits.isdecimal() and digits.isascii() and len(digits) <= _DIGITS_MAX


def double(value: Any) -> float:
    """A number, a numeric string, or one of the three words of OJ-6."""
    if type(value) is str:
        word = WORDS.get(value) or _TOLERATED_WORDS.get(value.lower())
        if word is not None:
            return word
        if _NUMBER.fullmatch(value) is None:
            raise ValueProblem.unexpected("a number, NaN, Infinity or -Infinity", value)
        number = float(value)
    elif type(value) is float or type(value) is int:
        try:
            number = float(value)
        except OverflowError:
            raise ValueProblem.unexpected("a number that fits a double", value) from None
    else:
        raise ValueProblem.unexpected("a number", value)
    if not -_DOUBLE_MAX <= number <= _DOUBLE_MAX:
        raise ValueProblem.unexpected("a number that fits a double", value)
    return number


def enum(names: Mapping[str, int]) -> Callable[[Any], int]:
    """Reads a number (any, also one that is newer than we are) or, as the Collector, a name."""
    read_number = integer(-(1 << 31), (1 << 31) - 1)

    def read(value: Any) -> int:
        if type(value) is not str:
            return read_number(value)
        try:
            return names[value]
        except KeyError:
            known = ", ".join(names)
            raise ValueProblem.unexpected(f"an integer or one of {known}", value) from None

    return read


def base64_bytes(value: Any) -> bytes:
    """Base64, with either alphabet, padded or not (OJ-7, proto3 JSON)."""
    if type(value) is not str:
        raise ValueProblem.unexpected("a base64 string", value)
    standard = value.translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueProblem.unexpected("a base64 string", value) from None


def hex_id(size: int) -> Callable[[Any], bytes]:
    """Reads the ``2 * size`` hex digits of an id, in either case, or none at all (OJ-1)."""
    expected = f"{2 * size} hex digits"

    def read(value: Any) -> bytes:
        if type(value) is not str or len(value) not in (0, 2 * size):
            raise ValueProblem.unexpected(expected, value)
        try:
            number = bytes.fromhex(value)
        except ValueError:
            raise ValueProblem.unexpected(expected, value) from None
        if len(number) not in (0, size):  # fromhex skips blanks
            raise ValueProblem.unexpected(expected, value)
        return number

    return read
