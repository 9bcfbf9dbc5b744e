"""Metrics about the process and the pipelines themselves, read when somebody looks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Status
from mlsysops_pipeline.errors import DropReason
from mlsysops_pipeline.memory import heap_bytes, resident_bytes, system_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import ComponentID, Kind
    from mlsysops_pipeline.ledger import PipelineLedger
    from mlsysops_pipeline.service.graph import Graph
    from mlsysops_pipeline.service.host import Surroundings

_LAG_PERIOD_S = 1.0


class ProcessMetrics:
    """Registers what the Collector reports of its process, and our bytes in flight and loop lag.

    Call `start` inside the event loop to measure its lag: how much later than asked for a timer
    fires, the largest in the last minute or so (it decays by half every ten measurements).
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._started_s = time.monotonic()
        self._lag_s = 0.0
        meter = around.meter
        read: dict[tuple[str, str, str, str], Callable[[], float | None]] = {
            (
                "counter",
                "otelcol_process_uptime",
                "s",
                "Uptime of the process",
            ): lambda: time.monotonic() - self._started_s,
            (
                "counter",
                "otelcol_process_cpu_seconds",
                "s",
                "Total CPU user and system time in seconds",
            ): time.process_time,
            (
                "gauge",
                "otelcol_process_memory_rss",
                "By",
                "Total physical memory (resident set size)",
            ): resident_bytes,
            (
                "gauge",
                "otelcol_process_runtime_heap_alloc_bytes",
                "By",
                "Resident memory that is not mapped from files",
            ): heap_bytes,
            (
                "gauge",
                "otelcol_process_runtime_total_sys_memory_bytes",
                "By",
                "Memory obtained from the system for data",
            ): system_bytes,
            (
                "gauge",
                "mlsysops_bytes_in_flight",
                "By",
                "Bytes read, decompressed, queued or opened and not yet handed on",
            ): lambda: around.memory.in_flight,
            (
                "gauge",
                "mlsysops_event_loop_lag_seconds",
                "s",
                "How late the event loop wakes up, the recent worst",
            ): lambda: self._lag_s,
        }
        for (kind, name, unit, description), function in read.items():
            make = meter.counter if kind == "counter" else meter.gauge
            make(name, unit, description).observe({}, function)

    async def measure_lag(self) -> None:
        """Never ends: sleep a second at a time and note how late the wake-up was."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_PERIOD_S
            await asyncio.sleep(_LAG_PERIOD_S)
            self._lag_s = max(loop.time() - due, self._lag_s * 0.933)


def observe_graph(graph: Graph, around: Surroundings) -> None:
    """Register the states of all components and the ledgers of all pipelines as metrics."""
    healthy = around.meter.gauge(
        "mlsysops_component_healthy", "", "1 while a component works, 0 while it does not"
    )
    for kind, component_id in dict.fromkeys((kind, id_) for kind, id_, _ in graph.components()):
        labels = {"kind": kind.value, "component": str(component_id)}
        healthy.observe(labels, _reader_of_health(around, kind, component_id))
    for id_, pipeline in graph.pipelines.items():
        _observe_ledger(around, str(id_), pipeline.ledger)


def _reader_of_health(
    around: Surroundings, kind: Kind, id_: ComponentID
) -> Callable[[], float | None]:
    return lambda: float(around.statuses.status(kind, id_) is Status.OK)


def _observe_ledger(around: Surroundings, pipeline: str, ledger: PipelineLedger) -> None:
    meter = around.meter
    label = {"pipeline": pipeline}
    meter.counter(
        "mlsysops_pipeline_received_items", "{item}", "Items that a pipeline accepted"
    ).observe(label, lambda: ledger.received)
    meter.counter(
        "mlsysops_pipeline_handed_on_items", "{item}", "Items handed on, once per destination"
    ).observe(label, lambda: ledger.handed_on)
    meter.gauge("mlsysops_pipeline_held_items", "{item}", "Items inside processors").observe(
        label, lambda: ledger.held
    )
    meter.counter(
        "mlsysops_pipeline_created_items", "{item}", "Items made or copied in a pipeline"
    ).observe(label, lambda: ledger.created)
    meter.counter(
        "mlsysops_pipeline_filtered_items", "{item}", "Items removed by configuration"
    ).observe(label, lambda: ledger.filtered.total() or None)
    dropped = meter.counter(
        "mlsysops_pipeline_dropped_items", "{item}", "Items lost in a pipeline, by reason"
    )

    def reader(reason: DropReason) -> Callable[[], float | None]:
        return lambda: ledger.dropped[reason] or None

    for reason in DropReason:
        dropped.observe({**label, "reason": reason.value}, reader(reason))
