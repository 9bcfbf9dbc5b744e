"""What the two counting ends tell the supervisor: JSON lines on their standard output.

The other way there are single words on their standard input, and its end means "stop": a
counting end can therefore never outlive the supervisor, whatever becomes of it.

This module imports nothing of the collector, because the sink does not.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from dataclasses import asdict, dataclass, field

SIGNALS = ("metrics", "logs", "traces")
SEQUENCE_ATTRIBUTE = "demo.sequence"
"""The attribute that numbers log records and spans: 0, 1, 2, ... for each signal."""
LEVELS_ATTRIBUTE = "mlsysops.levels"
START = "start"
STOP = "stop"
_COMMAND_BYTES_MAX = 4096


@dataclass(slots=True)
class SentCounts:
    """One signal at the SDK program. All are numbers of data points, log records or spans."""

    made: int = 0
    """What the program recorded; for metrics, what the SDK collected."""
    acknowledged: int = 0
    """Handed to the exporter and accepted by the agent."""
    failed: int = 0
    """Handed to the exporter, which gave up."""


@dataclass(slots=True)
class ArrivedCounts:
    """One signal at the sink."""

    items: int = 0
    duplicates: int = 0
    """How many of ``items`` had come before."""
    gaps: list[int] = field(default_factory=list)
    """The first few sequence numbers that are missing below the highest that came."""


@dataclass(slots=True)
class SdkReport:
    """The state of the SDK program; the last report before it ends is ``final``."""

    final: bool = False
    signals: dict[str, SentCounts] = field(
        default_factory=lambda: {signal: SentCounts() for signal in SIGNALS}
    )

    @classmethod
    def parse(cls, line: str) -> SdkReport:
        """Read a line. Raises `ValueError` for anything but a report."""
        try:
            data = json.loads(line)
            counts = {name: SentCounts(**value) for name, value in data["signals"].items()}
            return cls(bool(data["final"]), counts)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a report of the SDK program: {line[:200]!r}") from error


@dataclass(slots=True)
class SinkReport:
    """The state of the sink; the last report before it ends is ``final``."""

    final: bool = False
    signals: dict[str, ArrivedCounts] = field(
        default_factory=lambda: {signal: ArrivedCounts() for signal in SIGNALS}
    )
    levels: list[tuple[list[str], int]] = field(default_factory=list)
    """Each value of the resource attribute `mlsysops.levels`, and the items that carried it."""

    @classmethod
    def parse(cls, line: str) -> SinkReport:
        """Read a line. Raises `ValueError` for anything but a report."""
        try:
            data = json.loads(line)
            counts = {name: ArrivedCounts(**value) for name, value in data["signals"].items()}
            levels = [([str(level) for level in path], int(n)) for path, n in data["levels"]]
            return cls(bool(data["final"]), counts, levels)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a report of the sink: {line[:200]!r}") from error


def send(report: SdkReport | SinkReport) -> None:
    """Write one report to standard output. Raises `OSError` when nobody reads any more."""
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    sys.stdout.flush()


class Inbox:
    """The words that the supervisor writes to a file descriptor, standard input by default."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self._ended = False

    def wait(self, timeout_s: float) -> str | None:
        """The next word, or ``None`` after ``timeout_s``. The end of the input reads as `STOP`."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if self._ended:
                return STOP
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([self._descriptor], [], [], left_s)[0]:
                return None
            chunk = os.read(self._descriptor, _COMMAND_BYTES_MAX)
            self._ended = not chunk
            # A word is a few bytes; what has no line end by then is none of ours.
            self._buffer = (self._buffer + chunk)[-_COMMAND_BYTES_MAX:]
        word, _, self._buffer = self._buffer.partition(b"\n")
        return word.decode(errors="replace").strip()
