"""The near end of the demo: a program instrumented with the official OpenTelemetry SDK.

It plays a small inference service: every request makes four nested spans, log records through
the standard library's `logging`, and moves counters, an up-down counter, a histogram and gauges.
The SDK's own batching sends all of it to the agent by OTLP/gRPC.

It counts what it made and what the agent acknowledged. It never outruns the SDK's queues, which
would drop silently: when too much is under way it pauses. This program imports nothing of the
collector.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, use_span

from mlsysops_pipeline.demo.reports import (
    SEQUENCE_ATTRIBUTE,
    SIGNALS,
    START,
    STOP,
    Inbox,
    SdkReport,
    SentCounts,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.trace import Span

_REQUESTS_PER_S = 50
_QUEUE_ITEMS = 8192
_BATCH_ITEMS = 512
_UNDER_WAY_MAX = _QUEUE_ITEMS // 2
_SEND_INTERVAL_MS = 500
_METRIC_INTERVAL_MS = 1000
_REPORT_INTERVAL_S = 0.25
_FLUSH_MS = 20_000
_NAME = "demo.inference"
_MODELS = ("detector", "classifier", "forecaster")


class Counted:
    """The numbers of all signals; the SDK's threads and the program change them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = {signal: SentCounts() for signal in SIGNALS}

    def made(self, signal: str, items: int = 1) -> int:
        """Count items that were recorded and return the sequence number of the first."""
        with self._lock:
            first = self._counts[signal].made
            self._counts[signal].made += items
            return first

    def exported(self, signal: str, items: int, *, acknowledged: bool) -> None:
        """Count items whose export has ended."""
        with self._lock:
            if acknowledged:
                self._counts[signal].acknowledged += items
            else:
                self._counts[signal].failed += items

    def under_way(self) -> int:
        """The most items of a signal that were made and whose export has not ended."""
        with self._lock:
            return max(c.made - c.acknowledged - c.failed for c in self._counts.values())

    def report(self, *, final: bool = False) -> SdkReport:
        """A copy of the numbers."""
        with self._lock:
            return SdkReport(final, {name: replace(c) for name, c in self._counts.items()})


class CountedBatches:
    """An exporter of spans or log records that counts what the real one was given."""

    def __init__(self, exporter: Any, signal: str, counted: Counted) -> None:
        self._exporter = exporter
        self._signal = signal
        self._counted = counted

    def export(self, batch: Sequence[Any]) -> Any:
        """See `opentelemetry.sdk.trace.export.SpanExporter`."""
        result = self._exporter.export(batch)
        self._counted.exported(self._signal, len(batch), acknowledged=result.name == "SUCCESS")
        return result

    def shutdown(self) -> None:
        """See `opentelemetry.sdk.trace.export.SpanExporter`."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See `opentelemetry.sdk.trace.export.SpanExporter`."""
        return bool(self._exporter.force_flush(timeout_millis))


class CountedMetrics(MetricExporter):
    """An exporter of metrics that counts the data points that the real one was given."""

    def __init__(self, exporter: Any, counted: Counted) -> None:
        super().__init__()
        self._exporter = exporter
        self._counted = counted

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """See `opentelemetry.sdk.metrics.export.MetricExporter`."""
        points = data_points(metrics_data)
        self._counted.made("metrics", points)
        result = self._exporter.export(metrics_data, timeout_millis, **kwargs)
        acknowledged = result is MetricExportResult.SUCCESS
        self._counted.exported("metrics", points, acknowledged=acknowledged)
        return MetricExportResult.SUCCESS if acknowledged else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """See `opentelemetry.sdk.metrics.export.MetricExporter`."""
        self._exporter.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """See `opentelemetry.sdk.metrics.export.MetricExporter`."""
        return bool(self._exporter.force_flush(timeout_millis))


def data_points(data: MetricsData) -> int:
    """How many data points a collection of the SDK holds."""
    return sum(
        len(metric.data.data_points)
        for group in data.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
    )


class TelemetryHandler(logging.Handler):
    """Makes OpenTelemetry log records of the records of `logging`, inside the current span.

    The SDK has such a handler too, but it is deprecated there and will move to another package.
    """

    def __init__(self, provider: LoggerProvider, counted: Counted) -> None:
        super().__init__()
        self._provider = provider
        self._counted = counted

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                severity_text=record.levelname,
                severity_number=_SEVERITIES.get(record.levelno, SeverityNumber.UNSPECIFIED),
                body=record.getMessage(),
                attributes={
                    "code.function.name": record.funcName,
                    "code.line.number": record.lineno,
                    SEQUENCE_ATTRIBUTE: self._counted.made("logs"),
                },
            )
        )


_SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
}


