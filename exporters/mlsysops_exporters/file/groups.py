"""Which resource goes to which file. Pure: no I/O, no state."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize

if TYPE_CHECKING:
    from typing import Any

_GROUPS = {
    Signal.METRICS: "resource_metrics",
    Signal.LOGS: "resource_logs",
    Signal.TRACES: "resource_spans",
}


def by_attribute(signal: Signal, wire: bytes, name: str) -> dict[str | None, bytes]:
    """One request for each value of a resource attribute, in the order of appearance.

    ``None`` stands for resources without such a string. Raises `MalformedError`.
    """
    request = parse(signal, Depth.RESOURCE, wire)
    field = _GROUPS[signal]
    parts: dict[str | None, Any] = {}
    for group in getattr(request, field):
        segment = _segment(group.resource.attributes, name.encode())
        if segment not in parts:
            parts[segment] = type(request)()
        getattr(parts[segment], field).append(group)
    if len(parts) == 1:
        return dict.fromkeys(parts, wire)
    return {segment: serialize(part) for segment, part in parts.items()}


def _segment(attributes: Any, name: bytes) -> str | None:
    for attribute in attributes:
        if attribute.key == name:
            if attribute.value.WhichOneof("value") != "string_value":
                return None
            try:
                segment: str = attribute.value.string_value.decode()
            except UnicodeDecodeError:
                return None
            return None if "\0" in segment else segment
    return None


def path_of(pattern: str, segment: str) -> str:
    """The path that ``pattern`` means with ``segment`` for its ``*``.

    A segment comes from whoever sent the data, so whatever it is, the result stays below the part
    of the pattern that is in front of the ``*``.
    """
    before, _, after = pattern.partition("*")
    prefix = posixpath.normpath(before) + ("/" if before.endswith("/") else "")
    prefix = prefix.replace("//", "/")
    if segment.startswith("./"):
        segment = segment[1:]
    elif segment.startswith("../"):
        segment = segment[2:]
    path = posixpath.normpath(prefix + segment + after)
    if path.startswith(prefix):
        return path
    return posixpath.normpath(prefix + "/" + posixpath.normpath("/" + segment + after).lstrip("/"))
