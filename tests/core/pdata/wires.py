"""Random OTLP requests as bytes: all that the wire format allows, not only what encoders write.

Fields in any order and repeatedly, also singular ones and several members of a oneof; explicit
zeros and empty messages; packed and unpacked numbers; unknown fields and groups at every level;
known numbers with a foreign type; numbers written longer than needed. The same seed gives the
same bytes.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OFFICIAL: dict[Signal, Any] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}
CHILDREN = {
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
}
_GROUPS = {"ResourceMetrics", "ScopeMetrics", "Metric", "ResourceLogs", "ScopeLogs"}
_GROUPS |= {"ResourceSpans", "ScopeSpans"}
_ITEMS = {"NumberDataPoint", "HistogramDataPoint", "ExponentialHistogramDataPoint"}
_ITEMS |= {"SummaryDataPoint", "LogRecord", "Span"}
_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)
_INTERESTING = (0, 0, 1, 2, 127, 128, 300, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1)


def varint(value: int, length_min: int = 1) -> bytes:
    """A number of at least ``length_min`` bytes (protobuf lets numbers be longer than needed)."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    while len(out) < length_min:
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return varint(number << 3 | _LENGTH) + varint(len(content)) + content


class WireMaker:
    """Writes random requests and counts what it writes.

    ``items`` and ``elements`` (items, metrics, scope and resource groups) are what a reader of
    fields finds. With ``one_kind`` no metric has two kinds of data, which readers would merge away.
    """

    def __init__(self, seed: int, *, one_kind: bool = False) -> None:
        self.random = random.Random(seed)  # noqa: S311  not a secret
        self.one_kind = one_kind
        self.items = 0
        self.elements = 0

    def request(self, signal: Signal) -> bytes:
        """A serialized request of ``signal``."""
        return self._message(OFFICIAL[signal].DESCRIPTOR, 0)

    def _message(self, descriptor: Any, depth: int) -> bytes:
        rolls = self.random
        fields = list(descriptor.fields)
        if descriptor.name == "Metric" and self.one_kind:
            members = descriptor.oneofs_by_name["data"].fields
            kept = rolls.choice(members)
            fields = [field for field in fields if field not in members] + [kept] * 3
        if depth < 4:  # the request should reach down to its items
            fields += [field for field in fields if field.message_type is not None] * 2
        unknown = sorted({4, 77, 99, 536870911} - set(descriptor.fields_by_number))
        out = []
        for _ in range(rolls.choice((0, 1, 2, 3, 5, 8))):
            roll = rolls.random()
            if roll < 0.06:
                out.append(self._unknown(rolls.choice(unknown), 0))
            elif roll < 0.08 and self.one_kind is False:
                out.append(self._foreign(rolls.choice(fields)))
            else:
                out.append(self._field(rolls.choice(fields), depth))
        return b"".join(out)

    def _field(self, field: Any, depth: int) -> bytes:
        if field.message_type is not None:
            is_leaf = depth > 6 + self.random.random() * 4
            name = field.message_type.name
            self.elements += name in _GROUPS or name in _ITEMS
            self.items += name in _ITEMS
            content = b"" if is_leaf else self._message(field.message_type, depth + 1)
            return self._delimited(field.number, content)
        if field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            text = self.random.choice(("", "a", "io.scope", "naïve 🙂", "x" * 130))
            return self._delimited(field.number, text.encode())
        kind, write = _SCALARS[field.type]
        if not field.is_repeated or self.random.random() < 0.3:
            return self._tag(field.number, kind) + write(self.random)
        values = [write(self.random) for _ in range(self.random.randrange(4))]
        return self._delimited(field.number, b"".join(values))

    def _unknown(self, number: int, nesting: int) -> bytes:
        kind = self.random.choice((_VARINT, _FIXED64, _LENGTH, _FIXED32, _GROUP))
        if kind == _GROUP:
            inner = b"".join(
                self._unknown(self.random.randrange(1, 20), nesting + 1)
                for _ in range(0 if nesting > 3 else self.random.randrange(3))
            )
            return varint(number << 3 | _GROUP) + inner + varint(number << 3 | _GROUP_END)
        return self._tag(number, kind) + self._content(kind)

    def _foreign(self, field: Any) -> bytes:
        """A known number with a type that is not its own, which a reader keeps as unknown."""
        own = _LENGTH if field.type not in _SCALARS else _SCALARS[field.type][0]
        kinds = {_VARINT, _FIXED64, _FIXED32} - {own}
        kind = self.random.choice(sorted(kinds))
        return self._tag(field.number, kind) + self._content(kind)

    def _content(self, kind: int) -> bytes:
        if kind == _VARINT:
            return varint(self.random.choice(_INTERESTING))
        if kind == _LENGTH:
            return field_content(self.random.randbytes(self.random.randrange(5)))
        return self.random.randbytes(8 if kind == _FIXED64 else 4)

    def _tag(self, number: int, kind: int) -> bytes:
        return varint(number << 3 | kind, self.random.choice((1, 1, 1, 1, 1, 3)))

    def _delimited(self, number: int, content: bytes) -> bytes:
        length = varint(len(content), self.random.choice((1, 1, 1, 1, 1, 4)))
        return self._tag(number, _LENGTH) + length + content


