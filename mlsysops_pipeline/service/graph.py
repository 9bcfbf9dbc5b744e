"""Building a configuration into connected components. Nothing is started here.

One object per id: receivers, exporters, extensions, connectors, and processors whose factory says
``shared``. Every other processor is one object per id and pipeline. Each exporter gets one
`Sender` (queue, batching, retry) for each signal that reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Consumer, Kind
from mlsysops_pipeline.delivery.health import DeliveryHealth
from mlsysops_pipeline.delivery.sender import Sender
from mlsysops_pipeline.errors import Bug
from mlsysops_pipeline.ledger import ExporterLedger, PipelineLedger
from mlsysops_pipeline.service.nodes import (
    PipelineEntry,
    PipelineExit,
    ProcessorNode,
    ReceiverEntry,
    admit_unless_all_full,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlsysops_pipeline.component import (
        Component,
        ComponentID,
        Connector,
        Entry,
        Factory,
        PipelineID,
    )
    from mlsysops_pipeline.config import Configuration
    from mlsysops_pipeline.config.document import PipelineConfig
    from mlsysops_pipeline.pdata.signal import Signal
    from mlsysops_pipeline.registry import Registry
    from mlsysops_pipeline.service.host import Surroundings


@dataclass(slots=True)
class ExporterSlot:
    """An exporter, the senders that feed it, and the state that these share."""

    component: Any
    senders: dict[Signal, Sender] = field(default_factory=dict)
    health: DeliveryHealth = field(default_factory=DeliveryHealth)


@dataclass(slots=True)
class Pipeline:
    """One pipeline as it runs. ``processors`` are the component objects, in order."""

    id: PipelineID
    entry: PipelineEntry
    ledger: PipelineLedger
    processors: tuple[tuple[ComponentID, Any], ...]


@dataclass(slots=True)
class Graph:
    """The components of one configuration and how they are connected.

    ``pipelines`` are ordered so that data flows from earlier ones to later ones.
    """

    receivers: dict[ComponentID, Any] = field(default_factory=dict)
    exporters: dict[ComponentID, ExporterSlot] = field(default_factory=dict)
    connectors: dict[ComponentID, Connector] = field(default_factory=dict)
    extensions: dict[ComponentID, Any] = field(default_factory=dict)
    pipelines: dict[PipelineID, Pipeline] = field(default_factory=dict)

    def processors(self) -> Iterator[tuple[ComponentID, Any]]:
        """Every processor object once, in the order in which data meets them."""
        seen: set[int] = set()
        for pipeline in self.pipelines.values():
            for id_, processor in pipeline.processors:
                if id(processor) not in seen:
                    seen.add(id(processor))
                    yield id_, processor

    def components(self) -> Iterator[tuple[Kind, ComponentID, Component]]:
        """Every component once, in the order of starting: what data reaches last comes first."""
        for id_, extension in self.extensions.items():
            yield Kind.EXTENSION, id_, extension
        for id_, slot in self.exporters.items():
            yield Kind.EXPORTER, id_, slot.component
        for id_, connector in self.connectors.items():
            yield Kind.CONNECTOR, id_, connector
        for id_, processor in reversed(list(self.processors())):
            yield Kind.PROCESSOR, id_, processor
        for id_, receiver in self.receivers.items():
            yield Kind.RECEIVER, id_, receiver


class GraphBuilder:
    """Makes the `Graph` of a checked configuration. References are known to be right."""

    def __init__(
        self, configuration: Configuration, registry: Registry, around: Surroundings
    ) -> None:
        self._configuration = configuration
        self._registry = registry
        self._around = around
        self._pipelines = configuration.service.pipelines
        self._shared: dict[ComponentID, Any] = {}
        self._graph = Graph(extensions=around.extensions)

    def build(self) -> Graph:
        """Create every component that is used. Raises what a component's creation raises."""
        for id_ in self._configuration.service.extensions:
            factory = self._factory(Kind.EXTENSION, id_)
            settings = self._around.settings(Kind.EXTENSION, id_)
            config = self._configuration.extensions[id_].config
            self._graph.extensions[id_] = factory.create(config, settings, None)
        for pipeline in self._downstream_first():
            self._build_pipeline(pipeline, self._pipelines[pipeline])
        self._graph.pipelines = dict(reversed(self._graph.pipelines.items()))
        self._build_receivers()
        return self._graph

    def _factory(self, kind: Kind, id_: ComponentID) -> Factory:
        factory = self._registry.lookup(kind, id_.type)
        if factory is None:
            raise Bug(f"{kind.value} {id_} passed the check of the configuration unknown")
        return factory

    def _is_connector(self, id_: ComponentID) -> bool:
        return id_ in self._configuration.connectors

    def _downstream_first(self) -> list[PipelineID]:
        """Pipelines so that every one comes after those which its connectors feed."""
        order: list[PipelineID] = []
        seen: set[PipelineID] = set()

        def visit(id_: PipelineID) -> None:
            if id_ in seen:
                return
            seen.add(id_)
            for exporter in self._pipelines[id_].exporters:
                if self._is_connector(exporter):
                    for fed in self._fed_by(exporter):
                        visit(fed)
            order.append(id_)

        for id_ in reversed(list(self._pipelines)):
            visit(id_)
        return order

    def _fed_by(self, connector: ComponentID) -> list[PipelineID]:
        return [id_ for id_, plan in self._pipelines.items() if connector in plan.receivers]

    def _build_pipeline(self, id_: PipelineID, plan: PipelineConfig) -> None:
        ledger = PipelineLedger()
        destinations = [self._destination(exporter, id_.signal) for exporter in plan.exporters]
        ends = dict(zip(plan.exporters, destinations, strict=True))
        next_: Consumer = PipelineExit(ledger, destinations)
        made: list[tuple[ComponentID, Any]] = []
        gates: list[Callable[[int], None]] = []
        is_straight = all(isinstance(destination, Sender) for destination in destinations)
        for processor_id in reversed(plan.processors):
            chooses = self._factory(Kind.PROCESSOR, processor_id).chooses_exporters
            behind = ends if chooses else next_
            processor = self._processor(processor_id, id_, ledger, behind)
            made.append((processor_id, processor))
            if hasattr(processor, "admit"):
                gates.append(processor.admit)
            if isinstance(processor, Consumer):
                next_ = processor
                is_straight = False  # what it holds meets the queues later, or not at all
            else:
                settings = self._around.settings(
                    Kind.PROCESSOR, processor_id, pipeline=id_, ledger=ledger
                )
                next_ = ProcessorNode(processor, settings, next_)
        if is_straight:
            senders = [end for end in destinations if isinstance(end, Sender)]
            gates.append(admit_unless_all_full([sender.admit for sender in senders]))
        entry = PipelineEntry(id_, ledger, next_, gates)
        self._graph.pipelines[id_] = Pipeline(id_, entry, ledger, tuple(reversed(made)))

    def _processor(
        self,
        id_: ComponentID,
        pipeline: PipelineID,
        ledger: PipelineLedger,
        next_: Consumer | dict[ComponentID, Consumer],
    ) -> Any:
        factory = self._factory(Kind.PROCESSOR, id_)
        config = self._configuration.processors[id_].config
        if not factory.shared:
            settings = self._around.settings(
                Kind.PROCESSOR, id_, signals=[pipeline.signal], pipeline=pipeline, ledger=ledger
            )
            return factory.create(config, settings, next_)
        if id_ not in self._shared:
            signals = {p.signal for p, plan in self._pipelines.items() if id_ in plan.processors}
            settings = self._around.settings(Kind.PROCESSOR, id_, signals=signals)
            self._shared[id_] = factory.create(config, settings, None)
        return self._shared[id_]

    def _destination(self, id_: ComponentID, signal: Signal) -> Consumer:
        if self._is_connector(id_):
            return self._connector(id_)
        slot = self._graph.exporters.get(id_)
        section = self._configuration.exporters[id_]
        if slot is None:
            signals = {p.signal for p, plan in self._pipelines.items() if id_ in plan.exporters}
            settings = self._around.settings(Kind.EXPORTER, id_, signals=signals)
            factory = self._factory(Kind.EXPORTER, id_)
            slot = ExporterSlot(factory.create(section.config, settings, None))
            self._graph.exporters[id_] = slot
        if signal not in slot.senders:
            slot.senders[signal] = Sender(
                slot.component,
                section.config,
                self._around.settings(Kind.EXPORTER, id_, signals=[signal]),
                signal,
                ExporterLedger(),
                looping=id_ in self._configuration.loops,
                health=slot.health,
            )
        return slot.senders[signal]

    def _connector(self, id_: ComponentID) -> Connector:
        connector = self._graph.connectors.get(id_)
        if connector is None:
            entries: dict[PipelineID, Entry] = {
                fed: ReceiverEntry([self._graph.pipelines[fed].entry]) for fed in self._fed_by(id_)
            }
            settings = self._around.settings(
                Kind.CONNECTOR, id_, signals={fed.signal for fed in entries}
            )
            config = self._configuration.connectors[id_].config
            connector = self._factory(Kind.CONNECTOR, id_).create(config, settings, entries)
            self._graph.connectors[id_] = connector
        return connector

    def _build_receivers(self) -> None:
        entries: dict[ComponentID, dict[Signal, list[PipelineEntry]]] = {}
        for id_, plan in self._pipelines.items():
            for receiver in plan.receivers:
                if not self._is_connector(receiver):
                    by_signal = entries.setdefault(receiver, {})
                    by_signal.setdefault(id_.signal, []).append(self._graph.pipelines[id_].entry)
        for receiver, by_signal in entries.items():
            next_ = {signal: ReceiverEntry(targets) for signal, targets in by_signal.items()}
            settings = self._around.settings(Kind.RECEIVER, receiver, signals=next_)
            factory = self._factory(Kind.RECEIVER, receiver)
            config = self._configuration.receivers[receiver].config
            self._graph.receivers[receiver] = factory.create(config, settings, next_)
