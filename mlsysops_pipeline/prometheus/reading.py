"""Serialized OTLP data points, opened one at a time (conformance PO-7 to PO-10, PO-16).

Raises `MalformedError` for a point that is no message or whose fields contradict each other, and
`Unfit` for one that is sound and has no place in Prometheus.
"""

from __future__ import annotations

import itertools
import math
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
from mlsysops_pipeline.prometheus import native
from mlsysops_pipeline.prometheus.labels import make_labels, value_text
from mlsysops_pipeline.prometheus.points import (
    Cause,
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    SummaryPoint,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.prometheus.names import Strategy
    from mlsysops_pipeline.prometheus.points import Labels, NumberPoint, S

NAN = math.nan
"""An ordinary NaN, for those of peers, which may have the bits of a stale marker."""
_double = struct.Struct("<d")
_NAN_BYTES = _double.pack(NAN)
_NO_RECORDED_VALUE = 1
_ZERO_THRESHOLD = 1e-128
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_EXEMPLAR_CHARACTERS_MAX = 128


class Unfit(Exception):  # noqa: N818  it is an answer of this module, not an error of the program
    """A sound point that Prometheus has no place for."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


@cache
def _class(name: str) -> Callable[[bytes], Any]:
    return view(Signal.METRICS, Depth.POINT, name).FromString


def open_point(name: str, wire: bytes) -> Any:
    """A data point as the view of depth `POINT` shows it; ``name`` as OTLP calls it."""
    try:
        return _class(name)(wire)
    except DecodeError as error:
        raise MalformedError(f"no protobuf {name}: {error}") from error


def is_stale(point: Any) -> bool:
    """Whether the point says that there is none: NoRecordedValue (PO-9)."""
    return bool(point.flags & _NO_RECORDED_VALUE)


def number(point: Any, series: S, exemplars: tuple[Exemplar, ...]) -> NumberPoint[S]:
    """The point of a gauge or sum."""
    value: float | None
    if is_stale(point):
        value = None
    elif point.HasField("as_double"):
        value = plain(point.as_double)
    elif point.HasField("as_int"):
        value = float(point.as_int)
    else:
        raise MalformedError("a data point without a value")
    return (series, point.time_unix_nano, point.start_time_unix_nano, value, exemplars)


def plain(value: float) -> float:
    """The number, or `NAN`."""
    return NAN if math.isnan(value) else value


def plain_bytes(value: bytes) -> bytes:
    """The eight bytes of a double, or those of `NAN`."""
    (number,) = _double.unpack(value)
    return _NAN_BYTES if math.isnan(number) else value


def histogram(point: Any, series: S, exemplars: tuple[Exemplar, ...]) -> HistogramPoint[S]:
    """The point of a histogram (PO-7)."""
    bounds = tuple(point.explicit_bounds)
    counts = tuple(point.bucket_counts)
    stale = is_stale(point)
    if bounds and bounds[-1] == math.inf and len(counts) == len(bounds) + 1:
        # Some write the last bound out, above which there is nothing.
        bounds, counts = bounds[:-1], (*counts[:-2], counts[-2] + counts[-1])
    if not all(map(_is_less, bounds, bounds[1:])) or any(map(math.isnan, bounds)):
        raise MalformedError("the bounds of a histogram do not rise")
    if not counts and (stale or not bounds):
        counts = (0,) * (len(bounds) + 1)
    if len(counts) != len(bounds) + 1:
        raise MalformedError("a histogram does not have one bucket more than bounds")
    buckets = list(itertools.accumulate(counts))
    # The count includes NaN, which no bucket does. It can only be too low by mistake.
    buckets[-1] = max(buckets[-1], point.count)
    return HistogramPoint(
        series=series,
        timestamp_ns=point.time_unix_nano,
        start_ns=point.start_time_unix_nano,
        sum=plain(point.sum) if point.HasField("sum") else None,
        bounds=bounds,
        buckets=tuple(buckets),
        exemplars=exemplars,
        is_stale=stale,
    )


def _is_less(left: float, right: float) -> bool:
    return left < right


def exponential(point: Any, series: S, exemplars: tuple[Exemplar, ...]) -> ExponentialPoint[S]:
    """The point of an exponential histogram, at a scale that Prometheus has (PO-8)."""
    stale = is_stale(point)
    scale = point.scale
    positive: tuple[int, tuple[int, ...]] = (0, ())
    negative = positive
    count = zero_count = 0
    if stale:
        scale = max(native.SCALE_MIN, min(scale, native.SCALE_MAX))
    else:
        if scale < native.SCALE_MIN:
            raise Unfit(Cause.SCALE)
        if not point.HasField("sum"):
            raise Unfit(Cause.NO_SUM)
        levels = max(0, scale - native.SCALE_MAX)
        scale -= levels
        positive, negative = (
            native.scaled_down(side.offset, side.bucket_counts, levels)
            for side in (point.positive, point.negative)
        )
        if not (native.is_in_range(positive, scale) and native.is_in_range(negative, scale)):
            raise MalformedError("a bucket of an exponential histogram is beyond every number")
        zero_count = point.zero_count
        found = zero_count + sum(positive[1]) + sum(negative[1])
        # Receivers refuse what does not add up. Only NaN is in no bucket, and makes the sum NaN.
        count = max(found, point.count) if math.isnan(point.sum) else found
    threshold = point.zero_threshold
    return ExponentialPoint(
        series=series,
        timestamp_ns=point.time_unix_nano,
        start_ns=point.start_time_unix_nano,
        count=count,
        sum=plain(point.sum),
        scale=scale,
        zero_count=zero_count,
        zero_threshold=threshold if threshold > 0 else _ZERO_THRESHOLD,
        positive=positive,
        negative=negative,
        exemplars=exemplars,
        is_stale=stale,
    )


def summary(point: Any, series: S) -> SummaryPoint[S]:
    """The point of a summary (PO-10): quantiles from lowest to highest."""
    quantiles = {pair.quantile: plain(pair.value) for pair in point.quantile_values}
    if not all(0 <= quantile <= 1 for quantile in quantiles):
        raise MalformedError("a quantile is not between 0 and 1")
    return SummaryPoint(
        series=series,
        timestamp_ns=point.time_unix_nano,
        start_ns=point.start_time_unix_nano,
        count=point.count,
        sum=plain(point.sum),
        quantiles=tuple(sorted(quantiles.items())),
        is_stale=is_stale(point),
    )


def read_exemplars(wires: Iterable[bytes], strategy: Strategy) -> tuple[Exemplar, ...]:
    """The exemplars of a point; those that are malformed or have no value are left out."""
    parse = view(Signal.METRICS, Depth.FULL, "Exemplar").FromString
    found = []
    for wire in wires:
        try:
            exemplar: Any = parse(wire)
        except DecodeError:
            continue
        if exemplar.HasField("as_double"):
            value = plain(exemplar.as_double)
        elif exemplar.HasField("as_int"):
            value = float(exemplar.as_int)
        else:
            continue
        labels = _exemplar_labels(exemplar, strategy)
        found.append(Exemplar(labels, value, exemplar.time_unix_nano))
    return tuple(found)


def _exemplar_labels(exemplar: Any, strategy: Strategy) -> Labels:
    """Trace and span, and the filtered attributes unless all is over the limit (PO-16)."""
    ids = {
        name: identity.hex()
        for name, identity, length in (
            ("trace_id", exemplar.trace_id, _TRACE_ID_BYTES),
            ("span_id", exemplar.span_id, _SPAN_ID_BYTES),
        )
        if len(identity) == length and any(identity)
    }
    attributes: dict[str, str] = {}
    for pair in exemplar.filtered_attributes:
        attributes.setdefault(pair.key.decode(errors="replace"), value_text(pair.value))
    own = {key: value for key, value in attributes.items() if key not in ids}
    labels = make_labels(own, {}, strategy)
    merged = tuple(sorted({**dict(labels), **ids}.items()))
    characters = sum(len(name) + len(value) for name, value in merged)
    return merged if characters <= _EXEMPLAR_CHARACTERS_MAX else tuple(sorted(ids.items()))
