"""The measuring programs themselves: they speak the protocols to peers that are not ours."""

from __future__ import annotations

import json
import threading
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

from benchmarks import http2, measure, report, scenarios, workload
from benchmarks.client_grpc import GrpcClient
from benchmarks.load import Generator, Plan
from benchmarks.process import Helper, cpu_s
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def plan(transport: str, port: int, items: int, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "transport": transport, "port": port, "signal": "metrics", "items": items, "points": 10,
        "rate": 0, "seconds": 0.1, "warm_up_s": 0, "connections": 2, "in_flight": 6,
    }  # fmt: skip
    return Plan(**(values | changes))


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
        generator = Generator(plan(transport, port, items), requests)
        result = generator.run(0.1)
        generator.close()
    assert result.sent == result.acknowledged == received.requests > 1
    assert result.acknowledged * items == received.points
    assert 0 == result.refused
    assert result.acknowledged == len(result.latencies_s)


@pytest.mark.slow
def test_the_generator_keeps_to_its_rate() -> None:
    received = Received()
    with grpc_peer(received) as port:
        generator = Generator(plan("grpc", port, 1, rate=100), [b""])
        result = generator.run(0.3)
        generator.close()
    assert 30 == result.sent == result.acknowledged


@pytest.mark.slow
def test_what_a_peer_refuses_is_not_acknowledged() -> None:
    with grpc_peer(Received(), refuse=True) as port:
        generator = Generator(plan("grpc", port, 1), [b""])
        result = generator.run(0.05)
        generator.close()
    assert 0 == result.acknowledged
    assert result.sent == result.refused > 0


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
    assert "10.0 ms at best, 20.0 ms usually: figures are some 2.0 times" in report.pace(results)


def test_who_was_the_bottleneck_is_said() -> None:
    fine: dict[str, float] = {"late": 0, "sent": 100}
    assert "" == measure._remarks(fine, 0.5, 0.5)
    assert "load generator and sink" in measure._remarks(fine, 0.95, 0.5)
    assert "the collector was saturated" == measure._remarks({"late": 50, "sent": 100}, 0.5, 0.95)
    assert "requests were late" in measure._remarks({"late": 50, "sent": 100}, 0.5, 0.5)


def test_a_file_of_results_says_what_was_run_where(tmp_path: Path) -> None:
    path = tmp_path / "results" / "one.json"
    report.write(path, report.document([{"ns_per_item": 1}], {"go": "v1"}, ["rotel"]))
    document = json.loads(path.read_text())
    assert {"time", "commit", "command", "machine", "peers", "results"} == document.keys()
    assert {"go": "v1", "rotel": "absent"} == document["peers"]
    assert document["machine"]["python"]


def test_the_cpu_time_of_a_process_that_is_gone_is_zero() -> None:
    import os
    import time

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
