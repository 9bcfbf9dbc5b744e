"""Views: protobuf message classes that open an OTLP request exactly as deep as needed.

A view has the field names and numbers of OTLP, cut off below a `Depth`. What lies deeper stays
closed: a repeated message becomes repeated ``bytes``, each the serialized message. What a view does
not name survives a round trip as unknown fields, byte-complete.

Rules (each was broken once, each is a property test):

- A singular message is opened, or left out, or declared *repeated* bytes, because protobuf merges
  duplicates of a singular message and singular bytes would keep only the last.
- Members of a oneof are all inside that oneof, or all left out, so that the last on the wire wins.
- Every field that is not repeated has explicit presence, so that zeros and empty messages survive.
- Strings are declared ``bytes``: one bad byte must not refuse a request. Decode with
  ``errors="replace"`` where text is needed. Enums are ``int32``: unknown values are kept in place.
- The descriptor pool is our own; an embedding program may have its own OTLP classes loaded.

Serializing a view may change the order of fields: never hash or compare bytes across a view, and
cache bytes, never message objects. An open view takes two to three times the memory of the wire,
but 26 times when the wire is made of empty messages: see `counting.check_elements`.
"""

from __future__ import annotations

import enum
import logging
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, EncodeError

from mlsysops_pipeline.errors import Bug, MalformedError
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        FieldDescriptorProto,
        FileDescriptorProto,
    )
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

_logger = logging.getLogger(__name__)
_building = threading.Lock()
"""Held while views are built, in the one pool there is: collectors may run in several threads."""


class Depth(enum.Enum):
    """How deep a view opens a request. Take the first that shows what you need.

    A name in the descriptions below is closed where it is called so: repeated ``bytes``, whether
    OTLP has it repeated or not.
    """

    __hash__ = object.__hash__  # members are keys where it counts, and the default is slow

    COUNTING = "counting"
    """Only for `counting.count_items`: repeated ancestors are merged. Never serialize it."""
    RESOURCE = "resource"
    """Resource attributes. Closed: ``scope_metrics``, ``scope_logs``, ``scope_spans``."""
    SCOPE = "scope"
    """Scopes. Closed: ``metrics``, ``log_records``, ``spans``, and all ``attributes``. Cheaper than
    `RECORD` only for who recognizes metrics by their bytes."""
    RECORD = "record"
    """Scopes; name, unit and type of metrics. Closed: ``data_points``, ``log_records``, ``spans``,
    and all ``attributes`` and ``metadata``."""
    POINT = "point"
    """Time stamps and values of points, fields of log records and spans. Closed: ``attributes``
    everywhere, ``metadata``, ``exemplars``, ``body``, ``events``, ``links``."""
    ATTRIBUTES = "attributes"
    """The attributes of resources, scopes, points, records and spans: three times the cost of
    `POINT`, for plain points as much as `FULL`. Closed: ``metadata``, ``exemplars``,
    ``quantile_values``, ``positive``, ``negative``, ``body``, ``events``, ``links``."""
    TEXT = "text"
    """Everything but what repeats: closed are ``attributes``, ``filtered_attributes`` and
    ``metadata``, so that whoever renders them can do it once for each."""
    FULL = "full"
    """Everything that OTLP names."""


_REPLACED = frozenset(
    {"name", "description", "unit", "aggregation_temporality", "is_monotonic"},
)
"""Scalars of metrics that merged views name."""

_CLOSED: dict[Depth, frozenset[str]] = {
    Depth.RESOURCE: frozenset({"scope_metrics", "scope_logs", "scope_spans", "entity_refs"}),
    Depth.SCOPE: frozenset({"attributes", "entity_refs", "metrics", "log_records", "spans"}),
    Depth.RECORD: frozenset(
        {"attributes", "entity_refs", "metadata", "data_points", "log_records", "spans"}
    ),
    Depth.POINT: frozenset(
        {"attributes", "entity_refs", "metadata", "exemplars", "body", "events", "links"}
    ),
    Depth.ATTRIBUTES: frozenset(
        {
            *("entity_refs", "metadata", "exemplars", "quantile_values", "positive", "negative"),
            *("body", "events", "links"),
        }
    ),
    Depth.TEXT: frozenset({"attributes", "filtered_attributes", "metadata"}),
    Depth.FULL: frozenset(),
}
"""The message fields that a depth leaves closed, by the name that OTLP gives them."""

