"""Hands on one point of every stream in each interval (components, C7).

Of cumulative streams, gauges and summaries the newest point is kept, deltas are added up (DM-2).
Sums that are not monotonic, points whose temporality nobody knows, and deltas that cannot be added
(other bounds, no finite number, no value) go on at once, as do streams beyond `STREAMS_MAX`.

Unlike the Collector's (0.159 still hands deltas on at once) it does not lose what the next stage
refuses for now: that is tried again until it is taken, while the next interval waits. What a
refused request changed is undone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from mlsysops_pipeline.component import Consumer, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig, Duration, Finding, Section
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.errors import DropReason, MalformedError, RetryableError
from mlsysops_pipeline.metrics.closed import field, head, join, known_points, points, tail
from mlsysops_pipeline.metrics.identity import Identities
from mlsysops_pipeline.metrics.leaving import Leaving
from mlsysops_pipeline.metrics.turns import Turns
from mlsysops_pipeline.metrics.walking import (
    CUMULATIVE,
    DELTA,
    NO_VALUE,
    NUMBERS,
    UNTOUCHED,
    OpenItError,
    rewrite,
)
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import serialize
from mlsysops_processors.interval.held import Held, HeldMetric, HeldResource, HeldScope, header
from mlsysops_processors.interval.layouts import Layouts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.component import Rest
    from mlsysops_pipeline.metrics.closed import Head
    from mlsysops_pipeline.metrics.walking import Outcome, Place

STREAMS_MAX = 500_000
"""The points of more streams than that in an interval go on at once."""
_OPEN_FACTOR = 3


class PassThroughConfig(ComponentConfig):
    """Kinds that are not held."""

    gauge: bool = False
    """Gauges go on at once."""
    summary: bool = False
    """Summaries go on at once."""


class Config(ComponentConfig):
    """How long points are held, and which are not."""

    acknowledges_from_memory: ClassVar[bool] = True

    interval: Duration = 60.0
    """Seconds from one handing on to the next; more than zero."""
    pass_through: Section[PassThroughConfig] = None
    """Kinds of metrics that are not held."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if self.interval <= 0:
            yield Finding(("interval",), "invalid interval value: must be greater than 0")


