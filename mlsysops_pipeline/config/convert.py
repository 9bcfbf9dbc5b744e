"""One node to one value of an annotation, by the Collector's strict rules.

A number is no string and ``"true"`` no bool. What came from exactly one `${...}` keeps its text for
string fields and its YAML type for others. Null keeps the default of lists, maps and models and is
the zero of scalars (service behaviour, sections 1.2 and 2.3).
"""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from mlsysops_pipeline.config.nodes import Node
from mlsysops_pipeline.config.schema import (
    CaseInsensitive,
    DurationText,
    ExtensionName,
    HeaderPairs,
)
from mlsysops_pipeline.config.values import Opaque, format_duration, parse_duration
from mlsysops_pipeline.config.wording import (
    about_line_breaks,
    did_you_mean,
    empty_variable,
    kind_of,
    listed,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.config.decode import Decoder
    from mlsysops_pipeline.config.problems import Path, Position
    from mlsysops_pipeline.ids import ComponentID


class _Mark(enum.Enum):
    BAD = "a problem was noted"
    DEFAULT = "the default stays"


BAD = _Mark.BAD
"""There is no value; the problem is noted."""
DEFAULT = _Mark.DEFAULT
"""The key counts as not written."""

_NS_PER_S = 1_000_000_000
_LISTS = (tuple, list, set, frozenset, Sequence, AbstractSet)
_MAPS = (dict, Mapping)


@dataclass(frozen=True, slots=True)
class Reference:
    """The id of an extension, where it was written."""

    id: ComponentID
    position: Position
    path: Path


@dataclass(frozen=True, slots=True)
class _Call:
    """The value that is being read, and what is known about where it goes."""

    decoder: Decoder
    node: Node
    path: Path
    metadata: tuple[Any, ...]
    default: Any

    def has(self, mark: type) -> bool:
        return any(isinstance(item, mark) for item in self.metadata)

    def bad(self, message: str, suggestion: str = "") -> Any:
        """Note a problem with the value."""
        if self.node.empty and not self.node.is_tree:
            message, suggestion = empty_variable(self.node), ""
        suggestion = suggestion or about_line_breaks(self.node)
        self.decoder.error(self.node.position, self.path, message, suggestion)
        return BAD

    def expected(self, what: str, suggestion: str = "") -> Any:
        return self.bad(f"expected {what}, got {shown(self.node)}", suggestion)

    def zero(self, value: Any, text: str) -> Any:
        """What null means for a scalar. An empty variable is no such null."""
        if self.node.empty:
            return self.bad("")
        if self.default is not None and self.default != value:
            message = f"nothing is written here, which means {text}"
            hint = "leave the key out for its default"
            self.decoder.warning(self.node.at, self.path, message, hint)
        return value


def is_duration(annotation: Any, metadata: Iterable[Any]) -> bool:
    """Whether an annotation with this metadata is a `Duration`, perhaps an optional one."""
    if any(isinstance(mark, DurationText) for mark in metadata):
        return True
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return is_duration(inner, marks)
    if _is_union(annotation):
        return any(is_duration(choice, ()) for choice in get_args(annotation))
    return False


def is_secret(annotation: Any) -> bool:
    """Whether values of an annotation hold secrets."""
    if annotation is Opaque:
        return True
    return any(is_secret(part) for part in get_args(annotation))


def convert(  # noqa: PLR0917  called once a value, with the same five in the same order
    decoder: Decoder,
    annotation: Any,
    metadata: tuple[Any, ...],
    node: Node,
    path: Path,
    default: Any = None,
) -> Any:
    """The value of a node for an annotation; `BAD` after noting a problem, or `DEFAULT`."""
    while get_origin(annotation) is Annotated:
        annotation, *marks = get_args(annotation)
        metadata = (*marks, *metadata)
    call = _Call(decoder, node, path, metadata, default)
    if annotation is Any or annotation is object:
        return node.plain()
    if call.has(HeaderPairs):
        return _headers(call)
    origin = get_origin(annotation)
    if _is_union(annotation):
        return _union(call, get_args(annotation))
    if origin is Literal:
        return _word(call, {str(word): word for word in get_args(annotation)})
    if (origin or annotation) in _LISTS:
        return _list(call, origin or annotation, get_args(annotation))
    if (origin or annotation) in _MAPS:
        return _map(call, get_args(annotation))
    if isinstance(annotation, type):
        return _of_type(call, annotation)
    return node.plain()


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in {Union, types.UnionType}


def _of_type(call: _Call, wanted: type) -> Any:
    if wanted in _SCALARS:
        return _SCALARS[wanted](call)
    if issubclass(wanted, BaseModel):
        model = call.decoder.model(wanted, call.node, call.path)
        return BAD if model is None else model
    if issubclass(wanted, enum.Enum):
        return _word(call, {str(member.value): member for member in wanted})
    if wanted is FilePath:
        text = _string(call)
        return text if text is BAD else FilePath(text)
    if hasattr(wanted, "parse"):
        return _parsed(call, wanted)
    return call.node.plain()  # pydantic knows what it is


def _string(call: _Call) -> Any:
    value = call.node.value
    if isinstance(value, str):
        return value
    if call.node.reference and call.node.text is not None:
        return call.node.text
    if value is None:
        return ""
    if call.node.is_tree:
        return call.expected("a string")
    return call.expected("a string", f'write "{call.node.text}" in quotes')


_BOOL_HINTS = {
    "true": "write true without quotes",
    "false": "write false without quotes",
    **dict.fromkeys(("yes", "on"), "write true"),
    **dict.fromkeys(("no", "off"), "write false"),
}


def _bool(call: _Call) -> Any:
    value = call.node.value
    if isinstance(value, bool):
        return value
    if value is None:
        return call.zero(value=False, text="false")
    word = value.lower() if isinstance(value, str) else ""
    hint = _BOOL_HINTS.get(word, "")
    return call.expected("true or false", hint)


def _int(call: _Call) -> Any:
    value = call.node.value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None:
        return call.zero(0, "0")
    return call.expected("a whole number", _without_unit(value))


def _float(call: _Call) -> Any:
    value = call.node.value
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        return number if math.isfinite(number) else call.expected("a finite number")
    if value is None:
        return call.zero(0.0, "0")
    return call.expected("a number", _without_unit(value))


def _without_unit(value: Any) -> str:
    """For sizes like 64MiB and quoted numbers."""
    if not isinstance(value, str):
        return ""
    digits = value[: len(value) - len(value.lstrip("0123456789"))]
    if digits and digits == value:
        return f"write {digits} without quotes"
    if digits and value[len(digits) :].strip().isalpha():
        return "sizes are plain numbers; the key says in which unit"
    return ""


def _duration(call: _Call) -> Any:
    value = call.node.value
    if value is None:
        return call.zero(0.0, "0s")
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            return call.expected("a duration that is not negative")
        if value:
            text = format_duration(value / _NS_PER_S)
            message = f"a number without a unit counts nanoseconds: {value} is {text}"
            hint = f"write {value}s if seconds are meant"
            call.decoder.warning(call.node.position, call.path, message, hint)
        return value / _NS_PER_S
    if not isinstance(value, str):
        return call.expected("a duration such as 5s, 200ms or 1h30m")
    try:
        seconds = parse_duration(value)
    except ValueError as failure:
        return call.bad(str(failure))
    return seconds if seconds >= 0 else call.expected("a duration that is not negative")


def _number(call: _Call) -> Any:
    return _duration(call) if call.has(DurationText) else _float(call)


_SCALARS: dict[type, Callable[[_Call], Any]] = {
    str: _string,
    bool: _bool,
    int: _int,
    float: _number,
}


def _word(call: _Call, words: Mapping[str, Any]) -> Any:
    """One of a closed set: a `Literal` or an enum."""
    value = call.node.value
    text = "" if value is None else call.node.text
    if call.node.is_tree or text is None:
        return call.expected("one word", listed(words))
    if text in words and (value is None or call.node.reference or _same_type(value, words[text])):
        return words[text]
    if call.has(CaseInsensitive):
        folded = {word.lower(): chosen for word, chosen in words.items()}
        if isinstance(value, str) and value.lower() in folded:
            return folded[value.lower()]
    if value is None:
        return call.bad("must not be empty", listed(words))
    return call.bad(f"{shown(call.node)} is not allowed", did_you_mean(text, words))


def _same_type(value: Any, word: Any) -> bool:
    plain = word.value if isinstance(word, enum.Enum) else word
    return type(value) is type(plain) or isinstance(plain, str) is isinstance(value, str)


def _parsed(call: _Call, wanted: Any) -> Any:
    """A class that reads itself from a string."""
    secret = wanted is Opaque
    if secret and not isinstance(call.node.value, str | None) and not call.node.reference:
        return call.bad(f"expected a string, got {kind_of(call.node)}", "write it in quotes")
    text = _scalar_text(call) if getattr(wanted, "takes_scalars", False) else _string(call)
    if text is BAD:
        return BAD
    try:
        result = wanted.parse(text)
    except ValueError as failure:
        return call.bad(kind_of(call.node) + " of a wrong form" if secret else str(failure))
    if call.node.empty and not secret and _lacks_host(text):
        return call.bad("")
    if call.has(ExtensionName):
        call.decoder.references.append(Reference(result, call.node.position, call.path))
    return result


def _scalar_text(call: _Call) -> Any:
    """How any scalar is written, for classes that read those of another program's files."""
    if call.node.is_tree:
        return call.expected("a string")
    return "" if call.node.value is None else call.node.text or ""


def _lacks_host(text: str) -> bool:
    """Whether an address or URL begins with its port or path, which a listener may want."""
    return text.rpartition("://")[2][:1] in {"", ":", "/"}


def _list(call: _Call, wanted: Any, parts: tuple[Any, ...]) -> Any:
    item = parts[0] if parts else Any
    node = call.node
    if node.value is None:
        return DEFAULT
    is_fixed = wanted is tuple and len(parts) > 1 and parts[-1] is not Ellipsis
    if isinstance(node.value, str) and not is_fixed:
        return _split(call, wanted, item)
    if not isinstance(node.value, list):
        return call.expected("a list")
    if is_fixed and len(parts) != len(node.value):
        return call.expected(f"a list of {len(parts)}")
    wants = parts if is_fixed else (item,) * len(node.value)
    values = [
        convert(call.decoder, want, (), child, (*call.path, index))
        for index, (want, child) in enumerate(zip(wants, node.value, strict=True))
    ]
    if any(value is BAD for value in values):
        return BAD
    return _collected(wanted, [value for value in values if value is not DEFAULT])


def _split(call: _Call, wanted: Any, item: Any) -> Any:
    """A string for a list: split at commas, not trimmed."""
    while get_origin(item) is Annotated:
        item = get_args(item)[0]
    textual = item is str or get_origin(item) is Literal or hasattr(item, "parse")
    if not textual and not (isinstance(item, type) and issubclass(item, enum.Enum)):
        return call.expected("a list")
    text = str(call.node.value)
    pieces = text.split(",") if text else []
    values = [
        convert(call.decoder, item, (), Node(piece, call.node.position, piece), call.path)
        for piece in pieces
    ]
    return BAD if any(value is BAD for value in values) else _collected(wanted, values)


def _collected(wanted: Any, values: list[Any]) -> Any:
    if wanted in {list, Sequence}:
        return values
    if wanted is tuple:
        return tuple(values)
    return frozenset(values) if wanted in {frozenset, AbstractSet} else set(values)


def _map(call: _Call, parts: tuple[Any, ...]) -> Any:
    want = parts[1] if len(parts) > 1 else Any
    if call.node.value is None:
        return DEFAULT
    if not isinstance(call.node.value, dict):
        return call.expected("a map")
    values = {
        key: convert(call.decoder, want, (), child, (*call.path, key))
        for key, child in call.node.value.items()
    }
    if any(value is BAD for value in values.values()):
        return BAD
    return {key: value for key, value in values.items() if value is not DEFAULT}


def _headers(call: _Call) -> Any:
    """A map, or a list of ``{name, value}``; values are secret."""
    children = call.node.value
    if children is None:
        return DEFAULT
    pairs: list[tuple[str, Any]] = []
    if isinstance(children, dict):
        for key, child in children.items():
            pairs.append((key, convert(call.decoder, Opaque, (), child, (*call.path, key))))
    elif isinstance(children, list):
        for index, child in enumerate(children):
            pairs.append(_header(call, child, (*call.path, index)))
    else:
        kind = kind_of(call.node)
        return call.bad(f"expected a map, or a list of {{name, value}}, got {kind}")
    return BAD if any(BAD in pair for pair in pairs) else tuple(pairs)


def _header(call: _Call, node: Node, path: Path) -> tuple[Any, Any]:
    decoder = call.decoder
    if not isinstance(node.value, dict) or "name" not in node.value:
        decoder.error(node.position, path, f"expected a map of name and value, got {kind_of(node)}")
        return BAD, BAD
    for key, child in node.value.items():
        if key not in {"name", "value"}:
            hint = did_you_mean(key, ("name", "value"))
            decoder.error(child.at, (*path, key), "unknown key", hint)
            return BAD, BAD
    name = convert(decoder, str, (), node.value["name"], (*path, "name"))
    secret = node.value.get("value")
    if secret is None:
        return name, Opaque("")
    return name, convert(decoder, Opaque, (), secret, (*path, "value"))


def _union(call: _Call, choices: tuple[Any, ...]) -> Any:
    """``X | None`` and other alternatives: the first that fits without a problem."""
    real = [choice for choice in choices if choice is not types.NoneType]
    if call.node.value is None and len(real) < len(choices):
        return None
    if len(real) == 1:
        return convert(
            call.decoder, real[0], call.metadata, call.node, call.path, default=call.default
        )
    known, references = len(call.decoder.problems), len(call.decoder.references)
    noted: list[list[Any]] = []
    for choice in real:
        value = convert(call.decoder, choice, call.metadata, call.node, call.path)
        if value is not BAD:
            return value
        noted.append(call.decoder.problems[known:])
        del call.decoder.problems[known:]
        del call.decoder.references[references:]
    # The alternative that got furthest explains best what is wrong.
    call.decoder.problems += max(noted, key=lambda problems: max(len(p.path) for p in problems))
    return BAD
