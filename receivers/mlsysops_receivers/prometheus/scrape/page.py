"""A page that comes in pieces, compared with the one before.

Most pages say what the page before said, with other numbers: then each line that changed is cut at
its value, which is written where it belongs. From the first line on that is not where it was, all
lines are looked up, and at the end the layout is made anew.
"""

from __future__ import annotations

import math
from itertools import compress, repeat
from operator import is_, ne
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from pydantic_core import from_json

from mlsysops_pipeline.prometheus.exposition import (
    Comment,
    ExpositionError,
    LineReader,
    Tail,
    Topic,
    grammar_of,
    read_number,
)
from mlsysops_receivers.prometheus.scrape.encoding import pack_value
from mlsysops_receivers.prometheus.scrape.groups import Unsound
from mlsysops_receivers.prometheus.scrape.layout import (
    REPEATED,
    STEP_LINES,
    Layout,
    assembling,
)
from mlsysops_receivers.prometheus.scrape.metrics import VALUE_TAG
from mlsysops_receivers.prometheus.scrape.options import CeilingError, ScrapeError
from mlsysops_receivers.prometheus.scrape.series import Kind, Series, ident_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from mlsysops_pipeline.prometheus.exposition import Grammar
    from mlsysops_receivers.prometheus.scrape.labels import SeriesMaker
    from mlsysops_receivers.prometheus.scrape.layout import Cell
    from mlsysops_receivers.prometheus.scrape.making import Value
    from mlsysops_receivers.prometheus.scrape.options import ScrapeOptions

__all__ = ["Page", "Read"]

_PLAIN: Final = b"0123456789.eE+-"
"""What numbers are made of, if `float` reads them as Prometheus does."""
_LINES_PER_SAMPLE: Final = 4
_STEP_GROUPS: Final = 100
_NO_SAMPLE: Final = frozenset({b"", b"#", b" ", b"\t"})
"""What lines may begin with that have no sample."""
_NUMBER, _MEMBER, _DYNAMIC = int(Kind.NUMBER), int(Kind.MEMBER), int(Kind.DYNAMIC)


class Read(NamedTuple):
    """What a page said. ``added``: series that are new in it.

    ``gone``: series of the former layout that it does not have any more.
    """

    layout: Layout
    added: int
    gone: set[Series]


def _plain_values(texts: list[bytes]) -> list[float] | None:
    """The numbers that texts are; ``None`` if one is none, or not plain and finite.

    Most are numbers of JSON, too, whose parser takes a fraction of the time. What it reads as
    whole numbers are ints here; it does not know a minus zero without a point.
    """
    joined = b",".join(texts)
    if len(joined.translate(None, _PLAIN)) != max(len(texts) - 1, 0):
        return None  # something beside the commas in between
    try:
        if b"-0," not in joined and not joined.endswith(b"-0"):
            found: list[float] = from_json(b"[%b]" % joined)
            if len(found) == len(texts) and math.isfinite(sum(found)):
                return found
    except (ValueError, OverflowError):
        pass  # written in another way
    try:
        values = list(map(float, texts))
    except ValueError:
        return None
    return values if math.isfinite(sum(values)) else None


def _write(layout: Layout, indices: Sequence[int], values: list[float]) -> None:
    """Write what lines say where it belongs."""
    numbers = layout.numbers
    others = []
    packed = map(pack_value, repeat(VALUE_TAG), values)
    slots = map(layout.slots.__getitem__, indices)
    for slot, number, value in zip(slots, packed, values, strict=True):
        if slot >= 0:
            numbers[slot] = number
        else:
            others.append((~slot, value))
    if others:
        _write_others(layout, others)


def _write_others(layout: Layout, others: list[tuple[int, float]]) -> None:
    """Write what lines say, by their indices, that have no slot."""
    cells = layout.cells
    for index, value in others:
        series: Any = cells[index]
        kind = series.kind
        if kind == _NUMBER:
            series.target[series.at] = pack_value(VALUE_TAG, value)
        elif kind == _MEMBER:
            group = series.target
            group.values[series.at] = value
            if not group.is_dirty:
                group.is_dirty = True
                layout.dirty.append(group)
        elif kind == _DYNAMIC:
            layout.tails[index] = value


