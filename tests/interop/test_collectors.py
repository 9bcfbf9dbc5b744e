"""Other collectors: rotel and the Go collector send to us and receive from us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from mlsysops_pipeline import Signal
from mlsysops_pipeline.testing import make_wire
from tests.interop.conftest import (
    Collector,
    OtlpSink,
    Program,
    free_port,
    pass_through,
    running,
    wait_for,
)

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS, ITEMS = 20, 30

GO_CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{listen}"}}
exporters:
  otlp:
    endpoint: "127.0.0.1:{to}"
    tls: {{insecure: true}}
    compression: {compression}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [otlp]}}
    logs: {{receivers: [otlp], exporters: [otlp]}}
    traces: {{receivers: [otlp], exporters: [otlp]}}
"""


def send(port: int) -> None:
    """The same load for every peer: requests of every signal, over plain gRPC."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for signal in Signal:
            call = channel.unary_unary(signal.method)
            for number in range(REQUESTS):
                call(make_wire(signal, ITEMS, seed=number), timeout=10, wait_for_ready=True)


def everything_arrived(sink: OtlpSink) -> bool:
    return all(sink.items(signal) >= REQUESTS * ITEMS for signal in Signal)


def rotel(binary: Path, folder: Path, listen: int, to: int, compression: str) -> Program:
    command = [
        str(binary), "start",
        "--otlp-grpc-endpoint", f"127.0.0.1:{listen}",
        "--otlp-http-endpoint", f"127.0.0.1:{free_port()}",
        "--exporter", "otlp",
        "--otlp-exporter-protocol", "grpc",
        "--otlp-exporter-endpoint", f"http://127.0.0.1:{to}",
        "--otlp-exporter-compression", compression,
        "--batch-timeout", "100ms",
    ]  # fmt: skip
    return Program(command, folder / "rotel.log")


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_rotel_sends_to_us(
    compression: str, collector: Collector, sink: OtlpSink, rotel_binary: Path, tmp_path: Path
) -> None:
    listen = free_port()
    peer = rotel(rotel_binary, tmp_path, listen, collector.grpc_port, compression)
    with running(peer, listen):
        send(listen)
        wait_for(lambda: everything_arrived(sink), "everything through rotel and us")
    assert 0 == collector.stop()
    assert dict.fromkeys(Signal, REQUESTS * ITEMS) == {s: sink.items(s) for s in Signal}


def test_rotel_receives_from_us(sink: OtlpSink, rotel_binary: Path, tmp_path: Path) -> None:
    listen = free_port()
    peer = rotel(rotel_binary, tmp_path, listen, sink.grpc_port, "gzip")
    with running(peer, listen):
        out = f'otlp: {{endpoint: "127.0.0.1:{listen}", tls: {{insecure: true}}}}'
        program = Collector(tmp_path, pass_through(out))
        with running(program, program.http_port):
            send(program.grpc_port)
        wait_for(lambda: everything_arrived(sink), "everything through us and rotel")
    assert dict.fromkeys(Signal, REQUESTS * ITEMS) == {s: sink.items(s) for s in Signal}


@pytest.mark.parametrize("compression", ["gzip", "none", "zstd", "snappy"])
def test_the_go_collector_sends_to_us(
    compression: str, collector: Collector, sink: OtlpSink, go_collector: str, tmp_path: Path
) -> None:
    listen = free_port()
    config = tmp_path / "go.yaml"
    config.write_text(
        GO_CONFIG.format(listen=listen, to=collector.grpc_port, compression=compression)
    )
    peer = Program([go_collector, "--config", str(config)], tmp_path / "go.log")
    with running(peer, listen):
        send(listen)
        wait_for(lambda: everything_arrived(sink), "everything through the Go collector and us")
    assert dict.fromkeys(Signal, REQUESTS * ITEMS) == {s: sink.items(s) for s in Signal}


def test_the_go_collector_receives_from_us(
    sink: OtlpSink, go_collector: str, tmp_path: Path
) -> None:
    listen = free_port()
    config = tmp_path / "go.yaml"
    config.write_text(GO_CONFIG.format(listen=listen, to=sink.grpc_port, compression="gzip"))
    peer = Program([go_collector, "--config", str(config)], tmp_path / "go.log")
    with running(peer, listen):
        out = f'otlp: {{endpoint: "127.0.0.1:{listen}", tls: {{insecure: true}}}}'
        program = Collector(tmp_path, pass_through(out))
        with running(program, program.http_port):
            send(program.grpc_port)
        wait_for(lambda: everything_arrived(sink), "everything through us and the Go collector")
    assert dict.fromkeys(Signal, REQUESTS * ITEMS) == {s: sink.items(s) for s in Signal}
