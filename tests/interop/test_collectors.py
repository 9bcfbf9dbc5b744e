"""Other collectors: rotel and the Go collector send to us and receive from us.

The oracle is the same collector without us: what reaches the sink through both must be, item for
item, what reaches it through the other one alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest

from mlsysops_pipeline import Signal
from tests.interop.conftest import (
    GRPC_OUT,
    HTTP_OUT,
    Collector,
    OtlpSink,
    Program,
    free_port,
    pass_through,
    running,
    wait_for,
)
from tests.interop.items import difference, items
from tests.interop.rich import rich

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REQUESTS = 20
GO_NAN = struct.pack("<Q", 0x7FF8000000000001)
C_NAN = struct.pack("<Q", 0x7FF8000000000000)

GO_CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
      http: {{endpoint: "127.0.0.1:{http}"}}
exporters:
  otlp: {{endpoint: "127.0.0.1:{to}", tls: {{insecure: true}}, compression: {compression}}}
  otlphttp: {{endpoint: "http://127.0.0.1:{to}", compression: {compression}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [{exporter}]}}
    logs: {{receivers: [otlp], exporters: [{exporter}]}}
    traces: {{receivers: [otlp], exporters: [{exporter}]}}
"""


class Peer:
    """Another collector: where it listens, and how it is started towards a destination."""

    def __init__(self, start: Callable[[Peer, int, str, str], Program]) -> None:
        self.grpc_port, self.http_port = free_port(), free_port()
        self._start = start

    def program(self, to: int, protocol: str = "grpc", compression: str = "gzip") -> Program:
        return self._start(self, to, protocol, compression)


@pytest.fixture
def rotel(rotel_binary: Path, tmp_path: Path) -> Callable[[], Peer]:
    def start(peer: Peer, to: int, protocol: str, compression: str) -> Program:
        command = [
            str(rotel_binary), "start",
            "--otlp-grpc-endpoint", f"127.0.0.1:{peer.grpc_port}",
            "--otlp-http-endpoint", f"127.0.0.1:{peer.http_port}",
            "--exporter", "otlp",
            "--otlp-exporter-protocol", protocol,
            "--otlp-exporter-endpoint", f"http://127.0.0.1:{to}",
            "--otlp-exporter-compression", compression,
            "--batch-timeout", "100ms",
        ]  # fmt: skip
        return Program(command, tmp_path / f"rotel-{peer.grpc_port}.log")

    return lambda: Peer(start)


@pytest.fixture
def go(go_collector: str, tmp_path: Path) -> Callable[[], Peer]:
    def start(peer: Peer, to: int, protocol: str, compression: str) -> Program:
        exporter = "otlp" if protocol == "grpc" else "otlphttp"
        config = tmp_path / f"go-{peer.grpc_port}.yaml"
        config.write_text(
            GO_CONFIG.format(
                grpc=peer.grpc_port,
                http=peer.http_port,
                to=to,
                compression=compression,
                exporter=exporter,
            )
        )
        return Program(
            [go_collector, "--config", str(config)], tmp_path / f"go-{peer.grpc_port}.log"
        )

    return lambda: Peer(start)


def send(port: int, *, histograms: bool = True) -> None:
    """The same load for every peer: requests of every signal, over plain gRPC."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for signal in Signal:
            call = channel.unary_unary(signal.method)
            for number in range(REQUESTS):
                body = rich(signal, number, histograms=histograms).SerializeToString()
                call(body, timeout=10, wait_for_ready=True)


def sent(signal: Signal, *, histograms: bool = True) -> list[bytes]:
    requests = (rich(signal, number, histograms=histograms) for number in range(REQUESTS))
    return [one for request in requests for one in items(signal, request)]


@dataclass(slots=True)
class Ends:
    """Two sinks: one behind the other collector and us, one behind the other collector alone."""

    sink: OtlpSink
    alone: OtlpSink
    histograms: bool = True
    exact: tuple[Signal, ...] = tuple(Signal)
    is_json: bool = False
    """Whether JSON was on the way, which has one NaN, while Go's own is not that of C."""

    def send(self, port: int) -> None:
        send(port, histograms=self.histograms)

    def baseline(self, make: Callable[[], Peer]) -> None:
        """Fill the sink that is reached without us."""
        peer = make()
        program = peer.program(self.alone.grpc_port)
        with running(program, peer.grpc_port):
            self.send(peer.grpc_port)
            program.wait_for(lambda: self.complete(self.alone), "everything without us")

    def complete(self, sink: OtlpSink) -> bool:
        """Whether as many items have come as were sent."""
        counts = {signal: len(sent(signal, histograms=self.histograms)) for signal in Signal}
        return all(len(sink.items(signal)) >= count for signal, count in counts.items())

    def assert_same(self) -> None:
        for signal in Signal:
            expected, arrived = self.alone.items(signal), self.sink.items(signal)
            if self.is_json:
                arrived = [one.replace(GO_NAN, C_NAN) for one in arrived]
            assert len(sent(signal, histograms=self.histograms)) == len(expected)
            assert len(expected) == len(arrived)
            if signal in self.exact:
                assert "" == difference(signal, expected, arrived), str(signal)


