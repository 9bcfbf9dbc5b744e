"""How long a target is left alone whose page is too large for us.

To find that out costs seconds of CPU where no limit of the job refuses the page earlier. So after
each such scrape the next ones fail at once, for the same reason, without a request: two intervals
long, then four, and so on up to about a minute.
"""

from __future__ import annotations

from typing import Final

REST_MAX_S: Final = 60.0


class Rest:
    """The rests of one target. ``reason``: why it has one; empty: it has none."""

    __slots__ = ("_interval_s", "_length_s", "_until_s", "reason")

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._length_s = self._until_s = 0.0
        self.reason = ""

    def begin(self, reason: str, now_s: float) -> str:
        """The page was too large. What to say about it, now and until the next attempt."""
        longer_s = max(2 * self._length_s, 2 * self._interval_s)
        self._length_s = min(longer_s, REST_MAX_S)
        self._until_s = now_s + self._length_s - self._interval_s / 2
        self.reason = (
            f"{reason}; until it is smaller it is asked ever more rarely, once a minute at last"
        )
        return self.reason

    def is_on(self, now_s: float) -> bool:
        """Whether the target is to be left alone."""
        return now_s < self._until_s

    def end(self) -> None:
        """A page was not too large."""
        self._length_s = self._until_s = 0.0
        self.reason = ""

    def __repr__(self) -> str:
        return f"<Rest {self._length_s:g} s>"
