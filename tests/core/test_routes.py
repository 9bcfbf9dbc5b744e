"""The two routes of metrics in a mode, as they run: raw to the page, processed to the next hop."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline import Collector, Payload, RetryableError, Signal, cli
from mlsysops_pipeline.errors import DropReason, QueueFullError
from mlsysops_pipeline.testing import make_payload

if TYPE_CHECKING:
    from mlsysops_pipeline.config import ConfigurationSource


class Next:
    """The next hop, as a function: keeps payloads, or raises what it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.payloads: list[Payload] = []
        self.error = error

    async def __call__(self, payload: Payload) -> None:
        if self.error is not None:
            raise self.error
        self.payloads.append(payload)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def agent(port: int, *more: str) -> list[ConfigurationSource]:
    """An agent of a node that a program feeds as ``app`` and whose next hop is ``next``."""
    flags = ["--mode=agent", "--level=node", "--telemetry-port=0", f"--prometheus-port={port}"]
    flags += ["--set=service.pipelines.metrics.exporters=[next]"]
    flags += [f"--set=service.pipelines.{p}.receivers=[app]" for p in ("metrics", "metrics/local")]
    flags += ["--otlp-grpc-port=0", "--otlp-http-port=0", *more]
    return cli.sources(cli._parser("run").parse_args(flags))


async def page_of(port: int) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(read)


def dropped(collector: Collector, exporter: str) -> dict[DropReason, int]:
    ledger = collector.exporter_ledgers()[exporter, Signal.METRICS]
    assert 0 == ledger.imbalance
    return {reason: items for reason, items in ledger.dropped.items() if items}


async def test_the_page_shows_what_came_and_the_next_hop_gets_what_was_made_of_it(
    port: int,
) -> None:
    hop, payload = Next(), make_payload(Signal.METRICS, 7)
    async with Collector(agent(port), sources=["app"], sinks={"next": hop}) as collector:
        await collector.feed("app", payload)
        page = await page_of(port)
    assert 7 == page.count("\ntest_metric_0_ratio{")
    assert "mlsysops" not in page
    (handed_on,) = hop.payloads
    assert all(b"mlsysops.levels" in wire for wire in handed_on.wires)
    assert 7 == handed_on.items


async def test_a_queue_that_is_full_upward_does_not_stop_the_page(port: int) -> None:
    sources = agent(
        port,
        "--set=exporters.next.sending_queue={queue_size: 1, num_consumers: 1}",
        "--set=exporters.next.retry_on_failure={initial_interval: 10m, max_interval: 10m, "
        "max_elapsed_time: 0s}",
    )
    hop = Next(RetryableError("away"))
    collector = Collector(sources, sources=["app"], sinks={"next": hop})
    await collector.start()
    for seed in range(3):
        await collector.feed("app", make_payload(Signal.METRICS, 1, seed=seed))
    assert 3 == collector.exporter_ledgers()["prometheus", Signal.METRICS].sent
    assert {DropReason.QUEUE_FULL: 2} == dropped(collector, "next")
    assert "test_metric_0_ratio{" in await page_of(port)
    await collector.shutdown(deadline_s=0.1)


async def test_a_full_queue_without_a_page_refuses_as_before(port: int) -> None:
    queue = "--set=exporters.next.sending_queue={queue_size: 1, num_consumers: 1}"
    retry = "--set=exporters.next.retry_on_failure={initial_interval: 10m, max_interval: 10m, "
    flags = (queue, retry + "max_elapsed_time: 0s}")
    sources = agent(port, *flags, "--set=service.pipelines.metrics/local.receivers=[otlp]")
    hop = Next(RetryableError("away"))
    collector = Collector(sources, sources=["app"], sinks={"next": hop})
    await collector.start()
    await collector.feed("app", make_payload(Signal.METRICS, 1))
    with pytest.raises(QueueFullError):
        await collector.feed("app", make_payload(Signal.METRICS, 1))
    await collector.shutdown(deadline_s=0.1)


async def test_a_page_that_takes_no_more_series_does_not_stop_the_way_up(port: int) -> None:
    hop, payload = Next(), make_payload(Signal.METRICS, 7)
    sources = agent(port, "--set=exporters.prometheus.max_series=1")
    async with Collector(sources, sources=["app"], sinks={"next": hop}) as collector:
        await collector.feed("app", payload)
        assert {DropReason.CARDINALITY} == set(dropped(collector, "prometheus"))
        assert {} == dropped(collector, "next")
    assert [7] == [handed_on.items for handed_on in hop.payloads]
