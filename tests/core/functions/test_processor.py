"""How a user's function is called: what it may return, how it may fail, and what that costs."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.component import Settings, Status
from mlsysops_pipeline.errors import (
    Code,
    DropReason,
    PermanentError,
    RetryableError,
)
from mlsysops_pipeline.functions.options import Options
from mlsysops_pipeline.functions.processor import OVERRUN_WINDOW_S, RULE, FunctionProcessor
from mlsysops_pipeline.functions.telemetry import Telemetry
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import (
    FakeHost,
    JumpClock,
    Sink,
    make_payload,
    make_settings,
    make_wire,
    settle,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = make_payload(Signal.METRICS, 4)
NUMBERS = itertools.count()
"""So that each processor's thread has a name of its own."""


@dataclass
class Bench:
    """A function in its processor, between a sender and a sink."""

    processor: FunctionProcessor
    settings: Settings
    clock: JumpClock
    host: FakeHost
    sink: Sink = field(default_factory=Sink)

    async def send(self, payload: Payload = PAYLOAD) -> None:
        """As `PipelineEntry` does it."""
        items = payload.items
        await self.processor.consume(payload)
        self.settings.pipeline_ledger.received += items

    def check(self) -> None:
        """The ledger is even, and no memory is charged."""
        ledger = self.settings.pipeline_ledger
        ledger.handed_on = self.sink.items
        assert 0 == ledger.imbalance
        assert 0 == self.settings.memory.in_flight

    def calls(self, outcome: str) -> float:
        return self.settings.meter.value("mlsysops_processor_function_calls", outcome=outcome)


async def bench(function: Callable[[Telemetry], Any], **options: Any) -> Bench:
    clock, host, sink = JumpClock(), FakeHost(), Sink()
    settings_ = make_settings(f"python/{next(NUMBERS)}", clock=clock, host=host)
    processor = FunctionProcessor(lambda: (function, Options(**options)), settings_, sink)
    await processor.start()
    return Bench(processor, settings_, clock, host, sink)


async def rename(telemetry: Telemetry) -> None:
    for metric in telemetry.metrics():
        metric.name = "renamed"


def names(payload: Payload) -> set[str]:
    return {metric.name for metric in Telemetry(payload).metrics()}


def rename_in_thread(telemetry: Telemetry) -> None:
    assert threading.current_thread() is not threading.main_thread()
    for metric in telemetry.metrics():
        metric.name = "renamed"


class Renaming:
    """A callable object with an asynchronous call."""

    async def __call__(self, telemetry: Telemetry) -> None:
        await rename(telemetry)


@pytest.mark.parametrize("function", [rename, rename_in_thread, Renaming()])
@pytest.mark.parametrize("items", [4, 1500], ids=["small", "large"])
async def test_what_it_changes_in_place_is_handed_on(
    function: Callable[[Telemetry], Any], items: int
) -> None:
    made = await bench(function)
    await made.send(make_payload(Signal.METRICS, items))

    assert {"renamed"} == names(made.sink.payloads[0])
    assert items == made.sink.items
    assert 1 == made.calls("success")
    made.check()
    await made.processor.shutdown()


def other(_: Telemetry) -> Telemetry:
    return Telemetry(make_payload(Signal.METRICS, 7))


RETURNS: list[tuple[str, Callable[[Telemetry], Any], int]] = [
    ("nothing", lambda _: None, 4),
    ("true", lambda _: True, 4),
    ("false", lambda _: False, 0),
    ("other-telemetry", other, 7),
    ("payload", lambda _: make_payload(Signal.METRICS, 2), 2),
    ("empty-payload", lambda _: Payload(Signal.METRICS, ()), 0),
    ("itself", lambda telemetry: telemetry, 4),
]


@pytest.mark.parametrize(
    ("function", "items"), [row[1:] for row in RETURNS], ids=[row[0] for row in RETURNS]
)
async def test_what_it_returns_is_handed_on(
    function: Callable[[Telemetry], Any], items: int
) -> None:
    made = await bench(function)
    await made.send()

    assert items == made.sink.items
    assert (1 if items else 0) == len(made.sink.payloads)
    assert max(4 - items, 0) == made.settings.pipeline_ledger.filtered[RULE]
    made.check()


async def test_what_it_does_not_touch_is_the_same_object() -> None:
    made = await bench(lambda _: None, view="resource")
    await made.send()

    assert made.sink.payloads[0] is PAYLOAD


@settings(max_examples=25, deadline=None)
@given(dropped=st.sets(st.integers(0, 11)), added=st.sets(st.integers(0, 11)))
def test_items_that_it_drops_and_adds_are_both_counted(dropped: set[int], added: set[int]) -> None:
    def function(telemetry: Telemetry) -> None:
        for index, point in enumerate(telemetry.points()):
            if index in added:
                point.add_gauge("new", index)
            if index in dropped:
                point.drop()

    async def run() -> Bench:
        made = await bench(function, view="point")
        await made.send(make_payload(Signal.METRICS, 12, points_per_metric=5))
        return made

    made = asyncio.run(run())
    ledger = made.settings.pipeline_ledger
    assert (len(added), len(dropped)) == (ledger.created, ledger.filtered[RULE])
    made.check()


