"""Markers for series that are not there any more (SC-2, SC-3, PI-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_receivers.prometheus.scrape.families import Part
from mlsysops_receivers.prometheus.scrape.making import collect
from mlsysops_receivers.prometheus.scrape.metrics import stale_number, whole_point
from mlsysops_receivers.prometheus.scrape.series import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_receivers.prometheus.scrape.families import Families
    from mlsysops_receivers.prometheus.scrape.making import Line
    from mlsysops_receivers.prometheus.scrape.metrics import Metric
    from mlsysops_receivers.prometheus.scrape.series import Series

__all__ = ["stale_points"]

_STATIC = frozenset({Kind.NUMBER, Kind.MEMBER})


def stale_points(
    metric: Metric,
    families: Families,
    is_gone: Callable[[Series], bool],
    time: bytes,
    *,
    marks_timed: bool,
) -> bytes:
    """The markers for the points of a metric whose series are gone; empty if none is.

    ``families``: those of the page that the metric is of. Series with explicit times get none
    unless ``marks_timed``. A histogram or summary is gone with its count.
    """

    def is_marked(series: Series) -> bool:
        """Whether a series stood for a point and is gone."""
        return (
            (series.last_ms is None or marks_timed)
            and (series in metric.present if metric.is_dynamic else series.kind in _STATIC)
            and is_gone(series)
        )

    if not metric.frame.is_group:
        return b"".join(
            [
                whole_point(b"", time, stale_number(series))
                for series in dict.fromkeys(metric.members)
                if is_marked(series)
            ]
        )
    lines: list[Line] = [
        (0, series, families.of(series.name).part, 0.0) for series in metric.members
    ]
    points = []
    for group in collect(lines, is_histogram=metric.frame.is_histogram)[0]:
        count = group.members.get(Part.COUNT)
        if count is not None and is_marked(count):
            points.append(whole_point(b"", time, group.stale()))
    return b"".join(points)
