"""What happens between components: admission, fan-out, errors, and the ledger's identity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlsysops_pipeline.component import Kind, PipelineID
from mlsysops_pipeline.errors import (
    Bug,
    Code,
    DropReason,
    MalformedError,
    PermanentError,
    QueueFullError,
    RetryableError,
)
from mlsysops_pipeline.fanout import combined, give_to_all
from mlsysops_pipeline.ledger import PipelineLedger
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.service.nodes import (
    PipelineEntry,
    PipelineExit,
    ProcessorNode,
    ReceiverEntry,
)
from mlsysops_pipeline.testing import Sink, make_payload, make_settings, make_wire


class Halve:
    """A processor that keeps the first member and reports the rest as filtered."""

    def __init__(self, ledger: PipelineLedger) -> None:
        self._ledger = ledger

    def process(self, payload: Payload) -> Payload | None:
        kept = payload.with_wires(payload.wires[:1])
        self._ledger.filter("halve", payload.items - kept.items)
        return kept


class Strict:
    """A processor to which a member that begins with 0xff is malformed."""

    def process(self, payload: Payload) -> Payload | None:
        if any(wire.startswith(b"\x08") for wire in payload.wires):
            raise MalformedError("does not begin well")
        return payload


def two_members() -> Payload:
    return Payload(
        Signal.METRICS, [make_wire(Signal.METRICS, 3), make_wire(Signal.METRICS, 2, seed=1)]
    )


def pipeline_of(processor: object, ledger: PipelineLedger, *sinks: Sink) -> PipelineEntry:
    settings = make_settings(ledger=ledger)
    node = ProcessorNode(processor, settings, PipelineExit(ledger, sinks))  # type: ignore[arg-type]
    return PipelineEntry(PipelineID(Signal.METRICS, ""), ledger, node, [])


async def test_a_payload_reaches_every_destination_unchanged() -> None:
    ledger, left, right = PipelineLedger(), Sink(), Sink()
    entry = PipelineEntry(
        PipelineID(Signal.METRICS, ""), ledger, PipelineExit(ledger, [left, right]), []
    )
    payload = make_payload(Signal.METRICS, 7)
    await entry.consume(payload)
    assert [payload] == left.payloads == right.payloads
    assert (7, 14, 7) == (ledger.received, ledger.handed_on, ledger.created)
    assert ledger.imbalance == 0


async def test_what_a_processor_removed_is_given_back_when_the_next_stage_refuses() -> None:
    ledger, sink = PipelineLedger(), Sink()
    entry = pipeline_of(Halve(ledger), ledger, sink)
    sink.error = RetryableError("full", retry_after_s=2)
    with pytest.raises(RetryableError):
        await entry.consume(two_members())
    assert ledger.received == 0
    assert ledger.imbalance == 0
    sink.error = None
    await entry.consume(two_members())
    assert (5, 3) == (ledger.received, ledger.handed_on)
    assert ledger.imbalance == 0


async def test_malformed_members_are_dropped_and_the_others_go_on() -> None:
    ledger, sink = PipelineLedger(), Sink()
    entry = pipeline_of(Strict(), ledger, sink)
    good = make_wire(Signal.METRICS, 3)
    bad = b"\x08\x01" + make_wire(Signal.METRICS, 2)
    await entry.consume(Payload(Signal.METRICS, [good, bad]))
    assert (good,) == sink.payloads[0].wires
    assert 2 == ledger.dropped[DropReason.MALFORMED]
    assert ledger.imbalance == 0


async def test_a_malformed_single_member_goes_back_to_its_sender() -> None:
    ledger, sink = PipelineLedger(), Sink()
    entry = pipeline_of(Strict(), ledger, sink)
    with pytest.raises(PermanentError) as raised:
        await entry.consume(Payload(Signal.METRICS, b"\x08\x01" + make_wire(Signal.METRICS, 2)))
    assert raised.value.code == Code.INVALID_ARGUMENT
    assert ledger.imbalance == 0


async def test_a_processor_that_fails_refuses_its_payload_only() -> None:
    class Broken:
        def process(self, payload: Payload) -> Payload | None:
            raise ZeroDivisionError

    ledger, sink = PipelineLedger(), Sink()
    entry = pipeline_of(Broken(), ledger, sink)
    with pytest.raises(PermanentError, match="ZeroDivisionError") as raised:
        await entry.consume(two_members())
    assert raised.value.reason is DropReason.PROCESSOR_ERROR
    assert ledger.imbalance == 0


async def test_oc13_a_full_queue_does_not_refuse_what_another_destination_took() -> None:
    given_up = []
    full, open_ = Sink(), Sink()
    full.error = QueueFullError("sending queue is full", lambda: given_up.append(1))
    await give_to_all([full, open_], two_members())
    assert [1] == given_up
    assert 5 == open_.items


async def test_when_every_queue_is_full_the_sender_is_refused_and_nothing_is_given_up() -> None:
    given_up = []
    sinks = [Sink(), Sink()]
    for wait_s, sink in enumerate(sinks, start=1):
        sink.error = QueueFullError("full", lambda: given_up.append(1), retry_after_s=wait_s)
    with pytest.raises(RetryableError) as raised:
        await give_to_all(sinks, two_members())
    assert 2 == raised.value.retry_after_s
    assert not given_up


async def test_every_destination_is_called_even_if_an_earlier_one_failed() -> None:
    failing, other = Sink(), Sink()
    failing.error = RetryableError("down")
    with pytest.raises(RetryableError):
        await give_to_all([failing, other], two_members())
    assert 5 == other.items


def test_one_permanent_error_makes_the_whole_permanent() -> None:
    error = combined([RetryableError("later"), PermanentError("never", code=Code.NOT_FOUND)])
    assert isinstance(error, PermanentError)
    assert Code.NOT_FOUND == error.code
    assert "later; never" == error.message


def test_a_receiver_asks_every_pipeline_before_it_reads() -> None:
    open_, shut = Sink(), Sink()
    shut.admit_error = RetryableError("data refused due to high memory usage")
    ReceiverEntry([open_]).admit(10)
    with pytest.raises(RetryableError, match="high memory"):
        ReceiverEntry([open_, shut]).admit(10)


def test_oc13_full_queues_refuse_before_reading_only_if_all_are_full() -> None:
    full, also_full, open_, shut = Sink(), Sink(), Sink(), Sink()
    full.admit_error = QueueFullError("sending queue is full", lambda: None)
    also_full.admit_error = full.admit_error
    shut.admit_error = RetryableError("data refused due to high memory usage")
    ReceiverEntry([full, open_]).admit(10)
    ReceiverEntry([open_, full]).admit(10)
    with pytest.raises(QueueFullError):
        ReceiverEntry([full, also_full]).admit(10)
    with pytest.raises(RetryableError, match="high memory"):
        ReceiverEntry([full, open_, shut]).admit(10)


def test_only_processors_have_the_ledger_of_a_pipeline() -> None:
    ledger = PipelineLedger()
    assert ledger is make_settings(ledger=ledger).pipeline_ledger
    with pytest.raises(Bug, match="receiver otlp is in no pipeline"):
        _ = replace(make_settings("otlp", kind=Kind.RECEIVER), ledger=None).pipeline_ledger
