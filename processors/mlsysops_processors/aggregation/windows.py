"""Windows of time and the points in them, in columns: no object is kept of a point. No I/O.

Points lie in shards of `SHARD` series, so that a window can be computed shard by shard. Of numbers,
the first bytes are kept as they came: tag and start, tag and time, tag and value. They are laid one
after the other and read column by column (`column`: 25 ns a number, five times as fast as one by
one). Of other points all bytes are kept.
"""

from __future__ import annotations

import sys
from array import array
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_processors.aggregation.blocks import Block

SHIFT = 10
SHARD = 1 << SHIFT
"""Series whose points lie together."""
POINT_BYTES = 31
"""What a number takes; others take about as much beside their bytes."""
ENDED = (1 << 64) - 1
"""The start of a point that says that its series has ended."""

Row = tuple[int, int, int, Any]
"""Series, time, start, and a number or a serialized point."""


class Form(NamedTuple):
    """How numbers of a kind begin: where start, time and value lie, and in how many bytes.

    ``tags``: where tags lie, and which. ``start_at`` 0: there is no start.
    """

    size: int
    start_at: int
    time_at: int
    value_at: int
    value_code: str
    tags: tuple[tuple[int, bytes], ...]


def _tags(*tags: int) -> tuple[tuple[int, bytes], ...]:
    """Where tags lie that are followed by eight bytes each, and which they are."""
    return tuple((9 * place, bytes([tag])) for place, tag in enumerate(tags))


START_TAG, TIME_TAG, DOUBLE_TAG, INT_TAG = 0x11, 0x19, 0x21, 0x31
"""Of a ``NumberDataPoint``'s start, time and values."""
FORMS = {
    (is_long, tag): Form(
        27 if is_long else 18,
        1 if is_long else 0,
        10 if is_long else 1,
        19 if is_long else 10,
        "d" if tag == DOUBLE_TAG else "q",
        _tags(START_TAG, TIME_TAG, tag) if is_long else _tags(TIME_TAG, tag),
    )
    for is_long in (True, False)
    for tag in (DOUBLE_TAG, INT_TAG)
}
"""Of numbers with a start and without, doubles and integers."""
_LONG = {tag: form for (is_long, tag), form in FORMS.items() if is_long}
_SHORT = {tag: form for (is_long, tag), form in FORMS.items() if not is_long}
SERIALIZED = Form(0, 0, 0, 0, "", ())
"""Of points that are no numbers."""
_time_at = Struct("<Q").unpack_from
_head_of_int = Struct("<BQBQBq").pack
_head_of_double = Struct("<BQBQBd").pack


def head_of(start_ns: int, time_ns: int, value: float) -> bytes:
    """A number in the form of those that have a start."""
    if isinstance(value, int):
        return _head_of_int(START_TAG, start_ns, TIME_TAG, time_ns, INT_TAG, value)
    return _head_of_double(START_TAG, start_ns, TIME_TAG, time_ns, DOUBLE_TAG, value)


def column(heads: bytes | bytearray, at: int, every: int, type_code: str) -> array[Any]:
    """The numbers of eight bytes that lie at ``at`` of every so many bytes."""
    return as_numbers(gathered(heads, at, every), type_code)


