"""Removes metrics, data points, log records and spans that the configuration names.

Component reference: C3: ``include`` and ``exclude`` by name, severity, body and attributes, and
conditions as far as `mlsysops_pipeline.conditions` has them; what it has not is refused. What stays
is never written anew, item by item, and a request of which all stays is the same object. Metrics,
scopes and resources that have nothing left go too. A difference from the Collector: one that was
empty before stays where nothing of its request is removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.filter.config import Config
from mlsysops_processors.filter.sieves import passes

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Payload

_OPEN_FACTOR = 3
"""What an open view is charged, in sizes of the wire (see "Payload and views" in the design)."""
_NOUNS = {Signal.METRICS: "datapoints", Signal.LOGS: "logs", Signal.TRACES: "spans"}


class FilterProcessor:
    """Implements `Processor`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        self._ledger = settings.pipeline_ledger
        self._passes = {signal: passes(config, signal) for signal in settings.signals}
        labels = {"filter": str(settings.id)}
        self._filtered = {
            signal: settings.meter.counter(
                f"otelcol_processor_filter_{noun}.filtered",
                "{item}",
                f"Number of {noun} dropped by the filter processor",
            ).bind(labels)
            for signal, noun in _NOUNS.items()
            if signal in settings.signals
        }

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    def process(self, payload: Payload) -> Payload | None:
        """What stays; the payload itself if all does. Raises `MalformedError`."""
        steps, opens = self._passes[payload.signal]
        with self._settings.memory.held(_OPEN_FACTOR * payload.size if opens else 0):
            wires = []
            is_same = True
            for wire in payload.wires:
                kept = wire
                for step in steps:
                    if kept:
                        kept = step(kept, payload.metadata)
                is_same = is_same and kept is wire
                if kept:
                    wires.append(kept)
        if is_same:
            return payload
        result = payload.with_wires(wires) if wires else None
        removed = payload.items - (result.items if result is not None else 0)
        if removed:
            self._ledger.filter(str(self._settings.id), removed)
            self._filtered[payload.signal].add(removed)
        return result

    def __repr__(self) -> str:
        counts = {str(signal): number.value for signal, number in self._filtered.items()}
        return f"<FilterProcessor {self._settings.id} filtered={counts}>"


def _create(config: Config, settings: Settings, next_: None) -> FilterProcessor:  # noqa: ARG001
    return FilterProcessor(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="filter",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.ALPHA,
)
