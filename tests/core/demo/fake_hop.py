"""A stand-in for a collector in the demo: hands OTLP/gRPC on, serves numbers, ends on SIGTERM.

It knows the collector's arguments, and with ``--misbehave`` how to be a bad one. Nothing of the
collector is in it, so that tests of the demo do not depend on the rest of the project.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICES: dict[str, tuple[str, Any]] = {
    "metric_points": ("metrics.v1.MetricsService", ExportMetricsServiceRequest),
    "log_records": ("logs.v1.LogsService", ExportLogsServiceRequest),
    "spans": ("trace.v1.TraceService", ExportTraceServiceRequest),
}


def count(noun: str, request: Any) -> int:
    if noun == "log_records":
        return sum(len(s.log_records) for g in request.resource_logs for s in g.scope_logs)
    if noun == "spans":
        return sum(len(s.spans) for g in request.resource_spans for s in g.scope_spans)
    return sum(
        len(getattr(metric, metric.WhichOneof("data")).data_points)
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
    )


def add_level(request: Any, level: str) -> None:
    _, groups = request.ListFields()[0]
    for group in groups:
        found = [a for a in group.resource.attributes if a.key == "mlsysops.levels"]
        if not found:
            entry = KeyValue(key="mlsysops.levels")
            entry.value.array_value.SetInParent()
            group.resource.attributes.append(entry)
            found = [group.resource.attributes[-1]]
        found[0].value.array_value.values.append(AnyValue(string_value=level))


def requests_of(request: Any) -> dict[str, int]:
    """The counter `requests` as lines of a Prometheus page, without their values."""
    return {
        f"requests_total{{{labels_of(point)}}}": point.as_int
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        if metric.name == "requests"
        for point in metric.sum.data_points
    }


def labels_of(point: Any) -> str:
    return ",".join(f'{a.key}="{a.value.string_value}"' for a in point.attributes)


class Hop:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._lost = False
        self._requests: dict[str, int] = {}
        self._next = grpc.insecure_channel(options.export_to)

    def forward(self, noun: str, body: bytes) -> bytes:
        service, message = SERVICES[noun]
        request = message.FromString(body)
        items = count(noun, request)
        self._add(f"otelcol_receiver_accepted_{noun}", items)
        if noun == "metric_points":
            with self._lock:
                self._requests |= requests_of(request)
        if self._options.misbehave == "swallow" and noun == "spans":
            return b""
        if self._options.misbehave == "lose-one" and noun == "log_records" and not self._lost:
            self._lost = True
            del request.resource_logs[0].scope_logs[0].log_records[0]
        add_level(request, self._options.level)
        wire = request.SerializeToString()
        call = self._next.unary_unary(f"/opentelemetry.proto.collector.{service}/Export")
        for _ in range(2 if self._options.misbehave == "duplicate" else 1):
            call(wire, timeout=10)
        self._add(f"otelcol_exporter_sent_{noun}", items)
        return b""

    def _add(self, name: str, items: int) -> None:
        with self._lock:
            self._numbers[name] = self._numbers.get(name, 0) + items

    def page(self) -> bytes:
        with self._lock:
            lines = [f'{name}{{component="otlp"}} {n}' for name, n in self._numbers.items()]
        return "\n".join([*lines, ""]).encode()

    def requests(self) -> bytes:
        with self._lock:
            lines = [f"{series} {n}" for series, n in self._requests.items()]
        return "\n".join([*lines, ""]).encode()

    def serve(self) -> Any:
        options = [("grpc.so_reuseport", 0)]
        server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        for noun, (service, _) in SERVICES.items():
            handler = grpc.unary_unary_rpc_method_handler(self._taker(noun))
            name = f"opentelemetry.proto.collector.{service}"
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(name, {"Export": handler}),)
            )
        server.add_insecure_port(f"{self._options.listen}:{self._options.otlp_grpc_port}")
        server.start()
        return server

    def _taker(self, noun: str) -> Any:
        return lambda body, _context: self.forward(noun, body)


def http_server(page: Callable[[], bytes], port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run"])
    for name in ("mode", "level", "listen", "export-to", "remote-write", "misbehave"):
        parser.add_argument(f"--{name}")
    for name in ("otlp-grpc", "otlp-http", "telemetry", "prometheus"):
        parser.add_argument(f"--{name}-port", type=int)
    options = parser.parse_args()
    if options.misbehave == "fail":
        print("Error: cannot do it", file=sys.stderr)  # noqa: T201
        return 1
    # Blocked in every thread and waited for below. A handler would run in the main thread only,
    # which does not wake from waiting when the kernel gives the signal to a thread of grpcio.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    hop = Hop(options)
    try:
        server = hop.serve()
    except RuntimeError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    http_server(hop.page, options.telemetry_port)
    if options.prometheus_port and options.misbehave != "no-page":
        http_server(hop.requests, options.prometheus_port)
    if options.misbehave != "silent":
        ready = "Everything is ready. Begin running and processing data."
        print(ready, file=sys.stderr)  # noqa: T201
    if options.misbehave == "die":
        signal.sigtimedwait([signal.SIGTERM], 1.0)
        os.kill(os.getpid(), signal.SIGSEGV)
    signal.sigwait([signal.SIGTERM])
    while options.misbehave == "hang":
        signal.pause()
    server.stop(5).wait(10)
    sys.stderr.flush()
    # Not by a return, so that no thread of grpcio can keep the interpreter from ending.
    os._exit(3 if options.misbehave == "bad-status" else 0)


if __name__ == "__main__":
    sys.exit(main())
