"""A collector for tests of the harness: hands gRPC requests on, or with `--lose` only some."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc


def main() -> None:
    lose = "--lose" in sys.argv
    onward = grpc.insecure_channel(f"127.0.0.1:{os.environ['BENCH_SINK_PORT']}")
    service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
    call = onward.unary_unary(f"/{service}/Export")
    taken = 0

    def export(request: bytes, _context: Any) -> bytes:
        nonlocal taken
        taken += 1
        if not (lose and taken == 3):
            call(request)
        return b""

    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"Export": handler})]
    )
    server.add_insecure_port(f"127.0.0.1:{os.environ['BENCH_GRPC_PORT']}")
    server.start()
    # Nothing is sent here; only the port has to answer.
    http = HTTPServer(("127.0.0.1", int(os.environ["BENCH_HTTP_PORT"])), BaseHTTPRequestHandler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    server.stop(1).wait()


if __name__ == "__main__":
    main()
