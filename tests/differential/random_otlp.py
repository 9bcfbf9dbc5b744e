"""Random OTLP of every signal: all metric types, attributes of every type, no values, resets.

The same seed gives the same requests. Keys of one list of attributes differ, as a list with equal
keys is no map, and no field is there that Go's classes do not know: both would be other questions.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline import Signal
from tests.interop.items import REQUESTS
from tests.processors.streams import KINDS, S

if TYPE_CHECKING:
    from collections.abc import Iterator

_REQUESTS = 40
_KEYS = ("s", "t", "app.id", "odd key", "size", "le")
_WORDS = ("a", "b", "1", "2", "", "naïve", "x y")
_NO_VALUE = 1


def requests(signal: Signal, seed: int, *, is_plain: bool = False) -> Iterator[bytes]:
    """Requests that a processor of ``signal`` may meet.

    ``is_plain``: without deltas and points that have no value, all numbers of one kind,
    exponential histograms of one offset, and metrics of one name alike but for their type.
    """
    rolls = random.Random(seed)  # noqa: S311  reproducible on purpose
    begin_ns = (int(time.time()) + 5) * S
    make = {Signal.METRICS: _metrics, Signal.LOGS: _logs, Signal.TRACES: _spans}[signal]
    for at in range(_REQUESTS):
        made = REQUESTS[signal]()
        for _ in range(rolls.choice((0, 1, 1, 2, 3))):
            group = made.ListFields()[0][1].add() if made.ListFields() else _first(made)
            if rolls.random() < 0.9:
                _attributes(rolls, group.resource.attributes, ("app.id", "s"))
            for _ in range(rolls.choice((0, 1, 1, 2))):
                scopes = getattr(group, f"scope_{_noun(signal)}")
                scope = scopes.add()
                scope.scope.name = rolls.choice(("one", "two", ""))
                make(rolls, scope, begin_ns + at * S)
                if is_plain and signal is Signal.METRICS:
                    _make_plain(scope)
        yield bytes(made.SerializeToString())


def _noun(signal: Signal) -> str:
    return "spans" if signal is Signal.TRACES else str(signal)


def _first(made: Any) -> Any:
    return getattr(made, made.DESCRIPTOR.fields[0].name).add()


def _attributes(rolls: random.Random, target: Any, keys: tuple[str, ...] = _KEYS) -> None:
    for key in rolls.sample(keys, rolls.randint(0, min(3, len(keys)))):
        _value(rolls, target.add(key=key).value, 0)


def _value(rolls: random.Random, value: Any, depth: int) -> None:
    value.SetInParent()  # Go writes an empty value where there is none
    kind = rolls.choice((0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7))
    if kind == 0 or (depth and kind > 4):
        value.string_value = rolls.choice(_WORDS)
    elif kind == 1:
        value.int_value = rolls.choice((0, 1, -7, 2**53 + 1))
    elif kind == 2:
        value.double_value = rolls.choice((0.0, 1.0, 2.5, 1e21))
    elif kind == 3:
        value.bool_value = rolls.random() < 0.5
    elif kind == 4:
        value.bytes_value = b"\x00\xff"
    elif kind == 5:
        for _ in range(2):
            _value(rolls, value.array_value.values.add(), depth + 1)
    elif kind == 6:
        _value(rolls, value.kvlist_value.values.add(key="k").value, depth + 1)


def _metrics(rolls: random.Random, scope: Any, now_ns: int) -> None:
    for name in rolls.sample(("m1", "m2", "m3", "other", ""), rolls.randint(0, 4)):
        kind = rolls.choice(KINDS)
        metric = scope.metrics.add(name=name, unit=rolls.choice(("", "s")), description="d")
        data = getattr(metric, kind)
        data.SetInParent()
        if hasattr(data, "aggregation_temporality"):
            data.aggregation_temporality = rolls.choice((1, 2, 2, 0))
        if kind == "sum":
            data.is_monotonic = rolls.random() < 0.7
        for later in range(rolls.randint(0, 4)):
            point = data.data_points.add(time_unix_nano=now_ns + later // 2)
            if rolls.random() < 0.8:
                point.start_time_unix_nano = now_ns - rolls.choice((1, 5)) * S
            _attributes(rolls, point.attributes)
            _fill(rolls, kind, point)


def _make_plain(scope: Any) -> None:
    for metric in scope.metrics:
        kind = metric.WhichOneof("data")
        data = getattr(metric, kind)
        metric.unit = "s" if metric.name == "m2" else ""
        if hasattr(data, "aggregation_temporality"):
            data.aggregation_temporality = 0 if metric.name == "other" else 2
        if kind == "sum":
            data.is_monotonic = metric.name != "m3"
        for point in data.data_points:
            if kind == "exponential_histogram":
                point.positive.offset = 0
            elif kind in {"gauge", "sum"}:
                point.flags = 0
                point.as_double = point.as_double or float(point.as_int)


def _fill(rolls: random.Random, kind: str, point: Any) -> None:
    if kind in {"gauge", "sum"}:
        if rolls.random() < 0.5:
            point.as_int = rolls.choice((0, 3, -4, 1_000_000))
        else:
            point.as_double = rolls.choice((0.0, 2.5, -1.25, 1e9))
        if rolls.random() < 0.1:
            point.flags = _NO_VALUE
            point.ClearField("as_int")
            point.ClearField("as_double")
        return
    counts = [rolls.randrange(4) for _ in range(3)]
    point.count = sum(counts)
    point.sum = float(rolls.randrange(9))
    if kind == "histogram":
        point.bucket_counts.extend(counts)
        point.explicit_bounds.extend(rolls.choice(([1.0, 2.0], [1.0, 3.0])))
        if rolls.random() < 0.3:
            point.min, point.max = 0.5, 4.5
    elif kind == "exponential_histogram":
        point.scale = rolls.choice((0, 1, 3))
        point.positive.offset = rolls.randint(-2, 2)
        point.positive.bucket_counts.extend(counts)
    else:
        point.quantile_values.add(quantile=0.5, value=1.5)


def _logs(rolls: random.Random, scope: Any, now_ns: int) -> None:
    for _ in range(rolls.randint(0, 5)):
        record = scope.log_records.add(time_unix_nano=now_ns)
        record.severity_number = rolls.choice((0, 1, 5, 9, 13, 17, 24))
        record.severity_text = rolls.choice(("", "INFO", "error"))
        _value(rolls, record.body, 0)
        _attributes(rolls, record.attributes)
        if rolls.random() < 0.7:
            record.trace_id = rolls.randbytes(16)
            record.span_id = rolls.randbytes(8)


def _spans(rolls: random.Random, scope: Any, now_ns: int) -> None:
    for _ in range(rolls.randint(0, 5)):
        span = scope.spans.add(name=rolls.choice(("GET /", "POST /", "work", "")))
        span.trace_id, span.span_id = rolls.randbytes(16), rolls.randbytes(8)
        span.start_time_unix_nano, span.end_time_unix_nano = now_ns - 5, now_ns
        span.kind = rolls.randrange(6)
        span.status.SetInParent()  # Go writes an empty one where there is none
        span.trace_state = rolls.choice(
            ("", "", "other=1", "ot=th:8", "ot=th:c;rv:abcdefabcdefab", "ot=rv:00000000000001")
        )
        _attributes(rolls, span.attributes)
        if rolls.random() < 0.2:
            span.attributes.add(key="sampling.priority").value.int_value = rolls.randint(0, 1)
        if rolls.random() < 0.3:
            _attributes(rolls, span.events.add(name="event").attributes)
