"""Splitting: nothing lost, nothing repeated, everything around an item kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata import splitting
from mlsysops_pipeline.pdata.counting import count_items
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.splitting import split
from mlsysops_pipeline.testing.telemetry import make_payload, make_wire
from tests.core.pdata.wires import OFFICIAL, WireMaker, field, leaves, varint

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)
LIMITS = st.tuples(st.integers(0, 20), st.sampled_from((0, 1, 60, 300, 2_000)))


def seen(parts: list[Payload]) -> list[tuple[bytes, ...]]:
    return [leaf for part in parts for leaf in leaves(part.signal, part.joined())]


def some_payload(signal: Signal, seed: int, *, one_kind: bool) -> Payload:
    makers = [WireMaker(seed + number, one_kind=one_kind) for number in range(seed % 3 + 1)]
    return Payload(signal, [maker.request(signal) for maker in makers])


@EVERY
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), limits=LIMITS)
def test_parts_together_are_what_was_there(
    signal: Signal, seed: int, limits: tuple[int, int]
) -> None:
    payload = some_payload(signal, seed, one_kind=False)
    parts = split(payload, items_max=limits[0], bytes_max=limits[1])
    assert seen([payload]) == seen(parts)
    assert payload.items == sum(part.items for part in parts)
    for part in parts:
        assert part.items == sum(count_items(signal, wire) for wire in part.wires)


@EVERY
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), limits=LIMITS)
def test_limits_hold_and_a_larger_item_stays_alone(
    signal: Signal, seed: int, limits: tuple[int, int]
) -> None:
    items_max, bytes_max = limits
    payload = some_payload(signal, seed, one_kind=True)
    for part in split(payload, items_max=items_max, bytes_max=bytes_max):
        assert not items_max or part.items <= items_max
        assert not bytes_max or part.size <= bytes_max or part.items <= 1


@EVERY
@pytest.mark.parametrize("points_per_metric", [1, 7, 1000])
@pytest.mark.parametrize(
    ("items_max", "expected"), [(400, [400, 400, 200]), (999, [999, 1]), (1000, [1000])]
)
def test_parts_are_filled(
    signal: Signal, points_per_metric: int, items_max: int, expected: list[int]
) -> None:
    payload = make_payload(signal, 1000, points_per_metric=points_per_metric)
    assert expected == [part.items for part in split(payload, items_max=items_max)]


@EVERY
def test_members_go_whole_and_only_the_one_at_the_cut_is_opened(signal: Signal) -> None:
    wires = [make_wire(signal, 10, seed=seed) for seed in range(5)]
    first, second = split(Payload(signal, wires), items_max=25)
    assert tuple(wires[:2]) == first.wires[:2]
    assert 3 == len(first.wires)
    assert tuple(wires[3:]) == second.wires[1:]
    assert (5, 10, 10) == second.member_items()


@EVERY
def test_what_fits_is_returned_as_it_is(signal: Signal) -> None:
    payload = make_payload(signal, 10)
    assert [payload] == split(payload)
    assert split(payload, items_max=10, bytes_max=payload.size)[0] is payload
    empty = Payload(signal, ())
    assert split(empty, items_max=1, bytes_max=1)[0] is empty


@EVERY
def test_bytes_are_nearly_used_up(signal: Signal) -> None:
    payload = make_payload(signal, 500)
    parts = split(payload, bytes_max=10_000)
    assert all(part.size <= 10_000 for part in parts)
    assert all(part.size > 9_500 for part in parts[:-1])


def test_everything_around_a_point_is_on_each_part() -> None:
    """Also ``metric.metadata``, which the Collector forgets on the metric that it splits."""
    request = OFFICIAL[Signal.METRICS]()
    group = request.resource_metrics.add(schema_url="https://resource")
    group.resource.attributes.add(key="service.name").value.string_value = "s"
    group.resource.dropped_attributes_count = 3
    scope_metrics = group.scope_metrics.add(schema_url="https://scope")
    scope_metrics.scope.name, scope_metrics.scope.version = "io", "1.2"
    metric = scope_metrics.metrics.add(name="m", description="d", unit="By")
    metric.metadata.add(key="prometheus.type").value.string_value = "counter"
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = 2, True
    for index in range(3):
        metric.sum.data_points.add(as_int=index)
    parts = split(
        Payload(Signal.METRICS, request.SerializeToString(), Metadata(peer="p")), items_max=1
    )
    assert [1, 1, 1] == [part.items for part in parts]
    for index, part in enumerate(parts):
        again = OFFICIAL[Signal.METRICS].FromString(part.joined())
        points = again.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
        assert [index] == [point.as_int for point in points]
        expected = type(request)()
        expected.CopyFrom(request)
        kept = expected.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
        del kept[:index], kept[1:]
        assert expected == again
        assert "p" == part.metadata.peer


def test_each_piece_is_written_as_an_encoder_would() -> None:
    """A reader that does not merge what comes twice in a oneof must see all of it."""
    payload = make_payload(Signal.METRICS, 30)
    for part in split(payload, items_max=7):
        wire = part.joined()
        assert wire == OFFICIAL[Signal.METRICS].FromString(wire).SerializeToString()


def test_a_metric_of_two_kinds_of_data_is_not_cut() -> None:
    points = field(1, b"") * 2
    metric = field(5, points) + field(7, points)
    wire = field(1, field(2, field(2, metric)))
    (part,) = split(Payload(Signal.METRICS, wire), items_max=1)
    assert 4 == part.items
    assert wire == part.joined()


def test_empty_groups_travel_with_their_neighbours() -> None:
    empty = field(1, field(2, b""))
    record = field(1, field(2, field(2, b"")))
    payload = Payload(Signal.LOGS, empty + record + empty + record + empty)
    first, second = split(payload, items_max=1)
    assert empty + record == first.joined()
    assert empty + record + empty == second.joined()


def test_very_uneven_metrics_are_cut_where_the_limit_is() -> None:
    def metric(points: int) -> bytes:
        return field(2, field(5, field(1, b"") * points))

    sizes = [1] * 50 + [300] + [0] * 40 + [2, 5] * 20 + [0] * 10
    wire = field(1, field(2, b"".join(map(metric, sizes))))
    for items_max in (1, 49, 50, 51, 100, 349, 350, 351):
        payload = Payload(Signal.METRICS, wire)
        parts = split(payload, items_max=items_max)
        expected = -(-sum(sizes) // items_max)
        assert expected == len(parts)
        assert [items_max] * (expected - 1) == [part.items for part in parts[:-1]]
        assert seen([payload]) == seen(parts)


def test_repeating_a_huge_resource_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource of megabytes on many tiny items must not multiply a request."""
    monkeypatch.setattr(splitting, "_COPIES_BYTES_MAX", 100_000)
    resource = field(1, field(1, field(1, b"k" * 10_000)))
    wire = field(1, resource + field(2, field(2, b"") * 5_000))
    payload = Payload(Signal.LOGS, wire)
    parts = split(payload, items_max=10)
    assert 5_000 == sum(part.items for part in parts)
    assert sum(part.size for part in parts) < 100_000 + 4 * payload.size
    assert [10] * 12 == [part.items for part in parts[:12]]


