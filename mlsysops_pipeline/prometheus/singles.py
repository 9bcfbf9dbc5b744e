"""Metrics of one point each: the hot path of those who send many metrics of few series.

All bytes of such a metric but its times and its value are the same whenever it comes again, and
times and value stand side by side, as encoders write fields in the order of their numbers. So a
metric is known by its bytes without that block, and nothing of it is opened.

Where the block is depends on what stands before it. A guess is enough: the place it had in the last
metric with the same three numbers (the length of all, of the name, and of what comes after that).
If the guess is wrong, so is the key that is made with it, and it is found out in the long way.

Most senders send the same metrics in the same order each time. So where the blocks were in all
metrics of a scope is remembered as its plan, and as long as that holds nothing has to be guessed.
Plans of scopes that are gone are forgotten for those of new ones.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.wire import fields, message_tag
from mlsysops_pipeline.prometheus.outline import DATA_TAGS, POINTS_TAG
from mlsysops_pipeline.prometheus.points import S
from mlsysops_pipeline.prometheus.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlsysops_pipeline.prometheus.context import Metric, Scope
    from mlsysops_pipeline.prometheus.points import Columns
    from mlsysops_pipeline.prometheus.series import SeriesIndex

START_TAG: Final = 0x11
TIME_TAG: Final = 0x19
DOUBLE_TAG: Final = 0x21
INT_TAG: Final = 0x31
"""What stands before the fields of a ``NumberDataPoint`` that have eight bytes."""

_ATTRIBUTE_TAG: Final = message_tag(7)
_NUMBER_TAGS: Final = frozenset({message_tag(5), message_tag(7)})
"""``gauge`` and ``sum`` in a ``Metric``."""
_GUESSES_MAX: Final = 1 << 16
_SHAPES_MAX: Final = 1 << 14
_PLAN_BYTES: Final = 300
_STEP_BYTES: Final = 8
"""What a plan takes, and each metric in it."""

_pack_double = struct.Struct("<d").pack
_unpack_int = struct.Struct("<q").unpack

_Row: TypeAlias = tuple[bytes, Any, int, int, int, bytes, bytes]
"""Before the block; start (no number if there is none); tag and time; tag and value; behind it."""


Plan: TypeAlias = "list[Any]"
"""For each metric of a scope what takes it apart."""


class Cut(NamedTuple):
    """Where the block of a single point is.

    ``unpack`` takes metrics of this form apart, or raises `struct.error`. ``rest:end``: where its
    attributes are.
    """

    unpack: Callable[[bytes], _Row]
    rest: int
    end: int


class Singles(Generic[S]):
    """Takes points out of metrics of one point.

    ``has_details``: whether `Columns` get families and starts. ``plans_bytes_max``: what plans may
    take.
    """

    __slots__ = ("_guesses", "_has_details", "_plans", "_series")

    def __init__(self, series: SeriesIndex[S], *, has_details: bool, plans_bytes_max: int) -> None:
        self._series = series
        self._has_details = has_details
        self._guesses: dict[tuple[int, int, int], Callable[[bytes], _Row]] = {}
        self._plans: Recent[tuple[int, int, int], Plan] = Recent(plans_bytes_max)

    def take(self, wires: Iterator[bytes], scope: Scope, columns: Columns[S]) -> bytes | None:
        """Take serialized metrics as long as they are known; the first that is not, or ``None``."""
        guess, known = self._guesses.get, self._series.get
        mark, has_details = scope.single_mark, self._has_details
        add_series, add_time = columns.series.append, columns.times_ns.append
        add_value = columns.values.append
        wire = b""
        try:
            for wire in wires:
                name_length = wire[1]
                unpack = guess((len(wire), name_length, wire[name_length + 3]))
                if unpack is None:
                    return wire
                head, start, time_tag, time, value_tag, value, tail = unpack(wire)
                series = known(hash((mark, head, tail)))
                if series is None or time_tag != TIME_TAG:
                    return wire
                if value_tag != DOUBLE_TAG:
                    if value_tag != INT_TAG:
                        return wire
                    value = double_of(value)
                if has_details:
                    series, family = series
                    columns.families.append(family)
                    columns.starts_ns.append(start or 0)
                add_series(series)
                add_time(time)
                add_value(value)
        except IndexError:
            return wire  # too short to be anything
        return None

    def take_all(
        self, wires: Sequence[bytes], first: int, scope: Scope, columns: Columns[S]
    ) -> bool:
        """Take serialized metrics if all are known and as planned; none of them otherwise.

        ``first``: where in their scope they begin. This has a call for each step instead of a step
        for each metric.
        """
        count = len(wires)
        plan = self._plans.get((scope.single_mark, first, count))
        if plan is None:
            return False
        try:
            rows = [unpack(wire) for unpack, wire in zip(plan, wires, strict=True)]
        except struct.error:
            return False
        parts: Any = zip(*rows, strict=True)
        heads, starts, time_tags, times, value_tags, values, tails = parts
        keys = map(hash, zip(repeat(scope.single_mark), heads, tails, strict=False))
        series: Any = list(map(self._series.get, keys))
        doubles = value_tags.count(DOUBLE_TAG)
        if (
            None in series
            or time_tags.count(TIME_TAG) != count
            or doubles + value_tags.count(INT_TAG) != count
        ):
            return False
        if self._has_details:
            series, families = zip(*series, strict=True)
            columns.families += families
            columns.starts_ns += [start or 0 for start in starts]
        columns.series += series
        columns.times_ns += times
        columns.values += values if doubles == count else doubles_of(values, value_tags)
        return True

    def plan(self, wires: Sequence[bytes], first: int, scope: Scope) -> None:
        """Expect these metrics, which were all taken, to come again in this order."""
        guesses = [self._guesses.get((len(one), one[1], one[one[1] + 3])) for one in wires]
        if None in guesses:
            return  # some were forgotten meanwhile
        key = (scope.single_mark, first, len(wires))
        known = self._plans.get(key)
        if known is None:
            self._plans.put(key, guesses, _PLAN_BYTES + _STEP_BYTES * len(wires))
        else:
            known[:] = guesses

    def find(self, wire: bytes, cut: Cut, scope: Scope, columns: Columns[S]) -> bool:
        """Take a metric with the right cut, which is the guess from now on; whether it is known."""
        self._guess(wire, cut)
        return self.take(iter((wire,)), scope, columns) is None

    def learn(
        self, wire: bytes, cut: Cut, metric: Metric, scope: Scope, columns: Columns[S]
    ) -> None:
        """Take a metric that was opened, and know it. Raises `MalformedError`."""
        head, start, _, time, value_tag, value, tail = cut.unpack(wire)
        series = self._series.learn_single(
            hash((scope.single_mark, head, tail)),
            wire[cut.rest : cut.end],
            metric,
            scope,
            has_family=self._has_details,
        )
        columns.series.append(series)
        columns.times_ns.append(time)
        columns.values.append(value if value_tag == DOUBLE_TAG else double_of(value))
        if self._has_details:
            columns.families.append(metric.family)
            columns.starts_ns.append(start or 0)

    def _guess(self, wire: bytes, cut: Cut) -> None:
        if len(self._guesses) >= _GUESSES_MAX:
            self._guesses.clear()
        name_length = wire[1]
        self._guesses[len(wire), name_length, wire[name_length + 3]] = cut.unpack

    @property
    def bytes(self) -> int:
        """What is held, about, beside the series."""
        return self._plans.bytes

    def __repr__(self) -> str:
        return f"<Singles guesses={len(self._guesses)}>"


def double_of(integer: bytes) -> bytes:
    """The eight bytes of a double, for those of an integer."""
    return _pack_double(_unpack_int(integer)[0])


def doubles_of(values: Sequence[bytes], tags: Sequence[int]) -> Sequence[bytes]:
    """The values, of which some are integers, as doubles."""
    return [
        value if tag == DOUBLE_TAG else double_of(value)
        for value, tag in zip(values, tags, strict=True)
    ]


def find_cut(wire: bytes) -> Cut | None:
    """Where the block is, if a serialized metric has one plain point: all others have no cut.

    Plain: time and value, a start or none, and no more than attributes behind them. The metric is
    a gauge or sum and says so once.
    """
    try:
        name_length = wire[1]
        wire[name_length + 3]  # there is what guesses are made of
        data = _only(wire, 0, len(wire), DATA_TAGS)
        if data is None or wire[data[0]] not in _NUMBER_TAGS:
            return None
        point = _only(wire, data[1], data[2], frozenset({POINTS_TAG}))
        if point is None:
            return None
        _, begin, end = point
        has_start = wire[begin] == START_TAG
        block = begin + 9 if has_start else begin
        rest = block + 18
        if (
            rest > end
            or wire[block] != TIME_TAG
            or wire[block + 9] not in {DOUBLE_TAG, INT_TAG}
            or any(tag != _ATTRIBUTE_TAG for tag, _, _, _ in fields(wire, rest, end))
        ):
            return None
    except (IndexError, MalformedError):
        return None
    head = begin + 1 if has_start else begin
    return Cut(_shape(head, len(wire) - rest, has_start=has_start), rest, end)


def _only(wire: bytes, start: int, end: int, tags: frozenset[int]) -> tuple[int, int, int] | None:
    """Where the only field with one of these tags begins, has its content and ends."""
    found = [
        (first, content, last)
        for tag, first, content, last in fields(wire, start, end)
        if tag in tags
    ]
    return found[0] if len(found) == 1 else None


@lru_cache(_SHAPES_MAX)
def _shape(head_bytes: int, tail_bytes: int, *, has_start: bool) -> Callable[[bytes], Any]:
    """Takes apart a metric of this length, with the tag of its start at the end of the head."""
    start = "Q" if has_start else "0s"
    return struct.Struct(f"<{head_bytes}s{start}BQB8s{tail_bytes}s").unpack
