"""Ordered actions on attributes: what the processors `attributes` and `resource` share.

Pure. Attributes are a repeated field of ``KeyValue`` of any view that opens them; values travel
between attributes as serialized ``AnyValue``s, so that no kind of value is lost. Where a key occurs
more than once, reading takes the first and every other action treats all of them.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlsysops_pipeline.patterns import Pattern

_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?|nan", re.IGNORECASE
)
MARK_BYTES = 8
_MARKS = itertools.count()
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_KEYS_MAX = 1024
"""Keys whose match with a pattern is remembered."""
_INTEGER_DIGITS_MAX = 64
"""No 64-bit number needs more, and reading very long ones takes quadratic time."""


class Verb(enum.Enum):
    """What an action does (component reference, C1; ``append`` is ours)."""

    INSERT = "insert"
    UPDATE = "update"
    UPSERT = "upsert"
    APPEND = "append"
    DELETE = "delete"
    HASH = "hash"
    EXTRACT = "extract"
    CONVERT = "convert"


SETTING = frozenset({Verb.INSERT, Verb.UPDATE, Verb.UPSERT, Verb.APPEND})
"""The verbs that need a value."""


class KeyPattern:
    """A pattern over keys. Keys are few and come again, so what it says of each is remembered."""

    __slots__ = ("_known", "_pattern")

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._known: dict[bytes, bool] = {}

    def matches(self, key: bytes) -> bool:
        """Whether the pattern is found in the key."""
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KEYS_MAX:
                self._known.clear()
            known = self._known[key] = self._pattern.search(key) is not None
        return known


@dataclass(frozen=True, slots=True)
class Action:
    """One action. ``value`` and ``default`` are serialized ``AnyValue``s.

    ``from_context``: a name that `BoundActions` resolves. ``pattern``: of `extract`, with the keys
    that its groups fill, in order, in ``group_keys``. ``key_pattern``: of `delete` and `hash`.
    ``converted_type``: int, double or string.
    """

    verb: Verb
    key: bytes = b""
    value: bytes | None = None
    from_attribute: bytes | None = None
    from_context: str = ""
    default: bytes | None = None
    pattern: Pattern | None = None
    key_pattern: KeyPattern | None = None
    group_keys: tuple[bytes, ...] = ()
    converted_type: str = ""

    def touches(self) -> Iterator[bytes]:
        """The keys that this action may read or write, beside those that a pattern finds."""
        if self.key:
            yield self.key
        if self.from_attribute is not None:
            yield self.from_attribute
        yield from self.group_keys

    @property
    def searches_keys(self) -> bool:
        """Whether a pattern chooses keys, so that any attribute may be touched."""
        return self.key_pattern is not None


class BoundActions:
    """A list of actions with the values that they take from the context of a request.

    ``context``: a serialized ``AnyValue`` for each action, ``None`` where there is none.
    """

    __slots__ = ("_added", "_steps", "keys", "mark", "searches_keys")

    def __init__(self, actions: Sequence[Action], context: Sequence[bytes | None]) -> None:
        self._steps = tuple(zip(actions, context, strict=True))
        self.mark = next(_MARKS).to_bytes(MARK_BYTES)
        """What tells results of these actions from those of all others, in `MARK_BYTES`."""
        self.keys = tuple(dict.fromkeys(key for action in actions for key in action.touches()))
        """Every key that can be touched, beside those that a pattern finds."""
        self.searches_keys = any(action.searches_keys for action in actions)
        """Whether a pattern chooses keys, so that any attribute may be touched."""
        self._added: tuple[bytes, ...] | None = None

    def added(self) -> tuple[bytes, ...]:
        """The serialized ``KeyValue``s that the actions make of no attributes at all.

        The same is added to attributes among which there is none of `keys`, unless
        `searches_keys`.
        """
        if self._added is None:
            scratch: Any = view(Signal.METRICS, Depth.RESOURCE, "Resource")()
            self.apply(scratch.attributes)
            self._added = tuple(pair.SerializePartialToString() for pair in scratch.attributes)
        return self._added

    def apply(self, attributes: Any) -> None:
        """Do the actions in order."""
        for action, given in self._steps:
            verb = action.verb
            if verb in SETTING:
                value = self._value(action, given, attributes)
                if value is not None:
                    _set(verb, attributes, action.key, value)
            elif verb is Verb.DELETE:
                _delete(action, attributes)
            elif verb is Verb.HASH:
                for pair in _chosen(action, attributes):
                    pair.value.ParseFromString(_hashed(pair.value))
            elif verb is Verb.EXTRACT:
                _extract(action, attributes)
            else:
                for pair in _chosen(action, attributes):
                    value = _converted(pair.value, action.converted_type)
                    if value is not None:
                        pair.value.ParseFromString(value)

    @staticmethod
    def _value(action: Action, given: bytes | None, attributes: Any) -> bytes | None:
        if action.value is not None:
            return action.value
        if action.from_attribute is not None:
            source = _first(attributes, action.from_attribute)
            found = None if source is None else bytes(source.value.SerializePartialToString())
        else:
            found = given
        return action.default if found is None else found


def _first(attributes: Any, key: bytes) -> Any:
    for pair in attributes:
        if pair.key == key:
            return pair
    return None


def _chosen(action: Action, attributes: Any) -> list[Any]:
    """The attributes that an action is about."""
    return [pair for pair in attributes if _is_chosen(action, pair.key)]


def _is_chosen(action: Action, key: bytes) -> bool:
    pattern = action.key_pattern
    return (key == action.key and bool(key)) or (pattern is not None and pattern.matches(key))


def _set(verb: Verb, attributes: Any, key: bytes, value: bytes) -> None:
    found = False
    for pair in attributes:
        if pair.key == key:
            found = True
            if verb is Verb.APPEND:
                _append(pair.value, value)
            elif verb is not Verb.INSERT:
                pair.value.ParseFromString(value)
    if not found and verb is not Verb.UPDATE:
        added = attributes.add()
        added.key = key
        is_list = verb is Verb.APPEND
        added.value.ParseFromString(any_values.serialize_array([value]) if is_list else value)


def _append(target: Any, value: bytes) -> None:
    """Make ``value`` the last of a list; what is no list yet becomes its first."""
    kind = target.WhichOneof("value")
    if kind == "array_value":
        target.array_value.values.add().ParseFromString(value)
        return
    before = [] if kind is None else [bytes(target.SerializePartialToString())]
    target.ParseFromString(any_values.serialize_array([*before, value]))


def _delete(action: Action, attributes: Any) -> None:
    for index in range(len(attributes) - 1, -1, -1):
        if _is_chosen(action, attributes[index].key):
            del attributes[index]


def _hashed(value: Any) -> bytes:
    """The SHA-256 of a value as the Collector computes it; empty for what is empty or no scalar."""
    kind = value.WhichOneof("value")
    data = b""
    if kind == "string_value":
        data = value.string_value
    elif kind == "bool_value":
        data = b"\1" if value.bool_value else b"\0"
    elif kind == "int_value":
        data = struct.pack("<q", value.int_value)
    elif kind == "double_value":
        data = struct.pack("<d", value.double_value)
    text = hashlib.sha256(data).hexdigest() if data else ""
    return any_values.serialize_string(text.encode())


def _extract(action: Action, attributes: Any) -> None:
    source = _first(attributes, action.key)
    if source is None or source.value.WhichOneof("value") != "string_value":
        return
    found = None if action.pattern is None else action.pattern.search(source.value.string_value)
    if found is None:
        return
    for key, text in zip(action.group_keys, found.groups(), strict=True):
        _set(Verb.UPSERT, attributes, key, any_values.serialize_string(text or b""))


def _converted(value: Any, type_: str) -> bytes | None:
    """The value as another type; ``None`` where it stays as it is."""
    kind = value.WhichOneof("value")
    if type_ == "string":
        if kind == "string_value":
            return None
        return any_values.serialize(any_values.as_text(value))
    number: float | int | None = None
    if kind == "bool_value":
        number = int(value.bool_value)
    elif kind == "int_value":
        number = value.int_value
    elif kind == "double_value":
        number = value.double_value
    elif kind == "string_value":
        number = _parsed(value.string_value, type_)
    if number is None:
        return None
    if type_ == "double":
        return None if kind == "double_value" else any_values.serialize(float(number))
    if kind == "int_value" or not math.isfinite(number) or not _INT_MIN <= number <= _INT_MAX:
        return None
    whole = int(number)
    return any_values.serialize(whole) if whole <= _INT_MAX else None


def _parsed(data: bytes, type_: str) -> float | int | None:
    """A number as Go's ``strconv`` reads it; ``None`` for what it refuses."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return None
    if type_ == "int":
        is_number = len(text) <= _INTEGER_DIGITS_MAX and _INTEGER.fullmatch(text)
        return int(text) if is_number else None
    if not _FLOAT.fullmatch(text):
        return None
    number = float(text)
    overflowed = math.isinf(number) and "n" not in text.lower()
    return None if overflowed else number
