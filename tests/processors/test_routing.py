"""The routing processor of older files (components, C6), in the pipelines of a real collector."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_pipeline import Collector, ConfigError, Payload, PermanentError, Signal
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import DropReason, RetryableError
from mlsysops_pipeline.pdata.payload import Metadata
from mlsysops_pipeline.testing import make_payload, make_wire
from mlsysops_processors.routing import Config
from tests.core.pdata.wires import OFFICIAL, field

BY_SERVICE: dict[str, Any] = {
    "from_attribute": "service.name",
    "attribute_source": "resource",
    "table": [
        {"value": "service-0", "exporters": ["a"]},
        {"value": "service-1", "exporters": ["a", "b"]},
    ],
}
WITH_DEFAULT = {**BY_SERVICE, "default_exporters": ["rest"]}


class Seen:
    """What each exporter got."""

    def __init__(self) -> None:
        self.payloads: dict[str, list[Payload]] = {"a": [], "b": [], "rest": []}
        self.error: Exception | None = None

    def sinks(self) -> dict[str, Any]:
        def sink(name: str) -> Any:
            async def take(payload: Payload) -> None:
                if self.error is not None and name == "a":
                    raise self.error
                self.payloads[name].append(payload)

            return take

        return {name: sink(name) for name in self.payloads}

    @property
    def items(self) -> dict[str, int]:
        found = {name: sum(p.items for p in got) for name, got in self.payloads.items()}
        return {name: count for name, count in found.items() if count}


def collector(seen: Seen, routing: dict[str, Any], *behind: str) -> Collector:
    pipeline = {
        "receivers": ["app"],
        "processors": ["routing", *behind],
        "exporters": ["a", "b", "rest"],
    }
    config = {
        "processors": {"routing": routing, **dict.fromkeys(behind)},
        "service": {"pipelines": {"logs": pipeline}},
    }
    return Collector(config, sources=["app"], sinks=seen.sinks())


def mixed(*counts: int) -> Payload:
    wire = b"".join(make_wire(Signal.LOGS, count, seed=seed) for seed, count in enumerate(counts))
    return Payload(Signal.LOGS, wire)


async def test_resources_go_to_the_exporters_of_their_rows() -> None:
    seen = Seen()
    async with collector(seen, WITH_DEFAULT) as running:
        await running.feed("app", mixed(1, 2, 4))
        ledger = running.pipeline_ledgers()["logs"]

        assert {"a": 3, "b": 2, "rest": 4} == seen.items
        assert (7, 9, 2, 0) == (
            ledger.received,
            ledger.handed_on,
            ledger.created,
            ledger.imbalance,
        )


async def test_what_no_row_matches_is_dropped_and_counted_without_a_default() -> None:
    seen = Seen()
    async with collector(seen, BY_SERVICE) as running:
        await running.feed("app", mixed(1, 2, 4))
        ledger = running.pipeline_ledgers()["logs"]

        assert {"a": 3, "b": 2} == seen.items
        assert {DropReason.NO_ROUTE: 4} == ledger.dropped
        assert 0 == ledger.imbalance


async def test_every_row_that_matches_gets_the_data() -> None:
    seen = Seen()
    rows = [
        *BY_SERVICE["table"],
        {
            "statement": 'route() where resource.attributes["host.name"] == "node"',
            "exporters": ["b"],
        },
    ]
    async with collector(seen, {**WITH_DEFAULT, "table": rows}) as running:
        await running.feed("app", mixed(1, 0, 4))

        assert {"a": 1, "b": 5} == seen.items
        assert 0 == running.pipeline_ledgers()["logs"].imbalance


async def test_headers_of_the_sender_can_choose() -> None:
    seen = Seen()
    routing = {
        "from_attribute": "X-Tenant",
        "default_exporters": ["rest"],
        "table": [{"value": "acme", "exporters": ["a"]}],
    }
    async with collector(seen, routing) as running:
        for tenants in (("acme",), ("other",), ()):
            metadata = Metadata(headers={"x-tenant": tenants})
            await running.feed("app", make_payload(Signal.LOGS, 1, metadata=metadata))

        assert {"a": 1, "rest": 2} == seen.items


async def test_the_attribute_can_be_removed_from_what_goes_on() -> None:
    seen = Seen()
    async with collector(
        seen, {**WITH_DEFAULT, "drop_resource_routing_attribute": True}
    ) as running:
        await running.feed("app", mixed(1, 2))
        await running.feed("app", mixed(1))

    for payload in (*seen.payloads["a"], *seen.payloads["b"]):
        for group in OFFICIAL[Signal.LOGS].FromString(payload.joined()).resource_logs:
            assert ["host.name"] == [pair.key for pair in group.resource.attributes]
    assert {"a": 4, "b": 2} == seen.items


async def test_processors_behind_it_see_nothing() -> None:
    seen = Seen()
    async with collector(seen, WITH_DEFAULT, "batch") as running:
        await running.feed("app", mixed(1))

        assert {"a": 1} == seen.items
        assert 0 == running.pipeline_ledgers()["logs"].held


async def test_a_refusal_goes_back_to_the_sender_and_the_ledger_stays_even() -> None:
    seen = Seen()
    seen.error = RetryableError("later")
    async with collector(seen, WITH_DEFAULT) as running:
        with pytest.raises(RetryableError):
            await running.feed("app", mixed(1, 0, 4))
        ledger = running.pipeline_ledgers()["logs"]

        assert {"rest": 4} == seen.items
        assert (0, 0, 0) == (ledger.received, ledger.handed_on, ledger.imbalance)


async def test_malformed_data_is_refused_alone_and_left_out_among_others() -> None:
    bad = field(1, field(1, field(1, b"\x0a\x05x")) + field(2, field(2, b"")))
    seen = Seen()
    async with collector(seen, WITH_DEFAULT) as running:
        with pytest.raises(PermanentError):
            await running.feed("app", Payload(Signal.LOGS, bad))
        await running.feed("app", Payload(Signal.LOGS, [bad, make_wire(Signal.LOGS, 2)]))
        ledger = running.pipeline_ledgers()["logs"]

        assert {"a": 2} == seen.items
        assert {DropReason.MALFORMED: 1} == ledger.dropped
        assert 0 == ledger.imbalance


async def test_exporters_must_be_in_the_same_pipeline() -> None:
    routing = {**BY_SERVICE, "default_exporters": ["elsewhere"]}
    message = r'default_exporters\[0\]: references exporter "elsewhere" which is not configured'
    with pytest.raises(ConfigError, match=message):
        async with collector(Seen(), routing):
            pass


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "invalid routing table: the routing table is empty"),
        ({"table": [{"value": "a", "exporters": ["a"]}]}, "from_attribute: is missing"),
        ({"table": [{"exporters": ["a"]}]}, "one of value and statement is needed"),
        (
            {"from_attribute": "a", "table": [{"value": "a"}]},
            "invalid route: no exporters defined",
        ),
        (
            {"table": [{"statement": 'delete_key(attributes, "a")', "exporters": ["a"]}]},
            "are supported as statements",
        ),
    ],
)
def test_a_table_that_cannot_work_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, config)
