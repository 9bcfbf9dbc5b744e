"""Long computations run one after the other, whoever asks for them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mlsysops_pipeline.testing import wait_until
from mlsysops_pipeline.transport.aside import Aside


async def test_results_and_errors_come_back_from_a_thread() -> None:
    aside = Aside("test")
    names: list[str] = []

    def halve(number: int) -> float:
        names.append(threading.current_thread().name)
        return 1 / number

    assert 0.5 == await aside.run(halve, 2)
    with pytest.raises(ZeroDivisionError):
        await aside.run(halve, 0)
    assert all(name.startswith("test") for name in names)


async def test_one_runs_at_a_time_and_who_has_gone_is_not_computed_for() -> None:
    aside = Aside("test")
    gate = threading.Event()
    begun: list[str] = []

    def work(name: str) -> str:
        begun.append(name)
        gate.wait(5)
        return name

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(aside.run(work, name)) for name in ("a", "b", "c")]
    await wait_until(lambda: begun)
    tasks[1].cancel()
    await asyncio.wait({tasks[1]})
    assert ["a"] == begun
    gate.set()
    assert ("a", "c") == (await tasks[0], await tasks[2])
    assert ["a", "c"] == begun
    assert "<Aside test>" == repr(aside)