def raising(_: Telemetry) -> None:
    raise KeyError("zone")


async def raising_async(_: Telemetry) -> None:
    raise KeyError("zone")


def exiting(_: Telemetry) -> None:
    raise SystemExit(3)


async def exiting_async(_: Telemetry) -> None:
    raise SystemExit(3)


async def cancelled_itself(_: Telemetry) -> None:
    raise asyncio.CancelledError


def stopping(_: Telemetry) -> None:
    raise StopIteration


def garbage(_: Telemetry) -> int:
    return 3


async def inner() -> None:
    """Never awaited."""


def coroutine(_: Telemetry) -> Any:
    return inner()


def broken_bytes(_: Telemetry) -> Payload:
    return Payload(Signal.METRICS, b"\xff")


def other_signal(_: Telemetry) -> Payload:
    return make_payload(Signal.LOGS, 1)


def recursing(telemetry: Telemetry) -> None:
    recursing(telemetry)


def growing(_: Telemetry) -> Payload:
    return Payload(Signal.METRICS, [make_wire(Signal.METRICS, 100)] * 6000)


FAULTS = [
    raising,
    raising_async,
    exiting,
    exiting_async,
    cancelled_itself,
    stopping,
    garbage,
    coroutine,
    broken_bytes,
    other_signal,
    recursing,
    growing,
]
every_fault = pytest.mark.parametrize("function", FAULTS, ids=lambda f: f.__name__)


@every_fault
async def test_a_fault_refuses_the_payload_and_nothing_else(
    function: Callable[[Telemetry], Any], caplog: pytest.LogCaptureFixture
) -> None:
    made = await bench(function)
    for _ in range(2):
        with pytest.raises(PermanentError) as caught:
            await made.send()
        assert (Code.INTERNAL, DropReason.PROCESSOR_ERROR) == (
            caught.value.code,
            caught.value.reason,
        )

    assert 2 == made.calls("failure")
    assert 1 == len(caplog.records)  # the second time it is counted
    assert [] == made.sink.payloads
    made.check()


