"""What is refused for what is in it, where several senders' data was sent together (R1-6, R1-5)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import cramjam
import pytest

from mlsysops_exporters import prometheusremotewrite as remote_write
from mlsysops_exporters.prometheusremotewrite.delivery import IN_VAIN_MAX
from mlsysops_exporters.prometheusremotewrite.stages import PARTS
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import ExportResult, Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.delivery.sender import Sender
from mlsysops_pipeline.errors import DropReason, PermanentError, RetryableError
from mlsysops_pipeline.ledger import ExporterLedger
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, make_settings, wait_until
from tests.exporters.prometheusremotewrite import prompb
from tests.exporters.prometheusremotewrite.otlp import NOW_MS, gauge, histogram, payload, wire
from tests.exporters.prometheusremotewrite.receiver import (
    Answer,
    Outcome,
    Receiver,
    Refused,
    receiving,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

POISON = "poison"


class Picky(Receiver):
    """Refuses a request that has a certain series in it, and stores nothing of it."""

    def take(self, headers: dict[str, str], body: bytes) -> None:
        message = prompb.parse(bytes(cramjam.snappy.decompress_raw(body)))
        if any(label.value == POISON for one in message.timeseries for label in one.labels):
            raise Refused("there is poison in it")
        super().take(headers, body)


@contextlib.asynccontextmanager
async def exporter_to(url: str, **config: Any) -> AsyncIterator[Any]:
    plan = parse_config(remote_write.Config, {"endpoint": url, **config})
    exporter = remote_write.FACTORY.create(
        plan, make_settings("rw", kind=Kind.EXPORTER, clock=JumpClock()), None
    )
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown()


def member(index: int, time_ms: int = NOW_MS, *names: str) -> bytes:
    """One sender's request: a series of its own, one that all have, and others."""
    return wire(
        gauge("own", (index, time_ms, {"sender": index})),
        gauge("shared", (index, time_ms)),
        *[gauge(name, (index, time_ms)) for name in names],
    )


def merged(*wires: bytes) -> Payload:
    return Payload(Signal.METRICS, wires)


async def test_a_bad_member_of_a_merged_request_costs_nothing_but_itself() -> None:
    """R1-5, R1-6: what was sent together is sent once more by itself, in order."""
    wires = [member(i, NOW_MS + i, *[POISON][: i in {2, 5}]) for i in range(8)]
    async with receiving(receiver=Picky()) as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(gauge("before", (1, NOW_MS))))
        result = await exporter.export(merged(*wires))

    assert isinstance(result, ExportResult)
    assert (6, DropReason.REJECTED, 0) == (
        result.rejected_items, result.reason, result.unsendable_items,
    )  # fmt: skip
    assert "there is poison in it" in result.message
    good = [i for i in range(8) if i not in {2, 5}]
    assert {(("sender", str(i)),) for i in good} == set(receiver.named("own"))
    assert {(): [(NOW_MS + i, float(i)) for i in good]} == receiver.named("shared")
    assert ["there is poison in it"] * 3 == receiver.refusals
    assert 1 + 1 + 8 == receiver.seen


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_what_is_taken_apart_is_not_taken_apart_again(status: int) -> None:
    """R1-6: a member that is refused by itself is lost, and its answer told."""
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(gauge("before", (1, NOW_MS))))
        receiver.behave = lambda _: Answer(status, b"no")
        with pytest.raises(PermanentError, match=f"{status}: no"):
            await exporter.export(merged(*[member(i, NOW_MS + i) for i in range(3)]))

    assert 1 + 1 + 3 == receiver.seen


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_what_is_not_about_the_data_is_final_at_once(status: int) -> None:
    """R1-6."""
    async with receiving(lambda _: Answer(status)) as receiver, exporter_to(receiver.url) as rw:
        with pytest.raises(PermanentError):
            await rw.export(merged(*[member(i, NOW_MS + i) for i in range(3)]))

    assert 1 == receiver.seen


