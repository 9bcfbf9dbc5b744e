"""CPU of a collector for one small gRPC call, as different clients send it.

    python -m benchmarks.micro_grpc_peers [--calls N] [--rounds N]

grpc-go puts another ``grpc-timeout`` into the header table with nearly every call, so that no
header block ever repeats; grpcio sends the same block for as long as its table does not change.
Calls are made as they were recorded from both (frames, fields, sizes), with the smallest message,
where the head costs most, one at a time. Prints the least of several rounds, in microseconds: of
the header block alone, of the protocol without sockets, and of the whole process of a collector
that takes the calls and throws the data away; and what a call of grpc-go costs in calls of grpcio,
at most `RATIO_MAX`.
"""

from __future__ import annotations

import argparse
import math
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import hpack

from benchmarks.process import cpu_s, free_port
from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_wire
from mlsysops_pipeline.transport.http2 import frames
from mlsysops_pipeline.transport.http2.calls import Service, UnaryMethod
from mlsysops_pipeline.transport.http2.fields import RequestHeads
from mlsysops_pipeline.transport.http2.frames import END_HEADERS, END_STREAM, frame_header
from mlsysops_pipeline.transport.http2.grpc import GrpcConnection
from mlsysops_pipeline.transport.http2.headers import HeaderDecoder
from mlsysops_pipeline.transport.http2.routes import VOLATILE_FIELDS
from mlsysops_pipeline.transport.http2.status import GrpcStatus

if TYPE_CHECKING:
    from collections.abc import Callable

RATIO_MAX: Final = 1.3

_METHOD: Final = Signal.METRICS.method
_MESSAGE: Final = make_wire(Signal.METRICS, 1)
_PREFIXED: Final = b"\0" + len(_MESSAGE).to_bytes(4) + _MESSAGE
_HEAD: Final = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", _METHOD),
    (":authority", "127.0.0.1:4317"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)
_GRPCIO: Final = (
    *_HEAD,
    ("grpc-accept-encoding", "identity, deflate, gzip"),
    ("user-agent", "grpc-python/1.85.3 grpc-c/58.0.0 (linux; chttp2)"),
    ("grpc-timeout", "10100m"),
)
_GRPC_GO: Final = (
    *_HEAD,
    ("user-agent", "OpenTelemetry Collector Contrib/0.159.0 (linux/amd64) grpc-go/1.83.0"),
    ("grpc-accept-encoding", "snappy,zstd,gzip"),
)
_CONFIG: Final = """
receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:PORT"}}}}
exporters: {nop: {}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {metrics: {receivers: [otlp], exporters: [nop]}}
"""
_UPDATE: Final = frames.window_update_frame(0, 5)


def grpcio_blocks(count: int) -> list[bytes]:
    """Header blocks of grpcio."""
    encoder = hpack.Encoder()
    return [encoder.encode(_GRPCIO) for _ in range(count)]


def grpc_go_blocks(count: int) -> list[bytes]:
    """Header blocks of grpc-go: what is left of five seconds, in microseconds."""
    encoder, choice = hpack.Encoder(), random.Random(1)  # noqa: S311  the same load each time
    timeouts = [f"{5_000_000 - choice.randint(15, 500)}u" for _ in range(count)]
    return [encoder.encode((*_GRPC_GO, ("grpc-timeout", timeout))) for timeout in timeouts]


def grpcio_call(stream: int, block: bytes) -> bytes:
    """What grpcio sends for a call: it opens windows around each message."""
    return b"".join(
        (
            frame_header(len(block), frames.HEADERS, END_HEADERS, stream),
            block,
            frames.window_update_frame(stream, 5),
            frame_header(len(_PREFIXED), frames.DATA, END_STREAM, stream),
            _PREFIXED,
            _UPDATE,
        )
    )


def grpc_go_call(stream: int, block: bytes) -> bytes:
    """What grpc-go sends for a call: it opens the window and measures the bandwidth by a PING."""
    return b"".join(
        (
            frame_header(len(block), frames.HEADERS, END_HEADERS, stream),
            block,
            frame_header(len(_PREFIXED), frames.DATA, END_STREAM, stream),
            _PREFIXED,
            _UPDATE,
            frames.ping_frame(b"\x02\x04\x10\x10\x09\x0e\x07\x07"),
        )
    )


