"""What each action does to attributes, value type by value type."""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from mlsysops_pipeline.attribute_config import ActionConfig, Actions
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.payload import NO_METADATA, Metadata
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view

LIST = [1, "two", [True, None], {"k": 2.5}]


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(inner) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind)


def official(attributes: list[tuple[str, Any]]) -> Resource:
    pairs = [
        KeyValue(key=key, value=AnyValue.FromString(any_values.serialize(value)))
        for key, value in attributes
    ]
    return Resource(attributes=pairs)


def after(
    attributes: dict[str, Any] | list[tuple[str, Any]],
    *actions: dict[str, Any],
    metadata: Metadata = NO_METADATA,
) -> Any:
    """The attributes after the actions: a dict, or a list where a list was given."""
    pairs = list(attributes.items()) if isinstance(attributes, dict) else attributes
    configs = [ActionConfig(**action) for action in actions]
    assert [] == [finding for config in configs for finding in config.check()]
    message: Any = view(Signal.LOGS, Depth.RESOURCE, "Resource")()
    message.ParseFromString(official(pairs).SerializeToString())
    Actions(configs).bind(metadata).apply(message.attributes)
    result = Resource.FromString(message.SerializePartialToString())
    changed = [(pair.key, plain(pair.value)) for pair in result.attributes]
    return dict(changed) if isinstance(attributes, dict) else changed


@pytest.mark.parametrize("value", ["text", "", 1, -1, 2**63 - 1, -(2**63), 2.5, True, False, LIST])
def test_setting_a_value_of_any_type(value: Any) -> None:
    for action, with_it, without_it in [
        ("insert", {"k": "old"}, {"k": value}),
        ("update", {"k": value}, {}),
        ("upsert", {"k": value}, {"k": value}),
    ]:
        step = {"key": "k", "action": action, "value": value}
        assert with_it == after({"k": "old"}, step)
        assert without_it == after({}, step)
        assert type(after({"k": 0}, step).get("k", value)) is type(
            value if action != "insert" else 0
        )


def test_action_names_are_read_in_any_case_by_the_file_reader() -> None:
    from mlsysops_pipeline.config.decode import parse_config

    config = parse_config(ActionConfig, {"key": "k", "action": "UPSERT", "value": 1})

    assert "upsert" == config.action


def test_values_from_another_attribute() -> None:
    step = {"key": "to", "action": "upsert", "from_attribute": "from"}
    assert {"from": LIST, "to": LIST} == after({"from": LIST}, step)
    assert {"to": "old", "from": 2} != after({"to": "old"}, step)
    assert {"to": "old"} == after({"to": "old"}, step)
    assert {"to": 2, "from": 2} == after({"to": "old", "from": 2}, step)


def test_values_from_the_request() -> None:
    metadata = Metadata(
        peer="10.1.2.3", headers={"x-tenant": ("a", "b")}, auth={"username": "alice"}
    )
    steps: list[dict[str, Any]] = [
        {"key": "address", "action": "insert", "from_context": "client.address"},
        {"key": "tenant", "action": "insert", "from_context": "metadata.X-Tenant"},
        {"key": "plain", "action": "insert", "from_context": "x-tenant"},
        {"key": "user", "action": "insert", "from_context": "auth.username"},
        {"key": "none", "action": "insert", "from_context": "auth.role"},
        {"key": "n", "action": "insert", "from_context": "metadata.n", "default_value": 7},
    ]

    expected = {"address": "10.1.2.3", "tenant": "a;b", "plain": "a;b", "user": "alice", "n": 7}
    assert expected == after({}, *steps, metadata=metadata)
    assert {"n": 7} == after({}, *steps)


def test_append_makes_a_list_and_keeps_what_was_there() -> None:
    step = {"key": "levels", "action": "append", "value": "node"}
    assert {"levels": ["node"]} == after({}, step)
    assert {"levels": ["a", "node"]} == after({"levels": ["a"]}, step)
    assert {"levels": ["a", "node"]} == after({"levels": "a"}, step)
    assert {"levels": ["node"]} == after({"levels": None}, step)
    assert {"levels": ["node", "node"]} == after({}, step, step)


def test_delete_by_key_by_pattern_and_by_both() -> None:
    attributes = {"a": 1, "ab": 2, "b": 3, "c": 4}
    assert {"ab": 2, "b": 3, "c": 4} == after(attributes, {"key": "a", "action": "delete"})
    assert {"c": 4} == after(attributes, {"pattern": "a|^b$", "action": "delete"})
    both = {"key": "c", "pattern": "^a", "action": "delete"}
    assert {"b": 3} == after(attributes, both)


