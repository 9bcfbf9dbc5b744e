"""A bounded memory of what was found out about keys: the oldest is forgotten first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")

_UNIT_BYTES = 64
_UNITS_MAX = 256
"""The most units of one entry. What is larger is not kept; and larger numbers take memory."""


class Recent(Generic[K, V]):
    """From keys to values, ``bytes_max`` in all as far as ``put`` is told what they take.

    By age and not by use: who comes often is soon back, and looking costs nothing but a look. The
    age is in a queue of its own, because to find the oldest of a dict takes ever longer when it
    has been emptied from that end.
    """

    __slots__ = ("_ages", "_found", "_units", "_units_max", "_weights", "get")

    def __init__(self, bytes_max: int) -> None:
        self._units_max = bytes_max // _UNIT_BYTES
        self._units = 0
        self._found: dict[K, V] = {}
        self._ages: deque[K] = deque()
        self._weights: deque[int] = deque()
        self.get: Callable[[K], V | None] = self._found.get
        """The value, if it is still known. The dict's own method, without a call around it."""

    def put(self, key: K, value: V, weight_bytes: int) -> None:
        """Remember a value that `get` did not know. Over 16 KiB it is not worth keeping."""
        units = weight_bytes // _UNIT_BYTES + 1
        if units > _UNITS_MAX:
            return
        self._found[key] = value
        self._ages.append(key)
        self._weights.append(units)
        self._units += units
        while self._units > self._units_max:
            del self._found[self._ages.popleft()]
            self._units -= self._weights.popleft()

    @property
    def bytes(self) -> int:
        """What the entries take, as `put` was told."""
        return self._units * _UNIT_BYTES

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<Recent entries={len(self)} bytes={self.bytes}>"
