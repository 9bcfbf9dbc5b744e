"""One line for each thing that peers do wrong, however often and in however many ways."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mlsysops_pipeline.service.logs import Sampling
from mlsysops_pipeline.testing import JumpClock
from mlsysops_pipeline.transport.complaints import CAUSES_MAX, INTERVAL_S, Complaints

if TYPE_CHECKING:
    import pytest

_LOGGER = logging.getLogger("mlsysops_pipeline.test_complaints")


async def test_a_cause_is_said_once_and_then_with_how_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = JumpClock()
    complaints = Complaints(_LOGGER, clock)
    for _ in range(3):
        complaints.say("bad", "bad 100% of it")
    await clock.advance(INTERVAL_S + 1)
    complaints.say("bad", "bad again")
    complaints.say("worse", "worse")
    assert [
        "bad 100% of it",
        "bad again (and 2 more since this was logged last)",
        "worse",
    ] == caplog.messages


async def test_causes_without_end_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = JumpClock()
    complaints = Complaints(_LOGGER, clock)
    for number in range(10 * CAUSES_MAX):
        complaints.say(number, f"cause {number}")
    assert CAUSES_MAX == len(caplog.messages)
    assert f"<Complaints causes={CAUSES_MAX}>" == repr(complaints)
    await clock.advance(INTERVAL_S + 1)
    complaints.say("new", "said")
    assert "said" == caplog.messages[-1]
    assert "<Complaints causes=1>" == repr(complaints)


def test_different_causes_are_no_repetition_to_the_sampling_of_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints = Complaints(_LOGGER, JumpClock())
    for number in range(20):
        complaints.say(number, f"cause {number}")
    sampling = Sampling()
    assert all(sampling.filter(record) for record in caplog.records)
