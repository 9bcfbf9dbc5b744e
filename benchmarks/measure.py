"""One run of one scenario against one collector."""

from __future__ import annotations

import json
import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.books import Books
from benchmarks.load import Part, Plan
from benchmarks.memory import Memory
from benchmarks.neighbours import Neighbours, remark
from benchmarks.process import Around, Helper, Measured, Peer, helper, reference_ms
from benchmarks.scenarios import Arrival, Idle, Load, Mode, Scenario, Scrape

if TYPE_CHECKING:
    from collections.abc import Iterable

_MIB = 2**20
_IDLE_SETTLE_S = 2.0
_IDLE_S = 3.0
_SCRAPE_SETTLE_S = 3.0
_FIRST_PAGE_S_MAX = 30.0
_BUSY = 0.9
_LATE_SHARE = 0.05
_SATURATION_IN_FLIGHT = 16
_SATURATION_S_MAX = 10.0
_OVER = 2.0
"""How much of a saturation an overload is."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is the same for all runs."""

    seconds: float
    warm_up_s: float = 0.5
    collector_core: int | None = 0
    load_core: int | None = 1
    only_seconds: bool = False
    """Whether ``seconds`` counts where a scenario has a time of its own, too."""

    @classmethod
    def of_this_machine(cls, seconds: float, *, only_seconds: bool = False) -> Conditions:
        """The collector on the first core, load and sink on the second, if there are two."""
        cores = sorted(os.sched_getaffinity(0))
        first, second = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
        return cls(seconds, collector_core=first, load_core=second, only_seconds=only_seconds)

    def seconds_of(self, scenario: Scenario) -> float:
        """How long the measured part of a scenario is."""
        own_s = scenario.seconds if isinstance(scenario, Load) else None
        return self.seconds if own_s is None or self.only_seconds else own_s


def run(
    peer: Peer, scenario: Scenario, conditions: Conditions, base: float | None = None
) -> dict[str, Any]:
    """Measure. Raises `RuntimeError` when a program does not start or breaks off.

    ``base``: the requests a second that the Go collector takes, for an overload.
    """
    setup, core = scenario.setup, conditions.load_core
    with ExitStack() as stack:
        sink = stack.enter_context(helper(f"benchmarks.{setup.sink}", core))
        target = stack.enter_context(helper("benchmarks.target", core)) if setup.series else None
        sink_port, target_port = sink.hear(), 0
        if target is not None:
            target.tell(str(setup.series))
            target_port = target.hear()
        around = Around(sink_port, target_port)
        collector = Measured(peer, setup, around, conditions.collector_core)
        generator = None
        if isinstance(scenario, Load):
            # Requests are computed on the one core while the collector starts on the other.
            generator = stack.enter_context(helper("benchmarks.load", core))
            generator.tell(json.dumps(asdict(_plan(scenario, collector))))
        stack.enter_context(collector)
        head = {
            "peer": peer.name,
            "scenario": scenario.name,
            "command": collector.command,
            "reference_ms": reference_ms(conditions.collector_core),
        }
        if isinstance(scenario, Idle):
            return head | _idle(collector)
        arrival = scenario.arrival if isinstance(scenario, Load) else Arrival()
        books = Books(sink, target, setup, arrival)
        if isinstance(scenario, Scrape):
            return head | _scrape(collector, books, conditions)
        if setup.page_s:
            reader = stack.enter_context(helper("benchmarks.page", core))
            reader.tell(json.dumps({"port": collector.page_port, "every_s": setup.page_s}))
        assert generator is not None
        generator.hear()
        sender = _Sender(generator, collector, books, scenario)
        sender.send(_warm_up(scenario, conditions))
        return head | _load(sender, scenario, conditions, base)


def _warm_up(scenario: Load, conditions: Conditions) -> Part:
    """What is not measured: long enough for every different request of a few to have been there."""
    if scenario.mode in {Mode.OVERLOAD, Mode.OVERLOAD_OWN}:
        return Part(0, conditions.warm_up_s, _SATURATION_IN_FLIGHT)
    once_s = scenario.workload.distinct / scenario.rate if scenario.rate else 0.0
    return Part(scenario.rate, max(conditions.warm_up_s, 1.2 * once_s), scenario.in_flight)


def _plan(scenario: Load, collector: Measured) -> Plan:
    workload = scenario.workload
    port = collector.grpc_port if scenario.transport == "grpc" else collector.http_port
    return Plan(
        scenario.transport, port, str(workload.signal), workload.items, workload.points,
        scenario.connections, workload.steady, scenario.setup.compression,
        collector.certificate, workload.distinct, workload.delta,
    )  # fmt: skip


