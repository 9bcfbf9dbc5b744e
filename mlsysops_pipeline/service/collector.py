"""`Collector`: a configuration that runs. The command line is a thin shell around this class."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any, Self

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import ComponentID, Kind, Status
from mlsysops_pipeline.config import Severity, load_configuration
from mlsysops_pipeline.errors import ConfigError, RetryableError
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.service import lifecycle
from mlsysops_pipeline.service.graph import Graph, GraphBuilder
from mlsysops_pipeline.service.host import Surroundings
from mlsysops_pipeline.service.process import ProcessMetrics, observe_graph
from mlsysops_pipeline.service.status import StatusBoard
from mlsysops_pipeline.service.telemetry import TelemetryServer
from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.component import ComponentStatus, Factory
    from mlsysops_pipeline.config import Configuration, ConfigurationSource
    from mlsysops_pipeline.functions.telemetry import Telemetry
    from mlsysops_pipeline.ledger import ExporterLedger, PipelineLedger
    from mlsysops_pipeline.meter import Sample
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.pdata.signal import Signal

_LOGGER = logging.getLogger("mlsysops_pipeline.service")
DRAIN_S = 20.0
"""How long a stop may take for handing on what was accepted (Kubernetes kills after 30 s)."""


class Collector:
    """Receives, processes and exports telemetry as its configuration says.

    Use it as an asynchronous context manager, or call `start` and `shutdown`. The configuration is
    a dict, a path or URI, or a list of them, merged from left to right; a checked `Configuration`
    is taken as it is.

    ``sources``: names of receivers that this program feeds by `feed`. ``sinks``: exporters that
    are functions of this program: ``async def sink(payload)``; what they raise is answered like
    any exporter's error. ``processors``: functions as the processor `python` calls them, as their
    `collector_processor` decorator says. All are component types under their own name, so
    pipelines refer to them without any further configuration.

    Raises `ConfigError` with every problem at once. Warnings are logged.
    """

    def __init__(
        self,
        config: ConfigurationSource | Iterable[ConfigurationSource] | Configuration,
        *,
        sources: Iterable[str] = (),
        sinks: Mapping[str, Callable[[Payload], Awaitable[None]]] | None = None,
        processors: Mapping[str, Callable[[Telemetry], Any]] | None = None,
        registry: Registry | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._sinks = dict(sinks or {})
        embedded = _embedded(sources, self._sinks, processors or {})
        self.registry = (registry or Registry.installed()).extended(embedded)
        self.configuration = _checked(config, self.registry, embedded)
        self._clock = clock or SystemClock()
        self._board = StatusBoard(self._clock)
        self._board.on_fatal = self._fatal
        self._around = Surroundings(self._clock, self._board)
        metrics_level = self.configuration.service.telemetry.metrics.level
        self._around.meter.is_detailed = metrics_level == "detailed"
        self._around.folders = self.configuration.folders()
        self._process = ProcessMetrics(self._around)
        self._tasks = Tasks(_LOGGER)
        self._telemetry: TelemetryServer | None = None
        self._stopping = asyncio.Event()
        self._started = self._ended = False
        self.graph: Graph = GraphBuilder(self.configuration, self.registry, self._around).build()
        self.resource = self._resource()
        observe_graph(self.graph, self._around)

    def _resource(self) -> dict[str, str]:
        given = self.configuration.service.telemetry.resource_attributes()
        defaults: dict[str, str | None] = {
            "service.name": "mlsysops-collector",
            "service.version": VERSION,
            "service.instance.id": str(uuid.uuid4()),
        }
        return {key: value for key, value in {**defaults, **given}.items() if value is not None}

    async def start(self) -> None:
        """Start every component, receivers last.

        Raises `lifecycle.StartError` if one cannot start; everything else is shut down again. What
        was stopped does not start again: components keep nothing of their resources.
        """
        if self._started or self._ended:
            raise lifecycle.StartError("a collector starts once; make a new one")
        self._started = True
        metrics = self.configuration.service.telemetry.metrics
        self._telemetry = TelemetryServer(metrics, self._around, self.resource)
        await self._telemetry.start()
        try:
            await lifecycle.start(self.graph, self._around)
        except BaseException:
            await self._release()
            raise
        self._tasks.spawn_forever("event loop lag", self._process.measure_lag)
        self._around.is_ready = True
        _LOGGER.info("Everything is ready. Begin running and processing data.")

    async def shutdown(self, deadline_s: float = DRAIN_S) -> None:
        """Stop intake, hand on what was accepted within ``deadline_s``, release everything.

        What could not be delivered is counted as dropped with the reason `shutdown`. Safe before
        `start` and twice.
        """
        if not self._started:
            return
        self._started, self._ended = False, True
        self._around.is_ready = False
        _LOGGER.info("Starting shutdown...")
        await lifecycle.shutdown(self.graph, self._around, deadline_s=deadline_s)
        await self._release()
        _LOGGER.info("Shutdown complete.")

    async def _release(self) -> None:
        await self._tasks.shutdown()
        if self._telemetry is not None:
            await self._telemetry.shutdown()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    async def feed(self, source: str, payload: Payload) -> None:
        """Give a payload to the pipelines behind one of the ``sources``.

        Returns when they took responsibility. Raises `RetryableError` or `PermanentError`, as
        `Consumer.consume` does, the former too when the collector does not run, and `KeyError` if
        no pipeline uses the source.
        """
        from mlsysops_pipeline.service.embedding import Source  # noqa: PLC0415  a type test

        receiver = self.graph.receivers.get(ComponentID.parse(source))
        if not isinstance(receiver, Source):
            raise KeyError(f"{source} is no source that a pipeline uses")
        if not self._around.is_ready:
            raise RetryableError("the collector is not running")
        await receiver.feed(payload)

    def metrics(self) -> list[Sample]:
        """The collector's own metrics: names, attributes and values of this moment."""
        return list(self._around.meter.samples())

    def bytes_in_flight(self) -> int:
        """What requests hold between their arrival and their departure: see `MemoryAccount`."""
        return self._around.memory.in_flight

    def statuses(self) -> tuple[ComponentStatus, ...]:
        """The state of every component."""
        return self._board.all()

    def pipeline_ledgers(self) -> dict[str, PipelineLedger]:
        """The ledger of every pipeline, by the pipeline's id."""
        return {str(id_): pipeline.ledger for id_, pipeline in self.graph.pipelines.items()}

    def exporter_ledgers(self) -> dict[tuple[str, Signal], ExporterLedger]:
        """The ledger of every exporter and signal."""
        return {
            (str(id_), signal): sender.ledger
            for id_, slot in self.graph.exporters.items()
            for signal, sender in slot.senders.items()
        }

    def ports(self) -> dict[str, dict[str, int]]:
        """The ports that receivers listen on, by receiver and protocol, for port 0 in tests."""
        return {
            str(id_): dict(receiver.ports)
            for id_, receiver in self.graph.receivers.items()
            if hasattr(receiver, "ports")
        }

    @property
    def telemetry_port(self) -> int | None:
        """The port of the self-metrics, ``None`` when they are not served."""
        return None if self._telemetry is None else self._telemetry.port

    def _fatal(self, state: ComponentStatus) -> None:
        _LOGGER.error(
            "Asynchronous error received, terminating process: %s %s: %s",
            state.kind.value,
            state.id,
            state.message,
        )
        self._stopping.set()

    async def failed(self) -> None:
        """Return when a component reported a fatal error and the collector should be stopped."""
        await self._stopping.wait()

    def __repr__(self) -> str:
        counts = (
            f"pipelines={len(self.graph.pipelines)} receivers={len(self.graph.receivers)} "
            f"exporters={len(self.graph.exporters)}"
        )
        return f"<Collector {'running' if self._started else 'stopped'} {counts}>"


