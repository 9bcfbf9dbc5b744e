"""What becomes of data that a destination does not take: retried, dropped, sifted, split."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.component import ExportResult, Status
from mlsysops_pipeline.delivery import (
    BatchConfig,
    DeliveryConfig,
    QueueConfig,
    RetryConfig,
    courier,
)
from mlsysops_pipeline.delivery.causes import CAUSES_MAX, INTERVAL_S, CauseLog
from mlsysops_pipeline.delivery.health import DeliveryHealth
from mlsysops_pipeline.errors import (
    Code,
    DropReason,
    MalformedError,
    PermanentError,
    RetryableError,
    TooLargeError,
)
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, FlakyExporter, JumpClock, make_payload, make_wire
from mlsysops_pipeline.testing.clock import settle

if TYPE_CHECKING:
    from tests.core.delivery.conftest import MakeRig

METRICS = Signal.METRICS
STEADY = RetryConfig(randomization_factor=0.0)


def steady(**keys: Any) -> DeliveryConfig:
    """Waits without jitter."""
    return DeliveryConfig(retry_on_failure=STEADY, **keys)


async def test_a_retryable_failure_is_tried_again_after_growing_waits(make_rig: MakeRig) -> None:
    """OC-12."""
    rig = make_rig(steady(), [RetryableError("busy")] * 2)
    payload = make_payload(METRICS, 3)
    await rig.sender.consume(payload)
    await rig.clock.advance(4.9)
    assert 1 == len(rig.exporter.calls)
    assert 3 == rig.ledger.in_flight
    await rig.clock.advance(0.2)
    assert 2 == len(rig.exporter.calls)
    await rig.clock.advance(7.5)

    assert [payload] == rig.exporter.delivered
    assert 3 == rig.ledger.sent
    assert 3 == rig.meter.value("otelcol_exporter_sent_metric_points")
    assert 0 == rig.meter.value("otelcol_exporter_send_failed_metric_points")


async def test_what_may_have_arrived_is_counted(make_rig: MakeRig) -> None:
    rig = make_rig(
        steady(), [RetryableError("lost", is_unanswered=True), RetryableError("not connected")]
    )
    await rig.sender.consume(make_payload(METRICS, 3))
    await rig.clock.advance(20)

    assert 3 == rig.ledger.sent
    assert 3 == rig.meter.value("mlsysops_exporter_unanswered_items", data_type="metrics")


async def test_what_waits_is_sent_when_the_destination_works_again(make_rig: MakeRig) -> None:
    rig = make_rig(steady(), [RetryableError("away")] * 3)
    waiting = [make_payload(METRICS, items) for items in (1, 2, 3)]
    for payload in waiting:
        await rig.sender.consume(payload)
        await settle()
    last = make_payload(METRICS, 4)
    await rig.sender.consume(last)
    await settle()

    assert [last, *waiting] == rig.exporter.delivered


async def test_what_waits_goes_before_what_comes_next(make_rig: MakeRig) -> None:
    queue = QueueConfig(num_consumers=2)
    rig = make_rig(steady(sending_queue=queue), [RetryableError("away")] * 2)
    payloads = [make_payload(METRICS, items) for items in (1, 2, 3, 4)]
    for payload in payloads:
        await rig.sender.consume(payload)
    await rig.clock.advance(5.1)

    assert payloads == rig.exporter.delivered


async def test_what_waits_is_sent_when_the_exporter_has_found_its_peer(make_rig: MakeRig) -> None:
    exporter: Any = FlakyExporter([RetryableError("away")] * 3)
    exporter.on_ready = []
    rig = make_rig(steady(), exporter=exporter)
    waiting = [make_payload(METRICS, items) for items in (1, 2, 3)]
    for payload in waiting:
        await rig.sender.consume(payload)
        await rig.clock.advance(0.1)
    (found,) = exporter.on_ready
    found()
    await settle()

    assert waiting == exporter.delivered


async def test_a_payload_that_fails_by_itself_is_not_tried_with_every_success(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(steady(), [RetryableError("not this one")] * 2)
    unlucky = make_payload(METRICS, 7)
    await rig.sender.consume(unlucky)
    await settle()
    rig.exporter.outcomes.insert(0, None)
    for _ in range(5):
        await rig.sender.consume(make_payload(METRICS, 1))
        await settle()

    assert 2 == rig.exporter.calls.count(unlucky)
    await rig.clock.advance(7.6)
    assert 3 == rig.exporter.calls.count(unlucky)


async def test_who_was_asked_to_wait_is_not_hastened(make_rig: MakeRig) -> None:
    """OG-7."""
    rig = make_rig(steady(), [RetryableError("busy", retry_after_s=60.0)])
    asked = make_payload(METRICS, 7)
    await rig.sender.consume(asked)
    await rig.clock.advance(31)  # others are held up for `max_interval`
    await rig.sender.consume(make_payload(METRICS, 1))
    await settle()

    assert 1 == rig.exporter.calls.count(asked)
    assert 2 == len(rig.exporter.calls)


async def test_who_was_asked_to_wait_is_hastened_when_the_time_is_over(make_rig: MakeRig) -> None:
    """OG-7; else what is newer would arrive first."""
    rig = make_rig(steady(), [RetryableError("busy", retry_after_s=1.0)])
    asked = make_payload(METRICS, 7)
    await rig.sender.consume(asked)
    await rig.clock.advance(1.5)
    assert [asked] == rig.exporter.calls
    await rig.sender.consume(make_payload(METRICS, 1))
    await settle()

    assert 2 == rig.exporter.calls.count(asked)


async def test_it_waits_as_long_as_the_destination_asks_for(make_rig: MakeRig) -> None:
    """OG-7."""
    rig = make_rig(steady(), [RetryableError("busy", retry_after_s=20.0)])
    await rig.sender.consume(make_payload(METRICS, 3))
    await rig.clock.advance(19.9)
    assert 1 == len(rig.exporter.calls)
    await rig.clock.advance(0.2)

    assert 3 == rig.ledger.sent


async def test_nothing_new_is_sent_to_a_destination_that_asks_for_time(make_rig: MakeRig) -> None:
    """OG-7: the client slows down, not only the request that was throttled."""
    rig = make_rig(steady(), [RetryableError("busy", retry_after_s=20.0)])
    await rig.sender.consume(make_payload(METRICS, 3))
    await settle()
    for _ in range(3):
        await rig.sender.consume(make_payload(METRICS, 1))
    await rig.clock.advance(19.5)
    assert 1 == len(rig.exporter.calls)
    await rig.clock.advance(1)

    assert 6 == rig.ledger.sent


async def test_a_destination_cannot_hold_everything_up_for_long(make_rig: MakeRig) -> None:
    rig = make_rig(steady(), [RetryableError("busy", retry_after_s=1e6)])
    await rig.sender.consume(make_payload(METRICS, 3))
    await settle()
    await rig.sender.consume(make_payload(METRICS, 1))
    await rig.clock.advance(31)

    assert {DropReason.RETRIES_EXHAUSTED: 3} == rig.ledger.dropped
    assert 1 == rig.ledger.sent


async def test_it_gives_up_after_a_while(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    retry = RetryConfig(randomization_factor=0.0, max_elapsed_time=30.0)
    rig = make_rig(DeliveryConfig(retry_on_failure=retry), [RetryableError("busy")] * 99)
    await rig.sender.consume(make_payload(METRICS, 3))
    await rig.clock.advance(60)

    assert 4 == len(rig.exporter.calls)  # at 0, 5, 12.5 and 23.75 seconds
    assert {DropReason.RETRIES_EXHAUSTED: 3} == rig.ledger.dropped
    assert 3 == rig.meter.value("otelcol_exporter_send_failed_metric_points")
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.startswith("Exporting failed. Dropping data. error='busy'")


@pytest.mark.parametrize("outcome", [PermanentError("no"), PermanentError("no", code=Code.UNKNOWN)])
async def test_a_permanent_failure_is_never_tried_again(
    make_rig: MakeRig, outcome: PermanentError
) -> None:
    """OC-12: drop, never resend, count."""
    rig = make_rig(steady(), [outcome])
    await rig.sender.consume(make_payload(METRICS, 3))
    await rig.clock.advance(600)

    assert 1 == len(rig.exporter.calls)
    assert {DropReason.REJECTED: 3} == rig.ledger.dropped
    assert 3 == rig.meter.value("mlsysops_exporter_dropped_items", reason="rejected")


async def test_without_retries_the_first_failure_is_the_last(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(DeliveryConfig(retry_on_failure=None), [RetryableError("busy")])
    await rig.sender.consume(make_payload(METRICS, 3))
    await settle()

    assert {DropReason.RETRIES_EXHAUSTED: 3} == rig.ledger.dropped
    assert "Try enabling retry_on_failure" in caplog.text


async def test_a_partial_success_is_counted_and_never_tried_again(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    """OC-7."""
    rig = make_rig(steady(), [ExportResult(2, "too old")])
    await rig.sender.consume(make_payload(METRICS, 5))
    await rig.clock.advance(600)

    assert 1 == len(rig.exporter.calls)
    assert (3, {DropReason.PARTLY_REJECTED: 2}) == (rig.ledger.sent, rig.ledger.dropped)
    assert ["the destination rejected 2 of 5 items (metrics): too old"] == caplog.messages


@pytest.mark.parametrize(("claimed", "lost"), [(-3, 0), (99, 5)])
async def test_a_peer_cannot_reject_more_than_it_was_sent(
    make_rig: MakeRig, claimed: int, lost: int
) -> None:
    rig = make_rig(steady(), [ExportResult(claimed, "odd")])
    await rig.sender.consume(make_payload(METRICS, 5))
    await settle()

    assert (5 - lost, lost) == (rig.ledger.sent, rig.ledger.dropped.total())


async def test_an_attempt_ends_when_its_time_is_up(make_rig: MakeRig) -> None:
    rig = make_rig(steady(timeout=2.0))
    rig.exporter.gate = asyncio.Event()
    await rig.sender.consume(make_payload(METRICS, 3))
    await rig.clock.advance(1.9)
    assert 1 == rig.exporter.active
    await rig.clock.advance(0.2)
    assert 0 == rig.exporter.active
    rig.exporter.gate.set()
    await rig.clock.advance(5)

    assert 2 == len(rig.exporter.calls)
    assert 3 == rig.ledger.sent


async def test_attempts_that_begin_later_end_later(make_rig: MakeRig) -> None:
    rig = make_rig(steady(timeout=2.0))
    rig.exporter.gate = asyncio.Event()
    await rig.sender.consume(make_payload(METRICS, 1))
    await rig.clock.advance(1)
    await rig.sender.consume(make_payload(METRICS, 2))
    await rig.clock.advance(1.5)
    assert 1 == rig.exporter.active
    await rig.clock.advance(0.6)

    assert 0 == rig.exporter.active


async def test_a_time_out_without_a_queue_is_the_callers(make_rig: MakeRig) -> None:
    rig = make_rig(DeliveryConfig(timeout=2.0, retry_on_failure=None, sending_queue=None))
    rig.exporter.gate = asyncio.Event()
    sending = rig.begin(make_payload(METRICS, 3))
    await rig.clock.advance(2)
    with pytest.raises(RetryableError, match="no answer within 2 s") as caught:
        await sending

    assert Code.DEADLINE_EXCEEDED == caught.value.code
    assert 0 == rig.ledger.in_flight


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ZeroDivisionError("oops"), DropReason.EXPORT_ERROR),
        (TooLargeError("5 MB"), DropReason.TOO_LARGE),
    ],
)
async def test_an_exporters_own_failure_is_final(
    make_rig: MakeRig, failure: Exception, reason: DropReason
) -> None:
    rig = make_rig(steady(), [failure])
    await rig.sender.consume(make_payload(METRICS, 3))
    await settle()

    assert {reason: 3} == rig.ledger.dropped
    await rig.sender.consume(make_payload(METRICS, 3))
    await settle()
    assert 3 == rig.ledger.sent


@pytest.mark.parametrize("failure", [ConnectionRefusedError("nobody"), TimeoutError("slow")])
async def test_an_absent_peer_is_tried_again_however_the_exporter_says_it(
    make_rig: MakeRig, failure: Exception
) -> None:
    rig = make_rig(steady(), [failure])
    await rig.sender.consume(make_payload(METRICS, 3))
    await rig.clock.advance(5)

    assert 3 == rig.ledger.sent


# Bad data.


def bad_wire() -> bytes:
    """Two points, the second with a string that is not UTF-8: only full depth sees it."""
    wire = make_wire(METRICS, 2)
    broken = wire.replace(b"value-1-0", b"\xff\xfe\xfd\xfc\xff\xfe\xfd\xfc\xff")
    assert wire != broken
    return broken


async def test_malformed_members_are_dropped_and_the_rest_is_sent_once_more(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    config = steady(sending_queue=QueueConfig(batch=BatchConfig(min_size=9)))
    refusal = PermanentError("bad", code=Code.INVALID_ARGUMENT)
    rig = make_rig(config, [refusal])
    good = make_wire(METRICS, 4), make_wire(METRICS, 3, seed=1)
    for wire, peer in zip((good[0], bad_wire(), good[1]), "abc", strict=True):
        await rig.sender.consume(Payload(METRICS, wire, Metadata(peer=peer)))
    await settle()

    assert [good] == [payload.wires for payload in rig.exporter.delivered]
    assert (7, {DropReason.MALFORMED: 2}) == (rig.ledger.sent, rig.ledger.dropped)
    (line,) = caplog.messages
    assert line.startswith("dropped malformed metrics from b:")


async def test_bad_data_that_is_well_formed_is_dropped_as_rejected(make_rig: MakeRig) -> None:
    config = steady(sending_queue=QueueConfig(batch=BatchConfig(min_size=4)))
    rig = make_rig(config, [PermanentError("bad", code=Code.INVALID_ARGUMENT)])
    for _ in range(2):
        await rig.sender.consume(make_payload(METRICS, 2))
    await settle()

    assert 1 == len(rig.exporter.calls)
    assert {DropReason.REJECTED: 4} == rig.ledger.dropped


async def test_the_rest_is_not_sifted_twice(make_rig: MakeRig) -> None:
    config = steady(sending_queue=QueueConfig(batch=BatchConfig(min_size=4)))
    rig = make_rig(config, [PermanentError("bad", code=Code.INVALID_ARGUMENT)] * 2)
    await rig.sender.consume(Payload(METRICS, bad_wire()))
    await rig.sender.consume(make_payload(METRICS, 2))
    await settle()

    assert 2 == len(rig.exporter.calls)
    assert {DropReason.MALFORMED: 2, DropReason.REJECTED: 2} == rig.ledger.dropped


async def test_nothing_is_sent_if_all_is_malformed(make_rig: MakeRig) -> None:
    rig = make_rig(steady(), [MalformedError("bad")])
    await rig.sender.consume(Payload(METRICS, bad_wire()))
    await settle()

    assert 1 == len(rig.exporter.calls)
    assert {DropReason.MALFORMED: 2} == rig.ledger.dropped


async def test_merged_data_is_sifted_without_a_queue_too(make_rig: MakeRig) -> None:
    rig = make_rig(steady(sending_queue=None), [PermanentError("bad", code=Code.INVALID_ARGUMENT)])
    good = make_wire(METRICS, 4)
    await rig.sender.consume(Payload(METRICS, [bad_wire(), good]))

    assert (4, {DropReason.MALFORMED: 2}) == (rig.ledger.sent, rig.ledger.dropped)


async def test_a_lone_malformed_request_goes_back_to_its_sender(make_rig: MakeRig) -> None:
    rig = make_rig(steady(sending_queue=None), [PermanentError("bad", code=Code.INVALID_ARGUMENT)])
    with pytest.raises(PermanentError, match="bad"):
        await rig.sender.consume(Payload(METRICS, bad_wire()))

    assert (0, {}) == (rig.ledger.enqueued, rig.ledger.dropped)


# Requests that are too large to send.


async def test_a_request_over_the_limit_is_split(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OC-10, with a smaller limit."""
    payload = make_payload(METRICS, 100)
    limit = payload.size // 3
    monkeypatch.setattr(courier, "REQUEST_BYTES_MAX", limit)
    rig = make_rig(steady())
    await rig.sender.consume(payload)
    await settle()

    assert len(rig.exporter.delivered) > 3
    assert 100 == rig.exporter.items == rig.ledger.sent
    assert all(part.size <= limit for part in rig.exporter.delivered)


