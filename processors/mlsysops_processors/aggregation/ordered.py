"""Points of a shard that came in the order of their times, several of each series.

As nearly all do. Then columns are compared as a whole and only series are gone through one by one,
which takes a third of the time that rows take (see `numbers`, whose results these are). No I/O.
"""

from __future__ import annotations

import math
from itertools import compress, islice
from operator import eq, itemgetter, le, lt, ne, or_
from typing import TYPE_CHECKING, Any, NamedTuple

from mlsysops_processors.aggregation.tally import exact_sum
from mlsysops_processors.aggregation.windows import SERIALIZED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlsysops_processors.aggregation.numbers import Members, State
    from mlsysops_processors.aggregation.windows import Columns, Row


class Ordered(NamedTuple):
    """Points by series, and of each in the order of their times, which differ.

    ``ends``: where each series ends. ``is_growing``: whether all points of each have the same start
    and no value is smaller than the one before.
    """

    series: Sequence[int]
    times: Sequence[int]
    starts: Sequence[int]
    values: Sequence[Any]
    ends: Sequence[int]
    is_growing: bool


def ordered(columns: Columns, *, is_running: bool) -> Ordered | None:
    """The points of columns, if those of each series came in order.

    ``is_running``: whether starts and ``is_growing`` are of interest.
    """
    if columns.form is SERIALIZED or len(columns) < 2:
        return None
    found = columns.series
    order = sorted(range(len(found)), key=found.__getitem__)
    pick: Callable[[Any], tuple[Any, ...]] = itemgetter(*order)
    series = pick(found)
    is_last = list(map(ne, series, _behind_first(series)))
    times = pick(columns.times_of_numbers)
    if not _all_pairs(lt, times, is_last):
        return None
    values = pick(columns.values)
    ends = [*compress(range(1, len(series)), is_last), len(series)]
    starts: Sequence[int] = ()
    is_growing = False
    if is_running:
        starts = pick(columns.starts_of_numbers)
        is_growing = _all_pairs(eq, starts, is_last) and _all_pairs(le, values, is_last)
    return Ordered(series, times, starts, values, ends, is_growing)


def _behind_first(column: Sequence[Any]) -> Iterable[Any]:
    return islice(column, 1, None)


def _all_pairs(
    is_so: Callable[[Any, Any], bool], column: Sequence[Any], is_last: Sequence[bool]
) -> bool:
    """Whether something is so for each and the next of the same series."""
    return all(map(or_, is_last, map(is_so, column, _behind_first(column))))


def fold_gauges(points: Ordered, members: Members) -> None:
    """Every point is a value, the last one of a series in a list of its own."""
    values = points.values
    begin = 0
    for end in points.ends:
        for output in members[points.series[begin]]:
            output.values.append(values[end - 1])
            output.earlier += values[begin : end - 1]
        begin = end


def fold_deltas(points: Ordered, members: Members) -> None:
    """The value of a series is the sum of its points."""
    begin = 0
    for end in points.ends:
        value = exact_sum(points.values[begin:end])
        for output in members[points.series[begin]]:
            output.values.append(value)
            output.more += end - begin - 1
        begin = end


def fold_growing(points: Ordered, members: Members, state: State) -> list[Row]:
    """What each series has grown by. The rows of those that are not so easy, in order."""
    known_values, known_starts, known_times = state.values, state.starts, state.times
    series, times, starts, values, ends, _ = points
    rest: list[Row] = []
    begin = 0
    for end in ends:
        one, last = series[begin], values[end - 1]
        known = known_values[one]
        if (
            starts[begin] <= known_starts[one]
            and known <= values[begin]
            and last < math.inf
            and known_times[one]
        ):
            known_values[one], known_times[one] = last, times[end - 1]
            gain = last - known
            more = end - begin - 1
            for output in members[one]:
                output.values.append(gain)
                output.more += more
        else:
            rest += [(one, times[at], starts[at], values[at]) for at in range(begin, end)]
        begin = end
    return rest
