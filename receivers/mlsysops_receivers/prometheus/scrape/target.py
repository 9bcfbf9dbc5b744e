"""The series of one target, remembered from scrape to scrape."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from mlsysops_receivers.prometheus.scrape.labels import SeriesMaker
from mlsysops_receivers.prometheus.scrape.layout import Layout
from mlsysops_receivers.prometheus.scrape.making import CALM_PAGES
from mlsysops_receivers.prometheus.scrape.moments import Moments
from mlsysops_receivers.prometheus.scrape.options import Scraped, ScrapeError
from mlsysops_receivers.prometheus.scrape.page import Page
from mlsysops_receivers.prometheus.scrape.reports import Reports
from mlsysops_receivers.prometheus.scrape.request import Request
from mlsysops_receivers.prometheus.scrape.staleness import stale_points

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mlsysops_pipeline.prometheus.exposition import Grammar
    from mlsysops_receivers.prometheus.scrape.metrics import Metric, MetricKey
    from mlsysops_receivers.prometheus.scrape.options import Report, ScrapeOptions, Target
    from mlsysops_receivers.prometheus.scrape.page import Read
    from mlsysops_receivers.prometheus.scrape.series import Place, Series

__all__ = ["Scrape", "TargetSeries"]

OWED_BYTES_MAX: Final = 1 << 20
"""What is kept of the markers of a target that were refused: of about 10,000 series."""
_pack_time = struct.Struct("<Q").pack

Ended = tuple["Place", bytes]
"""A serialized metric with stale markers, and where it belongs."""


class TargetSeries:
    """What is known of one target. Only the last `Scrape` that was begun may be used."""

    def __init__(self, target: Target, options: ScrapeOptions) -> None:
        self._target = target
        self._options = options
        self._maker = SeriesMaker(target, options)
        self._reports = Reports(self._maker.report_attributes())
        self._layout = Layout()
        self._grammar: Grammar | None = None
        self._is_present = False
        """Whether the series of the layout were there in the last scrape."""
        self._is_due = False
        """Whether the next page is to be laid out anew, although it may be what it was."""
        self._is_torn = False
        """Whether the layout may have been changed by a page that was not taken over."""
        self._page: Page | None = None
        self._serial = 0
        self._was_present = False
        """Whether the last request ended all that was there."""
        self._told: list[Ended] = []
        """What else the last request said has ended."""
        self._owed: list[Ended] = []
        """What has ended, but the requests that said so were not taken."""

    def begin(self, content_type: str, at_ns: int) -> Scrape:
        """Begin to read a page. ``at_ns``: the time of samples that carry none.

        ``content_type``: as the target says; everything but OpenMetrics is read as text 0.0.4.
        """
        if self._is_torn:
            self._forget()
        is_due, self._is_due = self._is_due, False
        self._serial += 1
        self._page = Page(
            self._layout,
            self._maker,
            self._options,
            content_type=content_type,
            former=self._grammar,
            is_due=is_due,
            serial=self._serial,
        )
        return Scrape(self, self._page, at_ns)

    def fail(self, at_ns: int, report: Report) -> bytes:
        """A scrape failed: stale markers for all that was there, ``up`` 0 and the report series."""
        page, self._page = self._page, None
        request = Request()
        pieces = request.pieces(self._maker.place)
        time = _pack_time(at_ns)
        counts = (page.samples, page.kept) if page is not None and page.is_refused else (0, 0)
        before = self._owed_wire([])
        self._was_present = self._is_present
        self._mark_all(request, time)
        self._reports.write(pieces, time, report, (0, *counts, 0))
        return before + request.wire(self._target, self._layout.infos)

    def refused(self) -> None:
        """The pipelines did not take the last request: what has ended is to be told again.

        Otherwise whoever comes after them would show series for minutes that are gone. Beyond
        `OWED_BYTES_MAX` the oldest are given up.
        """
        owed, self._told = self._told, []
        left = OWED_BYTES_MAX
        for at in range(len(owed) - 1, -1, -1):
            left -= len(owed[at][1])
            if left < 0:
                del owed[: at + 1]
                break
        self._owed = owed
        if self._was_present:
            self._is_present, self._was_present = True, False

    def _owed_wire(self, ended: list[Ended]) -> bytes:
        """A request of what is owed, to stand before one that tells what is in ``ended``."""
        owed, self._owed = self._owed, []
        self._told = owed + ended
        if not owed:
            return b""
        request = Request()
        for place, metric in owed:
            request.pieces(place).append(metric)
        return request.wire(self._target, self._layout.infos)

    def end(self, at_ns: int) -> bytes:
        """The target is gone: stale markers for all, the report series too. Empty: nothing was.

        Then everything is forgotten.
        """
        request = Request()
        pieces = request.pieces(self._maker.place)
        time = _pack_time(at_ns)
        before = self._owed_wire([])
        self._mark_all(request, time)
        self._reports.write_stale(pieces, time)
        wire = before + request.wire(self._target, self._layout.infos)
        self._forget()
        return wire

    def _forget(self) -> None:
        self._layout = Layout()
        self._grammar = None
        self._page = None
        self._is_present = self._is_torn = False

    def committing(self, page: Page, at_ns: int, report: Report) -> Generator[None, None, Scraped]:
        """Take over a page that was read to its end: see `Scrape.finishing`."""
        self._is_torn = True
        try:
            read = yield from page.finishing()
        except ScrapeError:
            # Until then nothing was changed.
            page.is_refused, self._is_torn = True, False
            raise
        self._page = None
        former, self._layout = self._layout, read.layout
        self._grammar = page.grammar
        markers = self._markers(former, read, _pack_time(at_ns)) if self._is_present else {}
        self._is_present = True
        scraped = yield from self._writing(read, markers, at_ns, report)
        self._is_torn = False
        return scraped

    def _markers(
        self, former: Layout, read: Read, time: bytes
    ) -> dict[MetricKey, tuple[Metric, bytes]]:
        """Stale markers for what the page does not have any more (SC-3), by metric."""
        if not read.gone:
            return {}
        metrics = {}
        for series in read.gone:
            metric = former.by_key.get(former.key_of(series))
            if metric is not None:
                metrics[former.key_of(series)] = metric
        is_gone = read.gone.__contains__
        return {
            key: (metric, points)
            for key, metric in metrics.items()
            if (points := self._stale(metric, former, is_gone, time))
        }

    def _stale(
        self, metric: Metric, layout: Layout, is_gone: Callable[[Series], bool], time: bytes
    ) -> bytes:
        tracks = self._options.track_timestamps_staleness
        return stale_points(metric, layout.families, is_gone, time, marks_timed=tracks)

    def _mark_all(self, request: Request, time: bytes) -> None:
        """Add stale markers for all that was there."""
        if self._is_present:
            for metric in self._layout.by_key.values():
                points = self._stale(metric, self._layout, lambda _: True, time)
                _write(request, metric, points)
        self._is_present = False

    def _writing(
        self,
        read: Read,
        markers: dict[MetricKey, tuple[Metric, bytes]],
        at_ns: int,
        report: Report,
    ) -> Generator[None, None, Scraped]:
        layout = read.layout
        time = _pack_time(at_ns)
        before = self._owed_wire([_ended(*marker) for marker in markers.values()])
        self._was_present = False
        moments = Moments(at_ns, self._options.ahead_ms_max)
        request = Request()
        points: int | None = None
        if markers or not layout.is_filled:
            yield from self._writing_each(request, layout, moments, markers, time)
        else:
            points = 0
            for place, template in layout.templates.items():
                points += template.write(request.pieces(place), time)
            for metric in layout.dynamic:
                _write(request, metric, moments.points(metric, layout.tails))
                yield
                # Also one whose histograms did not add up may have a template by now.
                self._is_due |= not metric.calm % CALM_PAGES and metric.calm > 0
        if not layout.is_filled:
            layout.fill_templates()
        numbers = (1, layout.samples, layout.kept, read.added)
        reported = self._reports.write(request.pieces(self._maker.place), time, report, numbers)
        if before:
            points = None
        if points is not None:
            points += moments.written + reported
        return Scraped(
            before + request.wire(self._target, layout.infos),
            layout.samples,
            layout.kept,
            read.added,
            duplicates=layout.duplicates + moments.duplicates,
            out_of_order=moments.out_of_order,
            out_of_bounds=moments.out_of_bounds,
            unmapped=layout.unmapped + moments.unmapped,
            rejected=layout.rejected,
            points=points,
        )

    def _writing_each(
        self,
        request: Request,
        layout: Layout,
        moments: Moments,
        markers: dict[MetricKey, tuple[Metric, bytes]],
        time: bytes,
    ) -> Generator[None, None, None]:
        """Write a new layout metric by metric, each with its markers."""
        for key, metric in layout.by_key.items():
            if metric.is_dynamic:
                points = moments.points(metric, layout.tails)
            else:
                points = metric.points(time)
            if key in markers:
                points += markers.pop(key)[1]
            elif not metric.is_dynamic:
                request.pieces(metric.place).extend((metric.before, points, metric.after))
                continue
            _write(request, metric, points)
            yield
        for metric, points in markers.values():
            _write(request, metric, points)

    def __len__(self) -> int:
        return len(self._layout.by_head)

    def __repr__(self) -> str:
        return f"<TargetSeries {self._maker.place.instance} [{len(self)} series]>"


def _ended(metric: Metric, points: bytes) -> Ended:
    """Markers as they are kept until they are taken."""
    before, after = metric.frame.around(len(points))
    return metric.place, before + points + after


def _write(request: Request, metric: Metric, points: bytes) -> None:
    if points:
        before, after = metric.frame.around(len(points))
        request.pieces(metric.place).extend((before, points, after))


class Scrape:
    """One page being read."""

    def __init__(self, series: TargetSeries, page: Page, at_ns: int) -> None:
        self._series = series
        self._page = page
        self._at_ns = at_ns

    def feed(self, chunk: bytes) -> None:
        """Read a piece of the decompressed body, about `FEED_BYTES`. Raises `ScrapeError`."""
        try:
            self._page.feed(chunk)
        except ScrapeError:
            self._page.is_refused = True
            raise

    def finish(self, report: Report) -> Scraped:
        """The page is complete. Raises `ScrapeError`, after which nothing of it is kept."""
        steps = self.finishing(report)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Scraped = end.value
                return found

    def finishing(self, report: Report) -> Generator[None, None, Scraped]:
        """As `finish`, in steps of about a millisecond; its value is what `finish` returns.

        A page whose series are new, or not where they were, takes microseconds for each line. If
        not all steps are taken, the next page is read as the first one.
        """
        return self._series.committing(self._page, self._at_ns, report)
