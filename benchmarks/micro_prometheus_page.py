"""What a page of 100,000 series costs: `python -m benchmarks.micro_prometheus_page`.

``first`` and ``again``: microseconds a point for taking points of new and of known series, and how
long others had to wait for their turn meanwhile.
``page``: milliseconds for a whole page, and for the longest piece of it, during which nothing else
runs. ``MB``: its size as sent. ``held``: for how many milliseconds the event loop was held up at
most while a client read pages over HTTP, and by how many megabytes memory grew while ten read at
once. All times are CPU time, so that other programs do not count.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

from mlsysops_exporters.prometheus import FACTORY
from mlsysops_exporters.prometheus.config import Config
from mlsysops_exporters.prometheus.page import pieces
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.memory import resident_bytes, settle_objects
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.prometheus.negotiation import negotiate
from mlsysops_pipeline.testing import make_settings
from mlsysops_pipeline.transport.compression import Gzip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlsysops_exporters.prometheus import PrometheusExporter

SERIES = 100_000
_POINTS_PER_REQUEST = 1_000
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_OPEN = "application/openmetrics-text;version=1.0.0"
_T0_NS = 1_700_000_000_000_000_000
_SCRAPES = 3
_PAUSE_S = 0.0005


def requests(points: int, points_per_metric: int, *, histograms: bool, turn: int) -> list[bytes]:
    """Requests with ``points`` points of as many series; in every ``turn`` they are newer."""
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2  # noqa: PLC0415

    found = []
    for start in range(0, points, _POINTS_PER_REQUEST):
        request = metrics_service_pb2.ExportMetricsServiceRequest()
        group = request.resource_metrics.add()
        group.resource.attributes.add(key="service.name").value.string_value = "service"
        scope_metrics = group.scope_metrics.add()
        scope_metrics.scope.name = "scope"
        for index in range(start, min(start + _POINTS_PER_REQUEST, points)):
            if index % points_per_metric == 0 or index == start:
                name = f"http.server.requests.{index // points_per_metric}"
                metric: Any = scope_metrics.metrics.add(
                    name=name, unit="s", description="Time taken."
                )
            point: Any
            if histograms:
                metric.histogram.aggregation_temporality = 2
                point = metric.histogram.data_points.add(sum=float(index), count=22)
                point.explicit_bounds.extend(_BOUNDS)
                point.bucket_counts.extend([2] * (len(_BOUNDS) + 1))
            else:
                point = metric.gauge.data_points.add(as_double=index / 8)
            point.time_unix_nano = _T0_NS + turn
            for key in ("http.route", "http.method", "host.name", "zone"):
                point.attributes.add(key=key).value.string_value = f"{key} {index}"
        found.append(request.SerializeToString())
    return found


def exporter() -> PrometheusExporter:
    """One that is not started."""
    config = parse_config(
        Config,
        {"endpoint": "127.0.0.1:0", "max_series": 10 * SERIES, "enable_open_metrics": True},
    )
    settings = make_settings("prometheus", kind=Kind.EXPORTER, clock=SystemClock())
    made: PrometheusExporter = FACTORY.create(config, settings, None)
    return made


async def taken(target: PrometheusExporter, wires: list[bytes], points: int) -> tuple[float, float]:
    """Microseconds a point, and the longest turn in milliseconds."""

    async def take() -> None:
        for wire in wires:
            await target.export(Payload(Signal.METRICS, wire))

    start = time.process_time()
    longest_ms = await _longest_turn_ms(asyncio.get_running_loop().create_task(take()))
    return (time.process_time() - start) / points * 1e6, longest_ms


async def _longest_turn_ms(task: asyncio.Task[Any], pause_s: float = 0.0) -> float:
    """The most CPU time between two turns of one that does nothing, until a task is done."""
    worst = 0.0
    while not task.done():
        start = time.thread_time()
        await asyncio.sleep(pause_s)
        worst = max(worst, time.thread_time() - start)
    return worst * 1e3


def page_ms(target: PrometheusExporter, accept: str, *, gzip: bool) -> tuple[float, float, float]:
    """Milliseconds for a page and for its longest piece, and its megabytes."""
    best = None
    for _ in range(_SCRAPES):
        spent: list[float] = []
        size = 0
        for part in _parts(target, accept, gzip=gzip, spent=spent):
            size += len(part)
        result = (sum(spent), max(spent), size / 1e6)
        best = result if best is None else min(best, result)
    assert best is not None
    return best


def _parts(
    target: PrometheusExporter, accept: str, *, gzip: bool, spent: list[float]
) -> Iterator[bytes]:
    parts = pieces(
        target.store,
        negotiate(accept, open_metrics=True),
        alive_s=0.0,
        has_timestamps=False,
        is_legacy=True,
        report=print,
    )
    stream = Gzip() if gzip else None
    while True:
        start = time.thread_time()
        part = next(parts, None)
        if part is None:
            return
        data = part.encode()
        if stream is not None:
            data = stream.compress(data)
        spent.append((time.thread_time() - start) * 1e3)
        yield data


async def held(target: PrometheusExporter) -> tuple[float, float]:
    """The longest turn in milliseconds while pages are served, and megabytes that memory grew.

    Pages are read by another process, so that only serving them is seen here; starting it, which
    takes a program of this size a while, is over before anything is measured.
    """
    await target.start()
    url = f"http://127.0.0.1:{target.port}/metrics"
    read = f"curl --silent --fail --output /dev/null {url}"
    one = f"for i in 1 2 3; do {read} && {read} --compressed || exit 1; done"
    ten = f"for i in 1 2 3 4 5 6 7 8 9 10; do {read} & done; wait"
    process = await asyncio.create_subprocess_shell(f"sleep 0.5; {one}; {ten}")
    before = resident_bytes()
    peak = before

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident_bytes())
            await asyncio.sleep(0.01)

    loop = asyncio.get_running_loop()
    watching, waiting = loop.create_task(watch()), loop.create_task(process.wait())
    longest_ms = await _longest_turn_ms(waiting, _PAUSE_S)
    watching.cancel()
    await target.shutdown()
    assert await waiting == 0
    return longest_ms, (peak - before) / 1e6


async def main() -> None:
    """Print the figures."""
    settle_objects()  # as the program does
    shapes = (
        ("gauges, one metric", SERIES, SERIES, False),
        ("gauges, 10 a metric", SERIES, 10, False),
        ("gauges, 1 a metric", SERIES, 1, False),
        ("histograms of 13 lines", SERIES // 13, 100, True),
    )
    for title, points, points_per_metric, histograms in shapes:
        target = exporter()
        before, after = (
            requests(points, points_per_metric, histograms=histograms, turn=turn) for turn in (1, 2)
        )
        first, first_ms = await taken(target, before, points)
        again, again_ms = await taken(target, after, points)
        print(
            f"{title}: first {first:.2f} us (turns of {first_ms:.1f} ms at most), "
            f"again {again:.2f} us ({again_ms:.1f} ms)"
        )
        for accept, gzip in itertools.product(("", _OPEN), (False, True)):
            whole, longest, size = page_ms(target, accept, gzip=gzip)
            kind = f"{'OpenMetrics' if accept else 'text'}{' gzip' if gzip else ''}"
            print(f"  {kind:17} page {whole:5.0f} ms, longest {longest:5.2f} ms, {size:5.1f} MB")
        held_ms, grown_mb = await held(target)
        print(f"  over HTTP, the loop is held {held_ms:.1f} ms at most, memory +{grown_mb:.0f} MB")


if __name__ == "__main__":
    asyncio.run(main())
