"""What goes into a scrape beside its page, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "FEED_BYTES",
    "CeilingError",
    "Report",
    "ScrapeError",
    "ScrapeOptions",
    "Scraped",
    "Target",
]

FEED_BYTES: Final = 16 << 10
"""How much of a page to feed at a time: of new series this takes about 5 ms, of known ones 0.1."""
_SAMPLES_MAX: Final = 200_000
_PAGE_BYTES_MAX: Final = 64 << 20
_LINE_BYTES_MAX: Final = 256 << 10
_AHEAD_MS: Final = 10 * 60 * 1000


class ScrapeError(Exception):
    """A page that is not kept. The text says why, with the line if it is one that is at fault."""


class CeilingError(ScrapeError):
    """A page that is too large for us, though no limit of its job says so."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is scraped. ``labels``: after relabelling, without those that begin with two underscores.

    ``resource``: attributes that discovery knows and that are no labels.
    """

    labels: Mapping[str, str]
    scheme: str = "http"
    resource: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScrapeOptions:
    """How pages of a job are read. Limits: 0 is none, as in Prometheus.

    ``relabel``: metric_relabel_configs; asked once for each new series with labels that include
    ``__name__``, its answer is remembered. ``None`` as answer drops the series. May change and
    return its argument. ``samples_max``: lines with samples that a page may have even without
    ``sample_limit``, so that memory is bounded; more is an error. So with ``page_bytes_max`` and
    ``line_bytes_max``.
    """

    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    sample_limit: int = 0
    label_limit: int = 0
    label_name_length_limit: int = 0
    label_value_length_limit: int = 0
    relabel: Callable[[dict[str, str]], dict[str, str] | None] | None = None
    external_labels: Mapping[str, str] = field(default_factory=dict)
    scope_name: str = "mlsysops_receivers.prometheus"
    scope_version: str = ""
    trim_metric_suffixes: bool = False
    samples_max: int = _SAMPLES_MAX
    page_bytes_max: int = _PAGE_BYTES_MAX
    line_bytes_max: int = _LINE_BYTES_MAX
    ahead_ms_max: int = _AHEAD_MS
    """How far in the future an explicit timestamp may be; those beyond are dropped, counted."""


@dataclass(frozen=True, slots=True)
class Report:
    """What only the loop knows about a scrape. The last three are reported where given.

    They are the extra metrics: ``scrape_timeout_seconds``, ``scrape_sample_limit`` and
    ``scrape_body_size_bytes`` (-1 if the limit of the body was passed).
    """

    duration_s: float
    timeout_s: float | None = None
    sample_limit: int | None = None
    body_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Scraped:
    """A scrape that succeeded.

    ``wire``: an ``ExportMetricsServiceRequest``, with stale markers and the report series.
    ``samples_scraped``: lines with samples. ``samples_post_relabel``: those that relabelling kept.
    ``series_added``: series that the scrape before did not have. The rest counts samples that were
    left out, though relabelling kept them: second ones of a series in a page, those older than the
    one before, those too far in the future, those that OTLP has no place for (parts of histograms
    without a count, gauge histograms), and those in which a label occurs twice. ``points``: how
    many are in ``wire``, unless nobody has counted them on the way.
    """

    wire: bytes
    samples_scraped: int
    samples_post_relabel: int
    series_added: int
    duplicates: int = 0
    out_of_order: int = 0
    out_of_bounds: int = 0
    unmapped: int = 0
    rejected: int = 0
    points: int | None = None

    @property
    def left_out(self) -> int:
        """All samples that were left out."""
        return (
            self.duplicates + self.out_of_order + self.out_of_bounds + self.unmapped + self.rejected
        )
