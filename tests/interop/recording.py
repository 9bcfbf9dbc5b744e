"""Records what gRPC peers send in both roles, for `tests/core/transport/http2/test_recorded.py`.

usage: python -m tests.interop.recording [FOLDER]

A file holds all bytes that a peer sent on one connection: ``PEER-client-….bin`` what it sent to
our server, ``PEER-server-….bin`` what it answered our client. The peers are those of the interop
tests; one that is not installed is left out.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from concurrent import futures
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlsysops_pipeline import Signal
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.transport.http2.calls import Action, Service, UnaryMethod
from mlsysops_pipeline.transport.http2.client import ClientCall, ClientConnection, ClientTimes
from mlsysops_pipeline.transport.http2.grpc import GrpcConnection
from mlsysops_pipeline.transport.http2.heads import request_fields
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from tests.interop import unary
from tests.interop.conftest import PYTHON_PEERS, Program, free_port, running, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlsysops_pipeline.transport.http2.requests import GrpcRequest

METHOD: Final = Signal.TRACES.method
FOLDER: Final = Path(__file__).parents[1] / "core" / "transport" / "http2" / "recorded"
SPANS: Final = ("first", "second", "third", "large")
LARGE_BYTES: Final = 16_500
"""More than a DATA frame of the default size."""

_ROOT: Final = Path(__file__).parents[2]
_GO: Final = _ROOT / "benchmarks" / "peers" / "go" / "otelcol"
_ROTEL: Final = next(
    (PYTHON_PEERS.parents[1] / "lib").glob("*/site-packages/rotel/rotel-agent"), Path("absent")
)
_GO_CONFIG: Final = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}}}}}}}
exporters:
  otlp: {{endpoint: "127.0.0.1:{to}", tls: {{insecure: true}}, compression: {compression}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp]}}}}
"""


def requests() -> list[bytes]:
    """What clients send: one span each, the last one large."""
    return [request(name, LARGE_BYTES if name == "large" else 0) for name in SPANS]


def request(name: str, size: int = 0) -> bytes:
    """One span, with ``size`` bytes that do not compress away."""
    message = ExportTraceServiceRequest()
    span = message.resource_spans.add().scope_spans.add().spans.add(name=name)
    span.trace_id, span.span_id = b"t" * 16, b"s" * 8
    if size:
        value = span.attributes.add(key="padding").value
        value.string_value = "".join(chr(33 + n * n % 89) for n in range(size))
    return bytes(message.SerializeToString())


# Our server, and what clients send to it.


class Recorder:
    """Serves every connection by a `GrpcConnection` and keeps what its client sends."""

    def __init__(self) -> None:
        self.calls = 0
        self.recorded: list[bytearray] = []
        self._service = Service(
            {METHOD: UnaryMethod(_unused)}, MemoryAccount(), lambda error: GrpcStatus(13, str(error))  # type: ignore[arg-type]  # sync
        )  # fmt: skip
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        kept = bytearray()
        self.recorded.append(kept)
        server = GrpcConnection(self._service, 0.0)
        with connection:
            while data := _read(connection):
                kept += data
                for action, call in server.receive(data, time.monotonic()):
                    if action is Action.START:
                        server.succeed(call, b"")
                        self.calls += 1
                connection.sendall(b"".join(server.connection.take()))

    def has(self, calls: int) -> bool:
        """Whether so many calls were answered."""
        return self.calls >= calls

    def close(self) -> list[bytes]:
        """What was sent on each connection that did anything."""
        self._listener.close()
        return [bytes(kept) for kept in self.recorded if len(kept) > 100]


async def _unused(_request: GrpcRequest) -> bytes:
    raise AssertionError("calls are answered where they arrive")


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


@contextmanager
def recorder(name: str, folder: Path) -> Iterator[Recorder]:
    """A server; what was sent to it is written to files of this name."""
    server = Recorder()
    yield server
    recorded = server.close()
    for number, data in enumerate(recorded):
        suffix = f"-{number}" if number else ""
        (folder / f"{name}{suffix}.bin").write_bytes(data)


# Our client, and what servers answer.


def record_server(name: str, port: int, folder: Path, stop: Callable[[], object]) -> None:
    """Call a server, well and badly; ``stop`` shuts it down while the connection is open."""
    kept = bytearray()
    client = ClientConnection(ClientTimes(), time.monotonic())
    with socket.create_connection(("127.0.0.1", port)) as connection:

        def exchange(until: Callable[[], bool]) -> None:
            while not until():
                connection.sendall(b"".join(client.connection.take()))
                data = _read(connection)
                if not data:
                    return
                kept.extend(data)
                client.receive(data, time.monotonic())

        exchange(lambda: client.is_ready)
        for path, body in CALLS:
            fields = request_fields(path, f"127.0.0.1:{port}", "recording/1", 10.0)
            call = ClientCall(fields, body, time.monotonic() + 10)
            assert client.begin(call, time.monotonic())
            exchange(lambda call=call: call.outcome is not None)  # type: ignore[misc]  # no type
        Thread(target=stop, daemon=True).start()
        exchange(lambda: client.is_draining)
        connection.sendall(b"".join(client.connection.take()))
        connection.settimeout(1.0)
        while data := _read(connection):
            kept.extend(data)
    (folder / f"{name}.bin").write_bytes(kept)


