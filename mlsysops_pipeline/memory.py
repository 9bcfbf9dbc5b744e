"""Bytes in flight: the first measure of memory, counted before anything is decoded.

Receivers charge what they read and decompress, queues charge what they hold, opened views charge
three times the wire. Each charge is released by whoever made it. The account is a number, not a
limit: limits belong to `memory_limiter` and to the queues.
"""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlsysops_pipeline.clock import Clock

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
EBB_BYTES = 32 * 1024 * 1024
"""Free memory from which on it is given back: less is soon used again."""
EBB_INTERVAL_S = 10.0
"""From one look to the next: what a load frees and takes again within it stays."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryAccount:
    """Bytes in flight of one collector. ``peak`` is the most there ever were."""

    __slots__ = ("in_flight", "peak")

    def __init__(self) -> None:
        self.in_flight = 0
        self.peak = 0

    def charge(self, size: int) -> None:
        """Count ``size`` more bytes as held."""
        self.in_flight += size
        if self.in_flight > self.peak:  # noqa: PLR1730  `max` takes three times as long
            self.peak = self.in_flight

    def release(self, size: int) -> None:
        """Give back what was charged."""
        self.in_flight -= size

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Charge for the length of a block."""
        self.charge(size)
        try:
            yield
        finally:
            self.release(size)

    def __repr__(self) -> str:
        return f"<MemoryAccount in_flight={self.in_flight} peak={self.peak}>"


def tune_allocation() -> None:
    """Let the C library reuse the memory of large requests instead of mapping it anew each time.

    For programs that are nothing but a collector: it holds for the whole process. Page faults
    dominate the handling of requests of about 1 MB otherwise (`benchmarks/micro_pdata.py`: a round
    trip through the resource view 10 instead of 190 ns a point). mallopt(3), glibc only.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)
        libc.mallopt(_M_TRIM_THRESHOLD, 8 * 1024 * 1024)
    except (AttributeError, OSError):  # another C library: it has its own ways
        return


def settle_objects() -> None:
    """Leave what exists after the start out of every garbage collection, and collect less often.

    For programs that are nothing but a collector. Its requests make few cycles, so that most of
    what the collector of garbage does is to walk modules and configuration again. More than a few
    thousand objects at a time would hold up the loop: new series are many small ones.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 5, 2_000)
    gc.enable()


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell (not Linux)."""
    return _statm_bytes()[1]


def heap_bytes() -> int:
    """Resident memory that is not mapped from files: objects, buffers, stacks. 0 if not known."""
    sizes = _statm_bytes()
    return sizes[1] - sizes[2]


def system_bytes() -> int:
    """Memory obtained from the system for data, resident or not. 0 where it is not known."""
    return _statm_bytes()[5]


def _statm_bytes() -> list[int]:
    """Size, resident, shared, text, library and data memory of this process (proc(5))."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123  read every second
            return [int(pages) * _PAGE_BYTES for pages in statm.read().split()]
    except OSError:
        return [0] * 7


def give_back() -> None:
    """Collect garbage and ask the C library to return free pages to the system.

    Python alone keeps most of what it has freed (see "Memory" in the design).
    """
    gc.collect()
    trim()


def trim() -> None:
    """Ask the C library to return free pages to the system: some 10 ms for 100 MB of them."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # not glibc: nothing to ask
        return


class Ebb:
    """Tells when a burst is over whose memory should go back to the system.

    Memory that is neither in flight nor was there after the last time is taken to be free: at
    `EBB_BYTES` it is due. What was no free memory but state that grew is asked for once. ``heap``
    and ``in_flight``: bytes, `heap_bytes` and `MemoryAccount.in_flight`.
    """

    __slots__ = ("_kept",)

    def __init__(self, heap: int, in_flight: int) -> None:
        self._kept = heap - in_flight

    def is_due(self, heap: int, in_flight: int) -> bool:
        """Whether it is time to `trim`; `settle` follows it."""
        self._kept = min(self._kept, heap - in_flight)
        return heap - in_flight - self._kept >= EBB_BYTES

    def settle(self, heap: int, in_flight: int) -> None:
        """Free memory has been given back, and this is what remains."""
        self._kept = heap - in_flight

    def __repr__(self) -> str:
        return f"<Ebb kept={self._kept}>"


async def give_back_after_bursts(in_flight: Callable[[], int], clock: Clock) -> None:
    """Look every `EBB_INTERVAL_S`, for ever. For programs that are nothing but a collector."""
    ebb = Ebb(heap_bytes(), in_flight())
    while True:
        await clock.sleep(EBB_INTERVAL_S)
        if ebb.is_due(heap_bytes(), in_flight()):
            trim()
            ebb.settle(heap_bytes(), in_flight())
