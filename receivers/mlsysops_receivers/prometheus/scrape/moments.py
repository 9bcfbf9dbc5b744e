"""Points that are written anew for each scrape: those with times of their own, or exemplars."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.prometheus.exposition import Tail
from mlsysops_receivers.prometheus.scrape.encoding import exemplar, from_milliseconds, pack_value
from mlsysops_receivers.prometheus.scrape.families import Part
from mlsysops_receivers.prometheus.scrape.making import collect
from mlsysops_receivers.prometheus.scrape.metrics import VALUE_TAG, number_end, whole_point

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_receivers.prometheus.scrape.making import Line, Value
    from mlsysops_receivers.prometheus.scrape.metrics import Metric
    from mlsysops_receivers.prometheus.scrape.series import Series

__all__ = ["Moments"]

_EXEMPLARS: Final = 5
_NS_PER_MS: Final = 1_000_000
_pack_time = struct.Struct("<Q").pack


@dataclass(slots=True)
class Moments:
    """Decides which times are taken, as Prometheus does, and counts samples that are left out.

    A time before that of the last sample of a series is out of order, one over ``ahead_ms`` in the
    future (or one that OTLP cannot say) out of bounds; a second sample of a page with the same time
    is a duplicate. ``unmapped``: lines of groups that have no point, or no room for them.
    """

    at_ns: int
    ahead_ms: int
    out_of_order: int = 0
    out_of_bounds: int = 0
    duplicates: int = 0
    unmapped: int = 0
    written: int = 0

    def points(self, metric: Metric, tails: Mapping[int, Value]) -> bytes:
        """The points of a dynamic metric."""
        lines: list[Line] = [
            (index, series, part, tails[index])
            for index, series, part in zip(
                metric.indices, metric.members, metric.parts, strict=True
            )
        ]
        metric.present = set()
        metric.calm += 1
        if any(line[3].__class__ is Tail for line in lines):
            metric.calm = 0
        if metric.frame.is_group:
            return self._groups(metric, lines)
        return self._numbers(metric, lines)

    def _numbers(self, metric: Metric, lines: list[Line]) -> bytes:
        points = []
        written: dict[Series, int] = {}
        for _, series, _, value in lines:
            number, at_ms, found = value if isinstance(value, Tail) else (value, None, None)
            time_ns = self._accepted(series, at_ms, written)
            if time_ns is None:
                continue
            metric.present.add(series)
            rest = pack_value(VALUE_TAG, number)
            if found is not None:
                rest += exemplar(_EXEMPLARS, found, time_ns)
            rest += number_end(series)
            points.append(whole_point(metric.starts.get(series, b""), _pack_time(time_ns), rest))
        self.written += len(points)
        return b"".join(points)

    def _groups(self, metric: Metric, lines: list[Line]) -> bytes:
        points = []
        written: dict[Series, int] = {}
        groups, left = collect(lines, is_histogram=metric.frame.is_histogram)
        self.unmapped += len(left)
        for group in groups:
            count = group.members.get(Part.COUNT)
            if count is None or group.rest(0) is None:
                self.unmapped += len(group.members)
                continue
            time_ns = self._accepted(count, group.timestamp_ms, written)
            if time_ns is None:
                continue
            metric.present.add(count)
            rest = group.rest(time_ns) or b""
            points.append(whole_point(group.start, _pack_time(time_ns), rest))
        self.written += len(points)
        return b"".join(points)

    def _accepted(
        self, series: Series, at_ms: int | None, written: dict[Series, int]
    ) -> int | None:
        """The time of a sample, ``None`` if it is not taken."""
        last_ms = series.last_ms
        now_ms = self.at_ns // _NS_PER_MS
        if at_ms is None:
            if last_ms is not None and now_ms < last_ms:
                self.out_of_order += 1
                return None
            series.last_ms = None
            return self.at_ns
        time_ns = from_milliseconds(at_ms)
        if time_ns is None or at_ms > now_ms + self.ahead_ms:
            self.out_of_bounds += 1
            return None
        if last_ms is not None and at_ms < last_ms:
            self.out_of_order += 1
            return None
        if written.get(series) == at_ms:
            self.duplicates += 1
            return None
        series.last_ms = written[series] = at_ms
        return time_ns
