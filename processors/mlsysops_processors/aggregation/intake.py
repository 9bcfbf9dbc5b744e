"""Takes the points that are to be aggregated out of requests and puts them into windows. No I/O.

Metrics are opened as far as their points, which stay bytes. Nearly every encoder writes a number as
start, time, value, attributes: then three of them lie where they always lie, and the bytes of the
rest tell the series. All else is parsed.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from struct import Struct
from struct import error as StructError  # noqa: N812  it is an exception
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.metrics.identity import Identities
from mlsysops_pipeline.metrics.walking import CUMULATIVE, NO_VALUE, Place, remove
from mlsysops_pipeline.pdata.sieve import POINT_NAMES
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize, view
from mlsysops_pipeline.pdata.wire import length_prefix
from mlsysops_processors.aggregation.inputs import REFUSED, UNMEANT
from mlsysops_processors.aggregation.outputs import ADDED, BUCKETS, CLOSED, GAUGE, RUNNING
from mlsysops_processors.aggregation.rules import attributes_of
from mlsysops_processors.aggregation.windows import ENDED, SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlsysops_processors.aggregation.inputs import Inputs, Source
    from mlsysops_processors.aggregation.rules import Attributes, Rules
    from mlsysops_processors.aggregation.windows import Columns, Window, Windows

STEP_POINTS = 1000
"""Points that are taken at a time, less than two milliseconds."""
LATE, FUTURE = "late", "future"
LIMIT, IMPOSSIBLE, SILENT = "limit", "impossible", "no_value"
"""Why points are not held: their window was closed, or is too far ahead; there is no room for their
series; no function of any rule is possible; they have no value and so add nothing."""

_START, _TIME, _DOUBLE, _INT = 0x11, 0x19, 0x21, 0x31
"""The tags of a ``NumberDataPoint``'s start, time and values."""
_long = Struct("<BQBQBq").unpack_from
_short = Struct("<BQBq").unpack_from
_LONG, _SHORT = 27, 18
_double = Struct("<d").pack
_as_int = Struct("<q").unpack
_ATTRIBUTES = 7
_TYPE_CODES = {_DOUBLE: "d", _INT: "q"}


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
        self._journal: dict[int, tuple[Columns, int, int, Window]] = {}
        self._resource: Attributes | None = None
        self._group: Any = None
        self._now_ns = self._future_ns = self._hops = 0
        self._budget = STEP_POINTS
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
        request = parse(Signal.METRICS, Depth.RECORD, wire)
        place = Place(self._identities)
        taken = self.taken
        empty_groups = []
        for group_index, group in enumerate(request.resource_metrics):
            place.enter_group(group)
            self._group, self._resource = group, None
            empty_blocks = []
            for block_index, block in enumerate(group.scope_metrics):
                place.enter_block(block)
                gone: list[int] = []
                yield from self._take_block(block, place, gone)
                if gone:
                    remove(block.metrics, gone)
                    if not block.metrics:
                        empty_blocks.append(block_index)
            if empty_blocks:
                remove(group.scope_metrics, empty_blocks)
                if not group.scope_metrics:
                    empty_groups.append(group_index)
        if empty_groups:
            remove(request.resource_metrics, empty_groups)
        is_changed = self.taken > taken and not self._keeps_original
        yield serialize(request) if is_changed else wire

    def _take_block(self, block: Any, place: Place, gone: list[int]) -> Iterator[None]:
        """Take the points of a scope's metrics; ``gone``: those that have none left."""
        for index, metric in enumerate(block.metrics):
            rules = self._rules.of(metric.name)
            if not rules:
                continue
            kind = metric.WhichOneof("data")
            points = getattr(metric, kind).data_points if kind is not None else ()
            if not points:
                continue
            place.message, place.kind = metric, kind
            source = self._inputs.source(place.metric(), metric, kind, rules)
            rest: list[bytes] = []
            remaining = iter(points)
            while step := list(islice(remaining, STEP_POINTS)):
                self._take(step, source, kind, rest)
                self._budget -= len(step)
                if self._budget <= 0:
                    self._budget = STEP_POINTS
                    yield
            self.taken += len(points) - len(rest)
            if len(rest) < len(points):
                del points[:]
                points.extend(rest)
                if not rest:
                    gone.append(index)

    def keep(self) -> tuple[int, int]:
        """What was taken since the last time is taken for good: points that are held, and bytes."""
        points = size = 0
        for columns, length, size_before, window in self._journal.values():
            more, bytes_more = len(columns) - length, columns.size - size_before
            window.points += more
            window.size += bytes_more
            window.hops = max(window.hops, self._hops)
            points += more
            size += bytes_more
        self._windows.points += points
        self._clear()
        return points, size

    def undo(self) -> None:
        """As if nothing had been taken since `keep`."""
        for columns, length, _, _ in self._journal.values():
            columns.truncate(length)
        self._clear()

    def _clear(self) -> None:
        self._journal = {}
        self._group = self._resource = None
        self.taken = self.overflown = 0
        self.left = Counter()
        self.passed = Counter()
        self.impossible = {}

    def _take(
        self, points: Sequence[bytes], source: Source | None, kind: str, rest: list[bytes]
    ) -> None:
        if source is None:
            self.left[LIMIT] += len(points)
            return
        if source.impossible:
            self.impossible[source.name, kind] = source.impossible
        if not source.specs:
            if self._passes_impossible:
                self.passed[IMPOSSIBLE] += len(points)
                rest.extend(points)
            else:
                self.left[IMPOSSIBLE] += len(points)
            return
        source.used_ns = self._now_ns
        if source.family in {GAUGE, ADDED, RUNNING}:
            self._take_numbers(points, source, rest)
        else:
            for point in points:
                self._take_message(point, source, rest)

    def _take_numbers(self, points: Sequence[bytes], source: Source, rest: list[bytes]) -> None:
        """The fast way for numbers; see the top of the module."""
        found, salt = self._inputs.found, source.key
        shard, low_ns, high_ns, held_tag = -1, 0, 0, 0
        add_series: Any = None  # and so on: of the columns that points go into as long as they can
        add_time = add_start = add_value = add_series
        for point in points:
            try:
                if point[0] == _START:
                    _, start_ns, tag, time_ns, value_tag, bits = _long(point)
                    suffix = point[_LONG:]
                else:
                    tag, time_ns, value_tag, bits = _short(point)
                    start_ns = 0
                    suffix = point[_SHORT:]
            except (IndexError, StructError):
                tag = value_tag = 0
            if tag != _TIME or (value_tag != _DOUBLE and value_tag != _INT):  # noqa: PLR1714  faster
                self._take_message(point, source, rest)
                continue
            series = found(hash(suffix) ^ salt)
            if series is None:
                self._take_new(point, suffix, source, rest)
                continue
            if series >> SHIFT != shard or value_tag != held_tag or not low_ns <= time_ns < high_ns:
                time_ns = time_ns or self._now_ns
                window = self._window(time_ns, point, rest)
                if window is None:
                    continue
                shard, held_tag = series >> SHIFT, value_tag
                low_ns, high_ns = window.start_ns, window.end_ns
                columns = self._columns(window, shard, _TYPE_CODES[value_tag])
                add_series, add_time = columns.series.append, columns.times.append
                add_start, add_value = columns.starts.append, columns.values.append
            add_series(series)
            add_time(time_ns)
            add_start(start_ns)
            add_value(bits)

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

    def _columns(self, window: Window, shard: int, type_code: str) -> Columns:
        return self._noted(window.columns(shard, type_code), window)

    def _noted(self, columns: Columns, window: Window) -> Columns:
        """Remember how things were, for `undo`."""
        if id(columns) not in self._journal:
            self._journal[id(columns)] = (columns, len(columns), columns.size, window)
        return columns

    def _take_new(self, point: bytes, suffix: bytes, source: Source, rest: list[bytes]) -> None:
        """A number whose series is not known by these bytes."""
        if self._inputs.is_unmeant(hash(suffix) ^ source.key):
            rest.append(point)
        else:
            self._take_message(point, source, rest)

    def _take_message(self, wire: bytes, source: Source, rest: list[bytes]) -> None:
        """Any point. Raises `MalformedError`."""
        point = _parsed(wire, source.kind)
        wires = list(point.attributes)
        raw_key = hash(b"".join([_framed_attribute(wire) for wire in wires])) ^ source.key
        series = self._inputs.found(raw_key)
        if series is None:
            series = self._inputs.learn(raw_key, source, wires, self._resource_attributes)
        if series == UNMEANT:
            rest.append(wire)
            return
        row = self._row(point, source)
        if row is None:
            self.left[SILENT] += 1
            return
        time_ns, start_ns, type_code, content = row
        if series == REFUSED and (
            source.family == RUNNING
            or (source.family == BUCKETS and source.temporality == CUMULATIVE)
        ):
            self.left[LIMIT] += 1
            return
        window = self._window(time_ns, wire, rest)
        if window is None:
            return
        if series == REFUSED:
            series, outputs = self._inputs.overflow(source, wires, self._resource_attributes)
            place = (source.family, outputs)
            columns = self._noted(window.overflow(place, type_code), window)
            self.overflown += 1
        else:
            columns = self._columns(window, series >> SHIFT, type_code)
        columns.add(series, time_ns, start_ns, content)

    def _row(self, point: Any, source: Source) -> tuple[int, int, str, Any] | None:
        """Time, start, type and content of a point; ``None`` if it adds nothing."""
        time_ns = point.time_unix_nano or self._now_ns
        start_ns = point.start_time_unix_nano
        is_number = source.family not in {BUCKETS, CLOSED}
        field = point.WhichOneof("value") if is_number else ""
        if point.flags & NO_VALUE or field is None:
            if source.temporality != CUMULATIVE or source.family == GAUGE:
                return None
            return time_ns, ENDED, "q" if is_number else "B", 0 if is_number else b""
        if field == "as_int":
            return time_ns, start_ns, "q", point.as_int
        if field:
            (bits,) = _as_int(_double(point.as_double))
            return time_ns, start_ns, "d", bits
        del point.attributes[:]
        if source.family == BUCKETS:
            del point.exemplars[:]
        return time_ns, start_ns, "B", serialize(point)

    def _resource_attributes(self) -> Attributes:
        """Of the resource that is being taken; read once."""
        if self._resource is None:
            self._resource = attributes_of(self._group.resource.attributes)
        return self._resource


def _parsed(wire: bytes, kind: str) -> Any:
    try:
        return view(Signal.METRICS, Depth.POINT, POINT_NAMES[kind]).FromString(wire)
    except DecodeError as error:
        raise MalformedError(f"no protobuf point of a metric: {error}") from error


def _framed_attribute(wire: bytes) -> bytes:
    return length_prefix(_ATTRIBUTES, len(wire)) + wire