def _idle(collector: Measured) -> dict[str, Any]:
    time.sleep(_IDLE_SETTLE_S)
    before_s = collector.cpu_s()
    neighbours = Neighbours()
    time.sleep(_IDLE_S)
    others, names = neighbours.busy()
    return {
        "ready_s": collector.ready_s,
        "ready_cpu_s": collector.ready_cpu_s,
        "idle_cpu_percent": (collector.cpu_s() - before_s) / _IDLE_S * 100,
        "resident_mib": collector.resident_bytes() / _MIB,
        "peak_mib": collector.peak_bytes() / _MIB,
        "others_busy": others,
        "remarks": remark(others, names),
    }


def _scrape(collector: Measured, books: Books, conditions: Conditions) -> dict[str, Any]:
    """Scrapes for a time. CPU is counted between two moments, samples between the same two."""
    _await_first_page(books)
    time.sleep(_SCRAPE_SETTLE_S)
    books.settle("metrics", 0)
    began_s, before_s, pages = time.perf_counter(), collector.cpu_s(), books.pages
    helpers_s, neighbours = books.helpers_cpu_s, Neighbours()
    with Memory(collector) as memory:
        time.sleep(conditions.seconds)
        books.settle("metrics", 0)
        cpu_s, elapsed_s = collector.cpu_s() - before_s, time.perf_counter() - began_s
    others, names = neighbours.busy()
    items = (books.pages - pages) * books.page_items
    load_busy = (books.helpers_cpu_s - helpers_s) / elapsed_s
    peak = collector.peak_bytes()
    books.settle("metrics", 0, stop=True)
    return {
        "ns_per_item": cpu_s / max(1, items) * 1e9,
        "us_per_request": cpu_s / max(1, books.pages - pages) * 1e6,
        "items_per_s": items / elapsed_s,
        "p50_ms": 0.0,
        "p99_ms": 0.0,
        "resident_mib": _steady(memory.samples),
        "peak_mib": peak / _MIB,
        "collector_busy": cpu_s / elapsed_s,
        "load_busy": load_busy,
        "others_busy": others,
        "refused": 0,
        "memory_mib": memory.samples,
        "remarks": _remarks(
            _bottleneck({"late": 0, "sent": 1}, load_busy, cpu_s / elapsed_s),
            [remark(others, names)],
        ),
    } | books.outcome("metrics", collector)


def _await_first_page(books: Books) -> None:
    """Some collectors take five seconds to find their targets. Raises `RuntimeError` for ever."""
    deadline_s = time.monotonic() + _FIRST_PAGE_S_MAX
    while not books.pages_served():
        if time.monotonic() > deadline_s:
            raise RuntimeError("nothing is scraped")
        time.sleep(0.1)


class _Sender:
    """Has parts of a load sent, and finds out what each of them cost."""

    def __init__(
        self, generator: Helper, collector: Measured, books: Books, scenario: Load
    ) -> None:
        self._generator = generator
        self.collector = collector
        self.books = books
        self.signal = str(scenario.workload.signal)
        self._items = scenario.workload.items
        self._sent = 0
        """Items that were acknowledged in all parts together."""

    def send(self, part: Part) -> dict[str, Any]:
        """The figures of one part, and its result: rates under ``requests_per_s``."""
        collector, books = self.collector, self.books
        before, helpers_s, pages = books.counts, books.helpers_cpu_s, books.pages
        delivered, neighbours = books.delivered(self.signal), Neighbours()
        cpu_before_s = collector.cpu_s()
        with Memory(collector) as memory:
            self._generator.tell(json.dumps(asdict(part)))
            result = self._generator.hear()
        delivered = books.delivered(self.signal) - delivered
        acknowledged = int(result["acknowledged"])
        self._sent += acknowledged * self._items
        books.settle(self.signal, self._sent)
        cpu_s = collector.cpu_s() - cpu_before_s
        others, names = neighbours.busy()
        items = acknowledged * self._items + (books.pages - pages) * books.page_items
        elapsed_s = result["elapsed_s"]
        load_busy = (result["cpu_s"] + books.helpers_cpu_s - helpers_s) / elapsed_s
        exports = books.counts["requests"] - before.get("requests", 0)
        return {
            "ns_per_item": cpu_s / max(1, items) * 1e9,
            "us_per_request": cpu_s / max(1, acknowledged) * 1e6,
            "items_per_s": items / elapsed_s,
            "requests_per_s": acknowledged / elapsed_s,
            "delivered_per_s": delivered / elapsed_s,
            "p50_ms": result["p50_ms"],
            "p99_ms": result["p99_ms"],
            "resident_mib": _steady(memory.samples),
            "peak_mib": collector.peak_bytes() / _MIB,
            "collector_busy": cpu_s / elapsed_s,
            "load_busy": load_busy,
            "others_busy": others,
            "items_per_export": items / max(1, exports),
            "refused": result["refused"],
            "given_up": result["given_up"],
            "memory_mib": memory.samples,
            "remarks": _remarks(
                _bottleneck(result, load_busy, cpu_s / elapsed_s), [remark(others, names)]
            ),
        }

    def outcome(self) -> dict[str, Any]:
        """Whether everything that was acknowledged has arrived."""
        return self.books.outcome(self.signal, self.collector)