CALLS: Final = (
    (METHOD, request("first")),
    (METHOD, request("second")),
    ("/no.Such/Method", b""),
    (METHOD, b"fail: this is no protobuf"),
    (METHOD, request("large", LARGE_BYTES)),
)
"""What servers are asked."""


# Peers.


def start_go(listen: int, to: int, folder: Path, compression: str) -> Program:
    """The Go collector, which is grpc-go on both sides."""
    config = folder / "go.yaml"
    config.write_text(_GO_CONFIG.format(grpc=listen, to=to, compression=compression))
    return Program([str(_GO), "--config", str(config)], folder / "go.log")


def start_rotel(listen: int, to: int, folder: Path, compression: str) -> Program:
    """Rotel, which is tonic as a server, and hyper as a client."""
    command = [
        str(_ROTEL), "start",
        "--otlp-grpc-endpoint", f"127.0.0.1:{listen}",
        "--otlp-http-endpoint", f"127.0.0.1:{free_port()}",
        "--exporter", "otlp",
        "--otlp-exporter-endpoint", f"http://127.0.0.1:{to}",
        "--otlp-exporter-compression", compression,
        "--batch-timeout", "100ms",
    ]  # fmt: skip
    return Program(command, folder / "rotel.log")


def record_collector(
    name: str, start: Callable[[int, int, Path, str], Program], folder: Path
) -> None:
    """Both roles of a collector."""
    for compression in ("none", "gzip"):
        port = free_port()
        with (
            tempfile.TemporaryDirectory() as scratch,
            recorder(f"{name}-client-{compression}", folder) as server,
            running(start(port, server.port, Path(scratch), compression), port),
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            call = channel.unary_unary(METHOD)
            for count, body in enumerate(requests(), 1):
                call(body, timeout=10)
                wait_for(partial(server.has, count), f"call {count}")
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(start(port, free_port(), Path(scratch), "none"), port) as program,
    ):
        record_server(f"{name}-server", port, folder, program.stop)


def record_lines(peer: str, folder: Path) -> None:
    """Both roles of a peer of `unary`."""
    for compression in ("identity", "gzip"):
        with recorder(f"{peer}-client-{compression}", folder) as server:
            unary.call(peer, server.port, [(METHOD, body) for body in requests()], compression)
    with tempfile.TemporaryDirectory() as scratch:
        called = unary.Server(peer, free_port(), Path(scratch) / "log", "gzip")
        with running(called.program, called.port) as program:
            record_server(f"{peer}-server", called.port, folder, program.stop)


def record_grpcio(folder: Path) -> None:
    """Both roles of grpcio."""
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        kind = "none" if compression is grpc.Compression.NoCompression else "gzip"
        with recorder(f"grpcio-client-{kind}", folder) as server:
            address = f"127.0.0.1:{server.port}"
            with grpc.insecure_channel(address, compression=compression) as channel:
                call = channel.unary_unary(METHOD)
                for body in requests():
                    call(body, timeout=10, metadata=[("tenant-bin", b"\x00\xff")])

    def behave(body: bytes, context: grpc.ServicerContext) -> bytes:
        if body.startswith(b"fail"):
            context.set_trailing_metadata([("grpc-status-details-bin", b"details")])
            context.abort(grpc.StatusCode.UNAVAILABLE, "100 % müde")
        return b""

    class OneMethod(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
        """Knows one path and no other."""

        def service(self, details: grpc.HandlerCallDetails) -> object:
            known = grpc.unary_unary_rpc_method_handler(behave)
            return known if details.method == METHOD else None

    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([OneMethod()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    record_server("grpcio-server", port, folder, lambda: server.stop(1.0).wait())


def main() -> None:
    """Record every peer that is there."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(exist_ok=True)
    record_grpcio(folder)
    for peer in ("grpc-js", "tonic"):  # grpc-go is recorded in the Go collector
        if unary.is_installed(peer):
            record_lines(peer, folder)
    if _GO.is_file():
        record_collector("grpc-go", start_go, folder)
    if _ROTEL.is_file():
        record_collector("rotel", start_rotel, folder)


if __name__ == "__main__":
    main()
