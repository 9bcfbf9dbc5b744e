"""Choosing parts of a request, by resource or item, with as little opened as possible.

By resource: groups are cut out of the bytes, and nothing but the resource is read. By metric or
item: a record view is pruned, so that items stay the bytes they were. In both cases every field
that OTLP does not name is kept, and a part that is the whole request is the very same object.
Units are numbered in the order in which a reader meets them.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize
from mlsysops_pipeline.pdata.wire import fields, message_tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROUP_NAMES = {Signal.METRICS: "metrics", Signal.LOGS: "logs", Signal.TRACES: "spans"}
"""What follows ``resource_`` and ``scope_`` in the names of a signal's groups."""
POINT_NAMES = {
    "gauge": "NumberDataPoint",
    "sum": "NumberDataPoint",
    "histogram": "HistogramDataPoint",
    "exponential_histogram": "ExponentialHistogramDataPoint",
    "summary": "SummaryDataPoint",
}
"""The messages in ``data_points`` of each kind of metric."""
_FIRST_MESSAGE = message_tag(1)
"""The tag of groups in a request, and of the resource in a group."""


def resources(wire: bytes) -> list[bytes]:
    """The serialized resource of each group. Raises `MalformedError`."""
    found = []
    for tag, _, content, end in fields(wire, 0, len(wire)):
        if tag == _FIRST_MESSAGE:
            # Most encoders write the resource once and first; a second one would be merged.
            parts = [
                wire[begin:stop]
                for inner, _, begin, stop in fields(wire, content, end)
                if inner == _FIRST_MESSAGE
            ]
            found.append(parts[0] if len(parts) == 1 else b"".join(parts))
    return found


def keep_groups(wire: bytes, wanted: Sequence[bool]) -> bytes:
    """The request with only the groups that are wanted; empty if none is."""
    if all(wanted):
        return wire
    if not any(wanted):
        return b""
    pieces: list[bytes] = []
    done = 0
    flags = iter(wanted)
    for tag, start, _, end in fields(wire, 0, len(wire)):
        if tag == _FIRST_MESSAGE and not next(flags):
            if start > done:
                pieces.append(wire[done:start])
            done = end
    pieces.append(wire[done:])
    return b"".join(pieces)


class Opened:
    """A request in record view."""

    __slots__ = ("_name", "_signal", "_wire", "message")

    def __init__(self, signal: Signal, wire: bytes) -> None:
        """Open it. Raises `MalformedError`."""
        self._signal = signal
        self._wire = wire
        self._name = GROUP_NAMES[signal]
        self.message = parse(signal, Depth.RECORD, wire)

    def scopes(self) -> Iterator[tuple[Any, Any]]:
        """Every scope group with the resource group it is in."""
        for group in getattr(self.message, f"resource_{self._name}"):
            for scope_group in getattr(group, f"scope_{self._name}"):
                yield group, scope_group

    def lists(self, scope_group: Any) -> Iterator[tuple[Any, Any, str]]:
        """Closed items side by side: the metric (or ``None``), the items, their message's name.

        A metric without data has an empty list.
        """
        if self._signal is Signal.LOGS:
            yield None, scope_group.log_records, "LogRecord"
        elif self._signal is Signal.TRACES:
            yield None, scope_group.spans, "Span"
        else:
            for metric in scope_group.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    yield metric, (), ""
                else:
                    yield metric, getattr(metric, kind).data_points, POINT_NAMES[kind]

    def keep_metrics(self, wanted: Sequence[bool]) -> bytes:
        """The request with only these metrics; empty if none. Use the object no more."""
        return self._kept(wanted, by_metric=True)

    def keep_items(self, wanted: Sequence[bool]) -> bytes:
        """The request with only these items; empty if none. Use the object no more.

        Metrics, scopes and resources that have nothing left are gone as well.
        """
        return self._kept(wanted, by_metric=self._signal is not Signal.METRICS)

    def _kept(self, wanted: Sequence[bool], *, by_metric: bool) -> bytes:
        if all(wanted):
            return self._wire
        if not any(wanted):
            return b""
        flags = iter(wanted)
        groups = getattr(self.message, f"resource_{self._name}")
        members = "log_records" if self._signal is Signal.LOGS else self._name
        empty_groups = []
        for index, group in enumerate(groups):
            scope_groups = getattr(group, f"scope_{self._name}")
            empty_scopes = []
            for inner, scope_group in enumerate(scope_groups):
                children = getattr(scope_group, members)
                if by_metric:
                    _prune(children, list(islice(flags, len(children))))
                else:
                    _prune(children, [_prune_points(metric, flags) for metric in children])
                if not children:
                    empty_scopes.append(inner)
            delete(scope_groups, empty_scopes)
            if not scope_groups:
                empty_groups.append(index)
        delete(groups, empty_groups)
        return serialize(self.message)


def _prune_points(metric: Any, flags: Iterator[bool]) -> bool:
    """Take out the points of a metric that are not wanted; whether any is left."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return False
    points = getattr(metric, kind).data_points
    _prune(points, list(islice(flags, len(points))))
    return len(points) > 0


def _prune(children: Any, wanted: Sequence[bool]) -> None:
    if all(wanted):
        return
    if not any(wanted):
        del children[:]
        return
    delete(children, [index for index, is_wanted in enumerate(wanted) if not is_wanted])


def delete(children: Any, indices: Sequence[int]) -> None:
    """Delete messages of a repeated field by ascending index, neighbours at once."""
    end = len(indices)
    while end:
        start = end - 1
        while start and indices[start - 1] == indices[start] - 1:
            start -= 1
        del children[indices[start] : indices[end - 1] + 1]
        end = start
