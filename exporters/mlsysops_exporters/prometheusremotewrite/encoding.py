"""The bytes of `prometheus.WriteRequest` (remote write 1.0), piece by piece. Pure functions.

    WriteRequest    1 timeseries*, 3 metadata*
    TimeSeries      1 labels*, 2 samples*, 3 exemplars*, 4 histograms*
    Label           1 name, 2 value
    Sample          1 value (double), 2 timestamp (int64, milliseconds)
    Exemplar        1 labels*, 2 value, 3 timestamp
    MetricMetadata  1 type, 2 metric_family_name, 4 help, 5 unit

Nearly every series has one sample in a request, and all its bytes but sixteen are the same each
time. So what is kept of a series is its `head`: everything up to the value, with the lengths that
hold for one such sample. ``head + value + time`` is a whole `timeseries` field.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.prometheus.native import spans

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.prometheus.points import Buckets, Labels

STALE: Final = struct.pack("<Q", 0x7FF0000000000002)
"""The value that ends a series (R1-7)."""

_SAMPLE_BYTES: Final = 16
_SAMPLE_FIELD_BYTES: Final = _SAMPLE_BYTES + 2
SAMPLE_START: Final = b"\x12\x10\x09"
"""Field `samples` of sixteen bytes, which begin with a value."""

TIME_MS_MIN: Final = 1 << 35
TIME_MS_MAX: Final = (1 << 42) - 1
"""Times of six bytes: February 1971 to May 2109. No others fit behind a head."""

_LABELS_MAX: Final = 10_000
"""Encoded labels that are remembered: most are those of many series."""
_LABEL_CHARACTERS: Final = 256
"""Longer ones are not."""

pack_double = struct.Struct("<d").pack
"""The eight bytes of a value."""

USUAL_SAMPLE_BYTES: Final = 15
"""What follows a head: a value of eight bytes, and a time of seven with its tag."""


def varint(number: int) -> bytes:
    """A number, not negative, as a base-128 varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def signed(number: int) -> bytes:
    """An ``int64`` as a varint."""
    return varint(number & 0xFFFF_FFFF_FFFF_FFFF)


def zigzag(number: int) -> bytes:
    """An ``sint32`` or ``sint64`` as a varint."""
    return varint((number << 1) ^ (number >> 63))


def field(number: int, content: bytes) -> bytes:
    """A field (1 to 15) of bytes, text or a message."""
    return bytes((number << 3 | 2,)) + varint(len(content)) + content


def time_bytes(time_ms: int) -> bytes:
    """The field that ends a sample."""
    return b"\x10" + signed(time_ms)


def labels_bytes(labels: Iterable[tuple[str, str]]) -> bytes:
    """All labels of a series, in the order given."""
    return b"".join(
        [
            (_label if len(value) <= _LABEL_CHARACTERS else _label.__wrapped__)(name, value)
            for name, value in labels
        ]
    )


@lru_cache(_LABELS_MAX)
def _label(name: str, value: str) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value.encode("utf-8", "replace")))


def head(labels: bytes) -> bytes:
    """What stands before value and time of a series with one sample."""
    return b"\x0a" + varint(len(labels) + _SAMPLE_FIELD_BYTES) + labels + SAMPLE_START


def labels_of(head_: bytes) -> bytes:
    """The encoded labels in a head."""
    start = 2
    while head_[start - 1] & 0x80:
        start += 1
    return head_[start : -len(SAMPLE_START)]


def decode_labels(labels: bytes) -> Labels:
    """The labels in what `labels_bytes` made."""
    out = []
    at = 0
    while at < len(labels):
        _, at = _varint_at(labels, at + 1)
        size, at = _varint_at(labels, at + 1)
        name = labels[at : at + size].decode("utf-8", "replace")
        size, at = _varint_at(labels, at + size + 1)
        out.append((name, labels[at : at + size].decode("utf-8", "replace")))
        at += size
    return tuple(out)


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return number | data[at] << shift, at + 1


def sample(value: bytes, time_ms: int) -> bytes:
    """Field `samples` of a series; ``value`` as `pack_double` gives it."""
    return field(2, b"\x09" + value + time_bytes(time_ms))


def exemplar(labels: Iterable[tuple[str, str]], value: float, time_ms: int) -> bytes:
    """Field `exemplars` of a series."""
    return field(3, labels_bytes(labels) + b"\x11" + pack_double(value) + b"\x18" + signed(time_ms))


def series(labels: bytes, contents: Iterable[bytes]) -> bytes:
    """Field `timeseries` of a request: encoded labels, then samples, exemplars, histograms."""
    return field(1, labels + b"".join(contents))


def metadata(type_: int, family: str, help_: str, unit: str) -> bytes:
    """Field `metadata` of a request. ``type_``: a number of `METADATA_TYPES`."""
    content = (b"\x08" + varint(type_) if type_ else b"") + field(2, family.encode())
    if help_:
        content += field(4, help_.encode("utf-8", "replace"))
    if unit:
        content += field(5, unit.encode("utf-8", "replace"))
    return field(3, content)


METADATA_TYPES: Final = {
    "unknown": 0,
    "counter": 1,
    "gauge": 2,
    "histogram": 3,
    "gaugehistogram": 4,
    "summary": 5,
    "info": 6,
    "stateset": 7,
}


def native_histogram(
    *,
    count: int,
    sum_: bytes,
    schema: int,
    zero_threshold: float,
    zero_count: int,
    positive: Buckets,
    negative: Buckets,
    time_ms: int,
) -> bytes:
    """Field `histograms` of a series. The reset hint stays unknown (PO-8).

    ``sum_`` as `pack_double` gives it. Native histograms are in the message that receivers of 1.0
    read, though not in the text of 1.0: those that do not know them skip the field.
    """
    out = [
        b"\x08" + varint(count),
        b"\x19" + sum_,
        b"\x20" + zigzag(schema),
        b"\x29" + pack_double(zero_threshold),
        b"\x30" + varint(zero_count),
    ]
    for number, buckets in ((8, negative), (11, positive)):
        found, deltas = spans(buckets)
        out += [field(number, b"\x08" + zigzag(gap) + b"\x10" + varint(n)) for gap, n in found]
        if deltas:
            out.append(field(number + 1, b"".join([zigzag(delta) for delta in deltas])))
    out.append(b"\x78" + signed(time_ms))
    return field(4, b"".join(out))
