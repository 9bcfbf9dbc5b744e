"""Numbers of a window: points that came twice are left out, and every series gives its share.

Rows are sorted by series and time, so that nothing depends on the order in which points came. No
I/O and no clock.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol, TypeVar

from mlsysops_processors.aggregation.tally import Tally, beats, exact_sum
from mlsysops_processors.aggregation.windows import ENDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlsysops_processors.aggregation.outputs import Output
    from mlsysops_processors.aggregation.windows import Row

    Outputs = tuple[Output, ...]

_Value = TypeVar("_Value")
_AFTER: Row = (-1, 0, 0, 0)
INVALID, RESET, FALL, OVERLAP = "invalid", "reset", "fall", "overlap"
"""What may be wrong with a cumulative point: no number that only grows; a new start (which is
nothing wrong); a smaller value without one; a start before the point that was last."""


class Members(Protocol):
    """The results of every series."""

    def __getitem__(self, series: int, /) -> Outputs: ...


class Column(Protocol[_Value]):
    """One number of every series."""

    def __getitem__(self, series: int, /) -> _Value: ...
    def __setitem__(self, series: int, value: _Value, /) -> None: ...


class State(Protocol):
    """The last point of every cumulative series; time 0: none.

    ``ended``: the values of those that said that they have none now (DM-10), which may go on with
    the same start; `math.inf` stands in ``values``.
    """

    ended: dict[int, float]

    @property
    def values(self) -> Column[float]:
        """What they were."""

    @property
    def starts(self) -> Column[int]:
        """When they started, in nanoseconds."""

    @property
    def times(self) -> Column[int]:
        """When they were, in nanoseconds."""


def is_sound(value: float) -> bool:
    """Whether a sum that only grows can have a value."""
    return 0 <= value < math.inf


def fold_simple(series: Iterable[int], values: Iterable[float], members: Members) -> None:
    """One point of each series: of gauges and deltas it is the value."""
    for one, value in zip(series, values, strict=True):
        for output in members[one]:
            output.values.append(value)


def fold_gauges(rows: Iterable[Row], members: Members) -> None:
    """Every point is a value, the last one of a series in a list of its own."""
    before, time_before, value_before = -1, 0, 0.0
    outputs: Outputs = ()
    for series, time_ns, _, value in rows:
        if series == before:
            if time_ns == time_before:
                if beats(value, value_before):
                    value_before = value
                continue
            for output in outputs:
                output.earlier.append(value_before)
        else:
            for output in outputs:
                output.values.append(value_before)
            outputs = members[series]
            before = series
        time_before, value_before = time_ns, value
    for output in outputs:
        output.values.append(value_before)


def fold_deltas(rows: Iterable[Row], members: Members) -> None:
    """The value of a series is the sum of its points."""
    before, time_before, start_before = -1, 0, 0
    outputs: Outputs = ()
    run: list[float] = []
    for series, time_ns, start_ns, value in rows:
        if series != before:
            if outputs:
                _add_run(run, outputs)
            outputs = members[series]
            before = series
            run = [value]
        elif time_ns == time_before and start_ns == start_before:
            if beats(value, run[-1]):
                run[-1] = value
            continue
        else:
            run.append(value)
        time_before, start_before = time_ns, start_ns
    _add_run(run, outputs)


def _add_run(run: Sequence[float], outputs: Outputs) -> None:
    value = run[0] if len(run) == 1 else exact_sum(run)
    for output in outputs:
        output.values.append(value)
        output.more += len(run) - 1


def fold_running_simple(rows: Iterable[Row], members: Members, state: State) -> list[Row]:
    """One point of each series: what it has grown by. Those rows that are not so easy."""
    values, starts, times = state.values, state.starts, state.times
    rest = []
    for row in rows:
        series, time_ns, start_ns, value = row
        known = values[series]
        if start_ns <= starts[series] and known <= value < math.inf and times[series]:
            values[series], times[series] = value, time_ns
            value -= known
            for output in members[series]:
                output.values.append(value)
        else:
            rest.append(row)
    return rest


def fold_running(
    rows: Sequence[Row], members: Members, state: State, window_ns: int, alive_ns: int
) -> Counter[str]:
    """The value of a series is what it has grown by; what was wrong is counted.

    ``window_ns``: the start of the window; ``alive_ns``: since when nothing was missed.
    """
    values, starts, times = state.values, state.starts, state.times
    causes: Counter[str] = Counter()
    gain: float = 0
    base: float | None = None  # since when a series only grew; subtracted once: it rounds once
    points = 0
    firsts: list[tuple[int, int, float]] = []
    following = chain(islice(rows, 1, None), (_AFTER,))
    for row, after in zip(rows, following, strict=False):  # of no rows, there is one more
        series, time_ns, start_ns, value = row
        if after[0] == series and after[1] == time_ns:
            continue  # the same point again, with a later start or a larger value
        known = values[series]
        if start_ns <= starts[series] and known <= value < math.inf and times[series]:
            points += 1  # as most are; `_growth` would say the same
            if base is None:
                base = known
            values[series], times[series] = value, time_ns
        elif start_ns != ENDED and not is_sound(value):
            causes[INVALID] += 1
        else:
            if base is not None:
                gain += known - base
                base = None
            if start_ns == ENDED:
                if times[series] and series not in state.ended:
                    state.ended[series], values[series] = known, math.inf
            else:
                points += 1
                if times[series]:
                    more, cause = _growth(row, state)
                    gain += more
                    if cause:
                        causes[cause] += 1
                else:
                    firsts.append((time_ns, start_ns, value))
                    starts[series] = start_ns
                values[series], times[series] = value, time_ns
        if after[0] != series:
            if base is not None:
                gain += values[series] - base
            if points:
                for output in members[series]:
                    output.more += points - 1
                    if firsts:
                        _add_first(output, firsts, gain, window_ns, alive_ns)
                    else:
                        output.values.append(gain)
            gain, base, points, firsts = 0, None, 0, []
    return causes


def _growth(row: Row, state: State) -> tuple[float, str]:
    """What a known series has grown by, and what was noticed; its start is kept up to date."""
    series, time_ns, start_ns, value = row
    if series in state.ended:
        state.values[series] = state.ended.pop(series)
        if not start_ns:  # nobody knows whether it is the same one
            state.starts[series] = 0
            return 0, ""
    known = state.values[series]
    if start_ns <= state.starts[series]:
        # A smaller value: a broken writer, or one that does not say when it started.
        return (value - known, "") if value >= known else (value, FALL)
    begun_after = start_ns >= state.times[series]
    state.starts[series] = start_ns
    if start_ns >= time_ns:
        return 0, ""
    return (value, RESET) if begun_after or value < known else (value - known, OVERLAP)


def _add_first(
    output: Output,
    firsts: Sequence[tuple[int, int, float]],
    gain: float,
    window_ns: int,
    alive_ns: int,
) -> None:
    """Add a series of whose past nothing is known but when it started."""
    is_new = begin(output, window_ns)
    life_ns = life_of(output, window_ns, alive_ns)
    extra: float = 0
    for time_ns, start_ns, value in firsts:
        if not 0 < start_ns < time_ns:
            continue
        if start_ns >= life_ns:
            gain += value
        elif is_new:
            extra += value
        if is_new:
            output.start_ns = min(output.start_ns or start_ns, start_ns)
    output.values.append(gain)
    if extra:
        output.extra.append(extra)


def begin(output: Output, window_ns: int) -> bool:
    """Whether a result is fed for the first time in this window."""
    if not output.born_ns:
        output.born_ns = window_ns
    return output.born_ns == window_ns


def life_of(output: Output, window_ns: int, alive_ns: int) -> int:
    """Since when nothing of a result's series was missed.

    Of series for which there is no room, nothing is known that was before the window: of those that
    go on, what they grow by from window to window is missed.
    """
    return window_ns if output is output.spec.overflow else min(output.born_ns, alive_ns)


def fold_ends(rows: Iterable[Row], members: Members) -> None:
    """Look for the oldest and newest points where a function wants them."""
    for series, time_ns, start_ns, value in rows:
        if start_ns == ENDED:
            continue
        for output in members[series]:
            if output.spec.needs.ends:
                if output.tally is None:
                    output.tally = Tally(output.spec.needs)
                output.tally.add_end(time_ns, value)


def drain(output: Output) -> None:
    """Take what a result was given into its tally."""
    needs, values = output.spec.needs, output.values
    tally = output.tally
    if tally is None:
        tally = output.tally = Tally(needs)
    if needs.lasts:
        tally.lasts.add(values)
    tally.more += output.more
    output.more = 0
    output.values = []
    if output.earlier:
        values += output.earlier
        output.earlier = []
    tally.add(values, needs)
