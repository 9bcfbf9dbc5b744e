"""A bounded memory of work done on bytes that come again: series, resources, attributes."""

from __future__ import annotations

from typing import Any

_PAIR_BYTES_MAX = 8192
"""Longer keys and results are not kept: what is so long hardly ever repeats."""


class ByteCache:
    """From bytes (and what else the result depends on) to bytes; the oldest is forgotten first.

    ``key`` is any hashable; ``weight`` says how many bytes key and result hold together.
    """

    __slots__ = ("_bytes_max", "_found", "bytes")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._found: dict[Any, tuple[bytes, int]] = {}
        self.bytes = 0

    def get(self, key: Any) -> bytes | None:
        """The result, if it is still known."""
        found = self._found.get(key)
        return None if found is None else found[0]

    def put(self, key: Any, result: bytes, weight: int) -> None:
        """Remember a result that `get` did not know."""
        if weight > _PAIR_BYTES_MAX:
            return
        self._found[key] = (result, weight)
        self.bytes += weight
        while self.bytes > self._bytes_max:
            self.bytes -= self._found.pop(next(iter(self._found)))[1]

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<ByteCache entries={len(self)} bytes={self.bytes}>"