@every_fault
@pytest.mark.parametrize("mode", ["ignore", "silent"])
async def test_a_fault_that_is_ignored_hands_on_what_came_in(
    function: Callable[[Telemetry], Any], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = await bench(function, error_mode=mode)
    await made.send()

    assert [PAYLOAD] == made.sink.payloads
    assert (mode == "ignore") == bool(caplog.records)
    made.check()


async def test_changes_of_a_function_that_fails_are_forgotten() -> None:
    def half(telemetry: Telemetry) -> None:
        for metric in telemetry.metrics():
            metric.name = "renamed"
        raise ValueError("half done")

    made = await bench(half, error_mode="ignore")
    await made.send()

    assert "renamed" not in names(made.sink.payloads[0])


async def test_it_can_refuse_for_now_on_purpose() -> None:
    def refuse(_: Telemetry) -> None:
        raise RetryableError("not now", retry_after_s=3)

    made = await bench(refuse)
    with pytest.raises(RetryableError, match="not now"):
        await made.send()
    made.check()


async def test_an_asynchronous_function_is_cancelled_at_the_limit() -> None:
    seen = []

    async def slow(_: Telemetry) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    made = await bench(slow, timeout=2.0, error_mode="ignore")
    sending = asyncio.ensure_future(made.send())  # noqa: TID251  the test's own
    await made.clock.advance(1.9)
    assert not sending.done()
    await made.clock.advance(0.2)
    await sending

    assert (["cancelled"], [PAYLOAD]) == (seen, made.sink.payloads)
    assert 1 == made.calls("overrun")
    made.check()


async def test_a_cancelled_function_that_goes_on_is_not_waited_for() -> None:
    release = asyncio.Event()

    async def stubborn(telemetry: Telemetry) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        await rename(telemetry)

    made = await bench(stubborn, timeout=1.0)
    sending = asyncio.ensure_future(made.send())  # noqa: TID251  the test's own
    await made.clock.advance(1.1)
    with pytest.raises(PermanentError, match="longer than 1 s") as caught:
        await sending

    assert Code.INTERNAL is caught.value.code  # senders try again after DEADLINE_EXCEEDED
    release.set()
    await wait_until(lambda: not len(made.settings.tasks))
    assert [] == made.sink.payloads


class Blocking:
    """A synchronous function that blocks until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.calls = 0

    def __call__(self, telemetry: Telemetry) -> None:
        self.calls += 1
        self.entered.release()
        self.go.wait(10)
        for metric in telemetry.metrics():
            metric.name = "late"


async def overrun(made: Bench, blocking: Blocking) -> None:
    """Send one payload and let its call take too long."""
    sending = asyncio.ensure_future(made.send())  # noqa: TID251  the test's own
    await wait_until(lambda: blocking.entered.acquire(blocking=False))
    await made.clock.advance(1.1)
    await sending


async def test_after_three_overruns_data_passes_through_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    blocking = Blocking()
    made = await bench(blocking, error_mode="silent")
    for _ in range(3):
        assert not made.processor.is_passing
        await overrun(made, blocking)
    await made.send()

    assert (3, 4 * [PAYLOAD]) == (blocking.calls, made.sink.payloads)
    assert (3, 1) == (made.calls("overrun"), made.calls("passed"))
    assert 1 == made.settings.meter.value("mlsysops_processor_function_passing")
    assert [Status.PERMANENT_ERROR] == [status for status, _ in made.host.reports]
    assert ["called no more"] == [
        "called no more" for record in caplog.records if "called no more" in record.message
    ]
    assert "passing" in repr(made.processor)
    assert made.settings.memory.in_flight  # the views are still open in three threads
    blocking.go.set()
    await wait_until(lambda: not made.settings.memory.in_flight)
    made.check()
    assert "late" not in set().union(*map(names, made.sink.payloads))


async def test_overruns_of_long_ago_are_forgotten() -> None:
    blocking = Blocking()
    made = await bench(blocking, error_mode="silent")
    for _ in range(4):
        blocking.go.clear()
        await overrun(made, blocking)
        blocking.go.set()
        await wait_until(lambda: not made.settings.memory.in_flight)
        await made.clock.advance(OVERRUN_WINDOW_S / 2 + 1)

    assert not made.processor.is_passing


async def test_synchronous_calls_are_one_after_the_other_even_if_senders_go_away() -> None:
    active = peak = 0

    def function(_: Telemetry) -> None:
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        threading.Event().wait(0.02)
        active -= 1

    made = await bench(function)
    sending = [asyncio.ensure_future(made.send()) for _ in range(6)]  # noqa: TID251  its own
    await settle()
    sending[0].cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    await wait_until(lambda: not made.settings.memory.in_flight)

    assert (1, 5) == (peak, len(made.sink.payloads))
    assert all(
        thread.name != "function-python" or thread.daemon for thread in threading.enumerate()
    )


async def test_asynchronous_calls_overlap() -> None:
    both = asyncio.Barrier(2)

    async def function(_: Telemetry) -> None:
        await both.wait()

    made = await bench(function)
    await asyncio.gather(made.send(), made.send())

    assert 2 == made.calls("success")


async def test_what_the_next_stage_refuses_goes_back_and_counts_for_nothing() -> None:
    made = await bench(lambda _: make_payload(Signal.METRICS, 1))
    made.sink.error = RetryableError("full")
    with pytest.raises(RetryableError, match="full"):
        await made.send()

    made.check()


async def test_a_malformed_member_is_dropped_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    payload = Payload(Signal.METRICS, [make_wire(Signal.METRICS, 3), bad_point()])
    made = await bench(rename, view="full")
    await made.send(payload)

    assert 1 == made.settings.pipeline_ledger.dropped[DropReason.MALFORMED]
    assert {"renamed"} == names(made.sink.payloads[0])
    assert "malformed" in caplog.text
    made.check()
    with pytest.raises(PermanentError) as caught:
        await made.send(Payload(Signal.METRICS, bad_point()))
    assert Code.INVALID_ARGUMENT is caught.value.code
    made.check()


def bad_point() -> bytes:
    """A request with one point that is no message inside."""

    def framed(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    metric = framed(5, framed(1, b"\xff"))
    return framed(1, framed(2, framed(2, metric)))


async def test_memory_is_charged_while_it_works() -> None:
    blocking = Blocking()
    made = await bench(blocking, timeout=0.0)
    sending = asyncio.ensure_future(made.send())  # noqa: TID251  the test's own
    await wait_until(lambda: blocking.entered.acquire(blocking=False))

    assert 3 * PAYLOAD.size == made.settings.memory.in_flight
    blocking.go.set()
    await sending
    made.check()


async def test_a_call_after_the_stop_leaves_no_thread_behind() -> None:
    made = await bench(rename_in_thread)
    await made.processor.shutdown()
    await made.send()

    made.check()
    name = f"function-{made.settings.id}"
    await wait_until(lambda: name not in {thread.name for thread in threading.enumerate()})


async def test_a_function_that_cannot_be_found_fails_the_start() -> None:
    def load() -> Any:
        raise ImportError("no such module")

    processor = FunctionProcessor(load, make_settings("python"), Sink())
    with pytest.raises(ImportError, match="no such module"):
        await processor.start()
    await processor.shutdown()
