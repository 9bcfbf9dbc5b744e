"""What is kept of streams between requests: bounded, forgotten by age, and taken back on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_EVICTED_SHARE = 64
"""When there are too many streams, one of so many goes, those first that were silent longest."""

T = TypeVar("T", bound=tuple[Any, ...])


class Streams(Generic[T]):
    """States by the key of their stream. ``get(key)`` is a state or ``None``.

    A state is a tuple that begins with when the stream was last heard of (monotonic seconds; the
    same object for all points of a request, so that it takes no memory). Changes since the last
    `keep` can be undone with `undo`: a sender whose request is refused sends it once more.
    """

    __slots__ = ("_before", "_states", "get")

    def __init__(self) -> None:
        self._states: dict[int, T] = {}
        self._before: list[tuple[int, T | None]] = []
        self.get: Callable[[int], T | None] = self._states.get

    def put(self, key: int, state: T) -> None:
        """Replace a state. Streams stand in the order in which this was last called."""
        self._before.append((key, self._states.pop(key, None)))
        self._states[key] = state

    def forget(self, key: int) -> None:
        """The stream has ended."""
        self._before.append((key, self._states.pop(key, None)))

    def keep(self) -> None:
        """The changes are for good."""
        if self._before:
            self._before = []

    def undo(self) -> None:
        """As if there had been no change since `keep`."""
        for key, old in reversed(self._before):
            if old is None:
                self._states.pop(key, None)
            else:
                self._states[key] = old
        self._before = []

    def expire(self, before: float) -> int:
        """Forget streams that were last heard of before then. Not between change and `keep`."""
        stale = []
        for key, state in self._states.items():
            if state[0] >= before:
                break
            stale.append(key)
        for key in stale:
            del self._states[key]
        return len(stale)

    def shrink(self, limit: int) -> int:
        """Forget a share of the streams if there are more than ``limit``, the silent first."""
        if len(self._states) <= limit:
            return 0
        count = len(self._states) - limit + limit // _EVICTED_SHARE
        for key in [key for key, _ in zip(self._states, range(count), strict=False)]:
            del self._states[key]
        return count

    def __len__(self) -> int:
        return len(self._states)
