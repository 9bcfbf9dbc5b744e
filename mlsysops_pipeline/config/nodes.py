"""Configuration values that know where they were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mlsysops_pipeline.config.problems import NOWHERE, Position

Scalar: TypeAlias = "str | int | float | bool | None"
DEPTH_MAX = 100


@dataclass(slots=True)
class Node:
    """A value with its place.

    ``value`` is a scalar, a dict of nodes or a list of nodes. ``text`` is how a scalar was
    written, ``key`` the place of its key. ``reference`` is the whole `${...}` that a value came
    from, where it came from one: such a value keeps its text for string fields. ``empty`` names
    the environment variables in the value that are empty or not set.
    """

    value: Scalar | dict[str, Node] | list[Node]
    position: Position = NOWHERE
    text: str | None = None
    key: Position | None = None
    reference: str = ""
    empty: tuple[str, ...] = ()

    @property
    def at(self) -> Position:
        """Where to point when the key itself is wrong."""
        return self.key or self.position

    @property
    def is_tree(self) -> bool:
        """Whether it is a map or a list."""
        return isinstance(self.value, dict | list)

    def plain(self) -> Any:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, key: str) -> Node | None:
        """The value under a key, if this is a map that has it."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def find(self, path: Sequence[str | int]) -> tuple[Node, int]:
        """The node at a path, or the deepest one on the way; and how many steps were found."""
        node: Node = self
        for done, step in enumerate(path):
            following: Node | None = None
            if isinstance(node.value, dict):
                following = node.value.get(str(step))
            elif isinstance(node.value, list) and isinstance(step, int):
                following = node.value[step] if step < len(node.value) else None
            if following is None:
                return node, done
            node = following
        return node, len(path)


class NotConfigurationError(ValueError):
    """A Python value that configuration cannot hold; the message says where and what."""


def from_plain(value: Any, source: str = "configuration", order: int = 0) -> Node:
    """Nodes for values that a program gives. Raises `NotConfigurationError`."""
    return _from_plain(value, Position(source, order=order), ())


def _from_plain(value: Any, position: Position, path: tuple[str, ...]) -> Node:
    if len(path) > DEPTH_MAX:
        raise NotConfigurationError("nested too deeply, or a map that contains itself")
    if isinstance(value, Mapping):
        children = {}
        for key, inner in value.items():
            if not isinstance(key, str):
                raise NotConfigurationError(f"{_place(path)}keys must be strings, got {key!r}")
            child = _from_plain(inner, position, (*path, key))
            child.key = position
            children[key] = child
        return Node(children, position)
    if isinstance(value, list | tuple):
        items = [_from_plain(v, position, (*path, f"[{i}]")) for i, v in enumerate(value)]
        return Node(items, position)
    if value is None or isinstance(value, str | int | float | bool):
        return Node(value, position, text=_text(value))
    if isinstance(value, Path):
        return Node(str(value), position, text=str(value))
    raise NotConfigurationError(f"{_place(path)}{type(value).__name__} is no configuration value")


def _place(path: tuple[str, ...]) -> str:
    return f"{'.'.join(path)}: ".replace(".[", "[") if path else ""


def _text(value: Scalar) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def merged(base: Node, over: Node, *, null_yields: bool = False) -> Node:
    """``over`` on top of ``base``: maps deeply, everything else replaced (section 2.1).

    ``null_yields``: a null in ``over`` leaves what ``base`` has.
    """
    if null_yields and over.value is None:
        return base
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        children = dict(base.value)
        for key, child in over.value.items():
            known = children.get(key)
            children[key] = (
                child if known is None else merged(known, child, null_yields=null_yields)
            )
        # A map that two sources write is found where a file first wrote it.
        first = base if base.position.line or not over.position.line else over
        return Node(children, first.position, key=first.key)
    return over


def nested(node: Node) -> Node:
    """The same with every key ``a::b`` turned into ``a: {b: ...}`` (section 2.1)."""
    if isinstance(node.value, list):
        items = [nested(item) for item in node.value]
        return Node(items, node.position, node.text, node.key, node.reference, node.empty)
    if not isinstance(node.value, dict):
        return node
    children: dict[str, Node] = {}
    for key, child in node.value.items():
        inner = nested(child)
        first, *rest = key.split("::")
        for part in reversed(rest):
            inner = Node({part: inner}, child.position, key=child.key)
        children[first] = merged(children[first], inner) if first in children else inner
    return Node(children, node.position, node.text, node.key, node.reference, node.empty)
