"""What scraping costs: `python -m benchmarks.micro_scrape [TARGETS [SERIES [SECONDS]]]`.

The `prometheus` receiver against `benchmarks.target`, in this process and the command line's event
loop, with a sink that takes everything: CPU of a scrape whose lines have all been seen, split into
fetching and the rest, and the share of a core at one scrape of each target a second.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import uvloop

from benchmarks.process import reference_ms
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.memory import resident_bytes, settle_objects, tune_allocation
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_settings
from mlsysops_receivers.prometheus import FACTORY, Config

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_receivers.prometheus.loops import TargetLoop
    from mlsysops_receivers.prometheus.receiver import PrometheusReceiver

TARGETS, SERIES, SECONDS = 100, 1_000, 5
ALONE = 200


class Sink:
    """Takes everything and keeps nothing."""

    def __init__(self) -> None:
        self.requests = 0

    def admit(self, size: int) -> None:
        """There is room."""

    async def consume(self, payload: Payload) -> None:
        """Count it."""
        self.requests += bool(payload.items)


def make(port: int, targets: int) -> tuple[PrometheusReceiver, Sink]:
    """A receiver that scrapes every second."""
    addresses = [f"127.0.{n // 250}.{n % 250 + 1}:{port}" for n in range(targets)]
    job = {
        "job_name": "bench",
        "scrape_interval": "1s",
        "static_configs": [{"targets": addresses}],
    }
    config = parse_config(Config, {"config": {"scrape_configs": [job]}})
    sink = Sink()
    settings = make_settings("prometheus", kind=Kind.RECEIVER, clock=SystemClock())
    receiver: PrometheusReceiver = FACTORY.create(config, settings, {Signal.METRICS: sink})
    return receiver, sink


async def fetch_only(loop: TargetLoop) -> None:
    """A page, asked for and thrown away."""
    around = loop._around  # noqa: SLF001  the same client, without what reads the page
    async with around.fetcher.get(loop.target.url, around.job.fields) as answer:
        async for _ in answer.pieces():
            pass


async def run(port: int, targets: int, seconds: int) -> None:
    """Print the figures."""
    receiver, sink = make(port, targets)
    await receiver.start()
    loops = [loop for pool in receiver.pools for loop in pool.loops.values()]
    began = time.monotonic()
    while not all(loop.points for loop in loops):  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0.1)
    passed, cpu = time.monotonic() - began, time.process_time()
    print(f"every series seen after {passed:.1f} s, {cpu:.1f} of CPU")
    await asyncio.sleep(1.0)
    settle_objects()
    sink.requests = 0
    began, cpu = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    scrapes = sink.requests
    print(f"{targets} targets: {share:.1%} of a core, {share / (scrapes / seconds) * 1e3:.3f} ms a "
          f"scrape, {resident_bytes() / 2**20:.0f} MiB resident")  # fmt: skip
    receiver._schedule.stop()  # noqa: SLF001  now one after the other, with nothing else
    costs = []
    for what in ("fetch", "scrape"):
        best = float("inf")
        for number in range(ALONE):
            cpu = time.process_time()
            if what == "fetch":
                await fetch_only(loops[0])
            else:
                await loops[0].scrape(time.time_ns() + number)
            best = min(best, time.process_time() - cpu)
        costs.append(best * 1e3)
    print(f"alone, the best of {ALONE}: fetching {costs[0]:.3f} ms, all of it {costs[1]:.3f} ms")
    await receiver.shutdown()


def main() -> None:
    """Start the target, measure, stop it."""
    given = [int(text) for text in sys.argv[1:]]
    targets, series, seconds = (*given, *(TARGETS, SERIES, SECONDS)[len(given) :])
    tune_allocation()  # as the command line does
    print(f"reference {reference_ms(None):.1f} ms")
    target = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.target"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with target:
        assert target.stdin is not None
        assert target.stdout is not None
        target.stdin.write(f"{series}\n")
        target.stdin.flush()
        port = int(target.stdout.readline())
        try:
            uvloop.run(run(port, targets, seconds))
        finally:
            target.kill()


if __name__ == "__main__":
    main()
