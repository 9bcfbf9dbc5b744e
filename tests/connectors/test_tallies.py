"""The connectors count and sum: what is added up, by what, and what is left out (D2, D3)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline import Collector
from mlsysops_pipeline.component import Kind, PipelineID
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.connectors import count, tallies
from mlsysops_pipeline.connectors import sum as summing
from mlsysops_pipeline.errors import ConfigError, PermanentError, RetryableError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_payload, make_settings
from tests.core.pdata.wires import OFFICIAL, WireMaker


def connector(module: Any, keys: dict[str, Any]) -> tuple[Any, Sink]:
    sink = Sink()
    made = make_settings("tally", kind=Kind.CONNECTOR)
    config = parse_config(module.Config, keys)
    return module.FACTORY.create(config, made, {PipelineID(Signal.METRICS): sink}), sink


def results(sink: Sink) -> dict[tuple[str, tuple[tuple[str, Any], ...]], float]:
    found = {}
    for payload in sink.payloads:
        for group in OFFICIAL[Signal.METRICS].FromString(payload.joined()).resource_metrics:
            for metric in group.scope_metrics[0].metrics:
                assert (1, True) == (metric.sum.aggregation_temporality, metric.sum.is_monotonic)
                for point in metric.sum.data_points:
                    assert point.time_unix_nano
                    assert not point.start_time_unix_nano
                    labels = tuple(
                        (p.key, getattr(p.value, p.value.WhichOneof("value")))
                        for p in point.attributes
                    )
                    key = metric.name, labels
                    assert key not in found
                    found[key] = getattr(point, point.WhichOneof("value"))
    return found


def logs(*rows: dict[str, Any]) -> Payload:
    names = {str: "string_value", int: "int_value", float: "double_value", bool: "bool_value"}
    request = OFFICIAL[Signal.LOGS]()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="zone").value.string_value = "z"
    scope = group.scope_logs.add()
    for row in rows:
        record = scope.log_records.add()
        for key, value in row.items():
            setattr(record.attributes.add(key=key).value, names[type(value)], value)
    return Payload(Signal.LOGS, request.SerializeToString())


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (Signal.LOGS, {"log.record.count": 25}),
        (Signal.TRACES, {"trace.span.count": 25}),
        (Signal.METRICS, {"metric.count": 3, "metric.datapoint.count": 25}),
    ],
    ids=str,
)
async def test_everything_is_counted_without_being_asked(
    signal: Signal, expected: dict[str, int]
) -> None:
    counter, sink = connector(count, {})
    await counter.consume(make_payload(signal, 25))

    assert {(name, ()): number for name, number in expected.items()} == results(sink)
    (group,) = OFFICIAL[Signal.METRICS].FromString(sink.payloads[0].joined()).resource_metrics
    assert group.resource.attributes
    assert count.SCOPE == group.scope_metrics[0].scope.name


async def test_events_of_spans_are_counted() -> None:
    request = OFFICIAL[Signal.TRACES]()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    for name in "aab":
        span.events.add(name=name).attributes.add(key="k").value.string_value = name
    keys = {"spanevents": {"e": {"attributes": [{"key": "k"}]}}}
    counter, sink = connector(count, keys)
    await counter.consume(Payload(Signal.TRACES, request.SerializeToString()))

    expected = {("trace.span.count", ()): 1, ("e", (("k", "a"),)): 2, ("e", (("k", "b"),)): 1}
    assert expected == results(sink)


async def test_by_attributes_with_a_default_and_by_conditions() -> None:
    keys = {
        "logs": {
            "by.env": {"attributes": [{"key": "env"}, {"key": "zone"}]},
            "or.none": {"attributes": [{"key": "env", "default_value": "none"}]},
            "or.seven": {"attributes": [{"key": "n", "default_value": 7}]},
            "prod": {"conditions": ['attributes["env"] == "prod"', 'attributes["n"] > 5']},
        }
    }
    counter, sink = connector(count, keys)
    await counter.consume(logs({"env": "prod"}, {"env": "dev"}, {"env": "dev"}, {"n": 6}))

    assert {
        ("by.env", (("env", "prod"), ("zone", "z"))): 1,
        ("by.env", (("env", "dev"), ("zone", "z"))): 2,
        ("or.none", (("env", "prod"),)): 1,
        ("or.none", (("env", "dev"),)): 2,
        ("or.none", (("env", "none"),)): 1,
        ("or.seven", (("n", 7),)): 3,
        ("or.seven", (("n", 6),)): 1,
        ("prod", ()): 2,
    } == results(sink)


async def test_nothing_is_handed_on_when_nothing_is_counted() -> None:
    counter, sink = connector(count, {"logs": {"x": {"attributes": [{"key": "absent"}]}}})
    await counter.consume(logs({"a": 1}))
    await counter.consume(make_payload(Signal.LOGS, 0))

    assert [] == sink.payloads


async def test_sums_take_what_is_a_number() -> None:
    summer, sink = connector(
        summing, {"logs": {"bytes": {"source_attribute": "size", "attributes": [{"key": "env"}]}}}
    )
    rows: list[dict[str, Any]] = [
        {"env": "a", "size": 2},
        {"env": "a", "size": 0.5},
        {"env": "a", "size": "4"},
        {"env": "a", "size": "x"},
        {"env": "a", "size": True},
        {"env": "a", "size": float("nan")},
        {"env": "a", "size": "inf"},
        {"env": "a"},
        {"env": "b", "size": 1},
        {"size": 100},
    ]
    await summer.consume(logs(*rows))

    assert {("bytes", (("env", "a"),)): 6.5, ("bytes", (("env", "b"),)): 1.0} == results(sink)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 5)), max_size=30))
async def test_counts_and_sums_are_those_of_a_recomputation(rows: list[tuple[str, int]]) -> None:
    by = [{"key": "k"}]
    counter, counted = connector(count, {"logs": {"n": {"attributes": by}}})
    summer, summed = connector(
        summing, {"logs": {"s": {"source_attribute": "v", "attributes": by}}}
    )
    payload = logs(*({"k": key, "v": value} for key, value in rows))
    await counter.consume(payload)
    await summer.consume(payload)
    numbers, totals = Counter(key for key, _ in rows), Counter[str]()
    for key, value in rows:
        totals[key] += value

    assert {("n", (("k", key),)): n for key, n in numbers.items()} == results(counted)
    assert {("s", (("k", key),)): totals[key] for key in numbers} == results(summed)


@pytest.mark.parametrize("signal", Signal, ids=str)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_items_of_any_request_are_all_counted(signal: Signal, seed: int) -> None:
    payload = Payload(signal, WireMaker(seed, one_kind=True).request(signal))
    counter, sink = connector(count, {})
    await counter.consume(payload)
    name = {"logs": "log.record.count", "traces": "trace.span.count"}
    total = 0
    for made in sink.payloads:
        for group in OFFICIAL[Signal.METRICS].FromString(made.joined()).resource_metrics:
            for metric in group.scope_metrics[0].metrics:
                if metric.name == name.get(str(signal), "metric.datapoint.count"):
                    total += sum(point.as_int for point in metric.sum.data_points)

    assert payload.items == total


async def test_one_value_too_many_is_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tallies, "_SERIES_MAX", 2)
    counter, sink = connector(count, {"logs": {"n": {"attributes": [{"key": "k"}]}}})
    await counter.consume(logs(*({"k": key} for key in "abca")))

    assert 3 == sum(results(sink).values())
    assert 1 == counter._left_out.value
    assert "left out" in caplog.text


async def test_a_refusal_and_bad_data_go_back_to_the_sender() -> None:
    counter, sink = connector(count, {})
    sink.error = RetryableError("later")
    with pytest.raises(RetryableError, match="later"):
        await counter.consume(make_payload(Signal.LOGS, 1))
    broken = Payload(Signal.LOGS, b"\x0a\x05\x12\x03\x12\x01\xff")
    with pytest.raises(PermanentError):
        await counter.consume(broken)
    assert 0 == counter._settings.memory.in_flight


async def test_a_malformed_member_is_left_out_and_the_others_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counter, sink = connector(count, {})
    good = make_payload(Signal.LOGS, 3).wires[0]
    await counter.consume(Payload(Signal.LOGS, [good, b"\x0a\x05\x12\x03\x12\x01\xff", good]))

    assert 6 == sum(
        point.as_int
        for group in OFFICIAL[Signal.METRICS].FromString(sink.payloads[0].joined()).resource_metrics
        for point in group.scope_metrics[0].metrics[0].sum.data_points
    )
    assert 1 == counter._left_out.value
    assert "not added up" in caplog.text


async def test_it_joins_pipelines_and_the_ledgers_are_even() -> None:
    seen = Sink()
    config: dict[str, Any] = {
        "connectors": {"count": None},
        "service": {
            "pipelines": {
                "logs": {"receivers": ["app"], "exporters": ["count"]},
                "metrics": {"receivers": ["count"], "exporters": ["seen"]},
            }
        },
    }
    async with Collector(config, sources=["app"], sinks={"seen": seen.consume}) as collector:
        await collector.feed("app", make_payload(Signal.LOGS, 7))
        ledgers = collector.pipeline_ledgers()

    assert (7, 7, 0) == (
        ledgers["logs"].received,
        ledgers["logs"].handed_on,
        ledgers["logs"].imbalance,
    )
    assert (1, 1, 0) == (
        ledgers["metrics"].received,
        ledgers["metrics"].handed_on,
        ledgers["metrics"].imbalance,
    )


BAD = [
    (count, {"logs": {"": {}}}, "logs: metric name missing"),
    (count, {"metrics": {"x": {"attributes": [{"key": "a"}]}}}, "attributes not supported"),
    (count, {"logs": {"x": {"attributes": [{}]}}}, "attribute key missing"),
    (count, {"logs": {"x": {"conditions": ["nonsense("]}}}, "logs"),
    (count, {"spanevents": {"x": {"conditions": ["true"]}}}, "not supported"),
    (summing, {"spans": {"x": {}}}, "spans: metric source_attribute missing"),
    # Beside what cannot be read at all:
    (count, {"spans": {"x": {"description": 5}}, "logs": {"": {}}}, "logs: metric name missing"),
    (summing, {"spans": 5, "logs": {"x": {}}}, "logs: metric source_attribute missing"),
]


@pytest.mark.parametrize(("module", "keys", "message"), BAD)
def test_what_is_wrong_is_named(module: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(module.Config, keys)
