"""The official SDKs send, we hand on, a server with the official classes compares every item."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline import Signal
from tests.interop.conftest import HTTP_OUT, Collector, OtlpSink, pass_through, running
from tests.interop.items import REQUESTS, difference, items

if TYPE_CHECKING:
    from collections.abc import Iterator

ITEMS = 40
_SEND = Path(__file__).parent / "python" / "send.py"


def send_from_python(
    kind: str, endpoint: str, *, compression: str = "none", python: str = sys.executable
) -> dict[Signal, list[bytes]]:
    """Run the SDK program and return the items that it got acknowledged."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    if compression != "none":
        environment["OTEL_EXPORTER_OTLP_COMPRESSION"] = compression
    done = subprocess.run(
        [python, str(_SEND), kind, str(ITEMS)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    sent = {}
    for name, batches in json.loads(done.stdout).items():
        signal = Signal(name)
        messages = [REQUESTS[signal].FromString(base64.b64decode(batch)) for batch in batches]
        sent[signal] = [one for message in messages for one in items(signal, message)]
    assert all(len(found) >= ITEMS for found in sent.values())
    return sent


def assert_arrived(sent: dict[Signal, list[bytes]], sink: OtlpSink) -> None:
    for signal in Signal:
        assert "" == difference(signal, sent[signal], sink.items(signal)), str(signal)


# OG-, OH-: what every client library does.
@pytest.mark.parametrize(
    ("kind", "compression"),
    [("grpc", "none"), ("grpc", "gzip"), ("http", "none"), ("http", "gzip"), ("http", "deflate")],
)
def test_every_value_of_the_python_sdk_arrives_as_it_was(
    kind: str, compression: str, collector: Collector, sink: OtlpSink
) -> None:
    port = collector.grpc_port if kind == "grpc" else collector.http_port
    sent = send_from_python(kind, f"http://127.0.0.1:{port}", compression=compression)
    assert 0 == collector.stop(), collector.text()
    assert_arrived(sent, sink)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_every_value_that_the_python_sdk_sends_as_json_arrives_as_it_was(
    compression: str, collector: Collector, sink: OtlpSink, python_peers: Path
) -> None:
    endpoint = f"http://127.0.0.1:{collector.http_port}"
    sent = send_from_python("json", endpoint, compression=compression, python=str(python_peers))
    assert 0 == collector.stop(), collector.text()
    assert_arrived(sent, sink)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_what_leaves_over_http_is_what_came_in_over_grpc(
    compression: str, sink: OtlpSink, tmp_path: Path
) -> None:
    out = HTTP_OUT.replace("}", f", compression: {compression}}}")
    program = Collector(tmp_path, pass_through(out), sink=sink)
    with running(program, program.grpc_port, program.http_port):
        sent = send_from_python("grpc", f"http://127.0.0.1:{program.grpc_port}")
        assert 0 == program.stop(), program.text()
    assert_arrived(sent, sink)
    assert {compression, "application/x-protobuf"} == sink.encodings


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_every_value_of_the_node_sdk_arrives_as_it_was(
    encoding: str, compression: str, collector: Collector, sink: OtlpSink, node_folder: Path
) -> None:
    endpoint = f"http://127.0.0.1:{collector.http_port}"
    done = subprocess.run(
        ["node", "send.mjs", encoding, endpoint, str(ITEMS), compression],
        cwd=node_folder,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert 0 == collector.stop(), collector.text()
    acknowledged = json.loads(done.stdout)
    assert {str(signal): len(sink.items(signal)) for signal in Signal} == acknowledged
    assert ITEMS == acknowledged["logs"] == acknowledged["traces"]
    _check_node_metrics(sink)
    _check_node_logs(sink)
    _check_node_spans(sink)


def _leaves(sink: OtlpSink, signal: Signal) -> Iterator[Any]:
    names = {
        Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
        Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
        Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    }
    groups, scopes, leaves = names[signal]
    for message in sink.messages(signal):
        for group in getattr(message, groups):
            (name,) = (a for a in group.resource.attributes if a.key == "service.name")
            assert name.value.string_value.startswith("node-")
            for scope in getattr(group, scopes):
                assert "interop" == scope.scope.name
                yield from getattr(scope, leaves)


def _plain(value: Any) -> Any:
    """An attribute's value as Python has it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def _attributes(leaf: Any) -> dict[str, Any]:
    return {attribute.key: _plain(attribute.value) for attribute in leaf.attributes}


def _check_node_metrics(sink: OtlpSink) -> None:
    metrics = {metric.name: metric for metric in _leaves(sink, Signal.METRICS)}
    integers = metrics["requests"].sum
    assert (2, True) == (integers.aggregation_temporality, integers.is_monotonic)
    # JavaScript has no larger integers.
    expected = {n: 2**53 - 1 - n for n in range(ITEMS)}
    found = {_attributes(p)["number"]: p.as_int or p.as_double for p in integers.data_points}
    assert expected == found
    latency = {_attributes(p)["number"]: p for p in metrics["latency"].histogram.data_points}
    assert set(range(ITEMS)) == latency.keys()
    for number, point in latency.items():
        assert (1, number / 7, number / 7) == (point.count, point.sum, point.max)
        assert 1 == sum(point.bucket_counts)
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert all(point.time_unix_nano > 1_700_000_000_000_000_000 for point in latency.values())
    gauge = {_attributes(p)["number"]: p.as_double for p in metrics["level"].gauge.data_points}
    assert {0: -0.5, 1: 1e300, 2: 5e-324} == gauge


def _check_node_logs(sink: OtlpSink) -> None:
    records = list(_leaves(sink, Signal.LOGS))
    bodies = Counter(record.body.string_value for record in records)
    assert Counter(f"message {n} ✓ 𝄞" for n in range(ITEMS)) == bodies
    for record in records:
        found = _attributes(record)
        number = found.pop("number")
        assert {"yes": True, "half": 0.5, "list": ["a", "b"]} == found
        assert (9, "INFO") == (record.severity_number, record.severity_text)
        # Milliseconds and nanoseconds of a JavaScript time, which a double would round.
        assert 1_700_000_000_123_456_789 + number == record.time_unix_nano


def _check_node_spans(sink: OtlpSink) -> None:
    spans = list(_leaves(sink, Signal.TRACES))
    assert {f"span {n}" for n in range(ITEMS)} == {span.name for span in spans}
    assert ITEMS == len({span.span_id for span in spans})
    for span in spans:
        assert (16, 8) == (len(span.trace_id), len(span.span_id))
        number = _attributes(span)["number"]
        assert 1_700_000_000_000_000_001 == span.start_time_unix_nano
        assert 1_700_000_001_000_000_002 + number == span.end_time_unix_nano
        assert (3, 2, "broken") == (span.kind, span.status.code, span.status.message)
        (event,) = span.events
        assert ("happened", {"at": number}) == (event.name, _attributes(event))
        (link,) = span.links
        assert bytes(15) + b"\x07" == link.trace_id
        assert bytes(7) + b"\x08" == link.span_id
