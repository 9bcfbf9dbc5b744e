"""A bar that says how far a session is: on a terminal only, and never in what is kept."""

from __future__ import annotations

import sys
import time
from typing import Self, TextIO

_WIDTH = 24


class Progress:
    """Counts steps, which may take differently long. A context manager: it is gone afterwards."""

    def __init__(self, total: float, stream: TextIO | None = None) -> None:
        self._total = total or 1
        self._done = 0.0
        self._text = ""
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def show(self, text: str) -> None:
        """Say what is being done."""
        self._text = text
        self._draw()

    def step(self, size: float = 1) -> None:
        """One more is done; ``size``: how much of the total it is."""
        self._done += size
        self._draw()

    def print(self, line: str) -> None:
        """A line that stays, above the bar."""
        self._clear()
        print(line, flush=True)
        self._draw()

    def line(self) -> str:
        """The bar as text."""
        filled = min(_WIDTH, int(_WIDTH * self._done / self._total))
        left = ""
        if self._done:
            spent_s = time.monotonic() - self._began_s
            minutes = spent_s / self._done * (self._total - self._done) / 60
            left = f", some {minutes:.0f} min left"
        bar = "#" * filled + "." * (_WIDTH - filled)
        return f"[{bar}] {self._done / self._total:.0%}{left}: {self._text}"

    def _draw(self) -> None:
        if self._shown:
            self._stream.write(f"\r\x1b[K{self.line()}")
            self._stream.flush()

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
