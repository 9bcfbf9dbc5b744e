"""A program with the official Python SDK: sends by one exporter and says what must arrive.

usage: send.py grpc|http|json ITEMS, with the destination in OTEL_EXPORTER_OTLP_ENDPOINT.

It prints one JSON object: items acknowledged per signal, and per signal the batches as the
official protobuf encoder writes them, in base64. Values are chosen to break what is careless.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import sys
from importlib import import_module
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

MODULES = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
    "http": "opentelemetry.exporter.otlp.proto.http",
    "json": "opentelemetry.exporter.otlp.json.http",
}
# The first integer that a double cannot hold, and both ends.
INTEGERS = (2**53 + 1, 2**63 - 1, -(2**63), 0)
DOUBLES = (-0.0, 5e-324, 1.7976931348623157e308, 0.1, 0.0)
NOT_FINITE = (math.nan, math.inf, -math.inf)  # in attributes and bodies: no instrument takes them
TEXTS = ("", "plain", 'quo"ted \\ \n\t\x00', "Ünïcödé ✓ 𝄞")
ATTRIBUTES: dict[str, Any] = {
    "text": TEXTS[3],
    "yes": True,
    "integer": INTEGERS[0],
    "double": 0.1,
    "texts": TEXTS,
    "integers": INTEGERS[:3],
    "doubles": (*DOUBLES, *NOT_FINITE),
    "none": math.nan,
    "truths": (True, False),
}


class Recorded:
    """An exporter that keeps, in the official encoding, what the real one got acknowledged."""

    def __init__(self, exporter: Any, encode: Any) -> None:
        self._exporter = exporter
        self._encode = encode
        self.batches: list[bytes] = []
        take = exporter.export

        def export(batch: Any, *arguments: Any, **options: Any) -> Any:
            encoded = encode(batch).SerializeToString()
            result = take(batch, *arguments, **options)
            if result.name == "SUCCESS":
                self.batches.append(encoded)
            return result

        exporter.export = export

    def text(self) -> list[str]:
        """The batches in base64."""
        return [base64.b64encode(batch).decode() for batch in self.batches]


def record_metrics(meters: MeterProvider, tracers: TracerProvider, count: int) -> None:
    meter = meters.get_meter("interop", "1.2.3", "https://example.test/schema", {"scope": "yes"})
    integers = meter.create_counter("integers", unit="{item}", description="large ones")
    changes = meter.create_up_down_counter("changes")
    doubles = meter.create_gauge("doubles", unit="s")
    latency = meter.create_histogram(
        "latency", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0, 10.0]
    )
    sizes = meter.create_histogram("sizes", unit="By")
    for number in range(count):
        labels = {"number": number, "parity": ("even", "odd")[number % 2]}
        integers.add(2**53 + 1 + number, labels)
        changes.add(-number, labels)
        with tracers.get_tracer("exemplars").start_as_current_span("measured"):
            latency.record(number / 7, labels)
            sizes.record(3**number, labels)
    for place, value in enumerate(DOUBLES):
        doubles.set(value, {"place": place, "text": TEXTS[place % len(TEXTS)]})


def record_logs(loggers: LoggerProvider, tracers: TracerProvider, count: int) -> None:
    bodies: list[Any] = [
        *TEXTS,
        *INTEGERS,
        *DOUBLES,
        *NOT_FINITE,
        True,
        None,
        b"\x00\xff bytes",
        {"nested": {"list": [1, "two", 3.5, None, {"deep": b"\x01"}]}, "empty": {}},
        [],
    ]
    logger = loggers.get_logger("interop", "1.2.3", "https://example.test/schema", {"scope": 1})
    for number in range(count):
        with tracers.get_tracer("interop").start_as_current_span(f"logging {number}"):
            logger.emit(
                LogRecord(
                    timestamp=1_700_000_000_000_000_001 + number,
                    observed_timestamp=1_700_000_000_000_000_007,
                    severity_text="WARN",
                    severity_number=SeverityNumber.WARN2,
                    body=bodies[number % len(bodies)],
                    attributes={**ATTRIBUTES, "number": number, "map": {"a": [b"\x00", 2**53 + 1]}},
                    event_name="interop.event" if number % 2 else None,
                )
            )


def record_spans(tracers: TracerProvider, count: int) -> None:
    tracer = tracers.get_tracer("interop", "1.2.3", "https://example.test/schema", {"scope": 0.5})
    kinds, statuses = list(SpanKind), list(StatusCode)
    linked = SpanContext(2**127 + 1, 2**63 + 1, is_remote=True, trace_flags=TraceFlags(1))
    for number in range(count):
        with tracer.start_as_current_span(
            f"span {number}",
            kind=kinds[number % len(kinds)],
            attributes={**ATTRIBUTES, "number": number},
            links=[Link(linked, {"why": "because"})] if number % 3 == 0 else None,
        ) as span:
            span.add_event("happened", {"at": number}, timestamp=1_700_000_000_000_000_003)
            code = statuses[number % len(statuses)]
            span.set_status(Status(code, "broken" if code is StatusCode.ERROR else None))


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    logging.basicConfig(level=logging.WARNING)
    package = MODULES[kind]
    more = {"insecure": True} if kind == "grpc" else {}
    metrics = import_module(f"{package}.metric_exporter").OTLPMetricExporter(**more)
    logs = import_module(f"{package}._log_exporter").OTLPLogExporter(**more)
    spans = import_module(f"{package}.trace_exporter").OTLPSpanExporter(**more)
    recorded = {
        "metrics": Recorded(metrics, encode_metrics),
        "logs": Recorded(logs, encode_logs),
        "traces": Recorded(spans, encode_spans),
    }
    resource = Resource({"service.name": f"python-{kind}", **ATTRIBUTES}, "https://example.test/r")
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(spans, max_export_batch_size=16))
    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)
    exponential = View(
        instrument_type=Histogram,
        instrument_name="sizes",
        aggregation=ExponentialBucketHistogramAggregation(max_size=8),
    )
    meters = MeterProvider([reader], resource=resource, views=[exponential])
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs, max_export_batch_size=16))
    record_metrics(meters, tracers, count)
    record_logs(loggers, tracers, count)
    record_spans(tracers, count)
    for provider in (tracers, meters, loggers):
        provider.force_flush()
        provider.shutdown()
    print(json.dumps({name: one.text() for name, one in recorded.items()}))  # noqa: T201


if __name__ == "__main__":
    main()
