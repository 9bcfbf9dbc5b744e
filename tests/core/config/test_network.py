"""Ports that two servers want, and exporters that send to ourselves."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.config import network

if TYPE_CHECKING:
    from pathlib import Path

    from tests.core.config.conftest import Load


def two_servers(one: str, other: str) -> str:
    return (
        "receivers:\n"
        f"  otlp/1: {{protocols: {{grpc: {{endpoint: '{one}'}}}}}}\n"
        f"  otlp/2: {{protocols: {{grpc: {{endpoint: '{other}'}}}}}}\n"
        "exporters: {debug: }\n"
        "service: {pipelines: {logs: {receivers: [otlp/1, otlp/2], exporters: [debug]}}}\n"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1:4317", "127.0.0.1:4317"),
        ("0.0.0.0:4317", "127.0.0.1:4317"),
        ("127.0.0.1:4317", "0.0.0.0:4317"),
        (":4317", "127.0.0.1:4317"),
        ("[::]:4317", "127.0.0.1:4317"),
        ("[::]:4317", "[::1]:4317"),
        ("0.0.0.0:4317", "[::]:4317"),
        ("localhost:4317", "127.0.0.1:4317"),
        ("localhost:4317", "[::1]:4317"),
        ("LOCALHOST:4317", "localhost:4317"),
        ("0.0.0.0:4317", "localhost:4317"),
        ("host.example:4317", "host.example:4317"),
        ("0.0.0.0:4317", "host.example:4317"),
        ("unix:/a", "unix:/a"),
    ],
)
def test_two_servers_on_one_port_are_an_error(load: Load, one: str, other: str) -> None:
    text = two_servers(one, other)
    assert [
        (
            f"F:3:41: receivers.otlp/2.protocols.grpc.endpoint: {other} is taken by "
            f"receivers.otlp/1.protocols.grpc.endpoint (F:2:41), which listens on {one}"
        )
    ] == load(text).lines


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1:4317", "127.0.0.1:4318"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:4317", "127.0.0.2:4317"),
        ("127.0.0.1:4317", "[::1]:4317"),
        ("0.0.0.0:4317", "[::1]:4317"),
        ("host.example:4317", "other.example:4317"),
        ("unix:/a", "unix:/b"),
    ],
)
def test_servers_that_do_not_meet_are_fine(load: Load, one: str, other: str) -> None:
    assert load(two_servers(one, other)).lines == []


def test_two_protocols_of_one_component_cannot_share_a_port(load: Load, good: str) -> None:
    loaded = load(good.replace("grpc: ", "http: , grpc: {endpoint: 'localhost:4318'}"))
    assert [
        (
            "F:2:47: receivers.otlp.protocols.grpc.endpoint: localhost:4318 is taken by "
            "receivers.otlp.protocols.http.endpoint (F:2:22), which listens on localhost:4318"
        )
    ] == loaded.lines


def test_the_page_of_own_metrics_is_a_server_too(load: Load, good: str) -> None:
    readers = "{readers: [{pull: {exporter: {prometheus: {port: 4317}}}}]}"
    text = good + f"  telemetry: {{metrics: {readers}}}\n"
    assert [
        (
            "F:8:73: service.telemetry.metrics.readers[0].pull.exporter.prometheus.port: "
            "localhost:4317 is taken by receivers.otlp.protocols.grpc.endpoint (F:2:22), which "
            "listens on localhost:4317"
        )
    ] == load(text).lines
    assert load(text.replace("readers", "level: none, readers")).lines == []


def test_a_server_that_nobody_uses_takes_no_port(load: Load, good: str) -> None:
    loaded = load(good.replace("receivers:", "receivers:\n  otlp/2: {protocols: {grpc: }}", 1))
    assert loaded.errors == []


def sends_to(listen: str, destination: str) -> str:
    return (
        "receivers:\n"
        f"  otlp: {{protocols: {{grpc: {{endpoint: '{listen}'}}}}}}\n"
        "exporters:\n"
        f"  otlp_grpc: {{endpoint: '{destination}'}}\n"
        "service: {pipelines: {logs: {receivers: [otlp], exporters: [otlp_grpc]}}}\n"
    )


@pytest.fixture(autouse=True)
def _hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.1.1 me.example me # next.example\n10.0.0.1 up.example\nnonsense x\n\n")
    monkeypatch.setattr(network, "HOSTS_FILE", path)


def test_an_address_of_an_interface_is_this_machine(load: Load) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("no route, and so no interface but the loopback")
        own = probe.getsockname()[0]
    assert load(sends_to("0.0.0.0:43170", f"{own}:43170")).good.loops
    assert not load(sends_to("127.0.0.1:43170", f"{own}:43170")).good.loops


@pytest.mark.parametrize(
    ("listen", "destination"),
    [
        ("0.0.0.0:43170", "127.0.0.1:43170"),
        ("0.0.0.0:43170", "localhost:43170"),
        ("0.0.0.0:43170", "127.1.2.3:43170"),
        ("127.0.0.1:43170", "localhost:43170"),
        ("localhost:43170", "127.0.0.1:43170"),
        ("[::]:43170", "[::1]:43170"),
        ("localhost:43170", ":43170"),
        ("0.0.0.0:43170", "0.0.0.0:43170"),
        ("0.0.0.0:43170", f"{socket.gethostname()}:43170"),
        ("0.0.0.0:43170", "Me.Example:43170"),
        ("gateway.example:43170", "gateway.example:43170"),
        ("10.0.0.1:43170", "10.0.0.1:43170"),
        ("unix:/a", "unix:/a"),
    ],
)
def test_an_exporter_that_sends_to_its_own_receiver_is_warned_about(
    load: Load, listen: str, destination: str
) -> None:
    loaded = load(sends_to(listen, destination))
    assert ["otlp_grpc"] == [str(id_) for id_ in loaded.good.loops]
    (line,) = loaded.warnings
    assert line.startswith("F:4:25: exporters.otlp_grpc.endpoint: sends to ")
    assert "which is the receiver otlp of this collector; its data would come back" in line


@pytest.mark.parametrize(
    ("listen", "destination"),
    [
        ("0.0.0.0:43170", "127.0.0.1:43171"),
        ("0.0.0.0:43170", "10.0.0.1:43170"),
        ("0.0.0.0:43170", "next.example:43170"),
        ("0.0.0.0:43170", "up.example:43170"),
        ("127.0.0.1:43170", "[::1]:43170"),
        ("10.0.0.1:43170", "127.0.0.1:43170"),
        ("127.0.0.1:0", "127.0.0.1:4317"),
    ],
)
def test_an_exporter_that_sends_elsewhere_is_fine(
    load: Load, listen: str, destination: str
) -> None:
    loaded = load(sends_to(listen, destination))
    assert (frozenset(), []) == (loaded.good.loops, loaded.lines)


CHAIN = """\
receivers:
  otlp/a: {protocols: {grpc: {endpoint: 'localhost:1'}}}
  otlp/b: {protocols: {grpc: {endpoint: 'localhost:2'}}}
