"""Histograms of a window: of every series what was observed in it, merged over series.

As `numbers`, for points that are serialized. No I/O and no clock.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from mlsysops_pipeline.metrics.histograms import Explicit, Histogram, problem
from mlsysops_pipeline.metrics.walking import CUMULATIVE
from mlsysops_pipeline.pdata.sieve import POINT_NAMES
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
from mlsysops_processors.aggregation.numbers import FALL, INVALID, OVERLAP, RESET, begin, life_of
from mlsysops_processors.aggregation.windows import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlsysops_processors.aggregation.numbers import Members
    from mlsysops_processors.aggregation.outputs import Output
    from mlsysops_processors.aggregation.windows import Row

_AFTER: Row = (-1, 0, 0, b"")
BOUNDS = "bounds"
"""Series were left out of a result, or a total began anew, because bounds are others (DM-11)."""

Part = tuple[int, Histogram]


class Known(NamedTuple):
    """The last point of a cumulative series, and whether it said that it has no value now."""

    histogram: Histogram
    start_ns: int
    time_ns: int
    has_ended: bool


class Buckets:
    """What came in a window, by bounds: those of the newest point are the ones that count."""

    __slots__ = ("_by_bounds",)

    def __init__(self) -> None:
        self._by_bounds: dict[tuple[float, ...], tuple[int, Histogram, int]] = {}

    def add(self, part: Part) -> None:
        """Add what was observed up to a time."""
        time_ns, histogram = part
        buckets = histogram.buckets
        bounds = buckets.bounds if isinstance(buckets, Explicit) else ()
        known = self._by_bounds.get(bounds)
        if known is not None:
            newest_ns, total, count = known
            self._by_bounds[bounds] = (max(newest_ns, time_ns), total.plus(histogram), count + 1)
        else:
            self._by_bounds[bounds] = (time_ns, histogram, 1)

    def merged(self) -> tuple[Histogram | None, int]:
        """All that has the bounds of the newest, and how many parts have others."""
        if not self._by_bounds:
            return None, 0
        newest = max(self._by_bounds, key=lambda bounds: (self._by_bounds[bounds][0], bounds))
        parts = sum(count for _, _, count in self._by_bounds.values())
        _, total, count = self._by_bounds[newest]
        return total, parts - count


class Folding:
    """Adds the histograms of one window up. ``known``: the last point of cumulative series.

    ``say``: told what is wrong with a point that is left out (DM-5). ``unsound``: series and time
    of these.
    """

    def __init__(
        self,
        known: dict[int, Known],
        window_ns: int,
        alive_ns: int,
        say: Callable[[str], None],
    ) -> None:
        self._known = known
        self._window_ns = window_ns
        self._alive_ns = alive_ns
        self._say = say
        self.causes: Counter[str] = Counter()
        self.unsound: set[tuple[int, int]] = set()

    def fold(self, rows: Sequence[Row], members: Members) -> None:
        """The rows of a shard, sorted."""
        points: list[tuple[int, int, Histogram | None]] = []
        following = chain(islice(rows, 1, None), (_AFTER,))
        for row, after in zip(rows, following, strict=False):  # of no rows, there is one more
            series, time_ns, start_ns, wire = row
            spec = members[series][0].spec
            is_cumulative = spec.temporality == CUMULATIVE
            is_last = after[0] != series
            if is_last or after[1] != time_ns or not (is_cumulative or after[2] == start_ns):
                # Else the same point comes again, with a later start or other bytes.
                if start_ns == ENDED:
                    points.append((time_ns, start_ns, None))
                elif (found := self._parsed(wire, spec.kind)) is not None:
                    points.append((time_ns, start_ns, found))
                else:
                    self.unsound.add((series, time_ns))
            if not is_last:
                continue
            if is_cumulative:
                self._add_growth(series, points, members[series])
            else:
                for output in members[series]:
                    output.values.extend((time, found) for time, _, found in points if found)
            points = []

    def _parsed(self, wire: bytes, kind: str) -> Histogram | None:
        point = view(Signal.METRICS, Depth.POINT, POINT_NAMES[kind]).FromString(wire)
        found = Histogram.of(point, kind)
        if found is None:
            self.causes[INVALID] += 1
            self._say(problem(point, kind))
        return found

    def _add_growth(
        self,
        series: int,
        points: Iterable[tuple[int, int, Histogram | None]],
        outputs: Sequence[Output],
    ) -> None:
        """Of a cumulative series what it has grown by."""
        known = self._known.get(series)
        growths: list[_Growth] = []
        for time_ns, start_ns, found in points:
            if found is None:
                known = known and known._replace(has_ended=True)
            elif known is None:
                growths.append(_Growth(time_ns, found, start_ns, is_first=True))
                known = Known(found, start_ns, time_ns, has_ended=False)
            else:
                growth = self._growth(known, time_ns, start_ns, found)
                growths.append(_Growth(time_ns, growth, start_ns, is_first=False))
                begun_ns = max(start_ns, known.start_ns)
                if known.has_ended and not start_ns:
                    begun_ns = 0
                known = Known(found, begun_ns, time_ns, has_ended=False)
        if known is not None:
            self._known[series] = known
        if growths:
            for output in outputs:
                self._add_share(output, growths)

    def _growth(self, known: Known, time_ns: int, start_ns: int, found: Histogram) -> Histogram:
        """As of numbers: see there. Other bounds are a reset (DM-11)."""
        if known.has_ended and not start_ns:
            return _nothing(found)
        growth: Histogram | None
        if start_ns > known.start_ns:
            if start_ns >= time_ns:
                return _nothing(found)
            growth = found.since(known.histogram) if start_ns < known.time_ns else None
            self.causes[RESET if growth is None else OVERLAP] += 1
        else:
            growth = found.since(known.histogram)
            if growth is None:
                self.causes[FALL if found.fits(known.histogram) else BOUNDS] += 1
        return found.without_extremes() if growth is None else growth

    def _add_share(self, output: Output, growths: Sequence[_Growth]) -> None:
        """What a series gives to a result; of other bounds than its newest, nothing."""
        is_new = begin(output, self._window_ns)
        life_ns = life_of(output, self._window_ns, self._alive_ns)
        newest = growths[-1]
        share, extra = _nothing(newest.histogram), None
        for time_ns, growth, start_ns, is_first in growths:
            is_older = False
            if is_first:
                is_known = 0 < start_ns < time_ns
                is_older = not is_known or start_ns < life_ns
                if is_new and is_known:
                    output.start_ns = min(output.start_ns or start_ns, start_ns)
                    if is_older:
                        extra = growth.without_extremes()
            if not is_older and growth.fits(share):
                share = share.plus(growth.without_extremes())
        output.values.append((newest.time_ns, share))
        if extra is not None and extra.fits(share):
            output.extra.append((newest.time_ns, extra))


class _Growth(NamedTuple):
    """By what a series has grown up to a time; of its first point, the whole of it."""

    time_ns: int
    histogram: Histogram
    start_ns: int
    is_first: bool


def _nothing(found: Histogram) -> Histogram:
    """The same bounds with nothing in them."""
    growth = found.since(found)
    return found.without_extremes() if growth is None else growth


def fold_ends(rows: Iterable[Row], members: Members) -> None:
    """Keep the oldest and newest points, as they are, where a function wants them."""
    for series, time_ns, start_ns, wire in rows:
        if start_ns == ENDED:
            continue
        end = (time_ns, wire)
        for output in members[series]:
            if output.spec.needs.ends:
                if output.newest is None or end > output.newest:
                    output.newest = end
                oldest = output.oldest
                if (
                    oldest is None
                    or time_ns < oldest[0]
                    or (time_ns == oldest[0] and wire > oldest[1])
                ):
                    output.oldest = end


def drain(output: Output) -> None:
    """Take what a shard gave to a result into its buckets."""
    if output.buckets is None:
        output.buckets = Buckets(), Buckets()
    growth, extra = output.buckets
    for part in output.values:
        growth.add(part)
    for part in output.extra:
        extra.add(part)
    output.values = []
    output.extra = []
