"""How actions on attributes are configured: for the processors `attributes` and `resource`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from mlsysops_pipeline.config.schema import CaseInsensitive, ComponentConfig, Finding
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.attribute_actions import (
    SETTING,
    Action,
    BoundActions,
    KeyPattern,
    Verb,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlsysops_pipeline.pdata.payload import Metadata

_BOUND_MAX = 256
"""Distinct contexts (tenants, users) whose actions are kept ready."""
_PATTERN_VERBS = frozenset({Verb.DELETE, Verb.HASH, Verb.EXTRACT})
_CLIENT_ADDRESS = "client.address"


class ActionConfig(ComponentConfig):
    """One action (component reference, C1)."""

    key: str = ""
    """The attribute. ``delete`` and ``hash`` may have a ``pattern`` instead or besides."""
    action: Annotated[
        Literal["insert", "update", "upsert", "append", "delete", "hash", "extract", "convert"]
        | None,
        CaseInsensitive(),
    ] = None
    """insert: if absent; update: if present; upsert: both; append (not in the Collector): as the
    last of a list, which is made of what was there; delete; hash: SHA-256 in hexadecimal; extract:
    the named groups of ``pattern`` become attributes; convert: to ``converted_type``."""
    value: Any = None
    """The value; its type is as YAML reads it."""
    from_attribute: str = ""
    """Take the value of this attribute. Where there is none, nothing is done."""
    from_context: str = ""
    """Take the value from the request: ``client.address``, ``metadata.NAME`` (a header; needs
    ``include_metadata`` on the receiver) or ``auth.NAME``. Several values are joined by ``;``."""
    default_value: Any = None
    """With ``from_context``: the value where the request has none."""
    pattern: str = ""
    """RE2. Of ``delete`` and ``hash``: over keys. Of ``extract``: with named groups only."""
    converted_type: str = ""
    """int, double or string."""

    def check(self) -> Iterable[Finding]:
        """What each verb needs, and what it has no use for."""
        if self.action is None:
            yield Finding(("action",), "is missing")
            return
        verb = Verb(self.action)
        if not self.key and not (verb in {Verb.DELETE, Verb.HASH} and self.pattern):
            yield Finding(("key",), 'missing required field "key"')
        yield from self._check_sources(verb)
        yield from self._check_pattern(verb)
        if verb is Verb.CONVERT:
            if self.converted_type not in {"int", "double", "string"}:
                message = f'invalid value "{self.converted_type}": use int, double or string'
                yield Finding(("converted_type",), message)
        elif self.converted_type:
            yield self._useless("converted_type")

    def _check_sources(self, verb: Verb) -> Iterable[Finding]:
        sources = {
            "value": self.value is not None,
            "from_attribute": bool(self.from_attribute),
            "from_context": bool(self.from_context),
        }
        given = [name for name, is_given in sources.items() if is_given]
        if verb not in SETTING:
            for name in given:
                yield self._useless(name)
            return
        if not given:
            yield Finding(
                (), 'either "value", "from_attribute" or "from_context" must be specified'
            )
        if len(given) > 1:
            yield Finding((), f"multiple value sources are set: {', '.join(given)}")
        if self.default_value is not None and not self.from_context:
            yield Finding(("default_value",), 'needs "from_context"')
        for name in ("value", "default_value"):
            try:
                any_values.serialize(getattr(self, name))
            except ValueError as error:
                yield Finding((name,), str(error))

    def _check_pattern(self, verb: Verb) -> Iterable[Finding]:
        if verb not in _PATTERN_VERBS:
            if self.pattern:
                yield self._useless("pattern")
            return
        if verb is Verb.EXTRACT and not self.pattern:
            yield Finding(("pattern",), f'action "{self.action}" needs it')
        if not self.pattern:
            return
        try:
            pattern = compile_pattern(self.pattern)
        except ValueError as error:
            yield Finding(("pattern",), f"no regular expression: {error}")
            return
        if verb is Verb.EXTRACT:
            if not pattern.groups:
                yield Finding(("pattern",), "contains no named matcher groups")
            elif len(pattern.groupindex) != pattern.groups:
                yield Finding(("pattern",), "contains at least one unnamed matcher group")

    def _useless(self, key: str) -> Finding:
        return Finding((key,), f'action "{self.action}" does not use it')

    def compiled(self) -> Action:
        """The action. The configuration has been checked."""
        verb = Verb(self.action)
        pattern = compile_pattern(self.pattern) if self.pattern else None
        group_keys: tuple[bytes, ...] = ()
        key_pattern = None
        if pattern is not None and verb is Verb.EXTRACT:
            group_keys = tuple(sorted(pattern.groupindex, key=pattern.groupindex.__getitem__))
        elif pattern is not None:
            key_pattern = KeyPattern(pattern)
        return Action(
            verb=verb,
            key=self.key.encode(),
            value=None if self.value is None else any_values.serialize(self.value),
            from_attribute=self.from_attribute.encode() if self.from_attribute else None,
            from_context=self.from_context,
            default=None
            if self.default_value is None
            else any_values.serialize(self.default_value),
            pattern=pattern,
            key_pattern=key_pattern,
            group_keys=group_keys,
            converted_type=self.converted_type,
        )


class Actions:
    """The actions of a component, bound to the context of each request."""

    def __init__(self, configs: Sequence[ActionConfig]) -> None:
        self._actions = tuple(config.compiled() for config in configs)
        self._names = tuple(action.from_context for action in self._actions)
        self._has_context = any(self._names)
        self._fixed = BoundActions(self._actions, [None] * len(self._actions))
        self._bound: dict[tuple[bytes | None, ...], BoundActions] = {}

    def bind(self, metadata: Metadata) -> BoundActions:
        """The actions for one request; the same object for the same context."""
        if not self._has_context:
            return self._fixed
        context = tuple(from_context(name, metadata) if name else None for name in self._names)
        bound = self._bound.get(context)
        if bound is None:
            if len(self._bound) >= _BOUND_MAX:
                del self._bound[next(iter(self._bound))]
            bound = self._bound[context] = BoundActions(self._actions, context)
        return bound

    def __len__(self) -> int:
        return len(self._actions)


def from_context(name: str, metadata: Metadata) -> bytes | None:
    """What the request says, as a serialized ``AnyValue``; ``None`` if it says nothing."""
    values: Sequence[str] = ()
    if name == _CLIENT_ADDRESS:
        values = (metadata.peer,) if metadata.peer else ()
    elif name.startswith("auth."):
        attribute = metadata.auth.get(name.removeprefix("auth."))
        values = () if attribute is None else (attribute,)
    else:
        values = metadata.headers.get(name.removeprefix("metadata.").lower(), ())
    return any_values.serialize_string(_text(values)) if values else None


def _text(values: Sequence[str]) -> bytes:
    return ";".join(values).encode("utf-8", "replace")