class IntervalProcessor:
    """Implements `HoldingProcessor`: one task hands on what was held."""

    def __init__(self, config: Config, settings: Settings, next_: Consumer) -> None:
        self._settings = settings
        self._interval_s = config.interval
        self._passes = config.pass_through or PassThroughConfig()
        self._turns = Turns(settings, next_, self._process, self._settle)
        self._identities = Identities()
        self._layouts = Layouts()
        self._held = Held()
        self._hops = self._hops_now = 0
        self._lost = 0  # points that protobuf does not know of: the last of a oneof counts
        self._worker: asyncio.Task[None] | None = None
        settings.pipeline_ledger.hold(lambda: self._held.count + self._leaving.items)
        labels = {"processor": str(settings.id), "otel.signal": "metrics"}
        outgoing = settings.meter.counter("otelcol_processor_outgoing_items", "{item}").bind(labels)
        causes = CauseLog(settings.logger, settings.clock)
        self._leaving = Leaving(settings, next_, causes, "an interval", outgoing.add)

    async def start(self) -> None:
        """Begin to hand on."""
        self._worker = self._settings.tasks.spawn_forever(str(self._settings.id), self._work)

    async def consume(self, payload: Payload) -> None:
        """Hold what is to be held, hand the rest on."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`."""
        if self._leaving.is_stopping:
            raise RetryableError("interval is being shut down", retry_after_s=1.0)
        return self._turns.accept_now(payload)

    async def shutdown(self) -> None:
        """Hand on what is held; what is refused for too long is dropped, counted and logged."""
        if self._leaving.is_stopping:
            return
        self._leaving.stop()
        if self._worker is None:
            return
        try:
            await asyncio.wait([self._worker])
        finally:
            self._worker.cancel()
            lost = self._held.count + self._leaving.items
            self._held, self._leaving.items = Held(), 0
            if lost:
                self._leaving.lose(DropReason.SHUTDOWN, lost, "not handed on before the deadline")

    def _process(self, payload: Payload) -> Payload | None:
        """What is left of a payload when its points that are held are taken out."""
        self._hops_now = payload.metadata.hops
        held, merged = self._held.count, self._held.merged
        with self._settings.memory.held(_OPEN_FACTOR * payload.size):
            wires = [
                rewrite(wire, self._identities, self._hold, self._hold_closed)
                for wire in payload.wires
            ]
        if all(new is old for new, old in zip(wires, payload.wires, strict=True)):
            return payload
        result = payload.with_wires(wires)
        taken = self._held.count - held + self._held.merged - merged
        self._lost = payload.items - result.items - taken
        return result if result.items else None

    def _settle(self, is_taken: bool) -> None:  # noqa: FBT001  the contract of `Turns`
        ledger = self._settings.pipeline_ledger
        if is_taken:
            ledger.aggregated += self._held.keep()
            self._hops = max(self._hops, self._hops_now)
            if self._lost:
                ledger.drop(DropReason.MALFORMED, self._lost)
        else:
            self._held.undo()
        self._lost = 0

    def _hold(self, metric: Any, kind: str, place: Place) -> Outcome:
        """Take the points of a metric that are to be held."""
        data = getattr(metric, kind)
        adds = False
        if kind in {"gauge", "summary"}:
            if getattr(self._passes, kind):
                return UNTOUCHED
        elif kind == "sum" and not data.is_monotonic:
            return UNTOUCHED
        elif data.aggregation_temporality == DELTA:
            adds = True
        elif data.aggregation_temporality != CUMULATIVE:
            return UNTOUCHED
        points = list(data.data_points)
        if not points:
            return UNTOUCHED
        key = place.metric()
        scope = self._scope(place)
        del data.data_points[:]
        target = self._spread(scope.metrics.get(key))
        if target is None:
            target = scope.metrics[key] = HeldMetric(kind, serialize(metric))
        rest = []
        for point in points:
            stream = self._identities.attributes(point.attributes)
            if self._held.count >= STREAMS_MAX and stream not in target.points:
                rest.append(point)
            elif not adds:
                self._held.newest(target, stream, point)
            elif point.flags & NO_VALUE or not self._held.total(target, stream, point):
                rest.append(point)
        data.data_points.extend(rest)
        return True, bool(rest)

    def _hold_closed(self, metric: bytes, found: Head, place: Place) -> bytes | None:
        """The same without opening the metric."""
        kind = found[0]
        if kind not in NUMBERS:
            raise OpenItError
        if kind == "gauge" and self._passes.gauge:
            return metric
        layout = hash((place.scope(), metric[: found[4]]))
        if self._hold_whole(metric, layout, place) or self._hold_known(
            metric, found, layout, place
        ):
            return None
        read = points(metric, found[4])
        ends = None if read is None else tail(metric, read[1])
        if read is None or ends is None:
            raise OpenItError
        temporality, is_monotonic = ends
        if kind == "sum" and (not is_monotonic or temporality not in {CUMULATIVE, DELTA}):
            return metric
        numbers, after = read
        if not numbers:
            return metric
        keys = self._identities.of_points(metric, numbers)
        if keys is None:
            raise OpenItError
        key = self._identities.closed(place.scope(), found, ends)
        metrics = self._scope(place).metrics
        target = self._spread(metrics.get(key))
        if target is None:
            target = metrics[key] = HeldMetric(kind, join(found, metric, (), after))
        held, streams = self._held, target.points
        if temporality != DELTA and held.count + len(numbers) <= STREAMS_MAX:
            parts = [(key_, p[0], p[2], p[4]) for key_, p in zip(keys, numbers, strict=True)]
            held.newest_of(target, metric, parts)
            return None
        rest = []
        for stream, point in zip(keys, numbers, strict=True):
            if held.count >= STREAMS_MAX and stream not in streams:
                rest.append(point)
            elif temporality != DELTA:
                held.newest_of(target, metric, ((stream, point[0], point[2], point[4]),))
            elif not held.total_closed(target, stream, metric, point):
                rest.append(point)
        if not rest:
            return None
        return join(found, metric, [field(metric, point) for point in rest], after)

    def _hold_whole(self, metric: bytes, layout: int, place: Place) -> bool:
        """Hold a metric as it is, if it is as it was before and newer; if it is."""
        key = self._layouts.key(layout)
        if key is None:
            return False
        metrics = self._scope(place).metrics
        target = metrics.get(key)
        if target is not None and target.points:
            return False
        found = self._layouts.times(layout, metric)
        if found is None or self._held.count + len(found[1]) > STREAMS_MAX:
            return False
        if target is None:
            target = metrics[key] = HeldMetric("", b"")
        return self._held.newest_whole(target, metric, *found)

    def _spread(self, target: HeldMetric | None) -> HeldMetric | None:
        """What is held of a metric, point by point; nothing if there is no point."""
        if target is None or not target.count:
            return None
        if target.whole is not None:
            wire = target.whole[0]
            found = head(wire)
            read = found and points(wire, found[4])
            keys = read and self._identities.of_points(wire, read[0])
            if not found or not read or not keys:  # it was read before, when it was learnt
                raise MalformedError("a metric that is held cannot be read")
            numbers, after = read
            parts = [(key, p[0], p[2], p[4]) for key, p in zip(keys, numbers, strict=True)]
            self._held.spread(target, found[0], join(found, wire, (), after), parts)
        return target

    def _hold_known(self, metric: bytes, found: Head, layout: int, place: Place) -> bool:
        """Hold the points of streams that are known, of which the newest counts; if all are."""
        read = known_points(metric, found[4], self._identities.known)
        if read is None or self._held.count + len(read[0]) > STREAMS_MAX:
            return False
        parts, after = read
        ends = tail(metric, after)
        if not parts or ends is None or (found[0] == "sum" and ends != (CUMULATIVE, True)):
            return False
        key = self._identities.closed(place.scope(), found, ends)
        target = self._spread(self._scope(place).metrics.get(key))
        if target is None:
            return False
        same = self._layouts.learn(layout, metric, key, parts)
        if not same or not self._held.gather(target, metric, same, parts):
            self._held.newest_of(target, metric, parts)
        return True

    def _scope(self, place: Place) -> HeldScope:
        scope = self._held.scopes.get(place.scope())
        if scope is not None:
            return scope
        resource = self._held.resources.get(place.resource())
        if resource is None:
            resource = HeldResource(header(place.group))
            self._held.resources[place.resource()] = resource
        scope = HeldScope(header(place.block))
        resource.scopes[place.scope()] = self._held.scopes[place.scope()] = scope
        return scope

    async def _work(self) -> None:
        while True:
            if not self._leaving.is_stopping:
                await self._leaving.pause(self._interval_s)
            is_last = self._leaving.is_stopping
            await self._turns.turn()
            held, self._held = self._held, Held()
            self._leaving.items = held.count
            self._turns.end_turn()
            if held.count:
                payload = Payload(Signal.METRICS, tuple(held.requests()), Metadata(hops=self._hops))
                await self._leaving.hand_on(payload)
            if is_last:
                return

    def __repr__(self) -> str:
        return f"<IntervalProcessor {self._settings.id} held={self._held.count}>"


def _create(config: Config, settings: Settings, next_: Consumer) -> IntervalProcessor:
    return IntervalProcessor(config, settings, next_)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="interval",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.ALPHA,
)
