"""Adds deltas up to cumulative sums and histograms (components, C10).

What is no delta passes untouched. The first point of a stream is its first total; the start stays
what it was then, also over gaps (the data model, DM-7, would begin anew). Points that start before
their stream or are not newer than its last point are dropped and counted. A point without a
recorded value goes on and ends its stream (DM-10).

Where it does otherwise than the Collector: what is no finite number is dropped instead of spoiling
all that follows, as are scales that make no sense (DM-5), and what a refused request changed is
undone, so that a retry is not taken for something old.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Consumer, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig, Duration, Finding
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.errors import DropReason
from mlsysops_pipeline.metrics.accumulation import KINDS, State, accumulate, accumulate_number
from mlsysops_pipeline.metrics.closed import (
    DOUBLE,
    INTEGER,
    TIME,
    is_placed,
    pack_double,
    pack_integer,
    points,
    tail,
    without,
)
from mlsysops_pipeline.metrics.keeping import Keeper
from mlsysops_pipeline.metrics.walking import (
    CUMULATIVE,
    DELTA,
    NO_VALUE,
    UNTOUCHED,
    OpenItError,
    remove,
)
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.metrics.closed import Head, Point
    from mlsysops_pipeline.metrics.walking import Outcome, Place
    from mlsysops_pipeline.pdata.payload import Payload

_SWEEP_S = 60.0
_NO_LIMIT = (1 << 63) - 1
STREAMS_MAX = 1_000_000
"""What ``max_streams`` is limited to when nothing, or no limit, is asked for."""
_LIMIT = "limit"


class Config(ComponentConfig):
    """How long a stream may be silent, and how many there may be."""

    max_stale: Duration = 300.0
    """Seconds of silence after which a stream is forgotten, looked for once a minute. 0: never."""
    max_streams: int = _NO_LIMIT
    """Points of streams beyond so many are dropped. 0, or more than a million: a million."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if self.max_streams < 0:
            yield Finding(("max_streams",), "must not be negative")


class DeltaToCumulative:
    """Implements `HoldingProcessor`, though it holds nothing but the totals of streams."""

    def __init__(self, config: Config, settings: Settings, next_: Consumer) -> None:
        self._settings = settings
        self._streams_max = min(config.max_streams or STREAMS_MAX, STREAMS_MAX)
        self._causes = CauseLog(settings.logger, settings.clock)
        self._keeper: Keeper[State] = Keeper(
            settings,
            next_,
            self._convert,
            self._convert_closed,
            self._count,
            max_age_s=config.max_stale,
            sweep_s=_SWEEP_S,
            streams_max=self._streams_max,
        )
        self.accept_now = self._keeper.accept_now
        self._labels = {"processor": str(settings.id)}
        name = "otelcol_deltatocumulative."
        meter = settings.meter
        self._points = meter.counter(f"{name}datapoints", "{datapoint}", "Points by error")
        meter.gauge(f"{name}streams.tracked", "{stream}", "Streams that are remembered").observe(
            self._labels, lambda: len(self._keeper.streams)
        )
        meter.gauge(f"{name}streams.limit", "{stream}", "The limit of them").bind(self._labels).set(
            self._streams_max
        )
        meter.gauge(f"{name}streams.max_stale", "s", "Silence that ends a stream").bind(
            self._labels
        ).set(config.max_stale)

    async def start(self) -> None:
        """Begin to forget streams that are silent."""
        self._keeper.start()

    async def shutdown(self) -> None:
        """Forget all."""
        self._keeper.stop()

    async def consume(self, payload: Payload) -> None:
        """Hand the totals on. A payload that is refused leaves no trace."""
        await self._keeper.consume(payload)

    def _count(self, cause: str, points: int) -> None:
        self._points.bind({**self._labels, "error": cause}).add(points)
        self._causes.say(
            cause, logging.WARNING, f"points of delta streams were dropped: {cause}", items=points
        )

    def _convert(self, metric: Any, kind: str, place: Place) -> Outcome:
        """Accumulate the points of a metric."""
        if kind not in KINDS:
            return UNTOUCHED
        data = getattr(metric, kind)
        if data.aggregation_temporality != DELTA:
            return UNTOUCHED
        keeper = self._keeper
        key, streams, now = place.metric(), keeper.streams, keeper.now
        gone = []
        for index, point in enumerate(data.data_points):
            stream = keeper.identities.point(key, point.attributes)
            if point.flags & NO_VALUE:
                streams.forget(stream)
                continue
            state = streams.get(stream)
            if state is None and len(streams) >= self._streams_max:
                keeper.drop(DropReason.CARDINALITY, _LIMIT)
                gone.append(index)
                continue
            after, cause = accumulate(kind, point, state, now)
            if after is None:
                keeper.drop(DropReason.UNCONVERTIBLE, cause)
                gone.append(index)
            else:
                streams.put(stream, after)
        if gone:
            remove(data.data_points, gone)
        data.aggregation_temporality = CUMULATIVE
        return True, bool(data.data_points) or not gone

    def _convert_closed(self, metric: bytes, found: Head, place: Place) -> bytes | None:
        """The same without opening the metric."""
        if found[0] not in KINDS:
            return metric
        if found[0] != "sum":
            raise OpenItError
        read = points(metric, found[4])
        ends = None if read is None else tail(metric, read[1])
        if read is None or ends is None:
            raise OpenItError
        if ends[0] != DELTA:
            return metric
        numbers, after = read
        keys = self._keeper.identities.of_points(metric, numbers)
        if keys is None or not is_placed(numbers):
            raise OpenItError
        key = self._keeper.identities.closed(place.scope(), found, ends)
        result = bytearray(metric)
        gone = self._add(result, key, numbers, keys)
        result[after + 1] = CUMULATIVE  # the number behind the tag of the temporality
        if not gone:
            return bytes(result)
        return without(result, found, numbers, gone, after)

    def _add(self, result: bytearray, key: int, numbers: list[Point], keys: list[int]) -> set[int]:
        """Replace values by totals; which points are to go."""
        keeper = self._keeper
        streams, now = keeper.streams, keeper.now
        get, put = streams.get, streams.put
        gone = set()
        for index, (at, _, _, start_ns, time_ns, _, value) in enumerate(numbers):
            stream = hash((key, keys[index]))
            state = get(stream)
            if state is None and len(streams) >= self._streams_max:
                keeper.drop(DropReason.CARDINALITY, _LIMIT)
                gone.add(index)
                continue
            if state is not None and start_ns >= state[1] and time_ns > state[2]:
                total = value + state[3]
                if total.__class__ is float and total - total == 0:  # it is finite
                    put(stream, (now, state[1], time_ns, total))  # what nearly every point is
                    pack_double(result, at + 1, state[1], TIME, time_ns, DOUBLE, total)
                    continue
            after, cause = accumulate_number(start_ns, time_ns, value, state, now)
            if after is None:
                keeper.drop(DropReason.UNCONVERTIBLE, cause)
                gone.add(index)
                continue
            put(stream, after)
            if state is not None:
                total = after[3]
                if isinstance(total, int):
                    pack_integer(result, at + 1, after[1], TIME, time_ns, INTEGER, total)
                else:
                    pack_double(result, at + 1, after[1], TIME, time_ns, DOUBLE, total)
        return gone

    def __repr__(self) -> str:
        return f"<DeltaToCumulative {self._settings.id} {self._keeper!r}>"


def _create(config: Config, settings: Settings, next_: Consumer) -> DeltaToCumulative:
    return DeltaToCumulative(config, settings, next_)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="delta_to_cumulative",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.BETA,
    aliases=("deltatocumulative",),
)