async def test_an_item_over_the_limit_is_dropped_and_the_rest_is_sent(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OC-10."""
    small = make_wire(Signal.LOGS, 5)
    large = make_wire(Signal.LOGS, 1, attributes=200)
    monkeypatch.setattr(courier, "REQUEST_BYTES_MAX", len(small) + 10)
    rig = make_rig(steady(), signal=Signal.LOGS)
    await rig.sender.consume(Payload(Signal.LOGS, [small, large, small]))
    await settle()

    assert 10 == rig.ledger.sent
    assert {DropReason.TOO_LARGE: 1} == rig.ledger.dropped
    assert 1 == len(caplog.records)


async def test_a_piece_that_fails_does_not_keep_the_others(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_wire(METRICS, 5), make_wire(METRICS, 6)
    monkeypatch.setattr(courier, "REQUEST_BYTES_MAX", len(second))
    rig = make_rig(steady(), [PermanentError("no")])
    await rig.sender.consume(Payload(METRICS, [first, second]))
    await settle()

    assert (6, {DropReason.REJECTED: 5}) == (rig.ledger.sent, rig.ledger.dropped)


async def test_without_a_queue_only_what_was_not_sent_is_given_back(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_wire(METRICS, 5), make_wire(METRICS, 6)
    monkeypatch.setattr(courier, "REQUEST_BYTES_MAX", len(second))
    rig = make_rig(steady(sending_queue=None), [None, PermanentError("no")])
    with pytest.raises(PermanentError, match="no"):
        await rig.sender.consume(Payload(METRICS, [first, second]))

    assert (5, 5, {}) == (rig.ledger.enqueued, rig.ledger.sent, rig.ledger.dropped)


# What operators see.


async def test_a_failing_destination_is_a_visible_state_until_it_recovers(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(steady(), [RetryableError("busy")] * 2)
    await rig.sender.consume(make_payload(METRICS, 1))
    await rig.clock.advance(60)
    await rig.sender.consume(make_payload(METRICS, 1))
    await settle()

    assert [(Status.RECOVERABLE_ERROR, "metrics: busy"), (Status.OK, "")] == rig.host.reports


@pytest.mark.parametrize(
    ("outcome", "type_", "permanent"),
    [
        (RetryableError("busy"), "Unavailable", "false"),
        (PermanentError("no", code=Code.PERMISSION_DENIED), "PermissionDenied", "true"),
        (TimeoutError("slow"), "Unavailable", "false"),
        (RetryableError("slow", code=Code.DEADLINE_EXCEEDED), "Deadline_Exceeded", "false"),
        (ZeroDivisionError("oops"), "_OTHER", "true"),
    ],
)
async def test_failures_are_counted_by_kind_if_details_are_wanted(
    make_rig: MakeRig, outcome: Exception, type_: str, permanent: str
) -> None:
    rig = make_rig(DeliveryConfig(retry_on_failure=None), [outcome])
    await rig.sender.consume(make_payload(METRICS, 3))
    await settle()

    labels = {"error.type": type_, "error.permanent": permanent}
    assert 3 == rig.meter.value("otelcol_exporter_send_failed_metric_points", **labels)


async def test_bad_data_is_no_state_of_the_destination(make_rig: MakeRig) -> None:
    rig = make_rig(steady(), [PermanentError("bad", code=Code.INVALID_ARGUMENT)])
    await rig.sender.consume(make_payload(METRICS, 1))
    await settle()

    assert [] == rig.host.reports


def test_an_exporter_is_well_when_none_of_its_signals_fails() -> None:
    host, health = FakeHost(), DeliveryHealth()
    health.failed(host, Signal.METRICS, "busy")
    health.failed(host, Signal.METRICS, "busy again")
    health.failed(host, Signal.LOGS, "gone")
    health.succeeded(host, Signal.TRACES)
    health.succeeded(host, Signal.METRICS)
    health.succeeded(host, Signal.LOGS)

    assert [
        (Status.RECOVERABLE_ERROR, "metrics: busy"),
        (Status.RECOVERABLE_ERROR, "logs: gone"),
        (Status.RECOVERABLE_ERROR, "logs: gone"),
        (Status.OK, ""),
    ] == host.reports


async def test_a_cause_is_logged_once_however_often_it_occurs(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(steady(), [PermanentError("no")] * 100)
    for _ in range(100):
        await rig.sender.consume(make_payload(METRICS, 2))
    await settle()

    assert 200 == rig.ledger.dropped[DropReason.REJECTED]
    assert 1 == len(caplog.records)


async def test_a_cause_that_persists_is_logged_again_with_its_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = JumpClock()
    causes = CauseLog(logging.LoggerAdapter(logging.getLogger("test"), {}), clock)
    for _ in range(4):
        causes.say("full", logging.ERROR, "queue is full", items=10)
    await clock.advance(INTERVAL_S)
    causes.say("full", logging.ERROR, "queue is full", items=10)
    causes.say("other", logging.ERROR, "something else")

    assert [
        "queue is full",
        "queue is full (and 3 more since this was logged last, 30 items)",
        "something else",
    ] == caplog.messages


def test_the_number_of_remembered_causes_is_limited() -> None:
    causes = CauseLog(logging.LoggerAdapter(logging.getLogger("test"), {}), JumpClock())
    for number in range(2 * CAUSES_MAX):
        causes.say(number, logging.DEBUG, "one of many")

    assert f"<CauseLog causes={CAUSES_MAX}>" == repr(causes)
