"""Conditions on attributes: the part of OTTL that needs nothing but comparison.

    resource.attributes["env"] == "prod" and not IsMatch(attributes["http.route"], "^/internal")

Component reference: D1 and "OTTL grammar" under C4. What is here behaves as in the Collector:
values of different types are unequal, integers and floats compare as numbers, a missing key is
``nil``, ``IsMatch`` searches (RE2) what the Collector would render as text. Nothing here can fail
at run time, so an ``error_mode`` has nothing to decide. Everything else of OTTL is refused with a
message that lists what there is.
"""

from __future__ import annotations

import enum
import json
import operator
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.payload import NO_METADATA, Metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SUPPORTED = (
    'supported are attributes["key"], resource.attributes["key"], scope.attributes["key"], '
    'datapoint.attributes["key"], log.attributes["key"], span.attributes["key"], metric.name, '
    'span.name and request["key"]; ==, !=, <, <=, >, >= with texts, numbers, true, false and nil; '
    'IsMatch(path, "pattern"); and, or, not, parentheses'
)
_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?(?![\w.]))"
    r"|(?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
    r"|(?P<sign>==|!=|<=|>=|[<>()\[\],]))"
)
_NESTING_MAX = 50


class Level(enum.IntEnum):
    """How deep a request must be opened to judge, from the outside to the inside."""

    REQUEST = 0
    RESOURCE = 1
    SCOPE = 2
    METRIC = 3
    ITEM = 4
    """A data point, log record or span."""


CONTEXTS = {
    "request": Level.REQUEST,
    "otelcol": Level.REQUEST,
    "resource": Level.RESOURCE,
    "metric": Level.METRIC,
    "datapoint": Level.ITEM,
    "log": Level.ITEM,
    "span": Level.ITEM,
}
"""The contexts a condition can have, and what it then chooses among."""

Attributes: TypeAlias = "Mapping[str, Any]"


@dataclass(slots=True)
class Scene:
    """What a condition sees of one item and of all that stands around it."""

    metadata: Metadata = NO_METADATA
    resource: Attributes = field(default_factory=dict)
    scope: Attributes = field(default_factory=dict)
    item: Attributes = field(default_factory=dict)
    name: str = ""
    """Of the metric or span."""


