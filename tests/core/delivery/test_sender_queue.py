"""The queue in front of an exporter: what it takes, refuses, drops, merges, and how it counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest

from mlsysops_pipeline.component import ExportResult
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.delivery import BatchConfig, DeliveryConfig, PartitionConfig, QueueConfig
from mlsysops_pipeline.delivery.intake import READ_WHEN_FULL_MAX
from mlsysops_pipeline.delivery.sender import HOPS_MAX
from mlsysops_pipeline.delivery.workers import TURN
from mlsysops_pipeline.errors import (
    Code,
    DropReason,
    PermanentError,
    QueueFullError,
    RetryableError,
)
from mlsysops_pipeline.fanout import give_to_all
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FlakyExporter, Sink, make_payload
from mlsysops_pipeline.testing.clock import settle

if TYPE_CHECKING:
    from tests.core.delivery.conftest import MakeRig, Rig

METRICS = Signal.METRICS


def queue(**keys: object) -> DeliveryConfig:
    return DeliveryConfig(sending_queue=QueueConfig(**keys))


def batching(**keys: object) -> DeliveryConfig:
    return queue(batch=BatchConfig(**keys))


def gated(make_rig: MakeRig, config: DeliveryConfig) -> Rig:
    """A rig whose exporter does not answer before its gate is opened."""
    rig = make_rig(config)
    rig.exporter.gate = asyncio.Event()
    return rig


async def test_success_is_answered_before_the_data_is_delivered(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue())
    payload = make_payload(METRICS, 3)
    await rig.sender.consume(payload)

    assert (3, 3, 0) == (rig.ledger.enqueued, rig.ledger.queued, rig.ledger.sent)
    assert payload.size == rig.queued_bytes
    await settle()
    assert (0, 3) == (rig.ledger.queued, rig.ledger.in_flight)
    assert payload.size == rig.queued_bytes
    rig.exporter.gate.set()
    await settle()
    assert (0, 3) == (rig.ledger.in_flight, rig.ledger.sent)
    assert [payload] == rig.exporter.delivered
    assert 0 == rig.queued_bytes


async def test_as_many_requests_are_sent_at_a_time_as_configured(make_rig: MakeRig) -> None:
    """OC-16."""
    rig = gated(make_rig, queue(num_consumers=3))
    for _ in range(8):
        await rig.sender.consume(make_payload(METRICS, 1))
    await settle()

    assert 3 == rig.exporter.active
    assert 3 == rig.meter.value("otelcol_exporter_in_flight_requests", data_type="metrics")
    rig.exporter.gate.set()
    await settle()
    assert 3 == rig.exporter.active_peak
    assert 8 == rig.ledger.sent


class Hasty:
    """An exporter that never waits."""

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def export(self, payload: Payload) -> None: ...


async def test_an_exporter_that_never_waits_does_not_hold_up_the_event_loop(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(queue(num_consumers=1), exporter=Hasty())
    for _ in range(5 * TURN):
        await rig.sender.consume(make_payload(METRICS, 1))
    sent = []
    while rig.ledger.sent < 5 * TURN:
        await asyncio.sleep(0)
        sent.append(rig.ledger.sent)

    assert [TURN * turn for turn in range(1, 6)] == sorted(set(sent))


async def test_a_slow_destination_does_not_block_another(make_rig: MakeRig) -> None:
    """OC-13."""
    slow, fast = gated(make_rig, queue()), make_rig(queue())
    payload = make_payload(METRICS, 1)
    await give_to_all([slow.sender, fast.sender], payload)
    await settle()

    assert (0, 1) == (slow.ledger.sent, fast.ledger.sent)
    assert [payload] == fast.exporter.delivered


async def test_an_empty_request_ends_here(make_rig: MakeRig) -> None:
    """OC-14."""
    rig = make_rig()
    await rig.sender.consume(Payload(METRICS, b""))
    await settle()

    assert [] == rig.exporter.calls
    assert 0 == rig.ledger.enqueued


async def test_broken_framing_is_refused_for_good(make_rig: MakeRig) -> None:
    rig = make_rig()
    with pytest.raises(PermanentError) as caught:
        await rig.sender.consume(Payload(METRICS, b"\x0a\x05x"))

    assert (Code.INVALID_ARGUMENT, DropReason.MALFORMED) == (
        caught.value.code,
        caught.value.reason,
    )


# A full queue.


async def test_a_full_queue_refuses_and_says_when_to_come_back(make_rig: MakeRig) -> None:
    """CV-3: full queue = reject and count."""
    rig = gated(make_rig, queue(queue_size=2))
    for _ in range(2):
        await rig.sender.consume(make_payload(METRICS, 5))
    await settle()
    with pytest.raises(QueueFullError, match="sending queue is full") as caught:
        await rig.sender.consume(make_payload(METRICS, 7))

    assert (Code.UNAVAILABLE, 1.0) == (caught.value.code, caught.value.retry_after_s)
    assert 10 == rig.ledger.enqueued
    assert 7 == rig.meter.value("otelcol_exporter_enqueue_failed_metric_points", exporter="otlp")
    assert 0 == rig.ledger.imbalance
    rig.exporter.gate.set()
    await settle()
    await rig.sender.consume(make_payload(METRICS, 7))


@pytest.mark.parametrize(
    "limits",
    [
        {"queue_size": 2},
        {"sizer": "items", "queue_size": 14},
        {"sizer": "bytes", "queue_size": 1500},
    ],
)
async def test_beyond_a_few_a_second_a_full_queue_refuses_what_has_not_been_read(
    make_rig: MakeRig, limits: dict[str, object]
) -> None:
    rig = gated(make_rig, queue(**limits))
    payload = make_payload(METRICS, 5)
    size = payload.size
    assert size * 2 < 1500 < size * 3
    for _ in range(2):
        rig.sender.admit(size)
        await rig.sender.consume(payload)
    await settle()
    for _ in range(2):
        for _ in range(READ_WHEN_FULL_MAX):
            rig.sender.admit(size)
        with pytest.raises(QueueFullError, match="sending queue is full") as caught:
            rig.sender.admit(size)
        assert 1.0 == caught.value.retry_after_s
        await rig.clock.advance(1.0)

    assert 2 == rig.meter.value(
        "mlsysops_exporter_refused_requests", exporter="otlp", data_type="metrics"
    )
    assert (10, 0) == (rig.ledger.enqueued, rig.ledger.dropped.total())
    rig.exporter.gate.set()
    await settle()
    for _ in range(READ_WHEN_FULL_MAX + 1):
        rig.sender.admit(size)


@pytest.mark.parametrize(
    "sections",
    [
        queue(queue_size=1, block_on_overflow=True),
        queue(queue_size=1, on_full="drop_newest"),
        queue(queue_size=1, on_full="drop_oldest"),
        queue(enabled=False),
    ],
)
async def test_who_is_not_refused_when_read_is_not_refused_before(
    make_rig: MakeRig, sections: DeliveryConfig
) -> None:
    rig = gated(make_rig, sections)
    task = rig.begin(make_payload(METRICS, 5))
    await settle()
    for _ in range(READ_WHEN_FULL_MAX + 1):
        rig.sender.admit(500)
    rig.exporter.gate.set()
    await task


async def test_what_waits_for_more_keeps_nobody_out_before_it_is_read(make_rig: MakeRig) -> None:
    rig = make_rig(
        queue(sizer="items", queue_size=10, batch=BatchConfig(min_size=10, flush_timeout=60))
    )
    await rig.sender.consume(make_payload(METRICS, 9))
    for _ in range(READ_WHEN_FULL_MAX):
        rig.sender.admit(500)
    with pytest.raises(QueueFullError):
        rig.sender.admit(500)
    await settle()
    assert 9 == rig.ledger.sent


async def test_what_another_destination_took_is_dropped_and_counted(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(queue_size=1))
    await rig.sender.consume(make_payload(METRICS, 1))
    other = Sink()
    await give_to_all([rig.sender, other], make_payload(METRICS, 4))

    assert 4 == other.items
    assert {DropReason.QUEUE_FULL: 4} == rig.ledger.dropped
    assert 0 == rig.ledger.imbalance
    assert 4 == rig.meter.value(
        "mlsysops_exporter_dropped_items", data_type="metrics", reason="queue_full"
    )


async def test_a_full_queue_can_drop_newcomers(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(queue_size=1, on_full="drop_newest"))
    first = make_payload(METRICS, 1)
    await rig.sender.consume(first)
    await rig.sender.consume(make_payload(METRICS, 3))

    assert {DropReason.QUEUE_FULL: 3} == rig.ledger.dropped
    rig.exporter.gate.set()
    await settle()
    assert [first] == rig.exporter.delivered


async def test_a_full_queue_can_drop_what_has_waited_longest(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(queue_size=3, num_consumers=1, on_full="drop_oldest"))
    payloads = [make_payload(METRICS, 1, seed=seed) for seed in range(5)]
    await rig.sender.consume(payloads[0])
    await settle()
    for payload in payloads[1:]:
        await rig.sender.consume(payload)

    assert {DropReason.QUEUE_FULL: 2} == rig.ledger.dropped
    rig.exporter.gate.set()
    await settle()
    assert [payloads[0], payloads[3], payloads[4]] == rig.exporter.delivered


async def test_what_is_in_flight_is_not_dropped_for_newcomers(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(queue_size=1, on_full="drop_oldest"))
    await rig.sender.consume(make_payload(METRICS, 1))
    await settle()
    await rig.sender.consume(make_payload(METRICS, 2))

    assert {DropReason.QUEUE_FULL: 2} == rig.ledger.dropped
    assert 1 == rig.ledger.in_flight


async def test_the_oldest_requests_of_a_batch_are_dropped_singly(make_rig: MakeRig) -> None:
    config = queue(
        queue_size=3, num_consumers=1, on_full="drop_oldest", batch=BatchConfig(min_size=3)
    )
    rig = gated(make_rig, config)
    for seed in range(3):
        await rig.sender.consume(make_payload(METRICS, 1, seed=seed))
    newest = make_payload(METRICS, 2, seed=9)
    await rig.sender.consume(newest)

    assert {DropReason.QUEUE_FULL: 1} == rig.ledger.dropped
    rig.exporter.gate.set()
    await rig.clock.advance(1)
    assert 4 == rig.ledger.sent
    assert newest.wires[0] == rig.exporter.delivered[-1].wires[-1]


async def test_senders_can_wait_for_room_in_order(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(queue_size=1, num_consumers=1, block_on_overflow=True))
    await rig.sender.consume(make_payload(METRICS, 1))
    done: list[int] = []

    async def send(items: int) -> None:
        await rig.sender.consume(make_payload(METRICS, items))
        done.append(items)

    async with asyncio.TaskGroup() as group:
        for items in (2, 3, 4):
            group.create_task(send(items))
        await settle()
        assert [] == done
        assert 1 == rig.ledger.enqueued
        rig.exporter.gate.set()
    await settle()

    assert [2, 3, 4] == done
    assert [1, 2, 3, 4] == [payload.items for payload in rig.exporter.delivered]


async def test_who_stops_waiting_for_room_leaves_no_trace(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(queue_size=1, block_on_overflow=True))
    await rig.sender.consume(make_payload(METRICS, 1))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(rig.sender.consume(make_payload(METRICS, 2)))
        await settle()
        waiting.cancel()
    rig.exporter.gate.set()
    await settle()

    assert (1, 1) == (rig.ledger.enqueued, rig.ledger.sent)


@pytest.mark.parametrize(
    "keys",
    [
        {"queue_bytes_max": 100},
        {"sizer": "items", "queue_size": 9},
        {"sizer": "bytes", "queue_size": 100},
        {"queue_bytes_max": 100, "block_on_overflow": True},
        {"queue_bytes_max": 100, "on_full": "drop_oldest"},
    ],
)
async def test_a_request_that_never_fits_is_refused_for_good(
    make_rig: MakeRig, keys: dict[str, object]
) -> None:
    rig = make_rig(queue(**keys))
    with pytest.raises(PermanentError, match="element size too large") as caught:
        await rig.sender.consume(make_payload(METRICS, 10))

    assert (Code.RESOURCE_EXHAUSTED, DropReason.TOO_LARGE) == (
        caught.value.code,
        caught.value.reason,
    )
    assert 0 == rig.ledger.enqueued


async def test_bytes_bound_a_queue_of_requests(make_rig: MakeRig) -> None:
    payload = make_payload(METRICS, 10)
    rig = gated(make_rig, queue(queue_bytes_max=2 * payload.size))
    await rig.sender.consume(payload)
    await rig.sender.consume(payload)
    with pytest.raises(QueueFullError):
        await rig.sender.consume(make_payload(METRICS, 1))


@pytest.mark.parametrize(("sizer", "used"), [("requests", 2), ("items", 11), ("bytes", None)])
async def test_the_queue_shows_how_full_it_is_in_its_own_units(
    make_rig: MakeRig, sizer: str, used: int | None
) -> None:
    rig = gated(make_rig, queue(sizer=sizer, queue_size=100_000))
    payloads = [make_payload(METRICS, 5), make_payload(METRICS, 6)]
    for payload in payloads:
        await rig.sender.consume(payload)
    size = sum(payload.size for payload in payloads)
    await settle()

    labels = {"exporter": "otlp", "data_type": "metrics"}
    assert (used or size) == rig.meter.value("otelcol_exporter_queue_size", **labels)
    assert 100_000 == rig.meter.value("otelcol_exporter_queue_capacity", **labels)
    assert size == rig.meter.value("mlsysops_exporter_queue_bytes", **labels)
    enqueued, queued, in_flight = (
        rig.meter.value(f"mlsysops_exporter_{what}_items", **labels)
        for what in ("enqueued", "queued", "in_flight")
    )
    assert (11, rig.ledger.queued, rig.ledger.in_flight) == (enqueued, queued, in_flight)
    assert enqueued == queued + in_flight


# Batches.


async def test_requests_are_merged_until_there_are_enough(make_rig: MakeRig) -> None:
    rig = make_rig(batching(min_size=10))
    payloads = [make_payload(METRICS, 4, seed=seed) for seed in range(3)]
    for payload in payloads:
        await rig.sender.consume(payload)
    await settle()

    (request,) = rig.exporter.delivered
    assert 12 == request.items
    assert tuple(payload.wires[0] for payload in payloads) == request.wires


async def test_a_batch_does_not_wait_longer_than_configured(make_rig: MakeRig) -> None:
    rig = make_rig(batching(flush_timeout=0.25))
    await rig.sender.consume(make_payload(METRICS, 1))
    await rig.clock.advance(0.125)
    await rig.sender.consume(make_payload(METRICS, 1))
    assert [] == rig.exporter.calls
    await rig.clock.advance(0.125)

    assert [2] == [payload.items for payload in rig.exporter.delivered]
    await rig.sender.consume(make_payload(METRICS, 1))
    await rig.clock.advance(0.25)
    assert [2, 1] == [payload.items for payload in rig.exporter.delivered]


async def test_a_full_queue_does_not_wait_for_a_batch_to_grow(make_rig: MakeRig) -> None:
    rig = make_rig(queue(queue_size=5, batch=BatchConfig(min_size=1000)))
    for _ in range(5):
        await rig.sender.consume(make_payload(METRICS, 1))
    with pytest.raises(QueueFullError):
        await rig.sender.consume(make_payload(METRICS, 1))
    await settle()

    assert [5] == [payload.items for payload in rig.exporter.delivered]
    await rig.sender.consume(make_payload(METRICS, 1))


async def test_batches_grow_while_all_workers_are_busy(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(queue_size=4, num_consumers=1, batch=BatchConfig(min_size=2)))
    for items in (2, 1, 1, 1):
        await rig.sender.consume(make_payload(METRICS, items))
    await settle()
    with pytest.raises(QueueFullError):
        await rig.sender.consume(make_payload(METRICS, 1))

    assert (2, 3) == (rig.ledger.in_flight, rig.ledger.queued)
    rig.exporter.gate.set()
    await settle()
    assert [2, 2] == [payload.items for payload in rig.exporter.delivered]


async def test_who_waits_for_room_does_not_wait_for_a_batch_to_grow(make_rig: MakeRig) -> None:
    rig = gated(
        make_rig,
        queue(queue_size=3, num_consumers=1, block_on_overflow=True, batch=BatchConfig(min_size=5)),
    )
    for items in (5, 1, 1):
        await rig.sender.consume(make_payload(METRICS, items))
    waiting = [rig.begin(make_payload(METRICS, 1)) for _ in range(3)]
    await settle()
    rig.exporter.gate.set()
    await settle()

    assert all(task.done() for task in waiting)
    assert [5, 3] == [payload.items for payload in rig.exporter.delivered]


async def test_batches_are_split_and_the_bytes_still_add_up(make_rig: MakeRig) -> None:
    rig = gated(make_rig, batching(min_size=10, max_size=10))
    await rig.sender.consume(make_payload(METRICS, 35))
    await settle()

    assert (30, 5) == (rig.ledger.in_flight, rig.ledger.queued)
    assert rig.queued_bytes >= sum(payload.size for payload in rig.exporter.calls)
    rig.exporter.gate.set()
    await rig.clock.advance(0.2)
    assert [10, 10, 10, 5] == [payload.items for payload in rig.exporter.delivered]
    assert 0 == rig.queued_bytes
    assert 0 == rig.meter.value("otelcol_exporter_queue_size")


async def test_a_tenants_requests_keep_their_header(make_rig: MakeRig) -> None:
    rig = make_rig(batching(min_size=2, partition=PartitionConfig(metadata_keys=("X-Tenant",))))
    for tenant in ("a", "b", "a", "b"):
        metadata = Metadata(headers={"x-tenant": (tenant,), "x-other": ("1",)}, hops=2)
        await rig.sender.consume(make_payload(METRICS, 1, metadata=metadata))
    await settle()

    assert [Metadata(headers={"x-tenant": (tenant,)}, hops=2) for tenant in ("a", "b")] == [
        payload.metadata for payload in rig.exporter.delivered
    ]


async def test_sizes_of_requests_are_recorded(make_rig: MakeRig) -> None:
    rig = make_rig(batching(min_size=10))
    for _ in range(2):
        await rig.sender.consume(make_payload(METRICS, 5))
    await settle()

    assert 2 == rig.meter.value("otelcol_exporter_enqueue_size_count", exporter="otlp")
    assert 10 == rig.meter.value("otelcol_exporter_queue_batch_send_size_sum", exporter="otlp")
    assert 1 == rig.meter.value("otelcol_exporter_queue_batch_send_size_bytes_count")


# Waiting for the result.


async def test_a_sender_can_wait_until_its_data_has_arrived(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(wait_for_result=True))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.sender.consume(make_payload(METRICS, 1)))
        await settle()
        assert not task.done()
        rig.exporter.gate.set()

    assert 1 == rig.ledger.sent


async def test_every_sender_gets_the_error_of_its_batch_and_keeps_its_data(
    make_rig: MakeRig,
) -> None:
    config = DeliveryConfig(
        retry_on_failure=None,
        sending_queue=QueueConfig(wait_for_result=True, batch=BatchConfig(min_size=5)),
    )
    rig = make_rig(config, [RetryableError("busy", retry_after_s=3.0)])
    results = await asyncio.gather(
        rig.sender.consume(make_payload(METRICS, 2)),
        rig.sender.consume(make_payload(METRICS, 3)),
        return_exceptions=True,
    )

    assert [3.0, 3.0] == [error.retry_after_s for error in results]  # type: ignore[union-attr]
    assert (0, {}) == (rig.ledger.enqueued, rig.ledger.dropped)
    assert 5 == rig.meter.value("otelcol_exporter_send_failed_metric_points")


async def test_data_whose_sender_left_is_dropped_if_it_fails(make_rig: MakeRig) -> None:
    config = DeliveryConfig(retry_on_failure=None, sending_queue=QueueConfig(wait_for_result=True))
    rig = make_rig(config, [RetryableError("busy")])
    rig.exporter.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.sender.consume(make_payload(METRICS, 2)))
        await settle()
        task.cancel()
    rig.exporter.gate.set()
    await settle()

    assert {DropReason.RETRIES_EXHAUSTED: 2} == rig.ledger.dropped


async def test_a_request_that_was_split_fails_if_one_piece_does(make_rig: MakeRig) -> None:
    config = DeliveryConfig(
        retry_on_failure=None,
        sending_queue=QueueConfig(
            num_consumers=1,
            wait_for_result=True,
            batch=BatchConfig(min_size=2, max_size=2),
        ),
    )
    rig = make_rig(config, [None, RetryableError("busy"), None])
    with pytest.raises(RetryableError, match="busy"):
        await rig.sender.consume(make_payload(METRICS, 6))

    assert (4, 4, 0) == (rig.ledger.enqueued, rig.ledger.sent, rig.ledger.imbalance)


# No queue, loops.


class Bare(ComponentConfig):
    """The configuration of an exporter that knows nothing of delivery."""


@pytest.mark.parametrize("config", [Bare(), DeliveryConfig(sending_queue=None, timeout=0.0)])
async def test_without_a_queue_data_is_delivered_before_success_is_answered(
    make_rig: MakeRig, config: object
) -> None:
    rig = make_rig(config)
    await rig.sender.consume(make_payload(METRICS, 3))

    assert (3, 3) == (rig.ledger.enqueued, rig.ledger.sent)


async def test_without_a_queue_the_error_is_the_senders(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = PermanentError("no", code=Code.PERMISSION_DENIED)
    rig = make_rig(Bare(), [refusal])
    with pytest.raises(PermanentError) as caught:
        await rig.sender.consume(make_payload(METRICS, 3))

    assert caught.value is refusal
    assert (0, {}, 0) == (rig.ledger.enqueued, rig.ledger.dropped, rig.ledger.in_flight)
    assert 3 == rig.meter.value("otelcol_exporter_send_failed_metric_points")
    assert ["Exporting failed. Rejecting data."] == [
        record.getMessage().split(" error=")[0] for record in caplog.records
    ]


async def test_items_are_in_flight_while_a_caller_delivers_them(make_rig: MakeRig) -> None:
    rig = make_rig(Bare())
    rig.exporter.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.sender.consume(make_payload(METRICS, 3)))
        await settle()
        assert (3, 3, 0) == (rig.ledger.enqueued, rig.ledger.in_flight, rig.ledger.imbalance)
        task.cancel()

    assert (0, 0) == (rig.ledger.enqueued, rig.ledger.in_flight)


async def test_an_exporter_that_would_send_to_us_drops_everything(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(looping=True)
    await rig.sender.start()
    for _ in range(3):
        await rig.sender.consume(make_payload(METRICS, 2))
    await settle()

    assert [] == rig.exporter.calls
    assert {DropReason.LOOP: 6} == rig.ledger.dropped
    assert 1 == len(caplog.records)


async def test_data_that_passed_too_many_collectors_is_dropped(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig()
    for hops in (HOPS_MAX, HOPS_MAX + 1, HOPS_MAX + 1):
        await rig.sender.consume(make_payload(METRICS, 2, metadata=Metadata(hops=hops)))
    await settle()

    assert 2 == rig.ledger.sent
    assert {DropReason.LOOP: 4} == rig.ledger.dropped
    assert 1 == len(caplog.records)


async def test_an_exporter_can_name_its_own_reason_for_rejecting(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(Bare(), [ExportResult(2, reason=DropReason.NO_DESTINATION)])
    await rig.sender.consume(make_payload(METRICS, 2))

    assert {DropReason.NO_DESTINATION: 2} == rig.ledger.dropped
    assert [] == caplog.records


async def test_an_exporter_can_add_labels_to_what_it_sent(make_rig: MakeRig) -> None:
    exporter = FlakyExporter()
    exporter.telemetry_attributes = {"server.address": "tempo"}  # type: ignore[attr-defined]
    rig = make_rig(Bare(), exporter=exporter)
    await rig.sender.consume(make_payload(METRICS, 2))

    labels = {"exporter": "otlp", "server.address": "tempo"}
    assert 2 == rig.meter.value("otelcol_exporter_sent_metric_points", **labels)


async def test_the_labels_may_depend_on_the_signal(make_rig: MakeRig) -> None:
    exporter = FlakyExporter()
    exporter.telemetry_attributes = lambda signal: {"url.path": f"/{signal}"}  # type: ignore[attr-defined]
    rig = make_rig(Bare(), exporter=exporter)
    await rig.sender.consume(make_payload(METRICS, 2))

    labels = {"exporter": "otlp", "url.path": "/metrics"}
    assert 2 == rig.meter.value("otelcol_exporter_sent_metric_points", **labels)


async def test_it_says_in_one_line_how_it_is(make_rig: MakeRig) -> None:
    rig = gated(make_rig, queue(queue_size=7))
    await rig.sender.consume(make_payload(METRICS, 2))
    await settle()

    text = repr(rig.sender)
    assert text.startswith("<Sender otlp metrics <Intake <Queue 1/7 requests bytes=")
    assert "delivering=1" in text


class MergingQueue(QueueConfig):
    """As an exporter has it that takes one payload at a time."""

    merged_bytes_max: ClassVar[int] = 10_000
    num_consumers: int = 1


@pytest.mark.parametrize("batch", [None, BatchConfig(min_size=1)])
async def test_what_waits_together_is_sent_together(
    make_rig: MakeRig, batch: BatchConfig | None
) -> None:
    rig = gated(make_rig, DeliveryConfig(sending_queue=MergingQueue(batch=batch)))
    payloads = [make_payload(METRICS, 1 + index) for index in range(4)]
    for payload in payloads:
        await rig.sender.consume(payload)
        await settle()  # the first is on its way now

    assert (1, 9) == (rig.ledger.in_flight, rig.ledger.queued)
    rig.exporter.gate.set()
    await settle()
    assert [1, 9] == [payload.items for payload in rig.exporter.delivered]
    assert [wire for payload in payloads[1:] for wire in payload.wires] == list(
        rig.exporter.delivered[1].wires
    )
    assert 10 == rig.ledger.sent


async def test_what_is_merged_has_a_limit_and_the_same_headers(make_rig: MakeRig) -> None:
    rig = gated(make_rig, DeliveryConfig(sending_queue=MergingQueue()))
    large = make_payload(METRICS, 60)
    assert 5_000 < large.size < 10_000
    wires = make_payload(METRICS, 1).wires
    sent = [
        make_payload(METRICS, 1),
        large,
        large,
        *[Payload(METRICS, wires, Metadata(headers={"tenant": (name,)})) for name in "aab"],
    ]
    for payload in sent:
        await rig.sender.consume(payload)
        await settle()
    rig.exporter.gate.set()
    await settle()

    assert [1, 60, 60, 2, 1] == [payload.items for payload in rig.exporter.delivered]
    tenants = [payload.metadata.headers.get("tenant") for payload in rig.exporter.delivered]
    assert [None, None, None, ("a",), ("b",)] == tenants


async def test_senders_that_wait_are_told_of_what_was_sent_together(make_rig: MakeRig) -> None:
    config = DeliveryConfig(sending_queue=MergingQueue(wait_for_result=True), retry_on_failure=None)
    rig = make_rig(config, [None, PermanentError("no")])
    rig.exporter.gate = asyncio.Event()
    tasks = []
    for _ in range(3):
        tasks.append(rig.begin(make_payload(METRICS, 1)))
        await settle()
    rig.exporter.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [None, PermanentError, PermanentError] == [
        None if result is None else type(result) for result in results
    ]
