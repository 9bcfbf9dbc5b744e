"""Numbers as Go reads them, which is how Prometheus does: not quite as Python would."""

from __future__ import annotations

import math
import re
from typing import Final

from mlsysops_pipeline.prometheus.exposition.entries import ExpositionError

__all__ = ["read_number", "read_seconds"]

_DECIMAL: Final = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SPECIAL: Final = {
    b"nan": math.nan,
    b"inf": math.inf,
    b"+inf": math.inf,
    b"-inf": -math.inf,
    b"infinity": math.inf,
    b"+infinity": math.inf,
    b"-infinity": -math.inf,
}
_INT64_MIN: Final = -(1 << 63)
_INT64_END: Final = float(1 << 63)


def read_number(text: bytes) -> float:
    """A value. Decimal, ``NaN`` or an infinity in any case of letters; nothing around it.

    Neither hexadecimal nor grouped by underscores. A finite number beyond the range is an error.
    Raises `ExpositionError`.
    """
    if _DECIMAL.fullmatch(text):
        value = float(text)
        if not math.isinf(value):
            return value
        raise ExpositionError(f"a number out of range: {text[:100]!r}")
    special = _SPECIAL.get(text.lower())
    if special is None:
        raise ExpositionError(f"no number: {text[:100]!r}")
    return special


def read_seconds(text: bytes) -> float:
    """A time in seconds, finite. Raises `ExpositionError`."""
    seconds = read_number(text)
    if not math.isfinite(seconds):
        raise ExpositionError(f"no time: {text[:100]!r}")
    return seconds


def to_milliseconds(seconds: float) -> int:
    """Seconds, cut to milliseconds; what an int64 cannot hold is its lowest, as in Prometheus."""
    found = seconds * 1000
    return int(found) if -_INT64_END <= found < _INT64_END else _INT64_MIN
