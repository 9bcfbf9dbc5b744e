"""Pages that come in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.prometheus.exposition.entries import (
    Comment,
    ExpositionError,
    Sample,
    Topic,
)
from mlsysops_pipeline.prometheus.exposition.open_metrics import OPEN_METRICS
from mlsysops_pipeline.prometheus.exposition.text import TEXT

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.exposition.entries import Grammar

__all__ = ["LINE_BYTES_MAX", "LineReader", "PageReader", "grammar_of"]

LINE_BYTES_MAX: Final = 256 << 10
"""The longest line that is read, unless told otherwise."""


def grammar_of(content_type: str) -> Grammar:
    """The grammar for a Content-Type: OpenMetrics if it says so, else text 0.0.4."""
    media = content_type.partition(";")[0].strip().lower()
    return OPEN_METRICS if media == "application/openmetrics-text" else TEXT


class LineReader:
    """Lines out of pieces. Holds at most one line, of ``line_bytes_max``.

    Both methods raise `ExpositionError`, which names the line.
    """

    def __init__(self, grammar: Grammar, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._needs_end = grammar.needs_end
        self._rest = b""
        self._count = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are complete, without their line feeds."""
        lines = piece.split(b"\n")
        lines[0] = self._rest + lines[0]
        self._rest = lines.pop()
        longest = max(map(len, lines), default=0)
        if max(longest, len(self._rest)) > self._line_bytes_max:
            raise self._too_long(lines)
        self._count += len(lines)
        return lines

    def _too_long(self, lines: list[bytes]) -> ExpositionError:
        number = self._count + len(lines) + 1
        for index, line in enumerate(lines, self._count + 1):
            if len(line) > self._line_bytes_max:
                number = index
                break
        return ExpositionError(f"line {number}: a line of more than {self._line_bytes_max} bytes")

    def finish(self) -> list[bytes]:
        """The page is complete: the last line, if nothing ended it."""
        rest, self._rest = self._rest, b""
        if not rest:
            return []
        if self._needs_end and rest != b"# EOF":
            raise ExpositionError(f"line {self._count + 1}: the page ends within a line")
        return [rest]


class PageReader:
    """Reads a page. All raise `ExpositionError`, which names the line."""

    def __init__(self, content_type: str, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._grammar = grammar_of(content_type)
        self._lines = LineReader(self._grammar, line_bytes_max)
        self._number = 0
        self._has_end = False

    def feed(self, piece: bytes) -> list[Sample | Comment]:
        """The entries of the lines that are complete."""
        return self._read(self._lines.feed(piece))

    def finish(self) -> list[Sample | Comment]:
        """The page is complete: the last entry, if nothing ended its line."""
        entries = self._read(self._lines.finish())
        if self._grammar.needs_end and not self._has_end:
            raise ExpositionError(f"line {self._number + 1}: the page does not end with # EOF")
        return entries

    def _read(self, lines: list[bytes]) -> list[Sample | Comment]:
        entries: list[Sample | Comment] = []
        for line in lines:
            try:
                entry = self._entry(line)
            except ExpositionError as error:
                raise ExpositionError(f"line {self._number + 1}: {error}") from error
            if entry is not None:
                entries.append(entry)
            self._number += 1
        return entries

    def _entry(self, line: bytes) -> Sample | Comment | None:
        grammar = self._grammar
        if self._has_end:
            raise ExpositionError("something after # EOF")
        if grammar.is_sample(line):
            name, labels, end = grammar.head(line)
            return Sample(name, labels, *grammar.tail(line, end))
        comment = grammar.comment(line)
        self._has_end = comment is not None and comment.topic is Topic.EOF
        return comment
