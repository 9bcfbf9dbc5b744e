"""One run of one scenario against one collector."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import target as target_page
from benchmarks.load import Plan
from benchmarks.memory import Memory
from benchmarks.process import Around, Helper, Measured, Peer, helper, reference_ms
from benchmarks.scenarios import Arrival, Idle, Load, Scenario, Scrape, Setup

_MIB = 2**20
_ARRIVE_S_MAX = 15.0
_QUIET_S = 1.5
"""Longer than the interval of any scenario in which points are held."""
_IDLE_SETTLE_S = 2.0
_IDLE_S = 3.0
_SCRAPE_SETTLE_S = 3.0
_FIRST_PAGE_S_MAX = 30.0
_BUSY = 0.9
_LATE_SHARE = 0.05
_SCRAPE_REPORT_POINTS = 5
"""What a scrape says of itself: ``up`` and four ``scrape_*``."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is the same for all runs."""

    seconds: float
    warm_up_s: float = 0.5
    collector_core: int | None = 0
    load_core: int | None = 1

    @classmethod
    def of_this_machine(cls, seconds: float) -> Conditions:
        """The collector on the first core, load and sink on the second, if there are two."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            return cls(seconds, collector_core=None, load_core=None)
        return cls(seconds, collector_core=cores[0], load_core=cores[1])


def run(peer: Peer, scenario: Scenario, conditions: Conditions) -> dict[str, Any]:
    """Measure. Raises `RuntimeError` when a program does not start or breaks off."""
    setup, core = scenario.setup, conditions.load_core
    with ExitStack() as stack:
        sink = stack.enter_context(helper(f"benchmarks.{setup.sink}", core))
        sink_port = sink.hear()
        target, target_port = None, 0
        if setup.series:
            target = stack.enter_context(helper("benchmarks.target", core))
            target.tell(str(setup.series))
            target_port = target.hear()
        around = Around(sink_port, target_port)
        collector = stack.enter_context(Measured(peer, setup, around, conditions.collector_core))
        reference = reference_ms(conditions.collector_core)
        head = {"peer": peer.name, "scenario": scenario.name, "reference_ms": reference}
        if isinstance(scenario, Idle):
            return head | _idle(collector)
        arrival = scenario.arrival if isinstance(scenario, Load) else Arrival()
        books = _Books(sink, target, setup, arrival)
        if isinstance(scenario, Scrape):
            return head | _scrape(collector, books, conditions)
        if setup.page_s:
            reader = stack.enter_context(helper("benchmarks.page", core))
            reader.tell(json.dumps({"port": collector.page_port, "every_s": setup.page_s}))
        return head | _load(collector, scenario, books, conditions)


class _Books:
    """What was given to a collector, and what of it the sink has."""

    def __init__(self, sink: Helper, target: Helper | None, setup: Setup, arrival: Arrival) -> None:
        self._sink, self._target, self._arrival = sink, target, arrival
        self.page_items = setup.series
        if setup.sink == "sink":
            self.page_items = target_page.points(setup.series) + _SCRAPE_REPORT_POINTS
        self.least = self.most = 0
        """What of the load and of the pages has to be in the sink."""
        self.pages = 0
        self.counts: dict[str, Any] = {}
        self.helpers_cpu_s = 0.0

    def settle(self, signal: str, sent: int, *, stop: bool = False) -> None:
        """Wait until the sink has all that was given, or is late. ``stop``: no more pages.

        Where it is not known how much arrives: until there is enough, and no more comes.
        """
        deadline_s = time.monotonic() + _ARRIVE_S_MAX
        changed_s, arrived = time.monotonic(), -1
        while True:
            target_cpu_s = 0.0
            if self._target is not None:
                self._target.tell("stop" if stop else "")
                served = self._target.hear()
                self.pages, target_cpu_s = served["pages"], served["cpu_s"]
            self._sink.tell()
            self.counts = self._sink.hear()
            self.helpers_cpu_s = self.counts["cpu_s"] + target_cpu_s
            pages = self.pages * self.page_items
            self.least = round(sent * self._arrival.least) + pages
            self.most = round(sent * self._arrival.most) + pages
            before, arrived = arrived, self._arrived(signal)
            now_s = time.monotonic()
            changed_s = changed_s if arrived == before else now_s
            if now_s >= deadline_s:
                return
            if self.least == self.most:
                if arrived == self.most or (arrived > self.most and self._target is None):
                    return
            elif arrived >= self.least and now_s - changed_s >= _QUIET_S:
                return
            time.sleep(0.05)

    def _arrived(self, signal: str) -> int:
        return int(self.counts[str(self._arrival.signal or signal)])

    def pages_served(self) -> int:
        """What the target has given out so far."""
        assert self._target is not None
        self._target.tell()
        return int(self._target.hear()["pages"])

    def outcome(self, signal: str, collector: Measured) -> dict[str, Any]:
        """Whether the sink has exactly what it should, or as much as it may."""
        arrived = self._arrived(signal)
        surplus = arrived - min(max(arrived, self.least), self.most)
        return {
            "exact": not surplus,
            "surplus_items": surplus,
            "log": collector.log() if surplus else "",
        }


def _idle(collector: Measured) -> dict[str, Any]:
    time.sleep(_IDLE_SETTLE_S)
    before_s = collector.cpu_s()
    time.sleep(_IDLE_S)
    return {
        "ready_s": collector.ready_s,
        "ready_cpu_s": collector.ready_cpu_s,
        "idle_cpu_percent": (collector.cpu_s() - before_s) / _IDLE_S * 100,
        "resident_mib": collector.resident_bytes() / _MIB,
        "peak_mib": collector.peak_bytes() / _MIB,
    }


def _scrape(collector: Measured, books: _Books, conditions: Conditions) -> dict[str, Any]:
    """Scrapes for a time. CPU is counted between two moments, samples between the same two."""
    _await_first_page(books)
    time.sleep(_SCRAPE_SETTLE_S)
    books.settle("metrics", 0)
    began_s, before_s, pages = time.perf_counter(), collector.cpu_s(), books.pages
    helpers_s = books.helpers_cpu_s
    time.sleep(conditions.seconds)
    books.settle("metrics", 0)
    cpu_s, elapsed_s = collector.cpu_s() - before_s, time.perf_counter() - began_s
    items = (books.pages - pages) * books.page_items
    load_busy = (books.helpers_cpu_s - helpers_s) / elapsed_s
    resident, peak = collector.resident_bytes(), collector.peak_bytes()
    books.settle("metrics", 0, stop=True)
    return {
        "ns_per_item": cpu_s / max(1, items) * 1e9,
        "us_per_request": cpu_s / max(1, books.pages - pages) * 1e6,
        "items_per_s": items / elapsed_s,
        "p50_ms": 0.0,
        "p99_ms": 0.0,
        "resident_mib": resident / _MIB,
        "peak_mib": peak / _MIB,
        "collector_busy": cpu_s / elapsed_s,
        "load_busy": load_busy,
        "refused": 0,
        "remarks": _remarks({"late": 0, "sent": 1}, load_busy, cpu_s / elapsed_s),
    } | books.outcome("metrics", collector)


def _await_first_page(books: _Books) -> None:
    """Some collectors take five seconds to find their targets. Raises `RuntimeError` for ever."""
    deadline_s = time.monotonic() + _FIRST_PAGE_S_MAX
    while not books.pages_served():
        if time.monotonic() > deadline_s:
            raise RuntimeError("nothing is scraped")
        time.sleep(0.1)


def _load(
    collector: Measured, scenario: Load, books: _Books, conditions: Conditions
) -> dict[str, Any]:
    workload = scenario.workload
    port = collector.grpc_port if scenario.transport == "grpc" else collector.http_port
    plan = Plan(
        scenario.transport, port, str(workload.signal), workload.items, workload.points,
        scenario.rate, scenario.seconds or conditions.seconds, conditions.warm_up_s,
        scenario.connections, scenario.in_flight, workload.steady, scenario.setup.compression,
        collector.certificate, workload.distinct, workload.delta,
    )  # fmt: skip
    signal = plan.signal
    with helper("benchmarks.load", conditions.load_core) as generator:
        generator.tell(json.dumps(asdict(plan)))
        warm = generator.hear()
        sent = int(warm["acknowledged"]) * workload.items
        books.settle(signal, sent)
        before, helpers_s, pages = books.counts, books.helpers_cpu_s, books.pages
        cpu_before_s = collector.cpu_s()
        with Memory(collector) as memory:
            generator.tell()
            result = generator.hear()
        books.settle(signal, sent + int(result["acknowledged"]) * workload.items)
        cpu_s = collector.cpu_s() - cpu_before_s
    items = int(result["acknowledged"]) * workload.items
    items += (books.pages - pages) * books.page_items
    elapsed_s = result["elapsed_s"]
    load_s = result["cpu_s"] + books.helpers_cpu_s - helpers_s
    return {
        "ns_per_item": cpu_s / max(1, items) * 1e9,
        "us_per_request": cpu_s / max(1, result["acknowledged"]) * 1e6,
        "items_per_s": items / elapsed_s,
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "resident_mib": collector.resident_bytes() / _MIB,
        "peak_mib": collector.peak_bytes() / _MIB,
        "collector_busy": cpu_s / elapsed_s,
        "load_busy": load_s / elapsed_s,
        "items_per_export": items / max(1, books.counts["requests"] - before["requests"]),
        "refused": result["refused"] + warm["refused"],
        "memory_mib": memory.samples,
        "remarks": _remarks(result, load_s / elapsed_s, cpu_s / elapsed_s),
    } | books.outcome(signal, collector)


def _remarks(result: dict[str, float], load_busy: float, collector_busy: float) -> str:
    """Who was the bottleneck, where somebody was."""
    remarks = []
    if load_busy > _BUSY:
        remarks.append("load generator and sink were the bottleneck")
    if collector_busy > _BUSY:
        remarks.append("the collector was saturated")
    if result["late"] > _LATE_SHARE * result["sent"] and not remarks:
        remarks.append("requests were late: the machine was busy with something else")
    return "; ".join(remarks)
