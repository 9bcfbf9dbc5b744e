"""Random OTLP through one processor of both collectors: what comes out, compared as sets of points.

Times are part of what is compared. The same seed gives the same requests. Part of `make diff`.
Left out is what is known to differ: `interval` adds deltas up, which Go 0.159 hands on at once.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from mlsysops_pipeline import Signal
from mlsysops_pipeline.metrics.exponential import Buckets
from tests.interop.items import REQUESTS, items
from tests.processors.streams import CUMULATIVE, DELTA, request

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:GRPC"}}}
processors:
  TYPE: OPTIONS
exporters:
  otlp: {endpoint: "127.0.0.1:SINK", tls: {insecure: true}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], processors: [TYPE], exporters: [otlp]}
"""
_REQUESTS = 40
_METRICS = (
    ("sum", "m1"),
    ("histogram", "m2"),
    ("gauge", "m3"),
    ("sum", "m4"),
    ("exponential_histogram", "m5"),
)


@dataclass(frozen=True, slots=True)
class ProcessorCase:
    """One processor, and the temporality of what it is given."""

    type: str
    options: str
    temporality: int
    wait_s: float = 0.5

    @property
    def name(self) -> str:
        return f"processor {self.type} {self.options}"

    @property
    def config(self) -> str:
        return CONFIG.replace("TYPE", self.type).replace("OPTIONS", self.options)


def _transforms(text: str) -> str:
    return f'{{transforms: [{{include: "^m(.*)$$", match_type: regexp, {text}}}]}}'


def _operation(text: str) -> str:
    return _transforms(f"action: update, operations: [{{{text}}}]")


CASES = (
    ProcessorCase("cumulative_to_delta", "{}", CUMULATIVE),
    ProcessorCase("cumulative_to_delta", "{initial_value: drop}", CUMULATIVE),
    ProcessorCase("delta_to_cumulative", "{}", DELTA),
    ProcessorCase("interval", "{interval: 3s}", CUMULATIVE, wait_s=4.5),
    ProcessorCase(
        "metrics_transform", _transforms('action: update, new_name: "n$${1}"'), CUMULATIVE
    ),
    ProcessorCase(
        "metrics_transform", _transforms('action: insert, new_name: "n$${1}"'), CUMULATIVE
    ),
    ProcessorCase(
        "metrics_transform",
        _transforms("action: group, group_resource_labels: {a: b}"),
        CUMULATIVE,
    ),
    *(
        ProcessorCase("metrics_transform", _operation(text), CUMULATIVE)
        for text in (
            "action: add_label, new_label: x, new_value: y",
            "action: update_label, label: s, new_label: t",
            "action: update_label, label: s, value_actions: [{value: '1', new_value: one}]",
            "action: delete_label_value, label: s, label_value: '1'",
            "action: toggle_scalar_data_type",
            "action: experimental_scale_value, experimental_scale: 2.2",
            "action: aggregate_labels, label_set: [t], aggregation_type: sum",
            "action: aggregate_labels, label_set: [t], aggregation_type: mean",
            "action: aggregate_labels, label_set: [t], aggregation_type: median",
            (
                "action: aggregate_label_values, label: s, aggregated_values: ['1', '2'], "
                "new_value: low, aggregation_type: max"
            ),
        )
    ),
)


def requests(case: ProcessorCase, seed: int) -> Iterator[bytes]:
    """Streams that grow, are late now and then and restart, of every kind."""
    rolls = random.Random(seed)  # noqa: S311  reproducible on purpose
    begin = int(time.time()) - 1_700_000_000 + 5  # after the start of those that look at it
    totals: dict[tuple[str, int], list[int]] = {}
    starts: dict[tuple[str, int], int] = {}
    for at in range(1, _REQUESTS):
        metrics = []
        for kind, name in _METRICS:
            points = []
            for stream in range(3):
                key = (name, stream)
                if key not in starts or rolls.random() < 0.05:
                    starts[key], totals[key] = begin + at - 1, [0, 0, 0]
                added = [rolls.randrange(5) for _ in range(3)]
                old = totals[key]
                totals[key] = [one + two for one, two in zip(old, added, strict=True)]
                is_delta = case.temporality == DELTA
                start = begin + at - 1 if is_delta and rolls.random() < 0.9 else starts[key]
                values = added if is_delta else totals[key]
                points.append(
                    _point(kind, name, values)
                    | {"start": start, "time": begin + at, "attributes": _labels(stream)}
                )
            monotonic = name != "m4"
            metrics.append(
                {
                    "name": name,
                    "kind": kind,
                    "temporality": case.temporality,
                    "monotonic": monotonic,
                    "points": points,
                }
            )
        yield request(*metrics)


def _labels(stream: int) -> dict[str, str]:
    return {"s": str(stream), "t": str(stream // 2)}


def _point(kind: str, name: str, values: list[int]) -> dict[str, Any]:
    if kind == "histogram":
        count = sum(values)
        buckets = {"bucket_counts": values, "explicit_bounds": [1.0, 2.0]}
        return {"count": count, "sum": float(count), **buckets}
    if kind == "exponential_histogram":
        count = sum(values)
        return {"count": count, "sum": float(count), "scale": 1, "positive": (-1, values)}
    return {"value": sum(values) if name == "m1" else float(sum(values))}


def differences(go: list[Any], ours: list[Any]) -> Iterator[str]:
    """Points that came out of one only."""
    left, right = _points(go), _points(ours)
    for who, one, other in (("Go", left, right), ("ours", right, left)):
        for item in sorted(one - other):
            yield f"{who} only: {item}"


def _trim(point: Any) -> None:
    """Buckets without content at the ends, and sides without buckets, mean nothing."""
    for side in ("positive", "negative"):
        if hasattr(point, side):
            buckets = getattr(point, side)
            trimmed = Buckets.of(buckets.offset, buckets.bucket_counts)
            point.ClearField(side)
            if trimmed.counts:
                getattr(point, side).offset = trimmed.offset
                getattr(point, side).bucket_counts.extend(trimmed.counts)


def _points(sent: list[Any]) -> set[str]:
    found = set()
    for one in sent:
        for item in items(Signal.METRICS, one):
            single = REQUESTS[Signal.METRICS].FromString(item)
            metric = single.resource_metrics[0].scope_metrics[0].metrics[0]
            point = getattr(metric, metric.WhichOneof("data")).data_points[0]
            _trim(point)
            ordered = sorted(point.attributes, key=lambda pair: str(pair.key))
            copies = [type(pair).FromString(pair.SerializeToString()) for pair in ordered]
            del point.attributes[:]
            point.attributes.extend(copies)
            found.add(text_format.MessageToString(single, as_one_line=True))
    return found
