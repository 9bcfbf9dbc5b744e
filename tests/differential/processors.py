"""Random OTLP through one processor of both collectors: what comes out, compared as sets of points.

Times are part of what is compared. The same seed gives the same requests. Part of `make diff`. The
connectors `count` and `sum` cannot be had for that release (see `go_collector.yaml`); `routing`
neither, but for another one (see `routes`).
Left out is what is known to differ, each for a reason:

- `interval` adds deltas up, as newer releases do, which Go 0.159 hands on at once.
- Points without a value add nothing where points are aggregated (DM-10); Go takes them for zeros,
  or keeps their flag. `delta_to_rate` of Go refuses the whole request for one.
- Where points are aggregated, integers and doubles are added up, of which Go counts those of the
  first one's kind, and buckets of exponential histograms with other offsets are put where they
  belong; Go leaves gaps out.
- `groupbyattrs` puts points together only if all else of their metrics is equal; Go takes those of
  one name and type for one metric, and so gives points the unit of others.
- `add_label` replaces a label that is there, as the component reference says; Go 0.159 leaves it.
- The first delta of `cumulative_to_delta` with ``initial_value: keep`` says since when it counts;
  Go leaves that out. Points that are older than the last one are dropped, of exponential histograms
  too, whose delta would end before it begins in Go.
- A `sampling_priority` above 100 keeps a record; Go does not look at it. One of 0 drops it, as the
  Collector's documentation says and its code does not do.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from mlsysops_pipeline import Signal
from mlsysops_pipeline.metrics.exponential import Buckets
from tests.differential import random_otlp
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
    SIGNAL: {receivers: [otlp], processors: [TYPE], exporters: [otlp]}
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
    temporality: int = 0
    """0: of any, in requests with all that OTLP has."""
    wait_s: float = 0.5
    signal: Signal = Signal.METRICS
    is_plain: bool = False
    """See `random_otlp.requests`."""

    @property
    def name(self) -> str:
        return f"processor {self.type} {self.signal} {self.options}"

    @property
    def config(self) -> str:
        config = CONFIG.replace("SIGNAL", str(self.signal))
        return config.replace("TYPE", self.type).replace("OPTIONS", self.options)


def _transforms(text: str) -> str:
    return f'{{transforms: [{{include: "^m(.*)$$", match_type: regexp, {text}}}]}}'


def _operation(text: str) -> str:
    return _transforms(f"action: update, operations: [{{{text}}}]")


_SPANS, _LOGS = Signal.TRACES, Signal.LOGS


def _filtered(text: str, signal: Signal = Signal.METRICS) -> ProcessorCase:
    return ProcessorCase("filter", text, signal=signal)


def _of_any(type_: str, *options: str, wait_s: float = 0.5) -> tuple[ProcessorCase, ...]:
    is_plain = type_ in {"interval", "metrics_transform"}
    return tuple(ProcessorCase(type_, text, wait_s=wait_s, is_plain=is_plain) for text in options)


FILTERS = (
    _filtered("{metrics: {exclude: {match_type: strict, metric_names: [m1, other]}}}"),
    _filtered("{metrics: {include: {match_type: regexp, metric_names: ['^m[12]', '^$$']}}}"),
    _filtered(
        "{metrics: {include: {match_type: regexp, metric_names: ['^m'], "
        "resource_attributes: [{key: s, value: '^[ab12]?$$'}]}}}"
    ),
    _filtered("{logs: {exclude: {match_type: strict, bodies: [a, '1']}}}", _LOGS),
    _filtered("{logs: {include: {match_type: regexp, severity_texts: ['^I']}}}", _LOGS),
    _filtered("{logs: {include: {severity_number: {min: WARN, match_undefined: true}}}}", _LOGS),
    _filtered(
        "{logs: {exclude: {match_type: strict, record_attributes: [{key: s, value: a}]}}}", _LOGS
    ),
    _filtered("{spans: {exclude: {match_type: strict, span_names: [work]}}}", _SPANS),
    _filtered(
        "{spans: {include: {match_type: regexp, span_names: ['^[GP]'], "
        "attributes: [{key: s, value: a}]}}}",
        _SPANS,
    ),
)
SAMPLERS = tuple(
    ProcessorCase("probabilistic_sampler", options, signal=signal)
    for signal, options in (
        (_SPANS, "{sampling_percentage: 40, hash_seed: 22}"),
        (_SPANS, "{sampling_percentage: 40, mode: proportional}"),
        (_SPANS, "{sampling_percentage: 40, mode: equalizing}"),
        (_SPANS, "{sampling_percentage: 3.1, mode: equalizing, sampling_precision: 2}"),
        (_LOGS, "{sampling_percentage: 40, hash_seed: 22}"),
        (_LOGS, "{sampling_percentage: 40, hash_seed: 22, fail_closed: false}"),
        (_LOGS, "{sampling_percentage: 40, mode: proportional}"),
        (_LOGS, "{sampling_percentage: 40, attribute_source: record, from_attribute: s}"),
    )
)
GROUPS = tuple(
    ProcessorCase("groupbyattrs", options, signal=signal, is_plain=True)
    for signal in Signal
    for options in ("{}", "{keys: [s]}", "{keys: [s, app.id, t]}")
)
OPERATIONS = (
    "action: add_label, new_label: new, new_value: y",
    "action: update_label, label: s, new_label: t",
    "action: update_label, label: s, value_actions: [{value: '1', new_value: one}]",
    "action: delete_label_value, label: s, label_value: a",
    "action: toggle_scalar_data_type",
    "action: experimental_scale_value, experimental_scale: 2.5",
    "action: aggregate_labels, label_set: [t], aggregation_type: sum",
    "action: aggregate_labels, label_set: [], aggregation_type: max",
    "action: aggregate_labels, label_set: [s], aggregation_type: count",
    (
        "action: aggregate_label_values, label: s, aggregated_values: [a, b], "
        "new_value: c, aggregation_type: min"
    ),
)
OF_ANY = (
    *FILTERS,
    *SAMPLERS,
    *GROUPS,
    *_of_any("cumulative_to_delta", "{}", "{initial_value: drop}"),
    *_of_any("delta_to_cumulative", "{}"),
    *_of_any("interval", "{interval: 3s}", wait_s=4.5),
    *_of_any("interval", "{interval: 3s, pass_through: {gauge: true, summary: true}}", wait_s=4.5),
    ProcessorCase("delta_to_rate", "{metrics: [m1, m2, m3, m4]}", DELTA),
    *_of_any("metrics_transform", *(_operation(text) for text in OPERATIONS)),
    *_of_any(
        "metrics_transform",
        _transforms('action: combine, new_name: "all", aggregation_type: sum'),
        _transforms('action: insert, new_name: "n$${1}", experimental_match_labels: {s: a}'),
        _transforms('action: update, new_name: "n$${1}", experimental_match_labels: {s: a}'),
        _transforms("action: group, group_resource_labels: {a: b}"),
    ),
)
"""The cases in which requests have all that OTLP has."""

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
    *OF_ANY,
)


def requests(case: ProcessorCase, seed: int) -> Iterator[bytes]:
    """What both are given."""
    if case.temporality:
        return _streams(case, seed)
    return random_otlp.requests(case.signal, seed, is_plain=case.is_plain)


def _streams(case: ProcessorCase, seed: int) -> Iterator[bytes]:
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


def differences(signal: Signal, go: list[Any], ours: list[Any]) -> Iterator[str]:
    """Items that came out of one only, or more often."""
    left, right = _items(signal, go), _items(signal, ours)
    for who, one, other in (("Go", left, right), ("ours", right, left)):
        for item in sorted((one - other).elements()):
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


def _items(signal: Signal, sent: list[Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in sent:
        for item in items(signal, one):
            single = REQUESTS[signal].FromString(item)
            group = single.ListFields()[0][1][0]
            _sort(group.resource.attributes)
            leaf = group.ListFields()[-1][1][0].ListFields()[-1][1][0]
            if signal is Signal.METRICS:
                leaf = getattr(leaf, leaf.WhichOneof("data")).data_points[0]
                _trim(leaf)
            _sort(leaf.attributes)
            found[text_format.MessageToString(single, as_one_line=True)] += 1
    return found


def _sort(attributes: Any) -> None:
    """The order of attributes means nothing."""
    ordered = sorted(attributes, key=lambda pair: str(pair.key))
    copies = [type(pair).FromString(pair.SerializeToString()) for pair in ordered]
    del attributes[:]
    attributes.extend(copies)
