"""OTLP requests, exporters that are served on loopback, and what a reader of their pages sees."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from mlsysops_exporters.prometheus import FACTORY, PrometheusExporter
from mlsysops_exporters.prometheus.config import Config
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mlsysops_pipeline.component import ExportResult, Settings

NOW_NS = 1_700_000_000_000_000_000
"""What a new `JumpClock` says."""
SECOND_NS = 1_000_000_000
DELTA, CUMULATIVE = 1, 2
OPEN_METRICS = "application/openmetrics-text;version=1.0.0"
UTF8 = ";escaping=allow-utf-8"


class Request:
    """A metrics request in the making. Times are seconds after `NOW_NS`."""

    def __init__(self, resource: dict[str, Any] | None = None, scope: str = "") -> None:
        self.message = ExportMetricsServiceRequest()
        self._group = self.message.resource_metrics.add()
        for key, value in (resource or {"service.name": "app"}).items():
            label(self._group.resource.attributes, key, value)
        self._scope = self._group.scope_metrics.add()
        self._scope.scope.name = scope

    def metric(self, name: str, unit: str = "", description: str = "") -> Any:
        return self._scope.metrics.add(name=name, unit=unit, description=description)

    def gauge(self, name: str, value: float | None, at: float = 0, /, **labels: Any) -> Request:
        self._number(self.metric(name).gauge.data_points.add(), value, at, labels)
        return self

    def sum(
        self,
        name: str,
        value: float | None,
        at: float = 0,
        /,
        *,
        start: float | None = None,
        temporality: int = CUMULATIVE,
        is_monotonic: bool = True,
        **labels: Any,
    ) -> Request:
        data = self.metric(name).sum
        data.aggregation_temporality = temporality
        data.is_monotonic = is_monotonic
        point = data.data_points.add()
        if start is not None:
            point.start_time_unix_nano = time_ns(start)
        self._number(point, value, at, labels)
        return self

    def _number(self, point: Any, value: float | None, at: float, labels: dict[str, Any]) -> None:
        if value is None:
            point.flags = 1  # NoRecordedValue
        elif isinstance(value, int):
            point.as_int = value
        else:
            point.as_double = value
        _describe(point, at, labels)

    def histogram(
        self,
        name: str,
        bounds: Iterable[float],
        counts: Iterable[int],
        at: float = 0,
        /,
        *,
        total: float | None = 1.5,
        start: float | None = None,
        temporality: int = CUMULATIVE,
        **labels: Any,
    ) -> Any:
        data = self.metric(name).histogram
        data.aggregation_temporality = temporality
        point = data.data_points.add(explicit_bounds=bounds, bucket_counts=counts)
        point.count = sum(point.bucket_counts)
        if total is not None:
            point.sum = total
        if start is not None:
            point.start_time_unix_nano = time_ns(start)
        _describe(point, at, labels)
        return point

    def payload(self) -> Payload:
        return Payload(Signal.METRICS, self.message.SerializeToString())


def time_ns(seconds: float) -> int:
    return NOW_NS + int(seconds * SECOND_NS)


def label(attributes: Any, key: str, value: Any) -> None:
    target = attributes.add(key=key).value
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = value
    else:
        target.string_value = value


def _describe(point: Any, at: float, labels: dict[str, Any]) -> None:
    point.time_unix_nano = time_ns(at)
    for key, value in labels.items():
        label(point.attributes, key, value)


class Served:
    """A running exporter. `scrape` reads its page as a client does."""

    def __init__(self, exporter: PrometheusExporter, settings: Settings) -> None:
        self.exporter = exporter
        self.settings = settings
        clock = settings.clock
        assert isinstance(clock, JumpClock)
        self.clock = clock
        self.url = f"http://127.0.0.1:{exporter.port}/metrics"

    async def export(self, request: Request) -> ExportResult | None:
        return await self.exporter.export(request.payload())

    async def scrape(self, accept: str = "text/plain", **headers: str) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url, headers={"Accept": accept, **headers}) as response,
        ):
            assert 200 == response.status
            return await response.text()

    async def values(self, accept: str = "text/plain") -> dict[str, float]:
        """The samples of a page: ``name{label="value"}``, with job and instance left out."""
        return samples(await self.scrape(accept))


@asynccontextmanager
async def serving(clock: JumpClock | None = None, /, **keys: Any) -> AsyncIterator[Served]:
    settings = make_settings("prometheus", kind=Kind.EXPORTER, clock=clock or JumpClock())
    config = parse_config(Config, {"endpoint": "127.0.0.1:0", **keys})
    exporter: PrometheusExporter = FACTORY.create(config, settings, None)
    await exporter.start()
    try:
        yield Served(exporter, settings)
    finally:
        stop = asyncio.get_running_loop().create_task(exporter.shutdown())
        while not stop.done():
            assert isinstance(settings.clock, JumpClock)
            await settings.clock.advance(1.0)
            await asyncio.sleep(0.001)
        await stop
        assert 0 == settings.memory.in_flight


def families(page: str) -> list[Any]:
    """A page as prometheus-client reads it, by the format that it is in."""
    read = open_families if page.endswith("# EOF\n") else text_families
    return list(read(page))


def samples(page: str) -> dict[str, float]:
    """Every sample of a page by its name and labels but job; none is there twice."""
    found: dict[str, float] = {}
    for family in families(page):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()) if k != "job")
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found
            found[key] = sample.value
    return found
