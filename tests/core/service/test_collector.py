"""`Collector` as an embedding program uses it: fed by calls, read by callbacks."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline import (
    Collector,
    ConfigError,
    Payload,
    PermanentError,
    RetryableError,
    Signal,
)
from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.delivery.intake import READ_WHEN_FULL_MAX
from mlsysops_pipeline.errors import DropReason, QueueFullError
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.service.lifecycle import StartError
from mlsysops_pipeline.testing import make_payload, wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Received:
    """A sink that keeps payloads, or raises what it is told to."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self.error: Exception | None = None

    async def __call__(self, payload: Payload) -> None:
        if self.error is not None:
            raise self.error
        self.payloads.append(payload)

    @property
    def items(self) -> int:
        return sum(payload.items for payload in self.payloads)


def config(**pipelines: dict[str, list[str]]) -> dict[str, Any]:
    return {"service": {"pipelines": pipelines}}


ONE = config(metrics={"receivers": ["app"], "exporters": ["seen"]})


async def test_what_is_fed_in_comes_out_unchanged() -> None:
    seen = Received()
    payload = make_payload(Signal.METRICS, 7)
    async with Collector(ONE, sources=["app"], sinks={"seen": seen}) as collector:
        await collector.feed("app", payload)

        assert [payload.wires] == [p.wires for p in seen.payloads]
        assert 7 == collector.pipeline_ledgers()["metrics"].handed_on
        ledger = collector.exporter_ledgers()["seen", Signal.METRICS]
        assert (7, 7, 0) == (ledger.enqueued, ledger.sent, ledger.imbalance)


@pytest.mark.parametrize("error", [RetryableError("later", retry_after_s=3), PermanentError("no")])
async def test_what_a_sink_raises_reaches_the_feeder(error: Exception) -> None:
    seen = Received()
    seen.error = error
    async with Collector(ONE, sources=["app"], sinks={"seen": seen}) as collector:
        with pytest.raises(type(error)):
            await collector.feed("app", make_payload(Signal.METRICS, 1))

        assert 0 == collector.pipeline_ledgers()["metrics"].received


async def test_a_queue_takes_responsibility_and_shutdown_drains_it() -> None:
    seen = Received()
    batching = {"sending_queue": {"batch": {"flush_timeout": "10m", "min_size": 1000}}}
    source = {**ONE, "exporters": {"seen": batching}}
    collector = Collector(source, sources=["app"], sinks={"seen": seen})
    await collector.start()
    for _ in range(3):
        await collector.feed("app", make_payload(Signal.METRICS, 5))
    assert 0 == seen.items
    await collector.shutdown()

    assert 15 == seen.items
    assert 1 == len(seen.payloads)
    assert 0 == collector.exporter_ledgers()["seen", Signal.METRICS].imbalance


@pytest.mark.parametrize(
    ("processors", "exporters", "is_refused"),
    [
        (["attributes"], ["held"], True),
        (["attributes"], ["held", "open"], False),
        (["batch"], ["held"], False),
        (["attributes"], ["forward"], False),
    ],
)
async def test_a_full_queue_refuses_before_reading_if_nothing_else_takes_or_holds(
    processors: list[str], exporters: list[str], *, is_refused: bool
) -> None:
    gate = asyncio.Event()

    async def hold(_payload: Payload) -> None:
        await gate.wait()

    source = {
        **config(
            metrics={"receivers": ["app"], "processors": processors, "exporters": exporters},
            **{"metrics/behind": {"receivers": ["forward"], "exporters": ["held"]}},
        ),
        "processors": {
            "attributes": {"actions": [{"key": "a", "action": "insert", "value": 1}]},
            "batch": {},
        },
        "connectors": {"forward": None},
        "exporters": {"held": {"sending_queue": {"queue_size": 1}}},
    }
    if "forward" not in exporters:
        del source["service"]["pipelines"]["metrics/behind"], source["connectors"]
    collector = Collector(source, sources=["app"], sinks={"held": hold, "open": Received()})
    await collector.start()
    for _ in range(READ_WHEN_FULL_MAX + 2):
        with suppress(QueueFullError):
            await collector.feed("app", make_payload(Signal.METRICS, 1))
    refused = sum(
        sample.value
        for sample in collector.metrics()
        if sample.name == "mlsysops_exporter_refused_requests"
        and dict(sample.attributes)["exporter"] == "held"
    )
    gate.set()
    await collector.shutdown()

    assert int(is_refused) == refused


