"""Integers and bucket counts as OTLP holds them."""

from __future__ import annotations

from operator import add, sub
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGN = 1 << 63
_MASK = (1 << 64) - 1


def int64(value: int) -> int:
    """A sum or difference as 64 bits hold it: it wraps around, as everywhere."""
    if -_SIGN <= value < _SIGN:
        return value
    return ((value + _SIGN) & _MASK) - _SIGN


def uint64(value: int) -> int:
    """The same without a sign."""
    return value & _MASK


def differences(new: Sequence[int], old: Sequence[int]) -> list[int] | None:
    """Bucket by bucket; ``None`` if one has become smaller. They are as many."""
    result = list(map(sub, new, old))
    return None if result and min(result) < 0 else result


def totals(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Bucket by bucket. They are as many."""
    return list(map(uint64, map(add, one, other)))
