"""What delivery costs a request, without transports: enqueue, merge, dispatch, account.

    python -m benchmarks.micro_delivery [requests]

Prints microseconds of CPU for each request of one metric point, the best of several runs: through
a sender whose exporter does nothing, and through the batch processor. Runs are short and many, so
that the best of them is one in which the machine did nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import uvloop

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.delivery import BatchConfig, DeliveryConfig, PartitionConfig, QueueConfig
from mlsysops_pipeline.delivery.sender import Sender
from mlsysops_pipeline.ledger import ExporterLedger
from mlsysops_pipeline.meter import Meter
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_settings, make_wire
from mlsysops_processors.batch import FACTORY, Config

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Consumer

BURST = 100
"""Requests between two rounds of the event loop: as many as arrive together on a busy server."""
RUNS = 40


class Nothing:
    """An exporter that succeeds at once."""

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def export(self, payload: Payload) -> None: ...


def settings() -> Any:
    """As a running collector gives them at the usual level of self-telemetry."""
    return make_settings(
        "bench", kind=Kind.EXPORTER, clock=SystemClock(), meter=Meter(is_detailed=False)
    )


def requests(count: int) -> list[Payload]:
    wire = make_wire(Signal.METRICS, 1)
    metadata = Metadata(headers={"x-tenant": ("a",)})
    return [Payload(Signal.METRICS, wire, metadata, items=1) for _ in range(count)]


async def feed(consumer: Consumer, payloads: list[Payload]) -> None:
    for start in range(0, len(payloads), BURST):
        for payload in payloads[start : start + BURST]:
            await consumer.consume(payload)
        await asyncio.sleep(0)


async def sender_us(config: DeliveryConfig, count: int) -> float:
    ledger = ExporterLedger()
    sender = Sender(Nothing(), config, settings(), Signal.METRICS, ledger)
    payloads = requests(count)
    started = time.process_time()
    await feed(sender, payloads)
    await sender.shutdown(10)
    spent = time.process_time() - started
    assert (count, 0) == (ledger.sent, ledger.imbalance), ledger
    return spent / count * 1e6


async def batch_us(count: int) -> float:
    sink = Sink()
    processor = FACTORY.create(Config(), settings(), sink)
    await processor.start()
    payloads = requests(count)
    started = time.process_time()
    await feed(processor, payloads)
    await processor.shutdown()
    spent = time.process_time() - started
    assert count == sink.items
    return spent / count * 1e6


async def main(count: int) -> None:
    tenants = PartitionConfig(metadata_keys=("x-tenant",))
    configs = {
        "no queue": DeliveryConfig(sending_queue=None),
        "queue": DeliveryConfig(),
        "queue with batches": DeliveryConfig(
            sending_queue=QueueConfig(queue_size=20_000, batch=BatchConfig())
        ),
        "queue with batches by tenant": DeliveryConfig(
            sending_queue=QueueConfig(queue_size=20_000, batch=BatchConfig(partition=tenants))
        ),
    }
    for name, config in configs.items():
        best = min([await sender_us(config, count) for _ in range(RUNS)])
        print(f"{name:30} {best:6.2f} us a request")
    best = min([await batch_us(count) for _ in range(RUNS)])
    print(f"{'batch processor':30} {best:6.2f} us a request")


if __name__ == "__main__":
    logging.basicConfig()
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000))
