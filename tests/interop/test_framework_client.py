"""The client library of the MLSysOps framework, `mlstelemetry`, with the framework's own node file.

The file runs as it is but for ports that are free here, and a second file adds what an operator
adds for the library's listeners: `otlp/agentmetrics` and `otlp/agentlogs`. One run, many looks:
programs push and listen, and what they pushed is looked for on the page, at the next level and in
what the listeners heard.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlsysops_pipeline import Signal
from tests.interop.conftest import (
    PYTHON_PEERS,
    OtlpSink,
    Program,
    free_port,
    require,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = "edge-7"
TURNS = 4
NODE_FILE = Path(__file__).parents[3] / "shared" / "configs" / "mlsysops-node.yaml"
CLIENT = Path(__file__).parent / "python" / "framework_client.py"
README = Path(__file__).parents[2] / "configs" / "README.md"
NODE_EXPORTER = """\
# HELP node_load1 1m load average.
# TYPE node_load1 gauge
node_load1 0.25
# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{cpu="0",mode="idle"} 1234.5
"""
COMMON = {
    "instance": "till-1",
    "job": "shop",
    "node_name": NODE,
    "service_hostname": socket.gethostname(),
    "service_instance_id": "till-1",
    "service_name": "shop",
}
"""Labels of everything that the client pushes."""


@dataclass
class Framework:
    """A node as the framework has it."""

    page: dict[str, list[Any]]
    """The samples of the page by name, as `prometheus_client` reads them."""
    read: dict[str, Any]
    """The same, as the library gave it to a program."""
    sink: OtlpSink
    listener: Program

    def heard(self, kind: str) -> list[dict[str, Any]]:
        """What the listeners were told: `metric` or `log`."""
        return heard(self.listener, kind)

    def points(self) -> dict[str, list[Any]]:
        """The number points that arrived at the next level, by metric, with their attributes."""
        found: dict[str, list[Any]] = {}
        for message in self.sink.messages(Signal.METRICS):
            for resource in message.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        kind = metric.WhichOneof("data")
                        found.setdefault(metric.name, []).extend(getattr(metric, kind).data_points)
        return found


def run_client(environment: dict[str, str], *arguments: str) -> str:
    """Run a program that uses the library; what it said."""
    done = subprocess.run(
        [str(PYTHON_PEERS), str(CLIENT), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def heard(listener: Program, kind: str) -> list[dict[str, Any]]:
    lines = [line for line in listener.text().splitlines() if line.startswith("{")]
    return [found for line in lines if kind in (found := json.loads(line))]


def samples(url: str) -> dict[str, list[Any]]:
    """The samples of a page by name."""
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  of this machine
        text = response.read().decode()
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


@contextmanager
def node_exporter() -> Iterator[int]:
    """Something to scrape, at this port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(NODE_EXPORTER.encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def node_file(grpc: int, page: int, next_hop: int, target: int) -> str:
    """The framework's file for a node, at free ports."""
    text = NODE_FILE.read_text()
    for written, here in (
        ("0.0.0.0:43170", f"127.0.0.1:{grpc}"),
        ("0.0.0.0:9999", f"127.0.0.1:{page}"),
        (
            "cluster-otel-collector.mlsysops-framework.svc.cluster.local:43170",
            f"127.0.0.1:{next_hop}",
        ),
        (":9200", f":{target}"),
        ("scrape_interval: 10s", "scrape_interval: 1s"),
        ("scrape_timeout: 10s", "scrape_timeout: 1s"),
    ):
        assert written in text
        text = text.replace(written, here)
    return text.replace(
        "      http:\n", f"      http:\n        endpoint: 127.0.0.1:{free_port()}\n"
    )


def listeners(metrics: int, logs: int) -> str:
    """What the README adds to the node's file, at other ports."""
    block = README.read_text().partition("<!-- listeners:")[2].partition("```yaml\n")[2]
    text = block.partition("```")[0]
    assert "44318" in text
    return text.replace("44318", str(metrics)).replace("24317", str(logs))


@pytest.fixture(scope="module")
def framework(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    """A node after a program has pushed everything that it can push."""
    require(PYTHON_PEERS.is_file(), f"{PYTHON_PEERS} (.ci/install-peers)")
    if not NODE_FILE.is_file():
        pytest.skip(f"{NODE_FILE} is not here")
    folder = tmp_path_factory.mktemp("framework")
    grpc, page, metrics, logs = (free_port() for _ in range(4))
    environment = {
        "NODE_HOSTNAME": NODE,
        "NODE_IP": "127.0.0.1",
        "TELEMETRY_ENDPOINT": f"127.0.0.1:{grpc}",
        "TELEMETRY_TRACE_ENABLED": "on",
        "LOCAL_OTEL_ENDPOINT": f"http://127.0.0.1:{page}/metrics",
        "METRIC_LISTENER_PORT": str(metrics),
        "LOG_LISTENER_PORT": str(logs),
        "PYTHONUNBUFFERED": "1",
    }
    with ExitStack() as stack:
        sink = OtlpSink()
        stack.callback(sink.stop)
        target = stack.enter_context(node_exporter())
        files = [folder / "node.yaml", folder / "listeners.yaml"]
        files[0].write_text(node_file(grpc, page, sink.grpc_port, target))
        files[1].write_text(listeners(metrics, logs))
        command = [sys.executable, "-m", "mlsysops_pipeline.cli"]
        command += [part for path in files for part in ("--config", str(path))]
        command += ["--set", "service.telemetry.metrics.level=none"]
        listening = [str(PYTHON_PEERS), str(CLIENT), "listen", "shop"]
        listener = Program(listening, folder / "listener.log", environment)
        stack.callback(listener.process.wait)
        stack.callback(listener.process.kill)  # it has no way to stop listening
        collector = Program(command, folder / "collector.log", environment)
        stack.enter_context(running(collector, grpc, page))
        listener.wait_for(lambda: "listening" in listener.text(), "its listeners")
        run_client(environment, "push", str(TURNS))
        collector.wait_for(lambda: len(sink.items(Signal.LOGS)) > TURNS, "the logs")
        collector.wait_for(lambda: len(sink.items(Signal.TRACES)) > TURNS + 1, "the spans")
        listener.wait_for(lambda: len(heard(listener, "log")) > TURNS, "the logs")
        url = environment["LOCAL_OTEL_ENDPOINT"]
        collector.wait_for(lambda: "node_load1" in samples(url), "a scrape")
        read = json.loads(run_client(environment, "read"))
        yield Framework(samples(url), read, sink, listener)


def test_every_kind_of_metric_is_on_the_page_under_the_names_that_the_framework_expects(
    framework: Framework,
) -> None:
    page = framework.page

    def of(name: str) -> dict[str, float]:
        """Values by the label that tells the points apart; the others are what they have to be."""
        found = {}
        for sample in page[name]:
            labels = dict(sample.labels)
            labels.pop("otel_scope_name")
            labels.pop("otel_scope_version", None)
            assert COMMON == {key: labels.pop(key) for key in COMMON}
            assert sample.timestamp is not None
            found[",".join(labels.values())] = sample.value
        return found

    assert {"p0": 4.0, "p1": 3.0} == of("test_received_counter_total")
    # The library's "counter" is a gauge of the last value: it says so to the SDK.
    assert {"p0": 5.5, "p1": 5.5} == of("test_plain_counter")
    assert {"p0": 1.0, "p1": 0.75} == of("test_gauge")
    assert {"a": 4.0} == of("test_level")
    assert {"in": 3.0} == of("test_sizes_bytes_count")
    assert {"in": 70_904.0} == of("test_sizes_bytes_sum")
    buckets = of("test_sizes_bytes_bucket")
    assert (1.0, 2.0, 3.0) == tuple(buckets[f"in,{le}"] for le in ("5", "1000", "+Inf"))
    traced = page["test_traced"][0]
    assert (1.5, "p2") == (traced.value, traced.labels["place"])
    assert traced.labels["traceparent"].startswith("00-")


def test_a_name_of_the_node_that_is_there_already_stays(framework: Framework) -> None:
    below = framework.page["test_from_below"][0]

    assert "far-edge-3" == below.labels["node_name"]


def test_what_is_scraped_is_named_after_the_node(framework: Framework) -> None:
    page = framework.page
    load = page["node_load1"][0]
    assert 0.25 == load.value
    assert f"{NODE}_node_exporter" == load.labels["job"]
    assert load.labels["instance"].startswith("127.0.0.1:")
    assert NODE == load.labels["node_name"]
    assert {"cpu": "0", "mode": "idle"}.items() <= page["node_cpu_seconds_total"][0].labels.items()
    assert 1.0 == page["up"][0].value


def test_the_next_level_gets_all_of_it_with_the_name_of_the_node(framework: Framework) -> None:
    points = framework.points()

    counted = [point.as_int for point in points["test_received_counter"]]
    assert list(range(1, TURNS + 1)) == counted
    assert [turn / 4 for turn in range(1, TURNS + 1)] == [
        point.as_double for point in points["test_gauge"]
    ]
    for name, found in points.items():
        names = {
            attribute.value.string_value
            for point in found
            for attribute in point.attributes
            if attribute.key == "node_name"
        }
        assert {"far-edge-3" if name == "test_from_below" else NODE} == names, name
    logs = [
        (record.body.string_value, record.severity_text)
        for message in framework.sink.messages(Signal.LOGS)
        for resource in message.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    messages = [(f"message {turn}", "INFO") for turn in range(1, TURNS + 1)]
    assert [*messages, ("it failed", "ERROR")] == logs
    spans = [
        span.name
        for message in framework.sink.messages(Signal.TRACES)
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    # One for every log record, and one for the traced metric; the listener has its own.
    assert TURNS + 2 == spans.count("till-1")
    assert {"till-1", "shop"} >= set(spans)


def test_the_library_reads_the_page(framework: Framework) -> None:
    said = framework.read

    assert [0.75] == [found["value"] for found in said["one"]]
    assert [NODE] == [found["labels"]["node_name"] for found in said["one"]]
    assert {"target_info", "test_gauge", "test_sizes_bytes_bucket"} <= said["page"].keys()


def test_the_listeners_of_the_library_hear_everything(framework: Framework) -> None:
    heard = framework.heard("metric")

    gauges = [(one["value"], one["labels"]) for one in heard if one["metric"] == "test_gauge"]
    hostname = {"service.hostname": socket.gethostname(), "node_name": NODE}
    assert [
        (turn / 4, {"place": f"p{turn % 2}", **hostname}) for turn in range(1, TURNS + 1)
    ] == gauges
    assert {"test_received_counter", "test.level", "test.sizes"} <= {one["metric"] for one in heard}
    assert {"shop"} == {one["service"] for one in heard if one["metric"].startswith("test")}
    assert [f"message {turn}" for turn in range(1, TURNS + 1)] + ["it failed"] == [
        one["log"] for one in framework.heard("log")
    ]
