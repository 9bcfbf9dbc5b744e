"""Node, cluster and continuum, what feeds them and what they end in."""

from __future__ import annotations

import http.client
import shutil
import signal
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families

from mlsysops_pipeline import Signal
from tests.interop.conftest import OtlpSink, Program, require
from tests.interop.levels.network import Machine, Router

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGS = Path(__file__).parents[4] / "shared" / "configs"
GRPC_PORT, HTTP_PORT, PAGE_PORT, OWN_PORT = 43170, 4318, 9999, 8888
NODE_EXPORTER_PORT, PROMETHEUS_PORT, VICTORIA_PORT, SINK_PORT = 9200, 9090, 8428, 4400
CLUSTER_ADDRESS, CONTINUUM_ADDRESS = "10.71.2.1", "10.72.2.1"
CLUSTER_NAME = "cluster-otel-collector.mlsysops-framework.svc.cluster.local"
CONTINUUM_NAME = "continuum.example"
QUEUED_BY_BYTES = ("--set", "exporters.otlp.sending_queue.queue_size=100000")
"""The Collector's thousand requests of a small application are full in twenty seconds."""
CONTINUUM = f"""
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "0.0.0.0:{GRPC_PORT}"}}
processors:
  attributes/add_labels:
    actions:
      - {{key: node_name, action: insert, value: "${{env:NODE_HOSTNAME}}"}}
exporters:
  prometheusremotewrite/prometheus: &writer
    endpoint: http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/write
    resource_to_telemetry_conversion: {{enabled: true}}
  prometheusremotewrite/victoria:
    <<: *writer
    endpoint: http://127.0.0.1:{VICTORIA_PORT}/api/v1/write
  otlp/all: {{endpoint: "127.0.0.1:{SINK_PORT}", tls: {{insecure: true}}}}
service:
  pipelines:
    metrics:
      receivers: [otlp]
      processors: [attributes/add_labels]
      exporters: [prometheusremotewrite/prometheus, prometheusremotewrite/victoria, otlp/all]
"""


class Level:
    """A machine with a collector that can be stopped, killed and started again."""

    def __init__(self, machine: Machine, config: str, folder: Path, *options: str) -> None:
        self.machine = machine
        self._options = options
        self._folder = folder
        self._config = folder / f"{machine.name}.yaml"
        self._config.write_text(config)
        self._starts = 0
        self.collector: Program | None = None

    def start(self) -> None:
        self._starts += 1
        environment = {"NODE_HOSTNAME": f"{self.machine.name}-0", "NODE_IP": "127.0.0.1"}
        command = [sys.executable, "-m", "mlsysops_pipeline.cli", "--config", str(self._config)]
        command += self._options
        log = self._folder / f"{self.machine.name}-{self._starts}.log"
        self.collector = self.machine.run(command, log, environment)

    def wait(self) -> None:
        """Until all of it listens."""
        program = self.running

        def is_ready() -> bool:
            assert program.process.poll() is None, "it ended early"
            return "Everything is ready" in program.text()

        program.wait_for(is_ready, "a collector that is ready")

    @property
    def running(self) -> Program:
        assert self.collector is not None
        return self.collector

    def stop(self) -> None:
        assert 0 == self.running.stop(), self.running.text()

    def kill(self) -> None:
        self.running.process.send_signal(signal.SIGKILL)
        self.running.process.wait()

    def numbers(self) -> dict[str, float]:
        """Its own metrics, added up over their labels but for those that name a component.

        What has not been counted yet is zero.
        """
        found: dict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(get(self.machine, OWN_PORT, "/metrics")):
            for sample in family.samples:
                component = sample.labels.get("exporter") or sample.labels.get("receiver") or ""
                name = f"{sample.name.removesuffix('_total')}/{component}"
                found[name] += sample.value
        return found


def get(machine: Machine, port: int, path: str) -> str:
    """What a server on a machine answers."""
    with machine.inside():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.connect()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert 200 == answer.status, text
        return text
    finally:
        connection.close()


