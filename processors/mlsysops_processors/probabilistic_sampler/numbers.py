"""The arithmetic of consistent sampling (OTEP 235), and of the Collector's older hashing.

Randomness is a number of 56 bits, a threshold one of 0 to 2**56; an item is kept if its randomness
is not below the threshold. Pure.
"""

from __future__ import annotations

import math
import re
import struct

RANDOMNESS_END = 1 << 56
ALWAYS, NEVER = 0, RANDOMNESS_END
HIGHEST = RANDOMNESS_END - 1
"""The randomness that every threshold but `NEVER` keeps: of items that have none."""
SMALLEST_PROBABILITY = 1 / RANDOMNESS_END
_HEX_DIGITS = 14
_HEX_BITS = 4
_HEX = re.compile(r"[0-9a-fA-F]{1,14}")
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
_BUCKETS_BITS = 14
_BUCKETS = 1 << _BUCKETS_BITS
_WORD = 0xFFFFFFFF


def threshold_of(probability: float, digits: int) -> int | None:
    """The threshold that keeps ``probability`` of all, to so many significant hexadecimal digits.

    ``None`` where it is not within ``SMALLEST_PROBABILITY`` and 1.
    """
    if not SMALLEST_PROBABILITY <= probability <= 1:
        return None
    if probability == 1:
        return ALWAYS
    # Each leading 0 or f of the threshold is a digit that signifies nothing.
    leading = max(-math.frexp(probability)[1], -math.frexp(1 - probability)[1], 0) // _HEX_BITS
    threshold = RANDOMNESS_END - math.floor(probability * RANDOMNESS_END + 0.5)
    shift = _HEX_BITS * (_HEX_DIGITS - min(digits + leading, _HEX_DIGITS))
    if shift:
        threshold = (threshold + (1 << shift - 1)) >> shift << shift
    return threshold


def probability_of(threshold: int) -> float:
    """The share that a threshold keeps."""
    return (RANDOMNESS_END - threshold) / RANDOMNESS_END


def hash_threshold(percentage: float) -> int:
    """The threshold of the mode `hash_seed`: a multiple of a 2**14th, in the Collector's floats."""
    scaled = _float32(_float32(percentage) * _float32(_BUCKETS / 100))
    return (_BUCKETS - min(int(scaled), _BUCKETS)) << 56 - _BUCKETS_BITS


def _float32(number: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def seeded(seed: int) -> int:
    """The state of FNV-1a after the four bytes of the seed, for `hashed`."""
    return _fnv(_FNV_OFFSET, seed.to_bytes(4, "little"))


def hashed(data: bytes, state: int) -> int:
    """The randomness of bytes: the first 14 bits are what the Collector's samplers agree on."""
    word = _fnv(state, data)
    bucket = word & _BUCKETS - 1
    rest = word >> 32 - _BUCKETS_BITS
    return (_BUCKETS - 1 - bucket) << 42 | (rest ^ rest << 10) << 14 | bucket


def _fnv(state: int, data: bytes) -> int:
    for byte in data:
        state = (state ^ byte) * _FNV_PRIME & _WORD
    return state


def of_trace_id(trace_id: bytes) -> int:
    """The randomness of a trace id as the W3C says: its last 56 bits."""
    return int.from_bytes(trace_id[-7:], "big")


def write_randomness(randomness: int) -> str:
    """As in ``rv``: 14 digits."""
    return f"{randomness:014x}"


def write_threshold(threshold: int) -> str:
    """As in ``th``: without the zeros at the end."""
    return f"{threshold:014x}".rstrip("0") or "0"


def read_randomness(text: str) -> int:
    """A ``rv``. Raises `ValueError` unless it has 14 digits."""
    if len(text) != _HEX_DIGITS or not _HEX.fullmatch(text):
        raise ValueError(f"{text!r} is no randomness")
    return int(text, 16)


def read_threshold(text: str) -> int:
    """A ``th``. Raises `ValueError` unless it has 1 to 14 digits."""
    if not _HEX.fullmatch(text):
        raise ValueError(f"{text!r} is no threshold")
    return int(text.ljust(_HEX_DIGITS, "0"), 16)
