"""Receivers, processors and exporters that are functions of the embedding program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Entry, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config import DictSource, SetSource
from mlsysops_pipeline.config.schema import ComponentConfig, Duration, Section
from mlsysops_pipeline.delivery import DeliveryConfig, QueueConfig, RetryConfig
from mlsysops_pipeline.errors import PermanentError
from mlsysops_pipeline.functions.options import CallConfig, options_of
from mlsysops_pipeline.functions.processor import FunctionProcessor
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mlsysops_pipeline.component import Consumer
    from mlsysops_pipeline.config import ConfigurationSource
    from mlsysops_pipeline.functions.options import Options
    from mlsysops_pipeline.functions.telemetry import Telemetry
    from mlsysops_pipeline.pdata.payload import Payload


class SourceConfig(ComponentConfig):
    """No keys: the embedding program feeds it."""


class SinkConfig(DeliveryConfig):
    """Queue, retry and timeout as of any exporter, all off unless they are written."""

    sending_queue: Section[QueueConfig] = None
    """The queue in front of the function. Off: `feed` waits for the function and gets its error."""
    retry_on_failure: Section[RetryConfig] = None
    """Calling again after a `RetryableError`. Off unless written."""
    timeout: Duration = 0.0
    """How long one call may take, in seconds. 0: as long as it takes."""


class Source:
    """A receiver that is fed by `Collector.feed`."""

    def __init__(self, next_: Mapping[Signal, Entry], settings: Settings) -> None:
        self._next = next_
        self._settings = settings

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    async def feed(self, payload: Payload) -> None:
        """Hand a payload to the pipelines of its signal."""
        entry = self._next.get(payload.signal)
        if entry is None:
            raise PermanentError(f"no pipeline takes {payload.signal} from {self._settings.id}")
        entry.admit(payload.size)
        await entry.consume(payload)


class SinkExporter:
    """An exporter that calls a function of the embedding program."""

    def __init__(self, call: Callable[[Payload], Awaitable[None]]) -> None:
        self._call = call

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    async def export(self, payload: Payload) -> None:
        """Call the function."""
        await self._call(payload)


def source_factory(name: str) -> Factory:
    """A receiver type called ``name``."""

    def create(_config: SourceConfig, settings: Settings, next_: Mapping[Signal, Entry]) -> Source:
        return Source(next_, settings)

    return Factory(
        Kind.RECEIVER,
        name,
        SourceConfig,
        create,
        signals=frozenset(Signal),
        stability=Stability.STABLE,
    )


def sink_factory(name: str, call: Callable[[Payload], Awaitable[None]]) -> Factory:
    """An exporter type called ``name``."""

    def create(_config: SinkConfig, _settings: Settings, _next: None) -> SinkExporter:
        return SinkExporter(call)

    return Factory(
        Kind.EXPORTER,
        name,
        SinkConfig,
        create,
        signals=frozenset(Signal),
        stability=Stability.STABLE,
    )


def processor_factory(name: str, function: Callable[[Telemetry], Any]) -> Factory:
    """A processor type called ``name`` that calls ``function``; its keys are those of `python`."""

    def create(config: CallConfig, settings: Settings, next_: Consumer) -> FunctionProcessor:
        def find() -> tuple[Callable[[Telemetry], Any], Options]:
            return function, config.over(options_of(function))

        return FunctionProcessor(find, settings, next_)

    return Factory(
        Kind.PROCESSOR,
        name,
        CallConfig,
        create,
        signals=frozenset(Signal),
        stability=Stability.STABLE,
    )


def with_embedded(
    config: ConfigurationSource | Iterable[ConfigurationSource], embedded: Iterable[Factory]
) -> list[ConfigurationSource]:
    """The sources as a list, with the embedded components defined before all others."""
    first: dict[str, Any] = {}
    for factory in embedded:
        first.setdefault(factory.kind.section, {})[factory.type] = None
    if isinstance(config, str | Path | Mapping | DictSource | SetSource):
        sources: list[ConfigurationSource] = [config]
    else:
        sources = list(config)
    return [first, *sources] if first else sources
