"""The points of one interval, one of each stream, and the requests they become. No I/O.

Resources, scopes and metrics are kept as bytes without what they hold, so that what OTLP may add to
them survives; points are kept as bytes as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.metrics import closed
from mlsysops_pipeline.metrics.accumulation import add, add_numbers
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, serialize, view
from mlsysops_pipeline.pdata.wire import fields, length_prefix, message_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_INNER = 2
"""The number of ``scope_metrics`` in a resource's group, and of ``metrics`` in a scope's."""
_GROUPS = 1

_Point = tuple[int, bytes, int, "tuple[Any, ...] | None"]
"""The newest time, the point, the earliest start, and of deltas what they add up to."""
_Whole = tuple[bytes, int, int, int]


class HeldMetric:
    """A metric and its points by their attributes. ``header``: the metric without points.

    ``whole``: instead of both, the metric as it came, the newest time in it, how many points, and
    the hash of its layout.
    """

    __slots__ = ("header", "kind", "points", "whole")

    def __init__(self, kind: str, header: bytes) -> None:
        self.kind = kind
        self.header = header
        self.points: dict[int, _Point] = {}
        self.whole: _Whole | None = None

    @property
    def count(self) -> int:
        """How many points there are."""
        return len(self.points) if self.whole is None else self.whole[2]


class HeldScope:
    """A scope and its metrics by key. ``header``: a ``ScopeMetrics`` without metrics."""

    __slots__ = ("header", "metrics")

    def __init__(self, header: bytes) -> None:
        self.header = header
        self.metrics: dict[int, HeldMetric] = {}


class HeldResource:
    """A resource and its scopes by key. ``header``: a ``ResourceMetrics`` without scopes."""

    __slots__ = ("header", "scopes")

    def __init__(self, header: bytes) -> None:
        self.header = header
        self.scopes: dict[int, HeldScope] = {}


class Held:
    """All that is held. ``count``: the points, one of each stream. ``scopes``: those of all.

    Changes since the last `keep` can be undone; ``merged`` counts the points that went into others.
    """

    __slots__ = ("_before", "count", "merged", "resources", "scopes")

    def __init__(self) -> None:
        self.resources: dict[int, HeldResource] = {}
        self.scopes: dict[int, HeldScope] = {}
        self.count = 0
        self.merged = 0
        self._before: list[tuple[HeldMetric, int | None, Any]] = []

    def newest_whole(
        self, metric: HeldMetric, wire: bytes, layout: int, times: tuple[int, ...]
    ) -> bool:
        """Keep a metric as it came, of a layout that is known (see `layouts`).

        ``False``: it has to be looked at point by point, and was not changed.
        """
        old = metric.whole
        if metric.points or (old is not None and (layout != old[3] or min(times) <= old[1])):
            return False
        self._replace(metric, (wire, max(times), len(times), layout))
        return True

    def gather(
        self,
        metric: HeldMetric,
        wire: bytes,
        layout: int,
        parts: Sequence[tuple[int, int, int, int]],
    ) -> bool:
        """Keep a metric as it came if all that is held of it is older, point by point."""
        points = metric.points
        if len(parts) != len(points) or not layout:
            return False
        for stream, _, _, time_ns in parts:
            old = points.get(stream)
            if old is None or time_ns <= old[0]:
                return False
        newest = max([part[3] for part in parts])
        self._replace(metric, (wire, newest, len(parts), layout))
        return True

    def spread(
        self,
        metric: HeldMetric,
        kind: str,
        header: bytes,
        parts: Iterable[tuple[int, int, int, int]],
    ) -> None:
        """Hold the points of a whole metric one by one."""
        if metric.whole is None:
            return
        wire = metric.whole[0]
        metric.kind, metric.header = kind, header
        points: dict[int, _Point] = {
            stream: (time_ns, wire[begin:end], 0, None) for stream, begin, end, time_ns in parts
        }
        self._before.append((metric, None, (metric.whole, metric.points)))
        metric.whole, metric.points = None, points

    def _replace(self, metric: HeldMetric, whole: _Whole) -> None:
        self._before.append((metric, None, (metric.whole, metric.points)))
        if metric.count:
            self.merged += whole[2]
        else:
            self.count += whole[2]
        metric.whole, metric.points = whole, {}

    def newest(self, metric: HeldMetric, stream: int, point: Any) -> None:
        """Keep a point if it is the newest of its stream."""
        old = metric.points.get(stream)
        time_ns = point.time_unix_nano
        if old is not None and time_ns <= old[0]:
            self.merged += 1
            return
        self._put(metric, stream, old, (time_ns, serialize(point), 0, None))

    def newest_of(
        self, metric: HeldMetric, wire: bytes, parts: Iterable[tuple[int, int, int, int]]
    ) -> None:
        """The same of points in the bytes of their metric (see `closed.known_points`)."""
        known, before = metric.points, self._before
        for stream, begin, end, time_ns in parts:
            old = known.get(stream)
            if old is None:
                self.count += 1
            else:
                self.merged += 1
                if time_ns <= old[0]:
                    continue
            before.append((metric, stream, old))
            known[stream] = (time_ns, wire[begin:end], 0, None)

    def total(self, metric: HeldMetric, stream: int, point: Any) -> bool:
        """Add a delta to its stream. ``False``: it cannot be added, and was not changed."""
        old = metric.points.get(stream)
        before = old[3] if old is not None else None
        bounds = 5  # where `accumulation` has the bounds of histograms
        if (
            before is not None
            and metric.kind == "histogram"
            and (
                before[bounds] != tuple(point.explicit_bounds)
                or len(before[bounds - 1]) != len(point.bucket_counts)
            )
        ):
            return False
        content = add(metric.kind, point, before)
        if content is None:
            return False
        time_ns, start_ns = point.time_unix_nano, point.start_time_unix_nano
        if old is not None:
            time_ns = max(time_ns, old[0])
            if old[2]:  # else nobody knew, so far
                start_ns = min(start_ns, old[2])
            point.time_unix_nano = time_ns
            point.start_time_unix_nano = start_ns
        self._put(metric, stream, old, (time_ns, serialize(point), start_ns, content[1]))
        return True

    def total_closed(
        self, metric: HeldMetric, stream: int, wire: bytes, point: closed.Point
    ) -> bool:
        """The same of a point in the bytes of its metric."""
        begin, rest, end, start_ns, time_ns, _, value = point
        if not math.isfinite(value):
            return False
        old = metric.points.get(stream)
        content = wire[begin:end]
        if old is not None:
            before = old[3]
            state = add_numbers(value, before[0]) if before is not None else value
            if state is None:
                return False
            value = state
            time_ns = max(time_ns, old[0])
            if old[2]:  # else nobody knew, so far
                start_ns = min(start_ns, old[2])
            content = closed.packed(start_ns, time_ns, value) + wire[rest:end]
        self._put(metric, stream, old, (time_ns, content, start_ns, (value,)))
        return True

    def _put(self, metric: HeldMetric, stream: int, old: _Point | None, new: _Point) -> None:
        self._before.append((metric, stream, old))
        metric.points[stream] = new
        if old is None:
            self.count += 1
        else:
            self.merged += 1

    def keep(self) -> int:
        """The changes are for good. How many points went into others."""
        merged, self.merged = self.merged, 0
        self._before = []
        return merged

    def undo(self) -> None:
        """As if nothing had changed since `keep`."""
        for metric, stream, old in reversed(self._before):
            if stream is None:
                self.count -= metric.count
                metric.whole, metric.points = old
                self.count += metric.count
            elif old is None:
                del metric.points[stream]
                self.count -= 1
            else:
                metric.points[stream] = old
        self._before = []
        self.merged = 0

    def requests(self) -> Iterable[bytes]:
        """A request for each resource that has points."""
        for resource in self.resources.values():
            scopes = []
            for scope in resource.scopes.values():
                metrics = [_metric(metric) for metric in scope.metrics.values() if metric.count]
                if metrics:
                    scopes.append(scope.header + b"".join([_framed(_INNER, m) for m in metrics]))
            if scopes:
                group = resource.header + b"".join([_framed(_INNER, scope) for scope in scopes])
                yield _framed(_GROUPS, group)


def header(message: Any) -> bytes:
    """A ``ResourceMetrics`` or ``ScopeMetrics`` of a view without what it holds."""
    wire = serialize(message)
    tag = message_tag(_INNER)
    pieces = [wire[start:end] for tag_, start, _, end in fields(wire, 0, len(wire)) if tag_ != tag]
    return b"".join(pieces)


def _metric(held: HeldMetric) -> bytes:
    if held.whole is not None:
        return held.whole[0]
    metric: Any = view(Signal.METRICS, Depth.RECORD, "Metric").FromString(held.header)
    getattr(metric, held.kind).data_points.extend([point[1] for point in held.points.values()])
    return serialize(metric)


def _framed(number: int, content: bytes) -> bytes:
    return length_prefix(number, len(content)) + content