@pytest.fixture
def ends(sink: OtlpSink) -> Iterator[Ends]:
    alone = OtlpSink()
    yield Ends(sink, alone)
    alone.stop()


def peer_sends(
    make: Callable[[], Peer], protocol: str, compression: str, collector: Collector, ends: Ends
) -> None:
    ends.baseline(make)
    peer = make()
    to = collector.grpc_port if protocol == "grpc" else collector.http_port
    with running(peer.program(to, protocol, compression), peer.grpc_port):
        ends.send(peer.grpc_port)
        collector.wait_for(lambda: ends.complete(ends.sink), "everything through both")
    assert 0 == collector.stop(), collector.text()
    ends.assert_same()


def peer_receives(make: Callable[[], Peer], exporter: str, ends: Ends, folder: Path) -> None:
    ends.baseline(make)
    peer = make()
    with running(peer.program(ends.sink.grpc_port), peer.grpc_port, peer.http_port):
        out = exporter.replace("$PEER_GRPC$", str(peer.grpc_port))
        out = out.replace("$PEER_HTTP$", str(peer.http_port))
        program = Collector(folder, pass_through(out))
        with running(program, program.grpc_port):
            ends.send(program.grpc_port)
            assert 0 == program.stop(), program.text()
        wait_for(lambda: ends.complete(ends.sink), f"everything; we said:\n{program.text()}")
    ends.assert_same()


OUT = {
    "grpc, gzip": 'otlp: {endpoint: "127.0.0.1:$PEER_GRPC$", tls: {insecure: true}}',
    "grpc": 'otlp: {endpoint: "127.0.0.1:$PEER_GRPC$", tls: {insecure: true}, compression: none}',
    "http, gzip": 'otlphttp: {endpoint: "http://127.0.0.1:$PEER_HTTP$"}',
    "http": 'otlphttp: {endpoint: "http://127.0.0.1:$PEER_HTTP$", compression: none}',
    "json": 'otlphttp: {endpoint: "http://127.0.0.1:$PEER_HTTP$", encoding: json}',
}
MORE = {f"grpc, {name}": OUT["grpc"].replace("none", name) for name in ("zstd", "snappy")} | {
    f"http, {name}": OUT["http"].replace("none", name) for name in ("zstd", "snappy", "deflate")
}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_rotel_sends_to_us(
    protocol: str,
    compression: str,
    rotel: Callable[[], Peer],
    collector: Collector,
    ends: Ends,
) -> None:
    peer_sends(rotel, protocol, compression, collector, ends)


@pytest.mark.parametrize("exporter", OUT)
def test_rotel_receives_from_us(
    exporter: str, rotel: Callable[[], Peer], ends: Ends, tmp_path: Path
) -> None:
    if exporter == "json":
        # It loses what are strings in the JSON of metrics, as 64-bit integers and NaN have to be:
        # values of points, and histograms and summaries with all that is in them.
        ends.histograms = False
        ends.exact = (Signal.LOGS, Signal.TRACES)
    peer_receives(rotel, OUT[exporter], ends, tmp_path)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("compression", ["gzip", "none", "zstd", "snappy"])
def test_the_go_collector_sends_to_us(
    protocol: str,
    compression: str,
    go: Callable[[], Peer],
    collector: Collector,
    ends: Ends,
) -> None:
    peer_sends(go, protocol, compression, collector, ends)


@pytest.mark.parametrize("exporter", OUT | MORE)
def test_the_go_collector_receives_from_us(
    exporter: str, go: Callable[[], Peer], ends: Ends, tmp_path: Path
) -> None:
    ends.is_json = exporter == "json"
    peer_receives(go, (OUT | MORE)[exporter], ends, tmp_path)


@pytest.mark.parametrize("out", [GRPC_OUT, HTTP_OUT])
def test_what_official_stubs_send_arrives_as_it_was(
    out: str, sink: OtlpSink, tmp_path: Path
) -> None:
    program = Collector(tmp_path, pass_through(out), sink=sink)
    with running(program, program.grpc_port):
        send(program.grpc_port)
        assert 0 == program.stop(), program.text()
    for signal in Signal:
        assert "" == difference(signal, sent(signal), sink.items(signal)), str(signal)
