"""The official SDKs send, we hand on, and a server with the official classes counts and compares."""

from __future__ import annotations

import json
import logging
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline import Signal
from tests.interop.conftest import (
    HTTP_OUT,
    Collector,
    OtlpSink,
    pass_through,
    require,
    running,
    wait_for,
)

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = 25


def exporters(kind: str, collector: Collector) -> tuple[Any, Any, Any]:
    """The Python SDK's three exporters of one kind, pointed at the collector."""
    if kind == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        where = {"endpoint": f"127.0.0.1:{collector.grpc_port}", "insecure": True}
        return OTLPMetricExporter(**where), OTLPLogExporter(**where), OTLPSpanExporter(**where)
    if kind == "http":
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    else:
        try:
            from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter
            from opentelemetry.exporter.otlp.json.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            require(None, "opentelemetry-exporter-otlp-json-http")
    base = f"http://127.0.0.1:{collector.http_port}"
    return (
        OTLPMetricExporter(endpoint=f"{base}/v1/metrics"),
        OTLPLogExporter(endpoint=f"{base}/v1/logs"),
        OTLPSpanExporter(endpoint=f"{base}/v1/traces"),
    )


def send_from_python(kind: str, collector: Collector) -> None:
    """A program with counters, histograms, logs and nested spans."""
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    metric_exporter, log_exporter, span_exporter = exporters(kind, collector)
    resource = Resource({"service.name": f"python-{kind}"})
    reader = PeriodicExportingMetricReader(metric_exporter, export_interval_millis=3_600_000)
    meters = MeterProvider([reader], resource=resource)
    counter = meters.get_meter("interop").create_counter("requests", unit="1")
    histogram = meters.get_meter("interop").create_histogram("latency", unit="s")
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(span_exporter))
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(BatchLogRecordProcessor(log_exporter))
    log = logging.getLogger("interop")
    log.addHandler(LoggingHandler(logger_provider=loggers))
    for number in range(ITEMS):
        counter.add(2**53 + number, {"number": number})
        histogram.record(number / 7, {"number": number})
        with tracers.get_tracer("interop").start_as_current_span(f"span {number}"):
            log.warning("message %d", number)
    for provider in (meters, tracers, loggers):
        provider.shutdown()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the SDK's logging handler
@pytest.mark.parametrize("kind", ["grpc", "http", "json"])
def test_the_python_sdk_sends_and_every_item_arrives(
    kind: str, collector: Collector, sink: OtlpSink
) -> None:
    send_from_python(kind, collector)
    wait_for(lambda: sink.items(Signal.METRICS) >= 2 * ITEMS, "metrics")
    for signal in (Signal.LOGS, Signal.TRACES):
        wait_for(lambda signal=signal: sink.items(signal) >= ITEMS, str(signal))
    assert 0 == collector.stop()
    arrived = {signal: sink.items(signal) for signal in Signal}
    assert {Signal.METRICS: 2 * ITEMS, Signal.LOGS: ITEMS, Signal.TRACES: ITEMS} == arrived
    spans = {
        span.name
        for request in sink.requests[Signal.TRACES]
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    }
    assert {f"span {number}" for number in range(ITEMS)} == spans
    values = {
        point.as_int
        for request in sink.requests[Signal.METRICS]
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        if metric.name == "requests"
        for point in metric.sum.data_points
    }
    assert {2**53 + number for number in range(ITEMS)} == values


@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_the_node_sdk_sends_and_every_item_arrives(
    encoding: str, collector: Collector, sink: OtlpSink, node_folder: Path
) -> None:
    done = subprocess.run(
        ["node", "send.mjs", encoding, f"http://127.0.0.1:{collector.http_port}", str(ITEMS)],
        cwd=node_folder,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    acknowledged = json.loads(done.stdout)
    assert acknowledged["logs"] == acknowledged["traces"] == ITEMS, done.stderr
    assert 0 == collector.stop()
    assert acknowledged == {str(signal): sink.items(signal) for signal in Signal}


def test_what_leaves_over_http_is_what_came_in_over_grpc(tmp_path: Path, sink: OtlpSink) -> None:
    program = Collector(tmp_path, pass_through(HTTP_OUT), sink=sink)
    with running(program, program.http_port):
        send_from_python("grpc", program)
    assert 2 * ITEMS == sink.items(Signal.METRICS)
    assert ITEMS == sink.items(Signal.LOGS)
    assert ITEMS == sink.items(Signal.TRACES)
