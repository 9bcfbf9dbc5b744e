"""Lines that hold the whole record, as the Collector's exporter wrote them: `json` and `logfmt`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mlsysops_exporters.loki.attributes import leaves
from mlsysops_pipeline.pdata.any_values import as_json, as_text, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlsysops_exporters.loki.attributes import Attribute

_LOGFMT: Final = re.compile(r'\s*(?:[^\s="]+=(?:"(?:[^"\\]|\\.)*"|[^\s="]*)(?:\s+|$))+')
"""A line that is logfmt already: nothing but keys with values."""
_encode: Final = json.JSONEncoder(ensure_ascii=False).encode
_NO_KEY: Final = re.compile(r'[\x00-\x20="\x7f]+')
_QUOTED: Final = re.compile(r'[\x00-\x20="\\\x7f]')


class Record(NamedTuple):
    """What stands in a line. ``body``: an ``AnyValue`` of a view, as are values of attributes."""

    body: Any
    trace_id: str
    span_id: str
    severity: str
    flags: int
    attributes: Iterable[Attribute]
    resource: Iterable[Attribute]
    resource_as_json: str
    scope_name: str
    scope_version: str


def json_line(record: Record) -> str:
    """The record as a JSON object; what is empty is left out."""
    parts: list[tuple[str, str]] = []
    if record.body.WhichOneof("value") is not None:
        parts.append(("body", as_json(record.body)))
    parts += [
        (key, quoted(text))
        for key, text in (
            ("traceid", record.trace_id),
            ("spanid", record.span_id),
            ("severity", record.severity),
        )
        if text
    ]
    if record.flags:
        parts.append(("flags", str(record.flags)))
    for key, inner in (
        ("attributes", json_object(record.attributes)),
        ("resources", record.resource_as_json),
    ):
        if inner != "{}":
            parts.append((key, inner))
    if record.scope_name:
        scope = f'"name":{quoted(record.scope_name)}'
        if record.scope_version:
            scope += f',"version":{quoted(record.scope_version)}'
        parts.append(("instrumentation_scope", f"{{{scope}}}"))
    return "{" + ",".join([f'"{key}":{text}' for key, text in parts]) + "}"


def json_object(attributes: Iterable[Attribute]) -> str:
    """Attributes as a JSON object."""
    members = {attribute.key: attribute.member for attribute in attributes}
    return f"{{{','.join([members[key] for key in sorted(members)])}}}"


def logfmt_line(record: Record) -> str:
    """The record as ``key=value`` pairs; what is empty is left out.

    A body that is logfmt stands at the beginning as it is, another string is ``msg``.
    """
    return " ".join([*_body(record.body), *(_pair(key, text) for key, text in _pairs(record))])


def _body(body: Any) -> Iterator[str]:
    kind = body.WhichOneof("value")
    if kind is None:
        return
    if kind == "kvlist_value":
        for inner in body.kvlist_value.values:
            for key, value in _flat(inner.key.decode(errors="replace"), inner.value):
                yield _pair(key, value)
    elif kind == "array_value":
        for key, value in _flat("body", body):
            yield _pair(key, value)
    else:
        text = as_text(body)
        is_logfmt = kind == "string_value" and _LOGFMT.fullmatch(text)
        yield " ".join(text.split("\n")).strip() if is_logfmt else _pair("msg", text)


def _pairs(record: Record) -> Iterator[tuple[str, str]]:
    for key, text in (
        ("traceID", record.trace_id),
        ("spanID", record.span_id),
        ("severity", record.severity),
        ("flags", str(record.flags or "")),
    ):
        if text:
            yield key, text
    for prefix, attributes in (("attribute", record.attributes), ("resource", record.resource)):
        for attribute in attributes:
            yield from _flat(f"{prefix}_{attribute.key}", attribute.value)
    if record.scope_name:
        yield "instrumentation_scope_name", record.scope_name
        if record.scope_version:
            yield "instrumentation_scope_version", record.scope_version


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Maps and lists opened, keys and places of members behind the key of the whole."""
    for name, leaf in leaves(key, value):
        if leaf.WhichOneof("value") == "array_value":
            for index, member in enumerate(leaf.array_value.values):
                yield from _flat(f"{name}_{index}", member)
        else:
            yield name, as_text(leaf)


def _pair(key: str, text: str) -> str:
    shown = _encode(text) if not text or _QUOTED.search(text) else text
    return f"{_NO_KEY.sub('_', key) or '_'}={shown}"
