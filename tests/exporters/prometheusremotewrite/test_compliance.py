"""The cases of the compliance suite for senders of remote write, as far as OTLP can ask for them.

The suite scrapes; here the same is sent as OTLP, through the core's queue and retries. `Up` and
`HonorLabels` are about scraping alone. What a sender that sends nothing would pass is reported with
every run (`test_the_score_beside_that_of_a_sender_that_sends_nothing`), and asserted, so that no
case can pass by silence unnoticed.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_exporters import prometheusremotewrite as remote_write
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.delivery.sender import Sender
from mlsysops_pipeline.ledger import ExporterLedger
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_settings, wait_until
from tests.exporters.prometheusremotewrite.otlp import (
    counter,
    gauge,
    histogram,
    payload,
    summary,
    wire,
)
from tests.exporters.prometheusremotewrite.receiver import (
    Answer,
    Outcome,
    Receiver,
    Slow,
    is_stale,
    receiving,
)

if TYPE_CHECKING:
    from collections.abc import Callable

RESOURCE = {"service.name": "api", "service.namespace": "shop", "service.instance.id": "i-1"}
TARGET = (("instance", "i-1"), ("job", "shop/api"))
T = int(time.time() * 1000)


def _behave(_: int) -> Outcome:
    return None


@dataclass(frozen=True)
class Case:
    """``judge`` asserts that ``payloads`` arrived as they should."""

    name: str
    payloads: Callable[[], list[Payload]]
    judge: Callable[[Receiver], None]
    behave: Callable[[int], Outcome] = field(default=_behave)
    config: dict[str, Any] = field(default_factory=dict)


def sent(*metrics: Any) -> Callable[[], list[Payload]]:
    return lambda: [payload(*metrics, resource=RESOURCE)]


def is_exactly(name: str, value: float) -> Callable[[Receiver], None]:
    def judge(receiver: Receiver) -> None:
        assert {TARGET: [(T, value)]} == receiver.named(name)

    return judge


def judge_histogram(receiver: Receiver) -> None:
    buckets = {dict(labels)["le"]: s[0][1] for labels, s in receiver.named("h_bucket").items()}
    assert {"1": 1.0, "2.5": 3.0, "+Inf": 6.0} == buckets
    assert {TARGET: [(T, 6.0)]} == receiver.named("h_count")
    assert {TARGET: [(T, 10.0)]} == receiver.named("h_sum")


def judge_summary(receiver: Receiver) -> None:
    values = {dict(labels)["quantile"]: s[0][1] for labels, s in receiver.named("s").items()}
    assert {"0.5": 1.0, "0.99": 3.5} == values
    assert {TARGET: [(T, 4.0)]} == receiver.named("s_count")
    assert {TARGET: [(T, 8.5)]} == receiver.named("s_sum")


def invalid() -> list[Payload]:
    """Bytes that are no point, in metrics beside others; and other special values."""
    broken = wire(gauge("bad", (1, T), (2, T, {"a": "b"})), resource=RESOURCE)
    broken = broken.replace(b"\x0a\x01a\x12\x03", b"\x0a\x01a\x12\xff")
    good = wire(gauge("inf", (math.inf, T)), gauge("nan", (math.nan, T)), resource=RESOURCE)
    return [Payload(Signal.METRICS, [broken, good])]


def judge_invalid(receiver: Receiver) -> None:
    assert {TARGET: [(T, math.inf)]} == receiver.named("inf")
    ((_, value),) = receiver.named("nan")[TARGET]
    assert math.isnan(value)
    assert not is_stale(value)
    assert {TARGET: [(T, 1.0)]} == receiver.named("bad")


def every_series_has(label: str, value: str) -> Callable[[Receiver], None]:
    def judge(receiver: Receiver) -> None:
        assert receiver.series
        assert {value} == {dict(labels).get(label) for labels in receiver.series}

    return judge


def judge_sorted(receiver: Receiver) -> None:
    """That they are is what `Receiver` checks."""
    (labels,) = [labels for labels in receiver.series if ("__name__", "g") in labels]
    assert ["Z", "__name__", "a", "b", "instance", "job"] == [name for name, _ in labels]


def judge_repeated(receiver: Receiver) -> None:
    ((labels, samples),) = receiver.named("g").items()
    assert (("a_b", "1;2"), *TARGET) == labels
    assert [(T, 1.0)] == samples


def judge_empty(receiver: Receiver) -> None:
    assert {(("full", "x"), *TARGET): [(T, 1.0)]} == receiver.named("g")


def judge_name(receiver: Receiver) -> None:
    assert {"a_b_c", "_1st", "target_info"} - {"target_info"} == receiver.names


def judge_timestamp(receiver: Receiver) -> None:
    ((when, _),) = receiver.named("g")[TARGET]
    assert T == when


def judge_headers(receiver: Receiver) -> None:
    """The rest is what `Receiver` checks."""
    assert receiver.headers
    assert all(one["user-agent"].startswith("mlsysops-collector/") for one in receiver.headers)


def judge_staleness(receiver: Receiver) -> None:
    for name in ("g", "h_count", "h_sum", "h_bucket"):
        for samples in receiver.named(name).values():
            assert [False, True] == [is_stale(value) for _, value in samples]
        assert receiver.named(name)


ORDERED, ROUNDS = 1_000, 6


def ordered() -> list[Payload]:
    return [
        payload(gauge("g", *[(turn, T + turn, {"series": index}) for index in range(ORDERED)]))
        for turn in range(ROUNDS)
    ]


def judge_ordering(receiver: Receiver) -> None:
    assert ORDERED == len(receiver.series)
    expected = [(T + turn, float(turn)) for turn in range(ROUNDS)]
    assert all(expected == samples for samples in receiver.series.values())


def sleeps(_: int) -> Outcome:
    return Slow(random.random() / 20)  # noqa: S311  not for secrets


def judge_retries_500(receiver: Receiver) -> None:
    assert {TARGET: [(T, 1.0)]} == receiver.named("g")
    assert 4 == receiver.seen


def judge_retries_400(receiver: Receiver) -> None:
    assert 2 == receiver.seen
    assert {TARGET: [(T + 1, 2.0)]} == receiver.named("g")


CASES = [
    Case("Counter", sent(counter("c", (3, T))), is_exactly("c_total", 3.0)),
    Case("Gauge", sent(gauge("g", (1.5, T))), is_exactly("g", 1.5)),
    Case("Histogram", sent(histogram("h", T)), judge_histogram),
    Case("Summary", sent(summary("s", T)), judge_summary),
    Case("Invalid", invalid, judge_invalid),
    Case("JobLabel", sent(gauge("g", (1, T))), every_series_has("job", "shop/api")),
    Case("InstanceLabel", sent(gauge("g", (1, T))), every_series_has("instance", "i-1")),
    Case("SortedLabels", sent(gauge("g", (1, T, {"b": "1", "Z": "2", "a": "3"}))), judge_sorted),
    Case("RepeatedLabels", sent(gauge("g", (1, T, {"a.b": "1", "a_b": "2"}))), judge_repeated),
    Case("EmptyLabels", sent(gauge("g", (1, T, {"empty": "", "full": "x"}))), judge_empty),
    Case("NameLabel", sent(gauge("a.b-c", (1, T)), gauge("1st", (1, T))), judge_name),
    Case("Timestamp", sent(gauge("g", (1, T))), judge_timestamp),
    Case("Headers", sent(gauge("g", (1, T))), judge_headers),
    Case(
        "Staleness",
        lambda: [
            *sent(gauge("g", (1, T)), histogram("h", T))(),
            *sent(gauge("g", (None, T + 1)), histogram("h", T + 1, is_stale=True))(),
        ],
        judge_staleness,
    ),
    Case(
        "Ordering",
        ordered,
        judge_ordering,
        sleeps,
        {"max_batch_size_bytes": 5_000, "sending_queue": {"num_consumers": 8}},
    ),
    Case(
        "Retries500",
        sent(gauge("g", (1, T))),
        judge_retries_500,
        lambda index: Answer((500, 503, 429)[index]) if index < 3 else None,
    ),
    Case(
        "Retries400",
        lambda: [*sent(gauge("g", (1, T)))(), *sent(gauge("g", (2, T + 1)))()],
        judge_retries_400,
        lambda index: None if index else Answer(400),
    ),
]


async def run(case: Case, receiver: Receiver) -> None:
    """Send what the case has, through queue and retries, and wait until all is settled."""
    plan = {
        "endpoint": receiver.url,
        "retry_on_failure": {"initial_interval": "1ms"},
        **case.config,
    }
    config = parse_config(remote_write.Config, plan)
    settings = make_settings("rw", kind=Kind.EXPORTER, clock=SystemClock())
    exporter = remote_write.FACTORY.create(config, settings, None)
    await exporter.start()
    ledger = ExporterLedger()
    sender = Sender(exporter, config, settings, Signal.METRICS, ledger)
    async with asyncio.timeout(15):
        for one in case.payloads():
            await sender.consume(one)
            await wait_until(lambda: not ledger.queued)  # what waits together is one request
        await wait_until(lambda: not ledger.in_flight)
    await sender.shutdown(0)
    await exporter.shutdown()
    assert 0 == ledger.imbalance


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.slow
async def test_a_case_of_the_suite(case: Case) -> None:
    async with receiving(case.behave) as receiver:
        await run(case, receiver)

    assert [] == receiver.refusals
    case.judge(receiver)


def test_the_score_beside_that_of_a_sender_that_sends_nothing(
    record_property: Callable[[str, object], None],
) -> None:
    """Ours is in the cases above; this is what silence would pass."""
    passed = []
    for case in CASES:
        try:
            case.judge(Receiver())
        except (AssertionError, KeyError, ValueError):
            continue
        passed.append(case.name)
    record_property("cases", len(CASES))
    record_property("passed by sending nothing", len(passed))
    print(  # noqa: T201  the score, for who runs it with -s
        f"{len(CASES)} cases; a sender that sends nothing passes {len(passed)}: {passed}"
    )

    assert [] == passed
