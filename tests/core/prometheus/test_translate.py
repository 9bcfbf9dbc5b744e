"""Requests become points of canonical series (conformance A7)."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.any_values import key_value, serialize
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.prometheus.names import Strategy
from mlsysops_pipeline.prometheus.points import (
    Batch,
    Cause,
    Exponentials,
    Histograms,
    Numbers,
    Type,
)
from mlsysops_pipeline.prometheus.translate import BATCH_POINTS_MAX, NEW_POINTS_MAX, TARGET_INFO
from mlsysops_pipeline.testing.telemetry import make_wire
from tests.core.prometheus.flat import (
    T0,
    Bench,
    Series,
    attributes,
    counter,
    from_json,
    gauge,
    point,
    request,
)


def _numbers(batches: list[Batch[Series]]) -> list[Numbers[Series]]:
    assert all(isinstance(batch, Numbers) for batch in batches)
    return [batch for batch in batches if isinstance(batch, Numbers)]


def _only(bench: Bench, wire: bytes) -> Numbers[Series]:
    (batch,) = _numbers(bench.batches(wire))
    return batch


def test_attributes_in_another_order_are_the_same_series() -> None:
    bench = Bench()
    pairs = attributes(b="2", a="1", **{"c.d": "3"})
    wire = request(
        gauge("g", point(attributes=pairs), point(attributes=pairs[::-1])),
        gauge("g", point(attributes=pairs[::-1])),
    )
    series = {one[0] for batch in _numbers(bench.batches(wire)) for one in batch.points}
    assert series == {("g", (("a", "1"), ("b", "2"), ("c_d", "3")))}


def test_series_of_other_resources_and_scopes_are_kept_apart() -> None:
    bench = Bench()
    found = set()
    for service in ("one", "two"):
        for scope in ("x", "y"):
            resource = attributes(**{"service.name": service})
            wire = request(gauge("g", point()), resource=resource, name=scope)
            for _ in range(2):
                found.add(_only(bench, wire).points[0][0])
    assert len(found) == 4
    assert bench.made == 4


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("unknown", Type.UNKNOWN),
        ("unkown", Type.UNKNOWN),
        ("info", Type.INFO),
        ("stateset", Type.STATESET),
        ("counter", Type.GAUGE),
        ("", Type.GAUGE),
    ],
)
def test_metadata_tells_the_type_of_a_gauge(declared: str, expected: Type, count: int) -> None:
    """PO-5."""
    bench = Bench()
    metadata = attributes(**{"prometheus.type": declared})
    wire = request(gauge("g", *[point()] * count, metadata=metadata))
    for _ in range(2):
        batch = _only(bench, wire)
        assert expected is batch.family.type
        assert batch.family.name == ("g_info" if expected is Type.INFO else "g")


def test_metadata_tells_nothing_of_a_counter_and_is_no_reason_to_fail() -> None:
    """PO-5."""
    bench = Bench()
    metadata = attributes(**{"prometheus.type": "info"})
    assert _only(bench, request(counter("c", point(), metadata=metadata))).family.type == "counter"
    up_down = counter("u", point(), monotonic=False)
    assert _only(bench, request(up_down)).family.type is Type.GAUGE
    broken = metrics_pb2.MetricsData()
    metric = broken.resource_metrics.add().scope_metrics.add().metrics.add(name="g")
    metric.gauge.data_points.add(as_int=1, time_unix_nano=1)
    wire = broken.SerializeToString()
    metric_wire = metric.SerializeToString() + b"\x62\x02\x0a\xff"
    wire = b"\x0a" + bytes([len(metric_wire) + 4, 0x12, len(metric_wire) + 2, 0x12])
    wire += bytes([len(metric_wire)]) + metric_wire
    assert _only(bench, wire).family.type is Type.GAUGE


@pytest.mark.parametrize("count", [1, 2])
def test_deltas_are_dropped_unless_they_are_wanted(count: int) -> None:
    """PO-6."""
    wire = request(counter("c", *[point()] * count, temporality=1))
    bench = Bench()
    assert bench.batches(wire) == []
    assert bench.dropped == {(Cause.DELTA, "c"): count}
    wanting = Bench(takes_deltas=True)
    for _ in range(2):
        batch = _only(wanting, wire)
        assert batch.family.is_delta
        assert len(batch.points) == count
    assert not _only(wanting, request(counter("c", *[point()] * count))).family.is_delta


def test_temporalities_that_mean_nothing_are_dropped() -> None:
    """PO-6."""
    bench = Bench(takes_deltas=True)
    wire = request(
        counter("unspecified", point(), temporality=0),
        counter("odd", point(), temporality=7),
        counter("falling", point(), temporality=1, monotonic=False),
    )
    assert bench.batches(wire) == []
    assert set(bench.dropped) == {
        (Cause.TEMPORALITY, name) for name in ("unspecified", "odd", "falling")
    }


def test_points_without_recorded_value_end_their_series() -> None:
    """PO-9."""
    bench = Bench()
    wire = request(
        gauge("g", {"timeUnixNano": str(T0), "flags": 1}, point(5.0, flags=1), point(6.0))
    )
    assert [one[3] for one in _only(bench, wire).points] == [None, None, 6.0]


@pytest.mark.parametrize("count", [1, 2])
def test_a_point_without_value_is_malformed(count: int) -> None:
    bench = Bench()
    assert bench.batches(request(gauge("g", *[{"timeUnixNano": str(T0)}] * count))) == []
    assert bench.dropped == {(Cause.MALFORMED, "g"): count}


def test_metrics_of_whose_name_nothing_is_left_are_dropped() -> None:
    bench = Bench(namespace="ns")
    wire = request(*[gauge(name, point(), point(), unit="By") for name in ("", "@#$%", "é", "ok")])
    assert [batch.family.name for batch in bench.batches(wire)] == ["ns_ok_bytes"]
    assert set(bench.dropped) == {(Cause.NAME, name) for name in ("", "@#$%", "é")}
    as_they_are = Bench(strategy=Strategy.NO_TRANSLATION)
    assert [batch.family.name for batch in as_they_are.batches(wire)] == ["@#$%", "é", "ok"]
    assert as_they_are.dropped == {(Cause.NAME, ""): 2}


def test_a_metric_without_data_is_reported() -> None:
    bench = Bench()
    assert bench.batches(request({"name": "nothing"}, gauge("empty"))) == []
    assert set(bench.dropped) == {(Cause.NO_DATA, "nothing")}


def test_a_metric_that_changes_its_type_is_another_family() -> None:
    bench = Bench()
    for _ in range(2):
        for metric, type_ in (
            (gauge("m", point()), Type.GAUGE),
            (counter("m", point()), Type.COUNTER),
            (counter("m", point(), monotonic=False), Type.GAUGE),
        ):
            assert type_ is _only(bench, request(metric)).family.type


def test_other_descriptions_and_units_are_other_families_of_equal_series() -> None:
    bench = Bench()
    families, series = set(), set()
    for help_ in ("one", "two"):
        batch = _only(bench, request(gauge("m", point(), description=help_)))
        families.add((batch.family.name, batch.family.help))
        series.add(batch.points[0][0])
    assert families == {("m", "one"), ("m", "two")}
    assert len(series) == 1


def test_resource_attributes_become_labels_where_they_are_asked_for() -> None:
    resource = attributes(**{"service.name": "s", "host.name": "h", "own": "resource", "no": "x"})
    wire = request(gauge("g", point(attributes=attributes(own="point"))), resource=resource)
    bench = Bench(resource_labels=lambda key: key != "no", has_target_info=False)
    for _ in range(2):
        assert dict(_only(bench, wire).points[0][0][1]) == {
            "job": "s",
            "service_name": "s",
            "host_name": "h",
            "own": "point",
        }


def test_scope_labels_can_be_left_out() -> None:
    """PO-13."""
    wire = request(gauge("g", point()), name="scope", version="1")
    assert _only(Bench(has_scope_labels=False), wire).points[0][0] == ("g", ())
    labels = dict(_only(Bench(), wire).points[0][0][1])
    assert labels == {"otel_scope_name": "scope", "otel_scope_version": "1"}


def _group(resource: dict[str, str], *metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "resource": {"attributes": attributes(**resource)},
        "scopeMetrics": [{"metrics": list(metrics)}],
    }


def test_there_is_one_target_info_for_each_job_and_instance() -> None:
    """PO-14: the last resource counts, with the newest time of its points."""
    groups = [
        _group({"service.name": "a", "host.name": "old"}, gauge("g", point(time=T0 + 9))),
        _group({"service.name": "b", "x": "y"}, gauge("g", point(time=T0 + 5), point(time=T0))),
        _group({"service.name": "a", "host.name": "new"}, gauge("g", point(time=T0 + 7))),
        _group({"service.name": "only"}, gauge("g", point())),
        _group({"service.name": "no points", "x": "y"}),
    ]
    bench = Bench()
    for _ in range(2):
        *_, targets = _numbers(bench.batches(from_json({"resourceMetrics": groups})))
        assert targets.family is TARGET_INFO
        assert [(dict(one[0][1]), *one[1:4]) for one in targets.points] == [
            ({"host_name": "new", "job": "a"}, T0 + 7, 0, 1.0),
            ({"x": "y", "job": "b"}, T0 + 5, 0, 1.0),
        ]
    without = Bench(has_target_info=False).batches(from_json({"resourceMetrics": groups}))
    assert all(batch.family is not TARGET_INFO for batch in without)


def _histogram(name: Any = "h", temporality: Any = 2, **data: Any) -> dict[str, Any]:
    body = {"aggregationTemporality": temporality, "dataPoints": [{"timeUnixNano": "5", **data}]}
    return {"name": name, "histogram": body}


def _histograms(bench: Bench, *metrics: dict[str, Any]) -> list[Any]:
    return [one for batch in bench.batches(request(*metrics)) for one in batch.points]


def test_buckets_are_cumulative() -> None:
    """PO-7."""
    data = {"count": "6", "sum": 1.5, "bucketCounts": ["1", "2", "3"], "explicitBounds": [1, 2]}
    (one,) = _histograms(Bench(), _histogram(**data))
    assert (one.bounds, one.buckets, one.count, one.sum) == ((1, 2), (1, 3, 6), 6, 1.5)
    (stripped,) = _histograms(Bench(), _histogram(**{**data, "explicitBounds": [1, "Infinity"]}))
    assert (stripped.bounds, stripped.buckets) == ((1,), (1, 6))
    (plain,) = _histograms(Bench(), _histogram(count="7"))
    assert (plain.bounds, plain.buckets, plain.sum) == ((), (7,), None)
    (counted,) = _histograms(Bench(), _histogram(**{**data, "count": "9"}))
    assert counted.buckets == (1, 3, 9)  # NaN is in no bucket
    (too_few,) = _histograms(Bench(), _histogram(**{**data, "count": "2"}))
    assert too_few.buckets == (1, 3, 6)


def test_equal_bounds_are_one_object() -> None:
    bench = Bench()
    data = {"bucketCounts": ["1", "2"], "explicitBounds": [12345.5]}
    found = [_histograms(bench, _histogram(**data))[0].bounds for _ in range(3)]
    assert found[0] is found[1] is found[2]


@pytest.mark.parametrize(
    "data",
    [
        {"bucketCounts": ["1", "2"], "explicitBounds": [1, 2]},
        {"bucketCounts": ["1", "2", "3"], "explicitBounds": [2, 1]},
        {"bucketCounts": ["1", "2", "3"], "explicitBounds": [1, 1]},
        {"bucketCounts": ["1", "2"], "explicitBounds": ["NaN"]},
        {"bucketCounts": [], "explicitBounds": [1]},
    ],
)
def test_histograms_that_contradict_themselves_are_malformed(data: dict[str, Any]) -> None:
    bench = Bench()
    assert len(_histograms(bench, _histogram(**data), _histogram(name="sound", count="1"))) == 1
    assert bench.dropped == {(Cause.MALFORMED, "h"): 1}


def test_attributes_do_not_hide_the_labels_of_buckets_and_quantiles() -> None:
    (one,) = _histograms(Bench(), _histogram(count="1", attributes=attributes(le="x")))
    assert one.series == ("h", (("exported_le", "x"),))
    points = [{"timeUnixNano": "5", "attributes": attributes(quantile="x", le="y")}]
    (summary,) = _histograms(Bench(), {"name": "s", "summary": {"dataPoints": points}})
    assert summary.series == ("s", (("exported_quantile", "x"), ("le", "y")))


def test_delta_histograms_are_dropped_unless_they_are_wanted() -> None:
    """PO-6."""
    bench = Bench()
    assert _histograms(bench, _histogram(temporality=1, count="1")) == []
    assert bench.dropped == {(Cause.DELTA, "h"): 1}
    (batch,) = Bench(takes_deltas=True).batches(request(_histogram(temporality=1, count="1")))
    assert isinstance(batch, Histograms)
    assert batch.family.is_delta


def _exponential(**data: Any) -> dict[str, Any]:
    body = {"aggregationTemporality": 2, "dataPoints": [{"timeUnixNano": "5", **data}]}
    return {"name": "e", "exponentialHistogram": body}


def test_fine_scales_are_lowered() -> None:
    """PO-8."""
    positive = {"offset": -3, "bucketCounts": ["1", "2", "3", "4"]}
    (one,) = _histograms(Bench(), _exponential(scale=10, sum=1.5, positive=positive, count="10"))
    assert (one.scale, one.positive, one.count) == (8, (-1, (6, 4)), 10)
    assert one.zero_threshold == 1e-128


def test_exponential_histograms_without_sum_or_too_coarse_are_dropped() -> None:
    """PO-8."""
    bench = Bench()
    assert _histograms(bench, _exponential(scale=1), _exponential(scale=-5, sum=1)) == []
    assert bench.dropped == {(Cause.NO_SUM, "e"): 1, (Cause.SCALE, "e"): 1}


def test_exponential_histograms_beyond_every_number_are_malformed() -> None:
    """DM-5."""
    bench = Bench()
    positive = {"offset": 2**31 - 1, "bucketCounts": ["1"]}
    assert _histograms(bench, _exponential(scale=0, sum=1, positive=positive)) == []
    assert bench.dropped == {(Cause.MALFORMED, "e"): 1}


def test_exponential_histograms_add_up() -> None:
    """A receiver refuses a native histogram whose count is not that of its buckets."""
    positive = {"offset": 0, "bucketCounts": ["1", "2"]}
    data = {"scale": 0, "positive": positive, "zeroCount": "4", "zeroThreshold": 0.5}
    (wrong,) = _histograms(Bench(), _exponential(**data, sum=1, count="100"))
    assert (wrong.count, wrong.zero_count, wrong.zero_threshold) == (7, 4, 0.5)
    (nan,) = _histograms(Bench(), _exponential(**data, sum="NaN", count="100"))
    assert nan.count == 100


def test_stale_histograms_of_both_kinds() -> None:
    """PO-9: count 0 and no buckets."""
    positive = {"offset": 0, "bucketCounts": ["1"]}
    (one,) = _histograms(Bench(), _exponential(flags=1, scale=99, positive=positive, count="1"))
    assert (one.is_stale, one.count, one.positive, one.negative) == (True, 0, (0, ()), (0, ()))
    (fixed,) = _histograms(Bench(), _histogram(flags=1, explicitBounds=[1, 2]))
    assert (fixed.is_stale, fixed.bounds, fixed.buckets) == (True, (1, 2), (0, 0, 0))


def test_summaries() -> None:
    """PO-10."""
    quantiles = [{"quantile": q, "value": v} for q, v in ((0.99, 3), (0.5, "NaN"), (1, 4))]
    data = {"timeUnixNano": "5", "count": "2", "sum": 7, "quantileValues": quantiles}
    bench = Bench()
    (one,) = _histograms(bench, {"name": "s", "summary": {"dataPoints": [data]}})
    assert [quantile for quantile, _ in one.quantiles] == [0.5, 0.99, 1]
    assert math.isnan(one.quantiles[0][1])
    bad = {**data, "quantileValues": [{"quantile": 2, "value": 1}]}
    assert _histograms(bench, {"name": "s", "summary": {"dataPoints": [bad]}}) == []
    assert bench.dropped == {(Cause.MALFORMED, "s"): 1}


def _exemplar(**rest: Any) -> dict[str, Any]:
    return {
        "timeUnixNano": str(T0),
        "asInt": "4",
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        **rest,
    }


def _exemplars(**rest: Any) -> list[dict[str, str]]:
    wire = request(counter("c", point(exemplars=[_exemplar(**rest)])))
    return [dict(one.labels) for one in _only(Bench(), wire).points[0][4]]


def test_trace_and_span_of_exemplars_win_over_attributes() -> None:
    """PO-16."""
    filtered = attributes(**{"trace_id": "x", "span.id": "y", "user": "u"})
    ids = {"trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174"}
    assert _exemplars(filteredAttributes=filtered) == [{**ids, "user": "u"}]
    # 32 + 8 and 16 + 7 characters for the two of them leave 65 of 128.
    fits = attributes(key="v" * 62)
    assert _exemplars(filteredAttributes=fits) == [{**ids, "key": "v" * 62}]
    assert _exemplars(filteredAttributes=attributes(key="v" * 63)) == [ids]
    assert _exemplars(filteredAttributes=attributes(key="é" * 62)) == [{**ids, "key": "é" * 62}]


def test_ids_that_are_none_are_left_out() -> None:
    """PO-16."""
    assert _exemplars(traceId="00" * 16, spanId="") == [{}]


def test_exemplars_are_of_counters_and_histograms_only() -> None:
    exemplars = [_exemplar(), {"timeUnixNano": "1"}]
    wire = request(gauge("g", point(exemplars=exemplars)))
    assert _only(Bench(), wire).points[0][4] == ()
    (one,) = _histograms(Bench(), _histogram(count="1", exemplars=exemplars))
    assert [(each.value, each.timestamp_ns) for each in one.exemplars] == [(4.0, T0)]
    (native,) = Bench().batches(request(_exponential(sum=1, exemplars=exemplars)))
    assert isinstance(native, Exponentials)
    assert len(native.points[0].exemplars) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_ten_thousand_attributes_are_labels_and_not_kept(count: int) -> None:
    bench = Bench()
    pairs = attributes(**{f"key.{index}": "x" for index in range(10_000)})
    wire = request(gauge("g", *[point(attributes=pairs)] * count))
    for _ in range(2):
        assert len(_only(bench, wire).points[0][0][1]) == 10_000
    assert bench.made == 2 * count
    assert bench.translator.bytes < 20_000


def test_bytes_that_are_no_request_are_refused_at_once() -> None:
    bench = Bench()
    with pytest.raises(MalformedError):
        bench.translator.translate(b"\x0a\xff")


def _framed(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def test_what_is_malformed_costs_only_itself() -> None:
    sound = _framed(1, b"m") + _framed(5, _framed(1, b"\x19" + b"\1" * 8 + b"\x21" + b"\2" * 8))
    bad_attribute = b"\x19" + b"\1" * 8 + b"\x21" + b"\2" * 8 + _framed(7, b"\x0a\xff")
    cut = b"\x19" + b"\1" * 8 + b"\x21" + b"\2" * 7
    for broken in (bad_attribute, cut, b"\xff", b""):
        for count in (1, 2):
            bench = Bench()
            metric = _framed(1, b"broken") + _framed(5, _framed(1, broken) * count)
            wire = _framed(1, _framed(2, _framed(2, metric) + _framed(2, sound)))
            for _ in range(2):
                assert [len(batch.points) for batch in bench.batches(wire)] == [1]
            assert bench.dropped == {(Cause.MALFORMED, "broken"): 2 * count}


def test_points_of_malformed_resources_and_scopes_are_dropped() -> None:
    sound = _framed(1, b"m") + _framed(5, _framed(1, b"\x19" + b"\1" * 8 + b"\x21" + b"\2" * 8))
    bad = _framed(1, b"\x0a\xff")
    scopes = _framed(2, _framed(2, sound))
    bench = Bench()
    assert bench.batches(_framed(1, _framed(1, bad) + scopes)) == []
    bad_scope = _framed(1, _framed(3, b"\x0a\xff")) + _framed(2, sound)
    assert bench.batches(_framed(1, _framed(2, bad_scope))) == []
    assert bench.dropped == {(Cause.MALFORMED, "m"): 2}


def test_a_metric_of_broken_framing_is_reported() -> None:
    bench = Bench()
    assert bench.batches(_framed(1, _framed(2, _framed(2, b"\x0a\xff")))) == []
    assert bench.dropped == {(Cause.MALFORMED, ""): 0}


def test_batches_are_bounded() -> None:
    bench = Bench()
    wire = make_wire(Signal.METRICS, 2_500, points_per_metric=2_500)
    for limit in (NEW_POINTS_MAX, BATCH_POINTS_MAX):
        *batches, target = _numbers(bench.batches(wire))
        assert target.family is TARGET_INFO
        assert {len(batch.points) for batch in batches[:-1]} == {limit}
        assert len({one[0] for batch in batches for one in batch.points}) == 2_500


def test_many_new_series_of_a_known_metric_come_in_small_batches() -> None:
    """To make a series takes long: others get their turn in between."""
    bench = Bench()
    known = gauge("g", *[point(attributes=attributes(a=str(n))) for n in range(20)])
    for _ in range(2):
        assert [20] == [len(batch.points) for batch in _numbers(bench.batches(request(known)))]
    more = gauge("g", *[point(attributes=attributes(a=str(n))) for n in range(500)])
    for limit in (NEW_POINTS_MAX, 500):
        batches = _numbers(bench.batches(request(more)))
        assert limit == max(len(batch.points) for batch in batches)
        assert 500 == len({one[0] for batch in batches for one in batch.points})
    assert 500 == bench.made


@pytest.mark.slow
@pytest.mark.parametrize("points_per_metric", [1, 10])
def test_a_new_series_for_every_point_does_not_fill_the_memory(points_per_metric: int) -> None:
    limit = 1 << 18
    bench = Bench(cache_bytes_max=limit)
    wires = [
        make_wire(Signal.METRICS, 200, points_per_metric=points_per_metric, seed=seed)
        for seed in range(8)
    ]
    bench.batches(wires[0])
    tracemalloc.start()
    try:
        for wire in wires:
            bench.batches(wire)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bench.translator.bytes <= limit
    assert held < 3 * limit  # series of this test are tuples of tuples, larger than they need be
    assert bench.made >= 200 * len(wires)


@pytest.mark.slow
def test_the_order_of_metrics_is_forgotten_with_senders_that_are_gone() -> None:
    """Senders that start again have other resources, and as many metrics each."""
    limit, count = 1 << 17, 1_100
    bench = Bench(cache_bytes_max=limit)
    metrics = [gauge(f"g{index}", point()) for index in range(count)]
    for sender in range(3):
        wire = request(*metrics, resource=attributes(**{"service.name": str(sender)}))
        for _ in range(3):
            batches = bench.batches(wire)
            assert count == sum(len(batch.points) for batch in batches)
            labels = {one[0][1] for batch in _numbers(batches) for one in batch.points}
            assert {(("job", str(sender)),)} == labels
    assert 0 < bench.translator.bytes <= limit


def test_what_was_forgotten_is_found_out_again() -> None:
    bench = Bench(cache_bytes_max=8_000)
    wires = [
        request(
            gauge(f"g{index}", point(attributes=attributes(k=str(index)))),
            resource=attributes(**{"service.name": str(index)}),
        )
        for index in range(20)
    ]
    for _ in range(2):
        for index, wire in enumerate(wires):
            name, labels = _only(bench, wire).points[0][0]
            assert (name, dict(labels)) == (f"g{index}", {"job": str(index), "k": str(index)})


def test_two_requests_can_be_translated_at_once() -> None:
    bench = Bench()
    wires = [
        request(
            gauge("a", point()),
            gauge("b", point(), point()),
            resource=attributes(**{"service.name": name, "x": name}),
        )
        for name in ("one", "two")
    ]
    together = [
        pair
        for both in zip(*[bench.translator.translate(wire) for wire in wires], strict=True)
        for pair in both
    ]
    jobs = [dict(batch.points[0][0][1])["job"] for batch in _numbers(together)]
    assert jobs == ["one", "two"] * 3


def test_an_attribute_value_of_any_kind_is_a_label() -> None:
    bench = Bench()
    wire = request(gauge("g", point(attributes=[{"key": "n", "value": {"intValue": "7"}}])))
    assert dict(_only(bench, wire).points[0][0][1]) == {"n": "7"}
    assert key_value(b"n", serialize(7)) in wire
