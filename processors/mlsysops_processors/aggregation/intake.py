"""Takes the points that are to be aggregated out of requests and puts them into windows. No I/O.

Metrics that are as they were but for their numbers are not opened (`layouts`); others are opened as
far as their points, which stay bytes. Nearly every encoder writes a number as
start, time, value, attributes: then three of them lie where they always lie, and the bytes of the
rest tell the series. And most metrics come with the same series in the same order each time: then
one hash over the rest of all points tells all of their series. All else is parsed.
"""

from __future__ import annotations

from collections import Counter
from struct import Struct
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.metrics.closed import head
from mlsysops_pipeline.metrics.identity import Identities
from mlsysops_pipeline.metrics.walking import CUMULATIVE, NO_VALUE, Place, remove
from mlsysops_pipeline.pdata.sieve import POINT_NAMES
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize, view
from mlsysops_pipeline.pdata.wire import length_prefix, message_tag
from mlsysops_processors.aggregation.inputs import REFUSED, UNMEANT
from mlsysops_processors.aggregation.journal import Journal
from mlsysops_processors.aggregation.layouts import Layouts
from mlsysops_processors.aggregation.outputs import ADDED, BUCKETS, CLOSED, GAUGE, RUNNING
from mlsysops_processors.aggregation.rules import AttributeReader, by_key
from mlsysops_processors.aggregation.windows import (
    ENDED,
    SERIALIZED,
    SHIFT,
    Columns,
    Form,
    first_and_last,
    form_of,
    gathered,
    head_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlsysops_pipeline.metrics.closed import Head
    from mlsysops_processors.aggregation.inputs import Inputs, Runs, Source
    from mlsysops_processors.aggregation.layouts import Layout, Whole
    from mlsysops_processors.aggregation.outputs import Output
    from mlsysops_processors.aggregation.rules import Attributes, Rules
    from mlsysops_processors.aggregation.windows import Window, Windows

STEP_POINTS = 2000
"""Points that are taken in a step, about two milliseconds. One that is parsed counts as several."""
_PARSED_POINTS = 40
_AT_ONCE, _AT_ONCE_PARSED = 200, 20
"""Points of a metric that are looked at together, and so many where the last ones were parsed."""
LATE, FUTURE = "late", "future"
LIMIT, IMPOSSIBLE, SILENT = "limit", "impossible", "no_value"
"""Why points are not held: their window was closed, or is too far ahead; there is no room for their
metric; no function of any rule is possible; they have no value and so add nothing."""

_TOGETHER_MIN = 8
"""Points of a metric that are taken together if that is possible."""
_ATTRIBUTES = 7
"""The field of a ``NumberDataPoint``'s attributes."""
_ATTRIBUTES_TAG = message_tag(_ATTRIBUTES)
_LENGTH_OF_ONE_BYTE = 0x80
_time_at = Struct("<Q").unpack_from


class Intake:
    """Requests on their way into windows, one at a time.

    Of the points since `keep`: ``taken`` counts all that are not handed on, ``left`` those of them
    that are not held, by why; ``passed`` those that are handed on, by why. ``impossible``: by name
    and kind of metric the functions that mean nothing for it. ``overflown``: those of series
    for which there was no room.
    """

    def __init__(
        self,
        rules: Rules,
        inputs: Inputs,
        windows: Windows,
        *,
        forwards_late: bool,
        passes_impossible: bool,
        keeps_original: bool,
    ) -> None:
        self._rules = rules
        self._inputs = inputs
        self._windows = windows
        self._forwards_late = forwards_late
        self._passes_impossible = passes_impossible
        self._keeps_original = keeps_original
        self._identities = Identities()
        self._reader = AttributeReader()
        self._layouts = Layouts()
        self._journal = Journal()
        self._resource: Attributes | None = None
        self._group: Any = None
        self._now_ns = self._future_ns = self._hops = 0
        self._budget = STEP_POINTS
        self._at_once = _AT_ONCE_PARSED
        self._taken_series: list[int] = []
        self.taken = 0
        self.overflown = 0
        self.passed: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.impossible: dict[tuple[bytes, str], tuple[str, ...]] = {}

    def begin(self, now_ns: int, hops: int) -> None:
        """Another payload."""
        self._now_ns = now_ns
        self._hops = hops
        self._future_ns = self._windows.advance(now_ns)

    def take(self, wire: bytes) -> Iterator[bytes | None]:
        """Take a request's points in steps: ``None`` after each, at last what is left of it.

        That is ``wire`` itself if nothing was taken. Raises `MalformedError`.
        """
        request = parse(Signal.METRICS, Depth.SCOPE, wire)
        place = Place(self._identities)
        taken = self.taken
        empty_groups = []
        for group_index, group in enumerate(request.resource_metrics):
            place.enter_group(group)
            self._group, self._resource = group, None
            empty_blocks = []
            for block_index, block in enumerate(group.scope_metrics):
                place.enter_block(block)
                taken_before = self.taken
                left: list[bytes] = []
                yield from self._take_block(block.metrics[:], place, left)
                if self.taken > taken_before:
                    del block.metrics[:]
                    block.metrics.extend(left)
                    if not left:
                        empty_blocks.append(block_index)
            if empty_blocks:
                remove(group.scope_metrics, empty_blocks)
                if not group.scope_metrics:
                    empty_groups.append(group_index)
        if empty_groups:
            remove(request.resource_metrics, empty_groups)
        is_changed = self.taken > taken and not self._keeps_original
        yield serialize(request) if is_changed else wire

    def _take_block(self, metrics: list[bytes], place: Place, left: list[bytes]) -> Iterator[None]:
        """Take the points of a scope's metrics; ``left``: what is left of these."""
        scope = place.scope()
        seen = hash((scope, *map(len, metrics)))
        count = self._take_whole(metrics, seen)
        if count:
            self.taken += count
            if self._is_spent(count):
                yield
            return
        known: list[tuple[int, Layout, Runs]] = []
        for metric in metrics:
            found = head(metric)
            if found is None:
                yield from self._take_opened(metric, None, place, left)
                continue
            key = hash((scope, metric[: found[4]]))
            layout = self._layouts.find(key)
            runs = self._take_known(metric, layout) if layout is not None else None
            if runs is None or layout is None:
                yield from self._take_opened(metric, found, place, left)
                continue
            known.append((key, layout, runs))
            self.taken += layout.length
            if self._is_spent(layout.length):
                yield
        if 1 < len(known) == len(metrics) and self._layouts.is_wanted(seen):
            self._layouts.learn_whole(seen, metrics, known)

    def _is_spent(self, points: int) -> bool:
        """Whether so many points end a step."""
        self._budget -= points
        if self._budget > 0:
            return False
        self._budget = STEP_POINTS
        return True

    def _take_whole(self, metrics: list[bytes], seen: int) -> int:
        """Take all metrics of a scope as they were but for numbers; how many, if that is so."""
        whole = self._layouts.find_whole(seen)
        if whole is None:
            return 0
        for source, runs in whole.sources:
            if source.runs is not runs:
                return 0
        parts = whole.unpack(b"".join(metrics))
        if hash(parts[::2]) != whole.same or not self._add(parts, whole, whole.runs):
            return 0
        for source, _ in whole.sources:
            self._used(source)
        return len(parts) // 2

    def _take_known(self, metric: bytes, layout: Layout) -> Runs | None:
        """Take a metric that is as it was but for its numbers; its series, if that is so."""
        parts = layout.unpack(metric)
        runs = layout.source.runs.get(hash(parts[::2]))
        if runs is None or not self._add(parts, layout, runs):
            return None
        self._used(layout.source)
        return runs

    def _add(self, parts: tuple[bytes, ...], layout: Layout | Whole, runs: Runs) -> bool:
        """Add what was unpacked to a window, if all of it is of a form and belongs to one."""
        heads = b"".join(parts[1::2])
        if heads[::9] != layout.tags:
            return False
        times = layout.times(heads)
        first = last = times[0]
        if times.count(first) != len(times):
            first, last = min(times), max(times)
        if not self._windows.open_from_ns <= first <= last < self._future_ns:
            return False
        window = self._windows.at(first)
        if last >= window.end_ns:
            return False
        self._journal.add_round(runs, heads, layout.form, window, (first, last))
        return True

    def _take_opened(
        self, wire: bytes, found: Head | None, place: Place, left: list[bytes]
    ) -> Iterator[None]:
        """Take the points of a metric; ``left``: what is left of it is added to that."""
        if found is not None and not self._rules.of(found[1]):
            left.append(wire)
            return
        metric = _opened(wire)
        kind = metric.WhichOneof("data")
        points = getattr(metric, kind).data_points if kind is not None else ()
        rules = self._rules.of(metric.name)
        if not rules or not points:
            left.append(wire)
            return
        place.message, place.kind = metric, kind
        source = self._inputs.source(place.metric(), metric, kind, rules)
        rest: list[bytes] = []
        every = list(points)
        begin = 0
        runs: Runs | None = None
        while begin < len(every):
            end = begin + self._at_once
            step = every[begin:end] if begin or end < len(every) else every
            begin = end
            before = self._budget
            runs = self._take(step, source, rest)
            if step is not every:
                runs = None
            spent = before - self._budget
            self._at_once = _AT_ONCE if spent < _AT_ONCE else _AT_ONCE_PARSED
            if self._is_spent(len(step)):
                yield
        self.taken += len(every) - len(rest)
        if not rest:
            if runs is not None and found is not None and source is not None:
                seen = hash((place.scope(), wire[: found[4]]))
                same = self._layouts.learn(seen, wire, found, source)
                if same is not None:
                    source.runs[same] = runs
        elif len(rest) < len(every):
            del points[:]
            points.extend(rest)
            left.append(serialize(metric))
        else:
            left.append(wire)

    def keep(self) -> tuple[int, int]:
        """What was taken since the last time is taken for good: points that are held, and bytes."""
        points, size = self._journal.keep(self._hops)
        self._windows.points += points
        self._clear()
        return points, size

    def undo(self) -> None:
        """As if nothing had been taken since `keep`."""
        self._journal.undo()
        self._clear()

    def _clear(self) -> None:
        self._group = self._resource = None
        self.taken = self.overflown = 0
        self.left = Counter()
        self.passed = Counter()
        self.impossible = {}

    def _take(
        self, points: Sequence[bytes], source: Source | None, rest: list[bytes]
    ) -> Runs | None:
        """Take points of one metric; their series, if they came together before."""
        if source is None:
            self.left[LIMIT] += len(points)
            return None
        self._used(source)
        if not source.specs:
            if self._passes_impossible:
                self.passed[IMPOSSIBLE] += len(points)
                rest.extend(points)
            else:
                self.left[IMPOSSIBLE] += len(points)
            return None
        if source.family in {GAUGE, ADDED, RUNNING}:
            return self._take_numbers(points, source, rest)
        for point in points:
            self._take_message(point, source, rest)
        return None

    def _used(self, source: Source) -> None:
        """A metric has come."""
        if source.impossible:
            word = "cumulative " if source.temporality == CUMULATIVE else ""
            self.impossible[source.name, word + source.kind] = source.impossible
        if source.specs:
            source.used_ns = self._now_ns

    def _take_numbers(
        self, points: Sequence[bytes], source: Source, rest: list[bytes]
    ) -> Runs | None:
        """Together if they are as the last ones of their metric, which most are; else one by one.

        See the top of the module.
        """
        heads = tails = None
        if len(points) >= _TOGETHER_MIN:
            form = form_of(points[0])
            if form is not None:
                stride = form.size
                heads = b"".join([point[:stride] for point in points])
                window = self._common_window(heads, form, len(points))
                if window is not None:
                    # No tag is zero, so that it tells where the bytes of a point end.
                    tails = hash((len(points), b"\0".join([point[stride:] for point in points])))
                    known = source.runs.get(tails)
                    if known is not None:
                        self._journal.add_runs(known, heads, form, window)
                        return known
        at = len(self._taken_series)
        self._take_singly(points, source, rest)
        if tails is not None:
            source.learn_runs(tails, self._taken_series[at:], len(points))
        del self._taken_series[at:]
        return None

    def _common_window(self, heads: bytes, form: Form, count: int) -> Window | None:
        """The window that all of these numbers go into, if there is one, and all are of a form."""
        if len(heads) != count * form.size:
            return None
        for at, tag in form.tags:
            if heads[at :: form.size] != tag * count:
                return None
        times = gathered(heads, form.time_at, form.size)
        first, last = first_and_last(times)
        if not self._windows.open_from_ns <= first <= last < self._future_ns:
            return None
        window = self._windows.at(first)
        return window if last < window.end_ns else None

    def _take_singly(self, points: Sequence[bytes], source: Source, rest: list[bytes]) -> None:
        found, salt = self._inputs.found, source.key
        note = self._taken_series.append
        shard, low_ns, high_ns, held_form = -1, 0, 0, SERIALIZED
        columns = Columns(SERIALIZED)  # those that points go into as long as they can
        for point in points:
            form = form_of(point)
            if form is None:
                self._take_message(point, source, rest)
                continue
            suffix = point[form.size :]
            series = found(hash(suffix) ^ salt)
            if series is None:
                if self._inputs.is_unmeant(hash(suffix) ^ salt):
                    rest.append(point)
                else:
                    self._take_message(point, source, rest)
                continue
            (time_ns,) = _time_at(point, form.time_at)
            if series >> SHIFT != shard or form is not held_form or not low_ns <= time_ns < high_ns:
                if not time_ns:
                    self._take_message(point, source, rest)
                    continue
                window = self._window(time_ns, point, rest)
                if window is None:
                    continue
                shard, held_form = series >> SHIFT, form
                low_ns, high_ns = window.start_ns, window.end_ns
                columns = self._journal.noted(window.columns(shard, form), window)
            columns.add_head(series, point[: form.size])
            note(series)

    def _window(self, time_ns: int, point: bytes, rest: list[bytes]) -> Window | None:
        """Where a point goes; ``None``: it is too late or too far ahead, and that was counted."""
        windows = self._windows
        if windows.open_from_ns <= time_ns < self._future_ns:
            return windows.at(time_ns)
        cause = FUTURE if time_ns >= self._future_ns else LATE
        if self._forwards_late:
            self.passed[cause] += 1
            rest.append(point)
        else:
            self.left[cause] += 1
        return None

    def _take_message(self, wire: bytes, source: Source, rest: list[bytes]) -> None:
        """Any point. Raises `MalformedError`."""
        self._budget -= _PARSED_POINTS
        point = _parsed(wire, source.kind)
        wires = list(point.attributes)
        suffix = b"".join([_framed_attribute(attribute) for attribute in wires])
        raw_key = hash(suffix) ^ source.key
        series = self._inputs.found(raw_key)
        if series is None:
            series = UNMEANT
            if not self._inputs.is_unmeant(raw_key):
                attributes = self._reader.read(wires)
                series = self._inputs.learn(raw_key, source, attributes, self._resource_attributes)
        if series == UNMEANT:
            rest.append(wire)
            return
        row = self._row(point, source)
        if row is None:
            self.left[SILENT] += 1
            return
        time_ns = point.time_unix_nano or self._now_ns
        window = self._window(time_ns, wire, rest)
        if window is None:
            return
        outputs: tuple[Output, ...] = ()
        if series == REFUSED:
            series, outputs = self._inputs.overflow(
                source, self._reader.read(wires), self._resource_attributes
            )
        start_ns, content = row
        is_number = not isinstance(content, bytes)
        start = head_of(start_ns, time_ns, content) if is_number else b""
        form = form_of(start) or SERIALIZED
        if outputs:
            for output in outputs:  # to be remembered until the window has closed
                output.fed_ns = max(output.fed_ns, window.start_ns)
            columns = window.overflow((source.family, outputs), form)
            self.overflown += 1
        else:
            columns = window.columns(series >> SHIFT, form)
            if len(wire) == form.size + len(suffix) and wire.endswith(suffix):
                self._taken_series.append(series)  # it is as most are, and was new
        self._journal.noted(columns, window)
        if is_number:
            columns.add_head(series, start)
        else:
            columns.add_serialized(series, time_ns, start_ns, content)

    @staticmethod
    def _row(point: Any, source: Source) -> tuple[int, Any] | None:
        """Start, and number or bytes of a point; ``None`` if it adds nothing."""
        start_ns = point.start_time_unix_nano
        is_number = source.family not in {BUCKETS, CLOSED}
        field = point.WhichOneof("value") if is_number else ""
        if point.flags & NO_VALUE or field is None:
            if source.temporality != CUMULATIVE or source.family == GAUGE:
                return None
            return ENDED, 0 if is_number else b""
        if field:
            return start_ns, getattr(point, field)
        del point.attributes[:]
        if source.family == BUCKETS:
            del point.exemplars[:]
        return start_ns, serialize(point)

    def _resource_attributes(self) -> Attributes:
        """Of the resource that is being taken; read once."""
        if self._resource is None:
            self._resource = by_key(self._reader.read(self._group.resource.attributes))
        return self._resource


def _opened(wire: bytes) -> Any:
    try:
        return view(Signal.METRICS, Depth.RECORD, "Metric").FromString(wire)
    except DecodeError as error:
        raise MalformedError(f"no protobuf metric: {error}") from error


def _parsed(wire: bytes, kind: str) -> Any:
    try:
        return view(Signal.METRICS, Depth.POINT, POINT_NAMES[kind]).FromString(wire)
    except DecodeError as error:
        raise MalformedError(f"no protobuf point of a metric: {error}") from error


def _framed_attribute(wire: bytes) -> bytes:
    if len(wire) < _LENGTH_OF_ONE_BYTE:
        return b"%c%c%b" % (_ATTRIBUTES_TAG, len(wire), wire)
    return length_prefix(_ATTRIBUTES, len(wire)) + wire
