"""Fields of records beside body and attributes, as structured metadata named as Loki does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlsysops_exporters.loki.encoding import pair

if TYPE_CHECKING:
    from collections.abc import Iterator

RESERVED: Final = (
    "severity_number",
    "severity_text",
    "trace_id",
    "span_id",
    "flags",
    "dropped_attributes_count",
    "event_name",
    "scope_name",
    "scope_version",
)
"""Names that attributes must leave to these fields."""

LEVELS: Final = {
    first + number: f"{name}{number + 1 if number else ''}"
    for first, name in (
        (1, "TRACE"),
        (5, "DEBUG"),
        (9, "INFO"),
        (13, "WARN"),
        (17, "ERROR"),
        (21, "FATAL"),
    )
    for number in range(4)
}
"""The label `level` of a severity."""

_TRACE_ID: Final = b"\x1a\x2c\x0a\x08trace_id\x12\x20"
_SPAN_ID: Final = b"\x1a\x1b\x0a\x07span_id\x12\x10"
_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)


def severity_bytes(number: int, text: bytes) -> bytes:
    """The severity, as number and as text."""
    parts = [pair("severity_number", str(number))] if number else []
    if text:
        parts.append(pair("severity_text", text.decode(errors="replace")))
    return b"".join(parts)


RARE: Final = ("trace_id", "span_id", "flags", "dropped_attributes_count", "event_name")
"""Fields of which many records have none."""
NOTHING: Final[list[Any]] = [b"", b"", 0, 0, b""]
"""What they are then."""


def rare_bytes(trace_id: bytes, span_id: bytes, flags: int, dropped: int, event: bytes) -> bytes:
    """The fields of `RARE`."""
    found = b""
    if trace_id and trace_id != _NO_TRACE:
        if len(trace_id) == len(_NO_TRACE):
            found = _TRACE_ID + trace_id.hex().encode()
        else:
            found = pair("trace_id", trace_id.hex())
    if span_id and span_id != _NO_SPAN:
        if len(span_id) == len(_NO_SPAN):
            found += _SPAN_ID + span_id.hex().encode()
        else:
            found += pair("span_id", span_id.hex())
    if flags:
        found += pair("flags", str(flags))
    if dropped:
        found += pair("dropped_attributes_count", str(dropped))
    if event:
        found += pair("event_name", event.decode(errors="replace"))
    return found


def fields(record: Any) -> Iterator[tuple[str, str]]:
    """Severity and the other fields of a record, by name, as text."""
    if record.severity_number:
        yield "severity_number", str(record.severity_number)
    for name in ("severity_text", "event_name"):
        text = getattr(record, name)
        if text:
            yield name, text.decode(errors="replace")
    for name in ("trace_id", "span_id"):
        text = hex_id(getattr(record, name))
        if text:
            yield name, text
    for name in ("flags", "dropped_attributes_count"):
        number = getattr(record, name)
        if number:
            yield name, str(number)


def hex_id(value: bytes) -> str:
    """A trace or span id as text; empty if it is all zeros."""
    return value.hex() if value.strip(b"\0") else ""
