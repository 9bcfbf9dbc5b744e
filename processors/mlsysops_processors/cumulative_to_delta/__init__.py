"""Makes deltas of cumulative sums and histograms (components, C9).

Gauges, sums that are not monotonic, deltas and summaries pass untouched. A start that changes is a
new stream (DM-6), whose first point ``initial_value`` decides on. Least and greatest values do not
survive (DM-3). A point without a recorded value is taken out, and its stream goes on where it was.

Where it does otherwise than the Collector: points that are older than the last are dropped without
a trace in what follows; a kept first value keeps its start; what a refused request changed is
undone, so that a retry loses nothing; a histogram of which one bucket has fallen was reset.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Literal

from mlsysops_pipeline.component import Consumer, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig, Duration, Section
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.errors import DropReason
from mlsysops_pipeline.metrics.closed import (
    DOUBLE,
    TIME,
    VALUE_KINDS,
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
from mlsysops_processors.cumulative_to_delta.deltas import (
    CONVERSIONS,
    INITIAL,
    MISMATCH,
    OUT_OF_ORDER,
    Initial,
    State,
    difference,
    why_not,
)
from mlsysops_processors.cumulative_to_delta.selection import MatchConfig, Selection

if TYPE_CHECKING:
    from mlsysops_pipeline.metrics.closed import Head, Point
    from mlsysops_pipeline.metrics.walking import Outcome, Place
    from mlsysops_pipeline.pdata.payload import Payload

STREAMS_MAX = 1_000_000
"""Above, the streams that are silent longest are forgotten: their next point is a first one."""
_NO_VALUE = "no_recorded_value"


class Config(ComponentConfig):
    """What is converted, and how long a stream may be silent."""

    include: Section[MatchConfig] = None
    """Only these metrics are converted."""
    exclude: Section[MatchConfig] = None
    """These metrics are not converted, even if they are included."""
    max_staleness: Duration = 3600.0
    """Seconds of silence after which a stream is forgotten. 0: never."""
    initial_value: Literal["auto", "keep", "drop"] = "auto"
    """The first value of a stream: ``keep`` hands it on, ``drop`` only remembers it, ``auto`` hands
    it on if the stream started after this processor did."""


class CumulativeToDelta:
    """Implements `HoldingProcessor`, though it holds nothing but the last values of streams."""

    def __init__(self, config: Config, settings: Settings, next_: Consumer) -> None:
        self._settings = settings
        self._selection = Selection(config.include, config.exclude)
        self._initial = Initial(config.initial_value, settings.clock.unix_ns())
        self._causes = CauseLog(settings.logger, settings.clock)
        self._keeper: Keeper[State] = Keeper(
            settings,
            next_,
            self._convert,
            self._convert_closed,
            self._count,
            max_age_s=config.max_staleness,
            sweep_s=config.max_staleness,
            streams_max=STREAMS_MAX,
        )
        self.accept_now = self._keeper.accept_now
        labels = {"processor": str(settings.id)}
        self._labels = labels
        self._dropped = settings.meter.counter(
            "otelcol_cumulativetodelta_datapoints_dropped", "{datapoint}", "Points dropped"
        )
        settings.meter.gauge(
            "otelcol_cumulativetodelta_streams_tracked", "{stream}", "Streams that are remembered"
        ).observe(labels, lambda: len(self._keeper.streams))

    async def start(self) -> None:
        """Begin to forget streams that are silent."""
        self._keeper.start()

    async def shutdown(self) -> None:
        """Forget all."""
        self._keeper.stop()

    async def consume(self, payload: Payload) -> None:
        """Hand the deltas on. A payload that is refused leaves no trace."""
        await self._keeper.consume(payload)

    def _count(self, cause: str, points: int) -> None:
        self._dropped.bind({**self._labels, "reason": cause}).add(points)
        if cause == MISMATCH:
            self._causes.say(
                MISMATCH, logging.WARNING, "points of histograms have other buckets than before"
            )

    def _convert(self, metric: Any, kind: str, place: Place) -> Outcome:
        """Convert the points of a metric."""
        convert = CONVERSIONS.get(kind)
        if convert is None:
            return UNTOUCHED
        data = getattr(metric, kind)
        if data.aggregation_temporality != CUMULATIVE or not self._selection.selects(
            metric.name, kind
        ):
            return UNTOUCHED
        if kind == "sum" and not data.is_monotonic:
            return UNTOUCHED
        key = place.metric()
        streams, now, initial = self._keeper.streams, self._keeper.now, self._initial
        attributes_key = self._keeper.identities.attributes
        gone = []
        for index, point in enumerate(data.data_points):
            if point.flags & NO_VALUE:
                self._keeper.filter(_NO_VALUE)
                gone.append(index)
                continue
            value_kind = point.WhichOneof("value") if kind == "sum" else ""
            if value_kind == "as_double" and math.isnan(point.as_double):
                continue  # as in the Collector, it passes and is not remembered
            stream = hash(
                (key, value_kind, point.start_time_unix_nano, attributes_key(point.attributes))
            )
            state, cause = convert(point, streams.get(stream), now, initial)
            if state is not None:
                streams.put(stream, state)
            if cause:
                gone.append(index)
                self._take_out(cause)
        if gone:
            remove(data.data_points, gone)
        data.aggregation_temporality = DELTA
        return True, bool(data.data_points) or not gone

    def _convert_closed(self, metric: bytes, found: Head, place: Place) -> bytes | None:
        """The same without opening the metric."""
        kind, name, _, _, begin = found
        if kind not in CONVERSIONS or not self._selection.selects(name, kind):
            return metric
        if kind != "sum":
            raise OpenItError
        read = points(metric, begin)
        ends = None if read is None else tail(metric, read[1])
        if read is None or ends is None:
            raise OpenItError
        if ends != (CUMULATIVE, True):
            return metric
        numbers, after = read
        keys = self._keeper.identities.of_points(metric, numbers)
        if keys is None or not is_placed(numbers):
            raise OpenItError
        key = self._keeper.identities.closed(place.scope(), found, ends)
        result = bytearray(metric)
        gone = self._subtract(result, key, numbers, keys)
        result[after + 1] = DELTA  # the number behind the tag of the temporality
        if not gone:
            return bytes(result)
        return without(result, found, numbers, gone, after)

    def _subtract(
        self, result: bytearray, key: int, numbers: list[Point], keys: list[int]
    ) -> set[int]:
        """Replace values by what they have more than the last; which points are to go."""
        streams, now, initial = self._keeper.streams, self._keeper.now, self._initial
        get, put = streams.get, streams.put
        gone = set()
        for index, (at, _, _, start_ns, time_ns, tag, value) in enumerate(numbers):
            if value != value:  # noqa: PLR0124  as in the Collector, a NaN passes and is forgotten
                continue
            stream = hash((key, VALUE_KINDS[tag], start_ns, keys[index]))
            state = get(stream)
            if state is not None and time_ns >= state[1] and value >= state[2]:
                put(stream, (now, time_ns, value))  # what nearly every point is
                delta = value - state[2]
                if tag == DOUBLE and delta == delta:  # noqa: PLR0124  else a NaN
                    pack_double(result, at + 1, state[1], TIME, time_ns, DOUBLE, delta)
                else:
                    write = pack_double if tag == DOUBLE else pack_integer
                    delta = difference(value, state[2])
                    write(result, at + 1, state[1], TIME, time_ns, tag, delta)
                continue
            if state is None:
                cause = "" if initial.keeps(start_ns, time_ns) else INITIAL
            else:
                cause = why_not(time_ns, value, state)
            if cause != OUT_OF_ORDER:
                put(stream, (now, time_ns, value))
            if cause:
                gone.add(index)
                self._take_out(cause)
        return gone

    def _take_out(self, cause: str) -> None:
        if cause == INITIAL:
            self._keeper.filter(cause)
        else:
            self._keeper.drop(DropReason.UNCONVERTIBLE, cause)

    def __repr__(self) -> str:
        return f"<CumulativeToDelta {self._settings.id} {self._keeper!r}>"


def _create(config: Config, settings: Settings, next_: Consumer) -> CumulativeToDelta:
    return CumulativeToDelta(config, settings, next_)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="cumulative_to_delta",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.BETA,
    aliases=("cumulativetodelta",),
)
