"""The resource processor: every form a request can have, and how little it touches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, MalformedError
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.resources import rewrite_resources
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, make_settings, make_wire
from mlsysops_processors.resource import FACTORY, Config, ResourceProcessor
from tests.core.pdata.wires import OFFICIAL, WireMaker, canonical, field
from tests.processors.attribute_oracle import ACTIONS, on_resources

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)
LEVEL = {"key": "mlsysops.levels", "action": "append", "value": "node"}


def make(*actions: dict[str, Any]) -> ResourceProcessor:
    made = FACTORY.create(
        parse_config(Config, {"attributes": list(actions)}), make_settings("resource"), None
    )
    assert isinstance(made, ResourceProcessor)
    return made


def resource_of(payload: Payload) -> dict[str, Any]:
    request = OFFICIAL[payload.signal].FromString(payload.joined())
    groups = request.ListFields()[0][1]
    return {pair.key: pair.value for pair in groups[0].resource.attributes}


@EVERY
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_does_what_the_plain_way_does_to_any_request(
    signal: Signal, seed: int, data: st.DataObject
) -> None:
    actions = data.draw(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3))
    wire = WireMaker(seed).request(signal)
    processor = make(*actions)
    for _ in range(2):  # the second time from memory
        payload = processor.process(Payload(signal, wire))

        assert on_resources(signal, wire, actions) == canonical(signal, payload.joined())


@EVERY
async def test_appends_the_level_on_every_hop(signal: Signal) -> None:
    node, cluster = make(LEVEL), make({**LEVEL, "value": "cluster"})
    await node.start()
    payload = make_payload(signal, 3)

    result = cluster.process(node.process(payload))

    levels = resource_of(result)["mlsysops.levels"].array_value.values
    assert ["node", "cluster"] == [level.string_value for level in levels]
    assert payload.items == result.items
    assert payload.metadata is result.metadata
    await node.shutdown()
    await node.shutdown()


def test_a_missing_resource_is_made_and_stays_missing_if_nothing_is_set() -> None:
    wire = field(1, field(2, b""))

    assert "new" in resource_of(
        make({"key": "new", "action": "insert", "value": 1}).process(Payload(Signal.LOGS, wire))
    )
    payload = Payload(Signal.LOGS, wire)
    assert payload is make({"key": "new", "action": "delete"}).process(payload)


def test_a_resource_that_is_there_twice_becomes_one() -> None:
    # Some readers, protobuf.js for one, keep the last of two where protobuf says to merge.
    one, two = field(1, field(1, b"one")), field(1, field(1, b"two"))
    wire = field(1, field(1, one) + field(2, b"") + field(1, two))

    result = rewrite_resources(wire, lambda resource: resource)

    assert field(1, field(1, one + two) + field(2, b"")) == result


def test_the_same_payload_comes_back_when_nothing_changed() -> None:
    payload = make_payload(Signal.METRICS, 3)
    assert payload is make({"key": "absent", "action": "delete"}).process(payload)


def test_only_members_that_changed_are_new() -> None:
    with_key = field(1, field(1, field(1, field(1, b"gone"))))
    payload = Payload(Signal.LOGS, [make_wire(Signal.LOGS, 1), with_key])

    result = make({"key": "gone", "action": "delete"}).process(payload)

    assert payload.wires[0] is result.wires[0]
    assert payload.wires[1] != result.wires[1]


def test_values_of_the_request_do_not_leak_into_the_next() -> None:
    processor = make({"key": "tenant", "action": "upsert", "from_context": "metadata.x-tenant"})

    def tenant_of(*values: str) -> str | None:
        headers = {"x-tenant": values} if values else {}
        payload = make_payload(Signal.LOGS, 1, metadata=Metadata(headers=headers))
        found = resource_of(processor.process(payload)).get("tenant")
        return None if found is None else str(found.string_value)

    assert ["a", "b", None, "a"] == [tenant_of("a"), tenant_of("b"), tenant_of(), tenant_of("a")]


@pytest.mark.parametrize(
    "wire",
    [b"\x0a\x05\x0a", b"\x0a", field(1, b"\x0a\x05x"), field(1, field(1, b"\x0a\x05x")), b"\x0b"],
)
def test_broken_framing_is_bad_data(wire: bytes) -> None:
    with pytest.raises(MalformedError):
        make(LEVEL).process(Payload(Signal.LOGS, wire))


def test_a_resource_nested_too_deep_is_bad_data() -> None:
    value = field(1, b"x")
    for _ in range(200):
        value = field(5, field(1, value))
    wire = field(1, field(1, field(1, field(1, b"deep") + field(2, value))))

    with pytest.raises(MalformedError):
        make(LEVEL).process(Payload(Signal.LOGS, wire))


def test_what_is_remembered_is_bounded() -> None:
    processor = make(LEVEL)
    for number in range(300):
        value = str(number).encode() * 1000
        pair = field(1, b"k") + field(2, field(1, value))
        processor.process(Payload(Signal.LOGS, field(1, field(1, field(1, pair)))))

    assert processor._cache.bytes <= 4 << 20


def test_at_least_one_action_is_needed() -> None:
    with pytest.raises(ConfigError, match="at least one action is needed"):
        parse_config(Config, {})
    with pytest.raises(ConfigError, match=r"attributes\[0\]\.action: is missing"):
        parse_config(Config, {"attributes": [{"key": "k"}]})
