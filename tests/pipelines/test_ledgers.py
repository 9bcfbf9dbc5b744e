"""The ledger identities over random pipelines of everything there is (design, "Ledger").

Pipeline: received = handed on + held + filtered + aggregated + dropped - created. Exporter:
enqueued = sent + queued + in flight + dropped. Looked at whenever no payload is on the way, and at
the end, when nothing may be held any more. What exporters say that they sent is what arrived.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline import Collector
from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.delivery import DeliveryConfig
from mlsysops_pipeline.errors import ConsumeError, DropReason, PermanentError, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.testing import JumpClock, advance_until, settle
from tests.pipelines import graphs

if TYPE_CHECKING:
    from mlsysops_pipeline.functions.telemetry import Telemetry
    from mlsysops_pipeline.pdata.payload import Payload

STEPS = 8


class Weather:
    """What destinations do, for a while. ``refusing``: the share of payloads."""

    def __init__(self, seed: int) -> None:
        self.rolls = random.Random(seed)  # noqa: S311  reproducible on purpose
        self.refusing = 0.2
        self.wait_s = 0.0

    def change(self) -> None:
        """Better, or worse."""
        self.refusing = self.rolls.choice((0.0, 0.2, 0.2, 1.0))
        self.wait_s = self.rolls.choice((0.0, 0.0, 0.3, 4.0))


class Flaky:
    """An exporter whose destination refuses now and then. ``arrived``: items of each signal."""

    def __init__(self, weather: Weather, clock: JumpClock) -> None:
        self.weather = weather
        self.clock = clock
        self.arrived = dict.fromkeys(Signal, 0)

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    async def export(self, payload: Payload) -> None:
        """Take it, or not."""
        if self.weather.wait_s:
            await self.clock.sleep(self.weather.wait_s)
        if self.weather.rolls.random() < self.weather.refusing:
            raise RetryableError("busy")
        if self.weather.rolls.random() < 0.1:
            raise PermanentError("wrong")
        self.arrived[payload.signal] += payload.items


def mine(telemetry: Telemetry) -> Any:
    """A user's function that does all that one can do."""
    doing = random.randrange(5)  # noqa: S311  which of them follows from nothing but the seed
    if doing == 0:
        raise ValueError("a mistake")
    if doing == 1:
        return None
    if doing == 2:
        return False
    if doing == 3:
        return "garbage"
    return [telemetry, telemetry]


class World:
    """A collector of a random graph, and what is checked of it."""

    def __init__(self, seed: int) -> None:
        self.rolls = random.Random(seed)  # noqa: S311  reproducible on purpose
        random.seed(seed)
        self.clock = JumpClock()
        self.exporters: list[Flaky] = []
        self.config = graphs.graph(self.rolls)
        self.weather = Weather(seed + 1)

        def create(_config: Any, _settings: Any, _next: None) -> Flaky:
            self.exporters.append(Flaky(self.weather, self.clock))
            return self.exporters[-1]

        flaky = Factory(Kind.EXPORTER, "flaky", DeliveryConfig, create, signals=frozenset(Signal))
        self.collector = Collector(
            self.config,
            sources=["app"],
            processors={"mine": mine},
            registry=Registry.installed().extended([flaky]),
            clock=self.clock,
        )
        self.tasks = Tasks(logging.getLogger("test"))
        pipelines = self.config["service"]["pipelines"]
        self.signals = [
            Signal(name.partition("/")[0])
            for name, pipeline in pipelines.items()
            if "app" in pipeline["receivers"]
        ]

    async def run(self) -> None:
        await self.collector.start()
        began = self.clock.monotonic()
        for _ in range(STEPS):
            for _ in range(self.rolls.choice((1, 1, 5))):
                signal = self.rolls.choice(self.signals)
                payload = graphs.payload(self.rolls, signal, self.clock.monotonic() - began)
                self.tasks.spawn("feed", self.feed(payload))
            await advance_until(self.clock, lambda: not len(self.tasks), step_s=0.5)
            self.weather.change()
            await self.clock.advance(self.rolls.choice((0.0, 0.2, 3.0, 70.0)))
            self.check()
        stopping = self.tasks.spawn("stop", self.collector.shutdown())
        await advance_until(self.clock, stopping.done, step_s=0.5)
        await settle()
        assert self.is_quiet()
        self.check()
        for name, ledger in self.collector.pipeline_ledgers().items():
            assert 0 == ledger.held, name
        for (name, _), books in self.collector.exporter_ledgers().items():
            assert (0, 0) == (books.queued, books.in_flight), name
        sent = sum(one.sent for one in self.collector.exporter_ledgers().values())
        assert sum(sum(one.arrived.values()) for one in self.exporters) == sent

    async def feed(self, payload: Payload) -> None:
        try:
            await self.collector.feed("app", payload)
        except ConsumeError:
            return  # it went back to its sender

    def is_quiet(self) -> bool:
        """Whether no payload is between a pipeline and a destination without a queue.

        What such a one lost on its way has been counted, and who sent it holds it all the same.
        """
        books = self.collector.exporter_ledgers()
        return not any(
            ledger.in_flight
            for (name, _), ledger in books.items()
            if not self.config["exporters"][name]["sending_queue"]["enabled"]
        )

    def check(self) -> None:
        for name, ledger in self.collector.pipeline_ledgers().items():
            if not self.is_quiet():
                break
            assert 0 == ledger.imbalance, f"{name}: {ledger}\n{self.config}"
            assert set(ledger.dropped) <= set(DropReason)
            assert min((*ledger.dropped.values(), *ledger.filtered.values()), default=0) >= 0
        for (name, signal), books in self.collector.exporter_ledgers().items():
            assert 0 == books.imbalance, f"{name} {signal}: {books}\n{self.config}"


@pytest.mark.slow
@pytest.mark.timeout(60)
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_the_ledgers_of_random_pipelines_are_even(seed: int) -> None:
    asyncio.run(World(seed).run())


def test_every_processor_and_connector_has_its_turn() -> None:
    """So that a new component is not forgotten here."""
    registry = Registry.installed()
    drawn = {*graphs.PROCESSORS, *graphs.FOR_OTHERS, "routing"}
    # `python` calls functions as `mine` does, which is given by the program.
    drawn = (drawn - {"mine"}) | {"python"}
    assert drawn == {factory.type for factory in registry.factories(Kind.PROCESSOR)}
    connectors = {factory.type for factory in registry.factories(Kind.CONNECTOR)}
    assert {"forward", "routing", "count", "sum"} == connectors
