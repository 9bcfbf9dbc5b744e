"""When free memory goes back to the system."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mlsysops_pipeline import memory
from mlsysops_pipeline.memory import EBB_BYTES, EBB_INTERVAL_S, Ebb
from mlsysops_pipeline.testing import JumpClock

if TYPE_CHECKING:
    import pytest

_MIB = 1 << 20


def test_a_burst_is_over_when_what_it_held_is_free() -> None:
    ebb = Ebb(heap=50 * _MIB, in_flight=0)
    assert not ebb.is_due(120 * _MIB, 70 * _MIB)  # it is held
    assert not ebb.is_due(120 * _MIB, 40 * _MIB)  # most of it is
    assert ebb.is_due(120 * _MIB, 0)
    ebb.settle(52 * _MIB, 0)
    assert not ebb.is_due(52 * _MIB, 0)


def test_state_that_grew_is_asked_for_once() -> None:
    ebb = Ebb(heap=50 * _MIB, in_flight=0)
    assert ebb.is_due(200 * _MIB, 0)
    ebb.settle(200 * _MIB, 0)
    assert not ebb.is_due(200 * _MIB + EBB_BYTES - 1, 0)
    assert ebb.is_due(200 * _MIB + EBB_BYTES, 0)


def test_memory_that_went_back_by_itself_is_missed_when_it_returns() -> None:
    ebb = Ebb(heap=100 * _MIB, in_flight=0)
    assert not ebb.is_due(60 * _MIB, 0)
    assert ebb.is_due(60 * _MIB + EBB_BYTES, 0)


async def test_free_memory_is_given_back_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    heap = 50 * _MIB
    trims: list[int] = []

    def trim() -> None:
        nonlocal heap
        trims.append(heap)
        heap = 50 * _MIB

    monkeypatch.setattr(memory, "heap_bytes", lambda: heap)
    monkeypatch.setattr(memory, "trim", trim)
    clock = JumpClock()
    task = asyncio.get_running_loop().create_task(memory.give_back_after_bursts(lambda: 0, clock))
    await clock.advance(EBB_INTERVAL_S)
    assert [] == trims
    heap = 150 * _MIB
    await clock.advance(EBB_INTERVAL_S * 3)
    assert [150 * _MIB] == trims
    task.cancel()
