"""Lists of targets as files and HTTP servers write them: JSON or YAML (pure functions)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.config.nodes import NotConfigurationError, from_plain
from mlsysops_pipeline.config.reading import Reader
from mlsysops_pipeline.config.wording import shown
from mlsysops_receivers.prometheus.targets import Group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.config.nodes import Node

LIST_BYTES_MAX: Final = 16 << 20
"""Of one list of targets."""
TARGETS_MAX: Final = 100_000
"""Targets of one list."""


class ListError(Exception):
    """A list that cannot be used. The text says where and why."""


def read_json(text: bytes, source: str, labels: Mapping[str, str]) -> tuple[Group, ...]:
    """The groups of a JSON list. ``labels``: what all of them get. Raises `ListError`."""
    try:
        value = json.loads(text)
        node = from_plain(value, source)
    except (ValueError, RecursionError, NotConfigurationError) as error:
        raise ListError(f"{source}: not JSON: {error}") from error
    return _groups(node, source, labels, is_json=True)


def read_yaml(text: bytes, source: str, labels: Mapping[str, str]) -> tuple[Group, ...]:
    """The groups of a YAML list. Raises `ListError`."""
    reader = Reader(source)
    node = reader.read_bytes(text)
    if node is None or reader.problems:
        raise ListError(str(reader.problems[0]))
    return _groups(node, source, labels, is_json=False)


def _groups(
    node: Node, source: str, labels: Mapping[str, str], *, is_json: bool
) -> tuple[Group, ...]:
    if not isinstance(node.value, list):
        raise _wrong(node, "", f"expected a list of targets, got {shown(node)}")
    groups = []
    count = 0
    for index, entry in enumerate(node.value):
        group = _group(entry, f"[{index}]", source, labels, is_json=is_json)
        count += len(group.addresses)
        if count > TARGETS_MAX:
            raise ListError(f"{source}: more than {TARGETS_MAX} targets")
        groups.append(group)
    return tuple(groups)


def _group(
    entry: Node, place: str, source: str, common: Mapping[str, str], *, is_json: bool
) -> Group:
    if not isinstance(entry.value, dict):
        raise _wrong(entry, place, f"expected a map of targets and labels, got {shown(entry)}")
    for key, child in entry.value.items():
        if key not in {"targets", "labels"}:
            message = "unknown key (allowed: targets, labels)"
            raise ListError(f"{child.at}: {place}.{key}: {message}")
    targets, labels = entry.child("targets"), entry.child("labels")
    addresses: list[str] = []
    if targets is not None and targets.value is not None:
        if not isinstance(targets.value, list):
            raise _wrong(targets, f"{place}.targets", f"expected a list, got {shown(targets)}")
        for index, target in enumerate(targets.value):
            addresses.append(_text(target, f"{place}.targets[{index}]", is_json=is_json))
    own: dict[str, str] = {}
    if labels is not None and labels.value is not None:
        if not isinstance(labels.value, dict):
            raise _wrong(labels, f"{place}.labels", f"expected a map, got {shown(labels)}")
        for name, value in labels.value.items():
            if not name:
                raise _wrong(value, f"{place}.labels", '"" is not a valid label name')
            own[name] = _text(value, f"{place}.labels.{name}", is_json=is_json)
    return Group(source, tuple(addresses), {**own, **common})


def _text(node: Node, place: str, *, is_json: bool) -> str:
    if isinstance(node.value, str):
        return node.value
    if is_json or node.is_tree:
        raise _wrong(node, place, f"expected a string, got {shown(node)}")
    return node.text or ""


def _wrong(node: Node, place: str, message: str) -> ListError:
    return ListError(f"{node.position}: {place or 'the list'}: {message}")
