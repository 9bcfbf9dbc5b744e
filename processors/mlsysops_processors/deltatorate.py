"""Makes rates of delta sums: value by seconds, as a gauge of doubles (components, C11).

A point whose time is not after its start has the rate 0. A metric that is named but is no delta sum
passes untouched, which is said once in a while. Beside what the Collector does: a point without a
recorded value stays one, and exemplars and fields that OTLP may add survive.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.metrics.identity import Identities
from mlsysops_pipeline.metrics.walking import (
    DELTA,
    NO_VALUE,
    UNTOUCHED,
    OpenItError,
    rewrite,
)
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.metrics.closed import Head
    from mlsysops_pipeline.metrics.walking import Outcome, Place
    from mlsysops_pipeline.pdata.payload import Payload

_OPEN_FACTOR = 3
_NS_PER_S = 1_000_000_000


class Config(ComponentConfig):
    """Which metrics become rates."""

    metrics: tuple[str, ...] = ()
    """Names of delta sums; at least one."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not self.metrics:
            yield Finding(("metrics",), "metric names are missing")


class DeltaToRate:
    """Implements `Processor`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        self._names = frozenset(name.encode() for name in config.metrics)
        self._causes = CauseLog(settings.logger, settings.clock)
        self._identities = Identities()

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    def process(self, payload: Payload) -> Payload:
        """Change the metrics that are named. Raises `MalformedError`."""
        with self._settings.memory.held(_OPEN_FACTOR * payload.size):
            wires = tuple([self._rewrite(wire) for wire in payload.wires])
        if all(new is old for new, old in zip(wires, payload.wires, strict=True)):
            return payload
        return payload.with_wires(wires)

    def _rewrite(self, wire: bytes) -> bytes:
        if not any(name in wire for name in self._names):
            return wire
        return rewrite(wire, self._identities, self._convert, self._open)

    def _open(self, metric: bytes, found: Head, place: Place) -> bytes:  # noqa: ARG002  of `rewrite`
        """Metrics that are not named stay closed."""
        if found[1] in self._names:
            raise OpenItError
        return metric

    def _convert(self, metric: Any, kind: str, place: Place) -> Outcome:  # noqa: ARG002  of `rewrite`
        if metric.name not in self._names:
            return UNTOUCHED
        if kind != "sum" or metric.sum.aggregation_temporality != DELTA:
            name = metric.name.decode(errors="replace")
            self._causes.say(
                name,
                logging.INFO,
                f"Configured metric for rate calculation {name} is not a delta sum",
            )
            return UNTOUCHED
        points = list(metric.sum.data_points)
        for point in points:
            if not point.flags & NO_VALUE:
                point.as_double = _rate(point)
        metric.gauge.data_points.extend(points)  # the last of a oneof is what counts
        if metric.unit:
            metric.unit += b"/s"
        return True, True

    def __repr__(self) -> str:
        return f"<DeltaToRate {self._settings.id} metrics={len(self._names)}>"


def _rate(point: Any) -> float:
    duration_ns = point.time_unix_nano - point.start_time_unix_nano
    if duration_ns <= 0:
        return 0.0
    kind = point.WhichOneof("value")
    return float(getattr(point, kind) / (duration_ns / _NS_PER_S)) if kind else 0.0


def _create(config: Config, settings: Settings, next_: None) -> DeltaToRate:  # noqa: ARG001
    return DeltaToRate(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="delta_to_rate",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.ALPHA,
    aliases=("deltatorate",),
)
