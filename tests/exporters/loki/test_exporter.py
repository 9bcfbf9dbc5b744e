"""The loki exporter against a Loki that takes nothing that its documentation forbids."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_exporters import loki as loki_exporter
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import ExportResult, Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.delivery.sender import Sender
from mlsysops_pipeline.errors import Code, DropReason, PermanentError, RetryableError
from mlsysops_pipeline.ledger import ExporterLedger
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, JumpClock, make_settings, wait_until
from mlsysops_pipeline.transport.compression import decompress
from tests.exporters.loki.fake import Answer, Entry, loki, read_labels
from tests.exporters.loki.otlp import T0, payload, put, record
from tests.exporters.test_otlp_http import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

INFO = '{exporter="OTLP", job="shop", level="INFO", service_name="shop"}'


@contextlib.asynccontextmanager
async def exporter_to(
    endpoint: str, host: Any = None, clock: Any = None, **config: Any
) -> AsyncIterator[Any]:
    exporter = loki_exporter.FACTORY.create(
        parse_config(loki_exporter.Config, {"endpoint": endpoint, **config}),
        make_settings(
            "loki",
            kind=Kind.EXPORTER,
            clock=clock or JumpClock(),
            host=host,
            signals=(Signal.LOGS,),
        ),
        None,
    )
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown()


async def sent(*payloads: Payload, **config: Any) -> dict[str, list[Entry]]:
    """What arrives of payloads that are taken whole."""
    async with loki() as server, exporter_to(server.url, **config) as exporter:
        for one in payloads:
            assert await exporter.export(one) is None
        assert exporter._settings.memory.in_flight == 0
    assert [] == server.refusals
    return server.streams


async def only(*records: LogRecord, **config: Any) -> tuple[dict[str, str], Entry]:
    """The labels and the entry of the one record that arrives."""
    ((labels, (entry,)),) = (await sent(payload(*records), **config)).items()
    return read_labels(labels), entry


# What a record becomes.


async def test_a_record_becomes_a_line_with_labels_and_structured_metadata() -> None:
    one = record("it works", request__id="r1", code=200, ok=True, ratio=0.5)
    one.severity_text = "information"
    one.trace_id, one.span_id = bytes(range(16)), bytes(range(8))
    one.flags, one.dropped_attributes_count = 1, 2
    where = {"service.name": "shop", "service.namespace": "eu", "service.instance.id": "i1"}
    where |= {"host.name": "node1"}

    streams = await sent(payload(one, resource=where, scope={"kind": "x"}))

    ((labels, entries),) = streams.items()
    assert {
        "exporter": "OTLP",
        "job": "eu/shop",
        "instance": "i1",
        "level": "INFO",
        "service_name": "shop",
        "service_namespace": "eu",
        "service_instance_id": "i1",
    } == read_labels(labels)
    assert [
        Entry(
            T0,
            "it works",
            {
                "severity_number": "9",
                "severity_text": "information",
                "trace_id": "000102030405060708090a0b0c0d0e0f",
                "span_id": "0001020304050607",
                "flags": "1",
                "dropped_attributes_count": "2",
                "request_id": "r1",
                "code": "200",
                "ok": "true",
                "ratio": "0.5",
                "scope_name": "lib",
                "scope_version": "1.2",
                "kind": "x",
                "host_name": "node1",
            },
        )
    ] == entries


async def test_what_was_seen_before_comes_out_the_same() -> None:
    one = record(a="1", b={"c": "d"}, n=3)

    streams = await sent(payload(one), payload(one), payload(one, record(a="2")))

    first, second, third, fourth = streams[INFO]
    assert first == second == third
    assert {"severity_number": "9", "a": "1", "b_c": "d", "n": "3"} == first.metadata
    assert {"severity_number": "9", "a": "2"} == fourth.metadata


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("", ""),
        ("ünïcode 🚀", "ünïcode 🚀"),
        ("x" * 126, "x" * 126),
        ("x" * 127, "x" * 127),
        ("x" * 16_384, "x" * 16_384),
        (True, "true"),
        (-5, "-5"),
        (1.0, "1"),
        (b"\x00\xff", "AP8="),
        ({"b": 1, "a": [True, "x", {"y": None}]}, '{"a":[true,"x",{"y":null}],"b":1}'),
        ([], "[]"),
        (None, ""),
    ],
)
async def test_the_line_is_the_body(body: Any, line: str) -> None:
    one = record()
    one.ClearField("body")
    put(one.body, body)

    _, entry = await only(one)

    assert line == entry.line


async def test_text_that_is_no_utf8_does_not_spoil_the_request() -> None:
    wire = payload(record("bad: AAAA", key="bad: BBBB", CCCC="x"), record("good")).joined()
    for mark in (b"AAAA", b"BBBB", b"CCCC"):
        wire = wire.replace(mark, b"\xff\xfe\xc3\x28")

    streams = await sent(Payload(Signal.LOGS, wire))

    bad, good = streams[INFO]
    assert "good" == good.line
    assert "bad: \ufffd\ufffd\ufffd(" == bad.line
    assert "bad: \ufffd\ufffd\ufffd(" == bad.metadata["key"]


@pytest.mark.parametrize("at", [T0, T0 + 5, T0 + 999_999_999, 1, 2**64 - 1])
async def test_the_time_is_the_records(at: int) -> None:
    _, entry = await only(record(at=at))

    assert at == entry.time_ns


async def test_without_a_time_it_is_when_the_record_was_observed_else_now() -> None:
    observed, none = record("observed", at=0), record("none", at=0)
    observed.observed_time_unix_nano = T0 + 7
    clock = JumpClock()

    streams = await sent(payload(observed, none), clock=clock)

    assert [T0 + 7, clock.unix_ns()] == [entry.time_ns for entry in streams[INFO]]


@pytest.mark.parametrize(
    ("number", "level"), [(1, "TRACE"), (6, "DEBUG2"), (16, "WARN4"), (17, "ERROR"), (24, "FATAL4")]
)
async def test_severities_are_levels(number: int, level: str) -> None:
    labels, entry = await only(record(severity=number))

    assert level == labels["level"]
    assert str(number) == entry.metadata["severity_number"]


async def test_the_attribute_level_is_the_level_and_no_severity_is_none() -> None:
    labels, entry = await only(record(level="chatty", other="x"))
    assert "chatty" == labels["level"]
    assert {"severity_number": "9", "other": "x"} == entry.metadata

    labels, entry = await only(record(severity=0))
    assert "level" not in labels
    assert {} == entry.metadata


async def test_attributes_with_the_same_name_in_loki_do_not_repeat() -> None:
    """What is nearer to the record counts, and what was kept of earlier records is forgotten."""
    first = payload(record("first", host__name="a", trace_id="mine"))
    clash = record("second", host__name="b", host_name="c", trace_id="mine")
    clash.trace_id = bytes(range(16))
    second = payload(clash, resource={"service.name": "shop", "host.name": "node", "flags": "f"})
    third = payload(record("third", host__name="a"), scope={"host-name": "scope", "flags": 3})

    streams = await sent(first, second, third, first)

    one, two, three, four = streams[INFO]
    assert one == four
    assert "a" == one.metadata["host_name"]
    assert "mine" == one.metadata["trace_id"]
    assert "b" == two.metadata["host_name"]
    assert bytes(range(16)).hex() == two.metadata["trace_id"]
    assert "f" == two.metadata["flags"]
    assert "a" == three.metadata["host_name"]


# Labels.


async def test_default_labels_can_be_switched_off() -> None:
    off = dict.fromkeys(("exporter", "job", "instance", "level"), False)

    labels, entry = await only(record(level="x"), default_labels_enabled=off)

    assert {"service_name": "shop"} == labels
    assert {"severity_number": "9", "level": "x"} == entry.metadata


async def test_a_stream_without_labels_is_one_of_an_unknown_service() -> None:
    off = dict.fromkeys(("exporter", "job", "instance", "level"), False)

    labels, entry = await only(record(), default_labels_enabled=off, labels={"resource": {}})

    assert {"service_name": "unknown_service"} == labels
    assert "shop" == entry.metadata.get("service_name")


async def test_labels_are_those_that_are_configured() -> None:
    chosen = {"resource": {"host.name": "node"}, "attributes": {"http.route": "", "9lives": "cat"}}
    one = record(http__route="/", other="x", more={"9lives": 9})
    where = {"service.name": "shop", "host.name": "n1", "k8s.pod.name": "p"}

    ((labels, entries),) = (await sent(payload(one, resource=where), labels=chosen)).items()

    assert {
        "exporter": "OTLP",
        "job": "shop",
        "level": "INFO",
        "node": "n1",
        "http_route": "/",
        "cat": "9",
    } == read_labels(labels)
    metadata = {"severity_number": "9", "other": "x", "service_name": "shop", "k8s_pod_name": "p"}
    assert metadata == entries[0].metadata


async def test_values_of_labels_are_quoted() -> None:
    value = 'say "hi" \\ to\nall\tof ünï\x00'

    labels, _ = await only(record(a=value), labels={"attributes": {"a": ""}})

    assert value == labels["a"]


async def test_labels_that_are_too_many_or_too_long_become_metadata() -> None:
    many = {f"key{number:02}": str(number) for number in range(20)}
    chosen = {"resource": {}, "attributes": dict.fromkeys(many, "")}

    labels, entry = await only(record(more=many, big="x"), labels=chosen)
    assert 15 == len(labels)
    assert "INFO" == labels["level"]
    assert many | {"big": "x"} == {
        name: text
        for name, text in (labels | entry.metadata).items()
        if name.startswith(("key", "big"))
    }

    labels, entry = await only(
        record(a="x" * 3000, b=""), labels={"attributes": {"a": "", "b": ""}}
    )
    assert not {"a", "b"} & set(labels)
    assert "x" * 3000 == entry.metadata["a"]


async def test_hints_choose_labels_and_are_not_sent() -> None:
    one = record(
        event__domain="web",
        event__name="click",
        nested={"inner": {"deep": "down"}},
        loki__attribute__labels="event.domain, nested.inner.deep,missing",
        loki__resource__labels="host.name",
    )
    where = {
        "service.name": "shop",
        "host.name": "n1",
        "zone": "z",
        "loki.resource.labels": ["zone"],
    }

    ((labels, entries),) = (await sent(payload(one, resource=where))).items()

    assert read_labels(INFO) | {
        "event_domain": "web",
        "nested_inner_deep": "down",
        "host_name": "n1",
        "zone": "z",
    } == read_labels(labels)
    metadata = entries[0].metadata
    assert "click" == metadata["event_name"]
    assert not {"event_domain", "zone", "loki_attribute_labels"} & set(metadata)


# Formats of lines.


async def test_a_line_of_json_is_the_collectors() -> None:
    one = record("hi <b>", status=200, nested={"b": 1, "a": None})
    one.severity_text = "info"
    one.trace_id, one.span_id, one.flags = bytes(range(16)), bytes(range(8)), 1
    where = {"service.name": "shop", "host.name": "n1"}

    streams = await sent(payload(one, resource=where, scope={"a": "b"}), format="json")

    ((entry,),) = streams.values()
    assert entry.line == (
        '{"body":"hi \\u003cb\\u003e","traceid":"000102030405060708090a0b0c0d0e0f",'
        '"spanid":"0001020304050607","severity":"info","flags":1,'
        '"attributes":{"nested":{"a":null,"b":1},"status":200},'
        '"resources":{"host.name":"n1","service.name":"shop"},'
        '"instrumentation_scope":{"name":"lib","version":"1.2"}}'
    )
    assert {} == entry.metadata


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ("plain text", 'msg="plain text"'),
        ('a=1 b="x y" c=', 'a=1 b="x y" c='),
        ("", 'msg=""'),
        ({"k": "v", "n": {"m": 1}}, "k=v n_m=1"),
        (["x", 2], "body_0=x body_1=2"),
        (7, "msg=7"),
        (None, ""),
    ],
)
async def test_a_line_of_logfmt_has_everything(body: Any, start: str) -> None:
    one = record(more={"a b": 'say "x"'})
    one.ClearField("body")
    put(one.body, body)
    one.severity_text = "info"

    _, entry = await only(one, format="logfmt")

    rest = 'severity=info attribute_a_b="say \\"x\\"" resource_service.name=shop'
    assert f"{start} {rest}".strip() == entry.line


async def test_the_hint_loki_format_chooses_for_a_record_or_a_resource() -> None:
    by_record = payload(
        record("x", loki__format="logfmt"), record("y"), record("z", loki__format="?")
    )
    by_resource = payload(record("x"), resource={"service.name": "shop", "loki.format": "json"})

    streams = await sent(by_record, by_resource)

    assert [
        "msg=x resource_service.name=shop",
        "y",
        "z",
        '{"body":"x","resources":{"service.name":"shop"}}',
    ] == [entry.line for entry in streams[INFO]]


# Tenants and headers.


async def test_each_tenant_gets_a_request_of_its_own() -> None:
    where = {"service.name": "shop", "loki.tenant": "team", "team": "blue"}
    by_record = payload(
        record("a", loki__tenant="org", org="red"), record("b"), record("c", loki__tenant="none")
    )
    async with (
        loki() as server,
        exporter_to(server.url, headers={"X-Scope-OrgID": "default"}) as exporter,
    ):
        assert await exporter.export(payload(record("d"), resource=where)) is None
        assert await exporter.export(by_record) is None

    lines = {
        tenant: [entry.line for entries in streams.values() for entry in entries]
        for tenant, streams in server.tenants.items()
    }
    assert {"blue": ["d"], "red": ["a"], "default": ["b", "c"]} == lines
    ((labels, _),) = server.tenants["blue"].items()
    assert "blue" == read_labels(labels)["team"]


async def test_a_tenant_that_can_be_no_header_costs_only_its_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = payload(record("a", loki__tenant="org", org="x\r\nAuthorization: me"), record("b"))
    async with loki() as server, exporter_to(server.url) as exporter:
        result = await exporter.export(bad)

    assert ExportResult(0, "", DropReason.REJECTED, 1) == result
    assert ["b"] == server.lines
    assert "can be no tenant" in caplog.text


async def test_headers_are_those_of_the_protocol_and_the_configured_ones() -> None:
    own = {"Content-Type": "text/plain", "X-Own": "1"}
    async with loki() as server, exporter_to(server.url + "/x/push", headers=own) as exporter:
        assert await exporter.export(payload(record())) is None

    (headers,) = server.headers
    assert ["/x/push"] == server.targets
    assert "1" == headers["x-own"]
    assert headers["user-agent"].startswith("mlsysops-collector/")
    assert [] == server.refusals


# Order, retries and refusals.


async def test_a_large_payload_is_several_requests_and_no_stream_is_in_two_at_a_time() -> None:
    records = [
        record(f"{number:06}" * 20, at=T0 + number, part=str(number % 4)) for number in range(2_000)
    ]
    async with loki() as server:
        server.slow_s = 0.001
        config = {"max_batch_size_bytes": 20_000, "labels": {"attributes": {"part": ""}}}
        async with exporter_to(server.url, clock=SystemClock(), **config) as exporter:
            assert await exporter.export(payload(*records)) is None

    assert 4 == len(server.streams)
    for entries in server.streams.values():
        assert 500 == len(entries)
        assert sorted(entries) == entries
    assert max(map(len, server.bodies)) <= 20_000
    assert 1 < server.active_peak <= 4


async def test_an_entry_above_the_limit_goes_alone() -> None:
    records = [record("small"), record("x" * 50_000), record("small")]
    async with loki() as server, exporter_to(server.url, max_batch_size_bytes=10_000) as exporter:
        assert await exporter.export(payload(*records)) is None

    assert [1, 1, 1] == [body.count(b"severity_number") for body in server.bodies]
    assert ["small", "x" * 50_000, "small"] == server.lines


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_succeed_later_is_retryable_and_not_sent_twice(status: int) -> None:
    second = Answer(status, b"busy", "retry-after: 7\r\n")
    records = [record("x" * 900, at=T0 + number) for number in range(30)]
    async with (
        loki(lambda number: second if number == 1 else None) as server,
        exporter_to(server.url, max_batch_size_bytes=10_000) as exporter,
    ):
        one = payload(*records)
        with pytest.raises(RetryableError, match=f"{status}: busy") as caught:
            await exporter.export(one)
        assert 7 == caught.value.retry_after_s
        assert exporter._settings.memory.in_flight > 0
        assert await exporter.export(one) is None
        assert exporter._settings.memory.in_flight == 0

    (entries,) = server.streams.values()
    assert [entry.time_ns for entry in entries] == [T0 + number for number in range(30)]


async def test_no_answer_at_all_is_retryable() -> None:
    async with loki(lambda _: Answer(0)) as server, exporter_to(server.url) as exporter:
        with pytest.raises(RetryableError, match="failed to make an HTTP request"):
            await exporter.export(payload(record()))
    async with exporter_to(server.url) as exporter:
        with pytest.raises(RetryableError, match="cannot connect"):
            await exporter.export(payload(record()))


async def test_what_loki_refuses_is_final_and_says_why() -> None:
    why = b"entry with timestamp 2023 ignored, reason: 'entry too far behind'"
    async with loki(lambda _: Answer(400, why)) as server, exporter_to(server.url) as exporter:
        with pytest.raises(PermanentError, match="400: entry with timestamp") as caught:
            await exporter.export(payload(record()))

    assert DropReason.REJECTED is caught.value.reason
    assert not caught.value.is_bad_data


async def test_a_refused_part_is_counted_and_the_rest_arrives() -> None:
    records = [record("x" * 900, at=T0 + number) for number in range(30)]
    async with (
        loki(lambda number: Answer(400, b"old") if number == 0 else None) as server,
        exporter_to(server.url, max_batch_size_bytes=10_000) as exporter,
    ):
        result = await exporter.export(payload(*records))

    assert result is not None
    assert DropReason.REJECTED is result.reason
    assert "Loki returned HTTP status 400: old" == result.message
    assert 30 == result.rejected_items + len(server.lines)


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, Code.UNAUTHENTICATED), (404, Code.UNIMPLEMENTED), (413, Code.RESOURCE_EXHAUSTED)],
)
async def test_other_answers_are_final_with_a_code(status: int, code: Code) -> None:
    async with loki(lambda _: Answer(status)) as server, exporter_to(server.url) as exporter:
        with pytest.raises(PermanentError, match="it does not say why") as caught:
            await exporter.export(payload(record()))
    assert code is caught.value.code


async def test_malformed_records_and_members_cost_only_themselves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, bad = record("good", a="1"), record("bad")
    bad.attributes.add(key="x").value.string_value = "MARKS"
    wire = payload(bad, good).joined().replace(b"\x0a\x05MARKS", b"\x0f\x05MARKS")
    both = Payload(Signal.LOGS, [wire, payload(good).joined()])

    async with loki() as server, exporter_to(server.url) as exporter:
        result = await exporter.export(both)

    assert ExportResult(0, "", DropReason.REJECTED, 1) == result
    assert ["good", "good"] == server.lines
    assert "dropped a record that cannot be read: no attribute" in caplog.text


async def test_order_holds_with_many_senders_and_failures_in_between() -> None:
    """One payload at a time, whatever `num_consumers` says, and each until it has arrived."""
    config = parse_config(
        loki_exporter.Config,
        {
            "endpoint": "http://127.0.0.1:1",
            "sending_queue": {"num_consumers": 8, "batch": {"min_size": 1}},
            "retry_on_failure": {"initial_interval": "1ms", "max_interval": "2ms"},
        },
    )
    async with (
        loki(lambda number: Answer(503) if number % 3 == 1 else None) as server,
        exporter_to(server.url, clock=SystemClock()) as exporter,
    ):
        sender = Sender(exporter, config, exporter._settings, Signal.LOGS, ExporterLedger())
        await sender.start()
        for number in range(60):
            await sender.consume(payload(record(str(number), at=T0 + number)))
        await wait_until(lambda: 60 == sender.ledger.sent)
        await sender.shutdown(5.0)

    assert list(map(str, range(60))) == server.lines


async def test_without_a_queue_senders_still_take_turns() -> None:
    async with loki() as server:
        server.slow_s = 0.002
        async with exporter_to(server.url, clock=SystemClock()) as exporter:
            payloads = [payload(record(str(number))) for number in range(5)]
            await asyncio.gather(*[exporter.export(one) for one in payloads])

    assert list("01234") == server.lines
    assert 1 == server.active_peak


async def test_before_start_and_after_the_end_nothing_is_taken() -> None:
    async with exporter_to("http://127.0.0.1:1") as exporter:
        pass
    with pytest.raises(PermanentError, match="not running"):
        await exporter.export(payload(record()))
    assert 0 == exporter._settings.memory.in_flight


async def test_a_header_that_came_with_the_data_cannot_end_early() -> None:
    class Signer:
        needs_tls = True

        async def start(self) -> None:
            pass

        async def shutdown(self) -> None:
            pass

        def apply(self, headers: Any, metadata: Metadata) -> None:
            headers["x-scope-orgid"] = metadata.headers["tenant"][0]

    from mlsysops_pipeline.component import ComponentID

    host = FakeHost({ComponentID.parse("headers_setter"): Signer()})
    async with loki() as server:
        auth = {"authenticator": "headers_setter"}
        async with exporter_to(server.url, host, auth=auth) as exporter:
            good = payload(record("a"), metadata=Metadata(headers={"tenant": ("red",)}))
            assert await exporter.export(good) is None
            bad = payload(record(), metadata=Metadata(headers={"tenant": ("a\r\nb: c",)}))
            with pytest.raises(PermanentError, match="line end"):
                await exporter.export(bad)

    assert ["red"] == list(server.tenants)


# OTLP.


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/otlp", "/otlp/v1/logs"),
        ("/otlp/", "/otlp/v1/logs"),
        ("/otlp/v1/logs", "/otlp/v1/logs"),
        ("/insert/opentelemetry/v1/logs", "/insert/opentelemetry/v1/logs"),
    ],
)
async def test_an_endpoint_of_otlp_gets_otlp(path: str, target: str) -> None:
    one = payload(record("hello"))
    headers = {"X-Scope-OrgID": "red"}
    async with web() as site, exporter_to(site.url + path, headers=headers) as exporter:
        assert await exporter.export(one) is None

    (request,) = site.requests
    assert target == request.target
    assert one.joined() == decompress("gzip", request.body, 1 << 20)
    assert "red" == request.headers["x-scope-orgid"]


def test_the_repr_tells_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = parse_config(loki_exporter.Config, {"endpoint": "http://loki:3100"})
    exporter = loki_exporter.LokiExporter(config, make_settings("loki", kind=Kind.EXPORTER))

    assert "http://loki:3100/loki/api/v1/push" in repr(exporter)
