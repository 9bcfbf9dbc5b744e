"""Memory over time, looked at from outside while something else is waited for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from benchmarks.process import Measured

_EVERY_S = 0.25
_MIB = 2**20
_SAMPLES_MAX = 2000


class Memory:
    """Samples the resident memory of a collector. A context manager: it samples inside.

    After two thousand samples it takes no more; a longer run needs a longer interval.
    """

    def __init__(self, collector: Measured, every_s: float = _EVERY_S) -> None:
        self.samples: list[tuple[float, float]] = []
        """Seconds since the start, MiB."""
        self._collector = collector
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began_s = time.monotonic()
        while len(self.samples) < _SAMPLES_MAX:
            mib = self._collector.resident_bytes() / _MIB
            self.samples.append((round(time.monotonic() - began_s, 2), round(mib, 1)))
            if self._stop.wait(self._every_s):
                return
