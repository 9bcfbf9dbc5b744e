"""The `batch` processor: when it hands on, what it keeps, what it refuses (A2, CV-1)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.component import PipelineID
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import (
    Code,
    ConfigError,
    DropReason,
    PermanentError,
    QueueFullError,
    RetryableError,
)
from mlsysops_pipeline.ledger import PipelineLedger
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.service.nodes import PipelineEntry, PipelineExit
from mlsysops_pipeline.testing import JumpClock, Sink, make_payload, make_settings
from mlsysops_pipeline.testing.clock import settle
from mlsysops_processors import batch
from mlsysops_processors.batch import FACTORY, BatchProcessor, Config
from mlsysops_processors.batch.handover import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

METRICS = Signal.METRICS
LABELS = {"processor": "batch", "otel.signal": "metrics"}


class Rig:
    """A pipeline of one batch processor and one sink."""

    def __init__(self, **keys: Any) -> None:
        self.clock = JumpClock()
        self.sink = Sink()
        self.ledger = PipelineLedger()
        self.settings = make_settings("batch", clock=self.clock, ledger=self.ledger)
        next_ = PipelineExit(self.ledger, [self.sink])
        self.batch: BatchProcessor = FACTORY.create(Config(**keys), self.settings, next_)
        self.entry = PipelineEntry(PipelineID(METRICS), self.ledger, self.batch, [])

    async def feed(self, items: int, seed: int = 0, **headers: str) -> None:
        metadata = Metadata(headers={name: (value,) for name, value in headers.items()})
        await self.entry.consume(make_payload(METRICS, items, seed=seed, metadata=metadata))

    @property
    def sizes(self) -> list[int]:
        return [payload.items for payload in self.sink.payloads]


@pytest.fixture
async def make_rig(
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[Callable[..., Rig]]:
    caplog.set_level(logging.DEBUG)
    made: list[Rig] = []

    def make(**keys: Any) -> Rig:
        made.append(Rig(**keys))
        return made[-1]

    yield make
    for rig in made:
        await rig.settings.tasks.shutdown()
        assert 0 == rig.ledger.imbalance


async def stopped(rig: Rig, advance_s: float) -> None:
    """Shut the processor down while time passes."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.batch.shutdown())
        await rig.clock.advance(advance_s)
        await asyncio.wait_for(task, 2)