class Telemetry:
    """The SDK, set up as an application does."""

    def __init__(self, endpoint: str, counted: Counted) -> None:
        resource = Resource({"service.name": "demo", "service.version": "1"})
        target: dict[str, Any] = {"endpoint": endpoint, "insecure": True}
        reader = PeriodicExportingMetricReader(
            CountedMetrics(OTLPMetricExporter(**target), counted),
            export_interval_millis=_METRIC_INTERVAL_MS,
        )
        self.meters = MeterProvider([reader], resource=resource)
        queue: dict[str, Any] = {
            "max_queue_size": _QUEUE_ITEMS,
            "max_export_batch_size": _BATCH_ITEMS,
            "schedule_delay_millis": _SEND_INTERVAL_MS,
        }
        self.tracers = TracerProvider(resource=resource)
        spans: Any = CountedBatches(OTLPSpanExporter(**target), "traces", counted)
        self.tracers.add_span_processor(BatchSpanProcessor(spans, **queue))
        self.loggers = LoggerProvider(resource=resource)
        records: Any = CountedBatches(OTLPLogExporter(**target), "logs", counted)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(records, **queue))

    def close(self) -> None:
        """Send everything that is still in the SDK and stop it."""
        # Flushed first: a shutdown would break off an export that waits for its next attempt.
        for provider in (self.tracers, self.loggers, self.meters):
            provider.force_flush(_FLUSH_MS)
            provider.shutdown()


class Service:
    """An inference service that answers requests which nobody sent. Times are invented."""

    def __init__(self, telemetry: Telemetry, counted: Counted) -> None:
        self._counted = counted
        self._random = random.Random(1)  # noqa: S311  variety, not secrecy
        self._tracer = telemetry.tracers.get_tracer(_NAME)
        self._log = logging.getLogger(_NAME)
        self._log.setLevel(logging.INFO)
        self._log.propagate = False  # standard error is for what goes wrong
        self._log.addHandler(TelemetryHandler(telemetry.loggers, counted))
        meter = telemetry.meters.get_meter(_NAME)
        self._requests = meter.create_counter("requests", unit="{request}")
        self._active = meter.create_up_down_counter("requests.active", unit="{request}")
        self._duration = meter.create_histogram("request.duration", unit="s")
        self._depth = meter.create_gauge("queue.depth", unit="{request}")
        meter.create_observable_gauge("accelerator.temperature", [self._temperature], unit="Cel")
        meter.create_observable_counter("process.cpu.time", [_cpu_time], unit="s")

    def answer_one(self) -> None:
        """One request: four spans, two or three log records, several measurements."""
        model = self._random.choice(_MODELS)
        labels = {"model": model}
        duration_s = self._random.lognormvariate(-3.5, 0.6)
        failed = self._random.random() < 0.02
        began_ns = time.time_ns() - int(duration_s * 1e9)
        self._active.add(1, labels)
        with self._span("POST /predict", began_ns, duration_s, 1.0, SpanKind.SERVER) as request:
            self._log.info("request for %s", model)
            with self._span("preprocess", began_ns, duration_s, 0.2):
                pass
            with self._span("infer", began_ns, duration_s, 0.9) as infer:
                with self._span("decode", began_ns, duration_s, 0.8):
                    self._depth.set(self._random.randrange(8), labels)
                if failed:
                    infer.set_status(Status(StatusCode.ERROR, "out of memory"))
                    self._log.error("%s ran out of memory", model)
            request.set_attribute("model", model)
            self._log.info("answered after %.1f ms", duration_s * 1e3)
        self._active.add(-1, labels)
        self._requests.add(1, {**labels, "outcome": "error" if failed else "ok"})
        self._duration.record(duration_s, labels)

    @contextmanager
    def _span(
        self,
        name: str,
        began_ns: int,
        duration_s: float,
        share: float,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[Span]:
        """The current span inside the `with`; it ends after its share of the request's time."""
        number = self._counted.made("traces")
        span = self._tracer.start_span(
            name, kind=kind, attributes={SEQUENCE_ATTRIBUTE: number}, start_time=began_ns
        )
        with use_span(span):
            yield span
        span.end(began_ns + int(duration_s * share * 1e9))

    def _temperature(self, _options: CallbackOptions) -> Iterable[Observation]:
        for number in range(2):
            yield Observation(self._random.gauss(61, 2), {"accelerator": number})


def _cpu_time(_options: CallbackOptions) -> Iterable[Observation]:
    yield Observation(time.process_time())


def run(endpoint: str, inbox: Inbox) -> None:
    """Report, wait for the start, make load until the stop, send the rest, report."""
    counted = Counted()
    send(counted.report())
    while (word := inbox.wait(1.0)) != START:
        if word == STOP:
            return
    telemetry = Telemetry(endpoint, counted)
    service = Service(telemetry, counted)
    began_s = reported_s = time.monotonic()
    answered = 0
    stopped = False
    while not stopped:
        now_s = time.monotonic()
        if counted.under_way() < _UNDER_WAY_MAX:
            service.answer_one()
            answered += 1
        else:
            # What could not be made is not made up for: the pause moves the schedule.
            began_s = now_s - answered / _REQUESTS_PER_S
        if now_s - reported_s >= _REPORT_INTERVAL_S:
            reported_s = now_s
            send(counted.report())
        due_s = began_s + (answered + 1) / _REQUESTS_PER_S
        stopped = inbox.wait(max(0.0, due_s - now_s)) == STOP
    telemetry.close()
    send(counted.report(final=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Make load for the agent at ``--endpoint`` until the input says stop or ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, metavar="HOST:PORT")
    options = parser.parse_args(argv)
    # The SDK warns of every attempt that fails; who reads standard error wants to know when.
    logging.basicConfig(format="%(asctime)s\t%(levelname)s\t%(name)s\t%(message)s")
    try:
        run(options.endpoint, Inbox())
    except (BrokenPipeError, KeyboardInterrupt):
        return 1  # nobody is left to report to
    return 0


if __name__ == "__main__":
    sys.exit(main())
