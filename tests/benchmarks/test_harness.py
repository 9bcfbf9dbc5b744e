"""The measuring programs themselves: they speak the protocols to peers that are not ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hpack import Encoder
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from mlsysops_pipeline.pdata.signal import Signal

# The wheel has no benchmarks; there these tests have nothing to test.
pytest.importorskip("benchmarks.load")

from benchmarks import http2, measure, neighbours, report, scenarios, workload
from benchmarks.client_grpc import GrpcClient
from benchmarks.load import Generator, Part, Plan, Result
from benchmarks.process import Helper, cpu_s
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def plan(transport: str, port: int, items: int, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "transport": transport, "port": port, "signal": "metrics", "items": items, "points": 10,
        "connections": 2,
    }  # fmt: skip
    return Plan(**(values | changes))


def run(plan: Plan, requests: list[bytes], part: Part) -> Result:
    generator = Generator(plan, requests)
    generator.connect()
    try:
        return generator.run(part)
    finally:
        generator.close()


def points(body: bytes) -> int:
    request = ExportMetricsServiceRequest.FromString(body)
    return sum(
        len(metric.sum.data_points)
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
    )


class Received:
    """What a peer got, counted by the official classes."""

    def __init__(self) -> None:
        self.requests = 0
        self.points = 0
        self._lock = threading.Lock()

    def take(self, body: bytes) -> None:
        number = points(body)
        with self._lock:
            self.requests += 1
            self.points += number


@contextmanager
def grpc_peer(received: Received, *, refuse: bool = False) -> Iterator[int]:
    def export(body: bytes, context: Any) -> bytes:
        if refuse:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        received.take(body)
        return b""

    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(Signal.METRICS.service, {"Export": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


@contextmanager
def http_peer(received: Received) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            received.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.path == Signal.METRICS.url_path else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

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


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("items", [1, 2000])  # the latter takes more than one window
def test_what_the_generator_counts_as_acknowledged_is_what_a_peer_got(
    transport: str, items: int
) -> None:
    received = Received()
    peer = grpc_peer if transport == "grpc" else http_peer
    requests = Workload(Signal.METRICS, items, 10).requests()[:8]
    with peer(received) as port:
        result = run(plan(transport, port, items), requests, Part(0, 0.1, 6))
    assert result.sent == result.acknowledged == received.requests > 1
    assert result.acknowledged * items == received.points
    assert 0 == result.refused
    assert result.acknowledged == len(result.latencies_s)


@pytest.mark.slow
def test_the_generator_keeps_to_its_rate() -> None:
    received = Received()
    with grpc_peer(received) as port:
        result = run(plan("grpc", port, 1), [b""], Part(100, 0.3, 6))
    assert 30 == result.sent == result.acknowledged


@pytest.mark.slow
def test_what_a_peer_refuses_is_not_acknowledged() -> None:
    with grpc_peer(Received(), refuse=True) as port:
        result = run(plan("grpc", port, 1), [b""], Part(0, 0.05, 6))
    assert 0 == result.acknowledged
    assert result.sent == result.refused > 0
    assert [] == result.latencies_s


@pytest.mark.slow
def test_what_is_due_while_too_many_are_under_way_is_given_up_where_that_is_wanted() -> None:
    with grpc_peer(Received()) as port:
        result = run(plan("grpc", port, 1), [b""], Part(50_000, 0.2, 2, gives_up=True))
    assert 10_000 == result.sent + result.given_up
    assert result.given_up > result.sent == result.acknowledged > 0
    assert result.elapsed_s < 2


def test_an_answer_before_the_request_has_ended_is_one_answer() -> None:
    client = GrpcClient("host", "/path", [bytes(100_000)])
    stream = client.request(0)
    block = Encoder().encode([(":status", "200"), ("grpc-status", "14")])
    flags = http2.END_HEADERS | http2.END_STREAM
    answer = http2.frame(http2.HEADERS, flags, stream, block)
    answer += http2.frame(http2.RST_STREAM, 0, stream, bytes(4))
    assert [(stream, False)] == client.receive(answer)
    client.outgoing.clear()
    client.receive(http2.window_update(0, 1 << 20))
    assert [] == client.outgoing  # the rest is not wanted


@pytest.mark.slow
def test_the_sink_counts_what_a_grpc_client_sends() -> None:
    sink = Helper("benchmarks.sink", None)
    try:
        port = sink.hear()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(Signal.METRICS.method)
            large = Workload(Signal.METRICS, 50_000, 10).request(0)
            assert len(large) > 4 * 1024 * 1024
            for body in (*Workload(Signal.METRICS, 7, 1).requests()[:5], large, b""):
                assert b"" == call(body, timeout=20)
            call = channel.unary_unary(Signal.LOGS.method)
            call(Workload(Signal.LOGS, 3).requests()[0], timeout=5)
        sink.tell()
        counts = sink.hear()
    finally:
        sink.stop()
    assert (35 + 50_000, 3, 0) == tuple(counts[name] for name in ("metrics", "logs", "traces"))
    assert 8 == counts["requests"]
    assert counts["cpu_s"] > 0


def test_requests_differ_and_have_the_items_that_they_should(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload, "_DISTINCT_MAX", 10)
    requests = Workload(Signal.METRICS, 20, 10).requests()
    assert len(requests) == len(set(requests))
    assert {20} == set(map(points, requests))
    assert requests[:3] == Workload(Signal.METRICS, 20, 10).requests()[:3]


def test_a_header_block_means_something_else_once_a_table_has_changed() -> None:
    encoder, reader = Encoder(), http2.HeaderReader("grpc-status")
    first = encoder.encode([("grpc-status", "0")])
    indexed = encoder.encode([("grpc-status", "0")])
    assert [("0",), ("0",), ("0",)] == [
        reader.read(first),
        reader.read(indexed),
        reader.read(indexed),
    ]
    other = encoder.encode([("grpc-status", "14")])
    assert ("14",) == reader.read(other)
    # The newest entry of the table has the number that the older one had.
    assert ("14",) == reader.read(indexed)


def test_frames_are_cut_wherever_the_stream_is_torn() -> None:
    stream = http2.frame(0, 1, 3, b"abc") + http2.settings({4: 9}) + http2.window_update(0, 5)
    expected = list(http2.Frames().feed(stream))
    frames = http2.Frames()
    cut = [one for place in range(len(stream)) for one in frames.feed(stream[place : place + 1])]
    assert expected == cut
    assert {4: 9} == http2.read_settings(expected[1][3])


def test_a_request_waits_for_the_windows_of_its_peer() -> None:
    client = GrpcClient("host", "/path", [bytes(100_000)])
    client.outgoing.clear()
    stream = client.request(0)
    frames = list(http2.Frames().feed(b"".join(client.outgoing)))
    client.outgoing.clear()
    sent = sum(len(payload) for kind, _, _, payload in frames if kind == http2.DATA)
    assert http2.DEFAULT_WINDOW == sent
    client.receive(http2.window_update(0, 1 << 20))
    assert [] == client.outgoing
    client.receive(http2.window_update(stream, 1 << 20))
    frames = list(http2.Frames().feed(b"".join(client.outgoing)))
    assert 100_005 == sent + sum(len(payload) for _, _, _, payload in frames)
    assert frames[-1][1] & http2.END_STREAM


def test_every_scenario_file_is_read_and_every_name_is_its_own() -> None:
    found = scenarios.read()
    names = [one.name for one in found]
    assert len(names) == len(set(names)) > 20
    assert all(one.setup.config is None or one.setup.config.is_file() for one in found)


def test_an_unknown_key_of_a_scenario_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("name: odd\nidle: true\nspeed: 3\n")
    with pytest.raises(ValueError, match="unknown keys speed"):
        scenarios.read(tmp_path)


def test_a_scenario_has_ratios_or_figures_as_goals(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "name: one\nconfig: forward.yaml\ntransports: [grpc]\nconnections: 1\nin_flight: 2\n"
        "workloads: [{signal: metrics, points: 1}]\nsizes: [{items: 2, rate: 9}, {items: 5}]\n"
        "pipelines: [1, 3]\nmode: saturation\nfigures: [x1 5]\n"
        "at_most: {x1 2 1: 0.5, x1 2 3: {ns_per_item: 1500}}\n"
        "at_least: {x1 2 3: {goodput_share: 0.9}}\n"
    )
    found = {one.name: one for one in scenarios.read(tmp_path)}
    ratio = found["one grpc metrics x1 2 1 pipelines"]
    figure = found["one grpc metrics x1 2 3 pipelines"]
    assert 0.5 == ratio.goals.ratio
    assert ({"ns_per_item": 1500}, {"goodput_share": 0.9}) == (
        figure.goals.at_most,
        figure.goals.at_least,
    )
    assert isinstance(figure, scenarios.Load)
    assert (3.0, 3.0) == (figure.arrival.least, figure.arrival.most)
    assert 4 == len(scenarios.read(tmp_path, figures=True))
    assert not found["one grpc metrics x1 5 1 pipelines"].goals


def test_a_result_is_the_median_and_void_if_one_run_is() -> None:
    runs = [
        {
            "peer": "a",
            "ns_per_item": value,
            "exact": value != 3,
            "surplus_items": -5 if value == 3 else 0,
            "remarks": remark,
        }
        for value, remark in ((1.0, ""), (3.0, "late"), (8.0, ""))
    ]
    result = report.median(runs)
    assert (3.0, 7.0, 1.0) == tuple(
        result[f"ns_per_item{ending}"] for ending in ("", "_spread", "_min")
    )
    assert (False, -5, "late") == (result["exact"], result["surplus_items"], result["remarks"])


def test_the_pace_of_the_machine_is_said() -> None:
    runs = [[10.0, 20.0, 30.0], [20.0, 20.0, 20.0]]
    results = [report.median([{"reference_ms": one} for one in some]) for some in runs]
    (line,) = report.pace(results)
    assert "10.0 ms at best, 20.0 ms usually: figures are some 2.0 times" in line
    results[0]["others_busy"], results[1]["others_busy"] = 0.1, 0.7
    _, line = report.pace(results)
    assert "other processes used the machine in 1 of 2 scenarios, up to 0.7 of a core" in line


def test_who_was_the_bottleneck_is_said() -> None:
    fine: dict[str, float] = {"late": 0, "sent": 100}
    late: dict[str, float] = {"late": 50, "sent": 100}

    def said(result: dict[str, float], load: float, collector: float) -> str:
        return measure._remarks(measure._bottleneck(result, load, collector))

    assert "" == said(fine, 0.5, 0.5)
    assert "load generator and sink" in said(fine, 0.95, 0.5)
    assert "the collector was saturated" == said(late, 0.5, 0.95)
    assert "requests were late" in said(late, 0.5, 0.5)


@pytest.mark.slow
def test_who_else_uses_the_machine_is_found_out() -> None:
    # Not a child of this process: its parent ends at once.
    outer = (
        "import subprocess, sys; print(subprocess.Popen("
        "[sys.executable, '-c', 'while True: pass'], "
        "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    )
    started = subprocess.run(
        [sys.executable, "-c", outer], capture_output=True, check=True, text=True
    )
    try:
        look = neighbours.Neighbours()
        busy, names = 0.0, ""
        wait_until_s = time.monotonic() + 5
        while "python" not in names and time.monotonic() < wait_until_s:
            busy, names = look.busy()
    finally:
        os.kill(int(started.stdout), signal.SIGKILL)
    assert "python" in names
    assert "" == neighbours.remark(0.1, names)
    assert f"took 0.9 of a core ({names})" in neighbours.remark(0.9, names)
    assert busy >= 0


def test_a_file_of_results_says_what_was_run_where(tmp_path: Path) -> None:
    path = tmp_path / "results" / "one.json"
    report.write(path, report.document([{"ns_per_item": 1}], {"go": "v1"}, {"rotel": "make peers"}))
    document = json.loads(path.read_text())
    assert {"time", "commit", "command", "machine", "peers", "results"} == document.keys()
    assert {"go": "v1", "rotel": "absent (make peers)"} == document["peers"]
    assert document["machine"]["python"]


def test_the_cpu_time_of_a_process_that_is_gone_is_zero() -> None:
    assert abs(time.process_time() - cpu_s(os.getpid())) < 0.1
    assert 0.0 == cpu_s(2**22 - 1)


def test_requests_of_a_steady_workload_have_series_of_their_own_and_a_mark_for_the_time() -> None:
    steady = Workload(Signal.METRICS, 20, 10, steady=True)
    series = set()
    for request in steady.requests()[:3]:
        message = ExportMetricsServiceRequest.FromString(request)
        assert 20 == request.count(workload.TIME_MARK)
        resource = message.resource_metrics[0].resource.SerializeToString()
        for metric in message.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.sum.data_points:
                series.add((resource, metric.name, str(point.attributes)))

    assert 60 == len(series)
    assert steady.requests()[0] == steady.requests()[0]
