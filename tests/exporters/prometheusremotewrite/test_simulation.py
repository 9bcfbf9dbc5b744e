"""Several senders, random failures, restarts: nothing acknowledged is missing or out of order.

The exporter is restarted once, and so is the receiver, which is away for a while. 1,000 series in
shares of 250. The receiver refuses what is out of order (see `receiver`). It fails, hangs with and
without storing, ends connections and is slow, at random; the seed is in the test's id.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_exporters import prometheusremotewrite as remote_write
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.delivery.sender import Sender
from mlsysops_pipeline.errors import RetryableError
from mlsysops_pipeline.ledger import ExporterLedger
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_settings, wait_until
from tests.exporters.prometheusremotewrite.otlp import gauge, payload
from tests.exporters.prometheusremotewrite.receiver import (
    Answer,
    Close,
    Hang,
    Outcome,
    Slow,
    receiving,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SENDERS, SERIES, ROUNDS = 4, 250, 12
T = int(time.time() * 1000)

QUEUE = {"sending_queue": {"num_consumers": 4}}
BATCHING_QUEUE = {"sending_queue": {"batch": {"min_size": 600, "flush_timeout": "5ms"}}}
NO_QUEUE = {"sending_queue": {"enabled": False}, "max_batch_request_parallelism": 4}


class Chaos:
    """What happens to requests, at random; nothing bad while ``is_calm``."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  not for secrets
        self.is_calm = False

    def __call__(self, _: int) -> Outcome:
        if self.is_calm:
            return None
        choices: list[Callable[[], Outcome]] = [
            lambda: Answer(500),
            lambda: Answer(503, headers=(("retry-after", "0"),)),
            lambda: Answer(429),
            Close,
            Hang,
            lambda: Hang(stores=True),
            lambda: Slow(self.random.random() / 100),
        ]
        index = self.random.randrange(3 * len(choices))
        return choices[index]() if index < len(choices) else None


class Life:
    """One run of the exporter, from start to stop."""

    def __init__(self, url: str, **config: Any) -> None:
        plan = {
            "endpoint": url,
            "timeout": "100ms",
            "max_batch_size_bytes": 4_000,
            "retry_on_failure": {"initial_interval": "2ms", "max_interval": "20ms"},
            **config,
        }
        self._config = parse_config(remote_write.Config, plan)
        settings = make_settings("rw", kind=Kind.EXPORTER, clock=SystemClock())
        self.exporter = remote_write.FACTORY.create(self._config, settings, None)
        self.ledger = ExporterLedger()
        self.sender = Sender(self.exporter, self._config, settings, Signal.METRICS, self.ledger)

    async def start(self) -> Life:
        await self.exporter.start()
        return self

    async def stop(self, drain_s: float) -> None:
        await self.sender.shutdown(drain_s)
        await self.exporter.shutdown()


async def send_rounds(number: int, current: Callable[[], Life], acknowledged: set[Any]) -> None:
    """One sender: every round until it is acknowledged, as senders of OTLP do."""
    for turn in range(ROUNDS):
        points = [(turn, T + turn, {"sender": number, "series": i}) for i in range(SERIES)]
        data = payload(gauge("g", *points))
        while True:
            try:
                await current().sender.consume(data)
            except RetryableError:
                await asyncio.sleep(0.01)
            else:
                break
        acknowledged.update((number, i, turn) for i in range(SERIES))


async def is_missed(port: int) -> None:
    """Return when somebody has tried to reach the receiver that is away from ``port``."""
    missed = asyncio.Event()

    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        missed.set()

    async with await asyncio.start_server(turn_away, "127.0.0.1", port):
        await missed.wait()


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "config", [QUEUE, BATCHING_QUEUE, NO_QUEUE], ids=["queue", "batches", "no queue"]
)
async def test_nothing_acknowledged_is_missing_or_out_of_order(
    config: dict[str, Any], seed: int
) -> None:
    """R1-5, R1-6."""
    chaos = Chaos(seed)
    acknowledged: set[Any] = set()
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(AsyncExitStack())
        receiver = await running.enter_async_context(receiving(chaos))
        lives = [await Life(receiver.url, **config).start()]
        async with asyncio.TaskGroup() as senders:
            for number in range(SENDERS):
                senders.create_task(send_rounds(number, lambda: lives[-1], acknowledged))
            await wait_until(lambda: receiver.seen > 15)
            await running.aclose()
            await is_missed(receiver.port)
            again = receiving(receiver=receiver, port=receiver.port)
            await stack.enter_async_context(again)
            await wait_until(lambda: receiver.seen > 30)
            if config is not NO_QUEUE:
                # What is only in memory must get out, so the receiver is well for a while. Without
                # a queue nothing was acknowledged that did not arrive: it may stop at any time.
                chaos.is_calm = True
                before = lives[-1].ledger.sent
                await wait_until(lambda: lives[-1].ledger.sent > before)
            await lives[-1].stop(0 if config is NO_QUEUE else 20)
            lives.append(await Life(receiver.url, **config).start())
            chaos.is_calm = False
        chaos.is_calm = True
        await lives[-1].stop(20)

    assert [] == receiver.refusals
    arrived = {
        (int(labels["sender"]), int(labels["series"]), int(value))
        for labels, samples in ((dict(key), found) for key, found in receiver.series.items())
        for _, value in samples
    }
    assert SENDERS * SERIES * ROUNDS == len(acknowledged)
    assert set() == acknowledged - arrived
    for life in lives:
        assert 0 == life.ledger.imbalance
