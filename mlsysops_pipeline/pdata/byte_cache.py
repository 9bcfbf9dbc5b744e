"""A bounded memory of work done on bytes that come again: series, resources, attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PAIR_BYTES_MAX = 8192
"""Longer pairs are not kept: what is so long hardly ever repeats."""
_PAIR_OVERHEAD_BYTES = 150
"""What two objects of bytes and their place in a dict take beside their content."""


class ByteCache:
    """From bytes to bytes, ``bytes_max`` in all; the oldest is forgotten first.

    Results that depend on more than the bytes have that at the end of the key, always in the same
    number of bytes.
    """

    __slots__ = ("_bytes_max", "_found", "bytes", "get")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._found: dict[bytes, bytes] = {}
        self.bytes = 0
        self.get: Callable[[bytes], bytes | None] = self._found.get
        """The result, if it is still known. The dict's own method, without a call around it."""

    def put(self, key: bytes, result: bytes) -> None:
        """Remember a result that `get` did not know."""
        weight = _weight(key, result)
        if weight > _PAIR_BYTES_MAX:
            return
        self._found[key] = result
        self.bytes += weight
        while self.bytes > self._bytes_max:
            oldest = next(iter(self._found))
            self.bytes -= _weight(oldest, self._found.pop(oldest))

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<ByteCache entries={len(self)} bytes={self.bytes}>"


def _weight(key: bytes, result: bytes) -> int:
    return len(key) + len(result) + _PAIR_OVERHEAD_BYTES
