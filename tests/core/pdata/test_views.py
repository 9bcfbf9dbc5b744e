"""The rules of views (design, "Payload and views"): wire bytes, against OTLP's own classes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.internal import api_implementation
from google.protobuf.message import EncodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.errors import Bug, MalformedError
from mlsysops_pipeline.pdata import views
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize, view
from tests.core.pdata.wires import OFFICIAL, WireMaker, canonical, field, varint

DEPTHS = [depth for depth in Depth if depth is not Depth.COUNTING]
SEEDS = st.integers(0, 2**32)
EVERY = pytest.mark.parametrize("signal", Signal, ids=str)


def round_trip(signal: Signal, depth: Depth, wire: bytes) -> bytes:
    return serialize(parse(signal, depth, wire))


def metric_wire(metric: bytes) -> bytes:
    return field(1, field(2, field(2, metric)))


@EVERY
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_round_trip_through_any_view_changes_nothing_for_a_reader(
    signal: Signal, seed: int
) -> None:
    wire = WireMaker(seed).request(signal)
    expected = canonical(signal, wire)
    for depth in DEPTHS:
        assert expected == canonical(signal, round_trip(signal, depth, wire)), depth


@EVERY
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_views_chain_in_any_order(signal: Signal, seed: int) -> None:
    maker = WireMaker(seed)
    wire = maker.request(signal)
    expected = canonical(signal, wire)
    for depth in maker.random.choices(DEPTHS, k=5):
        wire = round_trip(signal, depth, wire)
    assert expected == canonical(signal, wire)


@EVERY
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, cut=st.integers(0, 10_000), flip=st.integers(0, 255))
def test_broken_bytes_are_malformed_and_nothing_else(
    signal: Signal, seed: int, cut: int, flip: int
) -> None:
    wire = bytearray(WireMaker(seed).request(signal) or b"\x0a\x00")
    wire[cut % len(wire)] = flip
    for broken in (bytes(wire), bytes(wire[: cut % len(wire)])):
        for depth in Depth:
            try:
                message = parse(signal, depth, broken)
            except MalformedError:
                continue
            if depth is not Depth.COUNTING:
                serialize(message)


@pytest.mark.parametrize("depth", DEPTHS, ids=lambda depth: depth.value)
def test_singular_messages_that_come_twice_are_merged(depth: Depth) -> None:
    key_values = [field(1, field(1, name)) for name in (b"a", b"b")]
    resource = b"".join(field(1, key_value) for key_value in key_values)
    wire = field(1, resource)
    again = OFFICIAL[Signal.METRICS].FromString(round_trip(Signal.METRICS, depth, wire))
    names = [item.key for item in again.resource_metrics[0].resource.attributes]
    assert ["a", "b"] == names


@pytest.mark.parametrize("depth", DEPTHS, ids=lambda depth: depth.value)
@pytest.mark.parametrize(
    ("order", "expected"),
    [((5, 7), "sum"), ((7, 5), "gauge"), ((5, 7, 5), "gauge"), ((9, 10, 11), "summary")],
)
def test_of_several_kinds_of_data_the_last_counts(
    depth: Depth, order: tuple[int, ...], expected: str
) -> None:
    wire = metric_wire(b"".join(field(number, field(1, b"")) for number in order))
    again = OFFICIAL[Signal.METRICS].FromString(round_trip(Signal.METRICS, depth, wire))
    metric = again.resource_metrics[0].scope_metrics[0].metrics[0]
    assert expected == metric.WhichOneof("data")
    assert 1 == len(getattr(metric, expected).data_points)


@pytest.mark.parametrize("depth", DEPTHS, ids=lambda depth: depth.value)
def test_empty_messages_and_zeros_do_not_vanish(depth: Depth) -> None:
    zero_int = varint(6 << 3 | 1) + bytes(8)
    zero_sum = varint(5 << 3 | 1) + bytes(8)
    number = metric_wire(field(5, field(1, zero_int)))
    histogram = metric_wire(field(9, field(1, zero_sum)))
    empty_gauge = metric_wire(field(5, b""))
    empty_resource = field(1, field(1, b""))
    official = OFFICIAL[Signal.METRICS]

    def first_metric(wire: bytes) -> Any:
        again = official.FromString(round_trip(Signal.METRICS, depth, wire))
        return again.resource_metrics[0].scope_metrics[0].metrics[0]

    assert "as_int" == first_metric(number).gauge.data_points[0].WhichOneof("value")
    assert first_metric(histogram).histogram.data_points[0].HasField("sum")
    assert "gauge" == first_metric(empty_gauge).WhichOneof("data")
    again = official.FromString(round_trip(Signal.METRICS, depth, empty_resource))
    assert again.resource_metrics[0].HasField("resource")


@EVERY
def test_every_singular_field_has_presence_and_no_string_is_declared(signal: Signal) -> None:
    for depth in DEPTHS:
        file = view(signal, depth).DESCRIPTOR.file
        for message in file.message_types_by_name.values():
            for item in message.fields:
                assert item.is_repeated or item.has_presence, item.full_name
                assert item.type != item.TYPE_STRING, item.full_name
                assert item.type != item.TYPE_ENUM, item.full_name


@EVERY
def test_closed_messages_are_repeated_and_oneofs_are_whole(signal: Signal) -> None:
    """Singular bytes would keep the last of what protobuf merges."""
    official_file = view(signal, Depth.FULL).DESCRIPTOR.file
    for depth in DEPTHS:
        file = view(signal, depth).DESCRIPTOR.file
        for name, message in file.message_types_by_name.items():
            full = official_file.message_types_by_name[name]
            for item in message.fields:
                original = full.fields_by_name[item.name]
                if original.type == original.TYPE_MESSAGE and item.type == item.TYPE_BYTES:
                    assert item.is_repeated, item.full_name
            for oneof in full.oneofs:
                names = [item.name for item in message.oneofs_by_name[oneof.name].fields]
                assert [item.name for item in oneof.fields] == names


@EVERY
def test_full_view_names_what_otlp_names(signal: Signal) -> None:
    def paths(descriptor: Any, seen: frozenset[str]) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        for item in descriptor.fields:
            found.add((item.name, str(item.number)))
            if item.message_type is not None and item.message_type.name not in seen:
                inner = paths(item.message_type, seen | {item.message_type.name})
                found |= {(item.name, *path) for path in inner}
        return found

    ours = paths(view(signal, Depth.FULL).DESCRIPTOR, frozenset())
    assert paths(OFFICIAL[signal].DESCRIPTOR, frozenset()) == ours


def test_one_bad_byte_in_a_string_does_not_refuse_a_request() -> None:
    wire = metric_wire(field(1, b"caf\xe9") + field(5, b""))
    for depth in DEPTHS:
        assert wire == round_trip(Signal.METRICS, depth, wire)
    metric = parse(Signal.METRICS, Depth.RECORD, wire).resource_metrics[0].scope_metrics[0]
    assert b"caf\xe9" == metric.metrics[0].name


@pytest.mark.parametrize("value", [99, -1, 0])
def test_unknown_enum_values_stay_in_place(value: int) -> None:
    wire = metric_wire(field(7, b"\x10" + varint(value % 2**64)))
    message = parse(Signal.METRICS, Depth.FULL, wire)
    metric = message.resource_metrics[0].scope_metrics[0].metrics[0]
    assert value == metric.sum.aggregation_temporality
    assert wire == serialize(message)


def nested_value(levels: int) -> bytes:
    """A log record whose body is an array in an array in ... (an array is two messages)."""
    value = b""
    for _ in range(levels):
        value = field(5, field(1, value))
    return field(1, field(2, field(2, field(5, value))))


def test_nesting_beyond_protobuf_is_malformed_only_where_it_is_opened() -> None:
    deep = nested_value(200)
    with pytest.raises(MalformedError):
        parse(Signal.LOGS, Depth.FULL, deep)
    for depth in (Depth.RESOURCE, Depth.RECORD, Depth.POINT, Depth.ATTRIBUTES):
        assert deep == round_trip(Signal.LOGS, depth, deep)


def test_what_can_be_parsed_can_be_written_or_is_malformed() -> None:
    written = 0
    for levels in range(40, 56):
        wire = nested_value(levels)
        try:
            message = parse(Signal.LOGS, Depth.FULL, wire)
            assert wire == serialize(message)
            written += 1
        except MalformedError:
            continue
    assert 0 < written < 16


def test_closed_fields_can_be_opened_alone() -> None:
    wire = metric_wire(field(5, field(1, field(7, field(1, b"key")))))
    message = parse(Signal.METRICS, Depth.POINT, wire)
    point = message.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    key_value: Any = view(Signal.METRICS, Depth.FULL, "KeyValue").FromString(point.attributes[0])
    assert b"key" == key_value.key
    event: Any = view(Signal.TRACES, Depth.FULL, "Span.Event")()
    event.name = b"e"
    assert field(2, b"e") == serialize(event)


def test_views_are_built_once_and_not_in_the_default_pool() -> None:
    built = view(Signal.LOGS, Depth.POINT)
    assert built is view(Signal.LOGS, Depth.POINT)
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(built.DESCRIPTOR.full_name)
    with pytest.raises(KeyError):
        view(Signal.LOGS, Depth.RESOURCE, "LogRecord")


def test_a_message_that_protobuf_cannot_write_is_malformed() -> None:
    class Unwritable:
        """As a message of more than 2 GiB is, which no test can afford."""

        DESCRIPTOR = view(Signal.LOGS, Depth.FULL).DESCRIPTOR

        def SerializePartialToString(self) -> bytes:  # noqa: N802  protobuf's name
            raise EncodeError("too large")

    message: Any = Unwritable()
    with pytest.raises(MalformedError, match="LogsData"):
        serialize(message)


def test_members_of_a_oneof_cannot_be_closed() -> None:
    with pytest.raises(Bug):
        views._trimmed_message(views._official(Signal.METRICS)["Metric"], frozenset({"gauge"}))


@pytest.mark.parametrize(("implementation", "warnings"), [("upb", 0), ("python", 1)])
def test_only_what_is_not_upb_needs_a_warning(
    implementation: str,
    warnings: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_implementation, "Type", lambda: implementation)
    views._pool.__wrapped__()  # a second pool, which nobody uses
    assert warnings == len(caplog.records)


_WITHOUT_UPB = """
import logging
logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize
wire = b"\\x0a\\x02\\x0a\\x00"
for signal in Signal:
    for depth in Depth:
        parse(signal, depth, wire)
assert serialize(parse(Signal.LOGS, Depth.FULL, wire)) == wire
"""


@pytest.mark.slow
def test_without_upb_everything_works_with_one_warning() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _WITHOUT_UPB],
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in result.stderr.splitlines() if "mlsysops" in line]
    assert 1 == len(lines)
    assert "WARNING" in lines[0]
    assert "upb" in lines[0]


_IN_THREADS = """
import sys, threading
from mlsysops_pipeline.pdata.counting import count_items
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
built = []
def build():
    start.wait()
    for signal in Signal:
        count_items(signal, b"")
        built.extend(view(signal, depth).DESCRIPTOR.full_name for depth in Depth)
threads = [threading.Thread(target=build) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(built) == 8 * len(Signal) * len(Depth), len(built)
"""


@pytest.mark.slow
def test_views_may_be_built_in_several_threads_at_once() -> None:
    for _ in range(3):
        subprocess.run([sys.executable, "-c", _IN_THREADS], check=True)


def test_importing_the_package_builds_nothing() -> None:
    code = (
        "import sys, mlsysops_pipeline.pdata.splitting, mlsysops_pipeline.pdata.validation;"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')];"
        "assert 'google.protobuf.descriptor_pb2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
