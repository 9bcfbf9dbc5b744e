"""Which attributes are labels, and what a resource and a scope add to each of their records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_exporters.loki.attributes import Attribute, Names, Pairs, leaves, metadata, opened
from mlsysops_exporters.loki.config import DefaultLabelsConfig
from mlsysops_exporters.loki.encoding import labels_text, pair
from mlsysops_exporters.loki.fields import LEVELS, RESERVED
from mlsysops_exporters.loki.lines import json_object
from mlsysops_exporters.loki.pieces import Use
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.any_values import as_text
from mlsysops_pipeline.prometheus.names import label_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from mlsysops_exporters.loki.config import Config, Format

ATTRIBUTE_LABELS: Final = "loki.attribute.labels"
RESOURCE_LABELS: Final = "loki.resource.labels"
FORMAT: Final = "loki.format"
TENANT: Final = "loki.tenant"
HINTS: Final = frozenset({ATTRIBUTE_LABELS, RESOURCE_LABELS, FORMAT, TENANT})
"""Attributes that say how a record is sent, and are not sent themselves."""

LEVEL: Final = "level"
_VALUE_BYTES_MAX: Final = 2048
"""What Loki takes as the value of a label, unless it is configured."""
_SCOPES_MAX: Final = 100
_FINISHED_MAX: Final = 1_000
_FINISHED_OF_RESOURCE_MAX: Final = 64
_NO_LABELS: Final = {"service_name": "unknown_service"}
"""Loki takes no stream without a label; it would call it the same."""
_FORMATS: Final = frozenset({"raw", "json", "logfmt"})

Labels = dict[str, str]
Finished = tuple[str, Pairs]
"""Labels as Loki reads them, and what is too many or too long for one, as structured metadata."""


class Rules:
    """What the configuration says of labels. ``seen``: told of those of each new stream."""

    def __init__(self, config: Config, seen: Callable[[Labels], None]) -> None:
        self._seen = seen
        self.default = config.default_labels_enabled
        self.resource = config.labels.resource
        self.record = config.labels.attributes
        self.format: Format = config.format
        self._labels_max = config.max_labels
        self._finished: dict[tuple[tuple[str, str], ...], Finished] = {}

    def use(self, key: str) -> Use | None:
        """What an attribute of a record means; ``None`` if it is metadata."""
        if key in HINTS:
            return Use.SPECIAL
        if key in self.record or (key == LEVEL and self.default.level):
            return Use.LABEL
        return None

    def finished(self, labels: Labels) -> Finished:
        """What becomes of labels: of too many, the first are kept."""
        key = tuple(labels.items())
        known = self._finished.get(key)
        if known is None:
            known = self._finish(labels)
            if len(self._finished) >= _FINISHED_MAX:
                self._finished.clear()
            self._finished[key] = known
        return known

    def _finish(self, labels: Labels) -> Finished:
        kept: Labels = {}
        surplus: Pairs = []
        for name, value in labels.items():
            if not value:
                continue
            if len(kept) < self._labels_max and len(value.encode()) <= _VALUE_BYTES_MAX:
                kept[name] = value
            else:
                surplus.append((name, pair(name, value)))
        self._seen(kept)
        return labels_text(kept or _NO_LABELS), surplus

    def origin(self, label: str) -> str:
        """The key of the configuration that makes this label, else what else may make it."""
        for key, group in (("attributes", self.record), ("resource", self.resource)):
            for attribute, name in group.items():
                if (name or label_name(attribute)) == label:
                    return f"labels.{key} ({attribute})"
        if label in DefaultLabelsConfig.model_fields:
            return f"default_labels_enabled ({label})"
        return "the hints loki.attribute.labels and loki.resource.labels"

    def chosen_format(self, *hints: Attribute | None) -> Format:
        """The format that the first hint asks for that asks for one there is."""
        for hint in hints:
            text = "" if hint is None else as_text(hint.value)
            if text in _FORMATS:
                return text  # type: ignore[return-value]  # one of them
        return self.format


class Scope:
    """What a scope adds to each of its records. ``is_plain``: as for `Resource`."""

    __slots__ = ("is_plain", "name", "pairs", "version")

    def __init__(self, name: str, version: str, attributes: Pairs) -> None:
        self.name = name
        self.version = version
        self.is_plain = not any(name in RESERVED for name, _ in attributes)
        self.pairs = [
            (label, pair(label, text))
            for label, text in (("scope_name", name), ("scope_version", version))
            if text
        ]
        self.pairs += attributes


class Resource:
    """What a resource adds to each of its records.

    ``is_plain``: records without attributes that mean more than themselves become entries with a
    raw line. ``shown``:
    those that lines hold, as `shown_as_json`. ``tenant``: the key of the one that says whose they
    are.
    """

    def __init__(self, attributes: Iterable[Attribute], rules: Rules, names: Names) -> None:
        self._rules = rules
        self._names = names
        self.by_key = {attribute.key: attribute for attribute in attributes}
        self.labels = self._default_labels()
        promoted: set[str] = set(HINTS)
        taken = set(HINTS)
        for key, name in rules.resource.items():
            attribute = self.by_key.get(key)
            if attribute is not None:
                taken.add(key)
                self.labels[name or attribute.name] = as_text(attribute.value)
        hinted, keys = hinted_labels(self.by_key.get(RESOURCE_LABELS), self.by_key, names)
        self.labels |= hinted
        promoted |= keys
        taken |= keys
        self.tenant = ""
        tenant = self.by_key.get(TENANT)
        if tenant is not None:
            hinted, keys = hinted_labels(tenant, self.by_key, names)
            self.labels |= hinted
            promoted |= keys
            taken |= keys
            self.tenant = as_text(tenant.value)
        self.pairs: Pairs = []
        for attribute in self.by_key.values():
            if attribute.key not in taken:
                self.pairs += metadata(names, "resource", attribute)[0]
        self.is_plain = (
            tenant is None
            and rules.chosen_format(self.by_key.get(FORMAT)) == "raw"
            and not any(name in RESERVED for name, _ in self.pairs)
        )
        self.shown = [one for one in self.by_key.values() if one.key not in promoted]
        self.shown_as_json = json_object(self.shown)
        self.scopes: dict[tuple[bytes, ...], Scope] = {}
        self._finished: dict[tuple[int, tuple[bytes, ...]], Finished] = {}

    def _default_labels(self) -> Labels:
        default = self._rules.default
        labels = {"exporter": "OTLP"} if default.exporter else {}
        service = text_of(self.by_key.get("service.name"))
        if default.job and service:
            namespace = text_of(self.by_key.get("service.namespace"))
            labels["job"] = f"{namespace}/{service}" if namespace else service
        instance = text_of(self.by_key.get("service.instance.id"))
        if default.instance and instance:
            labels["instance"] = instance
        return labels

    def finished(self, severity: int, raw: tuple[bytes, ...]) -> Finished:
        """The labels of records of a severity, with these attributes of theirs."""
        known = self._finished.get((severity, raw))
        if known is None:
            attributes = [opened(self._names, one) for one in raw]
            by_key = {attribute.key: attribute for attribute in attributes}
            known = self._rules.finished(self.labels_of(severity, by_key))
            if len(self._finished) >= _FINISHED_OF_RESOURCE_MAX:
                self._finished.clear()
            self._finished[severity, raw] = known
        return known

    def labels_of(self, severity: int, attributes: Mapping[str, Attribute]) -> Labels:
        """The labels of a record without those that hints ask for; the level is among the first."""
        rules = self._rules
        labels: Labels = {
            name: self.labels[name]
            for name in ("exporter", "job", "instance")
            if name in self.labels
        }
        if rules.default.level:
            labels[LEVEL] = text_of(attributes.get(LEVEL)) or LEVELS.get(severity, "")
        labels |= self.labels
        for key, name in rules.record.items():
            attribute = attributes.get(key)
            if attribute is not None:
                labels[name or attribute.name] = as_text(attribute.value)
        return labels

    def add_scope(self, raw: tuple[bytes, ...], scope: Scope) -> Scope:
        """Keep a scope of this resource."""
        if len(self.scopes) >= _SCOPES_MAX:
            self.scopes.clear()
        self.scopes[raw] = scope
        return scope


def tenant_of(attribute: Attribute | None) -> str:
    """Whose a record is; empty if that is not said. Raises `MalformedError` for no tenant."""
    tenant = text_of(attribute)
    if not tenant.isascii() or not tenant.isprintable():
        raise MalformedError(f"{tenant!r} can be no tenant")
    return tenant


def text_of(attribute: Attribute | None) -> str:
    """The value as text; empty if there is none."""
    return "" if attribute is None else as_text(attribute.value)


def hinted_labels(
    hint: Attribute | None, attributes: Mapping[str, Attribute], names: Names
) -> tuple[Labels, set[str]]:
    """The labels that a hint asks for, and the keys of the attributes that they were made of.

    A key that is none may lead into a map: ``a.b`` is ``b`` in the map ``a``.
    """
    labels: Labels = {}
    keys: set[str] = set()
    if hint is None:
        return labels, keys
    for wanted in _listed(hint.value):
        attribute = attributes.get(wanted)
        if attribute is not None:
            keys.add(wanted)
            labels[names.name(wanted)] = as_text(attribute.value)
            continue
        first, _, rest = wanted.partition(".")
        outer = attributes.get(first)
        if outer is not None and rest:
            path = f"{first}_{rest.replace('.', '_')}"
            for key, value in leaves(first, outer.value):
                if key.replace(".", "_") == path:
                    labels[names.name(wanted)] = as_text(value)
    return labels, keys


def _listed(value: Any) -> Iterable[str]:
    if value.WhichOneof("value") == "array_value":
        return [as_text(member).strip() for member in value.array_value.values]
    return [name.strip() for name in as_text(value).split(",")]