def time_blocks(blocks: list[bytes]) -> float:
    """Seconds of CPU to decode and interpret the blocks."""
    decoder, heads = HeaderDecoder(), RequestHeads(VOLATILE_FIELDS)
    start = time.process_time()
    for block in blocks:
        heads.of(decoder.decode(block))
    return time.process_time() - start


async def _unused(_request: object) -> bytes:
    raise AssertionError("calls are answered at once")


def time_calls(calls: list[bytes]) -> float:
    """Seconds of CPU to take the calls and answer them."""
    service = Service(
        {_METHOD: UnaryMethod(_unused)},
        MemoryAccount(),
        lambda error: GrpcStatus(Code.INTERNAL, str(error)),
    )
    server = GrpcConnection(service, 0.0)
    server.receive(frames.PREFACE + frames.settings_frame({}), 0.0)
    answered = 0
    start = time.process_time()
    for number, data in enumerate(calls):
        for _, call in server.receive(data, number / 1_000):
            server.succeed(call, b"")
            answered += 1
        b"".join(server.connection.take())
    took = time.process_time() - start
    if answered != len(calls):
        raise RuntimeError(f"{answered} of {len(calls)} calls answered: {server.end_message}")
    return took


class Collector:
    """A collector in a process of its own, and one connection to it."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        config = folder / "config.yaml"
        config.write_text(_CONFIG.replace("PORT", str(port)))
        command = [sys.executable, "-m", "mlsysops_pipeline.cli", "--config", str(config)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._socket = self._connect(port)

    @staticmethod
    def _connect(port: int) -> socket.socket:
        for _ in range(200):
            try:
                return socket.create_connection(("127.0.0.1", port))
            except OSError:
                time.sleep(0.05)  # until it listens
        raise RuntimeError("the collector did not start")

    def time_calls(self, calls: list[bytes]) -> float:
        """Seconds of its CPU to take the calls, on a new connection."""
        connection = socket.create_connection(self._socket.getpeername())
        connection.sendall(frames.PREFACE + frames.settings_frame({}))
        start = cpu_s(self._process.pid)
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number, data in enumerate(calls):
                connection.sendall(data)
                # The last block of an answer: HEADERS with END_STREAM on this stream.
                end = b"\x01\x05" + (2 * number + 1).to_bytes(4)
                while end not in connection.recv(1 << 16):
                    pass
        return cpu_s(self._process.pid) - start

    def stop(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.terminate()
        self._process.wait()


def measure(count: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds for a block, for the protocol, for the process, by client: least of all."""
    makers: dict[str, tuple[Callable[[int], list[bytes]], Callable[[int, bytes], bytes]]] = {
        "grpcio": (grpcio_blocks, grpcio_call),
        "grpc-go": (grpc_go_blocks, grpc_go_call),
    }
    found = {name: [math.inf] * 3 for name in makers}
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector(Path(folder))
        for _ in range(rounds):
            for name, (make_blocks, make_call) in makers.items():  # alternating
                blocks = make_blocks(count)
                calls = [make_call(2 * place + 1, block) for place, block in enumerate(blocks)]
                took_s = time_blocks(blocks), time_calls(calls), collector.time_calls(calls)
                found[name] = [
                    min(best, seconds * 1e6 / count)
                    for best, seconds in zip(found[name], took_s, strict=True)
                ]
        collector.stop()
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    found = measure(options.calls, options.rounds)
    for name, (block_us, protocol_us, process_us) in found.items():
        print(
            f"{name:8} header block {block_us:5.2f} us, protocol {protocol_us:5.1f} us,"
            f" process {process_us:5.1f} us"
        )
    ratio = found["grpc-go"][2] / found["grpcio"][2]
    print(f"a call of grpc-go costs {ratio:.2f} of one of grpcio (at most {RATIO_MAX})")


if __name__ == "__main__":
    main()
