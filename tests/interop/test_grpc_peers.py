"""grpc-go, @grpc/grpc-js, tonic and grpcio send to us and receive from us, live.

Each in every compression that it has. Whole collectors with grpc-go and tonic in them do the same
in `test_collectors`.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import grpc
import pytest

from mlsysops_pipeline import Signal
from mlsysops_pipeline.errors import Code
from tests.core.transport.grpc_peers import make_certificates
from tests.interop import unary
from tests.interop.conftest import (
    GRPC_OUT,
    PASS_THROUGH,
    Collector,
    OtlpSink,
    Program,
    free_port,
    pass_through,
    require,
    running,
    wait_for,
)
from tests.interop.items import REQUESTS, difference, items
from tests.interop.rich import rich

if TYPE_CHECKING:
    from pathlib import Path

COUNT: Final = 10
COMPRESSIONS: Final = [
    ("grpc-js", "identity"),
    ("grpc-js", "gzip"),
    ("grpc-js", "deflate"),
    ("tonic", "identity"),
    ("tonic", "gzip"),
    ("tonic", "deflate"),
    ("tonic", "zstd"),
    ("grpc-go", "identity"),
    ("grpc-go", "gzip"),
]


def need(peer: str) -> None:
    if not unary.is_installed(peer) and shutil.which(unary.needs(peer)) is None:
        pytest.skip(f"{peer} needs {unary.needs(peer)}, which is not installed")
    require(unary.is_installed(peer), f"{peer} (.ci/install-peers)")


def bodies(signal: Signal) -> list[bytes]:
    return [bytes(rich(signal, number).SerializeToString()) for number in range(COUNT)]


def sent(signal: Signal) -> list[bytes]:
    return [one for number in range(COUNT) for one in items(signal, rich(signal, number))]


CALLS: Final = [(signal.method, body) for signal in Signal for body in bodies(signal)]


def assert_arrived(sink: OtlpSink) -> None:
    for signal in Signal:
        assert "" == difference(signal, sent(signal), sink.items(signal)), str(signal)


@pytest.mark.parametrize(("peer", "compression"), COMPRESSIONS)
def test_a_peer_sends_to_us(
    peer: str, compression: str, collector: Collector, sink: OtlpSink
) -> None:
    need(peer)
    answers = unary.call(peer, collector.grpc_port, CALLS, compression)
    assert [unary.Said(0, "", b"")] * len(CALLS) == answers
    assert 0 == collector.stop(), collector.text()
    assert_arrived(sink)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_grpcio_sends_compressed(
    compression: grpc.Compression, collector: Collector, sink: OtlpSink
) -> None:
    with grpc.insecure_channel(
        f"127.0.0.1:{collector.grpc_port}", compression=compression
    ) as channel:
        for path, body in CALLS:
            assert b"" == channel.unary_unary(path)(body, timeout=10)
    assert 0 == collector.stop(), collector.text()
    assert_arrived(sink)


@pytest.mark.parametrize(
    ("peer", "compression"), [pair for pair in COMPRESSIONS if pair[1] != "deflate"]
)
def test_a_peer_receives_from_us(peer: str, compression: str, tmp_path: Path) -> None:
    need(peer)
    server = unary.Server(peer, free_port(), tmp_path / "peer.log", compression)
    out = GRPC_OUT.replace("$SINK_GRPC$", str(server.port))
    out = out.replace("}}", f"}}, compression: {compression.replace('identity', 'none')}}}")
    collector = Collector(tmp_path, pass_through(out))
    with running(server.program, server.port), running(collector, collector.grpc_port):
        with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
            for path, body in CALLS:
                channel.unary_unary(path)(body, timeout=10)
        assert 0 == collector.stop(), collector.text()
        wait_for(server.requests, "a request")
    requests = server.requests()
    told = "" if peer == "grpc-js" else compression
    assert {told} == {encoding for _, _, encoding in requests}
    for signal in Signal:
        arrived = [
            one
            for path, body, _ in requests
            if path == signal.method
            for one in items(signal, REQUESTS[signal].FromString(body))
        ]
        assert "" == difference(signal, sent(signal), arrived), str(signal)


@pytest.mark.parametrize("peer", ["grpc-js", "grpc-go"])
def test_a_peer_sends_over_tls(peer: str, sink: OtlpSink, tmp_path: Path) -> None:
    need(peer)
    files = make_certificates(tmp_path)
    tls = f'tls: {{cert_file: "{files.server_cert}", key_file: "{files.server_key}"}}'
    config = PASS_THROUGH.replace('"127.0.0.1:$GRPC$"', f'"127.0.0.1:$GRPC$", {tls}')
    config = config.replace("EXPORTER", GRPC_OUT).replace("NAME", "otlp")
    collector = Collector(tmp_path, config, sink=sink)
    with running(collector, collector.grpc_port):
        answers = unary.call(peer, collector.grpc_port, CALLS, ca=str(files.ca))
        assert {0} == {answer.code for answer in answers}
        assert 0 == collector.stop(), collector.text()
    assert_arrived(sink)


AGE: Final = "keepalive: {server_parameters: {max_connection_age: 50ms}}"


@pytest.mark.parametrize("peer", [*unary.COMMANDS, "grpcio"])
def test_no_call_is_lost_when_connections_get_old(
    peer: str, sink: OtlpSink, tmp_path: Path
) -> None:
    """The connection is closed gracefully a few times, and the peer opens another one.

    tonic gives up calls that it has not sent yet when its connection ends ("operation was
    canceled"): those are its caller's to repeat, and must not have arrived.
    """
    config = pass_through().replace('"127.0.0.1:$GRPC$"', f'"127.0.0.1:$GRPC$", {AGE}')
    collector = Collector(tmp_path, config, sink=sink)
    calls = CALLS * 20
    answers = [unary.Said(0, "", b"")] * len(calls)
    with running(collector, collector.grpc_port):
        if peer == "grpcio":
            with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
                for path, body in calls:
                    channel.unary_unary(path)(body, timeout=10)
        else:
            need(peer)
            answers = unary.call(peer, collector.grpc_port, calls)
        assert 0 == collector.stop(), collector.text()
    unsent = {unary.Said(1, "operation was canceled", b"")} if peer == "tonic" else set()
    assert {unary.Said(0, "", b"")} == set(answers) - unsent
    for signal in Signal:
        taken = [
            body
            for (path, body), answer in zip(calls, answers, strict=True)
            if path == signal.method and answer.code == 0
        ]
        expected = sum(len(items(signal, REQUESTS[signal].FromString(body))) for body in taken)
        assert expected == len(sink.items(signal))


GO_TLS: Final = """
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "localhost:FROM", tls: {SERVER, client_ca_file: "CA"}}
exporters:
  otlp: {endpoint: "localhost:TO", tls: {CLIENT, ca_file: "CA"}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [otlp]}
    logs: {receivers: [otlp], exporters: [otlp]}
    traces: {receivers: [otlp], exporters: [otlp]}