PATHS: dict[Signal, tuple[tuple[str, ...], ...]] = {
    Signal.METRICS: (
        ("resource_metrics",),
        ("scope_metrics",),
        ("metrics",),
        ("gauge", "sum", "histogram", "exponential_histogram", "summary"),
        ("data_points",),
    ),
    Signal.LOGS: (("resource_logs",), ("scope_logs",), ("log_records",)),
    Signal.TRACES: (("resource_spans",), ("scope_spans",), ("spans",)),
}
"""The fields that lead from a request to its items, one step after the other."""

CONTAINERS: dict[Signal, tuple[str, ...]] = {
    Signal.METRICS: ("MetricsData", "ResourceMetrics", "ScopeMetrics", "Metric", "Gauge"),
    Signal.LOGS: ("LogsData", "ResourceLogs", "ScopeLogs"),
    Signal.TRACES: ("TracesData", "ResourceSpans", "ScopeSpans"),
}
"""The messages along `PATHS`: ``PATHS[signal][level]`` are fields of ``CONTAINERS[signal][level]``.

The first has the wire form of the signal's ``Export...ServiceRequest``. For members of ``data``
stands ``Gauge``: all have their points in the same field.
"""


@cache
def view(signal: Signal, depth: Depth, name: str = "") -> type[Message]:
    """The message class of a request of ``signal`` opened to ``depth``.

    ``name`` asks for the class of a message inside it, as OTLP calls it (``"ResourceMetrics"``,
    ``"Span.Event"``): what a closed field holds can be opened with the class of a deeper view.
    Built on first use and kept. Raises `KeyError` if the view does not reach such a message.
    """
    if depth is Depth.COUNTING:
        return merged_view(signal, len(PATHS[signal]) - 1, name)
    with _building:
        _load(signal, depth)
        return _message_class(_package(signal, depth.value), name or CONTAINERS[signal][0])


@cache
def merged_view(signal: Signal, closed: int, name: str = "") -> type[Message]:
    """The class that counts the messages in the fields ``PATHS[signal][closed]``, for `counting`.

    Those are repeated bytes; all that lies above is merged, all beside it unknown.
    """
    with _building:
        _load_merged(signal, closed)
        return _message_class(_package(signal, f"merged{closed}"), name or CONTAINERS[signal][0])


def parse(signal: Signal, depth: Depth, wire: bytes) -> Any:
    """Open one serialized request. The result is a new message of class `view`.

    Raises `MalformedError` if the bytes are no such message down to ``depth``, or nest deeper than
    the 100 levels that protobuf follows.
    """
    try:
        return view(signal, depth).FromString(wire)
    except DecodeError as error:
        raise MalformedError(f"no protobuf request of {signal}: {error}") from error


def serialize(message: Message) -> bytes:
    """The bytes of a view. Raises `MalformedError` if protobuf cannot write them (over 2 GiB)."""
    try:
        return message.SerializePartialToString()
    except EncodeError as error:
        raise MalformedError(f"cannot serialize {message.DESCRIPTOR.name}: {error}") from error


@cache
def _pool() -> DescriptorPool:
    from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415  on first use
    from google.protobuf.internal import api_implementation  # noqa: PLC0415  the same

    implementation = api_implementation.Type()
    if implementation != "upb":
        _logger.warning(
            "protobuf runs on its %r implementation, not on upb: expect a tenth of the speed",
            implementation,
        )
    return DescriptorPool()


@cache
def _load(signal: Signal, depth: Depth) -> None:
    _add(_package(signal, depth.value), _trimmed_file(signal, depth))


@cache
def _load_merged(signal: Signal, closed: int) -> None:
    _add(_package(signal, f"merged{closed}"), _merged_file(signal, closed))


def _add(package: str, file: FileDescriptorProto) -> None:
    """Put messages, whose types are still called as in OTLP, into our pool under ``package``."""
    file.name = f"{package}.proto"
    file.package = package
    file.syntax = "proto2"  # explicit presence, no check of UTF-8
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = f".{package}.{_flat(field.type_name)}"
    _pool().AddSerializedFile(file.SerializeToString())


def _message_class(package: str, name: str) -> type[Message]:
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415  on first use

    return GetMessageClass(_pool().FindMessageTypeByName(f"{package}.{_flat(name)}"))


def _package(signal: Signal, kind: str) -> str:
    return f"mlsysops.{signal}.{kind}"


def _flat(name: str) -> str:
    """A nested name as a top-level one: ``Span.Event`` is ``Span_Event``."""
    return name.replace(".", "_")


def _relative(type_name: str) -> str:
    """A full type name below its package: ``Span.Event`` of ``...proto.trace.v1.Span.Event``."""
    return type_name.partition(".v1.")[2]


