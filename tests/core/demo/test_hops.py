"""What the demo reads from the collectors' self-metrics, and how it finds ports."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline import cli
from mlsysops_pipeline.demo import hops
from mlsysops_pipeline.demo.hops import (
    DROPPED,
    PLANS,
    RECEIVED,
    REFUSED,
    SENT,
    Ports,
    collector_command,
    free_ports,
    hop_counts,
    is_taken,
    samples,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = """\
# HELP otelcol_receiver_accepted_spans Spans
# TYPE otelcol_receiver_accepted_spans counter
otelcol_receiver_accepted_spans{receiver="otlp",transport="grpc"} 40
otelcol_receiver_accepted_spans{receiver="otlp",transport="http"} 2
otelcol_receiver_refused_log_records{receiver="otlp",transport="grpc"} 3
otelcol_exporter_sent_metric_points{exporter="otlp_grpc"} 1.5e1
mlsysops_exporter_dropped_items{exporter="otlp_grpc",data_type="traces",reason="permanent"} 4
mlsysops_pipeline_dropped_items{pipeline="traces/two",reason="no_destination"} 5
otelcol_exporter_sent_metric_points{exporter="prometheus"} 1000
otelcol_exporter_sent_metric_points{exporter="prometheus_remote_write"} 1000
mlsysops_exporter_dropped_items{exporter="prometheus",data_type="metrics",reason="cardinality"} 1000
otelcol_process_uptime 12.5
otelcol_exporter_sent_spans{exporter="otlp_grpc"} NaN
"""


def test_a_page_becomes_the_numbers_of_the_table() -> None:
    counts = hop_counts(PAGE)
    assert {"traces": 42} == dict(counts[RECEIVED])
    assert {"logs": 3} == dict(counts[REFUSED])
    assert {"metrics": 15} == dict(counts[SENT])
    assert {"traces": 9} == dict(counts[DROPPED])  # nothing of what lies beside the way


def test_labels_may_hold_anything() -> None:
    page = 'a{x="1, y=\\"2\\"",z="}"} 3 1700000000000\n'
    assert [("a", {"x": '1, y=\\"2\\"', "z": "}"}, 3.0)] == list(samples(page))


@pytest.mark.parametrize("line", ["", "name", "1name 5", "name{ 5", "name five", "name NaN"])
def test_lines_that_are_none_are_left_out(line: str) -> None:
    assert [] == list(samples(line))


@given(st.text())
def test_no_page_is_too_strange(page: str) -> None:
    hop_counts(page)


def test_a_hop_has_settled_when_nothing_is_inside() -> None:
    counts = hop_counts(PAGE)
    assert settled(counts, "logs")
    assert settled(counts, "metrics")
    assert not settled(counts, "traces")


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(10)
    assert 10 == len(set(ports))
    assert not any(map(is_taken, ports))


def test_a_port_with_a_listener_is_taken() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert is_taken(port)
        (other,) = free_ports(1)
        assert [port] == Ports(port, other, other).taken()
        assert [port] == Ports(other, other, other, port).taken()


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_the_command_of_a_hop_is_one_that_the_command_line_knows(plan: hops.Plan) -> None:
    command = collector_command(plan, Ports(1, 2, 3, 5), 4, "http://x/w")
    arguments = command[command.index("run") + 1 :]
    options = cli._parser("run").parse_args(arguments)
    assert (plan.mode, plan.name) == (options.mode, options.level)
    assert ("1", "2", "3") == (
        options.otlp_grpc_port,
        options.otlp_http_port,
        options.telemetry_port,
    )
    assert "127.0.0.1:4" == options.export_to
    assert ("5", "http://x/w") == (options.prometheus_port, options.remote_write)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_a_hop_without_a_page_never_takes_the_default_port(plan: hops.Plan) -> None:
    command = collector_command(plan, Ports(1, 2, 3), 4)
    assert "0" == command[command.index("--prometheus-port") + 1]
    assert "--remote-write" not in command


@contextmanager
def page_server(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_page_is_read_from_its_port() -> None:
    with page_server(200, PAGE.encode()) as port:
        assert hop_counts(PAGE) == await hops.scrape(port)


async def test_no_page_is_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "_SCRAPE_TIMEOUT_S", 0.05)
    with page_server(500, b"") as port:
        assert await hops.scrape(port) is None
    assert await hops.scrape(free_ports(1)[0]) is None
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert await hops.scrape(silent.getsockname()[1]) is None