async def test_what_cannot_be_delivered_in_time_is_counted_when_stopping() -> None:
    seen = Received()
    seen.error = RetryableError("the peer is away")
    section = {"sending_queue": {}, "retry_on_failure": {"initial_interval": "10m"}}
    section["retry_on_failure"]["max_interval"] = "10m"
    section["retry_on_failure"]["max_elapsed_time"] = "0s"
    source = {**ONE, "exporters": {"seen": section}}
    collector = Collector(source, sources=["app"], sinks={"seen": seen})
    await collector.start()
    await collector.feed("app", make_payload(Signal.METRICS, 5))
    await collector.shutdown(deadline_s=0.2)

    ledger = collector.exporter_ledgers()["seen", Signal.METRICS]
    assert {DropReason.SHUTDOWN: 5} == {r: n for r, n in ledger.dropped.items() if n}
    assert 0 == ledger.imbalance


async def test_signals_without_a_pipeline_are_refused() -> None:
    async with Collector(ONE, sources=["app"], sinks={"seen": Received()}) as collector:
        with pytest.raises(PermanentError, match="no pipeline takes logs"):
            await collector.feed("app", make_payload(Signal.LOGS, 1))


async def test_forward_joins_pipelines() -> None:
    seen, raw = Received(), Received()
    source: dict[str, Any] = {
        "connectors": {"forward": None},
        **config(
            **{
                "logs/in": {"receivers": ["app"], "exporters": ["forward", "raw"]},
                "logs/out": {"receivers": ["forward"], "exporters": ["seen"]},
            }
        ),
    }
    sinks = {"seen": seen, "raw": raw}
    async with Collector(source, sources=["app"], sinks=sinks) as collector:
        await collector.feed("app", make_payload(Signal.LOGS, 4))

        assert (4, 4) == (seen.items, raw.items)
        assert [0, 0] == [ledger.imbalance for ledger in collector.pipeline_ledgers().values()]


async def test_a_file_and_a_dict_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "processors: {resource: {attributes: [{key: a, action: insert, value: b}]}}\n"
        "service: {pipelines: {metrics: {receivers: [app], exporters: [seen]}}}\n",
        encoding="utf-8",
    )
    over = config(metrics={"processors": ["resource"]})
    seen = Received()
    async with Collector([path, over], sources=["app"], sinks={"seen": seen}) as collector:
        await collector.feed("app", make_payload(Signal.METRICS, 1))

    assert b"\n\x01a\x12\x03\n\x01b" in seen.payloads[0].joined()


async def test_every_problem_of_a_configuration_is_in_the_error() -> None:
    source: dict[str, Any] = {
        "exporters": {"seen": {"sending_queues": {}, "timeout": "5"}},
        **config(metrics={"receivers": ["app", "otlp"], "exporters": ["seen"]}),
    }
    with pytest.raises(ConfigError) as caught:
        Collector(source, sources=["app"], sinks={"seen": Received()})

    text = str(caught.value)
    assert "did you mean" in text
    assert "sending_queue" in text
    assert "timeout" in text
    assert 'references receiver "otlp" which is not configured' in text


async def test_a_port_in_use_fails_the_start_in_one_line_and_releases_everything() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        protocols = {
            "grpc": {"endpoint": "127.0.0.1:0"},
            "http": {"endpoint": f"127.0.0.1:{port}"},
        }
        source: dict[str, Any] = {
            "receivers": {"otlp": {"protocols": protocols}},
            **config(logs={"receivers": ["otlp"], "exporters": ["seen"]}),
        }
        collector = Collector(source, sinks={"seen": Received()})
        with pytest.raises(StartError, match=f"127.0.0.1:{port}.*in use") as caught:
            await collector.start()

    assert 1 == len(str(caught.value).splitlines())
    await collector.shutdown()


async def test_embedded_it_opens_no_listener_of_its_own_and_leaves_logging_alone() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    async with Collector(ONE, sources=["app"], sinks={"seen": Received()}) as collector:
        assert None is collector.telemetry_port
        assert {} == collector.ports()
        assert "otelcol_process_uptime" in {sample.name for sample in collector.metrics()}

    assert before == (root.level, list(root.handlers))


async def test_the_memory_of_the_process_is_told_as_the_collector_tells_it() -> None:
    async with Collector(ONE, sources=["app"], sinks={"seen": Received()}) as collector:
        told = {sample.name: sample.value for sample in collector.metrics()}

    resident = told["otelcol_process_memory_rss"]
    assert 1 << 20 < told["otelcol_process_runtime_heap_alloc_bytes"] < resident
    assert 1 << 20 < told["otelcol_process_runtime_total_sys_memory_bytes"]


async def test_nothing_is_taken_before_the_start_and_after_the_end() -> None:
    seen = Received()
    collector = Collector(ONE, sources=["app"], sinks={"seen": seen})
    with pytest.raises(RetryableError, match="not running"):
        await collector.feed("app", make_payload(Signal.METRICS, 1))
    async with collector:
        await collector.feed("app", make_payload(Signal.METRICS, 2))
    with pytest.raises(RetryableError, match="not running"):
        await collector.feed("app", make_payload(Signal.METRICS, 4))
    assert 2 == seen.items


