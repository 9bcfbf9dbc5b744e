"""The attributes processor: every form a request can have, against a plain oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, MalformedError
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, make_settings, make_wire
from mlsysops_processors.attributes import FACTORY, AttributesProcessor, Config
from tests.core.pdata.wires import CHILDREN, OFFICIAL, WireMaker, canonical, field
from tests.processors.attribute_oracle import ACTIONS, on_items

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)
INSERT = {"key": "env", "action": "insert", "value": "prod"}


def make(*actions: dict[str, Any], **keys: Any) -> AttributesProcessor:
    made = FACTORY.create(
        parse_config(Config, {"actions": list(actions), **keys}), make_settings("attributes"), None
    )
    assert isinstance(made, AttributesProcessor)
    return made


def items_of(payload: Payload) -> list[Any]:
    groups, scopes, items = CHILDREN[payload.signal]
    found: list[Any] = []
    request = OFFICIAL[payload.signal].FromString(payload.joined())
    for group in getattr(request, groups):
        for scope in getattr(group, scopes):
            for item in getattr(scope, items):
                data = item.WhichOneof("data") if payload.signal is Signal.METRICS else None
                found += getattr(item, data).data_points if data else [item]
    return found


def value_of(item: Any, key: str) -> Any:
    values = [pair.value for pair in item.attributes if pair.key == key]
    return getattr(values[0], values[0].WhichOneof("value")) if values else None


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

        assert on_items(signal, wire, actions) == canonical(signal, payload.joined())


@EVERY
@pytest.mark.parametrize("shape", [{"points_per_metric": 1}, {"points_per_metric": 10}])
@pytest.mark.parametrize(
    "action",
    [INSERT, {**INSERT, "key": "key.1", "action": "upsert"}, {"key": "key.3", "action": "delete"}],
)
def test_usual_requests(signal: Signal, shape: dict[str, int], action: dict[str, Any]) -> None:
    wire = make_wire(signal, 25, **shape)
    processor = make(action)
    payload = Payload(signal, wire)

    result = processor.process(payload)

    assert on_items(signal, wire, [action]) == canonical(signal, result.joined())
    assert 25 == result.items


def test_the_attributes_of_a_series_are_remembered_whatever_its_times_and_values() -> None:
    processor = make({"key": "key.1", "action": "hash"})
    for seed in range(5):
        processor.process(make_payload(Signal.METRICS, 10, seed=seed))

    assert 10 == len(processor._cache)


def test_a_point_with_its_attributes_before_its_times() -> None:
    pair = field(1, b"k") + field(2, field(1, b"v"))
    point = field(7, pair) + b"\x19" + bytes(8)
    wire = field(1, field(2, field(2, field(5, field(1, point)))))
    action = {"key": "k", "action": "upsert", "value": 1}

    result = make(action).process(Payload(Signal.METRICS, wire))

    expected = on_items(Signal.METRICS, wire, [action])
    assert expected == canonical(Signal.METRICS, result.joined())


@EVERY
def test_resources_are_left_alone(signal: Signal) -> None:
    payload = make_payload(signal, 2)
    result = make({"pattern": ".", "action": "delete"}).process(payload)

    group = OFFICIAL[signal].FromString(result.joined()).ListFields()[0][1][0]
    assert 2 == len(group.resource.attributes)
    assert [0, 0] == [len(item.attributes) for item in items_of(result)]


@EVERY
def test_the_same_payload_comes_back_when_nothing_changed(signal: Signal) -> None:
    payload = make_payload(signal, 3)
    assert payload is make({"key": "absent", "action": "delete"}).process(payload)
    # The key occurs, but as a value: items are opened and found unchanged.
    assert payload is make({"key": "value-1-0", "action": "delete"}).process(payload)


@pytest.mark.parametrize("key", ["env", "value-0-0"])
def test_actions_on_what_earlier_actions_made(key: str) -> None:
    steps = [
        {"key": key, "action": "insert", "value": "a-b"},
        {"key": key, "action": "extract", "pattern": "(?P<first>.)-(?P<second>.)"},
        {"key": "copy", "action": "insert", "from_attribute": "second"},
    ]
    (item,) = items_of(make(*steps).process(make_payload(Signal.LOGS, 1)))

    assert ["a-b", "a", "b", "b"] == [
        value_of(item, name) for name in (key, "first", "second", "copy")
    ]


def test_values_of_the_request_do_not_leak_into_the_next() -> None:
    processor = make({"key": "key.0", "action": "upsert", "from_context": "client.address"})

    def address(peer: str) -> Any:
        payload = make_payload(Signal.METRICS, 1, metadata=Metadata(peer=peer))
        return value_of(items_of(processor.process(payload))[0], "key.0")

    assert ["a", "b", "value-0-0", "a"] == [address("a"), address("b"), address(""), address("a")]


def test_memory_of_the_open_view_is_charged_and_given_back() -> None:
    processor = make(INSERT)
    payload = make_payload(Signal.METRICS, 100)
    processor.process(payload)

    memory = processor._settings.memory
    assert 0 == memory.in_flight
    assert memory.peak >= 3 * payload.size


@pytest.mark.parametrize(
    "wire",
    [
        b"\x0a\x05\x0a",
        field(1, field(2, field(2, b"\x0a\x05x"))),
        field(1, field(2, field(2, field(6, b"\x0a\x05env")))),
    ],
)
def test_broken_bytes_are_bad_data(wire: bytes) -> None:
    with pytest.raises(MalformedError):
        make({"pattern": "x", "action": "delete"}).process(Payload(Signal.LOGS, wire))


def test_configuration_is_checked() -> None:
    with pytest.raises(ConfigError, match="at least one action is needed"):
        parse_config(Config, {})
    with pytest.raises(ConfigError, match=r"actions\[0\]\.pattern: no regular expression"):
        parse_config(Config, {"actions": [{"action": "delete", "pattern": "("}]})


@pytest.mark.parametrize(
    ("signal", "criterion", "is_allowed"),
    [
        (Signal.METRICS, {"metric_names": ["x"]}, True),
        (Signal.METRICS, {"resources": [{"key": "x"}]}, True),
        (Signal.METRICS, {"attributes": [{"key": "x"}]}, False),
        (Signal.METRICS, {"services": ["x"]}, False),
        (Signal.LOGS, {"log_bodies": ["x"]}, True),
        (Signal.LOGS, {"span_names": ["x"]}, False),
        (Signal.TRACES, {"span_kinds": ["x"]}, True),
        (Signal.TRACES, {"log_severity_texts": ["x"]}, False),
    ],
)
def test_criteria_belong_to_signals(
    signal: Signal, criterion: dict[str, Any], is_allowed: bool
) -> None:
    keys = {"actions": [INSERT], "exclude": {"match_type": "strict", **criterion}}
    config = parse_config(Config, keys)
    around = make_settings("attributes/x", signals=[signal])
    if is_allowed:
        FACTORY.create(config, around, None)
        return
    message = rf"attributes/x\.exclude\.{next(iter(criterion))}: cannot be used for {signal}"
    with pytest.raises(ConfigError, match=message):
        FACTORY.create(config, around, None)
