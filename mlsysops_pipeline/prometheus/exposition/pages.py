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

LINE_BYTES_MAX: Final = 64 << 10
"""The longest line that is read, unless told otherwise."""


def grammar_of(content_type: str) -> Grammar:
    """The grammar for a Content-Type: OpenMetrics if it says so, else text 0.0.4."""
    media = content_type.partition(";")[0].strip().lower()
    return OPEN_METRICS if media == "application/openmetrics-text" else TEXT


class LineReader:
    """Lines out of pieces. Holds at most one line, of ``line_bytes_max``."""

    def __init__(self, grammar: Grammar, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._needs_end = grammar.needs_end
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are complete, without their line feeds. Raises `ExpositionError`."""
        lines = piece.split(b"\n")
        lines[0] = self._rest + lines[0]
        self._rest = lines.pop()
        if len(self._rest) > self._line_bytes_max or (
            lines and max(map(len, lines)) > self._line_bytes_max
        ):
            raise ExpositionError(f"a line of more than {self._line_bytes_max} bytes")
        return lines

    def finish(self) -> list[bytes]:
        """The page is complete: the last line, if nothing ended it."""
        rest, self._rest = self._rest, b""
        if not rest:
            return []
        if self._needs_end and rest != b"# EOF":
            raise ExpositionError("the page ends within a line")
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
        try:
            return self._read(self._lines.feed(piece))
        except ExpositionError as error:
            raise ExpositionError(f"line {self._number + 1}: {error}") from error

    def finish(self) -> list[Sample | Comment]:
        """The page is complete: the last entry, if nothing ended its line."""
        try:
            entries = self._read(self._lines.finish())
        except ExpositionError as error:
            raise ExpositionError(f"line {self._number + 1}: {error}") from error
        if self._grammar.needs_end and not self._has_end:
            raise ExpositionError(f"line {self._number + 1}: the page does not end with # EOF")
        return entries

    def _read(self, lines: list[bytes]) -> list[Sample | Comment]:
        grammar = self._grammar
        entries: list[Sample | Comment] = []
        for line in lines:
            if self._has_end:
                raise ExpositionError("something after # EOF")
            if grammar.is_sample(line):
                name, labels, end = grammar.head(line)
                entries.append(Sample(name, labels, *grammar.tail(line, end)))
            else:
                comment = grammar.comment(line)
                if comment is not None:
                    self._has_end = comment.topic is Topic.EOF
                    entries.append(comment)
            self._number += 1
        return entries
