"""One value at both ends: at the node's Prometheus endpoint, and by PromQL at the continuum.

What answers PromQL is Prometheus, if it is installed: the continuum writes to it by remote write.
Both are asked by the telemetry API, as a policy or a model would.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mlsysops_pipeline.query import QueryClient, QueryError, Server, Vector

PROMETHEUS = "Prometheus"
READY = "Server is ready to receive web requests"
"""Stands in Prometheus' log line that says that it listens."""
_METRIC = "requests_total"
_LABELS = ("model", "outcome")
_HOST = "127.0.0.1"
_ASK_TIMEOUT_S = 3.0
_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of one series. ``top`` is ``None`` where Prometheus is not installed."""

    series: str
    """The series as PromQL selects it."""
    node: float
    """At the node. NaN: it could not be read."""
    top: float | None = None
    """At the continuum. NaN: it could not be read."""
    failures: tuple[str, ...] = ()
    """Why something could not be read."""

    def line(self) -> str:
        """Both values, for the reader."""
        text = f"{self.series}: {_number(self.node)} at the node's Prometheus endpoint"
        if self.top is None:
            return f"{text} (no PromQL at the continuum: Prometheus is not installed here)"
        return f"{text}, {_number(self.top)} by PromQL at the continuum"

    def problems(self) -> list[str]:
        """What is not as it should be, a sentence each."""
        if self.failures:
            return list(self.failures)
        return [self.line()] if self.top is not None and self.top != self.node else []


def find_prometheus() -> str | None:
    """Where Prometheus is installed."""
    return shutil.which("prometheus")


def prometheus_command(program: str, port: int, folder: str) -> list[str]:
    """Prometheus as the back end of the continuum, with everything it keeps below ``folder``."""
    own = Path(tempfile.mkdtemp(dir=folder))
    configuration = own / "prometheus.yml"
    configuration.write_text("scrape_configs: []\n", encoding="utf-8")
    return [
        program,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={own / 'data'}",
        f"--web.listen-address={_HOST}:{port}",
        "--web.enable-remote-write-receiver",
    ]


def remote_write_url(port: int) -> str:
    """Where a Prometheus on this port takes remote write."""
    return f"http://{_HOST}:{port}/api/v1/write"


async def at_node(port: int) -> Reading:
    """The largest counter of the load's requests, as the endpoint of a node shows it."""
    page = Server(f"http://{_HOST}:{port}/metrics", timeout_s=_ASK_TIMEOUT_S)
    try:
        async with QueryClient(local=page) as client:
            found = await client.latest(_METRIC)
    except QueryError as error:
        return Reading(_METRIC, math.nan, failures=(f"the node's Prometheus endpoint: {error}",))
    if not found.samples:
        failure = f"the node's Prometheus endpoint has no {_METRIC}"
        return Reading(_METRIC, math.nan, failures=(failure,))
    sample = max(found.samples, key=lambda sample: sample.value)
    labels = (f'{name}="{sample.labels[name]}"' for name in _LABELS if name in sample.labels)
    return Reading(f"{_METRIC}{{{','.join(labels)}}}", sample.value)


async def at_top(reading: Reading, port: int, patience_s: float) -> Reading:
    """The same series by PromQL, asked until it has the same value or for ``patience_s``."""
    server = Server(f"http://{_HOST}:{port}", timeout_s=_ASK_TIMEOUT_S)
    deadline_s = time.monotonic() + patience_s
    async with QueryClient(server) as client:
        while True:
            value, failure = math.nan, f"PromQL knows no {reading.series}"
            try:
                found = await client.query(reading.series, expect=Vector)
            except QueryError as error:
                failure = f"PromQL: {error}"
            else:
                if len(found.samples) == 1:
                    value = found.samples[0].value
                elif found.samples:
                    failure = f"PromQL knows {len(found.samples)} times {reading.series}"
            if value == reading.node or time.monotonic() >= deadline_s:
                failures = (*reading.failures, *((failure,) if math.isnan(value) else ()))
                return Reading(reading.series, reading.node, value, failures)
            await asyncio.sleep(_TICK_S)


def _number(value: float) -> str:
    return "nothing" if math.isnan(value) else f"{value:,.10g}"
