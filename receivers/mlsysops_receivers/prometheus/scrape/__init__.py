"""From the pages of one target to OTLP: what the scrape loop calls. No I/O, no clock, no await.

A loop holds one `TargetSeries` for each target and, for each scrape, one `Scrape`: `Scrape.feed` it
the decompressed body in pieces, then `Scrape.finish`, which gives the whole request: samples, stale
markers and the report series. If anything fails, before or after `TargetSeries.begin`, call
`TargetSeries.fail` instead: nothing of that scrape is kept (SC-2). When the target is gone for
good, `TargetSeries.end` marks all that was there as stale. If the pipelines do not take a request,
`TargetSeries.refused` sees to it that its stale markers come again with the next one.
"""

from mlsysops_receivers.prometheus.scrape.options import (
    FEED_BYTES,
    CeilingError,
    Report,
    Scraped,
    ScrapeError,
    ScrapeOptions,
    Target,
)
from mlsysops_receivers.prometheus.scrape.target import Scrape, TargetSeries

__all__ = [
    "FEED_BYTES",
    "CeilingError",
    "Report",
    "Scrape",
    "ScrapeError",
    "ScrapeOptions",
    "Scraped",
    "Target",
    "TargetSeries",
]
