"""The remote write exporter against a receiver that takes nothing that is against the rules."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_exporters import prometheusremotewrite as remote_write
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import ComponentID, ExportResult, Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import (
    Code,
    ConfigError,
    DropReason,
    PermanentError,
    RetryableError,
)
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, JumpClock, make_settings, wait_until
from tests.core.transport.grpc_peers import free_port, make_certificates
from tests.exporters.prometheusremotewrite.otlp import (
    DELTA,
    NOW_MS,
    counter,
    exponential,
    gauge,
    histogram,
    payload,
    summary,
    wire,
)
from tests.exporters.prometheusremotewrite.receiver import (
    Answer,
    Close,
    Hang,
    Outcome,
    Receiver,
    Slow,
    is_stale,
    receiving,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping
    from pathlib import Path


def made(endpoint: str, host: Any = None, clock: Any = None, **config: Any) -> Any:
    return remote_write.FACTORY.create(
        parse_config(remote_write.Config, {"endpoint": endpoint, **config}),
        make_settings(
            "prometheus_remote_write",
            kind=Kind.EXPORTER,
            clock=clock or JumpClock(),
            host=host,
            signals=(Signal.METRICS,),
        ),
        None,
    )


@contextlib.asynccontextmanager
async def exporter_to(
    endpoint: str, host: Any = None, clock: Any = None, **config: Any
) -> AsyncIterator[Any]:
    exporter = made(endpoint, host, clock, **config)
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown()


async def test_a_request_has_the_headers_of_the_protocol_whatever_is_configured() -> None:
    """R1-1."""
    own = {
        "Content-Encoding": "gzip",
        "Content-Type": "text/plain",
        "X-Prometheus-Remote-Write-Version": "9",
        "User-Agent": "me",
        "X-Scope-OrgID": "tenant",
    }
    async with receiving() as receiver, exporter_to(receiver.url, headers=own) as exporter:
        assert await exporter.export(payload(gauge("up", (1, NOW_MS)))) is None

    sent = receiver.headers[0]
    assert "POST /api/v1/write HTTP/1.1" == sent[":first"]
    assert "snappy" == sent["content-encoding"]
    assert "application/x-protobuf" == sent["content-type"]
    assert "0.1.0" == sent["x-prometheus-remote-write-version"]
    assert re.fullmatch(r"mlsysops-collector/[0-9.]+ \(.+\)", sent["user-agent"])
    assert "tenant" == sent["x-scope-orgid"]
    assert [] == receiver.refusals


async def test_values_arrive_with_sorted_labels_of_resource_scope_and_point() -> None:
    """R1-2, R1-3, PO-13, PO-14."""
    point = counter("http.requests", (3, NOW_MS, {"Zone": "z", "http.route": "/"}), unit="1")
    resource = {"service.name": "shop", "service.instance.id": "i1", "host.name": "n1"}
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(point, resource=resource, scope="lib"))

    labels = {"Zone": "z", "http_route": "/", "instance": "i1", "job": "shop"}
    labels["otel_scope_name"] = "lib"
    assert {tuple(sorted(labels.items())): [(NOW_MS, 3.0)]} == receiver.named("http_requests_total")
    info = {"host_name": "n1", "instance": "i1", "job": "shop"}
    assert {tuple(sorted(info.items())): [(NOW_MS, 1.0)]} == receiver.named("target_info")


async def test_every_type_becomes_its_series() -> None:
    """PO-7, PO-8, PO-10."""
    metrics = (histogram("h", NOW_MS), exponential("e", NOW_MS), summary("s", NOW_MS))
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        assert await exporter.export(payload(*metrics)) is None

    assert {
        (("le", "1"),): [(NOW_MS, 1.0)],
        (("le", "2.5"),): [(NOW_MS, 3.0)],
        (("le", "+Inf"),): [(NOW_MS, 6.0)],
    } == receiver.named("h_bucket")
    assert {(): [(NOW_MS, 10.0)]} == receiver.named("h_sum")
    assert {(): [(NOW_MS, 6.0)]} == receiver.named("h_count")
    assert {
        (("quantile", "0.5"),): [(NOW_MS, 1.0)],
        (("quantile", "0.99"),): [(NOW_MS, 3.5)],
    } == receiver.named("s")
    assert {(): [(NOW_MS, 8.5)]} == receiver.named("s_sum")
    assert {(): [(NOW_MS, 4.0)]} == receiver.named("s_count")
    native = next(one for series in receiver.requests[0].timeseries for one in series.histograms)
    assert (9, 12.5, 2, 1) == (
        native.count_int, native.sum, native.schema, native.zero_count_int,
    )  # fmt: skip
    assert [(0, 1), (3, 1)] == [(span.offset, span.length) for span in native.positive_spans]
    assert [2, 3] == list(native.positive_deltas)
    assert [(4, 1)] == [(span.offset, span.length) for span in native.negative_spans]
    assert [1] == list(native.negative_deltas)
    assert NOW_MS == native.timestamp
    assert 1e-128 == native.zero_threshold


async def test_a_histogram_without_a_sum_has_no_series_of_it() -> None:
    """PO-7."""
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(histogram("h", NOW_MS, sum_=None)))

    assert {"h_bucket", "h_count"} == receiver.names


async def test_what_ends_is_marked_stale_and_nothing_else_is() -> None:
    """R1-7, PO-9: also the buckets and quantiles that the last point does not name."""
    first = (
        gauge("g", (1, NOW_MS), (math.nan, NOW_MS, {"a": "nan"})),
        histogram("h", NOW_MS),
        exponential("e", NOW_MS),
        summary("s", NOW_MS),
    )
    last = (
        gauge("g", (None, NOW_MS + 1)),
        histogram("h", NOW_MS + 1, is_stale=True),
        exponential("e", NOW_MS + 1, is_stale=True),
        summary("s", NOW_MS + 1, is_stale=True),
    )
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(*first))
        await exporter.export(payload(*last))

    (nan,) = receiver.named("g").pop((("a", "nan"),))
    assert math.isnan(nan[1])
    assert not is_stale(nan[1])
    for labels, samples in receiver.series.items():
        if dict(labels)["__name__"] in {"e", "g"}:
            continue
        assert [False, True] == [is_stale(value) for _, value in samples], labels
    assert is_stale(receiver.named("g")[()][-1][1])
    (end,) = [one for series in receiver.requests[1].timeseries for one in series.histograms]
    assert is_stale(end.sum)
    assert (0, 0) == (end.count_int, len(end.positive_spans))


async def test_deltas_are_counted_and_not_sent() -> None:
    """PO-6."""
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        result = await exporter.export(
            payload(
                counter("d", (1, NOW_MS), (2, NOW_MS), temporality=DELTA), gauge("g", (1, NOW_MS))
            )
        )

    assert ExportResult(0, "", DropReason.REJECTED, unsendable_items=2) == result
    assert {"g"} == receiver.names


async def test_names_of_which_nothing_is_left_are_counted_and_not_sent() -> None:
    """R1-3."""
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        result = await exporter.export(payload(gauge("", (1, NOW_MS)), gauge("ok", (1, NOW_MS))))

    assert result is not None
    assert 1 == result.unsendable_items
    assert {"ok"} == receiver.names


async def test_empty_values_are_no_labels_and_equal_ones_one() -> None:
    """R1-3, PO-12."""
    labels = {"empty": "", "a.b": "1", "a_b": "2", "job": ""}
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(gauge("g", (1, NOW_MS, labels))))

    assert {(("a_b", "1;2"),): [(NOW_MS, 1.0)]} == receiver.named("g")


async def test_a_series_that_comes_from_two_metrics_is_sent_once() -> None:
    """R1-3, R1-5: names that clean to the same."""
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        result = await exporter.export(
            payload(gauge("a.b", (1, NOW_MS)), gauge("a_b", (2, NOW_MS), (3, NOW_MS + 5)))
        )

    assert {(): [(NOW_MS, 1.0), (NOW_MS + 5, 3.0)]} == receiver.named("a_b")
    assert result is not None
    assert 1 == result.unsendable_items


async def test_samples_of_a_series_are_sorted_by_time() -> None:
    """R1-5."""
    times = (NOW_MS + 3, NOW_MS + 1, NOW_MS + 2, NOW_MS + 1)
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        result = await exporter.export(payload(gauge("g", *[(i, t) for i, t in enumerate(times)])))

    expected = [(NOW_MS + 1, 1.0), (NOW_MS + 2, 2.0), (NOW_MS + 3, 0.0)]
    assert {(): expected} == receiver.named("g")
    assert result is not None
    assert 1 == result.unsendable_items


@pytest.mark.parametrize(
    ("time_ms", "is_sent"),
    [(0, False), (1, True), (1 << 34, True), (NOW_MS + 599_000, True), (NOW_MS + 601_000, False),
     ((1 << 64) // 1_000_000 - 1, False)],
)  # fmt: skip
async def test_times_without_sense_do_not_freeze_a_series(time_ms: int, is_sent: bool) -> None:
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(gauge("g", (1, time_ms))))
        await exporter.export(payload(gauge("g", (2, NOW_MS + 600_000))))

    expected = [(time_ms, 1.0)] if is_sent else []
    assert [*expected, (NOW_MS + 600_000, 2.0)] == receiver.named("g")[()]


async def test_what_is_not_newer_than_what_arrived_is_not_sent() -> None:
    """R1-5, with the causes by which it is counted."""
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(gauge("g", (1, NOW_MS)), histogram("h", NOW_MS)))
        await exporter.export(payload(gauge("g", (1, NOW_MS)), histogram("h", NOW_MS)))
        await exporter.export(payload(gauge("g", (1, NOW_MS - 1)), histogram("h", NOW_MS - 1)))

    assert 1 == receiver.seen
    failed = "otelcol_exporter_prometheusremotewrite_failed_translations"
    meter = exporter._settings.meter
    assert 2 == meter.value(failed, cause="duplicate")
    assert 2 == meter.value(failed, cause="out_of_order")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 429])
async def test_failures_of_the_receiver_are_retryable(status: int) -> None:
    """R1-6, with what `Retry-After` says."""
    answer = Answer(status, b"later", (("retry-after", "7"),))
    async with receiving(lambda _: answer) as receiver, exporter_to(receiver.url) as exporter:
        with pytest.raises(RetryableError, match=f"{status}: later") as caught:
            await exporter.export(payload(gauge("g", (1, NOW_MS))))

    assert 7.0 == caught.value.retry_after_s


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 499, 301])
async def test_other_answers_are_final_and_counted_whole(status: int) -> None:
    """R1-6."""
    async with (
        receiving(lambda _: Answer(status, b"<html>no\x00such\nthing</html>")) as receiver,
        exporter_to(receiver.url) as exporter,
    ):
        with pytest.raises(
            PermanentError, match=f"{status}: <html>no\\?such thing</html>"
        ) as caught:
            await exporter.export(payload(gauge("g", (1, NOW_MS), (2, NOW_MS + 1))))

    assert not caught.value.is_bad_data  # or the core would send the rest once more
    assert DropReason.REJECTED is caught.value.reason
    assert 1 == receiver.seen


@pytest.mark.parametrize("body", [b"<html>", b"x" * (5 << 20)])
async def test_a_success_is_one_whatever_the_body_says(body: bytes) -> None:
    """R1-6."""
    async with (
        receiving(lambda _: Answer(200, body, (("content-type", "text/html"),))) as receiver,
        exporter_to(receiver.url) as exporter,
    ):
        assert await exporter.export(payload(gauge("g", (1, NOW_MS)))) is None


async def test_a_connection_that_ends_without_an_answer_is_retryable() -> None:
    async with receiving(lambda _: Close()) as receiver, exporter_to(receiver.url) as exporter:
        with pytest.raises(RetryableError):
            await exporter.export(payload(gauge("g", (1, NOW_MS))))


async def test_nobody_there_is_retryable() -> None:
    async with exporter_to(f"http://127.0.0.1:{free_port()}/write") as exporter:
        with pytest.raises(RetryableError, match="refused"):
            await exporter.export(payload(gauge("g", (1, NOW_MS))))


async def test_what_was_refused_can_be_sent_again() -> None:
    """Only what arrived counts for the order: a sender may come back with the same data."""
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        outcomes: list[Outcome] = [Answer(400), Answer(500), None]
        receiver.behave = outcomes.__getitem__
        for _ in outcomes:
            with contextlib.suppress(PermanentError, RetryableError):
                await exporter.export(payload(gauge("g", (1, NOW_MS))))

    assert {(): [(NOW_MS, 1.0)]} == receiver.named("g")


def many(count: int, time_ms: int = NOW_MS, samples: int = 1) -> Payload:
    points = [
        (index, time_ms + at, {"series": f"{index:05d}"})
        for index in range(count)
        for at in range(samples)
    ]
    return payload(gauge("many", *points))


async def test_requests_are_limited_in_size_and_go_out_in_parallel() -> None:
    async with receiving() as receiver:
        gate = asyncio.Event()
        receiver.behave = lambda _: Answer(500, slow_s=0.05)
        async with exporter_to(
            receiver.url, max_batch_size_bytes=2_000, sending_queue={"num_consumers": 3}
        ) as exporter:
            data = many(200)
            with pytest.raises(RetryableError):
                await exporter.export(data)
            receiver.behave = lambda _: None
            assert await exporter.export(data) is None
            gate.set()

    assert 3 == receiver.active_peak
    assert 200 == len(receiver.series)
    sizes = [request.ByteSize() for request in receiver.requests]
    assert max(sizes) <= 2_000
    assert len(sizes) <= sum(sizes) / 2_000 + 2


async def test_what_arrived_of_a_payload_is_not_sent_again() -> None:
    async with receiving() as receiver:
        receiver.behave = lambda index: Answer(503) if index == 2 else None
        async with exporter_to(
            receiver.url, max_batch_size_bytes=2_000, max_batch_request_parallelism=1
        ) as exporter:
            data = many(100)
            with pytest.raises(RetryableError):
                await exporter.export(data)
            assert 2 == len(receiver.requests)
            assert await exporter.export(data) is None

    assert (100, 0) == (len(receiver.series), receiver.repeated)


async def test_what_is_kept_for_the_next_attempt_is_in_the_memory_account() -> None:
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        memory = exporter._settings.memory
        for outcome, is_held in ((Answer(500), True), (Answer(400), False), (None, False)):
            outcomes: list[Outcome] = [outcome]
            receiver.behave = lambda _, outcomes=outcomes: outcomes[0]  # type: ignore[misc]  # no type
            with contextlib.suppress(PermanentError, RetryableError):
                await exporter.export(payload(gauge("g", (1, NOW_MS))))
            assert is_held == (memory.in_flight > 0)
        receiver.behave = lambda _: Answer(500)
        with pytest.raises(RetryableError):
            await exporter.export(payload(gauge("g", (2, NOW_MS + 1))))

    assert 0 == memory.in_flight


async def test_a_refused_part_is_counted_and_the_rest_arrives() -> None:
    async with receiving() as receiver:
        receiver.behave = lambda index: Answer(400, b"poison") if index == 1 else None
        async with exporter_to(
            receiver.url, max_batch_size_bytes=2_000, max_batch_request_parallelism=1
        ) as exporter:
            result = await exporter.export(many(100))

    assert result is not None
    assert "poison" in result.message
    assert 100 == result.rejected_items + len(receiver.series)
    assert (DropReason.REJECTED, 0) == (result.reason, result.unsendable_items)


async def test_a_series_with_too_many_samples_for_one_request_keeps_its_order() -> None:
    """R1-5."""
    async with (
        receiving() as receiver,
        exporter_to(receiver.url, max_batch_size_bytes=500) as exporter,
    ):
        assert await exporter.export(many(3, samples=100)) is None

    assert [] == receiver.refusals
    assert [100, 100, 100] == [len(samples) for samples in receiver.series.values()]
    assert max(request.ByteSize() for request in receiver.requests) <= 500


async def test_an_attempt_that_is_cancelled_goes_on_where_it_was() -> None:
    async with receiving() as receiver:
        receiver.behave = lambda index: Hang() if index == 1 else None
        async with exporter_to(
            receiver.url, max_batch_size_bytes=2_000, max_batch_request_parallelism=1
        ) as exporter:
            data = many(100)
            attempt = asyncio.get_running_loop().create_task(exporter.export(data))
            await wait_until(lambda: receiver.seen == 2)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            assert await exporter.export(data) is None

    assert (100, 0) == (len(receiver.series), receiver.repeated)


async def test_each_request_has_the_whole_time_and_an_attempt_as_many_as_it_needs() -> None:
    async with receiving() as receiver:
        receiver.behave = lambda index: Hang() if index == 20 else Slow(0.01)
        async with exporter_to(
            receiver.url,
            clock=SystemClock(),
            timeout="100ms",
            max_batch_size_bytes=200,
            max_batch_request_parallelism=2,
        ) as exporter:
            data = many(100)
            with pytest.raises(RetryableError, match="no answer within"):
                await exporter.export(data)
            assert await exporter.export(data) is None

    assert (100, 0) == (len(receiver.series), receiver.repeated)
    assert receiver.seen > 25


async def test_large_payloads_are_sent_in_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysops_exporters.prometheusremotewrite.stages.STAGE_SERIES", 1_000)
    wires = [wire(gauge(f"m{n}", *[(1, NOW_MS, {"i": i}) for i in range(600)])) for n in range(5)]
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        assert await exporter.export(Payload(Signal.METRICS, wires)) is None

    assert 3 == len(receiver.requests)
    assert 3_000 == len(receiver.series)


async def test_a_malformed_member_costs_only_itself() -> None:
    good = wire(gauge("g", (1, NOW_MS)))
    bad = b"\x0a\x04\x12\x02\xff\xff"
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(Payload(Signal.METRICS, [bad, good], items=2))

    assert {"g"} == receiver.names


async def test_external_labels_are_on_every_series_that_has_none_of_that_name() -> None:
    labels = {"replica": "r1", "site.name": "here"}
    data = payload(gauge("g", (1, NOW_MS, {"replica": "own"})), histogram("h", NOW_MS))
    async with (
        receiving() as receiver,
        exporter_to(receiver.url, external_labels=labels) as exporter,
    ):
        await exporter.export(data)

    assert {(("replica", "own"), ("site_name", "here"))} == set(receiver.named("g"))
    assert {(("replica", "r1"), ("site_name", "here"))} == set(receiver.named("h_count"))


async def test_metadata_is_sent_on_demand_once_a_minute() -> None:
    clock = JumpClock()
    async with (
        receiving() as receiver,
        exporter_to(receiver.url, clock=clock, send_metadata=True) as exporter,
    ):
        for later, wait_s in enumerate((0, 0, 0, 60)):
            await clock.advance(wait_s)
            metric = counter("c", (1, NOW_MS + later), unit="s", description="Says it")
            await exporter.export(payload(metric))

    said = [[(m.type, m.metric_family_name, m.help, m.unit) for m in request.metadata]
            for request in receiver.requests]  # fmt: skip
    one = [(1, "c_seconds_total", "Says it", "seconds")]
    assert [one, [], [], one] == said


async def test_no_metadata_unless_asked_for() -> None:
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        await exporter.export(payload(gauge("g", (1, NOW_MS))))

    assert [] == list(receiver.requests[0].metadata)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"namespace": "ns"}, {"ns_a_seconds_total", "target_info"}),
        ({"add_metric_suffixes": False}, {"a", "target_info"}),
        (
            {"translation_strategy": "UnderscoreEscapingWithoutSuffixes"},
            {"a", "target_info"},
        ),
        (
            {
                "add_metric_suffixes": False,
                "translation_strategy": "UnderscoreEscapingWithSuffixes",
            },
            {"a_seconds_total", "target_info"},
        ),
        ({"target_info": {"enabled": False}}, {"a_seconds_total"}),
    ],
)
async def test_names_are_as_configured(config: dict[str, Any], names: set[str]) -> None:
    data = payload(
        counter("a", (1, NOW_MS), unit="s"), resource={"service.name": "s", "host.name": "h"}
    )
    async with receiving() as receiver, exporter_to(receiver.url, **config) as exporter:
        await exporter.export(data)

    assert names == receiver.names


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({}, {"job": "s", "otel_scope_name": "lib"}),
        ({"disable_scope_info": True}, {"job": "s"}),
        (
            {"resource_to_telemetry_conversion": {"enabled": True}},
            {"job": "s", "otel_scope_name": "lib", "service_name": "s", "host_name": "h"},
        ),
        (
            {
                "resource_to_telemetry_conversion": {
                    "enabled": True,
                    "exclude_service_attributes": True,
                }
            },
            {"job": "s", "otel_scope_name": "lib", "host_name": "h"},
        ),
        (
            {"resource_constant_labels": {"excluded": ["service.nam?"]}},
            {"job": "s", "otel_scope_name": "lib", "host_name": "h"},
        ),
        (
            {"resource_constant_labels": {"included": ["service.*"]}},
            {"job": "s", "otel_scope_name": "lib", "service_name": "s"},
        ),
    ],
)
async def test_labels_are_as_configured(config: dict[str, Any], labels: dict[str, str]) -> None:
    data = payload(
        gauge("a", (1, NOW_MS)), resource={"service.name": "s", "host.name": "h"}, scope="lib"
    )
    async with receiving() as receiver, exporter_to(receiver.url, **config) as exporter:
        await exporter.export(data)

    assert {tuple(sorted(labels.items()))} == set(receiver.named("a"))


class Tenants:
    """An authenticator that says whose data it is, as the request did."""

    needs_tls = True

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    def apply(self, headers: MutableMapping[str, str], metadata: Metadata) -> None:
        headers["x-scope-orgid"] = metadata.headers["tenant"][0]
        headers["user-agent"] = "somebody else"


async def test_the_same_series_of_two_tenants_are_two_series() -> None:
    host = FakeHost({ComponentID.parse("tenants"): Tenants()})
    data = wire(gauge("g", (1, NOW_MS)))
    async with (
        receiving() as receiver,
        exporter_to(receiver.url, host, auth={"authenticator": "tenants"}) as exporter,
    ):
        for tenant in ("a", "b"):
            metadata = Metadata(headers={"tenant": (tenant,)})
            assert await exporter.export(Payload(Signal.METRICS, data, metadata)) is None

    assert ["a", "b"] == [headers["x-scope-orgid"] for headers in receiver.headers]
    assert all(headers["user-agent"].startswith("mlsysops") for headers in receiver.headers)


async def test_a_header_cannot_be_ended_early_by_data() -> None:
    host = FakeHost({ComponentID.parse("tenants"): Tenants()})
    metadata = Metadata(headers={"tenant": ("a\r\nx: y",)})
    async with exporter_to(
        "http://127.0.0.1:1/", host, auth={"authenticator": "tenants"}
    ) as exporter:
        with pytest.raises(PermanentError, match="line end"):
            await exporter.export(Payload(Signal.METRICS, wire(gauge("g", (1, NOW_MS))), metadata))


async def test_an_extension_that_does_not_authenticate_is_refused() -> None:
    host = FakeHost({ComponentID.parse("other"): object()})  # type: ignore[dict-item]  # on purpose
    with pytest.raises(ConfigError, match="does not authenticate"):
        await made("http://127.0.0.1:1/", host, auth={"authenticator": "other"}).start()


async def test_it_sends_over_tls_and_checks_the_certificate(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    async with receiving(tls=context) as receiver:
        url = f"https://localhost:{receiver.port}/write"
        async with exporter_to(url, tls={"ca_file": str(certificates.ca)}) as exporter:
            assert await exporter.export(payload(gauge("g", (1, NOW_MS)))) is None
        async with exporter_to(url) as exporter:
            with pytest.raises(RetryableError, match="certificate"):
                await exporter.export(payload(gauge("g", (1, NOW_MS))))

    assert {"g"} == receiver.names


async def test_too_many_series_are_named_by_the_label_that_makes_them(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsysops_exporters.prometheusremotewrite.GENERATION_BYTES", 50_000)
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        for turn in range(20):
            points = [(1, NOW_MS, {"request": turn * 100 + i, "zone": i % 3}) for i in range(100)]
            await exporter.export(payload(gauge("g", *points)))
        held = sum(map(len, exporter._latest.values()))

    assert "'request' has the most values" in caplog.text
    assert 2_000 == len(receiver.series)
    assert held < 2_000


async def test_a_label_set_of_ten_thousand_attributes_is_sent_as_it_is() -> None:
    labels = {f"k{index}": "v" * 10 for index in range(10_000)}
    async with receiving() as receiver, exporter_to(receiver.url) as exporter:
        assert await exporter.export(payload(gauge("g", (1, NOW_MS, labels)))) is None

    assert [10_001] == [len(labels) for labels in receiver.series]


async def test_exporting_before_the_start_is_an_error() -> None:
    with pytest.raises(PermanentError, match="not running"):
        await made("http://127.0.0.1:1/").export(payload(gauge("g", (1, NOW_MS))))


async def test_it_says_how_it_is() -> None:
    async with receiving() as receiver, exporter_to(receiver.url, clock=SystemClock()) as exporter:
        await exporter.export(payload(gauge("g", (1, NOW_MS))))

        assert "series=1" in repr(exporter)
        assert {"server.address": "127.0.0.1", "server.port": str(receiver.port)} == (
            exporter.telemetry_attributes
        )


def test_the_codes_that_waiting_senders_get() -> None:
    assert Code.INTERNAL is PermanentError("").code
    assert isinstance(Receiver().named("nothing"), dict)