def gathered(heads: bytes | bytearray, at: int, every: int) -> bytearray:
    """The eight bytes from ``at`` of every so many bytes, one after the other."""
    found = bytearray(len(heads) // every * 8)
    for byte in range(8):
        found[byte::8] = heads[at + byte :: every]
    return found


def as_numbers(found: bytearray, type_code: str) -> array[Any]:
    """Bytes as OTLP has them as numbers."""
    numbers = array(type_code)
    numbers.frombytes(found)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def first_and_last(times: bytearray) -> tuple[int, int]:
    """The oldest and newest of times as OTLP has them."""
    (one,) = _time_at(times, 0)
    if times == times[:8] * (len(times) // 8):  # as most are
        return one, one
    numbers = as_numbers(times, "Q")
    return min(numbers), max(numbers)


def form_of(point: bytes) -> Form | None:
    """How a number begins; ``None``: otherwise than most."""
    try:
        if point[0] == START_TAG:
            return _LONG.get(point[18]) if point[9] == TIME_TAG and len(point) >= 27 else None
        return _SHORT.get(point[9]) if point[0] == TIME_TAG and len(point) >= 18 else None
    except IndexError:
        return None


class Columns:
    """Points of one form. ``is_wide``: their series are told by a hash.

    ``heads``: how numbers begin, or what others are, up to each of ``ends``, whose times and starts
    are in ``times`` and ``starts``.
    """

    __slots__ = ("ends", "form", "heads", "series", "starts", "times")

    def __init__(self, form: Form, *, is_wide: bool = False) -> None:
        self.form = form
        self.series = array("q" if is_wide else "i")
        self.heads = bytearray()
        self.times = array("Q")
        self.starts = array("Q")
        self.ends = array("Q")

    def __len__(self) -> int:
        return len(self.series)

    def truncate(self, length: int) -> None:
        """Forget all points but so many."""
        del self.series[length:]
        if self.form is SERIALIZED:
            for numbers in (self.times, self.starts, self.ends):
                del numbers[length:]
            del self.heads[self.ends[-1] if length else 0 :]
        else:
            del self.heads[length * self.form.size :]

    @property
    def size(self) -> int:
        """The bytes that all points take."""
        extra = len(self.heads) if self.form is SERIALIZED else 0
        return POINT_BYTES * len(self.series) + extra

    def add_serialized(self, series: int, time_ns: int, start_ns: int, point: bytes) -> None:
        """Add a point that is no number."""
        self.series.append(series)
        self.times.append(time_ns)
        self.starts.append(start_ns)
        self.heads += point
        self.ends.append(len(self.heads))

    def add_head(self, series: int, start: bytes) -> None:
        """Add a number of this form."""
        self.series.append(series)
        self.heads += start

    @property
    def values(self) -> Iterable[Any]:
        """The numbers, or the serialized points."""
        if self.form is not SERIALIZED:
            return column(self.heads, self.form.value_at, self.form.size, self.form.value_code)
        whole = bytes(self.heads)
        begins = [0, *self.ends]  # one more than there are ends
        return [whole[begin:end] for begin, end in zip(begins, self.ends, strict=False)]

    def rows(self) -> Iterable[Row]:
        """All points, in the order in which they came."""
        if self.form is SERIALIZED:
            return zip(self.series, self.times, self.starts, self.values, strict=True)
        return zip(
            self.series, self.times_of_numbers, self.starts_of_numbers, self.values, strict=True
        )

    @property
    def times_of_numbers(self) -> array[int]:
        """When they were, if they are numbers."""
        return column(self.heads, self.form.time_at, self.form.size, "Q")

    @property
    def starts_of_numbers(self) -> array[int]:
        """When they started, if they are numbers; 0: nobody knows."""
        form = self.form
        if not form.start_at:
            return array("Q", bytes(8 * len(self)))
        return column(self.heads, form.start_at, form.size, "Q")


Shard = dict[Form, Columns]


class Window:
    """The points of one span of time. ``shards``: `Columns` by place and form.

    A place is the number of a shard; of points whose series have none, family and results.
    ``blocks``: numbers that came together as before, by the identity of the array of their series.
    ``hops``: as many collectors as any of the points has passed.
    """

    __slots__ = ("blocks", "end_ns", "hops", "overflown", "points", "shards", "size", "start_ns")

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.blocks: dict[int, Block] = {}
        self.shards: dict[int, Shard] = {}
        self.overflown: dict[Any, Shard] = {}
        self.points = 0
        self.size = 0
        self.hops = 0

    def columns(self, shard: int, form: Form) -> Columns:
        """Where points of a shard are added."""
        return _columns(self.shards, shard, form, is_wide=False)

    def overflow(self, place: Any, form: Form) -> Columns:
        """Where points are added of series for which there is no room."""
        return _columns(self.overflown, place, form, is_wide=True)


def rows_of(shard: Shard) -> list[Row]:
    """All points of a shard, by series, time and start."""
    rows: list[Row] = []
    for columns in shard.values():
        rows.extend(columns.rows())
    rows.sort()
    return rows


def _columns(shards: dict[Any, Shard], place: Any, form: Form, *, is_wide: bool) -> Columns:
    shard = shards.get(place)
    if shard is None:
        shard = shards[place] = {}
    columns = shard.get(form)
    if columns is None:
        columns = shard[form] = Columns(form, is_wide=is_wide)
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