Test: TypeAlias = "Callable[[Scene], bool]"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that is ready.

    ``needs``: the levels whose content it looks at. ``keys``: the attributes of items among that.
    """

    context: str
    needs: frozenset[Level]
    keys: frozenset[bytes]
    test: Test

    @property
    def level(self) -> Level:
        """What the condition chooses among."""
        return CONTEXTS[self.context]


class ConditionError(ValueError):
    """A condition that is wrong, or beyond what is supported; the message says which."""


def compile_condition(text: str, context: str = "") -> Condition:
    """A condition, in ``context`` or the one that the prefixes of its paths tell.

    Raises `ConditionError`.
    """
    tokens = _tokens(text)
    chosen = context or _inferred(tokens)
    if chosen not in CONTEXTS:
        raise ConditionError(f"invalid context: {chosen}")
    parser = _Parser(tokens, chosen)
    test = parser.whole()
    return Condition(chosen, frozenset(parser.needs), frozenset(parser.keys), test)


def value_of(any_value: Any) -> Any:
    """An ``AnyValue`` of a view as conditions compare it.

    Texts, numbers, bools and bytes as Python's; nothing as ``None``; lists and maps as the
    message itself, which equals no literal.
    """
    kind = any_value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "string_value":
        return any_value.string_value.decode(errors="replace")
    if kind in {"array_value", "kvlist_value"}:
        return any_value
    return getattr(any_value, kind)


def attributes_of(pairs: Iterable[Any]) -> dict[str, Any]:
    """Open ``KeyValue``s of a view by key; the first of equal keys counts."""
    found: dict[str, Any] = {}
    for pair in pairs:
        found.setdefault(pair.key.decode(errors="replace"), value_of(pair.value))
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise ConditionError(f"{stripped[at:].strip()[:40]!r} is not supported; {SUPPORTED}")
        found.append((match.lastgroup or "", match[match.lastgroup or 0]))
        at = match.end()
    return found


def _inferred(tokens: list[tuple[str, str]]) -> str:
    """The context of a condition without one, by its deepest prefix (component reference, D1)."""
    prefixes = {word.partition(".")[0] for kind, word in tokens if kind == "word"}
    for context in ("datapoint", "log", "span", "metric"):
        if context in prefixes:
            return context
    if prefixes & {"resource", "attributes"}:
        return "resource"
    return "request" if prefixes & {"request", "otelcol"} else "resource"


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, tokens: list[tuple[str, str]], context: str) -> None:
        self._tokens = tokens
        self._at = 0
        self._nesting = 0
        self._context = context
        self.needs: set[Level] = set()
        self.keys: set[bytes] = set()

    def whole(self) -> Test:
        """The test of all the tokens."""
        test = self._either()
        if self._at < len(self._tokens):
            raise self._unsupported()
        return test

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, *wanted: str) -> bool:
        """Go past the next token if it is one of these words or signs."""
        kind, text = self._peek()
        if kind in {"word", "sign"} and text in wanted:
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._unsupported()

    def _unsupported(self) -> ConditionError:
        kind, text = self._peek()
        what = "the condition ends too early" if kind == "end" else f"{text!r} is not supported"
        return ConditionError(f"{what}; {SUPPORTED}")

    def _either(self) -> Test:
        tests = [self._both()]
        while self._take("or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda scene: any(test(scene) for test in tests)

    def _both(self) -> Test:
        tests = [self._negated()]
        while self._take("and"):
            tests.append(self._negated())
        return tests[0] if len(tests) == 1 else lambda scene: all(test(scene) for test in tests)

    def _negated(self) -> Test:
        self._nesting += 1
        if self._nesting > _NESTING_MAX:
            raise ConditionError(f"the condition nests deeper than {_NESTING_MAX} levels")
        try:
            if self._take("not"):
                test = self._negated()
                return lambda scene: not test(scene)
            if self._take("("):
                test = self._either()
                self._expect(")")
                return test
            return self._comparison()
        finally:
            self._nesting -= 1

    def _comparison(self) -> Test:
        if self._peek() == ("word", "IsMatch"):
            return self._is_match()
        left = self._value()
        kind, sign = self._peek()
        if kind == "sign" and sign in _COMPARE:
            self._at += 1
            compare, right = _COMPARE[sign], self._value()
            return lambda scene: compare(left(scene), right(scene))
        if self._tokens[self._at - 1] in {("word", "true"), ("word", "false")}:
            return lambda scene: left(scene) is True
        raise self._unsupported()

    def _is_match(self) -> Test:
        self._at += 1
        self._expect("(")
        read = self._value()
        self._expect(",")
        kind, text = self._peek()
        if kind != "text":
            raise self._unsupported()
        self._at += 1
        self._expect(")")
        try:
            search = compile_pattern(_unquoted(text)).search
        except ValueError as error:
            raise ConditionError(f"IsMatch: no regular expression: {error}") from error

        def test(scene: Scene) -> bool:
            text = _as_text(read(scene))
            return text is not None and search(text.encode()) is not None

        return test

    def _value(self) -> Callable[[Scene], Any]:
        kind, text = self._peek()
        value: Any
        if kind == "text":
            value = _unquoted(text)
        elif kind == "number":
            value = float(text) if {".", "e", "E"} & set(text) else int(text)
        elif kind == "word" and text in _CONSTANTS:
            value = _CONSTANTS[text]
        elif kind == "word":
            return self._path(text)
        else:
            raise self._unsupported()
        self._at += 1
        return lambda _scene: value

    def _path(self, word: str) -> Callable[[Scene], Any]:
        full = f"{self._context}.{word}" if word in {"attributes", "name"} else word
        if full in {"metric.name", "span.name"} and self._may_see(full):
            self._at += 1
            self.needs.add(Level.METRIC if full == "metric.name" else Level.ITEM)
            return operator.attrgetter("name")
        level, part = _ATTRIBUTES.get(full, (None, ""))
        if level is None or not self._may_see(full):
            raise self._unsupported()
        self._at += 1
        self._expect("[")
        kind, text = self._peek()
        if kind != "text":
            raise self._unsupported()
        self._at += 1
        self._expect("]")
        self.needs.add(level)
        key = _unquoted(text)
        if level is Level.ITEM:
            self.keys.add(key.encode("utf-8", "replace"))
        if level is Level.REQUEST:
            key = key.lower()
            return lambda scene: next(iter(scene.metadata.headers.get(key, ())), None)
        attributes: Callable[[Scene], Attributes] = operator.attrgetter(part)
        return lambda scene: attributes(scene).get(key)

    def _may_see(self, full: str) -> bool:
        """Whether the context has such a thing, itself or around it."""
        prefix = full.partition(".")[0]
        if prefix in {self._context, "request"}:
            return True
        if prefix == "resource":
            return CONTEXTS[self._context] >= Level.RESOURCE
        if prefix in {"scope", "instrumentation_scope"}:
            return CONTEXTS[self._context] >= Level.METRIC
        return prefix == "metric" and self._context == "datapoint"


_CONSTANTS = {"true": True, "false": False, "nil": None}
_ATTRIBUTES = {
    "request": (Level.REQUEST, ""),
    "resource.attributes": (Level.RESOURCE, "resource"),
    "scope.attributes": (Level.SCOPE, "scope"),
    "instrumentation_scope.attributes": (Level.SCOPE, "scope"),
    "datapoint.attributes": (Level.ITEM, "item"),
    "log.attributes": (Level.ITEM, "item"),
    "span.attributes": (Level.ITEM, "item"),
}


def _unquoted(text: str) -> str:
    try:
        found = json.loads(text, strict=False)
    except ValueError as error:
        raise ConditionError(f"{text} is no text: {error}") from error
    return str(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(left: Any, right: Any) -> bool:
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    return type(left) is type(right) and bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(left: Any, right: Any) -> bool:
        if _is_number(left) and _is_number(right):
            return compare(left, right)
        return (
            type(left) is type(right)
            and isinstance(left, str | bool | bytes)
            and compare(left, right)
        )

    return test


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
}


def _as_text(value: Any) -> str | None:
    """A value as ``IsMatch`` reads it; ``None`` for nothing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return any_values.format_double(value)
    if isinstance(value, bytes):
        return value.hex()
    return any_values.as_json(value)
