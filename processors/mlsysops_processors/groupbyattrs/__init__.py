"""Moves attributes of items to their resource, and puts items of equal resources together.

Component reference: C8. Without keys it only compacts: what one request has in several groups of
equal resources and scopes becomes one. It works best behind `batch`. Differences from the
Collector: metrics are merged only where everything but their points is equal (unit, description,
temporality, unknown fields), and a metric without points is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.pdata.sieve import resources
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.groupbyattrs.regrouping import Extractor, Regrouping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Payload

_OPEN_FACTOR = 6
"""What is charged, in sizes of the wire: a view of the request and one of the result."""
_NOUNS = {Signal.METRICS: "metric", Signal.LOGS: "log", Signal.TRACES: "span"}
_BOUNDS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)


class Config(ComponentConfig):
    """By what to group."""

    keys: tuple[str, ...] = ()
    """Attributes of data points, log records and spans that become attributes of their resource
    (in the place of equal ones). None: only put together what has equal resources and scopes."""

    def check(self) -> Iterable[Finding]:
        """Keys have names."""
        for index, key in enumerate(self.keys):
            if not key:
                yield Finding(("keys", index), "must not be empty")


class GroupByAttrsProcessor:
    """Implements `Processor`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        keys = tuple(dict.fromkeys(key.encode("utf-8", "replace") for key in config.keys))
        self._extractors = {signal: Extractor(signal, keys) for signal in settings.signals}
        labels = {"processor": str(settings.id)}
        name = "otelcol_processor_groupbyattrs_{}".format
        counter, histogram = settings.meter.counter, settings.meter.histogram
        self._counts = {
            signal: (
                counter(name(f"num_grouped_{noun}s"), "{item}").bind(labels),
                counter(name(f"num_non_grouped_{noun}s"), "{item}").bind(labels),
                histogram(name(f"{noun}_groups"), _BOUNDS).bind_distribution(labels),
            )
            for signal, noun in _NOUNS.items()
            if signal in settings.signals
        }

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    def process(self, payload: Payload) -> Payload:
        """The request in its new groups; itself where there is one and nothing to move.

        Raises `MalformedError`.
        """
        signal = payload.signal
        extractor = self._extractors[signal]
        wire = payload.joined()
        with_key, without_key, groups = self._counts[signal]
        if len(resources(wire)) < 2 and not extractor.touches(wire):
            without_key.add(payload.items)
            return payload
        regrouping = Regrouping(signal, extractor)
        with self._settings.memory.held(_OPEN_FACTOR * payload.size):
            result = payload.with_wires(regrouping.run(wire), items=payload.items)
        if regrouping.grouped:
            with_key.add(regrouping.grouped)
        if payload.items > regrouping.grouped:
            without_key.add(payload.items - regrouping.grouped)
        groups.record(regrouping.groups)
        return result

    def __repr__(self) -> str:
        counts = {str(signal): number.value for signal, (number, *_) in self._counts.items()}
        return f"<GroupByAttrsProcessor {self._settings.id} grouped={counts}>"


def _create(
    config: Config,
    settings: Settings,
    next_: None,  # noqa: ARG001  the factory's contract
) -> GroupByAttrsProcessor:
    return GroupByAttrsProcessor(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="groupbyattrs",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.BETA,
)