@pytest.mark.parametrize(
    ("value", "hashed"),
    [
        ("text", b"text"),
        (True, b"\1"),
        (False, b"\0"),
        (-2, struct.pack("<q", -2)),
        (2.5, struct.pack("<d", 2.5)),
    ],
)
def test_hash_of_scalars(value: Any, hashed: bytes) -> None:
    expected = hashlib.sha256(hashed).hexdigest()
    assert {"k": expected} == after({"k": value}, {"key": "k", "action": "hash"})
    assert {"k": expected, "o": 1} == after(
        {"k": value, "o": 1}, {"pattern": "^k", "action": "hash"}
    )


@pytest.mark.parametrize("value", ["", [1], {"a": 1}, b"bytes", None])
def test_hash_of_what_is_no_scalar_is_empty(value: Any) -> None:
    assert {"k": ""} == after({"k": value}, {"key": "k", "action": "hash"})


def test_extract_fills_attributes_from_named_groups() -> None:
    step = {
        "key": "url",
        "action": "extract",
        "pattern": r"^(?P<scheme>\w+)://(?P<host>[^:/]+)(:(?P<port>\d+))?",
    }
    assert ["contains at least one unnamed matcher group"] == [
        finding.message for finding in ActionConfig(**step).check()
    ]
    step["pattern"] = r"^(?P<scheme>\w+)://(?P<host>[^:/]+)(?:(?P<port>:\d+))?"
    attributes = {"url": "http://é.example/x", "host": 1}

    expected = {"url": attributes["url"], "scheme": "http", "host": "é.example", "port": ""}
    assert expected == after(attributes, step)
    assert {"url": 5} == after({"url": 5}, step)
    assert {"url": "no"} == after({"url": "no"}, step)
    assert {} == after({}, step)


@pytest.mark.parametrize(
    ("before", "type_", "expected"),
    [
        ("12", "int", 12),
        ("+5", "int", 5),
        ("-9223372036854775808", "int", -(2**63)),
        ("9223372036854775808", "int", "9223372036854775808"),
        ("1" * 5000, "int", "1" * 5000),
        (" 1", "int", " 1"),
        ("1_0", "int", "1_0"),
        ("1.5", "int", "1.5"),
        ("\uff11", "int", "\uff11"),
        (2.9, "int", 2),
        (-2.9, "int", -2),
        (1e300, "int", 1e300),
        (float(2**63), "int", float(2**63)),
        (math.inf, "int", math.inf),
        (True, "int", 1),
        ([1], "int", [1]),
        (None, "int", None),
        ("1.5", "double", 1.5),
        ("1e3", "double", 1000.0),
        (".5", "double", 0.5),
        ("-inf", "double", -math.inf),
        ("1e999", "double", "1e999"),
        ("1_0", "double", "1_0"),
        ("x", "double", "x"),
        (3, "double", 3.0),
        (False, "double", 0.0),
        (b"1", "double", b"1"),
        (3, "string", "3"),
        (True, "string", "true"),
        (1.0, "string", "1"),
        (2.5, "string", "2.5"),
        (1e21, "string", "1e+21"),
        (123456789012345680000.0, "string", "123456789012345680000"),
        (1e-7, "string", "1e-7"),
        (1.5e-300, "string", "1.5e-300"),
        (0.000001, "string", "0.000001"),
        (-0.0, "string", "-0"),
        (math.inf, "string", "json: unsupported value: +Inf"),
        (b"\0\1", "string", "AAE="),
        (None, "string", ""),
        (LIST, "string", '[1,"two",[true,null],{"k":2.5}]'),
        (
            {"b": "<&>\u2028\n", "a": b"x"},
            "string",
            '{"a":"eA==","b":"\\u003c\\u0026\\u003e\\u2028\\n"}',
        ),
    ],
)
def test_convert(before: Any, type_: str, expected: Any) -> None:
    step = {"key": "k", "action": "convert", "converted_type": type_}

    result = after({"k": before}, step)["k"]

    assert (type(expected), expected) == (type(result), result)


def test_convert_of_not_a_number() -> None:
    step = {"key": "k", "action": "convert", "converted_type": "double"}
    assert math.isnan(after({"k": "NaN"}, step)["k"])


