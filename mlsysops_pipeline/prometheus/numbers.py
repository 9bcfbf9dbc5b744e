"""The points of gauges and sums that have several: the hot path of those who send many series.

Encoders write fields in the order of their numbers: start, time and value, each in nine bytes, and
then what repeats with the series. So a point is taken apart without being opened, by one call for
the length it has, and its rest is the key to its series. What does not look like that is opened.

Metrics are taken in runs: their points are first put into rows, and all that is then done to them,
to check them and to find their series, is one call for a whole column instead of one for a point.
"""

from __future__ import annotations

import struct
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.prometheus.names import Kind
from mlsysops_pipeline.prometheus.outline import POINTS_TAG, Outlines
from mlsysops_pipeline.prometheus.points import Cause, Numbers, S
from mlsysops_pipeline.prometheus.reading import number, open_point, plain_bytes, read_exemplars
from mlsysops_pipeline.prometheus.singles import (
    DOUBLE_TAG,
    INT_TAG,
    START_TAG,
    TIME_TAG,
    double_of,
    doubles_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlsysops_pipeline.prometheus.context import Metric, Scope
    from mlsysops_pipeline.prometheus.names import Strategy
    from mlsysops_pipeline.prometheus.points import Columns, Exemplar, NumberPoint
    from mlsysops_pipeline.prometheus.series import SeriesIndex

_BLOCK_BYTES: Final = 18
"""What time and value take; a start takes half of that."""
_ONE_BYTE_MAX: Final = (1 << 7) - 1
"""The highest length that protobuf writes in one byte."""
_POINT_BYTES_MAX: Final = 4_096
"""Larger points are opened. Of smaller ones there are so few lengths that all are remembered."""
_STARTED: Final = b"\x11"
"""The tag of a start, as rows have it."""
_RUN_POINTS: Final = 1_000
"""After that many points a run ends, with the metric that they belong to."""
_NEW_SERIES_MAX: Final = 25
"""A metric with more series that are not known yet is read in pieces: to make one takes long."""
_unpack_double = struct.Struct("<d").unpack


class _Shapes(dict[int, "Callable[[bytes, int], Any]"]):
    """How points are taken apart, by their length.

    Gives the tag of the field that holds the point; the tag of its start, and the start, or nothing
    for both; tag and time; tag and value; the rest. Without ``has_details`` the start is nothing.
    Raises `KeyError` for lengths that are not those of such points.
    """

    def __init__(self, *, has_start: bool, has_details: bool) -> None:
        super().__init__()
        self._start = ("sQ" if has_details else "s8x0s") if has_start else "0s0s"
        self._bytes_min = _BLOCK_BYTES + (9 if has_start else 0)

    def __missing__(self, size: int) -> Callable[[bytes, int], Any]:
        if not self._bytes_min <= size <= _POINT_BYTES_MAX:
            raise KeyError(size)
        length = "x" if size <= _ONE_BYTE_MAX else "xx"
        rest = size - self._bytes_min
        found = struct.Struct(f"<B{length}{self._start}BQB8s{rest}s").unpack_from
        self[size] = found
        return found


_Slice: TypeAlias = "tuple[bytes, int, Metric, int]"
"""A metric, where in it points begin, what it is, and how many of its points are in rows."""


class NumberReader(Generic[S]):
    """Reads number points. ``report`` as in the translator, ``has_details`` as in `Singles`."""

    __slots__ = (
        "_has_details",
        "_outlines",
        "_report",
        "_series",
        "_started",
        "_strategy",
        "_unstarted",
    )

    def __init__(
        self,
        series: SeriesIndex[S],
        strategy: Strategy,
        report: Callable[[Cause, int, str], None],
        *,
        has_details: bool,
        outlines_bytes_max: int,
    ) -> None:
        self._series = series
        self._strategy = strategy
        self._report = report
        self._has_details = has_details
        self._outlines = Outlines(outlines_bytes_max)
        self._started = _Shapes(has_start=True, has_details=has_details)
        self._unstarted = _Shapes(has_start=False, has_details=has_details)

    def take(
        self, wires: Iterator[bytes], scope: Scope, columns: Columns[S]
    ) -> Iterator[Numbers[S] | bytes | None]:
        """Take serialized metrics, as long as `learn` was shown them: see `outline`.

        Gives a batch of the points of a metric that has unusual ones among them, or the bytes of a
        metric that has to be opened; the columns have to be drained before, and for ``None``. The
        first metric that is not known is the last that is taken.
        """
        unknown: bytes | None = b""
        while unknown is not None:
            rows: list[Any] = []
            run: list[_Slice] = []
            unknown = None
            for wire in wires:
                slice_ = self._walk(wire, rows)
                if slice_ is None:
                    unknown = wire
                    break
                run.append(slice_)
                if len(rows) >= _RUN_POINTS:
                    unknown = b""
                    break
            if rows:
                yield from self._take_run(rows, run, scope, columns)
            if unknown:
                yield unknown
                return
            if unknown is not None:
                yield None

    def _walk(self, wire: bytes, rows: list[Any]) -> _Slice | None:
        """Put the points of a known metric into rows.

        Nothing is known of them but that they, and nothing else, are as long as they say.
        """
        try:
            for outline in self._outlines.get(wire[: wire[1] + 2]) or ():
                if wire.startswith(outline.header) and wire.endswith(outline.tail):
                    begin = outline.points_begin(wire)
                    if begin:
                        break
            else:
                return None
            at, end = begin, len(wire) - outline.tail_bytes
            found = []
            has_start = at < end and wire[at + 2 + (wire[at + 1] > _ONE_BYTE_MAX)] == START_TAG
            shapes = self._started if has_start else self._unstarted
            while at < end:
                size = wire[at + 1]
                if size > _ONE_BYTE_MAX:
                    size += (wire[at + 2] - 1) << 7
                    found.append(shapes[size](wire, at))
                    at += size + 3
                else:
                    found.append(shapes[size](wire, at))
                    at += size + 2
        except (IndexError, KeyError, struct.error):
            return None  # cut short, or points that are no such
        if at != end:
            return None
        rows += found
        return (wire, begin, outline.metric, len(found))

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

    def _take_run(
        self, rows: list[Any], run: list[_Slice], scope: Scope, columns: Columns[S]
    ) -> Iterator[Numbers[S] | bytes]:
        """Put a run into the columns, or else each of its metrics."""
        if self._take(rows, run, scope, columns):
            return
        first = 0
        for slice_ in run:
            own = rows[first : first + slice_[3]]
            first += slice_[3]
            if own and not self._take(own, [slice_], scope, columns):
                yield self._mixed(own, slice_, scope) or slice_[0]

    def _take(self, rows: list[Any], run: list[_Slice], scope: Scope, columns: Columns[S]) -> bool:
        """Put rows into the columns if all are plain points of known series."""
        parts: Iterator[Any] = zip(*rows, strict=True)
        tags, leads, starts, time_tags, times, value_tags, values, rests = parts
        count = len(rows)
        if (
            tags.count(POINTS_TAG) != count
            or leads.count(_STARTED) + leads.count(b"") != count
            or time_tags.count(TIME_TAG) != count
        ):
            return False
        if value_tags.count(DOUBLE_TAG) != count:
            if value_tags.count(DOUBLE_TAG) + value_tags.count(INT_TAG) != count:
                return False
            values = doubles_of(values, value_tags)
        marks: list[int] = []
        for _, _, metric, points in run:
            marks += [metric.mark] * points
        keys = map(hash, zip(repeat(scope.mark), marks, rests, strict=False))
        series = list(map(self._series.get, keys))
        if None in series:
            return False
        columns.series += series
        columns.times_ns += times
        columns.values += values
        if self._has_details:
            columns.starts_ns += [start or 0 for start in starts]
            for _, _, metric, points in run:
                columns.families += [metric.family] * points
        return True

    def _mixed(self, rows: list[Any], slice_: _Slice, scope: Scope) -> Numbers[S] | None:
        """The points of a metric among which some are new, or not of the usual form.

        ``None`` if there are many new ones, or something else among them.
        """
        wire, at, metric, _ = slice_
        points: list[NumberPoint[S]] = []
        malformed = 0
        made_max = self._series.made + _NEW_SERIES_MAX
        for row in rows:
            if self._series.made >= made_max or row[0] != POINTS_TAG:
                return None
            size, begin = wire[at + 1], at + 2
            if size > _ONE_BYTE_MAX:
                size += (wire[at + 2] - 1) << 7
                begin = at + 3
            at = begin + size
            try:
                point = self._plain(row, metric, scope)
                points.append(point or self._open(wire[begin:at], metric, scope))
            except MalformedError:
                malformed += 1
        if malformed:
            self._report(Cause.MALFORMED, malformed, metric.otlp_name)
        return Numbers(metric.family, points)

    def _plain(self, row: Any, metric: Metric, scope: Scope) -> NumberPoint[S] | None:
        """The point of a row, if it is of the usual form. Raises `MalformedError`."""
        _, lead, start, time_tag, time, value_tag, value, rest = row
        if (
            lead not in {_STARTED, b""}
            or time_tag != TIME_TAG
            or value_tag not in {DOUBLE_TAG, INT_TAG}
        ):
            return None
        series: S | None = self._series.get(hash((scope.mark, metric.mark, rest)))
        if series is None:
            series = self._series.learn(rest, metric, scope)
            if series is None:
                return None
        double = value if value_tag == DOUBLE_TAG else double_of(value)
        (number_,) = _unpack_double(plain_bytes(double))
        return (series, time, start or 0, number_, ())

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
