"""What was given to a collector, and what of it the sink has: whether a run was exact."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks import target as target_page

if TYPE_CHECKING:
    from benchmarks.process import Helper, Measured
    from benchmarks.scenarios import Arrival, Setup

_ARRIVE_S_MAX = 15.0
_QUIET_S = 1.5
"""Longer than the interval of any scenario in which points are held."""
_SCRAPE_REPORT_POINTS = 5
"""What a scrape says of itself: ``up`` and four ``scrape_*``."""


class Books:
    """Asks sink and target for their counts, and compares them with what was acknowledged."""

    def __init__(self, sink: Helper, target: Helper | None, setup: Setup, arrival: Arrival) -> None:
        self._sink, self._target, self._arrival = sink, target, arrival
        self.page_items = setup.series
        if setup.sink == "sink":
            self.page_items = target_page.points(setup.series) + _SCRAPE_REPORT_POINTS
        self.least = self.most = 0
        """What of the load and of the pages has to be in the sink."""
        self.pages = 0
        self.counts: dict[str, Any] = {}
        self.helpers_cpu_s = 0.0

    def settle(self, signal: str, sent: int, *, stop: bool = False) -> None:
        """Wait until the sink has all that was given, or is late. ``stop``: no more pages.

        Where it is not known how much arrives: until there is enough, and no more comes.
        """
        deadline_s = time.monotonic() + _ARRIVE_S_MAX
        changed_s, arrived = time.monotonic(), -1
        while True:
            target_cpu_s = 0.0
            if self._target is not None:
                self._target.tell("stop" if stop else "")
                served = self._target.hear()
                self.pages, target_cpu_s = served["pages"], served["cpu_s"]
            self._sink.tell()
            self.counts = self._sink.hear()
            self.helpers_cpu_s = self.counts["cpu_s"] + target_cpu_s
            pages = self.pages * self.page_items
            self.least = round(sent * self._arrival.least) + pages
            self.most = round(sent * self._arrival.most) + pages
            before, arrived = arrived, self._arrived(signal)
            now_s = time.monotonic()
            changed_s = changed_s if arrived == before else now_s
            if now_s >= deadline_s:
                return
            if self.least == self.most:
                if arrived == self.most or (arrived > self.most and self._target is None):
                    return
            elif arrived >= self.least and now_s - changed_s >= _QUIET_S:
                return
            time.sleep(0.05)

    def _arrived(self, signal: str) -> int:
        return int(self.counts[str(self._arrival.signal or signal)])

    def delivered(self, signal: str) -> float:
        """The items that have arrived by now, in items as they were sent."""
        self._sink.tell()
        self.counts = self._sink.hear()
        return self._arrived(signal) / self._arrival.most

    def pages_served(self) -> int:
        """What the target has given out so far."""
        assert self._target is not None
        self._target.tell()
        return int(self._target.hear()["pages"])

    def outcome(self, signal: str, collector: Measured) -> dict[str, Any]:
        """Whether the sink has exactly what it should, or as much as it may."""
        arrived = self._arrived(signal)
        surplus = arrived - min(max(arrived, self.least), self.most)
        return {
            "exact": not surplus,
            "surplus_items": surplus,
            "log": collector.log() if surplus else "",
        }
