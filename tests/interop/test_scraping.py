"""The `prometheus` receiver scrapes real programs: node_exporter, Prometheus, our own exporter."""

from __future__ import annotations

import shutil
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from mlsysops_pipeline import Signal
from tests.interop.conftest import Collector, OtlpSink, Program, free_port, require, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLLECTOR = """
receivers:
  prometheus:
    config:
      scrape_configs:
        - job_name: peer
          scrape_interval: 1s
          static_configs: [{targets: ["127.0.0.1:PORT"]}]
exporters:
  otlp: {endpoint: "127.0.0.1:$SINK_GRPC$", tls: {insecure: true}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [prometheus], exporters: [otlp]}
"""


@contextmanager
def node_exporter(folder: Path) -> Iterator[int]:
    """node_exporter with its defaults, as the framework runs it; its port."""
    path = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    require(path, "prometheus-node-exporter")
    port = free_port()
    command = [str(path), f"--web.listen-address=127.0.0.1:{port}"]
    with running(Program(command, folder / "node_exporter.log"), port):
        yield port


@contextmanager
def prometheus(folder: Path) -> Iterator[int]:
    """A Prometheus that scrapes itself; its port."""
    path = shutil.which("prometheus")
    require(path, "prometheus")
    port = free_port()
    settings = folder / "prometheus.yml"
    settings.write_text(
        "scrape_configs: [{job_name: self, scrape_interval: 1s, "
        f"static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]"
    )
    command = [
        str(path),
        f"--config.file={settings}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(Program(command, folder / "prometheus.log"), port):
        yield port


def page_of(port: int) -> str:
    """The page as a reader without wishes gets it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text: str = response.read().decode()
        return text


class Seen:
    """What came of scrapes of one target: metrics by name, from the last request with ``up``."""

    def __init__(self, request: Any) -> None:
        self.resources = [
            {a.key: a.value.string_value for a in group.resource.attributes}
            for group in request.resource_metrics
        ]
        self.metrics = {
            metric.name: metric
            for group in request.resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> Any:
        """The points of a metric."""
        metric = self.metrics[name]
        return getattr(metric, metric.WhichOneof("data") or "gauge").data_points

    def value(self, name: str) -> float:
        """The value of a metric that has one point."""
        (point,) = self.points(name)
        return float(point.as_double)


def scraped(sink: OtlpSink, folder: Path, port: int, scrapes: int) -> list[Seen]:
    """What this many scrapes gave."""
    program = Collector(folder, COLLECTOR.replace("PORT", str(port)), sink=sink)
    with running(program):
        program.wait_for(lambda: len(sink.messages(Signal.METRICS)) >= scrapes, "scrapes")
    return [Seen(message) for message in sink.messages(Signal.METRICS)[:scrapes]]


def test_node_exporter_comes_out_complete(sink: OtlpSink, tmp_path: Path) -> None:
    """SC-1, PI-1, PI-3: every family of the page, with its type, its help and as many points."""
    with node_exporter(tmp_path) as port:
        families = list(text_string_to_metric_families(page_of(port)))
        first, second = scraped(sink, tmp_path, port, 2)

    assert (1.0, 1.0) == (first.value("up"), second.value("up"))
    assert second.value("scrape_series_added") <= 2
    (resource,) = second.resources
    assert ("peer", f"127.0.0.1:{port}") == (
        resource["service.name"],
        resource["service.instance.id"],
    )
    assert 100 < len(families)
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        metric = second.metrics[name]
        assert family.documentation == metric.description
        kinds = {"counter": "sum", "summary": "summary", "histogram": "histogram"}
        assert kinds.get(family.type, "gauge") == metric.WhichOneof("data")
        if family.type in {"counter", "gauge"}:
            assert len(family.samples) == len(second.points(name))
    samples = sum(len(family.samples) for family in families)
    assert abs(samples - second.value("scrape_samples_scraped")) <= 5
    boot = next(f for f in families if f.name == "node_boot_time_seconds").samples[0].value
    assert boot == second.value("node_boot_time_seconds")


def test_prometheus_own_page_comes_out_complete(sink: OtlpSink, tmp_path: Path) -> None:
    """It answers OpenMetrics when it is asked for it: counters, histograms, summaries, info."""
    with prometheus(tmp_path) as port:
        _, second, third = scraped(sink, tmp_path, port, 3)

    assert 1.0 == third.value("up")
    assert third.metrics["prometheus_http_requests_total"].sum.is_monotonic
    assert third.metrics["prometheus_http_request_duration_seconds"].histogram.data_points
    assert third.metrics["go_gc_duration_seconds"].summary.data_points
    assert third.value("prometheus_build_info") == 1.0
    name = "promhttp_metric_handler_requests_total"
    before, after = (sum(p.as_double for p in seen.points(name)) for seen in (second, third))
    assert before < after


def test_a_collector_scrapes_the_page_of_another(sink: OtlpSink, tmp_path: Path) -> None:
    """What the `prometheus` exporter writes, the `prometheus` receiver reads."""
    page = free_port()
    upstream = f"""
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:$HTTP$"}}}}}}
exporters:
  prometheus: {{endpoint: "127.0.0.1:{page}", enable_open_metrics: true}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [otlp], exporters: [prometheus]}}}}
"""
    from mlsysops_pipeline.testing import make_wire

    program = Collector(tmp_path, upstream)
    with running(program, program.http_port, page):
        url = f"http://127.0.0.1:{program.http_port}/v1/metrics"
        headers = {"Content-Type": "application/x-protobuf"}
        body = make_wire(Signal.METRICS, 50)
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            assert 200 == response.status
        first, _ = scraped(sink, tmp_path, page, 2)

    names = [name for name in first.metrics if name.startswith("test_metric_")]
    assert (1.0, 5, 50) == (
        first.value("up"),
        len(names),
        sum(len(first.points(name)) for name in names),
    )


def test_a_target_that_is_killed_and_comes_back(sink: OtlpSink, tmp_path: Path) -> None:
    """SC-2, PI-8: stale markers for all it had, then its values again."""
    path = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    require(path, "prometheus-node-exporter")
    port = free_port()
    command = [str(path), f"--web.listen-address=127.0.0.1:{port}"]
    program = Collector(tmp_path, COLLECTOR.replace("PORT", str(port)), sink=sink)

    def ups() -> list[float]:
        return [Seen(message).value("up") for message in sink.messages(Signal.METRICS)]

    with running(program):
        with running(Program(command, tmp_path / "one.log"), port):
            program.wait_for(lambda: ups().count(1.0) >= 2, "scrapes")
        program.wait_for(lambda: ups()[-1] == 0.0, "the scrape that fails")
        with running(Program(command, tmp_path / "two.log"), port):
            program.wait_for(lambda: ups()[-1] == 1.0, "the scrape that is good again")

    messages = [Seen(message) for message in sink.messages(Signal.METRICS)]
    down = next(seen for seen in messages if seen.value("up") == 0.0)
    (load,) = down.points("node_load1")
    assert (1, 0.0) == (load.flags, load.as_double)
    assert "Failed to scrape Prometheus endpoint" in program.text()
    assert 1 == program.text().count("Failed to scrape Prometheus endpoint")
    assert "Prometheus endpoint can be scraped again" in program.text()