async def test_nothing_is_sent_again_to_a_receiver_that_refuses_everything() -> None:
    """R1-6. Once it has taken something it is given the parts again."""
    async with receiving(lambda _: Answer(400)) as receiver, exporter_to(receiver.url) as exporter:
        for i in range(4):
            with pytest.raises(PermanentError):
                await exporter.export(merged(member(0, NOW_MS + i), member(1, NOW_MS + i)))
        assert 3 + 1 + 1 + 1 == receiver.seen
        receiver.behave = lambda index: Answer(400) if index == 7 else None
        await exporter.export(payload(gauge("before", (1, NOW_MS))))
        assert await exporter.export(merged(member(0, NOW_MS + 9), member(1, NOW_MS + 10))) is None


async def test_what_arrived_beside_a_refused_request_is_not_sent_again() -> None:
    """A payload is several requests: only those that were refused are taken apart."""
    wires = [
        wire(gauge("g", *[(i, NOW_MS, {"i": i, "sender": n}) for i in range(50)])) for n in range(3)
    ]
    wires.append(wire(histogram("h", NOW_MS), gauge("g", (0, NOW_MS, {"sender": POISON}))))
    async with (
        receiving(receiver=Picky()) as receiver,
        exporter_to(
            receiver.url, max_batch_size_bytes=2_000, max_batch_request_parallelism=1
        ) as exporter,
    ):
        result = await exporter.export(merged(*wires))

    assert ExportResult(2, result.message, DropReason.REJECTED, 0) == result
    assert 150 == len(receiver.named("g"))
    assert 0 == receiver.repeated


async def test_a_retry_among_the_parts_goes_on_where_it_was() -> None:
    """R1-5."""
    outcomes: dict[int, Outcome] = {1: Answer(400), 4: Answer(503), 5: Answer(429)}
    async with receiving(outcomes.get) as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(gauge("before", (1, NOW_MS))))
        data = merged(*[member(i, NOW_MS + i) for i in range(5)])
        for _ in range(2):
            with pytest.raises(RetryableError):
                await exporter.export(data)
        assert await exporter.export(data) is None

    assert {(): [(NOW_MS + i, float(i)) for i in range(5)]} == receiver.named("shared")
    assert (0, []) == (receiver.repeated, receiver.refusals)
    assert 1 + 1 + 5 + 2 == receiver.seen


async def test_one_of_very_many_members_is_found_in_few_requests() -> None:
    """The next payload waits for all of them."""
    count = PARTS * PARTS * 2
    wires = [member(i, NOW_MS + i) for i in range(count)]
    wires[77] = member(77, NOW_MS + 77, POISON)
    async with receiving(receiver=Picky()) as receiver, exporter_to(receiver.url) as exporter:
        result = await exporter.export(merged(*wires))

    assert 3 == result.rejected_items
    assert 1 + PARTS + PARTS + 2 == receiver.seen
    good = [i for i in range(count) if i != 77]
    assert {(): [(NOW_MS + i, float(i)) for i in good]} == receiver.named("shared")
    assert 0 == receiver.repeated


async def test_members_that_are_all_refused_are_soon_given_up() -> None:
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(gauge("before", (1, NOW_MS))))
        receiver.behave = lambda _: Answer(400)
        with pytest.raises(PermanentError):
            await exporter.export(merged(*[member(i, NOW_MS + i) for i in range(2_000)]))

    assert IN_VAIN_MAX < receiver.seen < IN_VAIN_MAX + 4 * PARTS


async def test_senders_that_wait_together_do_not_pay_for_one_of_them() -> None:
    """Through the queue, which is where data of several senders comes together."""
    async with receiving(receiver=Picky()) as receiver:
        plan = parse_config(remote_write.Config, {"endpoint": receiver.url})
        settings = make_settings("rw", kind=Kind.EXPORTER, clock=SystemClock())
        exporter = remote_write.FACTORY.create(plan, settings, None)
        await exporter.start()
        ledger = ExporterLedger()
        sender = Sender(exporter, plan, settings, Signal.METRICS, ledger)
        for i in range(20):
            bad = [POISON] if i == 10 else []
            await sender.consume(merged(member(i, NOW_MS + i, *bad)))
        done: Callable[[], bool] = lambda: ledger.sent + ledger.dropped.total() == 41  # noqa: E731  short
        await wait_until(done)
        await sender.shutdown(1)
        await exporter.shutdown()

    assert {DropReason.REJECTED: 3} == dict(ledger.dropped)
    assert 19 == len(receiver.named("own"))
    assert 0 == ledger.imbalance
