"""Metrics of one plain point, recognized without opening them.

Where metrics have one point each, opening them costs more than all the rest. But such a metric
comes again with the same bytes but for start, time and value, which stand together and whose length
is always the same: a *window*. So what stands before the window tells the metric, what follows it
tells the series, and if both are bytes that were opened before, all between them is the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.pdata.wire import fields, message_tag
from mlsysops_pipeline.prometheus.recent import Recent

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.context import Metric

_DATA_TAGS = frozenset(message_tag(number) for number in (5, 7, 9, 10, 11))
"""The members of a ``Metric``'s oneof."""
_POINTS_TAGS = frozenset({message_tag(1)})
_OVERHEAD_BYTES = 300


class Singles:
    """What stands before windows, as far as it was seen.

    ``hint``: from the bytes with which a metric begins, its name, to where the tag of its data
    was last; only a hint. ``metric``: from all that stands before the window, and the first byte of
    that, to the metric.
    """

    __slots__ = ("_headers", "_hints", "hint", "metric")

    def __init__(self, bytes_max: int) -> None:
        self._hints: Recent[bytes, int] = Recent(bytes_max // 2)
        self._headers: Recent[bytes, Metric] = Recent(bytes_max // 2)
        self.hint = self._hints.get
        self.metric = self._headers.get

    def put(self, wire: bytes, data_tag: int, window: int, metric: Metric) -> None:
        """Remember a metric by what it looks like: see `find_window`."""
        name = name_piece(wire)
        if self._hints.get(name) != data_tag:
            self._hints.put(name, data_tag, len(name) + _OVERHEAD_BYTES)
        header = wire[: window + 1]
        if self._headers.get(header) is not metric:
            self._headers.put(header, metric, len(header) + _OVERHEAD_BYTES)

    @property
    def bytes(self) -> int:
        """What is held, about."""
        return self._hints.bytes + self._headers.bytes


def name_piece(wire: bytes) -> bytes:
    """The bytes with which a serialized metric begins, as long as its second byte says.

    Raises `IndexError` if there is no second byte. What it is does not matter for a hint.
    """
    return wire[: wire[1] + 2]


def find_window(wire: bytes) -> tuple[int, int] | None:
    """Where the tag of a serialized metric's data and where its only point begins.

    ``None`` if it has more points or none. The metric has been opened before: its fields are sound.
    """
    data = _only_field(wire, 0, len(wire), _DATA_TAGS)
    point = data and _only_field(wire, data[1], data[2], _POINTS_TAGS)
    return (data[0], point[1]) if data and point else None


def _only_field(
    wire: bytes, start: int, end: int, tags: frozenset[int]
) -> tuple[int, int, int] | None:
    """Where the one field that has one of ``tags`` begins, and its content begins and ends."""
    found = [at for tag, *at in fields(wire, start, end) if tag in tags]
    if len(found) != 1:
        return None
    first, content, last = found[0]
    return first, content, last
