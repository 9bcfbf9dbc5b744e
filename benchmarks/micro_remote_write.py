"""What remote write costs without transports: `python -m benchmarks.micro_remote_write [--memory]`.

In ns of CPU a point at 1,000 points a request, the best of many runs, for series that are known:
translation (`mlsysops_pipeline.prometheus`), assembly of the body, its snappy block, and what is
remembered of a delivery. With ``--memory``: what each further series adds to the process, in bytes,
for 50,000 at a time up to 200,000.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.process import reference_ms
from benchmarks.workload import TIME_MARK, Workload
from mlsysops_exporters.prometheusremotewrite.assembly import Assembly
from mlsysops_exporters.prometheusremotewrite.order import Latest
from mlsysops_exporters.prometheusremotewrite.series import SeriesMaker
from mlsysops_pipeline.memory import settle_objects, tune_allocation
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.prometheus.translate import Options, Translator
from mlsysops_pipeline.transport.compression import compress

if TYPE_CHECKING:
    from mlsysops_exporters.prometheusremotewrite.series import Series

POINTS = 1_000
BYTES_MAX = 3_000_000
RUNS = 150
STEP, SERIES_MAX = 50_000, 200_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def at(wire: bytes, time_ns: int) -> bytes:
    """A request of a steady workload, at this time."""
    return wire.replace(TIME_MARK, time_ns.to_bytes(8, "little"))


class Sending:
    """Translator and order, as an exporter has them."""

    def __init__(self) -> None:
        self.translator: Translator[Series] = Translator(
            Options(has_details=False), SeriesMaker({}), print
        )
        self.latest = Latest(0.0)

    def run(self, wire: bytes, now_ms: int) -> list[float]:
        """Take a request through; the CPU time after each step, in seconds."""
        times = [time.process_time()]
        batches = list(self.translator.columns(wire))
        times.append(time.process_time())
        assembly = Assembly(self.latest, now_ms)
        assembly.take_some(iter(batches), 10**9, None)
        ((request,),) = assembly.lanes(BYTES_MAX)
        times.append(time.process_time())
        compress("snappy", request.body)
        times.append(time.process_time())
        self.latest.delivered(request.times_ms)
        times.append(time.process_time())
        assert request.items == POINTS, request
        return times


def speed() -> None:
    """Print the table."""
    print(f"reference {reference_ms(None):.1f} ms")
    print(f"{'points a metric':>16} {'translate':>10} {'assemble':>10} {'snappy':>10} "
          f"{'remember':>10} {'all':>10}")  # fmt: skip
    for points in (10, 1):
        sending = Sending()
        wires = Workload(Signal.METRICS, POINTS, points, steady=True).requests()
        best = [float("inf")] * 4
        for number in range(RUNS):
            now_ns = time.time_ns()
            times = sending.run(at(wires[number % len(wires)], now_ns), now_ns // 1_000_000)
            if number >= len(wires):
                steps = [end - begin for begin, end in pairwise(times)]
                best = list(map(min, best, steps))
            time.sleep(0.001)  # so that no series comes twice at one time
        costs = [one / POINTS * 1e9 for one in best]
        print(f"{points:>16} " + " ".join(f"{cost:>10.0f}" for cost in (*costs, sum(costs))))


def memory(points: int) -> None:
    """Print the table for metrics with this number of points."""
    sending = Sending()
    start = before = resident_bytes()
    for first in range(0, SERIES_MAX, STEP):
        for seed in range(first // POINTS, (first + STEP) // POINTS):
            wire = Workload(Signal.METRICS, POINTS, points, steady=True).request(seed)
            now_ns = time.time_ns()
            sending.run(at(wire, now_ns), now_ns // 1_000_000)
        del wire
        gc.collect()
        after = resident_bytes()
        print(
            f"{points} points a metric, {first + STEP} series: "
            f"{(after - before) / STEP:.0f} bytes each of the last {STEP}, "
            f"{(after - start) / (first + STEP):.0f} of all"
        )
        before = after


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


if __name__ == "__main__":
    tune_allocation()  # as the command line does, and it settles what there is after the start
    settle_objects()
    if "--memory" not in sys.argv:
        speed()
    elif sys.argv[-1].isdigit():
        memory(int(sys.argv[-1]))
    else:  # processes of their own, as none gets back what the other had
        for number in (10, 1):
            subprocess.run([sys.executable, *sys.orig_argv[1:], str(number)], check=True)
