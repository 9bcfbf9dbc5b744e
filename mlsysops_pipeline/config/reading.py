"""YAML text to nodes with positions, by the rules of the Collector's YAML (1.2 core schema).

`yes` and `no` are strings, `0x1F` and `0o17` numbers, dates are strings. A duplicate key, a tab,
bytes that are not UTF-8 or a document that is no map is a problem with its place, never an
exception.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from mlsysops_pipeline.config.nodes import DEPTH_MAX, Node
from mlsysops_pipeline.config.problems import Position, Problem, error

if TYPE_CHECKING:
    from pathlib import Path

    from mlsysops_pipeline.config.nodes import Scalar

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BYTES_MAX = 16 * 1024 * 1024
_NODES_MAX = 100_000
_DIGITS_MAX = 100  # more are no number of anything, and cost quadratic time
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = {"", "~", "null", "Null", "NULL"}
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_BASED = re.compile(r"([-+]?)0(x[0-9a-fA-F_]+|o[0-7_]+|b[01_]+)")
_OLD_OCTAL = re.compile(r"([-+]?)0([0-7_]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|(\.nan|\.NaN|\.NAN)")


class Reader:
    """Reads one YAML text; problems are collected in ``problems``."""

    def __init__(self, source: str, order: int = 0) -> None:
        self.source = source
        self.order = order
        self.problems: list[Problem] = []
        self._nodes = 0
        self._gave_up = False

    def read_bytes(self, content: bytes) -> Node | None:
        """The nodes of a file's content, or ``None`` and a problem."""
        if len(content) > BYTES_MAX:
            self._complain(Position(self.source, 1, 1), "the file is larger than 16 MiB")
            return None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as failure:
            before = content[: failure.start]
            line = before.count(b"\n") + 1
            column = len(before) - (before.rfind(b"\n") + 1) + 1
            byte = content[failure.start]
            self._complain(
                Position(self.source, line, column), f"not UTF-8: byte 0x{byte:02x} is invalid"
            )
            return None
        return self.read(text)

    def read(self, text: str) -> Node | None:
        """The nodes of a text; an empty document is a null node."""
        try:
            documents = list(yaml.compose_all(text, Loader=_Loader))
        except yaml.MarkedYAMLError as failure:
            mark = failure.problem_mark or failure.context_mark
            what = failure.problem or failure.context or "not YAML"
            self._complain(self._mark(mark), _explained(what, text, mark))
            return None
        except yaml.reader.ReaderError as failure:
            place = _line_and_column(text, failure.position)
            self._complain(Position(self.source, *place), f"not YAML: {failure.reason}")
            return None
        except UnicodeError:
            self._complain(Position(self.source, 1, 1), "not UTF-8")
            return None
        except (yaml.YAMLError, RecursionError) as failure:
            what = str(failure).partition("\n")[0]
            self._complain(Position(self.source, 1, 1), f"not YAML: {what}")
            return None
        if len(documents) > 1:
            self._complain(
                self._mark(documents[1].start_mark), "more than one YAML document in one file"
            )
            return None
        if not documents:
            return Node(None, Position(self.source, 1, 1, self.order), text="")
        return self._node(documents[0], 0, ())

    def _complain(self, position: Position, message: str) -> None:
        place = Position(position.source, position.line, position.column, self.order)
        self.problems.append(error(place, (), message))

    def _mark(self, mark: Any) -> Position:
        if mark is None:
            return Position(self.source, 1, 1, self.order)
        return Position(self.source, mark.line + 1, mark.column + 1, self.order)

    def _node(self, node: Any, depth: int, parents: tuple[int, ...]) -> Node:
        position = self._mark(node.start_mark)
        self._nodes += 1
        if self._nodes > _NODES_MAX or depth > DEPTH_MAX or id(node) in parents:
            if not self._gave_up:
                self._gave_up = True
                self._complain(position, "too large, nested too deeply, or an endless alias")
            return Node(None, position)
        below = (*parents, id(node))
        if isinstance(node, yaml.ScalarNode):
            return Node(_scalar(node), position, text=node.value)
        if isinstance(node, yaml.SequenceNode):
            return Node([self._node(child, depth + 1, below) for child in node.value], position)
        return self._map(node, position, depth, below)

    def _map(self, node: Any, position: Position, depth: int, below: tuple[int, ...]) -> Node:
        children: dict[str, Node] = {}
        defaults: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self._mark(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(place, "a key must be a string, not a list or map")
                continue
            key = key_node.value
            child = self._node(value_node, depth + 1, below)
            if key == "<<" and not key_node.style:
                defaults.update(self._merge_key(child))
                continue
            child.key = place
            if key in children:
                first = children[key].at
                self._complain(
                    place, f"duplicate key {key!r}: it stands in line {first.line} already"
                )
                continue
            children[key] = child
        return Node({**defaults, **children}, position)

    def _merge_key(self, node: Node) -> dict[str, Node]:
        if isinstance(node.value, dict):
            return node.value
        if isinstance(node.value, list) and all(isinstance(c.value, dict) for c in node.value):
            result: dict[str, Node] = {}
            for child in reversed(node.value):
                if isinstance(child.value, dict):
                    result.update(child.value)
            return result
        self._complain(node.position, "<< takes a map or a list of maps")
        return {}


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Where a byte offset of the UTF-8 text is, counted from 1."""
    before = text.encode(errors="replace")[:offset].decode(errors="ignore")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _explained(what: str, text: str, mark: Any) -> str:
    if mark is not None:
        lines = text.split("\n")
        line = lines[mark.line] if mark.line < len(lines) else ""
        if "\t" in line[: mark.column + 1] or "'\\t'" in what:
            return "a tab; YAML is indented with spaces"
        return f"not YAML: {what}{_likely_cause(what, line, mark.column)}"
    return f"not YAML: {what}"


def _likely_cause(what: str, line: str, column: int) -> str:
    """What was meant, in words of those who wrote it, where YAML's own words say little."""
    if what == "mapping values are not allowed in this context":
        if line[column:].strip() == ":":
            return " (a value ends in a colon: is a port missing behind it?)"
        if ": " in line[:column]:
            return " (a value with a colon and a space in it must be in quotes)"
        return " (is this line indented deeper than the one above it?)"
    if what in {"did not find expected key", "did not find expected '-' indicator"}:
        return " (is this line indented as its neighbours are?)"
    return ""


def _scalar(node: Any) -> Scalar:
    text: str = node.value
    if node.style or (node.tag == "tag:yaml.org,2002:str" and _explicit(node)):
        return text
    return resolve(text)


def _explicit(node: Any) -> bool:
    """Whether a plain scalar has the tag `!!str` written before it."""
    width = node.end_mark.index - node.start_mark.index
    return bool(width > len(node.value))


def resolve(text: str) -> Scalar:
    """The value of a plain scalar."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in "-+.0123456789" or len(text) > _DIGITS_MAX:
        return text
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if based := _BASED.fullmatch(text):
        digits = based[2][1:].replace("_", "")
        base = {"x": 16, "o": 8, "b": 2}[based[2][0]]
        return (-1 if based[1] == "-" else 1) * int(digits or "0", base)
    if old := _OLD_OCTAL.fullmatch(text):
        return (-1 if old[1] == "-" else 1) * int(old[2].replace("_", "") or "0", 8)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if special := _SPECIAL.fullmatch(text):
        return float("nan") if special[3] else float(f"{special[1]}inf")
    return text


def read_bytes(path: Path) -> bytes:
    """A file's content, at most one byte above the limit (devices have no end). `OSError`."""
    with path.open("rb") as file:
        return file.read(BYTES_MAX + 1)


def plain_yaml(path: Path) -> dict[str, Any]:
    """A file of ours as plain values. Raises `ValueError` if it is no map."""
    node = Reader(str(path)).read_bytes(read_bytes(path))
    value = node.plain() if node is not None else None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no configuration file")  # noqa: TRY004  its content
    return value
