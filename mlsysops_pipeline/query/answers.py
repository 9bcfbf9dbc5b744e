"""The JSON of `/api/v1/query` and `/api/v1/query_range`, read while it arrives. No I/O, no clock.

Prometheus, Mimir and VictoriaMetrics write the same members in different orders and add their own;
unknown members are passed over. Each `feed` does work in proportion to its piece, however long the
answer or one of its series is, so that a caller who feeds small pieces is never held up for long.
"""

from __future__ import annotations

import math
import re
from array import array
from itertools import islice
from operator import lt
from typing import TYPE_CHECKING, Any, Final

from mlsysops_pipeline.query.errors import AnswerError, ExpressionError, PartialAnswerError
from mlsysops_pipeline.query.json_text import JsonText, Reading
from mlsysops_pipeline.query.results import (
    Bucket,
    Histogram,
    HistogramPoint,
    Matrix,
    Result,
    Sample,
    Scalar,
    Series,
    String,
    Vector,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TIME_S_MAX: Final = 9e9
"""The year 2255; nanoseconds beyond 2262 do not fit into 64 bits."""

_POINTS: Final = re.compile(r'(?:\[[0-9.eE+-]++,"[0-9A-Za-z.+-]++"\],)++')
"""A run of points that are written without spaces, as every known server does."""

_POINT_MARKS: Final = dict.fromkeys(map(ord, '[]"'))
_NO_POINTS: Final = (array("d"), array("d"))
_TEXT: Final = frozenset({str})
_SMALL_CHARS: Final = 4 << 10
"""An element that ends within this is decoded at once."""

_BOUNDS: Final = {0: (False, True), 1: (True, False), 2: (False, False), 3: (True, True)}
"""Whether a bucket includes its left and its right bound, by Prometheus's number for it."""


class AnswerReader:
    """Reads one answer: `feed` the pieces, then ask for the `result`.

    Both raise `ExpressionError`, `AnswerError` or `NoAnswerError`.
    """

    def __init__(self, *, allow_partial: bool = False) -> None:
        self._text = JsonText()
        self._allow_partial = allow_partial
        self._members: dict[str, Any] = {}
        self._kind = ""
        self._has_data = False
        self._samples: list[Sample] = []
        self._series: list[Series] = []
        self._single: tuple[Any, Any] | None = None
        self._identities: set[int] = set()
        self._last_times: array[float] = array("d")
        self._reading = self._answer()
        next(self._reading)

    def feed(self, text: str) -> None:
        """Read a piece."""
        self._text.feed(text)
        try:
            next(self._reading)
        except StopIteration:  # pragma: no cover
            raise AssertionError("a reading ends only at the end") from None

    def result(self) -> Result:
        """The answer is complete: what it says."""
        self._text.end()
        for _ in self._reading:
            raise AssertionError("a complete text needs no more")
        if self._members.get("status") != "success":
            raise self._failure()
        if not self._has_data:
            raise AnswerError("the answer has no data")
        warnings = self._texts("warnings")
        is_partial = self._members.get("isPartial") is True
        notes: dict[str, Any] = {
            "warnings": warnings,
            "infos": self._texts("infos"),
            "is_partial": is_partial,
        }
        result = self._made(notes)
        if is_partial and not self._allow_partial:
            because = f": {'; '.join(warnings)}" if warnings else ""
            raise PartialAnswerError(f"part of the data is missing{because}", result)
        return result

    def _failure(self) -> Exception:
        kind = self._members.get("errorType")
        message = self._members.get("error")
        if isinstance(message, str):
            return ExpressionError(message, kind=str(kind or ""))
        return AnswerError("the answer has neither status nor error: no Prometheus API")

    def _texts(self, key: str) -> tuple[str, ...]:
        texts = self._members.get(key) or []
        return tuple(str(text) for text in texts) if isinstance(texts, list) else (str(texts),)

    def _made(self, notes: Mapping[str, Any]) -> Result:
        if self._kind == "vector" and not self._series and self._single is None:
            return Vector(tuple(self._samples), **notes)
        if self._kind == "matrix" and not self._samples and self._single is None:
            return Matrix(tuple(self._series), **notes)
        if self._kind in {"scalar", "string"} and self._single is not None:
            time_s, text = self._single
            if self._kind == "string" and isinstance(text, str):
                return String(_time(time_s), text, **notes)
            if self._kind == "scalar":
                return Scalar(_time(time_s), _number(text), **notes)
        raise AnswerError(f"the answer has a result that is no {self._kind or 'known type'}")

    def _answer(self) -> Reading[None]:
        text = self._text
        yield from text.take("{")
        more = not (yield from text.is_empty("}"))
        while more:
            key = yield from text.key()
            if key == "data":
                yield from self._data()
            else:
                self._members[key] = yield from text.value()
            more = yield from text.another("}")
        yield from text.nothing_more()

    def _data(self) -> Reading[None]:
        text = self._text
        if (yield from text.peek()) != "{":
            yield from text.value()  # errors have a null here
            return
        yield from text.take("{")
        more = not (yield from text.is_empty("}"))
        while more:
            key = yield from text.key()
            if key == "result":
                self._has_data = True
                yield from self._result()
            else:
                value = yield from text.value()
                if key == "resultType":
                    self._kind = str(value)
            more = yield from text.another("}")

    def _result(self) -> Reading[None]:
        text = self._text
        if (yield from text.peek()) != "[":
            if (yield from text.value()) is not None:
                raise AnswerError("the answer has a result that is no array")
            return
        yield from text.take("[")
        if (yield from text.is_empty("]")):
            return
        if (yield from text.peek()) != "{":
            time_s = yield from text.value()
            yield from text.take(",")
            self._single = time_s, (yield from text.value())
            yield from text.take("]")
            return
        more = True
        while more:
            yield from self._element()
            more = yield from text.another("]")

    def _element(self) -> Reading[None]:
        """A sample or a series: at once if it is small, else member by member."""
        text = self._text
        if (yield from text.peek()) != "{":
            raise text.error("a series")
        end = text.text.find("]}", text.at, text.at + _SMALL_CHARS)
        if end >= 0 and len(text.text) > end + 2:
            members = text.small(end + 2)
            if members is not None:
                times, numbers = _split(members["values"]) if "values" in members else _NO_POINTS
                self._keep(members, times, numbers, is_alike=times == self._last_times)
                return
        yield from text.take("{")
        members = {}
        times, numbers = array("d"), array("d")
        is_alike = True
        more = not (yield from text.is_empty("}"))
        while more:
            key = yield from text.key()
            if key == "values":
                members["values"] = True
                is_alike = yield from self._points(times, numbers)
            elif key == "histograms":
                members[key] = yield from self._histograms()
            else:
                members[key] = yield from text.value()
            more = yield from text.another("}")
        self._keep(members, times, numbers, is_alike=is_alike)

    def _points(self, times: array[float], numbers: array[float]) -> Reading[bool]:
        """Read points; whether the times begin as those of the series before.

        Compared on the way, because to compare half a million at once takes long.
        """
        text = self._text
        compared = 0
        is_alike = True
        yield from text.take("[")
        more = not (yield from text.is_empty("]"))
        while more:
            run = _POINTS.match(text.text, text.at)
            if run is not None:
                text.at = run.end()
                both = _numbers(run[0].translate(_POINT_MARKS).split(",")[:-1])
                _append(times, numbers, both[0::2], both[1::2])
            point = yield from text.value()
            _append(times, numbers, *_split((point,)))
            is_alike = is_alike and times[compared:] == self._last_times[compared : len(times)]
            compared = len(times)
            more = yield from text.another("]")
        return is_alike

    def _histograms(self) -> Reading[list[Any]]:
        text = self._text
        points: list[Any] = []
        yield from text.take("[")
        more = not (yield from text.is_empty("]"))
        while more:
            points.append(_histogram_point((yield from text.value())))
            more = yield from text.another("]")
        return points

    def _keep(
        self,
        members: Mapping[str, Any],
        times: array[float],
        numbers: array[float],
        *,
        is_alike: bool,
    ) -> None:
        labels = members.get("metric")
        if not isinstance(labels, dict) or not _TEXT.issuperset(map(type, labels.values())):
            raise AnswerError(f"the answer has a series without labels: {labels!r:.100}")
        # Of the labels only a hash is kept: 64 bits of it are unlikely enough to be equal.
        identity = hash(frozenset(labels.items()))
        if identity in self._identities:
            raise AnswerError(f"the answer has two series with the labels {labels}")
        self._identities.add(identity)
        if "value" in members:
            time_s, number = _pair(members["value"])
            self._samples.append(Sample(labels, _time(time_s), _number(number)))
        elif "histogram" in members:
            point = _histogram_point(members["histogram"])
            self._samples.append(Sample(labels, point.timestamp_s, math.nan, point.histogram))
        elif "values" in members or "histograms" in members:
            # A range query has the same times in most series; they share the array then.
            if is_alike and len(times) == len(self._last_times):
                times = self._last_times
            self._last_times = times
            self._series.append(Series(labels, times, numbers, _histogram_points(members)))
        else:
            raise AnswerError(f"the answer has a series without values: {labels}")


def _append(
    times: array[float], numbers: array[float], new_times: array[float], new: array[float]
) -> None:
    """Add points. Times must rise, which PromQL promises and frames rely on."""
    is_rising = all(map(lt, new_times, islice(new_times, 1, None)))
    if times and new_times and times[-1] >= new_times[0]:
        is_rising = False
    if not is_rising:
        raise AnswerError("the answer has a series whose times do not rise")
    if new_times:
        _time(new_times[0])
        _time(new_times[-1])
    times.extend(new_times)
    numbers.extend(new)


def _split(points: Any) -> tuple[array[float], array[float]]:
    """Times and values of decoded points."""
    times, numbers = array("d"), array("d")
    try:
        new = array("d", [float(time_s) for time_s, _ in points])
        _append(times, numbers, new, _numbers([number for _, number in points]))
    except (TypeError, ValueError):
        raise AnswerError(f"the answer has points that are none: {points!r:.100}") from None
    return times, numbers


def _numbers(texts: list[Any]) -> array[float]:
    try:
        return array("d", map(float, texts))
    except (TypeError, ValueError) as error:
        raise AnswerError(f"the answer has a value that is no number: {error}") from None


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise AnswerError(f"the answer has a value that is no number: {error}") from None


def _time(time_s: Any) -> float:
    if type(time_s) not in {int, float} or not abs(time_s) <= TIME_S_MAX:
        raise AnswerError(f"the answer has a time that is none: {time_s!r:.100}")
    return float(time_s)


def _pair(point: Any) -> tuple[Any, Any]:
    if not isinstance(point, list) or len(point) != 2:
        raise AnswerError(f"the answer has a point that is none: {point!r:.100}")
    return point[0], point[1]


def _histogram_points(members: Mapping[str, Any]) -> tuple[HistogramPoint, ...]:
    points = members.get("histograms") or ()
    if not isinstance(points, (list, tuple)):
        raise AnswerError(f"the answer has histograms that are none: {points!r:.100}")
    return tuple(
        point if isinstance(point, HistogramPoint) else _histogram_point(point) for point in points
    )


def _histogram_point(point: Any) -> HistogramPoint:
    time_s, members = _pair(point)
    if not isinstance(members, dict):
        raise AnswerError(f"the answer has a histogram that is none: {members!r:.100}")
    return HistogramPoint(
        _time(time_s),
        Histogram(
            _number(members.get("count")),
            _number(members.get("sum")),
            tuple(_buckets(members.get("buckets") or ())),
        ),
    )


def _buckets(buckets: Any) -> Iterator[Bucket]:
    for bucket in buckets if isinstance(buckets, list) else [buckets]:
        is_bucket = isinstance(bucket, list) and len(bucket) == 4 and type(bucket[0]) is int
        if not is_bucket or bucket[0] not in _BOUNDS:
            raise AnswerError(f"the answer has a bucket that is none: {bucket!r:.100}")
        left, right, count = _numbers(bucket[1:])
        yield Bucket(left, right, count, *_BOUNDS[bucket[0]])
