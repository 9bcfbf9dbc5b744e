"""What is read of closed metrics is what views read of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from mlsysops_pipeline.metrics import closed
from mlsysops_pipeline.metrics.identity import Identities
from mlsysops_pipeline.metrics.walking import UNTOUCHED, OpenItError, rewrite
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
from mlsysops_pipeline.testing import make_wire

_NS = st.integers(0, (1 << 64) - 1)
_VALUES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"as_int": st.integers(-(1 << 63), (1 << 63) - 1)}),
    st.fixed_dictionaries({"as_double": st.floats()}),
    st.just({}),
)
_POINTS = st.fixed_dictionaries(
    {
        "start_time_unix_nano": _NS,
        "time_unix_nano": _NS,
        "attributes": st.lists(
            st.builds(lambda key, text: {"key": key, "value": {"string_value": text}},
                      st.text(max_size=3), st.text(max_size=90)),
            max_size=3,
        ),
        "flags": st.sampled_from([0, 0, 0, 1]),
    }
)  # fmt: skip


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    metric = Metric(
        name=draw(st.text(max_size=70)),
        description=draw(st.text(max_size=150)),
        unit=draw(st.text(max_size=3)),
    )
    kind = draw(st.sampled_from(["gauge", "sum", "sum", "histogram"]))
    data: Any = getattr(metric, kind)
    data.SetInParent()
    if kind == "sum":
        data.aggregation_temporality = draw(st.integers(0, 2))
        data.is_monotonic = draw(st.booleans())
    if kind != "histogram":
        for point in draw(st.lists(_POINTS, max_size=4)):
            data.data_points.add(**point, **draw(_VALUES))
    return metric


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)  # noqa: PLR0124  NaN


@given(metric=metrics())
def test_closed_metrics_read_as_open_ones(metric: Metric) -> None:
    """DM-1: the identities are the same either way."""
    wire = metric.SerializeToString()
    found = closed.head(wire)
    if found is None:
        return
    kind, name, unit, _, begin = found
    data = getattr(metric, kind)
    assert (metric.WhichOneof("data"), metric.name, metric.unit) == (
        kind,
        name.decode(),
        unit.decode(),
    )
    read = closed.points(wire, begin)
    if read is None or kind == "histogram":
        return
    points, after = read
    ends = closed.tail(wire, after)
    if ends is None:
        return
    assert ends == (
        getattr(data, "aggregation_temporality", 0),
        getattr(data, "is_monotonic", False),
    )
    opened: Any = view(Signal.METRICS, Depth.POINT, "Metric").FromString(wire)
    identities = Identities()
    assert identities.closed(7, found, ends) == identities.metric(7, opened, kind)
    keys = identities.of_points(wire, points)
    assert len(points) == len(data.data_points)
    for index, point in enumerate(data.data_points):
        _, _, _, start_ns, time_ns, tag, value = points[index]
        assert (point.start_time_unix_nano, point.time_unix_nano) == (start_ns, time_ns)
        assert point.WhichOneof("value") == closed.VALUE_KINDS[tag]
        assert _same(getattr(point, closed.VALUE_KINDS[tag]), value)
        if keys is not None:
            other = Identities().attributes(getattr(opened, kind).data_points[index].attributes)
            assert keys[index] == other
    if any(point.flags for point in data.data_points):
        assert keys is None
    parts = closed.known_points(wire, begin, identities.known)
    if parts is not None:
        assert keys is not None
        assert parts == ([(k, p[0], p[2], p[4]) for k, p in zip(keys, points, strict=True)], after)
    else:
        assert keys is None or not closed.is_placed(points)


@given(metric=metrics(), gone=st.sets(st.integers(0, 3)))
def test_points_are_taken_out_of_closed_metrics(metric: Metric, gone: set[int]) -> None:
    wire = metric.SerializeToString()
    found = closed.head(wire)
    read = closed.points(wire, found[4]) if found is not None else None
    if found is None or read is None or found[0] == "histogram":
        return
    points, after = read
    left = closed.without(wire, found, points, gone, after)
    data = getattr(metric, found[0])
    kept = [point for index, point in enumerate(data.data_points) if index not in gone]
    if left is None:
        assert not kept
        return
    del data.data_points[:]
    data.data_points.extend(kept)
    assert metric.SerializeToString(deterministic=True) == left


@given(
    start_ns=_NS,
    time_ns=_NS,
    value=st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False)),
)
def test_points_are_written_as_they_are_read(start_ns: int, time_ns: int, value: float) -> None:
    rest = b"\x3a\x0e\x0a\x04name\x12\x06\x0a\x04text"
    content = closed.packed(start_ns, time_ns, value) + rest
    data = b"\x0a" + len(content).to_bytes() + content
    wire = b"\x0a\x01m\x3a" + (len(data) + 4).to_bytes() + data + b"\x10\x02\x18\x01"
    found = closed.head(wire)
    assert found is not None
    read = closed.points(wire, found[4])
    assert read is not None
    ((_, begin, end, *numbers),) = read[0]
    assert [start_ns, time_ns, value] == [numbers[0], numbers[1], numbers[3]]
    assert rest == wire[begin:end]
    assert closed.field(wire, read[0][0]) == data


@given(wire=st.binary(max_size=60))
def test_any_bytes_can_be_read(wire: bytes) -> None:
    found = closed.head(wire)
    if found is not None:
        closed.points(wire, found[4])
    closed.attributes(wire)


def test_what_is_not_changed_is_the_same_object() -> None:
    wire = make_wire(Signal.METRICS, 10)

    def opening(*_: object) -> bytes:
        raise OpenItError

    assert rewrite(wire, Identities(), lambda *_: UNTOUCHED, opening) is wire
    assert rewrite(wire, Identities(), lambda *_: (False, False), lambda *_: None) == b""
