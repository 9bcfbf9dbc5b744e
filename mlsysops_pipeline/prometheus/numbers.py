"""The points of gauges and sums: the hot path.

Encoders write fields in the order of their numbers: start, time and value, each in nine bytes, and
then what repeats with the series. So a point is taken apart without being opened, and the rest of
it is the key to its series. What does not look like that is opened.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Generic

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.prometheus.names import Kind
from mlsysops_pipeline.prometheus.outline import POINTS_TAG, Outlines
from mlsysops_pipeline.prometheus.points import Cause, Numbers, S
from mlsysops_pipeline.prometheus.reading import NAN, number, open_point, read_exemplars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.prometheus.context import Metric, Scope
    from mlsysops_pipeline.prometheus.names import Strategy
    from mlsysops_pipeline.prometheus.outline import Outline
    from mlsysops_pipeline.prometheus.points import Exemplar, NumberPoint
    from mlsysops_pipeline.prometheus.series import SeriesIndex

_START_TAG, _TIME_TAG, _INT_TAG = 0x11, 0x19, 0x31
_VALUE_TAGS = frozenset({0x21, _INT_TAG})
"""What stands before the fields of a ``NumberDataPoint`` that have eight bytes."""
_STARTED_BYTES, _UNSTARTED_BYTES = 27, 18
"""What start, time and value take, or time and value."""
_unpack_short = struct.Struct("<BBBQBQBd").unpack_from
_unpack_long = struct.Struct("<BBBBQBQBd").unpack_from
"""A point with its tag and its length of one byte or of two, if all its parts are there."""
_PADDING = bytes(30)
"""What has to be behind the last point, that something can be unpacked wherever one begins."""
_unpack_unstarted = struct.Struct("<BQBd").unpack_from
_unpack_int = struct.Struct("<q").unpack_from
_NEW_SERIES_MAX = 25
"""A metric with more series that are not known yet is read in pieces: to make one takes long."""
_ONE_BYTE_MAX, _TWO_BYTES_MAX = (1 << 7) - 1, (1 << 14) - 1
"""The highest lengths that protobuf writes in one byte and in two."""


class NumberReader(Generic[S]):
    """Reads number points. ``report`` as in the translator."""

    __slots__ = ("_outlines", "_report", "_series", "_strategy")

    def __init__(
        self,
        series: SeriesIndex[S],
        strategy: Strategy,
        report: Callable[[Cause, int, str], None],
        outlines_bytes_max: int,
    ) -> None:
        self._series = series
        self._strategy = strategy
        self._report = report
        self._outlines = Outlines(outlines_bytes_max)

    def known(self, wire: bytes, scope: Scope) -> Numbers[S] | None:
        """The points of a serialized metric, if it is one that `learn` was shown: see `outline`.

        All in one batch, which can be empty, unless the metric has over 2 MiB or many new series.
        """
        try:
            for outline in self._outlines.get(wire[: wire[1] + 2]) or ():
                if wire.startswith(outline.header) and wire.endswith(outline.tail):
                    return self._walk(wire, outline, scope)
        except IndexError:
            pass  # cut short
        return None

    def learn(self, wire: bytes, metric: Metric) -> None:
        """Remember a metric that has been opened."""
        self._outlines.learn(wire, metric)

    def read(self, wires: Iterable[bytes], metric: Metric, scope: Scope) -> list[NumberPoint[S]]:
        """Serialized points of a metric that has been opened."""
        points: list[NumberPoint[S]] = []
        malformed = 0
        for wire in wires:
            try:
                points.append(self._open(wire, metric, scope))
            except MalformedError:
                malformed += 1
        if malformed:
            self._report(Cause.MALFORMED, malformed, metric.otlp_name)
        return points

    def _walk(  # noqa: PLR0915  each call would add a tenth to it
        self, wire: bytes, outline: Outline, scope: Scope
    ) -> Numbers[S] | None:
        """The points between header and tail; ``None`` if these are not all there is.

        Or if one is so long that its length takes three bytes. May raise `IndexError`.
        """
        at = outline.header_bytes
        size = wire[at]
        at += 1
        if size > _ONE_BYTE_MAX:
            size += (wire[at] - 1) << 7
            at += 1
            if size > _TWO_BYTES_MAX:
                size += (wire[at] - 1) << 14
                at += 1
        length = len(wire)
        end = length - outline.tail_bytes
        if at + size != length - outline.after_bytes:
            return None
        metric = outline.metric
        prefix = scope.mark + metric.mark
        known = self._series.get
        points: list[NumberPoint[S]] = []
        malformed = 0
        made_max = self._series.made + _NEW_SERIES_MAX
        while at < end:
            try:
                field, size, more, first, start, tag, time, value_tag, value = _unpack_long(
                    wire, at
                )
            except struct.error:
                wire += _PADDING
                continue
            if size > _ONE_BYTE_MAX:
                size += (more - 1) << 7
                begin = at + 3
            else:
                field, size, first, start, tag, time, value_tag, value = _unpack_short(wire, at)
                begin = at + 2
            at = begin + size
            if field != POINTS_TAG or at > end or size > _TWO_BYTES_MAX:
                return None
            rest_begin = begin + _STARTED_BYTES
            if first != _START_TAG:
                tag, time, value_tag, value = _unpack_unstarted(wire, begin)
                start = 0
                rest_begin = begin + _UNSTARTED_BYTES
            try:
                if tag == _TIME_TAG and value_tag in _VALUE_TAGS and rest_begin <= at:
                    if value_tag == _INT_TAG:
                        value = float(_unpack_int(wire, rest_begin - 8)[0])
                    elif value != value:  # noqa: PLR0124  NaN, at a third of a call's cost
                        value = NAN
                    rest = wire[rest_begin:at]
                    series = known(prefix + rest)
                    if series is None:
                        if self._series.made >= made_max:
                            return None
                        series = self._series.learn(rest, metric, scope)
                    if series is not None:
                        points.append((series, time, start, value, ()))
                        continue
                if self._series.made >= made_max:
                    return None
                points.append(self._open(wire[begin:at], metric, scope))
            except MalformedError:
                malformed += 1
        if malformed:
            self._report(Cause.MALFORMED, malformed, metric.otlp_name)
        return Numbers(metric.family, points)

    def _open(self, wire: bytes, metric: Metric, scope: Scope) -> NumberPoint[S]:
        """A point that is opened. Raises `MalformedError`."""
        point = open_point("NumberDataPoint", wire)
        series = self._series.of(point.attributes, metric, scope)
        exemplars: tuple[Exemplar, ...] = ()
        if point.exemplars and metric.family.kind is Kind.COUNTER:
            exemplars = read_exemplars(point.exemplars, self._strategy)
        return number(point, series, exemplars)

    @property
    def bytes(self) -> int:
        """What is held, about, beside the series."""
        return self._outlines.bytes
