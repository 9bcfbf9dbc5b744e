"""What translating OTLP into Prometheus series costs: `python -m benchmarks.micro_prometheus`.

Nanoseconds a point and CPU time, requests of 1,000 points of 4 attributes, at 10 points a metric
and at 1: the translation alone, with series that are bytes. "known": every series was seen before.
"new": none was. "memory": bytes that 200,000 series take, with the 10 points a metric and with 1.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING

from benchmarks.micro_pdata import best_ns
from mlsysops_pipeline.prometheus.translate import Options, Translator

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.points import Cause, Family, Labels

_POINTS = 1_000
_SERIES = 200_000
_ATTRIBUTES = (
    ("http.request.method", "GET"),
    ("http.route", "/api/v1/items/{}"),
    ("http.response.status_code", "200"),
    ("server.address", "node-{}"),
)


def make_request(points_per_metric: int, *, kind: str = "sum", seed: int = 0) -> bytes:
    """A request of `_POINTS` points as the official SDK would send it."""
    from opentelemetry.proto.metrics.v1 import metrics_pb2  # noqa: PLC0415  heavy, and not for all

    request = metrics_pb2.MetricsData()
    group = request.resource_metrics.add()
    for key, value in (("service.name", f"shop-{seed}"), ("service.instance.id", f"i-{seed}")):
        group.resource.attributes.add(key=key).value.string_value = value
    scoped = group.scope_metrics.add()
    scoped.scope.name = "opentelemetry.instrumentation.http"
    scoped.scope.version = "0.59"
    for index in range(_POINTS):
        if index % points_per_metric == 0:
            number = index // points_per_metric
            metric = scoped.metrics.add(
                name=f"http.server.requests.{number}", unit="By", description="What was sent."
            )
            data = getattr(metric, kind)
            if kind == "sum":
                data.aggregation_temporality = 2
                data.is_monotonic = True
        point = data.data_points.add(
            start_time_unix_nano=1_700_000_000_000_000_000,
            time_unix_nano=1_700_000_010_000_000_000 + index,
            as_double=index / 8,
        )
        for key, value in _ATTRIBUTES:
            point.attributes.add(key=key).value.string_value = value.format(index)
    return bytes(request.SerializeToString())


def _as_bytes(family: Family, labels: Labels) -> bytes:
    """About what the remote write exporter keeps of a series."""
    pairs = (("__name__", family.name), *labels)
    return b"".join(part.encode() for pair in pairs for part in pair)


def _refuse(cause: Cause, points: int, name: str) -> None:
    raise RuntimeError(f"{points} points of {name} were dropped: {cause}")


def make_translator() -> Translator[bytes]:
    """A translator whose series are bytes."""
    return Translator(Options(), _as_bytes, _refuse)


def _translate(translator: Translator[bytes], wire: bytes) -> int:
    return sum(len(batch.points) for batch in translator.translate(wire))


def _measure(points_per_metric: int, kind: str) -> None:
    wire = make_request(points_per_metric, kind=kind)
    translator = make_translator()
    known = best_ns(lambda: _translate(translator, wire)) / _POINTS
    new = best_ns(lambda: _translate(make_translator(), wire)) / _POINTS
    sys.stdout.write(f"{kind:6} {points_per_metric:2} known {known:6.0f}  new {new:6.0f}\n")


def _measure_memory(points_per_metric: int) -> None:
    wires = [make_request(points_per_metric, seed=seed) for seed in range(_SERIES // _POINTS)]
    gc.collect()
    tracemalloc.start()
    translator = make_translator()
    for wire in wires:
        _translate(translator, wire)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sys.stdout.write(
        f"memory {points_per_metric:2} {size / _SERIES:6.0f} bytes a series, {translator!r}\n"
    )


def main() -> None:
    """Measure and print."""
    for kind in ("sum", "gauge"):
        for points_per_metric in (10, 1):
            _measure(points_per_metric, kind)
    for points_per_metric in (10, 1):
        _measure_memory(points_per_metric)


if __name__ == "__main__":
    main()
