"""OTLP/JSON, both ways: the same request as text and as serialized protobuf.

Strict where the specification is (conformance A4: hex ids, integers that never pass through a
float, no clamping), and as lenient on input as the Go collector, whose clients are ours: enum
names, snake_case keys, numbers for 64-bit integers. None of that is ever emitted.

    wire = decode(Signal.METRICS, b'{"resourceMetrics": []}')
    text = encode(Signal.METRICS, wire)

The one value that does not survive is the sign of a zero that is written as the integer ``-0``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Never

from mlsysops_pipeline.errors import MalformedError, TooLargeError
from mlsysops_pipeline.pdata.otlp_json.errors import ValueProblem

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.signal import Signal

__all__ = ["decode", "encode"]

VALUES_MAX = 2_000_000
"""Objects, arrays and members of one JSON request: some 90,000 data points of four attributes.
What it guards is memory: a value is two bytes on the wire and up to a hundred as an object."""

# Never backtracks and always matches from a quote on, so that the scan is linear whatever comes.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def decode(signal: Signal, text: bytes, *, values_max: int = VALUES_MAX) -> bytes:
    """The serialized ``Export*ServiceRequest`` that a JSON text says.

    Raises `MalformedError`, which names the place and what was expected there, and `TooLargeError`
    if the text holds more than ``values_max`` values. Unknown keys are ignored (OJ-4).
    """
    from mlsysops_pipeline.pdata.otlp_json.reading import request_reader  # noqa: PLC0415  lazily

    _check_values(text, values_max)
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=tuple, parse_constant=_refuse_constant
        )
        return request_reader(signal)(value)
    except ValueProblem as problem:
        raise MalformedError(f"JSON: {problem}") from None
    except UnicodeDecodeError as error:
        raise MalformedError(f"JSON: not UTF-8: bad byte at offset {error.start}") from None
    except RecursionError:
        raise MalformedError("JSON: nested too deeply") from None
    except ValueError as error:
        raise MalformedError(f"not JSON: {error}") from None


def encode(signal: Signal, wire: bytes) -> bytes:
    """The compact JSON text of a serialized request. Fields that OTLP does not have are left out.

    Bytes in strings that are not UTF-8 become U+FFFD. Raises `MalformedError` if ``wire`` is not
    the request that it should be.
    """
    from google.protobuf.message import DecodeError  # noqa: PLC0415  lazily

    from mlsysops_pipeline.pdata.otlp_json.writing import request_writer  # noqa: PLC0415  lazily

    try:
        return request_writer(signal)(wire).encode()
    except DecodeError as error:
        raise MalformedError(f"not an OTLP {signal} request: {error}") from None


def _refuse_constant(word: str) -> Never:
    raise ValueError(f"{word} without quotes")


def _check_values(text: bytes, values_max: int) -> None:
    """Count what opens or separates values; exactly only if counting also in strings is too many."""
    if len(text) <= values_max or _marks(text) <= values_max:
        return
    if _marks(_STRING.sub(b"", text)) > values_max:
        raise TooLargeError(f"JSON: more than {values_max} values in one request")


def _marks(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[") + text.count(b",")
