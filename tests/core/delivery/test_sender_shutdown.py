"""Stopping: what is there is delivered within the deadline, and the rest is counted (OC-15)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.delivery import BatchConfig, DeliveryConfig, QueueConfig, RetryConfig
from mlsysops_pipeline.errors import DropReason, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload
from mlsysops_pipeline.testing.clock import settle

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload
    from tests.core.delivery.conftest import MakeRig, Rig

METRICS = Signal.METRICS


async def stopped(rig: Rig, drain_s: float, advance_s: float) -> None:
    """Shut a sender down while time passes."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.sender.shutdown(drain_s))
        await rig.clock.advance(advance_s)
        await asyncio.wait_for(task, 2)


async def test_it_is_safe_before_start_and_twice(make_rig: MakeRig) -> None:
    rig = make_rig()
    await rig.sender.shutdown(1)
    await rig.sender.shutdown(1)


async def test_what_is_queued_is_delivered_first(make_rig: MakeRig) -> None:
    rig = make_rig(DeliveryConfig(sending_queue=QueueConfig(num_consumers=1)))
    for _ in range(5):
        await rig.sender.consume(make_payload(METRICS, 1))
    await rig.sender.shutdown(10)

    assert 5 == rig.ledger.sent
    assert 0 == rig.clock.pending


async def test_batches_that_wait_for_more_are_sent(make_rig: MakeRig) -> None:
    rig = make_rig(DeliveryConfig(sending_queue=QueueConfig(batch=BatchConfig())))
    for _ in range(3):
        await rig.sender.consume(make_payload(METRICS, 1))
    await rig.sender.shutdown(10)

    assert [3] == [payload.items for payload in rig.exporter.delivered]


async def test_newcomers_are_refused(make_rig: MakeRig) -> None:
    rig = make_rig()
    await rig.sender.shutdown(1)
    with pytest.raises(RetryableError, match="shut down"):
        await rig.sender.consume(make_payload(METRICS, 1))

    assert 0 == rig.ledger.enqueued


async def test_who_waits_for_room_is_refused(make_rig: MakeRig) -> None:
    config = DeliveryConfig(sending_queue=QueueConfig(queue_size=1, block_on_overflow=True))
    rig = make_rig(config)
    rig.exporter.gate = asyncio.Event()
    await rig.sender.consume(make_payload(METRICS, 1))
    waiting = rig.begin(make_payload(METRICS, 1))
    await settle()
    rig.exporter.gate.set()
    await rig.sender.shutdown(5)
    with pytest.raises(RetryableError, match="shut down"):
        await waiting

    assert 1 == rig.ledger.sent


async def test_what_waits_for_its_next_attempt_makes_it_now(make_rig: MakeRig) -> None:
    rig = make_rig(DeliveryConfig(), [RetryableError("busy")])
    await rig.sender.consume(make_payload(METRICS, 3))
    await settle()
    await rig.sender.shutdown(10)

    assert 2 == len(rig.exporter.calls)
    assert 3 == rig.ledger.sent


async def test_a_destination_that_comes_back_before_the_deadline_gets_everything(
    make_rig: MakeRig,
) -> None:
    """What was accepted is not given up while there is time (design, "Stopping")."""
    rig = make_rig(DeliveryConfig(), [RetryableError("away")] * 9)
    for _ in range(3):
        await rig.sender.consume(make_payload(METRICS, 2))
    await settle()
    await stopped(rig, 10, 5)

    assert 12 == len(rig.exporter.calls)
    assert (6, 0) == (rig.ledger.sent, rig.ledger.dropped.total())


async def test_while_stopping_a_destination_still_gets_the_time_that_it_asks_for(
    make_rig: MakeRig,
) -> None:
    """OG-7."""
    rig = make_rig(DeliveryConfig(), [RetryableError("busy", retry_after_s=4)] * 2)
    await rig.sender.consume(make_payload(METRICS, 2))
    await settle()
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.sender.shutdown(10))
        await rig.clock.advance(3.9)
        assert 2 == len(rig.exporter.calls)
        await rig.clock.advance(0.2)
    assert (3, 2) == (len(rig.exporter.calls), rig.ledger.sent)


