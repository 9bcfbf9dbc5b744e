"""A sender under random load, failures and an early stop: no item is ever unaccounted for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlsysops_pipeline.component import ExportResult
from mlsysops_pipeline.delivery import BatchConfig, DeliveryConfig, QueueConfig, RetryConfig
from mlsysops_pipeline.errors import (
    Code,
    ConsumeError,
    DropReason,
    PermanentError,
    QueueFullError,
    RetryableError,
)
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_wire
from tests.core.delivery.conftest import Rig

if TYPE_CHECKING:
    from collections.abc import Callable

WIRES = {items: make_wire(Signal.METRICS, items) for items in (1, 2, 3, 5, 8)}
ROUNDS = 12

outcomes = st.sampled_from(
    [
        "deliver",
        "deliver",
        "hang",
        "partly",
        "busy",
        "throttled",
        "refuse",
        "bad data",
        "oops",
        "absent",
    ]
)


class Moody:
    """An exporter in a mood. It looks at the ledger from within, and remembers what it took."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.mood = "deliver"
        self.delivered = 0
        self.look = look
        self.awake = asyncio.Event()

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def export(self, payload: Payload) -> ExportResult | None:
        self.look()
        if self.mood == "hang":
            await self.awake.wait()
        await asyncio.sleep(0)
        self.look()
        failures: dict[str, Exception] = {
            "busy": RetryableError("busy"),
            "throttled": RetryableError("slow down", retry_after_s=2.0),
            "refuse": PermanentError("no"),
            "bad data": PermanentError("bad", code=Code.INVALID_ARGUMENT),
            "oops": ZeroDivisionError("oops"),
            "absent": ConnectionRefusedError("nobody"),
        }
        if self.mood in failures:
            raise failures[self.mood]
        rejected = 1 if self.mood == "partly" else 0
        self.delivered += payload.items - rejected
        return ExportResult(rejected, "too old") if rejected else None


queues = st.builds(
    QueueConfig,
    num_consumers=st.integers(1, 3),
    queue_size=st.integers(8, 20),
    sizer=st.sampled_from(["requests", "items"]),
    queue_bytes_max=st.sampled_from([2_000, 1 << 20]),
    wait_for_result=st.booleans(),
    on_full=st.sampled_from(["refuse", "drop_newest", "drop_oldest"]),
    block_on_overflow=st.booleans(),
    batch=st.none()
    | st.builds(
        BatchConfig,
        min_size=st.integers(0, 8),
        max_size=st.sampled_from([0, 8, 9]),
        flush_timeout=st.sampled_from([0.25, 1.0]),
    ),
)
retries = st.none() | st.builds(RetryConfig, max_elapsed_time=st.sampled_from([0.0, 30.0]))


class SenderMachine(RuleBasedStateMachine):
    """Offers requests, turns the clock and the exporter's mood, and stops at some time."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.offers: list[asyncio.Task[None]] = []
        self.offered = 0
        self.is_stopped = False
        self.rig: Rig | None = None

    @initialize(
        has_queue=st.sampled_from([True, True, True, False]),
        queue=queues,
        retry=retries,
        timeout=st.sampled_from([0.0, 3.0]),
        mood=outcomes,
    )
    def begin(
        self,
        *,
        has_queue: bool,
        queue: QueueConfig,
        retry: RetryConfig | None,
        timeout: float,
        mood: str,
    ) -> None:
        config = DeliveryConfig(
            timeout=timeout,
            retry_on_failure=retry,
            sending_queue=queue if has_queue else None,
        )
        self.exporter = Moody(self.look)
        self.exporter.mood = mood
        self.rig = Rig(config, exporter=self.exporter)

    @property
    def active(self) -> Rig:
        assert self.rig is not None
        return self.rig

    def look(self) -> None:
        """What must hold at every moment."""
        ledger = self.active.ledger
        assert 0 == ledger.imbalance
        assert min(ledger.enqueued, ledger.sent, ledger.queued, ledger.in_flight) >= 0
        assert self.active.queued_bytes >= 0

    def run(self, coroutine: Any) -> None:
        self.runner.run(self._watched(coroutine))

    async def _watched(self, coroutine: Any) -> None:
        await coroutine
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
            self.look()

    @rule(
        sizes=st.lists(st.sampled_from(list(WIRES)), min_size=4, max_size=12),
        hops=st.sampled_from([0, 0, 0, 1, 17]),
    )
    def offer(self, sizes: list[int], hops: int) -> None:
        self.run(self.give(sizes, hops))

    async def give(self, sizes: list[int], hops: int = 0) -> None:
        for size in sizes:
            payload = Payload(Signal.METRICS, WIRES[size], Metadata(hops=hops))
            self.offers.append(self.active.begin(payload))
        self.offered += 1

    @rule(mood=outcomes)
    def turn(self, mood: str) -> None:
        async def change() -> None:
            self.exporter.mood = mood
            self.exporter.awake.set()
            await asyncio.sleep(0)
            self.exporter.awake.clear()

        self.run(change())

    @rule(seconds=st.sampled_from([0.25, 2.0, 6.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.run(self.active.clock.advance(seconds))

    @precondition(lambda self: any(not task.done() for task in self.offers))
    @rule(which=st.integers(0, 5))
    def leave(self, which: int) -> None:
        """A sender stops waiting."""

        async def cancel() -> None:
            waiting = [task for task in self.offers if not task.done()]
            if waiting:  # the last of them may have its answer by now
                waiting[which % len(waiting)].cancel()

        self.run(cancel())

    @rule(is_forgone=st.booleans())
    def collect(self, *, is_forgone: bool) -> None:
        """Senders look at their answers; a fan-out may give up a full queue's share."""
        done = [task for task in self.offers if task.done()]
        self.offers = [task for task in self.offers if not task.done()]
        for task in done:
            error = None if task.cancelled() else task.exception()
            assert error is None or isinstance(error, ConsumeError)
            if isinstance(error, QueueFullError) and is_forgone:
                error.forgo()

    @precondition(lambda self: not self.is_stopped and self.offered > 3)
    @rule(
        sizes=st.lists(st.sampled_from(list(WIRES)), max_size=8),
        drain_s=st.sampled_from([0.0, 1.0, 10.0]),
    )
    def stop(self, sizes: list[int], drain_s: float) -> None:
        self.is_stopped = True

        async def stop() -> None:
            await self.give(sizes)
            await asyncio.sleep(0)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.active.sender.shutdown(drain_s))
                await self.active.clock.advance(drain_s + 1.0)

        self.run(stop())
        assert (0, 0) == (self.active.ledger.queued, self.active.ledger.in_flight)
        assert 0 == self.active.queued_bytes

    @invariant()
    def sent_is_what_arrived(self) -> None:
        if self.rig is not None:
            self.look()
            assert self.exporter.delivered == self.rig.ledger.sent

    def teardown(self) -> None:
        with self.runner:  # it is closed whatever the last look finds
            if self.rig is not None:
                self.end()

    def end(self) -> None:
        if not self.is_stopped:
            self.stop([1, 2, 3], 0.0)

        async def end_tasks() -> None:
            await self.active.settings.tasks.shutdown()
            await asyncio.gather(*self.offers, return_exceptions=True)

        self.run(end_tasks())
        self.collect(is_forgone=True)
        known = {reason.value for reason in DropReason}
        assert set(map(str, self.active.ledger.dropped)) <= known


SenderMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.generate],  # a failure is printed as found: shrinking it takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSender = pytest.mark.slow(SenderMachine.TestCase)
