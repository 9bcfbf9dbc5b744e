"""What a series costs the processors of metric streams: `python -m benchmarks.micro_series`.

Bytes of resident memory for an input series after its first point, and nanoseconds of CPU a point
once it is known (the median of requests of 1,000 points with four attributes), for 10,000 and for
200,000 series: both should be about the same. Each row is a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.workload import TIME_MARK, Workload
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.memory import resident_bytes, settle_objects, tune_allocation
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_settings
from mlsysops_processors import cumulative_to_delta, delta_to_cumulative, interval

if TYPE_CHECKING:
    from collections.abc import Iterator

_FACTORIES: dict[str, tuple[Any, bool]] = {
    "cumulative_to_delta": (cumulative_to_delta.FACTORY, False),
    "delta_to_cumulative": (delta_to_cumulative.FACTORY, True),
    "interval": (interval.FACTORY, False),
}
_ITEMS = 1_000
_ROUNDS = 2
_T0_NS = 1_800_000_000_000_000_000


class _Nothing:
    """Takes all, and keeps nothing."""

    async def consume(self, payload: Payload) -> None:
        """See `Consumer`."""


def _payloads(series: int, points: int, at: int, *, delta: bool) -> Iterator[Payload]:
    time_ = (_T0_NS + at).to_bytes(8, "little")
    for seed in range(series // _ITEMS):
        workload = Workload(Signal.METRICS, _ITEMS, points, steady=True, delta=delta)
        yield Payload(Signal.METRICS, workload.request(seed).replace(TIME_MARK, time_))


async def measure(name: str, series: int, points: int) -> tuple[float, float]:
    """Bytes a series, and nanoseconds a point."""
    factory, delta = _FACTORIES[name]
    settings = make_settings(factory.type, signals=factory.signals)
    processor = factory.create(parse_config(factory.config, {}), settings, _Nothing())
    for payload in _payloads(_ITEMS, points, 0, delta=delta):
        await processor.consume(payload)
    gc.collect()
    before = resident_bytes()
    for payload in _payloads(series, points, 1, delta=delta):
        await processor.consume(payload)
    gc.collect()
    grown = resident_bytes() - before
    took = []
    for at in range(2, 2 + _ROUNDS):
        for payload in _payloads(series, points, at, delta=delta):
            begun = time.thread_time_ns()
            await processor.consume(payload)
            took.append(time.thread_time_ns() - begun)
    return grown / series, sorted(took)[len(took) // 2] / _ITEMS


def main() -> None:
    """Print one row for each processor and number of series."""
    if len(sys.argv) > 1:
        tune_allocation()
        settle_objects()
        name, series, points = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
        memory, cost = asyncio.run(measure(name, series, points))
        what = f"{name}, {series} series, {points} a metric"
        print(f"{what:50} {memory:6.0f} bytes a series {cost:6.0f} ns a point", flush=True)
        return
    for name in _FACTORIES:
        for arguments in itertools.product(("10000", "200000"), ("10", "1")):
            command = [sys.executable, "-m", "benchmarks.micro_series", name, *arguments]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
