"""Where configuration comes from: files, environment variables, inline YAML, dicts, `--set`.

Sources are merged from left to right, `SetSource`s after all others (service behaviour, 2.1).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mlsysops_pipeline.config.expand import scheme_of
from mlsysops_pipeline.config.nodes import (
    Node,
    NotConfigurationError,
    from_plain,
    merged,
    nested,
)
from mlsysops_pipeline.config.problems import SET_OPTION, Position, Problem, error, warning
from mlsysops_pipeline.config.reading import Reader, read_bytes
from mlsysops_pipeline.config.wording import shown

_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class DictSource:
    """Values that a program gives under a name, which stands for the file in problems.

    ``yields``: they are defaults, so a null in a later source does not remove them.
    """

    name: str
    values: Mapping[str, Any]
    yields: bool = False


@dataclass(frozen=True, slots=True)
class SetSource:
    """One ``a.b.c=value`` of `--set`. The value is YAML; a key with a dot cannot be addressed."""

    text: str


ConfigurationSource: TypeAlias = "str | Path | Mapping[str, Any] | DictSource | SetSource"
"""A path, a URI (``file:``, ``env:``, ``yaml:``), a dict, or one of the classes above."""


class Merger:
    """Reads sources and merges them. What is wrong is collected in ``problems``."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self.problems: list[Problem] = []
        self._empty: list[Position] = []
        self._texts = 0

    def merge(self, sources: Iterable[ConfigurationSource]) -> Node:
        """One tree of everything, not yet expanded."""
        every = list(sources)
        ordered: list[ConfigurationSource] = [s for s in every if not isinstance(s, SetSource)]
        ordered += [s for s in every if isinstance(s, SetSource)]
        root = Node({}, Position("config"))
        defaults = Node({}, Position("config"))
        options = 0
        for order, source in enumerate(ordered):
            options += isinstance(source, SetSource)
            node = self._read(source, order, options)
            if node is None:
                continue
            if node.value is None:
                continue
            if not isinstance(node.value, dict):
                message = f"expected a map of sections (receivers, service, ...), got {shown(node)}"
                self.problems.append(error(node.position, (), message))
                continue
            if isinstance(source, DictSource) and source.yields:
                defaults = merged(defaults, node)
            else:
                root = merged(root, node)
        self._judge_empty()
        return merged(defaults, root, null_yields=True)

    def _judge_empty(self) -> None:
        """Nothing but empty files is an error; one among others is a warning."""
        nothing = len(self._empty) == self._texts
        for position in self._empty:
            make = error if nothing else warning
            self.problems.append(make(position, (), "empty configuration file"))

    def _read(self, source: ConfigurationSource, order: int, options: int) -> Node | None:
        if isinstance(source, SetSource):
            return self._option(source.text, order, options)
        if isinstance(source, DictSource):
            return self._values(source.values, source.name, order)
        if isinstance(source, Mapping):
            return self._values(source, "configuration", order)
        if isinstance(source, Path):
            return self._file(str(source), order)
        return self._uri(source, order)

    def _complain(self, position: Position, message: str, suggestion: str = "") -> None:
        self.problems.append(error(position, (), message, suggestion))

    def _values(self, values: Mapping[str, Any], name: str, order: int) -> Node | None:
        try:
            return from_plain(values, name, order)
        except NotConfigurationError as failure:
            self._complain(Position(name, order=order), str(failure))
            return None

    def _uri(self, uri: str, order: int) -> Node | None:
        scheme, rest = (
            ("file", uri) if _WINDOWS_DRIVE.match(uri) else scheme_of(uri) or ("file", uri)
        )
        if scheme == "file":
            return self._file(rest, order)
        if scheme == "yaml":
            node = self._text(Reader("yaml:", order), rest)
            return None if node is None else nested(node)
        if scheme == "env":
            return self._variable(rest, order)
        position = Position(uri, order=order)
        hint = "fetch it to a file first" if scheme in {"http", "https"} else ""
        self._complain(
            position, f'scheme "{scheme}" is not supported; file, env and yaml are', hint
        )
        return None

    def _variable(self, name: str, order: int) -> Node | None:
        position = Position(f"env:{name}", order=order)
        if not _VARIABLE.fullmatch(name):
            self._complain(position, f"must match regex ^{_VARIABLE.pattern}$")
            return None
        value = self._environment.get(name)
        if value is None:
            self._complain(position, "the environment variable is not set")
            return None
        return self._text(Reader(f"env:{name}", order), value)

    def _text(self, reader: Reader, text: str) -> Node | None:
        node = reader.read(text)
        return self._noted(reader, node)

    def _file(self, name: str, order: int) -> Node | None:
        position = Position(name or "--config", order=order)
        if not name:
            self._complain(position, "the name of a file is missing")
            return None
        try:
            content = read_bytes(Path(name))
        except (OSError, ValueError) as failure:
            reason = getattr(failure, "strerror", None) or str(failure)
            self._complain(position, f"unable to read the file: {reason}")
            return None
        reader = Reader(name, order)
        return self._noted(reader, reader.read_bytes(content))

    def _noted(self, reader: Reader, node: Node | None) -> Node | None:
        self.problems += reader.problems
        self._texts += 1
        if node is not None and node.value is None and not reader.problems:
            self._empty.append(node.position)
        return node

    def _option(self, text: str, order: int, number: int) -> Node | None:
        position = Position(SET_OPTION, number, 1, order)
        key, equals, value = text.partition("=")
        if not equals:
            self._complain(position, f'missing equal sign in "{text}"', "write a.b.c=value")
            return None
        parts = re.split(r"\.|::", key.strip())
        if not all(parts):
            self._complain(position, f'"{key}" has an empty part', "write a.b.c=value")
            return None
        reader = Reader(SET_OPTION, order)
        node = reader.read(value)
        if node is None or reader.problems:
            self._complain(position, f'the value of "{key}" is not YAML')
            return None
        place = Position(SET_OPTION, number, len(key) + 2, order)
        _move(node, place)
        for part in reversed(parts):
            node.key = position
            node = Node({part: node}, position)
        return node


def _move(node: Node, position: Position) -> None:
    """Put everything inside one option at the place of its value."""
    node.position = position
    if isinstance(node.value, dict):
        children = list(node.value.values())
    else:
        children = node.value if isinstance(node.value, list) else []
    for child in children:
        child.key = position
        _move(child, position)
