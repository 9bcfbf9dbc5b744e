"""The series of one target, remembered from scrape to scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_receivers.prometheus.scrape.options import ScrapeError, Scraped

if TYPE_CHECKING:
    from mlsysops_receivers.prometheus.scrape.options import Report, ScrapeOptions, Target

__all__ = ["Scrape", "TargetSeries"]


class TargetSeries:
    """What is known of one target. Only the last `Scrape` that was begun may be used."""

    def __init__(self, target: Target, options: ScrapeOptions) -> None:
        self._target = target
        self._options = options

    def begin(self, content_type: str, at_ns: int) -> Scrape:
        """Begin to read a page. ``at_ns``: the time of samples that carry none.

        ``content_type``: as the target says; everything but OpenMetrics is read as text 0.0.4.
        """
        return Scrape(self, content_type, at_ns)

    def fail(self, at_ns: int, report: Report) -> bytes:
        """A scrape failed: stale markers for all that was there, ``up`` 0 and the report series."""
        raise NotImplementedError

    def end(self, at_ns: int) -> bytes:
        """The target is gone: stale markers for all, the report series too. Empty: nothing was."""
        raise NotImplementedError

    def __len__(self) -> int:
        return 0


class Scrape:
    """One page being read."""

    def __init__(self, series: TargetSeries, content_type: str, at_ns: int) -> None:
        self._series = series
        self._content_type = content_type
        self._at_ns = at_ns

    def feed(self, chunk: bytes) -> None:
        """Read a piece of the decompressed body, about `FEED_BYTES`. Raises `ScrapeError`."""
        raise ScrapeError("line 1: not yet")

    def finish(self, report: Report) -> Scraped:
        """The page is complete. Raises `ScrapeError`, after which nothing of it is kept."""
        return Scraped(b"", 0, 0, 0)
