"""Reading gauges and sums out of their bytes, as all encoders that we know of write them.

Fields stand in the order of their numbers; a point is a start (or none), a time, a value, and then
its attributes, which are the same bytes whenever the point's stream comes again. What is written in
another way, or has more to say (exemplars, flags, fields that OTLP may add), is not read here but
opened with a view: functions say so by giving nothing. They give tuples, as they are called for
every metric and point.

A point costs a quarter of what it costs in a view (`benchmarks/micro_streams.py`), and can be
changed in place, as times and numbers always take eight bytes.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812  a class, in spite of its name
from typing import TYPE_CHECKING, TypeAlias

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.wire import fields, length_prefix, varint

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

TIME, DOUBLE, INTEGER = 0x19, 0x21, 0x31
"""The tags of the time and of ``as_double`` and ``as_int`` in a point."""
VALUE_KINDS = {DOUBLE: "as_double", INTEGER: "as_int"}
"""The same as they are called in the oneof ``value``."""
STARTED_BYTES = 27
"""Start, time and value of a point with their tags."""
_TIMED_BYTES = 18
_START, _ATTRIBUTE = 0x11, 0x3A
_KINDS = {
    0x2A: "gauge",
    0x3A: "sum",
    0x4A: "histogram",
    0x52: "exponential_histogram",
    0x5A: "summary",
}
_NAME, _DESCRIPTION, _UNIT, _POINT = 0x0A, 0x12, 0x1A, 0x0A
_SHORT = Struct("<BBBQBQBd").unpack_from
_LONG = Struct("<BBBBQBQBd").unpack_from
"""A point from its tag on, with a length of one byte or two."""
_INTEGER = Struct("<q").unpack_from
_TIMED = Struct("<BQBd").unpack_from
pack_double, pack_integer = Struct("<QBQBd").pack_into, Struct("<QBQBq").pack_into
"""Write start, `TIME`, time, `DOUBLE` or `INTEGER` and a value over those of a point.

