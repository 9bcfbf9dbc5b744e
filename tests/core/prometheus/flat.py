"""Requests for the translator, and what it makes of them as plain rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.pdata.otlp_json import decode
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.prometheus import native
from mlsysops_pipeline.prometheus.points import (
    Batch,
    Cause,
    Exponentials,
    Family,
    Histograms,
    Labels,
    Numbers,
    Summaries,
)
from mlsysops_pipeline.prometheus.translate import Options, Translator

if TYPE_CHECKING:
    from collections.abc import Iterator

NS = 1_000_000_000
T0 = 1_700_000_000 * NS

Series = tuple[str, Labels]


class Bench:
    """A translator, and what it dropped and made."""

    def __init__(self, **options: Any) -> None:
        self.dropped: Counter[tuple[Cause, str]] = Counter()
        self.made = 0
        self.translator: Translator[Series] = Translator(
            replace(Options(), **options), self._make, self._report
        )

    def _make(self, family: Family, labels: Labels) -> Series:
        self.made += 1
        return (family.name, labels)

    def _report(self, cause: Cause, points: int, name: str) -> None:
        self.dropped[cause, name] += points

    def batches(self, wire: bytes) -> list[Batch[Series]]:
        return list(self.translator.translate(wire))

    def rows(self, wire: bytes) -> list[dict[str, Any]]:
        return [row for batch in self.batches(wire) for row in flatten(batch)]


def attributes(**values: str) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def request(*metrics: dict[str, Any], resource: Any = None, **scope: Any) -> bytes:
    """A serialized request with one resource and one scope, from OTLP/JSON."""
    group = {
        "resource": {"attributes": resource or []},
        "scopeMetrics": [{"scope": scope, "metrics": list(metrics)}],
    }
    return from_json({"resourceMetrics": [group]})


def gauge(name: str, *points: dict[str, Any], **metric: Any) -> dict[str, Any]:
    return {"name": name, "gauge": {"dataPoints": list(points)}, **metric}


def counter(
    name: str, *points: dict[str, Any], temporality: int = 2, monotonic: bool = True, **metric: Any
) -> dict[str, Any]:
    data = {
        "dataPoints": list(points),
        "aggregationTemporality": temporality,
        "isMonotonic": monotonic,
    }
    return {"name": name, "sum": data, **metric}


def point(value: float = 1.0, *, time: int = T0, **rest: Any) -> dict[str, Any]:
    return {"timeUnixNano": str(time), "asDouble": value, **rest}


def from_json(body: Any) -> bytes:
    return decode(Signal.METRICS, json.dumps(body).encode())


def flatten(batch: Batch[Series]) -> Iterator[dict[str, Any]]:
    """The samples of a batch, as remote write would send them."""
    match batch:
        case Numbers(family, numbers):
            for series, time, start, value, exemplars in numbers:
                yield _row(family, series, (time, start), value, exemplars)
        case Histograms(family, histograms):
            for histogram in histograms:
                yield from _histogram(family, histogram)
        case Exponentials(family, exponentials):
            for one in exponentials:
                row = _row(family, one.series, (one.timestamp_ns, one.start_ns), None)
                del row["value"]
                yield {**row, "histogram": _native(one)}
        case Summaries(family, summaries):
            for summary in summaries:
                yield from _summary(family, summary)


def _summary(family: Family, one: Any) -> Iterator[dict[str, Any]]:
    name, labels = one.series
    times = (one.timestamp_ns, one.start_ns)
    stale = one.is_stale
    yield _row(family, (f"{name}_sum", labels), times, None if stale else one.sum)
    yield _row(family, (f"{name}_count", labels), times, None if stale else one.count)
    for quantile, value in one.quantiles:
        extended = (*labels, ("quantile", f"{quantile:g}"))
        yield _row(family, (name, extended), times, None if stale else value)


def _histogram(family: Family, one: Any) -> Iterator[dict[str, Any]]:
    name, labels = one.series
    times = (one.timestamp_ns, one.start_ns)
    stale = one.is_stale
    if one.sum is not None:
        yield _row(family, (f"{name}_sum", labels), times, None if stale else one.sum)
    yield _row(family, (f"{name}_count", labels), times, None if stale else one.count)
    lower = -math.inf
    for bound, count in zip((*one.bounds, math.inf), one.buckets, strict=True):
        text = "+Inf" if bound == math.inf else f"{bound:g}"
        inside = [each for each in one.exemplars if lower < each.value <= bound]
        lower = bound
        extended = (*labels, ("le", text))
        yield _row(family, (f"{name}_bucket", extended), times, None if stale else count, inside)


def _native(one: Any) -> dict[str, Any]:
    positive, negative = native.spans(one.positive), native.spans(one.negative)
    return {
        "count": one.count,
        "sum": one.sum,
        "schema": one.scale,
        "zero_count": one.zero_count,
        "zero_threshold": one.zero_threshold,
        "positive_spans": positive[0],
        "positive_deltas": positive[1],
        "negative_spans": negative[0],
        "negative_deltas": negative[1],
    }


def _row(
    family: Family,
    series: Series,
    times: tuple[int, int],
    value: float | None,
    exemplars: Any = (),
) -> dict[str, Any]:
    name, labels = series
    row = {
        "family": family.name,
        "type": str(family.type),
        "help": family.help,
        "unit": family.unit,
        "labels": {"__name__": name, **dict(labels)},
        "ts_ms": times[0] // 1_000_000,
        "start_ms": times[1] // 1_000_000,
        "value": _plain(value),
    }
    if exemplars:
        row["exemplars"] = [
            {"labels": dict(one.labels), "ts_ms": one.timestamp_ns // 1_000_000, "value": one.value}
            for one in exemplars
        ]
    return row


def _plain(value: float | None) -> float | str:
    if value is None:
        return "StaleNaN"
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"