async def test_a_destination_that_stays_away_is_given_up_at_the_deadline(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(DeliveryConfig(), [RetryableError("busy")] * 99)
    for _ in range(3):
        await rig.sender.consume(make_payload(METRICS, 2))
    await settle()
    caplog.clear()
    await stopped(rig, 10, 11)

    assert {DropReason.SHUTDOWN: 6} == rig.ledger.dropped
    assert 6 == rig.meter.value("mlsysops_exporter_dropped_items", reason="shutdown")
    assert [
        "dropped 6 items (metrics): not delivered within 10.0 s of stopping; last error: busy"
    ] == caplog.messages[-1:]


async def test_what_takes_too_long_is_dropped_counted_and_logged_once(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(DeliveryConfig(timeout=0.0, sending_queue=QueueConfig(num_consumers=2)))
    rig.exporter.gate = asyncio.Event()
    for _ in range(5):
        await rig.sender.consume(make_payload(METRICS, 2))
    await settle()
    await stopped(rig, 3.0, 3.0)

    assert {DropReason.SHUTDOWN: 10} == rig.ledger.dropped
    assert 0 == rig.exporter.active
    assert (0, 0, 0) == (rig.ledger.queued, rig.ledger.in_flight, rig.queued_bytes)
    assert ["dropped 10 items (metrics): not delivered within 3.0 s of stopping"] == (
        caplog.messages
    )


async def test_no_time_at_all_still_leaves_true_numbers(make_rig: MakeRig) -> None:
    rig = make_rig()
    await rig.sender.consume(make_payload(METRICS, 2))
    await rig.sender.shutdown(0)

    assert {DropReason.SHUTDOWN: 2} == rig.ledger.dropped


async def test_being_cancelled_while_draining_leaves_true_numbers(make_rig: MakeRig) -> None:
    rig = make_rig(DeliveryConfig(timeout=0.0))
    rig.exporter.gate = asyncio.Event()
    await rig.sender.consume(make_payload(METRICS, 2))
    await settle()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.sender.shutdown(60))
        await settle()
        task.cancel()

    assert {DropReason.SHUTDOWN: 2} == rig.ledger.dropped
    assert 0 == rig.ledger.imbalance


async def test_who_waits_for_a_result_learns_that_there_will_be_none(make_rig: MakeRig) -> None:
    config = DeliveryConfig(sending_queue=QueueConfig(wait_for_result=True))
    rig = make_rig(config)
    rig.exporter.gate = asyncio.Event()
    waiting = rig.begin(make_payload(METRICS, 2))
    await settle()
    await rig.sender.shutdown(0)
    with pytest.raises(RetryableError, match="shutdown"):
        await waiting

    assert (0, {}) == (rig.ledger.enqueued, rig.ledger.dropped)


@pytest.mark.parametrize("retry", [None, RetryConfig()])
async def test_without_a_queue_callers_get_their_data_back(
    make_rig: MakeRig, retry: RetryConfig | None
) -> None:
    rig = make_rig(DeliveryConfig(sending_queue=None, retry_on_failure=retry, timeout=0.0))
    rig.exporter.gate = asyncio.Event()
    waiting = rig.begin(make_payload(METRICS, 2))
    await settle()
    await stopped(rig, 3.0, 3.0)
    with pytest.raises(RetryableError, match="shutdown"):
        await waiting

    assert (0, 0, {}) == (rig.ledger.enqueued, rig.ledger.in_flight, rig.ledger.dropped)


async def test_a_caller_that_waits_for_its_next_attempt_is_not_given_one_too_late(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(DeliveryConfig(sending_queue=None, timeout=0.0), [RetryableError("busy")])
    waiting = rig.begin(make_payload(METRICS, 2))
    await settle()
    rig.exporter.gate = asyncio.Event()
    await rig.sender.shutdown(0)
    with pytest.raises(RetryableError, match="shutdown"):
        await waiting

    assert (0, 0) == (rig.ledger.in_flight, rig.ledger.enqueued)
    assert 1 == len(rig.exporter.calls)


class Stubborn:
    """An exporter that does not let itself be cancelled."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def export(self, payload: Payload) -> None:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue


@pytest.mark.slow
async def test_an_exporter_that_cannot_be_cancelled_does_not_stop_the_stop(
    make_rig: MakeRig,
) -> None:
    exporter = Stubborn()
    rig = make_rig(exporter=exporter)
    await rig.sender.consume(make_payload(METRICS, 2))
    await settle()
    await rig.sender.shutdown(0)

    assert {DropReason.SHUTDOWN: 2} == rig.ledger.dropped
    exporter.release.set()
    await settle()
    assert 0 == rig.ledger.sent


async def test_workers_that_are_cancelled_by_others_leave_true_numbers(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.exporter.gate = asyncio.Event()
    await rig.sender.consume(make_payload(METRICS, 2))
    await settle()
    await rig.settings.tasks.shutdown()

    assert {DropReason.SHUTDOWN: 2} == rig.ledger.dropped
    assert 0 == rig.queued_bytes
