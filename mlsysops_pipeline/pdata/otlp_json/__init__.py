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
from typing import TYPE_CHECKING, Never

from mlsysops_pipeline.errors import MalformedError, TooLargeError
from mlsysops_pipeline.pdata.otlp_json.errors import ValueProblem

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.signal import Signal

__all__ = ["decode", "encode"]

MARKS_MAX = 4_000_000
"""Braces, brackets and commas in one JSON text: 180,000 data points of four attributes have as
many. What it guards is memory: a value may be two bytes of text and a hundred as an object. Marks
inside of strings count too, because telling them apart takes longer than parsing."""


def decode(signal: Signal, text: bytes, *, marks_max: int = MARKS_MAX) -> bytes:
    """The serialized ``Export*ServiceRequest`` that a JSON text says.

    Raises `MalformedError`, which names the place and what was expected there, and `TooLargeError`
    if the text has more than ``marks_max`` braces, brackets and commas. Unknown keys are ignored
    (OJ-4).
    """
    from mlsysops_pipeline.pdata.otlp_json.reading import request_reader  # noqa: PLC0415  lazily

    if len(text) > marks_max and sum(map(text.count, (b"{", b"[", b","))) > marks_max:
        raise TooLargeError(f"JSON: more than {marks_max} braces, brackets and commas")
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
    except json.JSONDecodeError as error:
        raise MalformedError(f"not JSON: {error}") from None
    except ValueError:  # what Python does to integers beyond its limit of digits
        raise MalformedError("JSON: a number has thousands of digits") from None


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
    raise MalformedError(f"not JSON: {word} without quotes")