"""


def test_grpc_go_both_ways_over_mutual_tls(
    sink: OtlpSink, go_collector: str, tmp_path: Path
) -> None:
    """From us to the Go collector, and from it to us; ALPN is a must for grpc-go."""
    files = make_certificates(tmp_path)
    names = {
        "SERVER": f'cert_file: "{files.server_cert}", key_file: "{files.server_key}"',
        "CLIENT": f'cert_file: "{files.client_cert}", key_file: "{files.client_key}"',
        "CA": str(files.ca),
    }

    def filled(text: str) -> str:
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    (tmp_path / "second").mkdir()
    tls = ', tls: {SERVER, client_ca_file: "CA"}'
    config = pass_through().replace('"127.0.0.1:$GRPC$"', f'"127.0.0.1:$GRPC$"{tls}')
    second = Collector(tmp_path / "second", filled(config), sink=sink)
    port = free_port()
    go_config = GO_TLS.replace("FROM", str(port)).replace("TO", str(second.grpc_port))
    (tmp_path / "go.yaml").write_text(filled(go_config))
    command = [go_collector, "--config", str(tmp_path / "go.yaml")]
    out = f'otlp: {{endpoint: "localhost:{port}", tls: {{CLIENT, ca_file: "CA"}}}}'
    first_config = filled(pass_through(out))
    with ExitStack() as stack:
        # Each finds the next one when it starts: grpc-go rests for a second where it does not.
        stack.enter_context(running(second, second.grpc_port))
        stack.enter_context(running(Program(command, tmp_path / "go.log"), port))
        first = Collector(tmp_path, first_config)
        stack.enter_context(running(first, first.grpc_port))
        with grpc.insecure_channel(f"127.0.0.1:{first.grpc_port}") as channel:
            for path, body in CALLS:
                channel.unary_unary(path)(body, timeout=10)
        second.wait_for(
            lambda: all(len(sink.items(signal)) >= len(sent(signal)) for signal in Signal),
            "everything",
        )
    for signal in Signal:  # it writes some values in another way: see test_collectors
        assert len(sent(signal)) == len(sink.items(signal))


@pytest.mark.parametrize("peer", unary.COMMANDS)
def test_a_peer_understands_our_refusals(peer: str, collector: Collector) -> None:
    need(peer)
    known = Signal.LOGS.method
    calls = [("/no.Such/Method", b""), (known, b"\xff"), (known, b""), (f"{known}s", b"")]
    answers = unary.call(peer, collector.grpc_port, calls)
    expected = [Code.UNIMPLEMENTED, Code.INVALID_ARGUMENT, Code.OK, Code.UNIMPLEMENTED]
    assert expected == [answer.code for answer in answers]
    assert "unknown service no.Such" == answers[0].message
