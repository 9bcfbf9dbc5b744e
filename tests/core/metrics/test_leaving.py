"""What was held is handed on until it is taken, or is known never to be."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.errors import DropReason, PermanentError, RetryableError
from mlsysops_pipeline.metrics.leaving import PATIENCE_S, WAIT_MAX_S, Leaving
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, Sink, make_payload, make_settings, settle

if TYPE_CHECKING:
    import asyncio


class Owner:
    """A processor of which three items are on their way."""

    def __init__(self) -> None:
        self.clock = JumpClock()
        self.settings = make_settings(clock=self.clock)
        self.sink = Sink()
        self.taken: list[int] = []
        causes = CauseLog(self.settings.logger, self.clock)
        self.leaving = Leaving(self.settings, self.sink, causes, "a box", self.taken.append)

    async def started(self) -> asyncio.Task[None]:
        self.leaving.items = 3
        payload = make_payload(Signal.METRICS, 3)
        task = self.settings.tasks.spawn("hand on", self.leaving.hand_on(payload))
        await settle()
        return task

    @property
    def dropped(self) -> dict[DropReason, int]:
        return dict(self.settings.pipeline_ledger.dropped)


async def test_what_is_refused_for_now_is_tried_again_as_late_as_the_next_stage_asks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner = Owner()
    owner.sink.error = RetryableError("full", retry_after_s=2 * WAIT_MAX_S)
    with caplog.at_level(logging.WARNING):
        task = await owner.started()
        owner.sink.error = None
        await owner.clock.advance(2 * WAIT_MAX_S - 0.1)
    assert (3, []) == (owner.leaving.items, owner.taken)
    assert "the next stage does not take a box now; it is kept: full" in caplog.text
    await owner.clock.advance(0.1)
    await task

    assert (0, [3], {}) == (owner.leaving.items, owner.taken, owner.dropped)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermanentError("no", reason=DropReason.REJECTED), DropReason.REJECTED),
        (ValueError("a bug"), DropReason.PROCESSOR_ERROR),
    ],
)
async def test_what_is_refused_for_good_is_counted_once(
    error: Exception, reason: DropReason
) -> None:
    owner = Owner()
    owner.sink.error = error
    await (await owner.started())

    assert (0, [], {reason: 3}) == (owner.leaving.items, owner.taken, owner.dropped)


async def test_who_stops_ends_a_wait_and_is_patient_for_a_while_only() -> None:
    owner = Owner()
    owner.sink.error = RetryableError("full", retry_after_s=1_000.0)
    task = await owner.started()
    owner.leaving.stop()
    assert owner.leaving.is_stopping
    await owner.clock.advance(PATIENCE_S - 0.5)
    assert {} == owner.dropped
    await owner.clock.advance(1.0)
    await task

    assert {DropReason.SHUTDOWN: 3} == owner.dropped
