"""Records that need to be opened: with labels or hints of their own, or another format of line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mlsysops_exporters.loki.attributes import (
    Attribute,
    Names,
    Pairs,
    metadata,
    opened,
    opened_value,
    without_repeats,
)
from mlsysops_exporters.loki.encoding import line_field, pair
from mlsysops_exporters.loki.fields import fields, hex_id
from mlsysops_exporters.loki.lines import Record, json_line, logfmt_line
from mlsysops_exporters.loki.resources import (
    ATTRIBUTE_LABELS,
    FORMAT,
    HINTS,
    LEVEL,
    RESOURCE_LABELS,
    TENANT,
    Labels,
    Resource,
    Rules,
    Scope,
    hinted_labels,
    tenant_of,
)
from mlsysops_pipeline.pdata.any_values import as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Made", "Special"]

_OPENED_MAX: Final = 4_000
_OPENED_BYTES_MAX: Final = 500
"""Attributes that are kept open, because they often come again, and how large they may be."""


class Made(NamedTuple):
    """An entry without its time, and where it belongs. ``content``: the fields of the entry."""

    tenant: str
    labels: str
    content: bytes


class Special:
    """Makes entries of records that need to be opened."""

    def __init__(self, rules: Rules, names: Names) -> None:
        self._rules = rules
        self._names = names
        self._opened: dict[bytes, Attribute] = {}

    def _open(self, raw: bytes) -> Attribute:
        known = self._opened.get(raw)
        if known is None:
            if len(self._opened) >= _OPENED_MAX:
                self._opened.clear()
            known = opened(self._names, raw)
            if len(raw) <= _OPENED_BYTES_MAX:
                self._opened[raw] = known
        return known

    def entry(self, record: Any, resource: Resource, scope: Scope) -> Made:
        """One record, in whatever way it asks for. Raises `MalformedError`."""
        attributes = [self._open(raw) for raw in record.attributes]
        by_key = {attribute.key: attribute for attribute in attributes}
        labels, promoted, taken = self._labels(record, by_key, resource)
        wanted = resource.tenant
        hint = by_key.get(TENANT)
        if hint is not None and not wanted:
            wanted = as_text(hint.value)
            hinted, keys = hinted_labels(hint, by_key, self._names)
            labels |= hinted
            promoted |= keys
            taken |= keys
        tenant = ""
        if wanted:
            tenant = tenant_of(resource.by_key.get(wanted) or by_key.get(wanted))
        text, surplus = self._rules.finished(labels)
        body = opened_value(record.body)
        kind = self._rules.chosen_format(resource.by_key.get(FORMAT), by_key.get(FORMAT))
        if kind == "raw":
            content = line_field(as_text(body)) + self._metadata(
                record,
                [by_key[key] for key in by_key if key not in taken],
                scope,
                resource,
                surplus,
            )
            return Made(tenant, text, content)
        parts = Record(
            body=body,
            trace_id=hex_id(record.trace_id),
            span_id=hex_id(record.span_id),
            severity=record.severity_text.decode(errors="replace"),
            flags=record.flags,
            attributes=[one for key, one in by_key.items() if key not in promoted],
            resource=resource.shown,
            resource_as_json=resource.shown_as_json,
            scope_name=scope.name,
            scope_version=scope.version,
        )
        line = json_line(parts) if kind == "json" else logfmt_line(parts)
        return Made(tenant, text, line_field(line) + without_repeats(surplus))

    def _labels(
        self, record: Any, by_key: dict[str, Attribute], resource: Resource
    ) -> tuple[Labels, set[str], set[str]]:
        """Labels, and the keys that hints and rules made labels of (the second has all)."""
        promoted, taken = set(HINTS), set(HINTS)
        labels = resource.labels_of(record.severity_number, by_key)
        taken |= {key for key in by_key if self._rules.use(key) is not None}
        if self._rules.default.level:
            promoted.add(LEVEL)
        for hint, attributes in (
            (by_key.get(RESOURCE_LABELS), resource.by_key),
            (by_key.get(ATTRIBUTE_LABELS), by_key),
        ):
            hinted, keys = hinted_labels(hint, attributes, self._names)
            labels |= hinted
            if attributes is by_key:
                promoted |= keys
                taken |= keys
        return labels, promoted, taken

    def _metadata(
        self,
        record: Any,
        attributes: Sequence[Attribute],
        scope: Scope,
        resource: Resource,
        surplus: Pairs,
    ) -> bytes:
        own: Pairs = []
        for attribute in attributes:
            own += metadata(self._names, "record", attribute)[0]
        found = [(name, pair(name, text)) for name, text in fields(record)]
        return without_repeats(found, own, scope.pairs, resource.pairs, surplus)
