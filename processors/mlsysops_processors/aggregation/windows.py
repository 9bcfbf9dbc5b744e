"""Windows of time and the points in them, in columns: no object is kept of a point. No I/O.

Points lie in shards of `SHARD` series, apart by whether they are integers, so that a window can be
computed shard by shard. A number takes 28 bytes; of other points, which are kept serialized, the
bytes are laid one after the other.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIFT = 10
SHARD = 1 << SHIFT
"""Series whose points lie together."""
POINT_BYTES = 28
"""What a number takes; others take as much beside their bytes."""
ENDED = (1 << 64) - 1
"""The start of a point that says that its series has ended."""

Row = tuple[int, int, int, Any]
"""Series, time, start, and a number or a serialized point."""


class Columns:
    """Points that are numbers of one type, or serialized. ``type_code``: q, d or B.

    ``is_wide``: series are told by a hash.
    """

    __slots__ = ("ends", "series", "starts", "times", "type_code", "values")

    def __init__(self, type_code: str, *, is_wide: bool = False) -> None:
        self.type_code = type_code
        self.series = array("q" if is_wide else "i")
        self.times = array("Q")
        self.starts = array("Q")
        self.values: Any = array("q") if type_code != "B" else bytearray()
        self.ends = array("Q")

    def __len__(self) -> int:
        return len(self.series)

    def truncate(self, length: int) -> None:
        """Forget all points but so many."""
        for column in (self.series, self.times, self.starts):
            del column[length:]
        if self.type_code == "B":
            del self.ends[length:]
            del self.values[self.ends[-1] if length else 0 :]
        else:
            del self.values[length:]

    @property
    def size(self) -> int:
        """The bytes that all points take."""
        extra = len(self.values) if self.type_code == "B" else 0
        return POINT_BYTES * len(self.series) + extra

    def add(self, series: int, time_ns: int, start_ns: int, content: Any) -> None:
        """Add a point: the bits of its number as an integer, or its bytes."""
        self.series.append(series)
        self.times.append(time_ns)
        self.starts.append(start_ns)
        if self.type_code == "B":
            self.values += content
            self.ends.append(len(self.values))
        else:
            self.values.append(content)

    def rows(self) -> Iterator[Row]:
        """All points, in the order in which they came."""
        values: Any = self.values
        if self.type_code == "d":
            values = array("d", self.values.tobytes())
        elif self.type_code == "B":
            whole = bytes(self.values)
            values = [
                whole[begin:end]
                for begin, end in zip([0, *self.ends], self.ends, strict=False)  # one more begins
            ]
        return zip(self.series, self.times, self.starts, values, strict=True)


class Window:
    """The points of one span of time. ``shards``: `Columns` by place and type.

    A place is the number of a shard; of points whose series have none, family and results.
    ``hops``: as many collectors as any of the points has passed.
    """

    __slots__ = ("end_ns", "hops", "overflown", "points", "shards", "size", "start_ns")

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.shards: dict[int, dict[str, Columns]] = {}
        self.overflown: dict[Any, dict[str, Columns]] = {}
        self.points = 0
        self.size = 0
        self.hops = 0

    def columns(self, shard: int, type_code: str) -> Columns:
        """Where points of a shard are added."""
        return _columns(self.shards, shard, type_code, is_wide=False)

    def overflow(self, place: Any, type_code: str) -> Columns:
        """Where points are added of series for which there is no room."""
        return _columns(self.overflown, place, type_code, is_wide=True)


def rows_of(shard: dict[str, Columns]) -> list[Row]:
    """All points of a shard, by series, time and start."""
    rows: list[Row] = []
    for columns in shard.values():
        rows.extend(columns.rows())
    rows.sort()
    return rows


def _columns(
    shards: dict[Any, dict[str, Columns]], place: Any, type_code: str, *, is_wide: bool
) -> Columns:
    shard = shards.get(place)
    if shard is None:
        shard = shards[place] = {}
    columns = shard.get(type_code)
    if columns is None:
        columns = shard[type_code] = Columns(type_code, is_wide=is_wide)
    return columns


class Windows:
    """The windows that are open, by where they begin.

    ``open_from_ns``: what is older belongs to closed windows.
    """

    def __init__(self, interval_ns: int, lateness_ns: int) -> None:
        self.interval_ns = interval_ns
        self._lateness_ns = lateness_ns
        self.open_from_ns = 0
        self.points = 0
        self.by_start: dict[int, Window] = {}

    def advance(self, now_ns: int) -> int:
        """Close what is to be closed by now; the time from which points are too far ahead."""
        start = (now_ns - self._lateness_ns) // self.interval_ns * self.interval_ns
        self.open_from_ns = max(self.open_from_ns, start)
        return now_ns + self.interval_ns + self._lateness_ns

    def at(self, time_ns: int) -> Window:
        """The window of a time that is not before ``open_from_ns``."""
        start = time_ns // self.interval_ns * self.interval_ns
        window = self.by_start.get(start)
        if window is None:
            window = self.by_start[start] = Window(start, start + self.interval_ns)
        return window

    def closed(self, *, is_last: bool = False) -> list[Window]:
        """Take out the windows that are closed, or all, the oldest first."""
        starts = sorted(self.by_start)
        if not is_last:
            starts = [start for start in starts if start < self.open_from_ns]
        return [self.by_start.pop(start) for start in starts]

    def next_close_ns(self) -> int | None:
        """When the oldest window closes."""
        if not self.by_start:
            return None
        return min(self.by_start) + self.interval_ns + self._lateness_ns