exporters:
  otlp_grpc: {endpoint: 'localhost:2'}
  otlp_grpc/back: {endpoint: 'localhost:1'}
  debug:
connectors: {forward: }
service:
  pipelines:
    logs/a: {receivers: [otlp/a], exporters: [otlp_grpc]}
"""


def test_data_that_ends_elsewhere_is_no_loop_but_a_detour(load: Load) -> None:
    loaded = load(CHAIN + "    logs/b: {receivers: [otlp/b], exporters: [debug]}\n")
    assert loaded.good.loops == frozenset()
    assert [
        (
            "F:5:25: exporters.otlp_grpc.endpoint: sends to localhost:2, which is "
            "the receiver otlp/b "
            "of this collector (a forward connector does that without the network)"
        )
    ] == [line for line in loaded.warnings if "not used" not in line]


@pytest.mark.parametrize(
    "pipelines",
    [
        "    logs/b: {receivers: [otlp/b], exporters: [otlp_grpc/back]}\n",
        (
            "    logs/b: {receivers: [otlp/b], exporters: [forward]}\n"
            "    logs/c: {receivers: [forward], exporters: [debug, otlp_grpc/back]}\n"
        ),
    ],
    ids=["two hops", "over a connector"],
)
def test_a_loop_over_several_receivers_is_found(load: Load, pipelines: str) -> None:
    loaded = load(CHAIN + pipelines)
    assert ["otlp_grpc", "otlp_grpc/back"] == sorted(map(str, loaded.good.loops))


def test_signals_do_not_mix_in_a_loop(load: Load) -> None:
    loaded = load(CHAIN + "    traces: {receivers: [otlp/b], exporters: [otlp_grpc/back]}\n")
    assert loaded.good.loops == frozenset()