def test_a_flood_of_unknown_fields_is_carried_along_whole() -> None:
    flood = b"\x58\x00" * 20_000
    wire = field(1, field(2, flood + field(2, b"") * 3))
    parts = split(Payload(Signal.LOGS, [wire, field(1, field(2, field(2, b"")))]), items_max=2)
    assert [3, 1] == [part.items for part in parts]
    assert wire == parts[0].joined()


def test_fields_between_children_are_kept_in_order() -> None:
    unknown = [varint(99 << 3) + bytes([number]) for number in range(4)]
    records = [field(2, field(12, b"%d" % number)) for number in range(3)]
    scope = b"".join(a + b for a, b in zip(unknown, [*records, b""], strict=True))
    parts = split(Payload(Signal.LOGS, field(1, field(2, scope))), items_max=2)
    expected = [records[:2], records[2:]]
    assert [field(1, field(2, b"".join([*unknown, *kept]))) for kept in expected] == [
        part.joined() for part in parts
    ]


def test_broken_members_are_malformed() -> None:
    good = make_wire(Signal.LOGS, 5)
    with pytest.raises(MalformedError):
        split(Payload(Signal.LOGS, [good, b"\x0a\x7f"]), items_max=2)


def test_garbage_inside_items_is_carried_along() -> None:
    wire = field(1, field(2, field(2, b"\xff\xff") * 4))
    parts = split(Payload(Signal.TRACES, wire), items_max=2)
    assert [field(1, field(2, field(2, b"\xff\xff") * 2))] * 2 == [p.joined() for p in parts]


def test_unknown_fields_are_on_each_part() -> None:
    future = varint(900 << 3) + b"\x01"
    wire = future + field(1, future + field(2, future + field(2, b"") * 2))
    for part in split(Payload(Signal.LOGS, wire), items_max=1):
        again: Any = OFFICIAL[Signal.LOGS].FromString(part.joined())
        assert 1 == len(again.resource_logs[0].scope_logs[0].log_records)
        assert 3 == part.joined().count(future)
