"""A `prometheus` receiver under test, between a peer and a sink."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, JumpClock, Sink, make_settings, wait_until
from mlsysops_receivers.prometheus import FACTORY, Config

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload
    from tests.receivers.prometheus.peers import Peer

INTERVAL_S = 10.0


@dataclass(slots=True)
class Points:
    """One request that came out: values by ``name{labels}``, and which of them are stale."""

    values: dict[str, float] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    times: dict[str, int] = field(default_factory=dict)
    resources: list[dict[str, str]] = field(default_factory=list)

    @property
    def page(self) -> dict[str, float]:
        """The values without the report series."""
        return {name: value for name, value in self.values.items() if not is_report(name)}

    @property
    def stale_page(self) -> set[str]:
        """What is stale of the page."""
        return {name for name in self.stale if not is_report(name)}


def is_report(name: str) -> bool:
    """Whether a series is one of those that the receiver adds."""
    return name.partition("{")[0] == "up" or name.startswith("scrape_")


def read(payload: Payload) -> Points:
    """What a payload holds (gauges and sums; of histograms the count)."""
    request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(payload.joined())
    points = Points()
    for group in request.resource_metrics:
        points.resources.append({a.key: a.value.string_value for a in group.resource.attributes})
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                data: Any = getattr(metric, metric.WhichOneof("data") or "gauge")
                for point in data.data_points:
                    labels = sorted((a.key, a.value.string_value) for a in point.attributes)
                    inner = ",".join(f'{key}="{value}"' for key, value in labels)
                    name = f"{metric.name}{{{inner}}}" if inner else metric.name
                    points.times[name] = point.time_unix_nano
                    if point.flags & 1:
                        points.stale.add(name)
                    elif hasattr(point, "as_double"):
                        points.values[name] = point.as_double
                    else:
                        points.values[name] = point.count
    return points


class Running:
    """Start it, then `scrape` turns its clock until each target had its turn."""

    def __init__(
        self,
        *peers: Peer,
        top: dict[str, Any] | None = None,
        defaults: dict[str, Any] | None = None,
        is_real_time: bool = False,
        **job: Any,
    ) -> None:
        keys = {
            "job_name": "j",
            "scrape_interval": "10s",
            "static_configs": [{"targets": [peer.address for peer in peers]}],
            **job,
        }
        config = {"config": {"global": defaults or {}, "scrape_configs": [keys]}, **(top or {})}
        self.sink = Sink()
        self.host = FakeHost()
        self.clock: Any = SystemClock() if is_real_time else JumpClock()
        self.settings = make_settings(
            "prometheus", kind=Kind.RECEIVER, clock=self.clock, host=self.host
        )
        self.receiver = FACTORY.create(
            parse_config(Config, config), self.settings, {Signal.METRICS: self.sink}
        )

    async def __aenter__(self) -> Self:
        await self.receiver.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.receiver.shutdown()
        await self.settings.tasks.shutdown()
        assert self.settings.memory.in_flight == 0

    @property
    def loops(self) -> list[Any]:
        """What is scraped."""
        return [loop for pool in self.receiver.pools for loop in pool.loops.values()]

    async def scrape(self) -> list[Points]:
        """One scrape of every target: what came of it, in the order of coming."""
        before, taken = len(self.sink.payloads), self.value("mlsysops_receiver_scrapes")
        count = len(self.loops)
        await self.clock.advance(INTERVAL_S)
        await wait_until(lambda: self.value("mlsysops_receiver_scrapes") >= taken + count)
        await self.settled()
        return [read(payload) for payload in self.sink.payloads[before:]]

    async def scrape_one(self) -> Points:
        """The same for a single target."""
        (points,) = await self.scrape()
        return points

    async def settled(self) -> None:
        """Let scrapes end that have their page."""
        tasks = [loop._task for loop in self.loops if loop._task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    def value(self, name: str, **attributes: str) -> float:
        """One of the self-metrics."""
        return self.settings.meter.value(name, **attributes)
