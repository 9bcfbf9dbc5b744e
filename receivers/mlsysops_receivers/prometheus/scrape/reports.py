"""The series that tell of a scrape (SC-1). Relabelling does not see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_receivers.prometheus.scrape.encoding import STALE_FLAG, attributes, pack_value
from mlsysops_receivers.prometheus.scrape.families import Family, Part
from mlsysops_receivers.prometheus.scrape.metrics import VALUE_TAG, Frame, whole_point

if TYPE_CHECKING:
    from mlsysops_receivers.prometheus.scrape.options import Report

__all__ = ["Reports"]

_TEXTS: Final = {
    "up": ("The scraping was successful", ""),
    "scrape_duration_seconds": ("Duration of the scrape", "s"),
    "scrape_samples_scraped": ("The number of samples the target exposed", ""),
    "scrape_samples_post_metric_relabeling": (
        "The number of samples remaining after metric relabeling was applied",
        "",
    ),
    "scrape_series_added": ("The approximate number of new series in this scrape", ""),
    "scrape_timeout_seconds": ("The configured limit for the duration of a scrape", "s"),
    "scrape_sample_limit": ("The configured limit of samples; 0 is none", ""),
    "scrape_body_size_bytes": ("Size of the last page, uncompressed; -1 if over the limit", "By"),
}


class Reports:
    """Writes the report series of one target."""

    def __init__(self, pairs: tuple[bytes, ...]) -> None:
        self._end = attributes(0x3A, pairs)
        value = pack_value(VALUE_TAG, 0.0)
        self._cut = {
            name: _cut(name, whole_point(b"", bytes(8), value + self._end), len(self._end))
            for name in _TEXTS
        }
        self._written: list[str] = []
        """Names of the last report."""

    def write(
        self, pieces: list[bytes], time: bytes, report: Report, numbers: tuple[float, ...]
    ) -> int:
        """Add the metrics; how many points they are.

        ``numbers``: up, samples scraped, kept and added. ``time``: 8 bytes.
        """
        up, scraped, kept, added = numbers
        values = {
            "up": up,
            "scrape_duration_seconds": report.duration_s,
            "scrape_samples_scraped": scraped,
            "scrape_samples_post_metric_relabeling": kept,
            "scrape_series_added": added,
        }
        extras = {
            "scrape_timeout_seconds": report.timeout_s,
            "scrape_sample_limit": report.sample_limit,
            "scrape_body_size_bytes": report.body_bytes,
        }
        values |= {name: value for name, value in extras.items() if value is not None}
        self._written = list(values)
        for name, value in values.items():
            before, after = self._cut[name]
            pieces += (before, time, pack_value(VALUE_TAG, value), after)
        return len(values)

    def write_stale(self, pieces: list[bytes], time: bytes) -> None:
        """Add markers for all that the last report had: the target is gone."""
        point = whole_point(b"", time, self._end + b"\x40" + STALE_FLAG)
        for name in self._written:
            pieces.extend(_framed(name, point))
        self._written = []


def _framed(name: str, point: bytes) -> tuple[bytes, bytes, bytes]:
    text, unit = _TEXTS[name]
    before, after = Frame(Family(Part.VALUE, name, name, "gauge", text, unit)).around(len(point))
    return before, point, after


def _cut(name: str, point: bytes, end_bytes: int) -> tuple[bytes, bytes]:
    """What stands before the time of the only point of a metric, and what after its value."""
    before, point, after = _framed(name, point)
    end = len(point) - end_bytes
    return before + point[: end - 17], point[end:] + after
