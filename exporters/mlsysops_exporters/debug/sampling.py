"""Which of many equal messages are shown. A plain class: time is an argument."""

from __future__ import annotations

_MESSAGES_MAX = 4096
_TICK_S = 1.0


class Sampler:
    """Lets ``initial`` equal messages through each second, then every ``thereafter``-th (0: none).

    A second begins with the first message of its kind.
    """

    def __init__(self, initial: int, thereafter: int) -> None:
        self._initial = initial
        self._thereafter = thereafter
        self._seen: dict[int, tuple[float, int]] = {}

    def lets_through(self, message: str, now_s: float) -> bool:
        """Count a message, and say whether it is shown."""
        if self._thereafter == 1:
            return True
        key = hash(message)
        begun_s, count = self._seen.get(key, (now_s, 0))
        if now_s - begun_s >= _TICK_S:
            begun_s, count = now_s, 0
        if len(self._seen) >= _MESSAGES_MAX and key not in self._seen:
            self._seen.clear()
        self._seen[key] = (begun_s, count + 1)
        if count < self._initial:
            return True
        return self._thereafter > 0 and (count + 1 - self._initial) % self._thereafter == 0