def test_actions_are_done_in_order() -> None:
    steps: list[dict[str, Any]] = [
        {"key": "copy", "action": "insert", "from_attribute": "k"},
        {"key": "k", "action": "delete"},
        {"key": "k", "action": "insert", "value": 2},
        {"key": "k", "action": "convert", "converted_type": "string"},
    ]
    assert {"copy": 1, "k": "2"} == after({"k": 1}, *steps)


def test_a_key_that_occurs_twice_is_treated_at_both_places_and_read_at_the_first() -> None:
    twice = [("k", 1), ("o", 2), ("k", 3)]
    assert [("o", 2)] == after(twice, {"key": "k", "action": "delete"})
    assert [("k", 0), ("o", 2), ("k", 0)] == after(
        twice, {"key": "k", "action": "update", "value": 0}
    )
    assert twice == after(twice, {"key": "k", "action": "insert", "value": 0})
    copied = after(twice, {"key": "c", "action": "insert", "from_attribute": "k"})
    assert ("c", 1) == copied[-1]


def test_an_attribute_without_a_key_is_not_taken_for_another() -> None:
    message: Any = view(Signal.LOGS, Depth.RESOURCE, "Resource")()
    message.attributes.add().value.int_value = 1
    for action in ({"pattern": "x", "action": "delete"}, {"pattern": "x", "action": "hash"}):
        Actions([ActionConfig(**action)]).bind(NO_METADATA).apply(message.attributes)

    assert 1 == message.attributes[0].value.int_value


def test_bytes_that_are_no_text_survive() -> None:
    message: Any = view(Signal.LOGS, Depth.RESOURCE, "Resource")()
    pair = message.attributes.add(key=b"k\xff")
    pair.value.string_value = b"\xfe"
    configs = [
        ActionConfig(action="hash", pattern="^k"),
        ActionConfig(action="delete", pattern="^x"),
        ActionConfig(action="insert", key="n", from_attribute="k"),
    ]
    Actions(configs).bind(NO_METADATA).apply(message.attributes)

    assert b"k\xff" == message.attributes[0].key


def test_contexts_are_remembered_up_to_a_limit() -> None:
    actions = Actions([ActionConfig(key="k", action="insert", from_context="client.address")])
    one = actions.bind(Metadata(peer="1"))
    assert one is actions.bind(Metadata(peer="1"))
    for number in range(1000):
        actions.bind(Metadata(peer=str(number)))

    assert len(actions._bound) <= 256


@pytest.mark.parametrize(
    ("action", "messages"),
    [
        ({"key": "k"}, ["is missing"]),
        ({"action": "insert", "value": 1}, ['missing required field "key"']),
        ({"action": "delete"}, ['missing required field "key"']),
        (
            {"action": "insert", "key": "k"},
            ['either "value", "from_attribute" or "from_context" must be specified'],
        ),
        (
            {"action": "upsert", "key": "k", "value": 1, "from_attribute": "o"},
            ["multiple value sources are set: value, from_attribute"],
        ),
        (
            {"action": "update", "key": "k", "value": 1, "default_value": 2},
            ['needs "from_context"'],
        ),
        (
            {"action": "insert", "key": "k", "value": 2**63},
            ["9223372036854775808 does not fit into 64 bits"],
        ),
        (
            {"action": "insert", "key": "k", "value": 1, "pattern": "x"},
            ['action "insert" does not use it'],
        ),
        ({"action": "delete", "key": "k", "value": 1}, ['action "delete" does not use it']),
        ({"action": "hash", "pattern": "("}, ["no regular expression: missing ): ("]),
        ({"action": "extract", "key": "k"}, ['action "extract" needs it']),
        ({"action": "extract", "key": "k", "pattern": "x"}, ["contains no named matcher groups"]),
        (
            {"action": "convert", "key": "k", "converted_type": "bool"},
            ['invalid value "bool": use int, double or string'],
        ),
        (
            {"action": "insert", "key": "k", "value": 1, "converted_type": "int"},
            ['action "insert" does not use it'],
        ),
    ],
)
def test_configuration_is_checked(action: dict[str, Any], messages: list[str]) -> None:
    assert messages == [finding.message for finding in ActionConfig(**action).check()]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_as_text_is_the_same_double(number: float) -> None:
    assert number == float(any_values.format_double(number))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=25)
@given(json_values)
def test_any_value_is_serialized_as_protobuf_does(value: Any) -> None:
    assert value == plain(AnyValue.FromString(any_values.serialize(value)))


def test_what_is_no_attribute_value() -> None:
    with pytest.raises(ValueError, match="cannot be of type object"):
        any_values.serialize(object())
