"""Background tasks: no failure in silence, nothing outlives its component."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.testing import wait_until

if TYPE_CHECKING:
    import pytest

LOGGER = logging.getLogger("test.tasks")


async def test_a_failure_is_logged_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[tuple[str, str]] = []
    tasks = Tasks(LOGGER, lambda name, error: failures.append((name, str(error))))

    async def fail() -> None:
        raise ValueError("no luck")

    tasks.spawn("the one that fails", fail())
    await wait_until(lambda: failures)

    assert [("the one that fails", "no luck")] == failures
    assert "task 'the one that fails' failed: no luck" in caplog.text
    assert 0 == len(tasks)


async def test_a_loop_that_fails_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysops_pipeline.tasks._RESTART_PAUSE_S", 0.0)
    runs: list[int] = []
    failures: list[str] = []
    tasks = Tasks(LOGGER, lambda name, error: failures.append(name))

    async def fail_twice() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError("not yet")

    await tasks.spawn_forever("again", fail_twice)

    assert 3 == len(runs)
    assert ["again", "again"] == failures


async def test_a_loop_that_keeps_running_again_is_reported_as_recovered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlsysops_pipeline.tasks._RESTART_PAUSE_S", 0.0)
    monkeypatch.setattr("mlsysops_pipeline.tasks._RECOVERED_AFTER_S", 0.01)
    runs: list[int] = []
    recoveries: list[str] = []
    tasks = Tasks(LOGGER, on_recovery=recoveries.append)

    async def fail_once() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("not yet")
        await asyncio.Event().wait()

    tasks.spawn_forever("again", fail_once)
    await wait_until(lambda: recoveries)
    await tasks.shutdown()

    assert ["again"] == recoveries


async def test_shutdown_cancels_and_awaits_all_and_is_safe_twice() -> None:
    tasks = Tasks(LOGGER)
    ended: list[str] = []

    async def wait_forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("tidied")

    tasks.spawn("a", wait_forever())
    tasks.spawn("b", wait_forever())
    await asyncio.sleep(0)
    await tasks.shutdown()
    await tasks.shutdown()

    assert ["tidied", "tidied"] == ended
    assert "<Tasks running=[]>" == repr(tasks)


async def test_a_task_may_shut_its_own_supervisor_down() -> None:
    tasks = Tasks(LOGGER)
    done: list[str] = []

    async def shut_down() -> None:
        await tasks.shutdown()
        done.append("still here")

    await tasks.spawn("self", shut_down())

    assert ["still here"] == done
