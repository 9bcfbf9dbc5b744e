"""What the demo shows while it runs: a table that is redrawn, or one line a second.

Only ASCII is written, so that no terminal or log file minds. A further column is one entry of
`COLUMNS`; a further stage is rows of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from mlsysops_pipeline.demo.reports import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS = ("received", "sent", "waiting", "refused", "dropped")
_STAGE_WIDTH = 9
_COLUMN_WIDTH = 10
_BAR_WIDTH = 20
_LINE_INTERVAL_S = 1.0


class OutputLostError(Exception):
    """Nobody reads the output any more: the pipe is closed or the terminal gone."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the way: for each column that it has, items by signal."""

    name: str
    cells: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def cell(self, column: str, signal: str) -> int | None:
        """The number of one cell; ``None`` where this stage has no such column."""
        if column not in self.cells:
            return None
        return self.cells[column].get(signal, 0)


def table(stages: Sequence[Stage]) -> list[str]:
    """The table, a line a stage and signal."""
    head = f"{'':{_STAGE_WIDTH}} {'':{_STAGE_WIDTH}}"
    lines = [head + "".join(f"{column:>{_COLUMN_WIDTH}}" for column in COLUMNS)]
    for stage in stages:
        for place, signal in enumerate(SIGNALS):
            name = "" if place else stage.name
            cells = "".join(_cell(stage.cell(column, signal)) for column in COLUMNS)
            lines.append(f"{name:{_STAGE_WIDTH}} {signal:{_STAGE_WIDTH}}{cells}")
    return lines


def _cell(value: int | None) -> str:
    return f"{'-' if value is None else format(value, ','):>{_COLUMN_WIDTH}}"


def line(elapsed_s: float, stages: Sequence[Stage]) -> str:
    """The same numbers in one line: ``metrics/logs/traces`` for each column of each stage."""
    parts = [f"{elapsed_s:4.0f} s"]
    for stage in stages:
        columns = [
            f"{column} {_compact([stage.cell(column, signal) or 0 for signal in SIGNALS])}"
            for column in COLUMNS
            if column in stage.cells
        ]
        parts.append(f"{stage.name}: {' '.join(columns)}")
    return " | ".join(parts)


def _compact(values: Sequence[int]) -> str:
    return "/".join(map(str, values)) if any(values) else "0"


def progress(elapsed_s: float, duration_s: float) -> str:
    """How far the run is; ``duration_s`` 0: it has no end."""
    if duration_s <= 0:
        return f"{elapsed_s:.0f} s, Ctrl-C ends it"
    share = min(1.0, elapsed_s / duration_s)
    done = int(share * _BAR_WIDTH)
    bar = "#" * done + "." * (_BAR_WIDTH - done)
    return f"[{bar}] {min(elapsed_s, duration_s):.0f} s of {duration_s:g} s"


class Display:
    """Writes to a stream, redrawing where it is a terminal that can do that.

    Every method raises `OutputLostError` when the stream cannot be written to.
    """

    def __init__(self, stream: TextIO, *, terminal: bool | None = None) -> None:
        self._stream = stream
        self.redraws = is_terminal(stream) if terminal is None else terminal
        """Whether `show` redraws a table; otherwise it writes a line a second."""
        self._drawn = 0
        self._last_line_s: float | None = None

    def say(self, *lines: str) -> None:
        """Write lines that stay. A table on the screen stays above them."""
        self._drawn = 0
        self._write("".join(f"{text}\n" for text in lines))

    def show(self, state: str, elapsed_s: float, duration_s: float, stages: list[Stage]) -> None:
        """Show the numbers now: redraw the table, or write a line if the last is a second old."""
        if not self.redraws:
            last_s = self._last_line_s
            if last_s is None or elapsed_s - last_s >= _LINE_INTERVAL_S:
                if last_s is None:
                    self._write(f"(each number: {'/'.join(SIGNALS)})\n")
                # The grid is kept, so that the lines are on whole seconds.
                self._last_line_s = float(int(elapsed_s))
                self._write(line(elapsed_s, stages) + "\n")
            return
        width, height = self._size()
        lines = [f"{state} {progress(elapsed_s, duration_s)}", "", *table(stages)]
        if len(lines) >= height:
            # What has scrolled away cannot be redrawn: then the line of the log is shown.
            lines = [f"{state} {line(elapsed_s, stages)}"]
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        body = "".join(f"{text[: width - 1]}\x1b[K\n" for text in lines)
        self._drawn = len(lines)
        self._write(f"{up}{body}\x1b[J")

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return width or 80, height or 24

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise OutputLostError(str(error)) from error


def is_terminal(stream: TextIO) -> bool:
    """Whether this is a terminal that understands cursor movements."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
