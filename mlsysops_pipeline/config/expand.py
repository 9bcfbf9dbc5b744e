"""`${...}` in values (service behaviour, sections 2.2 and 2.3).

`${env:NAME:-default}`, `${NAME}`, `${file:path}`, `${yaml:text}`, nested, `$$` for a dollar sign.
A value that is exactly one reference takes the type of what it refers to; inside other text the
result is text, whatever it contains: a newline in a variable is part of the value and never
becomes structure.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlsysops_pipeline.config.nodes import Node, nested
from mlsysops_pipeline.config.problems import Position, Problem, Severity, error
from mlsysops_pipeline.config.reading import Reader, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.config.problems import Path as KeyPath

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_ROUNDS_MAX = 1000
_TEXT_MAX = 1024 * 1024
_REFERENCES_MAX = 5_000
"""In a whole configuration: variables that contain lists of variables grow exponentially."""
_INSIDE_MAX = 16
"""References inside what another one stands for: includes in includes."""
UNSET = "unset"
"""The code of problems about environment variables without a value."""


def scheme_of(uri: str) -> tuple[str, str] | None:
    """The scheme and the rest of ``scheme:rest``; ``None`` if there is no scheme."""
    match = _SCHEME.fullmatch(uri)
    return (match[1], match[2]) if match else None


class Expander:
    """Expands one tree. Problems are collected in ``problems``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._references = 0
        self._inside = 0
        self.problems: list[Problem] = []
        self._failed: set[KeyPath] = set()

    def failed_at(self, path: KeyPath) -> bool:
        """Whether what stands at this path is not what was meant, because a reference failed."""
        return any(path[:length] in self._failed for length in range(1, len(path) + 1))

    def expand(self, node: Node, path: KeyPath = ()) -> Node:
        """The tree with every reference replaced and `$$` unescaped. Keys are never expanded."""
        if isinstance(node.value, dict):
            children = {k: self.expand(child, (*path, k)) for k, child in node.value.items()}
            return Node(children, node.position, node.text, node.key, node.reference, node.empty)
        if isinstance(node.value, list):
            items = [self.expand(child, (*path, i)) for i, child in enumerate(node.value)]
            return Node(items, node.position, node.text, node.key, node.reference, node.empty)
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        return self._value(node, path)

    def _value(self, node: Node, path: KeyPath) -> Node:
        text = str(node.value)
        reference = ""
        empty: tuple[str, ...] = ()
        for _ in range(_ROUNDS_MAX):
            span = _reference(text)
            if span is None:
                plain = text.replace("$$", "$")
                return Node(plain, node.position, plain, node.key, reference, empty)
            self._references += 1
            if self._references > _REFERENCES_MAX or self._inside > _INSIDE_MAX:
                break
            start, end = span
            inner = text[start + 2 : end - 1]
            found = self._retrieve(inner, node.position, path)
            empty = (*empty, *found.empty)
            if start == 0 and end == len(text):
                reference = reference or inner
                if not isinstance(found.value, str) or "$" not in found.value:
                    found.key, found.reference, found.empty = node.key, reference, empty
                    return self._below(found, path) if found.is_tree else found
                text = found.value
                continue
            if found.is_tree:
                self._complain(node.position, path, f"${{{inner}}} is a map or list inside text")
                return Node(None, node.position, key=node.key)
            text = text.replace(text[start:end], found.text or "")
            if len(text) > _TEXT_MAX:
                break
        message = "too many recursive expansions"
        if not any(problem.message == message for problem in self.problems):
            self._complain(node.position, path, message)
        return Node(None, node.position, key=node.key)

    def _below(self, tree: Node, path: KeyPath) -> Node:
        """A map or list that a reference stands for, with the references inside it replaced."""
        self._inside += 1
        expanded = self.expand(tree, path)
        self._inside -= 1
        return expanded

    def _complain(self, position: Position, path: KeyPath, message: str) -> None:
        self.problems.append(error(position, path, message))
        self._failed.add(path)

    def _retrieve(self, uri: str, position: Position, path: KeyPath) -> Node:
        if "$" in uri:
            message = f"the uri \"{uri}\" contains unsupported characters ('$')"
            self._complain(position, path, message)
            return Node("", position, "")
        scheme, rest = scheme_of(uri) or ("env", uri)
        if rest.startswith("-"):  # ${NAME:-default}
            scheme, rest = "env", uri
        if scheme == "env":
            return self._variable(rest, position, path)
        if scheme == "yaml":
            return nested(_parsed(rest, f"${{{uri}}}", position))
        if scheme == "file":
            return self._file(rest, position, path)
        message = f'scheme "{scheme}" is not supported for uri "{uri}"; env, file and yaml are'
        self._complain(position, path, message)
        return Node("", position, "")

    def _variable(self, text: str, position: Position, path: KeyPath) -> Node:
        name, has_default, default = text.partition(":-")
        if not _NAME.fullmatch(name):
            regex = f"^{_NAME.pattern}$"
            message = f'environment variable "{name}" has invalid name: must match regex {regex}'
            if name.isdecimal():  # the usual trap of relabelling rules
                message += f"; write $${{{name}}} if a group of a regular expression is meant"
            self._complain(position, path, message)
            return Node("", position, "")
        value = self._environment.get(name)
        if value is None and has_default:
            return _parsed(default, f"env:{name}", position) if default else Node("", position, "")
        if not value:
            state = "not set" if value is None else "empty"
            message = f"environment variable {name} is {state}"
            self.problems.append(Problem(Severity.WARNING, position, path, message, code=UNSET))
            return Node(None, position, "", empty=(name,))
        return _parsed(value, f"env:{name}", position)

    def _file(self, name: str, position: Position, path: KeyPath) -> Node:
        try:
            content = read_bytes(Path(name)).decode()
        except (OSError, UnicodeDecodeError, ValueError) as failure:
            reason = getattr(failure, "strerror", None) or str(failure)
            self._complain(position, path, f"unable to read the file {name}: {reason}")
            return Node("", position, "")
        # A file of one word ends in a newline that nobody means.
        text = content.removesuffix("\n").removesuffix("\r")
        start = Position(name, 1, 1, position.order)
        reader = Reader(name, position.order)
        node = reader.read(text)
        if node is None or reader.problems or isinstance(node.value, str):
            return Node(text, start, text)
        if not node.is_tree:
            node.text = text
        return node


def _parsed(text: str, source: str, position: Position) -> Node:
    """The text as YAML. A string stays as it is, quotes and comments included, like no YAML.

    The position stays the user's.
    """
    reader = Reader(source)
    node = reader.read(text)
    if node is None or reader.problems or isinstance(node.value, str):
        return Node(text, position, text)
    _place(node, position)
    node.text = text
    return node


def _place(node: Node, position: Position) -> None:
    node.position = position
    if isinstance(node.value, dict):
        for child in node.value.values():
            child.key = position
            _place(child, position)
    elif isinstance(node.value, list):
        for child in node.value:
            _place(child, position)


def _reference(text: str) -> tuple[int, int] | None:
    """The first innermost `${...}`. When it is escaped by `$` the search stops (a quirk)."""
    closing = text.find("}")
    while closing >= 0:
        start = text.rfind("${", 0, closing)
        if start >= 0:
            dollars = 0
            while start - dollars > 0 and text[start - dollars - 1] == "$":
                dollars += 1
            return None if dollars % 2 else (start, closing + 1)
        closing = text.find("}", closing + 1)
    return None
