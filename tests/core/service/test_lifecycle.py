"""Order and deadlines of starting and stopping (service behaviour, sections 5.2 and 5.3)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mlsysops_pipeline.component import ComponentID, Kind, PipelineID, Status
from mlsysops_pipeline.ledger import PipelineLedger
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.service import lifecycle
from mlsysops_pipeline.service.graph import ExporterSlot, Graph, Pipeline
from mlsysops_pipeline.service.host import Surroundings
from mlsysops_pipeline.service.status import StatusBoard
from mlsysops_pipeline.testing import JumpClock


class Recorded:
    """A component that notes what happens to it."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.events = events
        self.start_error: Exception | None = None
        self.shutdown_error: Exception | None = None
        self.hangs = False

    async def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.events.append(f"start {self.name}")

    async def shutdown(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        self.events.append(f"stop {self.name}")
        if self.shutdown_error is not None:
            raise self.shutdown_error


class RecordedSender:
    """A sender that notes when it is drained."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    async def start(self) -> None:
        self.events.append("start sender")

    async def shutdown(self, drain_s: float) -> None:
        self.events.append(f"drain sender {drain_s:.0f}")


class World:
    """A small graph: one component of each kind, two processors."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.around = Surroundings(JumpClock(), StatusBoard(JumpClock()))
        self.parts: dict[str, Recorded] = {
            name: Recorded(name, self.events)
            for name in ("receiver", "p1", "p2", "connector", "exporter", "extension")
        }
        processors: Any = tuple((ComponentID(n), self.parts[n]) for n in ("p1", "p2"))
        entry: Any = None
        pipeline = Pipeline(PipelineID(Signal.LOGS), entry, PipelineLedger(), processors)
        sender: Any = RecordedSender(self.events)
        connector: Any = self.parts["connector"]
        self.graph = Graph(
            receivers={ComponentID("receiver"): self.parts["receiver"]},
            exporters={
                ComponentID("exporter"): ExporterSlot(self.parts["exporter"], {Signal.LOGS: sender})
            },
            connectors={ComponentID("connector"): connector},
            extensions={ComponentID("extension"): self.parts["extension"]},
            pipelines={pipeline.id: pipeline},
        )

    def status(self, kind: Kind, name: str) -> Status | None:
        return self.around.statuses.status(kind, ComponentID(name))


async def test_starting_goes_against_the_data_and_receivers_are_last() -> None:
    world = World()
    await lifecycle.start(world.graph, world.around)

    assert [
        "start extension",
        "start exporter",
        "start sender",
        "start connector",
        "start p2",
        "start p1",
        "start receiver",
    ] == world.events
    assert Status.OK is world.status(Kind.RECEIVER, "receiver")


async def test_stopping_goes_with_the_data_and_queues_drain_before_their_exporter() -> None:
    world = World()
    await lifecycle.start(world.graph, world.around)
    world.events.clear()
    await lifecycle.shutdown(world.graph, world.around, deadline_s=20)

    assert [
        "stop receiver",
        "stop p1",
        "stop p2",
        "stop connector",
        "drain sender 20",
        "stop exporter",
        "stop extension",
    ] == world.events
    assert Status.STOPPED is world.status(Kind.EXPORTER, "exporter")


async def test_a_failed_start_names_the_component_and_stops_all_others() -> None:
    world = World()
    world.parts["receiver"].start_error = OSError("address already in use")
    with pytest.raises(
        lifecycle.StartError, match='failed to start "receiver" receiver: address already in use'
    ):
        await lifecycle.start(world.graph, world.around)

    assert "stop exporter" in world.events
    assert "stop extension" in world.events


async def test_one_that_fails_to_stop_does_not_keep_the_others_running(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    await lifecycle.start(world.graph, world.around)
    world.parts["p1"].shutdown_error = ValueError("stuck valve")
    await lifecycle.shutdown(world.graph, world.around, deadline_s=5)

    assert "stop extension" == world.events[-1]
    assert Status.PERMANENT_ERROR is world.status(Kind.PROCESSOR, "p1")
    assert "processor p1 failed to shut down" in caplog.text


async def test_one_that_hangs_is_left_behind_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifecycle, "_CLEANUP_S", 0.01)
    world = World()
    await lifecycle.start(world.graph, world.around)
    world.parts["receiver"].hangs = True
    await lifecycle.shutdown(world.graph, world.around, deadline_s=0)

    assert "stop exporter" in world.events
    assert "receiver receiver did not stop within" in caplog.text
