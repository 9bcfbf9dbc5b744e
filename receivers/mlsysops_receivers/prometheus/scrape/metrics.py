"""One metric of a request: its frame, and its points as a template or written anew.

A template is the bytes of all points, cut where times and numbers stand: those that did not change
stay, and writing the time into every point is one assignment. A metric whose points can have times
of their own, or exemplars, has no template (it is dynamic).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.pdata.wire import length_prefix, varint
from mlsysops_receivers.prometheus.scrape.encoding import (
    STALE_FLAG,
    attribute,
    attributes,
    bytes_field,
    text_field,
)

if TYPE_CHECKING:
    from mlsysops_receivers.prometheus.scrape.families import Family, Part
    from mlsysops_receivers.prometheus.scrape.groups import Group
    from mlsysops_receivers.prometheus.scrape.series import Place, Series

__all__ = [
    "VALUE_TAG",
    "Frame",
    "Metric",
    "MetricKey",
    "Point",
    "Template",
    "number_end",
    "stale_number",
    "whole_point",
]

VALUE_TAG: Final = 0x21
"""The tag of a number point's double."""

_GAUGE, _SUM, _HISTOGRAM, _SUMMARY = 5, 7, 9, 11
_CUMULATIVE: Final = b"\x10\x02"
_MONOTONIC: Final = b"\x18\x01"
_METRICS, _METADATA = 2, 12
_POINT: Final = b"\x0a"
_TIME: Final = b"\x19"
_TIME_BYTES: Final = 8

MetricKey = tuple["Place", str, str, str]
"""The place of a metric, the name of its family, its own, and the type."""
Point = tuple[bytes, bytes, bytes]
"""The field of the start time, which may be empty, and what follows the time: numbers, the rest."""


class Frame:
    """What stands around the points of a metric.

    ``is_group``: whether its points have several lines. ``is_histogram``: which of the two kinds.
    """

    __slots__ = ("_data", "_end", "_header", "_metadata", "is_group", "is_histogram")

    def __init__(self, family: Family) -> None:
        data, end = _DATA.get(family.type, (_GAUGE, b""))
        self._header = b"".join(
            (text_field(1, family.name), text_field(2, family.help), text_field(3, family.unit))
        )
        self._data = data
        self._end = end
        type_ = attribute("prometheus.type", family.type)
        self._metadata = varint(_METADATA << 3 | 2) + type_
        self.is_histogram = data == _HISTOGRAM
        self.is_group = data in {_HISTOGRAM, _SUMMARY}

    def around(self, points_bytes: int) -> tuple[bytes, bytes]:
        """What stands before and after so many bytes of points, as a field of a scope."""
        data = length_prefix(self._data, points_bytes + len(self._end))
        before = self._header + data
        after = self._end + self._metadata
        return length_prefix(_METRICS, len(before) + points_bytes + len(after)) + before, after


_DATA: Final[dict[str, tuple[int, bytes]]] = {
    "counter": (_SUM, _CUMULATIVE + _MONOTONIC),
    "info": (_SUM, _CUMULATIVE),
    "stateset": (_SUM, _CUMULATIVE),
    "histogram": (_HISTOGRAM, _CUMULATIVE),
    "summary": (_SUMMARY, b""),
}
"""The field for the points of a type, and what follows them in it (PI-3)."""


class Metric:
    """A metric as it was assembled. ``members``: the series of its lines, in their order.

    ``chunks``: the bytes around times and numbers, one more than points. ``numbers``: what follows
    the time of each point and changes with its values, until a template takes it. ``parts`` and
    ``indices``: what each member is and where its line is, of a dynamic metric. ``present``: those
    that had a point in the last page, of a dynamic one; ``calm``: pages since one of its lines said
    more than a number. ``starts``: the start fields of some. ``unmapped``: lines that are in no
    point.
    """

    __slots__ = (
        "after",
        "before",
        "calm",
        "chunks",
        "family",
        "frame",
        "groups",
        "indices",
        "is_dynamic",
        "members",
        "numbers",
        "parts",
        "place",
        "present",
        "starts",
        "unmapped",
    )

    def __init__(self, place: Place, family: Family) -> None:
        self.place = place
        self.family = family
        self.frame = Frame(family)
        self.members: list[Series] = []
        self.parts: list[Part] = []
        self.indices: list[int] = []
        self.starts: dict[Series, bytes] = {}
        self.present: set[Series] = set()
        self.chunks: list[bytes] = []
        self.numbers: list[bytes] = []
        self.groups: list[Group] = []
        self.is_dynamic = False
        self.calm = 0
        self.unmapped = 0
        self.before = self.after = b""

    def set_points(self, points: list[Point]) -> None:
        """Cut the points into pieces."""
        chunks = []
        end = b""
        for start, numbers, following in points:
            size = len(start) + len(_TIME) + _TIME_BYTES + len(numbers) + len(following)
            chunks.append(end + _POINT + varint(size) + start + _TIME)
            end = following
        chunks.append(end)
        self.chunks = chunks
        self.numbers = [point[1] for point in points]
        points_bytes = sum(map(len, chunks)) + sum(map(len, self.numbers))
        points_bytes += _TIME_BYTES * len(points)
        self.before, self.after = self.frame.around(points_bytes)

    def points(self, time: bytes) -> bytes:
        """All points, as long as no template took the numbers."""
        pieces = [time] * (3 * len(self.numbers) + 1)
        pieces[::3] = self.chunks
        pieces[2::3] = self.numbers
        return b"".join(pieces)


class Template:
    """The metrics of a place that are not dynamic, in pieces: chunk, time, numbers and so on.

    Who knows where the numbers of a point are writes new ones there.
    """

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[bytes] = [b""]

    def add(self, metric: Metric) -> None:
        """Take the numbers of a metric."""
        pieces = self.pieces
        first = len(pieces) + 1  # the numbers of the first point
        chunks, number = metric.chunks, len(metric.numbers)
        added = [b""] * (3 * number)
        added[1::3] = metric.numbers
        added[2::3] = chunks[1:]
        pieces[-1] += metric.before + chunks[0]
        pieces += added
        pieces[-1] += metric.after
        metric.numbers = []
        if metric.frame.is_group:
            for at, group in enumerate(metric.groups):
                group.target, group.at = pieces, first + 3 * at
        else:
            for at, series in enumerate(metric.members):
                series.target, series.at = pieces, first + 3 * at

    def write(self, out: list[bytes], time: bytes) -> int:
        """Add all to what is written; how many points that is."""
        pieces = self.pieces
        points = len(pieces) // 3
        pieces[1::3] = [time] * points
        out += pieces
        return points


def whole_point(start: bytes, time: bytes, rest: bytes) -> bytes:
    """A point, as a field of a metric's data. ``time``: eight bytes."""
    return bytes_field(1, start + _TIME + time + rest)


def number_end(series: Series) -> bytes:
    """The attributes of a number point; bounds and quantiles are some where there is no group."""
    found = attributes(0x3A, series.attributes)
    if series.le is not None:
        found += attributes(0x3A, (attribute("le", series.le),))
    if series.quantile is not None:
        found += attributes(0x3A, (attribute("quantile", series.quantile),))
    return found


def stale_number(series: Series) -> bytes:
    """The rest of a number point that says that there is none (PI-8)."""
    return number_end(series) + b"\x40" + STALE_FLAG