async def test_a_collector_starts_once() -> None:
    collector = Collector(ONE, sources=["app"], sinks={"seen": Received()})
    async with collector:
        with pytest.raises(StartError, match="starts once"):
            await collector.start()
    with pytest.raises(StartError, match="starts once"):
        await collector.start()


@pytest.mark.parametrize("name", ["ap", "nop"])
async def test_feeding_what_is_no_source_is_said(name: str) -> None:
    pipeline = {"receivers": ["app", "nop"], "exporters": ["seen"]}
    both = config(metrics=pipeline) | {"receivers": {"nop": None}}
    async with Collector(both, sources=["app"], sinks={"seen": Received()}) as collector:
        with pytest.raises(KeyError, match=f"{name} is no source that a pipeline uses"):
            await collector.feed(name, make_payload(Signal.METRICS, 1))


async def test_several_collectors_live_side_by_side() -> None:
    left, right = Received(), Received()
    async with (
        Collector(ONE, sources=["app"], sinks={"seen": left}) as one,
        Collector(ONE, sources=["app"], sinks={"seen": right}) as other,
    ):
        await one.feed("app", make_payload(Signal.METRICS, 1))
        await other.feed("app", make_payload(Signal.METRICS, 2))

    assert (1, 2) == (left.items, right.items)


async def test_own_metrics_are_served_where_they_are_configured() -> None:
    page = {"readers": [{"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": 0}}}}]}
    source = config(metrics={"receivers": ["app"], "exporters": ["seen"]})
    source["service"]["telemetry"] = {"metrics": page, "resource": {"service.name": "mine"}}
    async with Collector(source, sources=["app"], sinks={"seen": Received()}) as collector:
        port = collector.telemetry_port
        assert port
        answer = await get(port, "/metrics")
        missing = await get(port, "/elsewhere")

    assert answer.startswith("HTTP/1.1 200")
    assert 'service_name="mine"' in answer
    assert missing.startswith("HTTP/1.1 404")


async def get(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode()


class Broken:
    """A receiver whose background work ends the collector."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    async def start(self) -> None:
        from mlsysops_pipeline.component import Status

        self._settings.host.report_status(Status.FATAL_ERROR, "the device is gone")

    async def shutdown(self) -> None:
        """Nothing to release."""


class NoKeys(ComponentConfig):
    """No keys."""


async def test_a_fatal_error_of_a_component_is_told_to_whoever_runs_the_collector() -> None:
    def create(_config: NoKeys, settings: Any, _next: Any) -> Broken:
        return Broken(settings)

    factory = Factory(Kind.RECEIVER, "broken", NoKeys, create, signals=frozenset(Signal))
    source: dict[str, Any] = {
        "receivers": {"broken": None},
        **config(metrics={"receivers": ["broken"], "exporters": ["seen"]}),
    }
    registry = Registry.installed().extended([factory])
    async with Collector(source, sinks={"seen": Received()}, registry=registry) as collector:
        async with asyncio.timeout(5):
            await collector.failed()

        states = {state.message for state in collector.statuses()}
        assert "the device is gone" in states


async def test_a_loop_to_ourselves_is_dropped_and_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source: dict[str, Any] = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"otlp": {"endpoint": f"localhost:{port}", "tls": {"insecure": True}}},
        **config(logs={"receivers": ["otlp", "app"], "exporters": ["otlp"]}),
    }
    async with Collector(source, sources=["app"]) as collector:
        await collector.feed("app", make_payload(Signal.LOGS, 3))
        ledger = collector.exporter_ledgers()["otlp", Signal.LOGS]
        await wait_until(lambda: ledger.dropped[DropReason.LOOP])

        assert (3, 3) == (ledger.enqueued, ledger.dropped[DropReason.LOOP])
        assert 0 == ledger.imbalance


async def test_the_state_of_every_component_is_a_metric() -> None:
    """An absent peer is no failed start: the exporter says that it does not work, and the rest
    does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source: dict[str, Any] = {
        "exporters": {"otlp": {"endpoint": f"127.0.0.1:{port}", "tls": {"insecure": True}}},
        **config(logs={"receivers": ["app"], "exporters": ["otlp", "seen"]}),
    }

    def healthy() -> dict[str, float]:
        return {
            "{kind} {component}".format_map(dict(sample.attributes)): sample.value
            for sample in collector.metrics()
            if sample.name == "mlsysops_component_healthy"
        }

    async with Collector(source, sources=["app"], sinks={"seen": Received()}) as collector:
        assert {"exporter otlp": 1, "exporter seen": 1, "receiver app": 1} == healthy()
        await collector.feed("app", make_payload(Signal.LOGS, 1))
        await wait_until(lambda: not healthy()["exporter otlp"])
        assert {"exporter otlp": 0, "exporter seen": 1, "receiver app": 1} == healthy()
        await collector.shutdown(0)