def _load(
    sender: _Sender, scenario: Load, conditions: Conditions, base: float | None
) -> dict[str, Any]:
    seconds = conditions.seconds_of(scenario)
    if scenario.mode is Mode.STEADY:
        figures = sender.send(Part(scenario.rate, seconds, scenario.in_flight))
    elif scenario.mode is Mode.SATURATION:
        figures = sender.send(Part(0, seconds, scenario.in_flight))
        figures["items_per_s"] = _throughput(figures)
        half_rate = figures["items_per_s"] / scenario.workload.items / 2
        half = sender.send(Part(half_rate, seconds, scenario.in_flight * 4))
        # How long requests take says little where each waits for those before it.
        figures |= {key: half[key] for key in ("p50_ms", "p99_ms")}
        figures["half_items_per_s"] = half["items_per_s"]
    else:
        figures = _overload(sender, scenario, seconds, base)
    return figures | sender.outcome()


def _overload(
    sender: _Sender, scenario: Load, seconds: float, base: float | None
) -> dict[str, Any]:
    """What it takes, and then what becomes of more than that."""
    alone = Part(0, min(seconds / 3, _SATURATION_S_MAX), _SATURATION_IN_FLIGHT)
    own = _throughput(sender.send(alone))
    if scenario.mode is Mode.OVERLOAD_OWN:
        base = own / scenario.workload.items
    rate = scenario.rate if base is None else base * _OVER
    figures = sender.send(Part(rate, seconds, scenario.in_flight, gives_up=True))
    offered, goodput = rate * scenario.workload.items, _throughput(figures)
    said = [] if base else ["offered load as in the file: no Go collector to ask"]
    if offered < own:
        said.append("the load is less than what it takes")
    return figures | {
        "items_per_s": goodput,
        "saturation_items_per_s": own,
        "offered_items_per_s": offered,
        "goodput_share": goodput / max(min(offered, own), 1.0),
        "remarks": _remarks([figures["remarks"]], said),
    }


def _throughput(figures: dict[str, Any]) -> float:
    """Items a second that went through; what was acknowledged and only queued is not."""
    return float(min(figures["items_per_s"], figures["delivered_per_s"]))


def saturation(peer: Peer, scenario: Load, conditions: Conditions) -> float:
    """The requests a second that a collector takes in a scenario. Raises `RuntimeError`."""
    closed = Load(
        scenario.name, scenario.setup, scenario.transport, scenario.workload, 0,
        scenario.connections, _SATURATION_IN_FLIGHT, mode=Mode.STEADY,
    )  # fmt: skip
    return _throughput(run(peer, closed, conditions)) / scenario.workload.items


def _steady(samples: list[tuple[float, float]]) -> float:
    """The usual memory of the later half of a run, in MiB."""
    return statistics.median(mib for _, mib in samples[len(samples) // 2 :])


def _bottleneck(result: dict[str, float], load_busy: float, collector_busy: float) -> Iterable[str]:
    """Who was the bottleneck, where somebody was."""
    if load_busy > _BUSY:
        yield "load generator and sink were the bottleneck"
    if collector_busy > _BUSY:
        yield "the collector was saturated"
    if result["late"] > _LATE_SHARE * result["sent"] and max(load_busy, collector_busy) <= _BUSY:
        yield "requests were late: the machine was busy with something else"


def _remarks(*texts: Iterable[str]) -> str:
    return "; ".join(text for some in texts for text in some if text)