From the byte behind its first on: the tag of the start."""
_FIXED = Struct("<BQ").pack
_INTEGER_BYTES, _DOUBLE_BYTES = Struct("<q").pack, Struct("<d").pack
_TAILS = {
    b"": (0, False),
    b"\x10\x01": (1, False),
    b"\x10\x02": (2, False),
    b"\x10\x01\x18\x01": (1, True),
    b"\x10\x02\x18\x01": (2, True),
    b"\x10\x01\x18\x00": (1, False),
    b"\x10\x02\x18\x00": (2, False),
}
"""What can follow the points of a sum: its temporality, and whether it is monotonic."""

Head: TypeAlias = "tuple[str, bytes, bytes, int, int]"
"""The name of ``data``, that of the metric, the unit; where the field begins in which the points
are, and where its content does. That ends with the metric."""
Point: TypeAlias = "tuple[int, int, int, int, int, int, float]"
"""Where a point, its attributes and what follows them begin; start (0: none), time, `DOUBLE` or
`INTEGER`, and the value."""


def head(metric: bytes) -> Head | None:
    """What stands in a serialized ``Metric`` before its points; nothing: open it."""
    try:
        at = 0
        name = unit = b""
        tag = metric[0]
        if tag == _NAME:
            length = metric[1]
            if length > 0x7F:
                return None
            at = 2 + length
            name = metric[2:at]
            tag = metric[at]
        if tag == _DESCRIPTION:
            length = metric[at + 1]
            if length > 0x7F:
                if metric[at + 2] > 0x7F:
                    return None
                at += 1
                length += (metric[at + 1] - 1) << 7
            at += 2 + length
            tag = metric[at]
        if tag == _UNIT:
            begin = at + 2
            at = begin + metric[at + 1]
            unit = metric[begin:at]
            tag = metric[at]
        kind = _KINDS.get(tag)
        if kind is None:
            return None
        length = metric[at + 1]
        begin = at + 2
        shift = 7
        while length >> shift:  # the last byte had more to follow
            length += (metric[begin] - 1) << shift
            begin += 1
            shift += 7
    except IndexError:
        return None
    if begin + length != len(metric):
        return None
    return kind, name, unit, at, begin


def points(metric: bytes, begin: int) -> tuple[list[Point], int] | None:
    """The points of a gauge or sum behind its `head`, and where they end; nothing: open it."""
    found: list[Point] = []
    add = found.append
    at, last = begin, len(metric)
    try:
        while at < last and metric[at] == _POINT:
            length = metric[at + 1]
            if length < 0x80:
                _, _, first, start, mark, time, tag, value = _SHORT(metric, at)
                at += 2
            else:
                _, _, high, first, start, mark, time, tag, value = _LONG(metric, at)
                if high > 0x7F:
                    return None
                length += (high - 1) << 7
                at += 3
            end = at + length
            rest = at + STARTED_BYTES
            if first == TIME:
                rest = at + _TIMED_BYTES
                start = 0
                _, time, tag, value = _TIMED(metric, at)
            elif first != _START or mark != TIME:
                return None
            if tag != DOUBLE:
                if tag != INTEGER:
                    return None
                value = _INTEGER(metric, rest - 8)[0]
            if rest > end:
                return None
            add((at, rest, end, start, time, tag, value))
            at = end
    except (IndexError, StructError):
        return None
    return (found, at) if at <= last else None


def known_points(
    metric: bytes, begin: int, key_of: Callable[[int], int | None]
) -> tuple[list[tuple[int, int, int, int]], int] | None:
    """As `points`, for who needs no values: key, begin, end and time of each point.

    ``key_of`` gives the key for the hash of what stands behind a value; nothing if one is unknown.
    """
    found: list[tuple[int, int, int, int]] = []
    add = found.append
    at, last = begin, len(metric)
    try:
        while at < last and metric[at] == _POINT:
            length = metric[at + 1]
            if length < 0x80:
                _, _, first, _, mark, time, tag, _ = _SHORT(metric, at)
                at += 2
            else:
                _, _, high, first, _, mark, time, tag, _ = _LONG(metric, at)
                if high > 0x7F:
                    return None
                length += (high - 1) << 7
                at += 3
            end = at + length
            if first != _START or mark != TIME or (tag != DOUBLE and tag != INTEGER):  # noqa: PLR1714  faster than a set
                return None
            key = key_of(hash(metric[at + STARTED_BYTES : end]))
            if key is None or at + STARTED_BYTES > end:
                return None
            add((key, at, end, time))
            at = end
    except (IndexError, StructError):
        return None
    return (found, at) if at <= last else None


def tail(metric: bytes, at: int) -> tuple[int, bool] | None:
    """Temporality and monotonicity of a sum whose points end at ``at``; nothing: open it."""
    return _TAILS.get(metric[at:])


def rest_of(point: bytes) -> bytes | None:
    """What stands behind the value of a serialized point; nothing: open it."""
    try:
        if point[0] == _START:
            at = 9
        elif point[0] == TIME:
            at = 0
        else:
            return None
        if point[at] == TIME and point[at + 9] in VALUE_KINDS:
            return point[at + 18 :]
    except IndexError:
        pass
    return None


def is_placed(found: list[Point]) -> bool:
    """Whether all points have a start, so that start, time and value can be replaced in place."""
    return all([point[1] - point[0] == STARTED_BYTES for point in found])  # noqa: C419  faster


def packed(start_ns: int, time_ns: int, value: float) -> bytes:
    """Start (none where it is 0), time and value, as a point begins."""
    tag, number = (INTEGER, _INTEGER_BYTES) if isinstance(value, int) else (DOUBLE, _DOUBLE_BYTES)
    head_ = _FIXED(_START, start_ns) if start_ns else b""
    return b"".join((head_, _FIXED(TIME, time_ns), tag.to_bytes(), number(value)))


def field(metric: bytes, point: Point) -> bytes:
    """A point with the tag and length that it has in its metric."""
    return length_prefix(1, point[2] - point[0]) + metric[point[0] : point[2]]


def join(found: Head, metric: bytes | bytearray, pieces: Iterable[bytes], after: int) -> bytes:
    """A metric with other points: serialized fields, in the place of all to ``after``."""
    *_, data, _ = found
    content = b"".join([*pieces, metric[after:]])
    return b"".join((metric[: data + 1], varint(len(content)), content))


def without(
    metric: bytes | bytearray, found: Head, numbers: list[Point], gone: Container[int], after: int
) -> bytes | None:
    """A metric without some of its points, by index; nothing if none is left."""
    pieces = []
    begin = found[4]
    for index, point in enumerate(numbers):
        if index not in gone:
            pieces.append(bytes(metric[begin : point[2]]))
        begin = point[2]
    return join(found, metric, pieces, after) if pieces else None


def attributes(rest: bytes) -> list[bytes] | None:
    """The serialized attributes behind the value of a point; nothing if there is more there."""
    try:
        found = list(fields(rest, 0, len(rest)))
    except MalformedError:
        return None
    if any(tag != _ATTRIBUTE for tag, *_ in found):
        return None
    return [rest[content:end] for _, _, content, end in found]
