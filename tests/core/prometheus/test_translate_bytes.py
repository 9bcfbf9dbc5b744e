"""Points are recognized by their bytes: whatever these are, the result is what protobuf reads.

The oracle opens every metric with the official classes and remembers nothing.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2

from mlsysops_pipeline.pdata.wire import length_prefix, varint
from mlsysops_pipeline.prometheus.names import Kind, metric_name
from mlsysops_pipeline.prometheus.points import Cause, Columns, Numbers
from mlsysops_pipeline.prometheus.singles import find_cut
from tests.core.prometheus.flat import Bench

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

Row = tuple[str, dict[str, str], int, int, float | str | None, int]


def _fixed(number: int, code: str, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack(f"<{code}", value)


def _framed(number: int, content: bytes) -> bytes:
    return length_prefix(number, len(content)) + content


def _attribute(key: str, value: str) -> bytes:
    return _framed(1, key.encode()) + _framed(2, _framed(1, value.encode()))


_KEYS = st.sampled_from(["a", "b", "c"])
_VALUES = st.sampled_from(["", "x", "y", "z" * 120])
_ATTRIBUTE = st.builds(lambda key, value: _framed(7, _attribute(key, value)), _KEYS, _VALUES)
_TIMES = st.sampled_from([0, 1, 2, 3])
_VALUE = st.one_of(
    st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf]).map(lambda value: _fixed(4, "d", value)),
    st.sampled_from([0, 1, -7]).map(lambda value: _fixed(6, "q", value)),
)
_ODD = st.one_of(
    st.sampled_from([0, 1, 3]).map(lambda flags: varint(8 << 3) + varint(flags)),
    _TIMES.map(lambda time: _fixed(3, "Q", time)),
    _VALUE,
    st.just(_framed(5, _fixed(3, "d", 2.0))),  # an exemplar
    st.just(_framed(99, b"unknown")),
    st.just(varint(2 << 3) + varint(2)),  # what is the temporality, one level above
)


@st.composite
def _points(draw: DrawFn) -> bytes:
    """A data point: mostly as encoders write it, sometimes as nobody does."""
    pieces = [_fixed(2, "Q", draw(_TIMES))] if draw(st.booleans()) else []
    # The time, or what looks like it but for the tag.
    pieces += [_fixed(draw(st.sampled_from([3, 3, 3, 2, 10])), "Q", draw(_TIMES)), draw(_VALUE)]
    pieces += draw(st.lists(_ATTRIBUTE, max_size=3))
    if draw(st.integers(0, 2)) == 0:
        pieces += draw(st.lists(_ODD, max_size=2))
        pieces = draw(st.permutations(pieces))
    return b"".join(pieces)


@st.composite
def _data(draw: DrawFn) -> bytes:
    count = draw(st.sampled_from([1, 1, 1, 0, 2, 3]))
    pieces = [_framed(1, draw(_points())) for _ in range(count)]
    is_sum = draw(st.booleans())
    if is_sum:
        pieces.append(varint(2 << 3) + varint(2))
        pieces.append(varint(3 << 3) + varint(draw(st.integers(0, 1))))
    if draw(st.integers(0, 3)) == 0:
        pieces.append(draw(st.one_of(_ATTRIBUTE, st.just(_framed(99, b"unknown")))))
        pieces = draw(st.permutations(pieces))
    return _framed(7 if is_sum else 5, b"".join(pieces))


@st.composite
def _metrics(draw: DrawFn) -> bytes:
    pieces = [_framed(1, draw(st.sampled_from([b"first", b"other", b"n" * 130])))]
    pieces += [_framed(2, text) for text in draw(st.sampled_from([[], [b"help"]]))]
    pieces += [_framed(3, unit) for unit in draw(st.sampled_from([[], [b"s"]]))]
    pieces.append(draw(_data()))
    if draw(st.integers(0, 3)) == 0:
        pieces.append(draw(st.one_of(_data(), st.just(_framed(99, b"unknown")))))
        pieces = draw(st.permutations(pieces))
    return b"".join(pieces)


def _expected(wire: bytes) -> list[Row]:
    metric = metrics_pb2.Metric.FromString(wire)
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        data: Any = metric.gauge
        name = metric_name(metric.name, metric.unit, Kind.GAUGE)
    else:
        data = metric.sum
        is_counter = data.is_monotonic
        name = metric_name(
            metric.name, metric.unit, Kind.COUNTER if is_counter else Kind.UP_DOWN_COUNTER
        )
        if data.aggregation_temporality != 2:
            return []
    rows: list[Row] = []
    for point in data.data_points:
        labels: dict[str, str] = {}
        for pair in point.attributes:
            labels.setdefault(pair.key, pair.value.string_value)
        which = point.WhichOneof("value")
        if which is None and not point.flags & 1:
            continue
        value = None if point.flags & 1 else float(getattr(point, which))
        exemplars = len(point.exemplars) if kind == "sum" and data.is_monotonic else 0
        rows.append(
            (
                name,
                {key: value for key, value in labels.items() if value},
                point.time_unix_nano,
                point.start_time_unix_nano,
                "NaN" if value is not None and math.isnan(value) else value,
                exemplars,
            )
        )
    return rows


def _request(*metrics: bytes) -> bytes:
    """One request with these metrics in one scope."""
    return _framed(1, _framed(2, b"".join([_framed(2, metric) for metric in metrics])))


def _found(bench: Bench, *metrics: bytes) -> list[Row]:
    rows: list[Row] = []
    for batch in bench.batches(_request(*metrics)):
        assert isinstance(batch, Numbers)
        assert batch.points
        for (name, labels), time, start, value, exemplars in batch.points:
            assert batch.family.name == name
            assert value is None or isinstance(value, float)
            shown = "NaN" if value is not None and math.isnan(value) else value
            rows.append((name, dict(labels), time, start, shown, len(exemplars)))
    return rows


_LISTS: SearchStrategy[list[bytes]] = st.lists(_metrics(), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(wires=_LISTS)
def test_points_are_what_protobuf_reads_however_often_they_come(wires: list[bytes]) -> None:
    bench = Bench()
    for wire in [*wires, *wires, *reversed(wires)]:
        assert _expected(wire) == _found(bench, wire)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(wires=_LISTS)
def test_metrics_of_one_scope_keep_their_order_and_points(wires: list[bytes]) -> None:
    bench = Bench()
    for metrics in (wires, wires, [*wires, *wires], wires[::-1], wires[:1]):
        assert [row for metric in metrics for row in _expected(metric)] == _found(bench, *metrics)


def _columns(bench: Bench, wire: bytes) -> list[tuple[Any, int, bytes]]:
    """All plain points of a request; others as if they had come in columns, without exemplars."""
    found: list[tuple[Any, int, bytes]] = []
    for batch in bench.translator.columns(wire):
        if isinstance(batch, Columns):
            assert (batch.families, batch.starts_ns) == ([], [])
            found += zip(batch.series, batch.times_ns, batch.values, strict=True)
        else:
            assert isinstance(batch, Numbers)
            found += [(one[0], one[1], _bits(one[3])) for one in batch.points]
    return found


def _bits(value: float | None) -> bytes:
    return b"stale" if value is None else struct.pack("<d", value)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(wires=_LISTS)
def test_columns_say_the_same_as_batches_of_families(wires: list[bytes]) -> None:
    plain, detailed = Bench(has_details=False), Bench()
    for metrics in (wires, wires, wires[::-1]):
        wire = _request(*metrics)
        points = [one for batch in _numbers(detailed, wire) for one in batch.points]
        assert [(one[0], one[1], _bits(one[3])) for one in points] == _columns(plain, wire)
    assert plain.dropped == detailed.dropped


def _numbers(bench: Bench, wire: bytes) -> list[Numbers[Any]]:
    return [batch for batch in bench.batches(wire) if isinstance(batch, Numbers)]


def _single(name: bytes, help_: bytes, unit: bytes, *attributes: bytes) -> bytes:
    point = _fixed(2, "Q", 1) + _fixed(3, "Q", 2) + _fixed(4, "d", 1.5)
    point += b"".join([_framed(7, one) for one in attributes])
    texts = _framed(1, name) + _framed(2, help_) + _framed(3, unit)
    return texts + _framed(7, _framed(1, point) + b"\x10\x02\x18\x01")


def test_a_wrong_guess_where_time_and_value_are_is_found_out() -> None:
    """Two metrics of which all is alike that guesses are made of, but not where the block is."""
    wires = [
        _single(b"name", b"help", b"s", _attribute("a", "xyz")),
        _single(b"name", b"help", b"By/s", _attribute("a", "")),
    ]
    assert 1 == len({len(wire) for wire in wires})
    bench = Bench()
    for wire in wires * 3:
        assert _expected(wire) == _found(bench, wire)
    assert _expected(wires[1]) + _expected(wires[0]) == _found(bench, *wires[::-1])
    assert 2 == bench.made


def _with(value: bytes, name: bytes = b"name", time: int = 2) -> bytes:
    return _framed(1, name) + _framed(5, _framed(1, _fixed(3, "Q", time) + value))


@pytest.mark.parametrize("has_details", [False, True])
def test_metrics_of_one_point_that_come_in_the_same_order(has_details: bool) -> None:
    """They are taken by their plan, and what is not as planned is found out."""
    double, integer = _fixed(4, "d", 1.5), _fixed(6, "q", 7)
    names = [b"a", b"b", b"longer"]
    plain = [_with(double, name) for name in names]
    requests = [
        plain,
        plain,
        [_with(double, name, time) for time, name in enumerate(names)],
        [plain[0], _with(integer, b"b"), plain[2]],
        [plain[1], plain[0], plain[2]],
        [plain[0], _with(double, b"c"), plain[2]],
        [plain[2], plain[1], plain[0]],
        [plain[0], _with(_fixed(5, "d", 1.0), b"b"), plain[2]],
        [plain[0], _framed(1, b"b") + _framed(5, _framed(1, _fixed(2, "Q", 2) + double)), plain[2]],
        plain[:2],
        plain,
    ]
    bench = Bench(has_details=has_details)
    for metrics in [*requests, *requests[::-1]]:
        expected = [row for metric in metrics for row in _expected(metric)]
        if has_details:
            assert expected == _found(bench, *metrics)
        else:
            found = _columns(bench, _request(*metrics))
            assert [(row[0], row[2], row[4]) for row in expected] == [
                (series[0], time, struct.unpack("<d", bits)[0]) for series, time, bits in found
            ]


def test_a_value_may_be_an_integer_now_and_a_double_then() -> None:
    bench = Bench()
    for value in (_fixed(4, "d", 2.5), _fixed(6, "q", -7), _fixed(4, "d", math.inf)):
        point = _framed(1, _fixed(3, "Q", 2) + value)
        for count in (1, 2):
            wire = _framed(1, b"name") + _framed(5, point * count)
            for _ in range(2):
                assert _expected(wire) == _found(bench, wire)
    assert 2 == bench.made  # of one point, and of several


def test_a_block_that_is_cut_out_elsewhere_is_not_taken_for_the_point() -> None:
    """What is left when the guessed place is cut out are the bytes of a known metric."""
    known = _single(b"name", b"help", b"s", _attribute("a", "x"))
    cut = find_cut(known)
    assert cut is not None
    bench = Bench()
    assert _expected(known) == _found(bench, known)
    head = cut.rest - 26
    for at in range(4, len(known) - 26):
        rest = known[:head] + known[cut.rest :]
        wire = rest[:at] + known[head : cut.rest] + rest[at:]
        try:
            expected = _expected(wire)
        except DecodeError:
            expected = []
        assert expected == _found(bench, wire), at


def test_only_a_metric_of_one_plain_point_has_a_cut() -> None:
    point = _fixed(3, "Q", 2) + _fixed(4, "d", 1.5)
    name = _framed(1, b"name")
    assert find_cut(name + _framed(5, _framed(1, point))) is not None
    for metric in (
        b"",
        name,
        name + _framed(5, b""),
        name + _framed(5, _framed(1, point) * 2),
        name + _framed(5, _framed(1, point)) * 2,
        name + _framed(9, _framed(1, point)),  # a histogram
        name + _framed(5, _framed(1, point[:9])),
        name + _framed(5, _framed(1, point + varint(8 << 3) + varint(1))),  # it ended
        name + _framed(5, _framed(1, point))[:-1],
    ):
        assert find_cut(metric) is None


def test_what_follows_a_point_in_its_metric_is_not_taken_for_its_attribute() -> None:
    """A field that gauges will have one day, with the number that attributes have in points."""
    first, second = (_framed(7, _attribute(key, "x")) for key in "ab")
    point = _fixed(3, "Q", 2) + _fixed(4, "d", 1.5) + first
    name = _framed(1, b"name")
    bench = Bench()
    for wire in (
        name + _framed(5, _framed(1, point) + second),
        name + _framed(5, _framed(1, point + second) * 2),
    ):
        for _ in range(2):
            assert _expected(wire) == _found(bench, wire)


@pytest.mark.parametrize("count", [1, 2, 7, 150])
@pytest.mark.parametrize("value", ["", "x" * 80, "x" * 20_000])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("tail", [b"", b"\x10\x02\x18\x01"])
def test_lengths_of_one_two_and_three_bytes(
    count: int, value: str, started: bool, tail: bytes
) -> None:
    bench = Bench()
    start = _fixed(2, "Q", 1) if started else b""
    rest = _framed(7, _attribute("a", value)) if value else b""
    points = [
        start + _fixed(3, "Q", 2 + index) + _fixed(6, "q", index) + rest for index in range(count)
    ]
    data = b"".join(_framed(1, point) for point in points) + tail
    wire = _framed(1, b"name") + _framed(7 if tail else 5, data)
    for _ in range(3):
        assert _expected(wire) == _found(bench, wire)


def test_metrics_of_one_name_that_are_described_differently_are_told_apart() -> None:
    bench = Bench()
    point = _framed(1, _fixed(3, "Q", 2) + _fixed(4, "d", 1.5))
    wires = [
        _framed(1, b"name") + _framed(3, unit) + data
        for unit in (b"s", b"By", b"1")
        for data in (_framed(5, point), _framed(7, point + b"\x10\x02\x18\x01"))
    ]
    for wire in wires * 3:
        assert _expected(wire) == _found(bench, wire)


def test_what_stands_between_or_behind_known_points_is_no_point() -> None:
    point = _framed(1, _fixed(3, "Q", 2) + _fixed(4, "d", 1.5))
    name = _framed(1, b"name")
    bench = Bench()
    for wire in (
        name + _framed(5, point * 2),
        name + _framed(5, point + _framed(11, point[2:]) + point),  # an unknown field
        name + _framed(5, point * 2) + _framed(1, b"n" * 18),  # the name that counts
    ):
        for _ in range(2):
            assert _expected(wire) == _found(bench, wire)


def test_a_point_that_ends_behind_its_metric_is_refused() -> None:
    point = _fixed(3, "Q", 2) + _fixed(4, "d", 1.5)
    name = _framed(1, b"name")
    bench = Bench()
    wire = name + _framed(5, _framed(1, point))
    assert _expected(wire) == _found(bench, wire)
    broken = name + _framed(5, b"\x0a\x13" + point)
    assert _found(bench, broken) == []
    assert bench.dropped == {(Cause.MALFORMED, ""): 0}


@pytest.mark.parametrize("count", [1, 2])
def test_only_a_time_is_taken_for_the_time(count: int) -> None:
    rest = _fixed(4, "d", 1.5) + _framed(7, _attribute("a", "x"))
    bench = Bench()
    for number in (3, 2, 10, 3):
        point = _fixed(2, "Q", 1) + _fixed(number, "Q", 2) + rest
        wire = _framed(1, b"name") + _framed(5, _framed(1, point) * count)
        assert _expected(wire) == _found(bench, wire)


def test_a_known_metric_is_not_opened_again() -> None:
    point = _fixed(2, "Q", 1) + _fixed(3, "Q", 2) + _fixed(4, "d", 1.5)
    point += _framed(7, _attribute("a", "x"))
    for count in (1, 2):
        bench = Bench()
        data = _framed(1, point) * count
        wire = _framed(1, b"name") + _framed(5, data)
        first = _found(bench, wire)
        bench.translator._unknown = None  # type: ignore[method-assign,assignment]  # off
        assert first == _found(bench, wire)
        assert bench.made == 1


def _value(bench: Bench, wire: bytes) -> float:
    (batch,) = bench.batches(_framed(1, _framed(2, _framed(2, wire))))
    assert isinstance(batch, Numbers)
    value = batch.points[0][3]
    assert value is not None
    return value


def test_minus_zero_and_a_stale_marker_of_a_peer() -> None:
    """R1-7: an ordinary NaN never has the bits of a stale marker."""
    for count in (1, 2):
        bench = Bench()
        for bits in (0x7FF0000000000002, 0xFFF8000000000001):
            point = _fixed(3, "Q", 2) + varint(4 << 3 | 1) + struct.pack("<Q", bits)
            wire = _framed(1, b"name") + _framed(5, _framed(1, point) * count)
            for _ in range(2):
                assert struct.pack("<d", math.nan) == struct.pack("<d", _value(bench, wire))
        point = _fixed(3, "Q", 2) + _fixed(4, "d", -0.0)
        wire = _framed(1, b"name") + _framed(5, _framed(1, point) * count)
        assert math.copysign(1, _value(bench, wire)) == -1
