"""YAML text of a tree of values, each with a comment. Written so that `reading` gets it back."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.config.reading import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./:+@%-]*")
_ELSEWHERE = re.compile(r"(?i)(y|n|yes|no|on|off|[0-9:.]+)")
"""What other readers of YAML take for a bool, a number or a time."""
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Tree:
    """A scalar, a map or a list of trees, and where it comes from."""

    value: Any
    origin: str = ""


def plain(tree: Tree) -> Any:
    """The values alone. ``$`` is doubled where `${` would be read as a reference."""
    if isinstance(tree.value, dict):
        return {key: plain(child) for key, child in tree.value.items()}
    if isinstance(tree.value, list):
        return [plain(child) for child in tree.value]
    return _escaped(tree.value) if isinstance(tree.value, str) else tree.value


def json_text(tree: Tree) -> str:
    """The values as JSON, with a newline at the end."""
    return _printable(json.dumps(plain(tree), indent=2, ensure_ascii=False)) + "\n"


def yaml_lines(tree: Tree) -> Iterator[str]:
    """The lines of a map."""
    yield from _block(tree, 0)


def _block(tree: Tree, indent: int) -> Iterator[str]:
    pad = " " * indent
    if isinstance(tree.value, dict):
        for key, child in tree.value.items():
            head = f"{pad}{_text(key)}:"
            if _is_leaf(child):
                yield _commented(f"{head} {_scalar(child.value)}", child.origin)
            else:
                yield head
                yield from _block(child, indent + 2)
        return
    for child in tree.value:
        if _is_leaf(child):
            yield _commented(f"{pad}- {_scalar(child.value)}", child.origin)
        else:
            lines = _block(child, indent + 2)
            yield f"{pad}- {next(lines)[indent + 2 :]}"
            yield from lines


def _is_leaf(tree: Tree) -> bool:
    return not isinstance(tree.value, dict | list) or not tree.value


def _commented(line: str, origin: str) -> str:
    return f"{line}  # {_UNPRINTABLE.sub('?', origin)}" if origin else line


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, dict | list):
        return "{}" if isinstance(value, dict) else "[]"
    return _text(_escaped(value)) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    if (
        _PLAIN.fullmatch(text)
        and not text.endswith(":")
        and not _ELSEWHERE.fullmatch(text)
        and isinstance(resolve(text), str)
    ):
        return text
    return _printable(json.dumps(text, ensure_ascii=False))


def _printable(quoted: str) -> str:
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _escaped(text: str) -> str:
    return text.replace("$", "$$") if "${" in text or "$$" in text else text
