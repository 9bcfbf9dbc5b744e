"""The collectors of the demo: how they are started and what their self-metrics say."""

from __future__ import annotations

import asyncio
import http.client
import math
import re
import socket
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsysops_pipeline.demo.children import python_module
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READY = "Everything is ready"
"""Stands in the log line that says that all receivers listen."""
_HOST = "127.0.0.1"
_SCRAPE_TIMEOUT_S = 2.0
_PAGE_BYTES_MAX = 4 * 1024 * 1024

RECEIVED, SENT, REFUSED, DROPPED = "received", "sent", "refused", "dropped"
HopCounts = dict[str, Counter[str]]
"""For each column, items by signal."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a hop is."""

    name: str
    mode: str


PLANS = (Plan("node", "agent"), Plan("cluster", "gateway"), Plan("continuum", "gateway"))
"""In the order of the data."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a hop listens."""

    grpc: int
    http: int
    telemetry: int
    prometheus: int = 0
    """The page of the metrics that pass. 0: there is none."""

    def taken(self) -> list[int]:
        """Those of the ports that somebody listens on."""
        every = (self.grpc, self.http, self.telemetry, self.prometheus)
        return [number for number in every if number and is_taken(number)]


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of the loopback that nobody uses at the moment."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def is_taken(port: int) -> bool:
    """Whether a server could not listen on this port now."""
    with socket.socket() as probe:
        # As servers do: connections that are only fading away do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
            probe.listen(1)
        except OSError:
            return True
    return False


def collector_command(
    plan: Plan, ports: Ports, export_to: int, remote_write: str | None = None
) -> list[str]:
    """The command of a hop that hands on to the port ``export_to``: what a user would type.

    ``remote_write``: the URL that metrics are written to as well.
    """
    return python_module(
        "mlsysops_pipeline.cli",
        *("run", "--mode", plan.mode, "--level", plan.name, "--listen", _HOST),
        *("--otlp-grpc-port", str(ports.grpc), "--otlp-http-port", str(ports.http)),
        *("--telemetry-port", str(ports.telemetry), "--export-to", f"{_HOST}:{export_to}"),
        *("--prometheus-port", str(ports.prometheus)),
        *(("--remote-write", remote_write) if remote_write is not None else ()),
    )


async def scrape(port: int) -> HopCounts | None:
    """What a hop's self-metrics say now; ``None`` when it does not answer in time."""
    try:
        page = await asyncio.to_thread(_page, port)
    except (OSError, http.client.HTTPException):
        return None
    return hop_counts(page)


def _page(port: int) -> str:
    connection = http.client.HTTPConnection(_HOST, port, timeout=_SCRAPE_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        body = response.read(_PAGE_BYTES_MAX)
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"status {response.status}")
        return body.decode(errors="replace")
    finally:
        connection.close()


_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?')


def samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each line of the Prometheus text format 0.0.4.

    Comments, lines that are not of the format, and what is no number are left out. Escapes in
    label values stay.
    """
    for line in page.splitlines():
        match = _SAMPLE.fullmatch(line.strip())
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if math.isfinite(value):
            yield match[1], dict(_LABEL.findall(match[2] or "")), value


_PER_SIGNAL = {
    f"{prefix}_{signal.item_noun}": (column, signal.value)
    for prefix, column in (
        ("otelcol_receiver_accepted", RECEIVED),
        ("otelcol_receiver_refused", REFUSED),
        ("otelcol_exporter_sent", SENT),
    )
    for signal in Signal
}


_BESIDE = ("prometheus", "prometheus_remote_write")
"""Exporters beside the way to the next hop: what they count would be counted twice."""


def hop_counts(page: str) -> HopCounts:
    """The numbers of the table from a page of self-metrics, summed over components.

    Only what is on the way to the next hop counts.
    """
    counts: HopCounts = {column: Counter() for column in (RECEIVED, SENT, REFUSED, DROPPED)}
    for name, labels, value in samples(page):
        if labels.get("exporter") in _BESIDE:
            continue
        if name in _PER_SIGNAL:
            column, signal = _PER_SIGNAL[name]
            counts[column][signal] += int(value)
        elif name == "mlsysops_exporter_dropped_items":
            counts[DROPPED][labels.get("data_type", "")] += int(value)
        elif name == "mlsysops_pipeline_dropped_items":
            counts[DROPPED][_signal_of_pipeline(labels)] += int(value)
    return counts


def _signal_of_pipeline(labels: Mapping[str, str]) -> str:
    """Pipelines are called `metrics` or `metrics/name`."""
    return labels.get("pipeline", "").partition("/")[0]


def settled(counts: HopCounts, signal: str) -> bool:
    """Whether a hop has handed on, or lost, all that it received of this signal."""
    return counts[RECEIVED][signal] <= counts[SENT][signal] + counts[DROPPED][signal]
