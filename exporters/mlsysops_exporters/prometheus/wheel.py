"""A timer wheel: things that are due at some time, found without looking at all of them. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Wheel(Generic[T]):
    """Things by the time at which they are due, rounded up to steps of ``step_s`` seconds."""

    __slots__ = ("_slots", "_step_s")

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._slots: dict[int, list[T]] = {}

    def add(self, thing: T, due_s: float) -> int:
        """Remember a thing. Returns its slot, which `due` gives back with it."""
        slot = math.floor(due_s / self._step_s) + 1
        self._slots.setdefault(slot, []).append(thing)
        return slot

    def due(self, now_s: float, count_max: int) -> Iterator[tuple[T, int]]:
        """Things that are due and their slots, ``count_max`` at most, forgetting them.

        Others may be added meanwhile.
        """
        last = math.floor(now_s / self._step_s)
        for slot in sorted(slot for slot in self._slots if slot <= last):
            things = self._slots[slot]
            while things and count_max > 0:
                count_max -= 1
                yield things.pop(), slot
            if things:
                return
            del self._slots[slot]

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def __repr__(self) -> str:
        return f"<Wheel slots={len(self._slots)} things={len(self)}>"
