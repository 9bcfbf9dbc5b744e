"""Stages that need not wait are plain calls; the others are awaited, and nothing else differs."""

from __future__ import annotations

import asyncio

import pytest

from mlsysops_pipeline.errors import ConsumeError, PermanentError, QueueFullError, RetryableError
from mlsysops_pipeline.fanout import prompt, prompt_of_all
from mlsysops_pipeline.ids import PipelineID
from mlsysops_pipeline.ledger import PipelineLedger
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.service.nodes import PipelineEntry, PipelineExit

PAYLOAD = Payload(Signal.METRICS, b"", items=3)


class Prompt:
    """Takes at once, or raises."""

    def __init__(self, error: ConsumeError | None = None) -> None:
        self.error = error
        self.taken = 0

    async def consume(self, payload: Payload) -> None:
        """See `Consumer`."""
        self.accept_now(payload)

    def accept_now(self, _payload: Payload) -> None:
        """See `PromptConsumer`."""
        if self.error is not None:
            raise self.error
        self.taken += 1


class Slow:
    """Takes, or raises, when it is let go."""

    def __init__(self, error: ConsumeError | None = None) -> None:
        self.error = error
        self.gate = asyncio.Event()
        self.taken = 0

    async def consume(self, _payload: Payload) -> None:
        """See `Consumer`."""
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.taken += 1


def test_nothing_is_left_where_nobody_waits() -> None:
    first, second = Prompt(), Prompt()
    assert prompt_of_all([first, second])(PAYLOAD) is None
    assert (1, 1) == (first.taken, second.taken)


async def test_who_only_has_consume_is_awaited() -> None:
    slow = Slow()
    rest = prompt(slow)(PAYLOAD)
    assert rest is not None
    slow.gate.set()
    await rest()
    assert 1 == slow.taken


async def test_those_behind_one_that_waits_get_the_payload_too() -> None:
    first, slow, last = Prompt(), Slow(), Prompt()
    rest = prompt_of_all([first, slow, last])(PAYLOAD)
    assert rest is not None
    assert (1, 0, 0) == (first.taken, slow.taken, last.taken)
    slow.gate.set()
    await rest()
    assert (1, 1, 1) == (first.taken, slow.taken, last.taken)


async def test_errors_of_both_kinds_of_consumers_are_combined() -> None:
    slow, last = Slow(RetryableError("later", retry_after_s=7.0)), Prompt()
    slow.gate.set()
    rest = prompt_of_all([Prompt(PermanentError("bad")), slow, last])(PAYLOAD)
    assert rest is not None
    with pytest.raises(PermanentError, match="bad; later"):
        await rest()
    assert 1 == last.taken


async def test_a_full_queue_gives_up_its_share_behind_one_that_waits() -> None:
    forgone: list[str] = []
    slow = Slow()
    slow.gate.set()
    full = Prompt(QueueFullError("full", lambda: forgone.append("share")))
    rest = prompt_of_all([slow, full])(PAYLOAD)
    assert rest is not None
    await rest()
    assert ["share"] == forgone


async def test_the_ledger_counts_when_responsibility_is_taken() -> None:
    ledger, slow = PipelineLedger(), Slow()
    exit_ = PipelineExit(ledger, [slow, Prompt()])
    entry = PipelineEntry(PipelineID(Signal.METRICS), ledger, exit_, [])
    rest = entry.accept_now(PAYLOAD)
    assert rest is not None
    assert (0, 0) == (ledger.received, ledger.handed_on)
    slow.gate.set()
    await rest()
    assert (3, 6, 3) == (ledger.received, ledger.handed_on, ledger.created)
    assert not ledger.imbalance


def test_a_refusal_at_once_counts_nothing() -> None:
    ledger = PipelineLedger()
    exit_ = PipelineExit(ledger, [Prompt(RetryableError("no"))])
    entry = PipelineEntry(PipelineID(Signal.METRICS), ledger, exit_, [])
    with pytest.raises(RetryableError):
        entry.accept_now(PAYLOAD)
    assert (0, 0, 0) == (ledger.received, ledger.handed_on, ledger.created)