class Page:
    """Reads one page. ``layout``: of the page before, which had the grammar ``former``.

    ``serial``: a number that no page of the target had. ``is_due``: whether to lay it out anew in
    any case. Raises `ScrapeError`.
    """

    def __init__(
        self,
        layout: Layout,
        maker: SeriesMaker,
        options: ScrapeOptions,
        *,
        content_type: str,
        former: Grammar | None,
        is_due: bool,
        serial: int,
    ) -> None:
        self.grammar = grammar_of(content_type)
        self._layout = layout
        self._maker = maker
        self._options = options
        self._serial = serial
        self._reader = LineReader(self.grammar, options.line_bytes_max)
        self._at = 0
        """How many lines of the layout were met."""
        self._is_same = not is_due
        """Whether all lines so far were where they had been."""
        self._has_end = False
        self.is_refused = False
        """Whether there was something wrong with it; its counts are then worth telling."""
        self._is_over = False
        """Whether the limit of samples is passed: the rest is counted, not kept."""
        self._waiting: list[bytes] = []
        """Lines to look up, the first ``_looked_up`` of which are done."""
        self._looked_up = 0
        self._lines: list[bytes] = []
        self._cells: list[Cell] = []
        self._values: list[Value] = []
        self._made: dict[bytes, Series] = {}
        self._known: dict[bytes, Series] = layout.by_head
        self._bytes = 0
        self._samples = self._kept = self._taken = 0
        self._read = 0
        """Lines that were looked up."""
        if former is not self.grammar:
            self._is_same = False
            self._known = {}

    @property
    def samples(self) -> int:
        """Lines with samples so far."""
        return self._samples

    @property
    def kept(self) -> int:
        """Those that relabelling kept."""
        return self._kept

    def feed(self, piece: bytes) -> None:
        """Read a piece."""
        try:
            lines = self._reader.feed(piece)
        except ExpositionError as error:
            raise ScrapeError(str(error)) from error
        try:
            self._take(lines)
        except ExpositionError as error:
            raise self._error(error) from error

    def finishing(self) -> Generator[None, None, Read]:
        """The page is complete; made in steps, so that others can do something between them."""
        try:
            lines = self._reader.finish()
        except ExpositionError as error:
            raise ScrapeError(str(error)) from error
        try:
            self._take(lines)
            if self._is_same and self._at < len(self._layout.lines):
                self._depart()
            if self._is_same:
                yield from self._updating()
            while self._waiting:
                self._look_up_some(STEP_LINES)
                yield
            if self.grammar.needs_end and not self._is_ended():
                self._refuse_end()
        except ExpositionError as error:
            raise self._error(error) from error
        if self._is_same:
            return Read(self._layout, 0, set())
        return (yield from self._assembling())

    def _updating(self) -> Generator[None, None, None]:
        """Write the numbers of groups that changed; departs if they do not fit each other."""
        dirty = self._layout.dirty
        try:
            while dirty:
                for group in dirty[-_STEP_GROUPS:]:
                    group.update()
                del dirty[-_STEP_GROUPS:]
                yield
        except Unsound:
            self._depart()

    def _refuse_end(self) -> NoReturn:
        raise ExpositionError("the page does not end with # EOF")

    def _error(self, error: Exception) -> ScrapeError:
        """What is wrong with the line that is read."""
        number = (self._at if self._is_same else self._read) + 1
        return ScrapeError(f"line {number}: {error}")

    def _is_ended(self) -> bool:
        cells = self._layout.cells if self._is_same else self._cells
        last = cells[-1] if cells else None
        return isinstance(last, Comment) and last.topic is Topic.EOF

    def _take(self, lines: list[bytes]) -> None:
        if not lines:
            return
        if self._is_same:
            met = self._meet(lines)
            if met == len(lines):
                return
            self._depart()
            lines = lines[met:]
        self._waiting += lines
        # Faster than new ones come, and not all at once.
        self._look_up_some(2 * len(lines) + STEP_LINES)

    def _look_up_some(self, number: int) -> None:
        """Look up some of the lines that wait."""
        end = self._looked_up + number
        self._look_up(self._waiting[self._looked_up : end])
        self._looked_up = end
        if end >= len(self._waiting):
            self._waiting, self._looked_up = [], 0

    def _meet(self, lines: list[bytes]) -> int:
        """Read lines as long as they are what they were; how many of them were."""
        layout, at = self._layout, self._at
        known = layout.lines
        expected = known[at : at + len(lines)]
        if lines == expected:
            self._at = at + len(lines)
            return len(lines)
        end = at + len(expected)
        is_other = list(map(ne, lines, expected))
        changed = list(compress(lines, is_other))
        indices = list(compress(range(at, end), is_other))
        heads = list(map(layout.heads.__getitem__, indices))
        texts = list(map(bytes.removeprefix, changed, heads))
        # A line that does not begin with its head is still what it was.
        values = None if any(map(is_, texts, changed)) else _plain_values(texts)
        if values is None:
            met = self._meet_odd(indices, changed, heads, end)
        else:
            _write(layout, indices, values)
            known[at:end] = lines[: end - at]
            met = end
        self._at = met
        return met - at

    def _meet_odd(
        self, indices: list[int], lines: list[bytes], heads: list[bytes], end: int
    ) -> int:
        """Read changed lines one by one; the first that is not what it was, or the ``end``."""
        layout, read_tail = self._layout, self.grammar.tail
        for index, line, head in zip(indices, lines, heads, strict=True):
            if not line.startswith(head):
                return index
            series: Any = layout.cells[index]
            try:
                if series.kind is Kind.DYNAMIC:
                    layout.tails[index] = self._value(read_tail(line, len(head)))
                else:
                    _write(layout, [index], [read_number(line[len(head) :])])
            except ExpositionError:  # a line that is not what it was is no error yet
                return index
            layout.lines[index] = line
        return end

    def _value(self, tail: Tail) -> Value:
        """What a line says, as far as it is wanted."""
        value, at_ms, exemplar = tail
        if not self._options.honor_timestamps:
            at_ms = None
        if at_ms is None and exemplar is None:
            return value
        return Tail(value, at_ms, exemplar)

    def _depart(self) -> None:
        """The page is not what it was: look up all lines, those that were met first."""
        self._waiting = self._layout.lines[: self._at]
        self._is_same = False
        self._at = 0

    def _look_up(self, lines: list[bytes]) -> None:
        """Read any lines."""
        options = self._options
        layout = self._layout
        heads, cells, expected = layout.heads, layout.cells, layout.lines
        known = self._known
        end = len(heads) if known else 0
        self._bytes += sum(map(len, lines))
        if self._bytes > options.page_bytes_max:
            raise ScrapeError(f"the page has more than {options.page_bytes_max} bytes")
        for line in lines:
            at = self._at
            if self._has_end:
                raise ExpositionError("something after # EOF")
            cell: Cell = cells[at] if at < end and line.startswith(heads[at]) else None
            if cell is REPEATED or cell is None:
                if line[:1] in _NO_SAMPLE and not self.grammar.is_sample(line):
                    is_met = at < end and line == expected[at]
                    if is_met:
                        self._at = at + 1
                    self._remark(line, cells[at] if is_met else None)
                    self._read += 1
                    continue
                cell = known.get(line[: line.rfind(b" ") + 1])
            series, value = self._sample(line, cell)
            if known.get(series.head) is series:
                self._at = series.index + 1
            self._count(series, value)
            if not self._is_over:
                self._lines.append(line)
                self._cells.append(series)
                self._values.append(value)
            self._read += 1

    def _remark(self, line: bytes, known: Cell) -> None:
        """Read a line that is no sample. ``known``: what it is, if it is where it was."""
        if isinstance(known, Comment):
            comment: Comment | None = known
        else:
            comment = self.grammar.comment(line)
        self._has_end = comment is not None and comment.topic is Topic.EOF
        self._lines.append(line)
        self._cells.append(comment)
        self._values.append(0.0)
        if len(self._cells) > self._options.samples_max * _LINES_PER_SAMPLE:
            raise CeilingError(f"the page has more than {len(self._cells) - 1} lines")

    def _sample(self, line: bytes, cell: Cell) -> tuple[Series, Value]:
        """The series of a line, which may be that of ``cell``, and what it says."""
        if isinstance(cell, Series):
            text = line[len(cell.head) :]
            if not text.translate(None, _PLAIN):
                try:
                    value = float(text)
                except ValueError:
                    value = math.inf
                if math.isfinite(value):
                    return cell, value
        head = self.grammar.head(line)
        tail = self.grammar.tail(line, head.end)
        raw = line[: head.end]
        series = self._known.get(raw) or self._made.get(raw)
        if series is None:
            try:
                series = self._maker.make(raw, head)
            except ScrapeError as error:
                self._samples += 1  # it was read, then refused
                raise self._error(error) from None
            if not self._is_over:
                self._made[raw] = series
        if tail.timestamp_ms is None and tail.exemplar is None:
            return series, tail.value
        # That it has a time is worth knowing, even if the time is not.
        return series, tail if self._options.honor_timestamps else tail._replace(timestamp_ms=None)

    def _count(self, series: Series, value: Value) -> None:
        options = self._options
        self._samples += 1
        if series.place is not None:
            self._kept += 1
            if series.seen != self._serial or isinstance(value, Tail):
                self._taken += 1
        series.seen = self._serial
        if self._samples > options.samples_max:
            raise CeilingError(f"the page has more than {options.samples_max} samples")
        if 0 < options.sample_limit < self._taken:
            self._is_over = True

    def _assembling(self) -> Generator[None, None, Read]:
        options, serial = self._options, self._serial
        if self._is_over:
            raise ScrapeError(
                f"sample_limit exceeded: {self._taken} samples, {options.sample_limit} allowed"
            )
        layout, idents = yield from assembling(
            self._lines, self._cells, self._values, self._layout, options
        )
        added = sum(
            1
            for series in self._made.values()
            if series.place is not None and idents.get(ident_of(series)) is series
        )
        yield
        gone = {
            series
            for series in self._layout.by_head.values()
            if series.seen != serial and series.place is not None and ident_of(series) not in idents
        }
        yield
        return Read(layout, added, gone)