class Load:
    """An application on the node: numbered points, each request repeated until it is taken.

    ``acknowledged``: points that the node has taken. ``repeated``: requests that it had not.
    ``first`` and ``next``: the numbers of the points, from and to. ``points``: in a request; each
    is of a series of its own.
    """

    def __init__(self, machine: Machine, *, points: int = 10, requests_per_s: float = 50) -> None:
        self._machine = machine
        self.points = points
        self._pause_s = 1 / requests_per_s
        self._ends = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._connection: http.client.HTTPConnection | None = None
        self.acknowledged = 0
        self.repeated = 0
        self.first = self.next = 0

    def start(self, first: int) -> None:
        self.first = self.next = first
        self._thread.start()

    def stop(self) -> None:
        """No request begins any more; the last one is repeated until it is taken."""
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        self._machine.enter()
        while not self._ends.is_set():
            body = self._request()
            while not self._post(body):
                self.repeated += 1
                time.sleep(0.1)  # the application's pause
            self.next += self.points
            self.acknowledged += self.points
            self._ends.wait(self._pause_s)
        if self._connection is not None:
            self._connection.close()

    def _request(self) -> bytes:
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        attribute = resource.resource.attributes.add(key="service.name")
        attribute.value.string_value = "load"
        metric = resource.scope_metrics.add().metrics.add(name="load_number")
        for slot in range(self.points):
            point = metric.gauge.data_points.add(time_unix_nano=time.time_ns())
            point.as_int = self.next + slot
            point.attributes.add(key="slot").value.int_value = slot  # a series of its own
        return bytes(request.SerializeToString())

    def _post(self, body: bytes) -> bool:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=5)
        try:
            headers = {"Content-Type": "application/x-protobuf"}
            self._connection.request("POST", "/v1/metrics", body, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            return False
        return 200 == answer.status


class Hierarchy:
    """Three levels, one above the other."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        machines = []
        for name in ("node", "cluster", "continuum"):
            machine = Machine(name)
            stack.callback(machine.remove)
            machines.append(machine)
        node, cluster, continuum = machines
        router = Router()
        stack.callback(router.remove)
        self.lower = router.connect(node, cluster, "10.71")
        self.upper = router.connect(cluster, continuum, "10.72")
        node.know({CLUSTER_NAME: CLUSTER_ADDRESS})
        cluster.know({CONTINUUM_NAME: CONTINUUM_ADDRESS})
        files = [(CONFIGS / f"mlsysops-{name}.yaml").read_text() for name in ("node", "cluster")]
        # What `EJABBERD_DOMAIN` is rendered to.
        files[1] = files[1].replace("127.0.0.1:43170", f"{CONTINUUM_NAME}:43170")
        # It has nothing to scrape here: what it hands on is what it was given.
        files[1] = files[1].replace("[otlp,prometheus]", "[otlp]")
        self.node = Level(node, files[0], folder, *QUEUED_BY_BYTES)
        self.cluster = Level(cluster, files[1], folder, *QUEUED_BY_BYTES)
        self.continuum = Level(continuum, CONTINUUM, folder)
        self.levels = (self.node, self.cluster, self.continuum)
        with continuum.inside():
            self.sink = OtlpSink(grpc_port=SINK_PORT)
        stack.callback(self.sink.stop)
        self._programs = [
            (node, NODE_EXPORTER_PORT, ["prometheus-node-exporter",
             f"--web.listen-address=127.0.0.1:{NODE_EXPORTER_PORT}", "--collector.disable-defaults",
             "--collector.loadavg", "--collector.uname"]),
            (continuum, PROMETHEUS_PORT, ["prometheus", f"--config.file={_empty(folder)}",
             f"--storage.tsdb.path={folder}/prometheus", "--web.enable-remote-write-receiver",
             f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}", "--log.level=warn"]),
            (continuum, VICTORIA_PORT, ["victoria-metrics", f"-storageDataPath={folder}/victoria",
             f"-httpListenAddr=127.0.0.1:{VICTORIA_PORT}", "-search.latencyOffset=0s",
             "-search.disableCache"]),
        ]  # fmt: skip
        for machine, port, command in self._programs:
            program = machine.run(command, folder / f"{command[0]}.log")
            stack.callback(program.stop)
            with machine.inside():
                program.wait_port(port)
        self._numbers = 0
        self._seen: dict[int, int] = {}
        self._read = 0

    def start(self) -> None:
        for level in self.levels:
            level.start()
        for level in self.levels:
            level.wait()

    @contextmanager
    def load(self, **options: Any) -> Iterator[Load]:
        """An application that sends in the meantime."""
        load = Load(self.node.machine, **options)
        load.start(self._numbers)
        try:
            yield load
        finally:
            load.stop()
            self._numbers = load.next

    def arrived(self) -> dict[int, int]:
        """How often each number has arrived at the top."""
        messages = self.sink.messages(Signal.METRICS)
        for message in messages[self._read :]:
            for resource in message.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == "load_number":
                            for point in metric.gauge.data_points:
                                self._seen[point.as_int] = self._seen.get(point.as_int, 0) + 1
        self._read = len(messages)
        return self._seen

    def missing(self, load: Load) -> int:
        """Numbers of a load that have not arrived."""
        seen = self.arrived()
        return sum(number not in seen for number in range(load.first, load.next))

    def duplicates(self, load: Load) -> int:
        """Numbers of a load that have arrived once more than they should."""
        seen = self.arrived()
        return sum(seen.get(number, 1) - 1 for number in range(load.first, load.next))


def _empty(folder: Path) -> Path:
    path = folder / "prometheus.yml"
    path.write_text("{}")
    return path


@contextmanager
def hierarchy(folder: Path) -> Iterator[Hierarchy]:
    """Three levels that run, with all that is around them."""
    for program in ("prometheus", "victoria-metrics", "prometheus-node-exporter"):
        require(shutil.which(program), program)
    if not CONFIGS.is_dir():
        pytest.skip(f"{CONFIGS} is not here")
    with ExitStack() as stack:
        made = Hierarchy(folder, stack)
        try:
            made.start()
            yield made
        finally:
            for level in made.levels:
                if level.collector is not None and level.collector.process.poll() is None:
                    level.collector.process.kill()
                    level.collector.process.wait()