@cache
def _official(signal: Signal) -> dict[str, DescriptorProto]:
    """OTLP's own messages that a request of ``signal`` can hold, by name below their package."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415  on first use
    from opentelemetry.proto.logs.v1 import logs_pb2  # noqa: PLC0415  the same
    from opentelemetry.proto.metrics.v1 import metrics_pb2  # noqa: PLC0415  the same
    from opentelemetry.proto.trace.v1 import trace_pb2  # noqa: PLC0415  the same

    modules = {Signal.METRICS: metrics_pb2, Signal.LOGS: logs_pb2, Signal.TRACES: trace_pb2}
    top = modules[signal].DESCRIPTOR
    found: dict[str, DescriptorProto] = {}

    def collect(message: DescriptorProto, prefix: str) -> None:
        found[prefix + message.name] = message
        for nested in message.nested_type:
            collect(nested, f"{prefix}{message.name}.")

    for descriptor in (top, *top.dependencies):
        file = FileDescriptorProto()
        descriptor.CopyToProto(file)
        for message in file.message_type:
            collect(message, "")
    return found


def _trimmed_file(signal: Signal, depth: Depth) -> FileDescriptorProto:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415  on first use

    official = _official(signal)
    file = FileDescriptorProto()
    waiting = [CONTAINERS[signal][0]]
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        message = _trimmed_message(official[name], _CLOSED[depth])
        message.name = _flat(name)
        file.message_type.append(message)
        for field in message.field:
            if field.type_name and field.type_name not in seen:
                seen.add(field.type_name)
                waiting.append(field.type_name)
    return file


def _trimmed_message(official: DescriptorProto, closed: frozenset[str]) -> DescriptorProto:
    """One message of a view; its fields' types have OTLP's names, below their package."""
    from google.protobuf.descriptor_pb2 import DescriptorProto  # noqa: PLC0415  on first use

    message = DescriptorProto()
    oneofs: dict[int, int] = {}
    for source in official.field:
        field = message.field.add()
        _translate(source, field, closed)
        # `optional` of proto3 is written as a oneof of one, which proto2 has no need of.
        if source.HasField("oneof_index") and not source.proto3_optional:
            if source.name in closed:
                raise Bug(f"{official.name}.{source.name} is in a oneof and cannot be closed")
            if source.oneof_index not in oneofs:
                oneofs[source.oneof_index] = len(oneofs)
                message.oneof_decl.add().name = official.oneof_decl[source.oneof_index].name
            field.oneof_index = oneofs[source.oneof_index]
    return message


def _translate(
    source: FieldDescriptorProto, field: FieldDescriptorProto, closed: frozenset[str]
) -> None:
    """Declare an official field under the rules of views."""
    field.name = source.name
    field.number = source.number
    field.label = source.label
    field.type = source.type
    if source.type == source.TYPE_MESSAGE:
        if source.name in closed:
            field.type = source.TYPE_BYTES
            field.label = source.LABEL_REPEATED
        else:
            field.type_name = _relative(source.type_name)
    elif source.type == source.TYPE_STRING:
        field.type = source.TYPE_BYTES
    elif source.type == source.TYPE_ENUM:
        field.type = source.TYPE_INT32
    elif source.label == source.LABEL_REPEATED and source.type != source.TYPE_BYTES:
        field.options.packed = True


def _merged_file(signal: Signal, closed: int) -> FileDescriptorProto:
    """The ancestors of the messages called ``PATHS[signal][closed]``, each singular.

    Protobuf merges what comes again of a singular message, so one message per level remains. At
    the end of the path stand repeated bytes. The members of a metric's ``data`` are outside their
    oneof, so that none of them replaces another. What nearly every metric says of itself is named
    too, so that one replaces the other: collecting it as unknown would take a third of the time.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415  on first use

    official = _official(signal)
    file = FileDescriptorProto()
    waiting = [(CONTAINERS[signal][0], 0)]
    while waiting:
        name, level = waiting.pop()
        message = file.message_type.add(name=_flat(name))
        for source in official[name].field:
            if source.name in _REPLACED:
                kind = source.TYPE_BYTES if source.type == source.TYPE_STRING else source.TYPE_INT64
                message.field.add(
                    name=source.name,
                    number=source.number,
                    type=kind,
                    label=source.LABEL_OPTIONAL,
                )
            if source.name not in PATHS[signal][level]:
                continue
            field = message.field.add(name=source.name, number=source.number)
            if level == closed:
                field.type = source.TYPE_BYTES
                field.label = source.LABEL_REPEATED
            else:
                inner = _relative(source.type_name)
                field.type = source.TYPE_MESSAGE
                field.label = source.LABEL_OPTIONAL
                field.type_name = inner
                waiting.append((inner, level + 1))
    return file
