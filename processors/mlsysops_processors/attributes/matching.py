"""Which data the processor is about: ``include`` and ``exclude`` (component reference, C1).

Within a list one match is enough, but all ``attributes`` and ``resources`` must match; every
criterion that is given must be met. ``regexp`` searches, it is not anchored.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mlsysops_pipeline.config.schema import ComponentConfig, Finding, Section, no_effect
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlsysops_pipeline.config.problems import Path

_NO_SERVICE = b"<nil-service-name>"
"""What ``services`` sees of a resource without the attribute, as in the Collector."""
_SPAN_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_ALLOWED = {
    Signal.METRICS: {"metric_names", "resources"},
    Signal.LOGS: {
        "services",
        "attributes",
        "resources",
        "libraries",
        "log_bodies",
        "log_severity_texts",
        "log_severity_number",
    },
    Signal.TRACES: {
        "services",
        "span_names",
        "span_kinds",
        "attributes",
        "resources",
        "libraries",
    },
}
_CRITERIA = sorted(set().union(*_ALLOWED.values()))


class AttributeMatchConfig(ComponentConfig):
    """An attribute that must be there."""

    key: str = ""
    """Its name."""
    value: Any = None
    """Its value; with ``regexp`` a pattern. Nothing: any value."""

    def check(self) -> Iterable[Finding]:
        """A key is needed."""
        if not self.key:
            yield Finding(("key",), "must not be empty")


class LibraryConfig(ComponentConfig):
    """An instrumentation scope."""

    name: str = ""
    """Its name; with ``regexp`` a pattern."""
    version: str | None = None
    """Nothing: any version."""


class SeverityConfig(ComponentConfig):
    """A least severity of log records."""

    min: int = 0
    """From 1 (TRACE) to 24 (FATAL4)."""
    match_undefined: bool = False
    """Whether records without a severity match."""


class RegexpConfig(ComponentConfig):
    """Only for files written for the Collector."""

    cacheenabled: Annotated[bool, no_effect("matching is linear in time anyway", unless=False)] = (
        False
    )
    """Of the Collector: whether results of matching are kept."""
    cachemaxnumentries: Annotated[int, no_effect("there is no such cache", unless=0)] = 0
    """Of the Collector: how many."""


class MatchConfig(ComponentConfig):
    """Criteria. For metrics only ``metric_names`` and ``resources`` may be used."""

    match_type: Literal["strict", "regexp"] | None = None
    """Whether texts are compared or searched for patterns (RE2); must be given."""
    services: tuple[str, ...] = ()
    """Values of the resource attribute ``service.name``."""
    span_names: tuple[str, ...] = ()
    """Names of spans."""
    span_kinds: tuple[str, ...] = ()
    """``SPAN_KIND_SERVER`` and so on."""
    attributes: tuple[AttributeMatchConfig, ...] = ()
    """Attributes of the span or log record itself."""
    resources: tuple[AttributeMatchConfig, ...] = ()
    """Attributes of the resource."""
    libraries: tuple[LibraryConfig, ...] = ()
    """Instrumentation scopes."""
    log_bodies: tuple[str, ...] = ()
    """Bodies, as the text that the Collector makes of one; one must match."""
    log_severity_texts: tuple[str, ...] = ()
    """``severity_text`` of log records."""
    log_severity_number: Section[SeverityConfig] = None
    """The least ``severity_number`` of log records."""
    metric_names: tuple[str, ...] = ()
    """Names of metrics."""
    regexp: Section[RegexpConfig] = None
    """Settings of the Collector that have no effect here."""

    def check(self) -> Iterable[Finding]:
        """At least one criterion, and patterns that are patterns."""
        if self.match_type is None:
            yield Finding(("match_type",), "is missing: use strict or regexp")
        if not self.criteria():
            yield Finding((), f"at least one of {', '.join(_CRITERIA)} is needed")
        if self.match_type == "regexp":
            for path, pattern in self._patterns():
                try:
                    compile_pattern(pattern)
                except ValueError as error:
                    yield Finding(path, f"no regular expression: {error}")

    def criteria(self) -> list[str]:
        """The names of the criteria that are given."""
        return [name for name in _CRITERIA if getattr(self, name)]

    def not_allowed(self, signal: Signal) -> list[str]:
        """The criteria that mean nothing for a signal."""
        return [name for name in self.criteria() if name not in _ALLOWED[signal]]

    def _patterns(self) -> Iterable[tuple[Path, str]]:
        for name in ("services", "span_names", "span_kinds", "log_bodies", "log_severity_texts"):
            for index, pattern in enumerate(getattr(self, name)):
                yield (name, index), pattern
        for index, pattern in enumerate(self.metric_names):
            yield ("metric_names", index), pattern
        for name in ("attributes", "resources"):
            for index, entry in enumerate(getattr(self, name)):
                if isinstance(entry.value, str):
                    yield (name, index, "value"), entry.value
        for index, library in enumerate(self.libraries):
            yield ("libraries", index, "name"), library.name


class Text:
    """Texts of which one must match; with none, everything does."""

    def __init__(self, texts: Sequence[str], *, is_regexp: bool) -> None:
        self._matches: Callable[[bytes], object]
        self._any = not texts
        if is_regexp:
            patterns = [compile_pattern(text) for text in texts]
            self._matches = lambda text: any(pattern.search(text) for pattern in patterns)
        else:
            self._matches = frozenset(text.encode() for text in texts).__contains__

    def __call__(self, text: bytes) -> bool:
        """Whether the text is one of them."""
        return self._any or bool(self._matches(text))

    def __bool__(self) -> bool:
        """Whether there is anything to match."""
        return not self._any


class AttributesMatch:
    """Attributes that must all be there."""

    def __init__(self, entries: Sequence[AttributeMatchConfig], *, is_regexp: bool) -> None:
        self._entries: list[tuple[bytes, Callable[[Any], bool]]] = []
        for entry in entries:
            test: Callable[[Any], bool] = _any_value
            if entry.value is not None:
                test = _pattern_test(entry.value) if is_regexp else _value_test(entry.value)
            self._entries.append((entry.key.encode(), test))

    def __call__(self, attributes: Any) -> bool:
        """Whether all are among the attributes. The first of equal keys counts."""
        return all(
            next((test(pair.value) for pair in attributes if pair.key == key), False)
            for key, test in self._entries
        )

    def __bool__(self) -> bool:
        return bool(self._entries)


def _any_value(_value: Any) -> bool:
    return True


def _pattern_test(pattern: Any) -> Callable[[Any], bool]:
    search = compile_pattern(str(pattern)).search

    def test(value: Any) -> bool:
        if value.WhichOneof("value") in {None, "bytes_value", "array_value", "kvlist_value"}:
            return False
        return search(any_values.as_text(value).encode()) is not None

    return test


def _value_test(wanted: Any) -> Callable[[Any], bool]:
    serialized = any_values.serialize(wanted)
    return lambda value: value.SerializePartialToString(deterministic=True) == serialized


class Verdict(enum.Enum):
    """What is known of a group of items before any is opened."""

    NONE = "none"
    ALL = "all"
    EACH = "each"
    """It depends on the item."""


class Criteria:
    """One ``include`` or ``exclude``."""

    def __init__(self, config: MatchConfig) -> None:
        is_regexp = config.match_type == "regexp"
        self.services = Text(config.services, is_regexp=is_regexp)
        self.resources = AttributesMatch(config.resources, is_regexp=is_regexp)
        self.libraries = [
            (Text([library.name], is_regexp=is_regexp), library.version)
            for library in config.libraries
        ]
        self.metric_names = Text(config.metric_names, is_regexp=is_regexp)
        self._span_names = Text(config.span_names, is_regexp=is_regexp)
        self._span_kinds = Text(config.span_kinds, is_regexp=is_regexp)
        self._attributes = AttributesMatch(config.attributes, is_regexp=is_regexp)
        self._bodies = Text(config.log_bodies, is_regexp=is_regexp)
        self._severity_texts = Text(config.log_severity_texts, is_regexp=is_regexp)
        self._severity = config.log_severity_number
        self.needs_items = bool(
            self._span_names
            or self._span_kinds
            or self._attributes
            or self._bodies
            or self._severity_texts
            or self._severity
        )

    @property
    def needs_resources(self) -> bool:
        """Whether attributes of resources matter."""
        return bool(self.services or self.resources)

    def of_resource(self, attributes: Any) -> bool:
        """Whether a resource meets its criteria."""
        if self.services:
            service = next(
                (
                    any_values.as_text(p.value).encode()
                    for p in attributes
                    if p.key == b"service.name"
                ),
                _NO_SERVICE,
            )
            if not self.services(service):
                return False
        return self.resources(attributes)

    def of_scope(self, name: bytes, version: bytes) -> bool:
        """Whether a scope meets its criteria."""
        return not self.libraries or any(
            text(name) and (wanted is None or wanted.encode() == version)
            for text, wanted in self.libraries
        )

    def of_item(self, signal: Signal, item: Any) -> bool:
        """Whether an opened log record or span meets its criteria."""
        if not self._attributes(item.attributes):
            return False
        if signal is Signal.TRACES:
            kind = _SPAN_KINDS[item.kind] if 0 <= item.kind < len(_SPAN_KINDS) else ""
            return self._span_names(item.name) and self._span_kinds(f"SPAN_KIND_{kind}".encode())
        if self._bodies and not self._bodies(_text_of(item.body)):
            return False
        return self._severity_texts(item.severity_text) and self._is_severe(item.severity_number)

    def _is_severe(self, number: int) -> bool:
        if self._severity is None:
            return True
        return number >= self._severity.min if number else self._severity.match_undefined


def _text_of(body: Any) -> bytes:
    if body.WhichOneof("value") == "string_value":
        text: bytes = body.string_value
        return text
    return any_values.as_text(body).encode("utf-8", "replace")


class Selection:
    """``include`` and then ``exclude``."""

    def __init__(self, include: MatchConfig | None, exclude: MatchConfig | None) -> None:
        self.include = None if include is None else Criteria(include)
        self.exclude = None if exclude is None else Criteria(exclude)
        self._given = [c for c in (self.include, self.exclude) if c is not None]

    def __bool__(self) -> bool:
        """Whether anything is selected at all; if not, everything is meant."""
        return bool(self._given)

    @property
    def needs_resources(self) -> bool:
        """Whether attributes of resources matter."""
        return any(criteria.needs_resources for criteria in self._given)

    def of_group(self, group: Callable[[Criteria], bool]) -> Verdict:
        """What follows from what all items of a group share; ``group`` judges that."""
        included = Verdict.ALL if self.include is None else _verdict(self.include, group)
        if included is Verdict.NONE:
            return Verdict.NONE
        excluded = Verdict.NONE if self.exclude is None else _verdict(self.exclude, group)
        if excluded is Verdict.ALL:
            return Verdict.NONE
        if Verdict.EACH in {included, excluded}:
            return Verdict.EACH
        return Verdict.ALL

    def of_item(self, group: Callable[[Criteria], bool], signal: Signal, item: Any) -> bool:
        """Whether one item of a group is meant."""
        include, exclude = self.include, self.exclude
        if include is not None and not (group(include) and include.of_item(signal, item)):
            return False
        return exclude is None or not (group(exclude) and exclude.of_item(signal, item))


def _verdict(criteria: Criteria, group: Callable[[Criteria], bool]) -> Verdict:
    if not group(criteria):
        return Verdict.NONE
    return Verdict.EACH if criteria.needs_items else Verdict.ALL