def field_content(content: bytes) -> bytes:
    """A length and what it is the length of."""
    return varint(len(content)) + content


def _integer(rolls: random.Random) -> bytes:
    return varint(rolls.choice(_INTERESTING))


def _double(rolls: random.Random) -> bytes:
    return struct.pack("<d", rolls.choice((0.0, -0.0, 1.5, float("nan"), float("inf"))))


def _fixed(size: int) -> Callable[[random.Random], bytes]:
    return lambda rolls: rolls.choice((bytes(size), rolls.randbytes(size)))


_FIELD = ExportMetricsServiceRequest.DESCRIPTOR.fields[0]
_SCALARS: dict[int, tuple[int, Callable[[random.Random], bytes]]] = {
    _FIELD.TYPE_DOUBLE: (_FIXED64, _double),
    _FIELD.TYPE_FIXED64: (_FIXED64, _fixed(8)),
    _FIELD.TYPE_SFIXED64: (_FIXED64, _fixed(8)),
    _FIELD.TYPE_FIXED32: (_FIXED32, _fixed(4)),
    _FIELD.TYPE_BOOL: (_VARINT, _integer),
    _FIELD.TYPE_ENUM: (_VARINT, _integer),
    _FIELD.TYPE_INT32: (_VARINT, _integer),
    _FIELD.TYPE_INT64: (_VARINT, _integer),
    _FIELD.TYPE_SINT32: (_VARINT, _integer),
    _FIELD.TYPE_UINT32: (_VARINT, _integer),
    _FIELD.TYPE_UINT64: (_VARINT, _integer),
}


def canonical(signal: Signal, wire: bytes) -> bytes:
    """What OTLP's own classes make of a request: equal bytes mean equal to every reader."""
    message = OFFICIAL[signal].FromString(wire)
    return bytes(message.SerializeToString(deterministic=True))


def leaves(signal: Signal, wire: bytes) -> list[tuple[bytes, ...]]:
    """Each item as a reader sees it, in order, with all that stands around it.

    A group, scope or metric without any child is a leaf as well.
    """
    request = OFFICIAL[signal].FromString(wire)
    return list(_leaves(request, CHILDREN[signal], ()))


def _leaves(
    message: Any, steps: tuple[str, ...], around: tuple[bytes, ...]
) -> Iterator[tuple[bytes, ...]]:
    if not steps and message.DESCRIPTOR.name == "Metric":
        kind = message.WhichOneof("data")
        if kind is not None:
            data = getattr(message, kind)
            points = [point.SerializeToString(deterministic=True) for point in data.data_points]
            data.ClearField("data_points")
            own = message.SerializeToString(deterministic=True)
            yield from [(*around, own, point) for point in points] or [(*around, own)]
            return
    if not steps:
        yield (*around, message.SerializeToString(deterministic=True))
        return
    children = list(getattr(message, steps[0]))
    shell = type(message)()
    shell.CopyFrom(message)
    shell.ClearField(steps[0])
    # The request's own fields are repeated by every member, so they are no part of the comparison.
    own = shell.SerializeToString(deterministic=True) if around or len(steps) < 3 else b""
    if not children and len(steps) < 3:
        yield (*around, own)
    for child in children:
        yield from _leaves(child, steps[1:], (*around, own))
