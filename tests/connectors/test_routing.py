"""The routing connector (components, D1): what goes where, and what is not lost on the way."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline import Collector
from mlsysops_pipeline.component import Kind, PipelineID
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.connectors.routing import FACTORY, RoutingConnector
from mlsysops_pipeline.connectors.routing.config import Config
from mlsysops_pipeline.errors import (
    Code,
    ConfigError,
    DropReason,
    PermanentError,
    RetryableError,
)
from mlsysops_pipeline.pdata import views
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_payload, make_settings, make_wire
from tests.core.pdata.wires import OFFICIAL, WireMaker, canonical, field, leaves

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)
CONTEXT = {Signal.METRICS: "datapoint", Signal.LOGS: "log", Signal.TRACES: "span"}


class Rig:
    """A connector between sinks, which are named as the pipelines are."""

    def __init__(self, signal: Signal, *table: dict[str, Any], default: str = "") -> None:
        names = dict.fromkeys(["a", "b", "c", "rest"])
        self.sinks = {name: Sink() for name in names}
        self.settings = make_settings("routing", kind=Kind.CONNECTOR)
        rows = [
            {**row, "pipelines": [f"{signal}/{name}" for name in row["pipelines"]]} for row in table
        ]
        config: dict[str, Any] = {"table": rows}
        if default:
            config["default_pipelines"] = [f"{signal}/{default}"]
        entries = {PipelineID(signal, name): sink for name, sink in self.sinks.items()}
        made = FACTORY.create(parse_config(Config, config), self.settings, entries)
        assert isinstance(made, RoutingConnector)
        self.connector = made

    @property
    def items(self) -> dict[str, int]:
        return {name: sink.items for name, sink in self.sinks.items() if sink.items}


def by_service(number: int, *pipelines: str, action: str = "move") -> dict[str, Any]:
    condition = f'attributes["service.name"] == "service-{number}"'
    return {"condition": condition, "pipelines": pipelines, "action": action}


def mixed(signal: Signal, *counts: int) -> Payload:
    """A request of several resources; the number of items of each is given."""
    wire = b"".join(make_wire(signal, count, seed=seed) for seed, count in enumerate(counts))
    return Payload(signal, wire)


@EVERY
async def test_the_first_row_that_moves_wins_and_the_rest_goes_to_the_default(
    signal: Signal,
) -> None:
    rig = Rig(signal, by_service(0, "a"), by_service(0, "b"), by_service(1, "b"), default="rest")

    await rig.connector.consume(mixed(signal, 1, 2, 4))

    assert {"a": 1, "b": 2, "rest": 4} == rig.items
    assert (7, 7, 0, 0) == (
        rig.connector.ledger.received,
        rig.connector.ledger.handed_on,
        rig.connector.ledger.created,
        rig.connector.ledger.imbalance,
    )


async def test_a_copy_stays_for_later_rows_and_for_the_default() -> None:
    rig = Rig(
        Signal.LOGS,
        by_service(0, "a", action="copy"),
        by_service(0, "b", action="COPY"),
        default="rest",
    )

    await rig.connector.consume(mixed(Signal.LOGS, 1, 2))

    assert {"a": 1, "b": 1, "rest": 3} == rig.items
    assert (3, 5, 2) == (
        rig.connector.ledger.received,
        rig.connector.ledger.handed_on,
        rig.connector.ledger.created,
    )


async def test_a_row_may_lead_to_several_pipelines() -> None:
    rig = Rig(Signal.LOGS, by_service(0, "a", "b"))

    await rig.connector.consume(mixed(Signal.LOGS, 2))

    assert {"a": 2, "b": 2} == rig.items
    assert 0 == rig.connector.ledger.imbalance


async def test_what_has_no_route_is_dropped_and_counted() -> None:
    rig = Rig(Signal.LOGS, by_service(0, "a"))
    await rig.connector.consume(mixed(Signal.LOGS, 1, 2))
    await rig.connector.consume(Payload(Signal.LOGS, make_wire(Signal.LOGS, 4, seed=5)))

    assert {"a": 1} == rig.items
    assert {DropReason.NO_ROUTE: 6} == rig.connector.ledger.dropped
    assert 0 == rig.connector.ledger.imbalance
    assert 6 == rig.settings.meter.value(
        "mlsysops_connector_dropped_items", connector="routing", reason="no_route"
    )
    assert 7 == rig.settings.meter.value("mlsysops_connector_received_items")
    assert 1 == rig.settings.meter.value("mlsysops_connector_handed_on_items")


@EVERY
async def test_a_payload_that_goes_one_way_is_not_touched(signal: Signal) -> None:
    item_row = {
        "context": CONTEXT[signal],
        "condition": 'attributes["key.0"] != nil',
        "pipelines": ["a"],
    }
    for row in (by_service(0, "a"), item_row):
        rig = Rig(signal, row)
        payload = make_payload(signal, 3)
        assert None is rig.connector.accept_now(payload) or row
        await rig.connector.consume(payload)
        assert rig.sinks["a"].payloads[-1] is payload


async def test_routing_by_resource_opens_nothing_below_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(Signal.METRICS, by_service(0, "a"), default="rest")

    def refuse(*_: object) -> None:
        raise AssertionError("a request was opened")

    monkeypatch.setattr(views, "parse", refuse)
    monkeypatch.setattr("mlsysops_pipeline.pdata.sieve.parse", refuse)
    # A scope group that is no message, which nobody notices who does not look.
    resource = field(1, field(1, field(1, b"service.name") + field(2, field(1, b"service-0"))))
    payload = Payload(Signal.METRICS, field(1, resource + field(2, b"\xff")), items=0)
    await rig.connector.consume(payload)

    assert [payload] == rig.sinks["a"].payloads


@EVERY
async def test_items_are_chosen_one_by_one(signal: Signal) -> None:
    rig = Rig(
        signal,
        {
            "context": CONTEXT[signal],
            "condition": 'attributes["key.0"] == "value-1-0"',
            "pipelines": ["a"],
        },
        {
            "condition": f'IsMatch({CONTEXT[signal]}.attributes["key.0"], "^value-[23]-0$")'
            ' and resource.attributes["service.name"] == "service-0"',
            "pipelines": ["b"],
        },
        default="rest",
    )

    await rig.connector.consume(mixed(signal, 5, 3))

    # Indices 1 of both, 2 and 3 of the first resource only; the others remain.
    assert {"a": 2, "b": 2, "rest": 4} == rig.items
    assert 0 == rig.connector.ledger.created


async def test_metrics_are_chosen_by_name() -> None:
    rig = Rig(
        Signal.METRICS,
        {"condition": 'metric.name == "test.metric.1"', "pipelines": ["a"]},
        {"context": "metric", "statement": 'route() where name == "x"', "pipelines": ["b"]},
        default="rest",
    )

    await rig.connector.consume(make_payload(Signal.METRICS, 25))

    assert {"a": 10, "rest": 15} == rig.items


async def test_spans_are_chosen_by_name() -> None:
    rig = Rig(
        Signal.TRACES, {"condition": 'span.name == "span 1"', "pipelines": ["a"]}, default="rest"
    )
    await rig.connector.consume(make_payload(Signal.TRACES, 4))
    assert {"a": 1, "rest": 3} == rig.items


@pytest.mark.parametrize("context", ["request", ""])
async def test_headers_of_the_sender_can_choose(context: str) -> None:
    rig = Rig(
        Signal.LOGS,
        {"context": context, "condition": 'request["X-Tenant"] == "acme"', "pipelines": ["a"]},
        default="rest",
    )
    for tenants in (("acme",), ("other",), ()):
        headers = {"x-tenant": tenants}
        await rig.connector.consume(
            make_payload(Signal.LOGS, 1, metadata=Metadata(headers=headers))
        )
    assert {"a": 1, "rest": 2} == rig.items


async def test_what_is_remembered_of_a_resource_does_not_hide_the_headers() -> None:
    rig = Rig(
        Signal.LOGS,
        {
            "condition": 'resource.attributes["host.name"] == "node" and request["t"] == "x"',
            "pipelines": ["a"],
        },
        default="rest",
    )
    for tenant in ("x", "y", "x"):
        metadata = Metadata(headers={"t": (tenant,)})
        await rig.connector.consume(make_payload(Signal.LOGS, 1, metadata=metadata))
    assert {"a": 2, "rest": 1} == rig.items


async def test_one_connector_serves_several_signals_by_their_own_rows() -> None:
    sinks = {PipelineID.parse(name): Sink() for name in ("logs", "traces", "traces/rest")}
    rows = [by_service(0, "logs", "traces")]
    config = parse_config(Config, {"table": rows, "default_pipelines": ["traces/rest"]})
    connector = FACTORY.create(config, make_settings("routing", kind=Kind.CONNECTOR), sinks)

    await connector.consume(mixed(Signal.LOGS, 1, 1))
    await connector.consume(mixed(Signal.TRACES, 1, 2))
    await connector.consume(mixed(Signal.METRICS, 2))

    assert [1, 1, 2] == [sink.items for sink in sinks.values()]
    assert {DropReason.NO_ROUTE: 3} == connector.ledger.dropped


async def test_a_refusal_goes_back_after_every_other_part_was_given() -> None:
    rig = Rig(Signal.LOGS, by_service(0, "a"), default="rest")
    rig.sinks["a"].error = RetryableError("later", retry_after_s=2.0)

    with pytest.raises(RetryableError) as raised:
        await rig.connector.consume(mixed(Signal.LOGS, 1, 2))

    assert 2.0 == raised.value.retry_after_s
    assert {"rest": 2} == rig.items
    assert 0 == rig.connector.ledger.received


@pytest.mark.parametrize("row", [by_service(0, "a"), {**by_service(0, "a"), "context": "log"}])
async def test_malformed_data_is_refused_alone_and_left_out_among_others(
    row: dict[str, Any],
) -> None:
    bad = field(1, field(1, field(1, b"\x0a\x05x")) + field(2, field(2, field(6, b"\x0a\x05x"))))
    rig = Rig(Signal.LOGS, row, default="rest")

    with pytest.raises(PermanentError) as raised:
        await rig.connector.consume(Payload(Signal.LOGS, bad))
    assert Code.INVALID_ARGUMENT == raised.value.code

    await rig.connector.consume(Payload(Signal.LOGS, [bad, make_wire(Signal.LOGS, 2)]))
    assert 2 == sum(rig.items.values())
    assert {DropReason.MALFORMED: 1} == rig.connector.ledger.dropped
    assert 0 == rig.connector.ledger.imbalance


@EVERY
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_every_leaf_of_any_request_arrives_once(signal: Signal, seed: int) -> None:
    wire = WireMaker(seed).request(signal)
    for row in (
        {"condition": 'attributes["a"] != nil', "pipelines": ["a"]},
        {"context": CONTEXT[signal], "condition": 'attributes["a"] == nil', "pipelines": ["a"]},
    ):
        rig = Rig(signal, row, default="rest")
        await rig.connector.consume(Payload(signal, wire))
        parts = [payload.joined() for s in rig.sinks.values() for payload in s.payloads]

        full = 5 if signal is Signal.METRICS else 4
        whole = Counter(leaf for leaf in leaves(signal, wire) if len(leaf) == full)
        found = Counter(
            leaf for part in parts for leaf in leaves(signal, part) if len(leaf) == full
        )
        assert whole == found
        for payload in rig.sinks["a"].payloads if "context" not in row else ():
            for group in OFFICIAL[signal].FromString(payload.joined()).ListFields()[0][1]:
                keys = {pair.key: pair.value for pair in reversed(group.resource.attributes)}
                assert keys["a"].WhichOneof("value") is not None
        assert all(canonical(signal, part) is not None for part in parts)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "invalid routing table: the routing table is empty"),
        ({"table": [{"condition": "true"}]}, "invalid route: no pipelines defined"),
        (
            {"table": [{"pipelines": ["logs"]}]},
            "invalid route: no condition or statement provided",
        ),
        (
            {"table": [{"pipelines": ["logs"], "condition": "true", "statement": "route()"}]},
            "invalid route: both condition and statement provided",
        ),
        (
            {"table": [{"pipelines": ["logs"], "condition": "true", "context": "row"}]},
            "invalid context: row",
        ),
        (
            {"table": [{"pipelines": ["logs"], "statement": "route()", "context": "request"}]},
            "\"request\" context requires a 'condition'",
        ),
        (
            {"table": [{"pipelines": ["logs"], "statement": 'delete_key(attributes, "a")'}]},
            "are supported as statements",
        ),
        ({"table": [{"pipelines": ["logs"], "condition": "body == 1"}]}, "supported are"),
        (
            {"table": [{"pipelines": ["logs"], "condition": "true", "action": "keep"}]},
            r"table\[0\]\.action",
        ),
        ({"match_once": False, "table": []}, "match_once"),
    ],
)
def test_a_table_that_cannot_work_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, config)


def test_pipelines_must_begin_with_it() -> None:
    rows = [by_service(0, "logs", "logs/absent")]
    entries = {PipelineID(Signal.LOGS): Sink()}
    config = parse_config(Config, {"table": rows, "default_pipelines": ["metrics"]})
    with pytest.raises(ConfigError) as raised:
        FACTORY.create(config, make_settings("routing", kind=Kind.CONNECTOR), entries)

    text = str(raised.value)
    assert 'pipeline "logs/absent" does not have this connector as a receiver' in text
    assert 'pipeline "metrics" does not have' in text


def test_pipelines_must_have_the_contexts_signal() -> None:
    row = {"condition": 'log.attributes["a"] == 1', "pipelines": ["logs", "traces"]}
    message = r'pipelines\[1\]: the context log does not exist in pipeline "traces"'
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, {"table": [row]})


async def test_in_a_collector_every_ledger_is_even() -> None:
    got: dict[str, int] = {"a": 0, "rest": 0}

    def sink(name: str) -> Any:
        async def take(payload: Payload) -> None:
            got[name] += payload.items

        return take

    row = {"statement": 'route() where attributes["service.name"] == "service-0"'}
    config = {
        "connectors": {"routing": {"table": [{**row, "pipelines": ["logs/a"]}]}},
        "service": {
            "pipelines": {
                "logs": {"receivers": ["app"], "exporters": ["routing", "rest"]},
                "logs/a": {"receivers": ["routing"], "exporters": ["a"]},
            }
        },
    }
    sinks = {name: sink(name) for name in got}
    async with Collector(config, sources=["app"], sinks=sinks) as running:
        await running.feed("app", mixed(Signal.LOGS, 1, 2))
        ledgers = running.pipeline_ledgers()

        assert {"a": 1, "rest": 3} == got
        assert [0, 0] == [ledger.imbalance for ledger in ledgers.values()]
        (dropped,) = (
            sample.value
            for sample in running.metrics()
            if sample.name == "mlsysops_connector_dropped_items"
        )
        assert 2 == dropped
