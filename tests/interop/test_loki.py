"""VictoriaLogs, which speaks Loki's push API and OTLP, takes what the loki exporter sends."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.exporters.loki.otlp import payload, record
from tests.interop.conftest import Collector, Program, free_port, require, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlsysops_pipeline.pdata.payload import Payload

PROGRAM = Path(__file__).parent / "go" / "victoria-logs"
RECORDS = 500
COLLECTOR = """
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:$GRPC$"}
      http: {endpoint: "127.0.0.1:$HTTP$"}
exporters:
  loki:
    endpoint: "URL"
    max_batch_size_bytes: 20000
    retry_on_failure: {initial_interval: 50ms, max_interval: 500ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [otlp], exporters: [loki]}
"""


@pytest.fixture
def victoria_logs(tmp_path: Path) -> Iterator[int]:
    """The port of a running VictoriaLogs."""
    require(PROGRAM.is_file(), "VictoriaLogs (.ci/install-peers)")
    port = free_port()
    command = [
        str(PROGRAM),
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={tmp_path / 'logs'}",
        "-loki.disableMessageParsing",
    ]
    with running(Program(command, tmp_path / "victoria-logs.log"), port):
        yield port


def stored(port: int) -> list[dict[str, Any]]:
    """Everything, by time."""
    url = (
        f"http://127.0.0.1:{port}/select/logsql/query?{urlencode({'query': '* | sort by (_time)'})}"
    )
    with urllib.request.urlopen(url, timeout=10) as response:
        return [json.loads(line) for line in response.read().splitlines()]


def sent(at_ns: int) -> Payload:
    records = []
    for number in range(RECORDS):
        one = record(f"line {number} ünï", at=at_ns + number * 1_000_000, severity=9 + number % 3)
        one.attributes.add(key="request.id").value.string_value = f"r{number}"
        one.trace_id = (number + 1).to_bytes(16)
        records.append(one)
    return payload(*records, resource={"service.name": "shop", "host.name": "nöde"})


@pytest.mark.parametrize("path", ["/insert/loki/api/v1/push", "/insert/opentelemetry/v1/logs"])
def test_every_record_is_stored_with_its_labels_and_metadata(
    path: str, victoria_logs: int, tmp_path: Path
) -> None:
    config = COLLECTOR.replace("URL", f"http://127.0.0.1:{victoria_logs}{path}")
    collector = Collector(tmp_path, config)
    with running(collector, collector.http_port):
        request = urllib.request.Request(
            f"http://127.0.0.1:{collector.http_port}/v1/logs",
            sent(time.time_ns() - 3_600_000_000_000).joined(),
            {"Content-Type": "application/x-protobuf"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  ours
            assert 200 == response.status
        collector.wait_for(lambda: len(stored(victoria_logs)) == RECORDS, "all records")

    found = stored(victoria_logs)
    assert [f"line {number} ünï" for number in range(RECORDS)] == [one["_msg"] for one in found]
    native = "loki" in path
    assert "nöde" == found[0]["host_name" if native else "host.name"]
    assert "r7" == found[7]["request_id" if native else "request.id"]
    assert (8).to_bytes(16).hex() == found[7]["trace_id"]
    if native:
        assert (
            '{exporter="OTLP",job="shop",level="INFO2",service_name="shop"}' == found[1]["_stream"]
        )
    assert "WARN" not in collector.text()
