"""The actions once more, in the plainest way, on OTLP's own classes: an independent oracle."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.signal import Signal
from tests.core.pdata.wires import CHILDREN, OFFICIAL

ACTIONS: list[dict[str, Any]] = [
    {"key": "a", "action": "insert", "value": "prod"},
    {"key": "new", "action": "insert", "value": [1, 2.5]},
    {"key": "io.scope", "action": "update", "value": {"k": True}},
    {"key": "naïve 🙂", "action": "upsert", "value": 7},
    {"key": "a", "action": "delete"},
    {"key": "x" * 130, "action": "delete"},
    {"key": "mlsysops.levels", "action": "append", "value": "node"},
    {"key": "a", "action": "append", "value": "node"},
    {"key": "copy", "action": "upsert", "from_attribute": "a"},
    {"key": "unseen", "action": "delete"},
]


def changed(pairs: list[KeyValue], action: dict[str, Any]) -> list[KeyValue]:
    """Attributes after one action."""
    verb, key = action["action"], action["key"]
    if verb == "delete":
        return [pair for pair in pairs if pair.key != key]
    if "from_attribute" in action:
        sources = [pair.value for pair in pairs if pair.key == action["from_attribute"]]
        if not sources:
            return pairs
        value = sources[0]
    else:
        value = AnyValue.FromString(any_values.serialize(action["value"]))
    result = []
    found = False
    for pair in pairs:
        new = KeyValue()
        new.CopyFrom(pair)
        if pair.key == key:
            found = True
            if verb == "append":
                if pair.value.WhichOneof("value") == "array_value":
                    new.value.array_value.values.append(value)
                else:
                    before = [pair.value] if pair.value.WhichOneof("value") else []
                    new.value.Clear()
                    new.value.array_value.values.extend([*before, value])
            elif verb != "insert":
                new.value.CopyFrom(value)
        result.append(new)
    if not found and verb != "update":
        if verb == "append":
            new_list = AnyValue()
            new_list.array_value.values.append(value)
            value = new_list
        result.append(KeyValue(key=key, value=value))
    return result


def apply(holder: Any, actions: list[dict[str, Any]]) -> bool:
    """Change the attributes of a message; says whether it did."""
    pairs = before = list(holder.attributes)
    for action in actions:
        pairs = changed(pairs, action)
    if pairs == before:
        return False
    # Values of `before` live in the message that is about to be cleared.
    copies = [KeyValue.FromString(pair.SerializeToString()) for pair in pairs]
    del holder.attributes[:]
    holder.attributes.extend(copies)
    return True


def on_resources(signal: Signal, wire: bytes, actions: list[dict[str, Any]]) -> bytes:
    """A request whose resources were changed, in canonical form."""
    request = OFFICIAL[signal].FromString(wire)
    for group in getattr(request, CHILDREN[signal][0]):
        copy = type(group.resource)()
        copy.CopyFrom(group.resource)
        if apply(copy, actions):
            group.resource.CopyFrom(copy)
    return bytes(request.SerializeToString(deterministic=True))


def on_items(signal: Signal, wire: bytes, actions: list[dict[str, Any]]) -> bytes:
    """A request whose items were changed, in canonical form."""
    groups, scopes, items = CHILDREN[signal]
    request = OFFICIAL[signal].FromString(wire)
    for group in getattr(request, groups):
        for scope in getattr(group, scopes):
            for item in getattr(scope, items):
                if signal is not Signal.METRICS:
                    apply(item, actions)
                elif data := item.WhichOneof("data"):
                    for point in getattr(item, data).data_points:
                        apply(point, actions)
    return bytes(request.SerializeToString(deterministic=True))
