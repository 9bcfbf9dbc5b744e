"""What aggregation costs: `python -m benchmarks.micro_aggregation [--memory]`.

Nanoseconds of CPU a point over several windows, all in: parsing, finding the series, holding the
point, and computing and writing the results of the window. 10,000 series (and twice to twenty times
as many) by one label of 20 values, four attributes a point, known after a few windows, as they
are in the long run. Also the longest time for which the event loop was held up.

``--memory``: what an input series takes, in a process of its own for each number of series.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.memory import give_back, heap_bytes
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, Sink, make_settings, wait_until
from mlsysops_processors.aggregation import FACTORY

INTERVAL_S, WINDOWS, POINTS_A_REQUEST = 10, 8, 1000
_S = 1_000_000_000
_GAUGE, _DELTA, _CUMULATIVE = 0, 1, 2
_MIXES: tuple[tuple[str, int, list[str]], ...] = (
    ("gauge: sum max", _GAUGE, ["sum", "max"]),
    ("gauge: sum max p99", _GAUGE, ["sum", "max", "p99"]),
    ("delta: sum rate", _DELTA, ["sum", "rate"]),
    ("cumulative: sum rate", _CUMULATIVE, ["sum", "rate"]),
)


def wires(series: int, time_ns: int, kind: int, *, start: int) -> list[bytes]:
    """The requests of one moment, a hundred points a metric."""
    made = []
    for first in range(start, start + series, POINTS_A_REQUEST):
        request = ExportMetricsServiceRequest()
        group = request.resource_metrics.add()
        group.resource.attributes.add(key="service.name").value.string_value = "shop"
        scope = group.scope_metrics.add()
        for number in range(first, min(first + POINTS_A_REQUEST, start + series)):
            if number % 100 == 0 or number == first:
                metric = scope.metrics.add(name=f"m{number // 100 % 10}")
                data: Any = metric.gauge if kind == _GAUGE else metric.sum
                if kind != _GAUGE:
                    data.aggregation_temporality = kind
                    data.is_monotonic = True
            point = data.data_points.add(as_double=number * 0.5 + time_ns / _S % 1000)
            point.time_unix_nano = time_ns
            point.start_time_unix_nano = time_ns - INTERVAL_S * _S if kind == _DELTA else 1
            point.attributes.add(key="zone").value.string_value = f"zone-{number % 20}"
            point.attributes.add(key="host").value.string_value = f"host-{number}"
            point.attributes.add(key="method").value.string_value = "GET"
            point.attributes.add(key="code").value.int_value = 200
        made.append(bytes(request.SerializeToString()))
    return made


class Lag:
    """The most CPU that the event loop gave to anything else at a time."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._is_on = True

    async def watch(self) -> None:
        """Until `stop`."""
        before = time.thread_time()
        while self._is_on:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.worst_s = max(self.worst_s, now - before)
            before = now

    def stop(self) -> None:
        """No more."""
        self._is_on = False


async def run(
    series: int, kind: int, functions: list[str], *, points: int = 1, windows: int = WINDOWS
) -> tuple[float, float, Any]:
    """Nanoseconds a point, the longest stall in seconds, and the processor."""
    clock = JumpClock()
    settings = make_settings("aggregation", clock=clock, signals=FACTORY.signals)
    rule = {"metrics": ["m*"], "by": ["zone"], "functions": functions}
    config = {"interval": f"{INTERVAL_S}s", "allowed_lateness": "0s", "rules": [rule]}
    processor = FACTORY.create(parse_config(FACTORY.config, config), settings, Sink())
    await processor.start()
    best = worst = float("inf")
    for _ in range(windows):
        now_ns = clock.unix_ns()
        step_ns = INTERVAL_S * _S // points
        payloads = [
            Payload(Signal.METRICS, wire)
            for step in range(points)
            for wire in wires(series, now_ns + step * step_ns, kind, start=0)
        ]
        lag = Lag()
        watching = asyncio.get_running_loop().create_task(lag.watch())
        await asyncio.sleep(0)
        begun = time.thread_time_ns()
        for payload in payloads:
            await processor.consume(payload)
            await asyncio.sleep(0)
        await clock.advance(INTERVAL_S)
        await wait_until(lambda: not processor.is_busy)
        spent = (time.thread_time_ns() - begun) / len(payloads) / (series / len(payloads) * points)
        lag.stop()
        await watching
        best, worst = min(best, spent), min(worst, lag.worst_s)
    await processor.shutdown()
    return best, worst, processor


def times(sizes: list[int]) -> None:
    """Print a row for each kind and number of series."""
    for series in sizes:
        for name, kind, functions in _MIXES:
            best, worst, _ = asyncio.run(run(series, kind, functions))
            text = f"{series:8} series, {name:24} {best:6.0f} ns a point"
            print(f"{text}, longest stall {worst * 1000:5.1f} ms", flush=True)


def memory_of(series: int) -> None:
    """Print what so many series take, in this process."""

    async def measure() -> None:
        clock = JumpClock()
        settings = make_settings("aggregation", clock=clock, signals=FACTORY.signals)
        rule = {"metrics": ["m*"], "by": ["zone"], "functions": ["sum", "max", "p99"]}
        config = {"interval": f"{INTERVAL_S}s", "allowed_lateness": "0s", "rules": [rule]}
        processor = FACTORY.create(parse_config(FACTORY.config, config), settings, Sink())
        await processor.start()
        await processor.consume(Payload(Signal.METRICS, wires(1000, 1, _CUMULATIVE, start=0)[0]))
        give_back()
        before = heap_bytes()
        for first in range(0, series, POINTS_A_REQUEST):
            for wire in wires(POINTS_A_REQUEST, clock.unix_ns(), _CUMULATIVE, start=first):
                await processor.consume(Payload(Signal.METRICS, wire))
        give_back()
        held = heap_bytes() - before
        await clock.advance(INTERVAL_S)
        await wait_until(lambda: not processor.is_busy)
        give_back()
        known = heap_bytes() - before
        print(
            f"{series:8} series: {known / series:6.0f} bytes each between windows,"
            f" {held / series:6.0f} with a point that waits"
        )
        await processor.shutdown()

    asyncio.run(measure())


def main() -> None:
    """Times, or memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true", help="bytes a series instead of times")
    parser.add_argument("--series", type=int, nargs="*", default=[10_000, 50_000, 200_000])
    parser.add_argument("--of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.of:
        memory_of(arguments.of)
    elif arguments.memory:
        for series in arguments.series:
            command = [sys.executable, "-m", "benchmarks.micro_aggregation", "--of", str(series)]
            subprocess.run(command, check=True, env=dict(os.environ))
    else:
        times(arguments.series)


if __name__ == "__main__":
    main()
