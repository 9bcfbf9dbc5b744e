"""Numbers of the same series that came in the same order again and again.

As those of nearly every metric do. They are kept together as they came, round by round; if each
round is newer than the one before, what a window needs of them is found without sorting anything,
which costs a fifth of the time (see `numbers`, whose results these are). No I/O.
"""

from __future__ import annotations

import math
from itertools import islice
from operator import le
from typing import TYPE_CHECKING, Any

from mlsysops_processors.aggregation.outputs import ADDED, GAUGE
from mlsysops_processors.aggregation.tally import exact_sum
from mlsysops_processors.aggregation.windows import column, gathered

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    from mlsysops_processors.aggregation.numbers import Members, State
    from mlsysops_processors.aggregation.windows import Columns, Form, Row


class Block:
    """Rounds of points of one form. ``series``: of one shard, in the order of each round.

    ``heads``: how points begin, one after the other. ``last_ns``: the time of the newest one.
    ``is_ordered``: whether all points of each round are newer than those of the one before.
    """

    __slots__ = ("form", "heads", "is_ordered", "last_ns", "series", "shard")

    def __init__(self, shard: int, series: array[int], form: Form) -> None:
        self.shard = shard
        self.series = series
        self.form = form
        self.heads = bytearray()
        self.last_ns = -1
        self.is_ordered = True

    def __len__(self) -> int:
        return len(self.heads) // self.form.size

    def truncate(self, size: int) -> None:
        """Forget all but so many bytes of ``heads``."""
        del self.heads[size:]
        self.is_ordered = False  # nobody knows the time any more

    @property
    def is_repeated(self) -> bool:
        """Whether there are several rounds, each newer than the one before."""
        return self.is_ordered and len(self.heads) > len(self.series) * self.form.size

    def spread(self, columns: Columns) -> None:
        """Add the points to columns."""
        columns.series.extend(self.series * (len(self) // len(self.series)))
        columns.heads += self.heads

    def fold_plain(self, family: int, members: Members) -> list[Row]:
        """Gauges: every point is a value, the last one in a list of its own. Deltas: their sum.

        No row is left.
        """
        values = self._column(self.form.value_at, self.form.value_code)
        count = len(self.series)
        behind = len(values) - count  # where the last round begins
        more = behind // count
        for at, one in enumerate(self.series):
            if family == GAUGE:
                for output in members[one]:
                    output.values.append(values[behind + at])
                    output.earlier += values[at:behind:count]
            elif family == ADDED:
                value = exact_sum(values[at::count])
                for output in members[one]:
                    output.values.append(value)
                    output.more += more
        return []

    def fold_growing(self, members: Members, state: State) -> list[Row] | None:
        """What each series has grown by. The rows of those that are not so easy, by series.

        Nothing, and nothing is done, if a start is not the same in all rounds, or a value falls.
        """
        form, heads, count = self.form, self.heads, len(self.series)
        begins = gathered(heads, form.start_at, form.size) if form.start_at else b""
        values = self._column(form.value_at, form.value_code)
        if begins[8 * count :] != begins[: -8 * count] or not all(
            map(le, values, islice(values, count, None))
        ):
            return None
        behind = len(values) - count
        starts: Sequence[int] = (0,) * count
        if form.start_at:
            starts = column(heads[: count * form.size], form.start_at, form.size, "Q")
        times = column(heads[behind * form.size :], form.time_at, form.size, "Q")
        more = behind // count
        known_values, known_starts, known_times = state.values, state.starts, state.times
        hard = []
        for at, (one, start_ns, time_ns, first, last) in enumerate(
            zip(self.series, starts, times, values, values[behind:], strict=False)
        ):
            known = known_values[one]
            if (
                start_ns <= known_starts[one]
                and known <= first
                and last < math.inf
                and known_times[one]
            ):
                known_values[one], known_times[one] = last, time_ns
                gain = last - known
                for output in members[one]:
                    output.values.append(gain)
                    output.more += more
            else:
                hard.append(at)
        if not hard:
            return []
        all_times = self._column(form.time_at, "Q")
        return [
            (self.series[at], time_ns, starts[at], value)
            for at in hard
            for time_ns, value in zip(all_times[at::count], values[at::count], strict=True)
        ]

    def _column(self, at: int, type_code: str) -> array[Any]:
        return column(self.heads, at, self.form.size, type_code)
