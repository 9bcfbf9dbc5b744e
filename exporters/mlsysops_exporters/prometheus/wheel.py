"""Timer wheels: things that are due at some time, found without looking at all of them. Pure."""

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


class Shelf(Generic[T]):
    """Things until they are due, rounded up to steps of ``step_s`` seconds; any can be taken away.

    A dict for each step, not one ordered dict of all: that would hold up its user for tens of
    milliseconds whenever it grows beyond some ten thousands.
    """

    __slots__ = ("_count", "_slots", "_step_s")

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._slots: dict[int, dict[T, None]] = {}
        self._count = 0

    def put(self, thing: T, due_s: float) -> int:
        """Put a thing there that is not there. Returns its slot, by which it can be taken away."""
        slot = math.ceil(due_s / self._step_s)
        self._slots.setdefault(slot, {})[thing] = None
        self._count += 1
        return slot

    def take(self, thing: T, slot: int) -> None:
        """Take a thing away."""
        self._count -= 1
        things = self._slots[slot]
        del things[thing]
        if not things:
            del self._slots[slot]

    def pop(self, until_s: float = math.inf) -> T | None:
        """Take away a thing of the first step, if that is due then; ``None`` if none is."""
        slot = min(self._slots, default=None)
        if slot is None or slot * self._step_s > until_s:
            return None
        things = self._slots[slot]
        thing, _ = things.popitem()
        self._count -= 1
        if not things:
            del self._slots[slot]
        return thing

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Shelf slots={len(self._slots)} things={len(self)}>"
