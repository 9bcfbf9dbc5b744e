"""How the targets are, for the log, for health and for the self-metrics.

A target that fails is logged when it begins to fail, and again when it is well. The receiver as a
whole fails when none of its targets can be scraped; while some can, it is well, and its status says
how many cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.component import Status
from mlsysops_pipeline.transport.complaints import Complaints

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import Settings
    from mlsysops_receivers.prometheus.targets import ScrapeTarget

_REASON_MAX: Final = 300


class Board:
    """The state of all targets of a receiver."""

    def __init__(self, settings: Settings) -> None:
        self._host = settings.host
        self._logger = settings.logger
        self._complaints = Complaints(settings.logger, settings.clock)
        self._down: dict[object, tuple[ScrapeTarget, str]] = {}
        self._up: set[object] = set()
        self._said = ""
        self.discovery_problems: Callable[[], str] = str
        receiver = str(settings.id)
        gauge = settings.meter.gauge("mlsysops_receiver_scrape_targets", "{target}")
        gauge.observe({"receiver": receiver, "state": "up"}, lambda: len(self._up))
        gauge.observe({"receiver": receiver, "state": "down"}, lambda: len(self._down))
        scrapes = settings.meter.counter("mlsysops_receiver_scrapes", "{scrape}")
        self._succeeded = scrapes.bind({"receiver": receiver, "outcome": "success"})
        self._failed = scrapes.bind({"receiver": receiver, "outcome": "failure"})
        self._missed = scrapes.bind({"receiver": receiver, "outcome": "missed"})

    def succeeded(self, key: object, target: ScrapeTarget) -> None:
        """A scrape was good."""
        self._succeeded.add(1)
        if key in self._up:
            return
        self._up.add(key)
        if self._down.pop(key, None) is not None:
            self._logger.info("Prometheus endpoint can be scraped again: target %s", target)
        self.report()

    def failed(self, key: object, target: ScrapeTarget, reason: str) -> None:
        """A scrape was not."""
        self._failed.add(1)
        reason = reason[:_REASON_MAX]
        is_new = key not in self._down
        if not is_new and self._down[key][1] == reason:
            return
        self._up.discard(key)
        self._down[key] = (target, reason)
        if is_new:
            text = f"Failed to scrape Prometheus endpoint: {reason} (target {target})"
            self._complaints.say(key, text)
        self.report()

    def missed(self, scrapes: int) -> None:
        """So many were due while the one before was still on its way, or we were held up."""
        self._missed.add(scrapes)

    def forget(self, key: object) -> None:
        """The target is gone."""
        self._up.discard(key)
        self._down.pop(key, None)

    def report(self) -> None:
        """Say how the receiver is, if that has changed."""
        parts = []
        if self._down:
            target, reason = next(iter(self._down.values()))
            total = len(self._up) + len(self._down)
            parts.append(f"{len(self._down)} of {total} targets fail, such as {target}: {reason}")
        problems = self.discovery_problems()
        if problems:
            parts.append(problems)
        text = "; ".join(parts)
        if text == self._said:
            return
        self._said = text
        fails = bool(self._down) and not self._up
        self._host.report_status(Status.RECOVERABLE_ERROR if fails else Status.OK, text)

    def __repr__(self) -> str:
        return f"<Board up={len(self._up)} down={len(self._down)}>"
