"""Metrics recognized by the bytes around their points, without opening them.

Opening a metric costs more than translating several points of it, and it comes again with the same
name, unit, description and kind before its points and the same temporality behind them. If both are
bytes that were opened before, and all between them are points, it is the same metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.pdata.wire import fields, message_tag
from mlsysops_pipeline.prometheus.recent import Recent

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.context import Metric

DATA_TAGS = frozenset(message_tag(number) for number in (5, 7, 9, 10, 11))
"""The members of a ``Metric``'s oneof."""
POINTS_TAG = message_tag(1)
"""The field of each of them that holds its points."""
_VARIANTS_MAX = 4
"""Metrics of one name that are told apart: languages describe the same one differently."""
_OVERHEAD_BYTES = 700
"""What an entry takes beside its text, and what it knows of its metric."""
_ONE_BYTE_MAX, _TWO_BYTES_MAX = (1 << 7) - 1, (1 << 14) - 1
"""The highest lengths that protobuf writes in one byte and in two."""


class Outline:
    """What stands around the points of a metric.

    ``header``: all up to the tag of its data, and this. ``tail``: all that follows the last point;
    the last ``after_bytes`` of that are behind the data.
    """

    __slots__ = ("after_bytes", "header", "header_bytes", "metric", "tail", "tail_bytes")

    def __init__(self, header: bytes, tail: bytes, after_bytes: int, metric: Metric) -> None:
        self.header = header
        self.header_bytes = len(header)
        self.tail = tail
        self.tail_bytes = len(tail)
        self.after_bytes = after_bytes
        self.metric = metric

    def points_begin(self, wire: bytes) -> int:
        """Where the points of a metric with this header and tail begin; 0 if it is another metric.

        Or if its length takes four bytes. May raise `IndexError`.
        """
        at = self.header_bytes
        size = wire[at]
        at += 1
        if size > _ONE_BYTE_MAX:
            size += (wire[at] - 1) << 7
            at += 1
            if size > _TWO_BYTES_MAX:
                size += (wire[at] - 1) << 14
                at += 1
        return at if at + size == len(wire) - self.after_bytes else 0

    def looks_like(self, other: Outline) -> bool:
        """Whether both find the same metrics."""
        return (self.header, self.tail, self.after_bytes) == (
            other.header,
            other.tail,
            other.after_bytes,
        )


class Outlines:
    """The outlines that were seen, by the bytes with which a metric begins: its name.

    ``get(wire[: wire[1] + 2])`` is a few that begin so, or ``None``.
    """

    __slots__ = ("_seen", "get")

    def __init__(self, bytes_max: int) -> None:
        self._seen: Recent[bytes, list[Outline]] = Recent(bytes_max)
        self.get = self._seen.get

    def learn(self, wire: bytes, metric: Metric) -> None:
        """Remember what a serialized metric looks like; it has been opened before, so is sound."""
        outline = _outline(wire, metric)
        if outline is None:
            return
        name = wire[: wire[1] + 2]
        known = self._seen.get(name)
        if known is None:
            weight = 3 * len(outline.header) + len(outline.tail) + _OVERHEAD_BYTES
            self._seen.put(name, [outline], weight)
        elif not any(map(outline.looks_like, known)):
            known.insert(0, outline)
            del known[_VARIANTS_MAX:]

    @property
    def bytes(self) -> int:
        """What is held, about."""
        return self._seen.bytes


def _outline(wire: bytes, metric: Metric) -> Outline | None:
    """``None`` if the points do not stand together, or it is not clear which of several are it."""
    data = [
        (first, content, last)
        for tag, first, content, last in fields(wire, 0, len(wire))
        if tag in DATA_TAGS
    ]
    if len(data) != 1:
        return None
    first, content, last = data[0]
    end = content
    for tag, begin, _, field_end in fields(wire, content, last):
        if tag == POINTS_TAG:
            if begin != end:
                return None
            end = field_end
    return Outline(wire[: first + 1], wire[end:], len(wire) - last, metric)