def _embedded(
    sources: Iterable[str],
    sinks: Mapping[str, Callable[[Payload], Awaitable[None]]],
    processors: Mapping[str, Callable[[Telemetry], Any]],
) -> list[Factory]:
    """The component types that the embedding program brings."""
    names = list(sources)
    if not (names or sinks or processors):
        return []
    from mlsysops_pipeline.service import embedding  # noqa: PLC0415  the command line has none

    embedded = [embedding.source_factory(name) for name in names]
    embedded += [embedding.sink_factory(name, sink) for name, sink in sinks.items()]
    embedded += [embedding.processor_factory(name, call) for name, call in processors.items()]
    return embedded


def _checked(
    config: ConfigurationSource | Iterable[ConfigurationSource] | Configuration,
    registry: Registry,
    embedded: list[Factory],
) -> Configuration:
    from mlsysops_pipeline.config import Configuration as Checked  # noqa: PLC0415  a type test

    if isinstance(config, Checked):
        return config
    from mlsysops_pipeline.service.embedding import with_embedded  # noqa: PLC0415  as above

    sources = with_embedded(config, embedded)
    configuration, problems = load_configuration(sources, registry)
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors or configuration is None:
        raise ConfigError(errors)
    for problem in problems:
        _LOGGER.log(problem.level, "%s", problem)
    return configuration


__all__ = ["DRAIN_S", "Collector", "Kind", "Status"]
