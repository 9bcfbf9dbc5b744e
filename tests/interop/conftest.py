"""Real programs around a real collector process. Each is started on free ports and stopped.

A program that is not installed skips its tests with the reason; where `MLSYSOPS_REQUIRE_PEERS` is
set, as in CI, it fails them instead.
"""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from mlsysops_pipeline import Signal
from tests.interop.items import REQUESTS, items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PYTHON_ENVIRONMENT = Path(__file__).parent / "python" / ".venv"
PYTHON_PEERS = _PYTHON_ENVIRONMENT / "bin" / "python"
"""The interpreter beside which Python peers are installed that need other versions."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here talks to something real and takes its time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.slow)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(60))


def require(found: object, what: str) -> None:
    """Skip, or fail where peers are required, if something is not installed."""
    if not found:
        if os.environ.get("MLSYSOPS_REQUIRE_PEERS"):
            pytest.fail(f"{what} is required here and not installed")
        pytest.skip(f"{what} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.02)  # between two looks at another process


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class OtlpSink:
    """An OTLP server that is not the collector: official classes, full decoding, exact counts."""

    def __init__(self, grpc_port: int = 0) -> None:
        self._requests: dict[Signal, list[Any]] = {signal: [] for signal in Signal}
        self._lock = Lock()
        self.encodings: set[str] = set()
        """Compression and content type of what came over HTTP."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        for signal_ in Signal:
            handler = grpc.unary_unary_rpc_method_handler(self._taker(signal_))
            self._grpc.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(signal_.service, {"Export": handler})]
            )
        self.grpc_port: int = self._grpc.add_insecure_port(f"127.0.0.1:{grpc_port}")
        self._grpc.start()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._http_handler())
        self.http_port: int = self._http.server_address[1]
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _taker(self, signal_: Signal) -> Callable[[bytes, Any], bytes]:
        def take(request: bytes, _context: Any = None) -> bytes:
            message = REQUESTS[signal_].FromString(request)
            with self._lock:
                self._requests[signal_].append(message)
            return b""

        return take

    def _http_handler(self) -> type[BaseHTTPRequestHandler]:
        paths = {signal_.url_path: self._taker(signal_) for signal_ in Signal}
        encodings = self.encodings

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                encoding = self.headers.get("Content-Encoding", "none")
                encodings.add(encoding)
                encodings.add(self.headers["Content-Type"])
                paths[self.path](gzip.decompress(body) if encoding == "gzip" else body, None)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler

    def messages(self, signal_: Signal) -> list[Any]:
        """The requests so far."""
        with self._lock:
            return list(self._requests[signal_])

    def items(self, signal_: Signal) -> list[bytes]:
        """Data points, log records or spans so far, as `items` makes them."""
        return [one for message in self.messages(signal_) for one in items(signal_, message)]

    def stop(self) -> None:
        self._grpc.stop(0).wait()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class Program:
    """A process with its output in a file."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **(env or {})}
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_port(self, port: int) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, f"ended early:\n{self.text()}"
            return answers(port)

        wait_for(ready, f"port {port}")

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = 20) -> None:
        """Wait for something that this program does; its log explains why it does not."""
        try:
            wait_for(condition, what, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; the program said:\n{self.text()}") from None

    def stop(self, timeout_s: float = 20) -> int:
        """SIGTERM and the exit status; SIGKILL and a failure after ``timeout_s``."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop:\n{self.text()}") from None


class Collector(Program):
    """This collector, as a process, from one configuration file."""

    def __init__(self, folder: Path, config: str, *, sink: OtlpSink | None = None) -> None:
        self.grpc_port, self.http_port = free_port(), free_port()
        ports = {"GRPC": self.grpc_port, "HTTP": self.http_port}
        if sink is not None:
            ports |= {"SINK_GRPC": sink.grpc_port, "SINK_HTTP": sink.http_port}
        for name, port in ports.items():
            config = config.replace(f"${name}$", str(port))
        path = folder / f"collector-{self.grpc_port}.yaml"
        path.write_text(config)
        command = [sys.executable, "-m", "mlsysops_pipeline.cli", "--config", str(path)]
        super().__init__(command, folder / f"collector-{self.grpc_port}.log")


@contextmanager
def running(program: Program, *ports: int) -> Iterator[Program]:
    """The program as soon as it listens on ``ports``; it is stopped in any case."""
    try:
        for port in ports:
            program.wait_port(port)
        yield program
    finally:
        program.stop()


PASS_THROUGH = """
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:$GRPC$"}
      http: {endpoint: "127.0.0.1:$HTTP$"}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 512}
  batch: {timeout: 50ms}
exporters:
  EXPORTER
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [NAME]}
    logs: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [NAME]}
    traces: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [NAME]}
"""
GRPC_OUT = 'otlp: {endpoint: "127.0.0.1:$SINK_GRPC$", tls: {insecure: true}}'
HTTP_OUT = 'otlphttp: {endpoint: "http://127.0.0.1:$SINK_HTTP$"}'


def pass_through(exporter: str = GRPC_OUT) -> str:
    """A configuration that hands everything to the sink by ``exporter``."""
    name = exporter.partition(":")[0]
    return PASS_THROUGH.replace("EXPORTER", exporter).replace("NAME", name)


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    server = OtlpSink()
    yield server
    server.stop()


@pytest.fixture
def collector(sink: OtlpSink, tmp_path: Path) -> Iterator[Collector]:
    """A collector that takes OTLP on both transports and hands it to ``sink`` over gRPC."""
    program = Collector(tmp_path, pass_through(), sink=sink)
    with running(program, program.grpc_port, program.http_port):
        yield program


@pytest.fixture
def node_folder() -> Path:
    folder = Path(__file__).parent / "node"
    require(shutil.which("node"), "node")
    require((folder / "node_modules").is_dir(), "the Node SDK (.ci/install-peers)")
    return folder


@pytest.fixture
def python_peers() -> Path:
    """The interpreter beside which Python peers are installed that need other versions."""
    require(PYTHON_PEERS.is_file(), f"{PYTHON_PEERS} (.ci/install-peers)")
    return PYTHON_PEERS


@pytest.fixture
def rotel_binary(python_peers: Path) -> Path:
    folder = next((_PYTHON_ENVIRONMENT / "lib").iterdir())
    if folder.name != "python3.11":
        pytest.skip("rotel has wheels for Python 3.11 only")
    path = folder / "site-packages" / "rotel" / "rotel-agent"
    require(path.is_file(), "rotel (.ci/install-peers)")
    return path


@pytest.fixture
def go_collector() -> str:
    """The Go collector; it is built outside CI, so its absence is never a failure."""
    built = Path(__file__).parents[2] / "benchmarks" / "peers" / "go" / "otelcol"
    path = str(built) if built.is_file() else None
    path = path or shutil.which("otelcol-contrib") or shutil.which("otelcol")
    if path is None:
        pytest.skip("no Go collector (make peers, or otelcol or otelcol-contrib on the PATH)")
    return path
