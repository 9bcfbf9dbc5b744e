"""The memory limiter at work: admission, refusals, recovery, what it says and counts (CV-2)."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mlsysops_pipeline.component import Status
from mlsysops_pipeline.errors import Code, RetryableError, TooLargeError
from mlsysops_pipeline.memory import give_back, resident_bytes
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, JumpClock, make_payload, make_settings
from mlsysops_processors.memory_limiter import FACTORY, Config, MemoryLimiter, limits_of

MIB = 1 << 20
SOFT_MIN = "'min_gc_interval_when_soft_limited'"
HARD_MIN = "'min_gc_interval_when_hard_limited'"
HARD_MAX = "'max_gc_interval_when_hard_limited'"


class Machine:
    """Memory that a test sets."""

    def __init__(self) -> None:
        self.resident = 0
        self.after_collection: int | None = None
        self.collections = 0

    def read(self) -> int:
        return self.resident

    def collect(self) -> None:
        self.collections += 1
        if self.after_collection is not None:
            self.resident = self.after_collection


class Rig:
    def __init__(self, **keys: Any) -> None:
        self.clock = JumpClock()
        self.host = FakeHost()
        self.machine = Machine()
        self.settings = make_settings("memory_limiter", clock=self.clock, host=self.host)
        self.memory = self.settings.memory
        config = Config(**{"check_interval": 1.0, "limit_mib": 100, **keys})
        self.limiter = MemoryLimiter(
            config,
            self.settings,
            resident=self.machine.read,
            collect=self.machine.collect,
            total=lambda: 1000 * MIB,
        )

    def value(self, name: str) -> float:
        return self.settings.meter.value(name, processor="memory_limiter")


async def test_what_decompression_made_too_large_is_refused_before_the_next_look() -> None:
    rig = Rig()
    await rig.limiter.start()
    payload = make_payload(Signal.METRICS, 3)
    rig.memory.charge(100 * MIB)
    assert payload is rig.limiter.process(payload)
    rig.memory.charge(1)
    with pytest.raises(RetryableError):
        rig.limiter.process(payload)
    assert 3 == rig.value("otelcol_processor_memory_limiter_refused_metric_points")
    await rig.limiter.shutdown()


async def test_memory_is_looked_at_when_it_starts() -> None:
    rig = Rig()
    rig.machine.resident = 60 * MIB
    await rig.limiter.start()
    rig.memory.charge(30 * MIB)
    with pytest.raises(RetryableError):
        rig.limiter.admit(20 * MIB)
    rig.limiter.admit(10 * MIB)
    await rig.limiter.shutdown()


async def test_fill_drain_and_it_accepts_again_within_two_intervals() -> None:
    rig = Rig()
    await rig.limiter.start()
    admitted = 0
    while True:
        try:
            rig.limiter.admit(10 * MIB)
        except RetryableError as error:
            refusal = error
            break
        rig.memory.charge(10 * MIB)
        admitted += 1
    rig.machine.resident = 2 * rig.memory.in_flight
    await rig.clock.advance(3.0)
    assert 8 == admitted
    assert "data refused due to high memory usage" == refusal.message
    assert Code.UNAVAILABLE is refusal.code
    assert 1.0 == refusal.retry_after_s

    rig.memory.release(rig.memory.in_flight)  # and Python gives nothing back
    await rig.clock.advance(2.0)

    rig.limiter.admit(10 * MIB)
    payload = make_payload(Signal.LOGS, 1)
    assert payload is rig.limiter.process(payload)
    await rig.limiter.shutdown()


@pytest.mark.slow
async def test_fill_drain_and_accept_again_with_real_memory() -> None:
    clock = JumpClock()
    settings = make_settings("memory_limiter", clock=clock)
    give_back()
    limit_mib = resident_bytes() // MIB + 100
    config = Config(check_interval=1.0, limit_mib=limit_mib, spike_limit_mib=20)
    limiter = MemoryLimiter(config, settings)
    await limiter.start()
    held = []
    for _ in range(30):
        held.append(bytearray(b"x" * 5 * MIB))  # held by something that forgot to charge it
        await clock.advance(1.0)
        try:
            limiter.admit(5 * MIB)
        except RetryableError:
            break
    assert 14 <= len(held) <= 25

    held.clear()
    await clock.advance(2.0)

    limiter.admit(5 * MIB)
    await limiter.shutdown()


async def test_a_burst_between_two_looks_is_refused_by_its_bytes() -> None:
    rig = Rig()
    await rig.limiter.start()
    rig.limiter.admit(70 * MIB)
    rig.memory.charge(70 * MIB)

    with pytest.raises(RetryableError):
        rig.limiter.admit(31 * MIB)

    rig.limiter.admit(30 * MIB)
    assert 1 == rig.value("mlsysops_memory_limiter_refused_requests")
    await rig.limiter.shutdown()


async def test_a_message_above_the_whole_limit_is_told_not_to_come_back() -> None:
    rig = Rig()
    await rig.limiter.start()

    with pytest.raises(TooLargeError, match="104857601 bytes"):
        rig.limiter.admit(100 * MIB + 1)
    await rig.limiter.shutdown()


async def test_collects_above_the_soft_limit_and_then_judges() -> None:
    rig = Rig()
    await rig.limiter.start()
    rig.machine.resident, rig.machine.after_collection = 90 * MIB, 20 * MIB

    await rig.clock.advance(1.0)

    assert 1 == rig.machine.collections
    rig.limiter.admit(1)
    assert [] == rig.host.reports
    await rig.limiter.shutdown()


async def test_says_once_that_it_refuses_and_once_that_it_resumes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig()
    await rig.limiter.start()
    rig.machine.resident = 90 * MIB
    rig.memory.charge(70 * MIB)

    await rig.clock.advance(3.0)
    rig.memory.release(70 * MIB)
    await rig.clock.advance(3.0)

    messages = [record.getMessage() for record in caplog.records]
    refusing = "Memory usage is above soft limit. Refusing data. cur_mem_mib=90 in_flight_mib=70"
    resuming = "Memory usage back within limits. Resuming normal operation. cur_mem_mib=90 "
    assert 1 == messages.count(refusing)
    assert 1 == messages.count(resuming + "in_flight_mib=0")
    start = "Memory limiter configured: limit_mib=100 spike_limit_mib=20 check_interval=1s"
    assert start == messages[0]
    assert "Memory usage is above soft limit. Forcing a GC. cur_mem_mib=90" in messages
    states = [status for status, _ in rig.host.reports]
    assert [Status.RECOVERABLE_ERROR, Status.OK] == states
    await rig.limiter.shutdown()


async def test_the_hard_limit_collects_at_every_look_until_that_is_useless() -> None:
    rig = Rig()
    await rig.limiter.start()
    rig.machine.resident = 150 * MIB
    rig.memory.charge(90 * MIB)

    await rig.clock.advance(8.0)

    # At 1 s, then 0.95, 1.9, 3.8 s later, each at the next look.
    assert 4 == rig.machine.collections
    await rig.limiter.shutdown()


@pytest.mark.parametrize("signal", Signal)
async def test_counts_items_by_signal(signal: Signal) -> None:
    rig = Rig()
    await rig.limiter.start()
    payload = make_payload(signal, 7)

    rig.limiter.process(payload)
    rig.memory.charge(90 * MIB)
    await rig.clock.advance(1.0)
    with pytest.raises(RetryableError):
        rig.limiter.process(payload)

    name = "otelcol_processor_memory_limiter_{}_" + signal.item_noun
    assert 7 == rig.value(name.format("accepted"))
    assert 7 == rig.value(name.format("refused"))
    await rig.limiter.shutdown()


async def test_percentages_of_the_total(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig(limit_mib=0, limit_percentage=50, spike_limit_percentage=10)
    await rig.limiter.start()

    assert "Using percentage memory limiter" in caplog.text
    assert "limit_mib=500 spike_limit_mib=100" in caplog.text
    await rig.limiter.shutdown()


async def test_an_unknown_total_fails_the_start() -> None:
    def unknown() -> int:
        raise OSError("nothing there")

    config = Config(check_interval=1.0, limit_percentage=50)
    limiter = MemoryLimiter(config, make_settings(), total=unknown)

    with pytest.raises(OSError, match=r"use fixed memory settings \(limit_mib\): nothing there"):
        await limiter.start()
    await limiter.shutdown()


async def test_shutdown_before_start_and_twice() -> None:
    rig = Rig()
    rig.limiter.admit(1)
    await rig.limiter.shutdown()
    await rig.limiter.start()
    await rig.limiter.shutdown()
    await rig.limiter.shutdown()

    assert 0 == rig.clock.pending


def test_limit_mib_wins_over_percentages_and_the_spike_is_a_fifth_unless_given() -> None:
    both = Config(check_interval=1.0, limit_mib=100, limit_percentage=50)
    spike = Config(check_interval=1.0, limit_mib=100, spike_limit_mib=30)

    limits = limits_of(both, lambda: 0)
    assert (80 * MIB, 100 * MIB) == (limits.soft, limits.hard)
    assert 70 * MIB == limits_of(spike, lambda: 0).soft


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({}, ["'limit_mib' or 'limit_percentage' must be greater than zero"]),
        ({"check_interval": 0.0, "limit_mib": 1}, ["'check_interval' must be greater than zero"]),
        (
            {"limit_mib": 5, "spike_limit_mib": 5},
            ["'spike_limit_mib' must be smaller than 'limit_mib'"],
        ),
        (
            {"limit_percentage": 5, "spike_limit_percentage": 5},
            ["'spike_limit_percentage' must be smaller than 'limit_percentage'"],
        ),
        (
            {"limit_percentage": 101},
            ["'limit_percentage' must be greater than zero and at most 100"],
        ),
        ({"limit_mib": -1}, ["must not be negative"]),
        (
            {"limit_mib": 1, "min_gc_interval_when_hard_limited": 11.0},
            ["'min_gc_interval_when_soft_limited' should be larger than " + HARD_MIN],
        ),
        (
            {"limit_mib": 1, "max_gc_interval_when_soft_limited": 9.0},
            [
                "'max_gc_interval_when_soft_limited' should be zero or at least " + SOFT_MIN,
                "'max_gc_interval_when_soft_limited' should be at least " + HARD_MAX,
            ],
        ),
        ({"limit_mib": 1, "max_gc_interval_when_soft_limited": 0.0}, []),
        ({"limit_percentage": 80, "spike_limit_percentage": 25}, []),
    ],
)
def test_configuration_is_checked(keys: dict[str, Any], messages: list[str]) -> None:
    config = Config(**{"check_interval": 1.0, **keys})

    assert messages == [finding.message for finding in config.check()]


def test_one_object_for_all_pipelines() -> None:
    assert FACTORY.shared
    assert Config.belongs_first
