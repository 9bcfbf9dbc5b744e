"""One target while it is scraped: what happens at each tick, and when the target goes."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.errors import ConsumeError
from mlsysops_receivers.prometheus.fetch.client import FetchError
from mlsysops_receivers.prometheus.fetch.deadline import Deadline
from mlsysops_receivers.prometheus.pages import BodyTooLargeError, Page
from mlsysops_receivers.prometheus.rests import Rest
from mlsysops_receivers.prometheus.scalars import seconds_text
from mlsysops_receivers.prometheus.scrape import (
    CeilingError,
    Report,
    ScrapeError,
    TargetSeries,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import Settings
    from mlsysops_receivers.prometheus.board import Board
    from mlsysops_receivers.prometheus.fetch.client import Fetcher
    from mlsysops_receivers.prometheus.intake import Intake
    from mlsysops_receivers.prometheus.jobs import Job
    from mlsysops_receivers.prometheus.schedule import Place
    from mlsysops_receivers.prometheus.scrape import Scrape, Scraped
    from mlsysops_receivers.prometheus.targets import ScrapeTarget

REPORT_SERIES: Final = 5
GRACE_S: Final = 5.0
"""How long pipelines may still take for a page that was read when its target or we go."""
_PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0, 120.0, 0.0)
"""Before the markers of a target that is gone are handed on again."""
_SLICE_S: Final = 0.005
"""How long a page may be finished before others have their turn."""


@dataclass(slots=True)
class Around:
    """What all targets of a job share. ``excess``: why none of them may be scraped, if so."""

    job: Job
    fetcher: Fetcher
    intake: Intake
    board: Board
    settings: Settings
    excess: str = ""


class TargetLoop:
    """One target. At most one scrape is under way.

    ``place``: in the schedule. ``points``: of the last scrape that was good, about.
    """

    __slots__ = (
        "_around",
        "_is_handing_on",
        "_key",
        "_rest",
        "_series",
        "_task",
        "place",
        "points",
        "target",
    )

    def __init__(self, target: ScrapeTarget, around: Around) -> None:
        self.target = target
        self.place: Place | None = None
        self._around = around
        self._key = (around.job.name, target.key)
        self._series = TargetSeries(target.series_target, around.job.options)
        self._rest = Rest(target.interval_s)
        self._task: asyncio.Task[None] | None = None
        self._is_handing_on = False
        self.points = 0

    def tick(self, at_ns: int) -> None:
        """See `schedule.Ticking`."""
        if self._task is not None and not self._task.done():
            self._around.board.missed(1)
            return
        self._task = self._around.settings.tasks.spawn("scrape", self.scrape(at_ns))

    def missed(self, ticks: int) -> None:
        """See `schedule.Ticking`."""
        self._around.board.missed(ticks)

    async def scrape(self, at_ns: int) -> None:
        """Scrape once and hand on what there is."""
        around = self._around
        clock = around.settings.clock
        page = Page(around.job, self.target, clock, around.settings.memory)
        began_s = clock.monotonic()
        try:
            try:
                scrape, reason = await self._read(page, at_ns), ""
            except ConsumeError as error:
                # There is no memory for it now. Nothing was wrong with the target.
                around.intake.refuse(self.points or REPORT_SERIES, self.target, str(error))
                return
            except (FetchError, ScrapeError, BodyTooLargeError, TimeoutError) as error:
                scrape, reason = None, self._explained(error, page)
            report = self._report(page, clock.monotonic() - began_s, reason)
            wire, points = await self._finished(scrape, report, at_ns, reason, page)
            self._is_handing_on = True
            if not await around.intake.take(wire, self.target, points):
                self._series.refused()
        finally:
            self._is_handing_on = False
            page.drop()

    async def _read(self, page: Page, at_ns: int) -> Scrape:
        around = self._around
        if around.excess:
            raise FetchError(around.excess)
        if self._rest.is_on(around.settings.clock.monotonic()):
            raise FetchError(self._rest.reason)
        try:
            with Deadline(around.settings.clock, self.target.timeout_s) as deadline:
                return await page.read(
                    around.fetcher,
                    self._series,
                    at_ns,
                    admit=around.intake.admit,
                    deadline=deadline,
                    turn=around.intake.turn,
                )
        except (ConsumeError, FetchError, ScrapeError, BodyTooLargeError, TimeoutError):
            raise
        except Exception as error:  # the edge
            raise FetchError(self._own_fault(error)) from error

    def _own_fault(self, error: Exception) -> str:
        """A fault of ours fails this scrape, and not the next."""
        self._around.settings.logger.error("scraping %s failed", self.target, exc_info=error)
        return f"{type(error).__name__}: {error}"

    def _explained(self, error: Exception, page: Page) -> str:
        if isinstance(error, TimeoutError):
            so_far = f", {page.body_bytes} bytes of the page so far" if page.body_bytes else ""
            return f"no complete answer within {seconds_text(self.target.timeout_s)}{so_far}"
        text = page.explained(error) if isinstance(error, ScrapeError) else str(error)
        if isinstance(error, CeilingError) or getattr(error, "is_ceiling", False):
            return self._rest.begin(text, self._around.settings.clock.monotonic())
        return text

    def _report(self, page: Page, duration_s: float, reason: str) -> Report:
        job = self._around.job
        if not job.has_extra_metrics:
            return Report(duration_s)
        is_too_large = reason.startswith("body size limit exceeded")
        body_bytes = -1 if is_too_large else page.body_bytes
        return Report(duration_s, self.target.timeout_s, job.options.sample_limit, body_bytes)

    async def _finished(
        self, scrape: Scrape | None, report: Report, at_ns: int, reason: str, page: Page
    ) -> tuple[bytes, int | None]:
        """The request of this scrape, whether it was good or not, and its points if counted."""
        around = self._around
        if scrape is not None:
            try:
                scraped = await self._all_steps(scrape, report)
            except ScrapeError as error:
                reason = self._explained(error, page)
            except Exception as error:  # noqa: BLE001  the edge
                reason = self._own_fault(error)
            else:
                self._note(scraped)
                return scraped.wire, scraped.points
        around.board.failed(self._key, self.target, reason)
        return self._series.fail(at_ns, report), None

    async def _all_steps(self, scrape: Scrape, report: Report) -> Scraped:
        """Finish a page. Those with many new series take long."""
        clock = self._around.settings.clock
        steps = scrape.finishing(report)
        until_s = clock.monotonic() + _SLICE_S
        while True:
            try:
                next(steps)
            except StopIteration as end:
                scraped: Scraped = end.value
                return scraped
            if clock.monotonic() > until_s:
                await clock.sleep(0)
                until_s = clock.monotonic() + _SLICE_S

    def _note(self, scraped: Scraped) -> None:
        around = self._around
        self.points = scraped.samples_post_relabel + REPORT_SERIES
        self._rest.end()
        if scraped.left_out:
            around.intake.note(scraped)
            around.intake.complain(self.target, scraped)
        around.board.succeeded(self._key, self.target)

    async def leave(self, is_back: Callable[[], bool] = bool) -> None:
        """The target is gone: end what is under way, and mark its series as stale.

        Pipelines that refuse that are asked again for a few minutes, unless ``is_back``.
        """
        await self.stop()
        around = self._around
        around.board.forget(self._key)
        around.board.report()
        around.fetcher.forget(self.target.url)
        markers = self._series.end(around.settings.clock.unix_ns())
        for pause_s in _PAUSES_S:
            if await around.intake.take(markers, self.target) or is_back():
                return
            await around.settings.clock.sleep(pause_s)
            if is_back():
                return  # what is newer must not be followed by these

    async def stop(self) -> None:
        """No more scrapes. One that is under way is given up, unless its data is being taken."""
        if self.place is not None:
            self.place.remove()
        task, self._task = self._task, None
        if task is None or task.done():
            return
        if self._is_handing_on:
            with contextlib.suppress(TimeoutError), Deadline(self._around.settings.clock, GRACE_S):
                await asyncio.wait([task])
        task.cancel()
        await asyncio.wait([task])

    def __repr__(self) -> str:
        return f"<TargetLoop {self.target.url} series={len(self._series)}>"