def test_the_defaults_are_the_collectors() -> None:
    """CV-1."""
    config = parse_config(Config, {})

    assert (8192, 0.2, 0) == (
        config.send_batch_size,
        config.timeout,
        config.send_batch_max_size,
    )
    assert ((), 1000) == (config.metadata_keys, config.metadata_cardinality_limit)
    assert Config.acknowledges_from_memory


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"send_batch_max_size": 100},
            "send_batch_max_size must be greater or equal to send_batch_size",
        ),
        ({"send_batch_size": -1}, "send_batch_size: must not be negative"),
        ({"timeout": "-1s"}, "timeout"),
        ({"metadata_keys": ["a", "b", "A"]}, 'duplicate entry in metadata_keys: "A"'),
        ({"send_batch_sise": 1}, "send_batch_sise"),
        ({"send_batch_size": "many"}, "send_batch_size"),
    ],
)
def test_a_wrong_configuration_is_refused(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(Config, written)

    assert message in str(caught.value)


async def test_requests_are_merged_until_there_are_enough(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(send_batch_size=10)
    await rig.batch.start()
    for _ in range(2):
        await rig.feed(4)
    await settle()
    assert ([], 8) == (rig.sizes, rig.ledger.held)
    await rig.feed(4)
    await settle()

    assert ([12], 0, 12) == (rig.sizes, rig.ledger.held, rig.ledger.handed_on)
    meter = rig.settings.meter
    assert 1 == meter.value("otelcol_processor_batch_batch_size_trigger_send", **LABELS)
    assert 12 == meter.value("otelcol_processor_batch_batch_send_size_sum", **LABELS)
    assert 1 == meter.value("otelcol_processor_batch_batch_send_size_bytes_count", **LABELS)
    assert 1 == meter.value("otelcol_processor_batch_metadata_cardinality", **LABELS)


async def test_a_batch_does_not_wait_longer_than_configured(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(timeout=0.25)
    await rig.batch.start()
    await rig.feed(1)
    await rig.clock.advance(0.125)
    await rig.feed(2)
    assert [] == rig.sizes
    await rig.clock.advance(0.125)

    assert [3] == rig.sizes
    meter = rig.settings.meter
    assert 1 == meter.value("otelcol_processor_batch_timeout_trigger_send", **LABELS)
    assert 0 == meter.value("otelcol_processor_batch_batch_size_trigger_send", **LABELS)


@pytest.mark.parametrize("keys", [{"timeout": 0.0, "send_batch_size": 20}, {"send_batch_size": 0}])
async def test_it_can_hand_on_every_request_at_once_and_still_split(
    make_rig: Callable[..., Rig], keys: dict[str, Any]
) -> None:
    rig = make_rig(send_batch_max_size=20, **keys)
    await rig.batch.start()
    await rig.feed(3)
    await settle()
    await rig.feed(45)
    await settle()

    assert [3, 20, 20, 5] == rig.sizes


async def test_large_batches_are_split_and_the_rest_waits(make_rig: Callable[..., Rig]) -> None:
    """The Collector's example: size 128, limit 128."""
    rig = make_rig(send_batch_size=128, send_batch_max_size=128)
    await rig.batch.start()
    await rig.feed(300)
    await settle()
    assert ([128, 128], 44) == (rig.sizes, rig.ledger.held)
    await rig.clock.advance(0.25)

    assert [128, 128, 44] == rig.sizes
    assert 0 == rig.settings.memory.in_flight


async def test_an_empty_request_vanishes(make_rig: Callable[..., Rig]) -> None:
    """OC-14."""
    rig = make_rig(timeout=0.0)
    await rig.batch.start()
    await rig.entry.consume(Payload(METRICS, b""))
    await settle()

    assert [] == rig.sizes


async def test_broken_framing_is_refused_for_good(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    with pytest.raises(PermanentError) as caught:
        await rig.batch.consume(Payload(METRICS, b"\x0a\x05x"))

    assert Code.INVALID_ARGUMENT == caught.value.code


async def test_tenants_do_not_share_batches_and_keep_their_header(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(send_batch_size=2, metadata_keys=("X-Tenant",))
    await rig.batch.start()
    for tenant in ("a", "b", "b", "a"):
        await rig.feed(1, 0, **{"x-tenant": tenant, "other": "1"})
    await settle()

    assert [{"x-tenant": ("b",)}, {"x-tenant": ("a",)}] == [
        payload.metadata.headers for payload in rig.sink.payloads
    ]
    meter = rig.settings.meter
    assert 2 == meter.value("otelcol_processor_batch_metadata_cardinality", **LABELS)


async def test_the_number_of_tenants_is_limited_for_ever(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(timeout=0.0, metadata_keys=("tenant",), metadata_cardinality_limit=2)
    await rig.batch.start()
    await rig.feed(1, tenant="a")
    await rig.feed(1)
    with pytest.raises(PermanentError, match="too many batcher") as caught:
        await rig.feed(1, tenant="b")
    await rig.feed(1, tenant="a")
    await settle()

    assert DropReason.CARDINALITY == caught.value.reason
    assert [1, 1, 1] == rig.sizes


# A next stage that refuses.


async def test_what_is_refused_for_now_is_kept_and_handed_on_in_order(
    make_rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.sink.error = RetryableError("busy")
    for items in (1, 2, 3):
        await rig.feed(items)
    await rig.clock.advance(50)
    assert ([], 6) == (rig.sizes, rig.ledger.held)
    rig.sink.error = None
    await rig.clock.advance(5)

    assert [1, 2, 3] == rig.sizes
    assert 1 == len(caplog.records)


async def test_it_waits_as_long_as_the_next_stage_asks_for(make_rig: Callable[..., Rig]) -> None:
    """OG-7."""
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.sink.error = RetryableError("busy", retry_after_s=30.0)
    await rig.feed(1)
    await settle()
    rig.sink.error = None
    await rig.clock.advance(29.5)
    assert [] == rig.sizes
    await rig.clock.advance(1)

    assert [1] == rig.sizes


async def test_a_full_queue_is_asked_again_soon(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.sink.error = QueueFullError("full", lambda: None, retry_after_s=30.0)
    await rig.feed(1)
    await settle()
    rig.sink.error = None
    await rig.clock.advance(0.25)

    assert [1] == rig.sizes


async def test_what_is_refused_for_good_is_dropped_and_counted(
    make_rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.sink.error = PermanentError("no", reason=DropReason.REJECTED)
    for _ in range(3):
        await rig.feed(2)
    await settle()

    assert {DropReason.REJECTED: 6} == rig.ledger.dropped
    assert (0, 0) == (rig.ledger.held, rig.settings.memory.in_flight)
    assert ["dropped 2 items (reason rejected): no"] == caplog.messages
    rig.sink.error = None
    await rig.feed(2)
    await settle()
    assert [2] == rig.sizes


async def test_a_next_stage_that_breaks_does_not_stop_it(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.sink.error = ZeroDivisionError("oops")
    await rig.feed(2)
    await settle()
    rig.sink.error = None
    await rig.feed(3)
    await settle()

    assert ({DropReason.PROCESSOR_ERROR: 2}, [3]) == (rig.ledger.dropped, rig.sizes)


class Narrow:
    """A next stage that takes no more than so many items at a time."""

    def __init__(self, ledger: PipelineLedger, items_max: int) -> None:
        self.ledger = ledger
        self.items_max = items_max
        self.sizes: list[int] = []

    async def consume(self, payload: Payload) -> None:
        if payload.items > self.items_max:
            raise PermanentError("element size too large", reason=DropReason.TOO_LARGE)
        self.sizes.append(payload.items)
        self.ledger.handed_on += payload.items


async def test_a_batch_that_is_too_large_for_a_queue_is_taken_apart(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(send_batch_size=20)
    narrow = Narrow(rig.ledger, 7)
    processor = FACTORY.create(Config(send_batch_size=20), rig.settings, narrow)
    entry = PipelineEntry(PipelineID(METRICS), rig.ledger, processor, [])
    await processor.start()
    for seed in range(4):
        await entry.consume(make_payload(METRICS, 3, seed=seed))
    await entry.consume(make_payload(METRICS, 8, seed=9))
    await settle()

    assert [6, 3, 3] == narrow.sizes
    assert {DropReason.TOO_LARGE: 8} == rig.ledger.dropped


async def test_newcomers_are_refused_while_it_holds_too_much(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = make_payload(METRICS, 10)
    monkeypatch.setattr(batch, "HELD_BYTES_MAX", 2 * payload.size)
    rig = make_rig(send_batch_size=10)
    await rig.batch.start()
    rig.sink.error = RetryableError("busy")
    for _ in range(2):
        await rig.entry.consume(payload)
    await settle()
    with pytest.raises(RetryableError, match="holds too much") as caught:
        await rig.entry.consume(payload)
    # Who asks before reading and processing a message hears the same: else that work is lost.
    with pytest.raises(RetryableError, match="holds too much"):
        rig.batch.admit(1)

    assert 1.0 == caught.value.retry_after_s
    assert (20, 20) == (rig.ledger.received, rig.ledger.held)
    assert 2 * payload.size == rig.settings.memory.in_flight
    rig.sink.error = None
    await rig.clock.advance(5)
    rig.batch.admit(payload.size)
    await rig.entry.consume(payload)
    await settle()
    assert [10, 10, 10] == rig.sizes


async def test_a_request_above_the_limit_is_taken_when_it_is_alone(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "HELD_BYTES_MAX", 10)
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.batch.admit(1000)
    await rig.feed(5)
    await settle()

    assert [5] == rig.sizes


async def test_a_full_processor_does_not_wait_for_a_batch_to_grow(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = make_payload(METRICS, 10)
    monkeypatch.setattr(batch, "HELD_BYTES_MAX", payload.size)
    rig = make_rig()
    await rig.batch.start()
    await rig.entry.consume(payload)
    with pytest.raises(RetryableError):
        await rig.entry.consume(payload)
    await settle()

    assert [10] == rig.sizes


async def test_a_slow_next_stage_delays_nobody_but_itself(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.sink.gate = asyncio.Event()
    for _ in range(3):
        await rig.feed(1)
    await settle()
    assert 3 == rig.ledger.held
    rig.sink.gate.set()
    await settle()

    assert [1, 1, 1] == rig.sizes


# Stopping.


async def test_stopping_hands_on_what_waits_for_more(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    await rig.batch.start()
    await rig.feed(3)
    await rig.batch.shutdown()
    await rig.batch.shutdown()

    assert [3] == rig.sizes
    assert 0 == rig.clock.pending
    with pytest.raises(RetryableError, match="shut down"):
        await rig.feed(1)


async def test_stopping_does_not_wait_for_the_end_of_a_pause(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.sink.error = RetryableError("busy", retry_after_s=1000.0)
    await rig.feed(1)
    await settle()
    rig.sink.error = None
    await rig.batch.shutdown()

    assert [1] == rig.sizes


async def test_a_next_stage_that_takes_nothing_is_given_up_on(
    make_rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(send_batch_size=1)
    await rig.batch.start()
    rig.sink.error = RetryableError("busy")
    for _ in range(4):
        await rig.feed(1)
    await settle()
    caplog.clear()
    await stopped(rig, PATIENCE_S + 1)

    assert {DropReason.SHUTDOWN: 4} == rig.ledger.dropped
    assert (0, 0) == (rig.ledger.held, rig.settings.memory.in_flight)
    assert 1 == len(caplog.records)


async def test_a_stop_that_is_cut_short_leaves_true_numbers(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(send_batch_size=2)
    await rig.batch.start()
    rig.sink.gate = asyncio.Event()
    await rig.feed(2)
    await rig.feed(1)
    await settle()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await rig.batch.shutdown()

    assert {DropReason.SHUTDOWN: 3} == rig.ledger.dropped
    rig.sink.gate.set()
    await settle()
    assert 0 == rig.ledger.handed_on


async def test_it_is_safe_to_stop_before_start(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    await rig.batch.shutdown()

    assert "<BatchProcessor items=0 bytes=0 <Handover ready=0>>" == repr(rig.batch)
