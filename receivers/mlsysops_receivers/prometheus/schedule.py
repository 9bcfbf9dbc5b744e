"""When each target is scraped: one heap and one timer for all of them.

A target has its place in the interval, so that a thousand of them are spread over it; a tick that
comes too late, because the process was held up, is left out rather than made up for.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from mlsysops_pipeline.clock import Clock, Timer

_TOLERANCE_S: Final = 0.002
"""How late a scrape may be and still carry the time at which it was due (as in Prometheus)."""
_TOLERANCE_SHARE: Final = 0.01


class Ticking(Protocol):
    """What is scheduled."""

    def tick(self, at_ns: int) -> None:
        """It is time. ``at_ns``: the time that samples are to carry."""

    def missed(self, ticks: int) -> None:
        """So many ticks were left out, because they would have come much too late."""


class Place:
    """Something in the schedule."""

    __slots__ = ("due_ns", "due_s", "interval_s", "is_over", "what")

    def __init__(self, what: Ticking, interval_s: float, due_s: float, due_ns: int) -> None:
        self.what = what
        self.interval_s = interval_s
        self.due_s = due_s
        self.due_ns = due_ns
        self.is_over = False

    def remove(self) -> None:
        """No more ticks."""
        self.is_over = True

    def __repr__(self) -> str:
        return f"<Place every {self.interval_s:g} s>"


class Schedule:
    """All targets of a receiver."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Place]] = []
        self._order = itertools.count()
        self._timer: Timer | None = None
        self._timer_s = 0.0
        self._is_stopped = False

    def add(self, what: Ticking, interval_s: float, offset: float, delay_s: float = 0.0) -> Place:
        """Tick at ``offset`` (0 to 1) of every interval of the clock, or first after ``delay_s``.

        Intervals begin at the same moments everywhere, so targets keep their place over restarts.
        """
        now_s, now_ns = self._clock.monotonic(), self._clock.unix_ns()
        if delay_s:
            wait_s = delay_s
        else:
            phase = (now_ns / 1e9) % interval_s
            wait_s = (offset * interval_s - phase) % interval_s
        place = Place(what, interval_s, now_s + wait_s, now_ns + int(wait_s * 1e9))
        self._push(place)
        self._arm()
        return place

    def stop(self) -> None:
        """No more ticks at all."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heap.clear()

    def _push(self, place: Place) -> None:
        heapq.heappush(self._heap, (place.due_s, next(self._order), place))

    def _arm(self) -> None:
        """Have the timer ring for the first place."""
        if not self._heap or self._is_stopped:
            return
        due_s = self._heap[0][0]
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer_s = due_s
        wait_s = max(due_s - self._clock.monotonic(), 0.0)
        self._timer = self._clock.call_later(wait_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_s, now_ns = self._clock.monotonic(), self._clock.unix_ns()
        while self._heap and self._heap[0][0] <= now_s:
            _, _, place = heapq.heappop(self._heap)
            if place.is_over:
                continue
            at_ns = self._time_of(place, now_s, now_ns)
            self._advance(place, now_s, now_ns)
            self._push(place)
            place.what.tick(at_ns)
        self._arm()

    @staticmethod
    def _time_of(place: Place, now_s: float, now_ns: int) -> int:
        """When the tick was due if that is as good as now, by both clocks; else now."""
        tolerance_s = min(_TOLERANCE_S, place.interval_s * _TOLERANCE_SHARE)
        is_near = abs(now_ns - place.due_ns) <= tolerance_s * 1e9
        return place.due_ns if is_near and now_s - place.due_s <= tolerance_s else now_ns

    @staticmethod
    def _advance(place: Place, now_s: float, now_ns: int) -> None:
        """To the next tick in the future."""
        late_s = now_s - place.due_s
        steps = int(late_s / place.interval_s) + 1
        if steps > 1:
            place.what.missed(steps - 1)
        place.due_s += steps * place.interval_s
        place.due_ns += int(steps * place.interval_s * 1e9)
        drift_ns = (now_ns - place.due_ns) + int((place.due_s - now_s) * 1e9)
        if abs(drift_ns) > place.interval_s * 0.5e9:
            place.due_ns += drift_ns  # the wall clock was set

    def __len__(self) -> int:
        return len(self._heap)

    def __repr__(self) -> str:
        return f"<Schedule targets={len(self._heap)}>"
