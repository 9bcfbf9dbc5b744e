"""Requests of a processor with a state go through one at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.errors import RetryableError
from mlsysops_pipeline.metrics.turns import Turns
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.testing import Sink, make_payload, make_settings, settle

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload


class Recorder:
    """What `Turns` asks of a processor, with a record of it."""

    def __init__(self) -> None:
        self.sink = Sink()
        self.events: list[str] = []
        self.tasks = Tasks(logging.getLogger("test"))
        self.turns = Turns(make_settings(), self.sink, self.change, self.settle)

    def started(self) -> asyncio.Task[None]:
        return self.tasks.spawn("test", self.turns.consume(make_payload(Signal.METRICS, 1)))

    def change(self, payload: Payload) -> Payload:
        self.events.append("change")
        return payload

    def settle(self, is_taken: bool) -> None:
        self.events.append("keep" if is_taken else "undo")


async def test_nobody_changes_the_state_while_a_request_waits() -> None:
    run = Recorder()
    run.sink.gate = asyncio.Event()
    tasks = [run.started() for _ in range(3)]
    await settle()
    assert ["change"] == run.events
    run.sink.gate.set()
    await asyncio.gather(*tasks)

    assert ["change", "keep"] * 3 == run.events


async def test_what_is_refused_or_cancelled_is_undone_and_lets_the_next_pass() -> None:
    run = Recorder()
    run.sink.error = RetryableError("full")
    with pytest.raises(RetryableError):
        await run.turns.consume(make_payload(Signal.METRICS, 1))
    run.sink.error = None
    run.sink.gate = asyncio.Event()
    first, second, third = (run.started() for _ in range(3))
    await settle()
    second.cancel()
    first.cancel()
    await settle()
    run.sink.gate.set()
    await third

    assert ["change", "undo", "change", "undo", "change", "keep"] == run.events
    await run.turns.turn()
    run.turns.end_turn()
    await run.turns.consume(make_payload(Signal.METRICS, 1))
    assert len(run.sink.payloads) == 2
