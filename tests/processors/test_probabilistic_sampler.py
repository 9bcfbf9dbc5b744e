"""The sampler's arithmetic, its decisions in every mode, and that levels agree (C13)."""

from __future__ import annotations

import hashlib
import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline import Collector
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, MalformedError
from mlsysops_pipeline.functions.attributes import from_python
from mlsysops_pipeline.pdata.any_values import key_value
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
from mlsysops_pipeline.testing import make_payload, make_settings
from mlsysops_processors.probabilistic_sampler import FACTORY, RULE, Config, SamplerProcessor
from mlsysops_processors.probabilistic_sampler import numbers as arithmetic
from mlsysops_processors.probabilistic_sampler.sampling import Sampler
from tests.core.pdata.wires import OFFICIAL, WireMaker, canonical

TRACE = bytes(range(1, 17))
LOW, HIGH = b"\1" * 9 + b"\0" * 7, b"\1" * 9 + b"\xff" * 7
"""Trace ids of the lowest and the highest randomness that the W3C's rule knows."""


def made(*, signal: Signal = Signal.TRACES, **keys: Any) -> SamplerProcessor:
    config = parse_config(Config, keys)
    processor = FACTORY.create(config, make_settings("sampler", signals=[signal]), None)
    assert isinstance(processor, SamplerProcessor)
    return processor


def spans(*rows: dict[str, Any]) -> Payload:
    request = OFFICIAL[Signal.TRACES]()
    scope = request.resource_spans.add().scope_spans.add()
    for row in rows:
        span = scope.spans.add(
            trace_id=row.get("trace_id", TRACE), trace_state=row.get("trace_state", "")
        )
        add_attributes(span, row.get("attributes", {}))
    return Payload(Signal.TRACES, request.SerializeToString())


def logs(*rows: dict[str, Any]) -> Payload:
    request = OFFICIAL[Signal.LOGS]()
    scope = request.resource_logs.add().scope_logs.add()
    for row in rows:
        record = scope.log_records.add(trace_id=row.get("trace_id", TRACE))
        add_attributes(record, row.get("attributes", {}))
    return Payload(Signal.LOGS, request.SerializeToString())


def add_attributes(item: Any, attributes: dict[str, Any]) -> None:
    names = {str: "string_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    for key, value in attributes.items():
        setattr(item.attributes.add(key=key).value, names[type(value)], value)


def read(payload: Payload | None) -> list[Any]:
    if payload is None:
        return []
    request = OFFICIAL[payload.signal].FromString(payload.joined())
    if payload.signal is Signal.LOGS:
        return [r for g in request.resource_logs for s in g.scope_logs for r in s.log_records]
    return [r for g in request.resource_spans for s in g.scope_spans for r in s.spans]


def fnv(data: bytes) -> int:
    """FNV-1a as its authors write it."""
    state = 2166136261
    for byte in data:
        state ^= byte
        state = (state * 16777619) % 2**32
    return state


def chosen(trace_id: bytes, percentage: float, seed: int) -> bool:
    """The Collector's older form of the decision: a bucket of 16,384 below a scaled rate."""
    scale = struct.unpack("<f", struct.pack("<f", 163.84))[0]
    share = struct.unpack("<f", struct.pack("<f", percentage))[0]
    rate = int(struct.unpack("<f", struct.pack("<f", share * scale))[0])
    return (fnv(struct.pack("<I", seed) + trace_id) & 0x3FFF) < rate


def test_the_hash_is_the_one_of_its_authors() -> None:
    assert (0x811C9DC5, 0xE40C292C, 0xBF9CF968) == (fnv(b""), fnv(b"a"), fnv(b"foobar"))


@settings(max_examples=200, deadline=None)
@given(
    trace_id=st.binary(min_size=16, max_size=16).filter(any),
    percentage=st.one_of(st.floats(1e-6, 100), st.sampled_from([0, 0.006, 0.0061, 50, 99.99, 150])),
    seed=st.integers(0, 2**32 - 1),
)
def test_spans_are_chosen_by_the_hash_of_their_trace(
    trace_id: bytes, percentage: float, seed: int
) -> None:
    sampler = made(sampling_percentage=percentage, hash_seed=seed)

    kept = read(sampler.process(spans({"trace_id": trace_id})))

    assert chosen(trace_id, min(percentage, 100), seed) == bool(kept)


@settings(max_examples=50, deadline=None)
@given(
    trace_ids=st.lists(st.binary(min_size=16, max_size=16).filter(any), max_size=40),
    low=st.floats(1e-6, 100),
    high=st.floats(1e-6, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_smaller_percentage_keeps_a_part_of_what_a_larger_keeps(
    trace_ids: list[bytes], low: float, high: float, seed: int
) -> None:
    payload = spans(*({"trace_id": trace_id} for trace_id in trace_ids))
    low, high = sorted((low, high))
    few = made(sampling_percentage=low, hash_seed=seed).process(payload)
    many = made(sampling_percentage=high, hash_seed=seed).process(payload)

    assert {span.trace_id for span in read(few)} <= {span.trace_id for span in read(many)}


@settings(max_examples=150, deadline=None)
@given(
    trace_id=st.one_of(st.binary(min_size=16, max_size=16), st.binary(max_size=3)),
    keys=st.fixed_dictionaries(
        {
            "sampling_percentage": st.one_of(st.floats(1e-6, 100), st.sampled_from([0, 100])),
            "mode": st.sampled_from(["hash_seed", "proportional", "equalizing"]),
            "fail_closed": st.booleans(),
            "attribute_source": st.sampled_from(["traceID", "record"]),
            "from_attribute": st.sampled_from(["", "id"]),
            "sampling_priority": st.sampled_from(["", "priority"]),
        }
    ),
    attributes=st.dictionaries(
        st.sampled_from(["id", "priority", "sampling.threshold", "sampling.priority", "x"]),
        st.one_of(st.integers(-1, 200), st.sampled_from(["", "8", "text"]), st.just(0.5)),
        max_size=3,
    ),
    is_logs=st.booleans(),
)
def test_the_short_way_decides_and_writes_as_the_long_one(
    trace_id: bytes, keys: dict[str, Any], attributes: dict[str, Any], *, is_logs: bool
) -> None:
    rules = parse_config(Config, keys).rules()
    sampler = Sampler(rules, is_logs=is_logs)
    signal, name = (Signal.LOGS, "LogRecord") if is_logs else (Signal.TRACES, "Span")
    opened: Any = view(signal, Depth.POINT, name)
    pairs = [key_value(key.encode(), from_python(content)) for key, content in attributes.items()]
    wire = opened(trace_id=trace_id, attributes=pairs).SerializeToString()
    for _ in range(2):  # the second time what is remembered counts
        one, other = opened.FromString(wire), opened.FromString(wire)
        decision = sampler._decision(other)
        assert decision == sampler.keeps(one, is_short=sampler.may_be_short(wire))
        assert other == one or not decision[0]


def test_a_level_behind_another_that_follows_the_w3c_keeps_what_both_want() -> None:
    digests = [hashlib.sha256(number.to_bytes(2, "big")).digest() for number in range(512)]
    rows = [{"trace_id": half} for digest in digests for half in (digest[:16], digest[16:])]
    first = made(sampling_percentage=50).process(spans(*rows))
    assert first is not None
    half = len(read(first))
    equal = read(made(sampling_percentage=25, mode="equalizing").process(first))
    share = read(made(sampling_percentage=50, mode="proportional").process(first))

    assert 0.4 < half / len(rows) < 0.6
    assert {s.trace_id for s in equal} == {s.trace_id for s in share}
    assert 0.15 < len(equal) / len(rows) < 0.35
    assert all(re.fullmatch("ot=rv:[0-9a-f]{14};th:c", s.trace_state) for s in equal)
    direct = read(made(sampling_percentage=25).process(spans(*rows)))
    assert {s.trace_id for s in equal} == {s.trace_id for s in direct}


THRESHOLDS = [
    (1.0, 4, "0"),
    (0.5, 4, "8"),
    (0.25, 4, "c"),
    (1 / 3, 3, "aab"),
    (2 / 3, 3, "555"),
    (0.1, 4, "e666"),
    (0.01, 4, "fd70a"),
    (0.999, 4, "004189"),
    (2**-56, 4, "ffffffffffffff"),
    (0.5 + 2**-40, 1, "8"),
]


@pytest.mark.parametrize(("probability", "digits", "text"), THRESHOLDS)
def test_thresholds_to_so_many_digits(probability: float, digits: int, text: str) -> None:
    threshold = arithmetic.threshold_of(probability, digits)

    assert threshold is not None
    assert text == arithmetic.write_threshold(threshold)
    assert threshold == arithmetic.read_threshold(text)
    assert arithmetic.probability_of(threshold) == pytest.approx(probability, rel=0.5**digits)


@pytest.mark.parametrize("probability", [0, -1, 1.1, 2**-57])
def test_probabilities_that_no_threshold_has(probability: float) -> None:
    assert arithmetic.threshold_of(probability, 4) is None


KEPT_SPANS = [
    # keys, span, whether it is kept, its tracestate then
    ({"sampling_percentage": 100}, {}, True, None),
    ({"sampling_percentage": 0}, {}, False, None),
    ({"sampling_percentage": 100, "mode": "proportional"}, {}, True, "ot=th:0"),
    ({"sampling_percentage": 50, "mode": "equalizing"}, {"trace_id": LOW}, False, None),
    ({"sampling_percentage": 50, "mode": "equalizing"}, {"trace_id": HIGH}, True, "ot=th:8"),
    (
        {"sampling_percentage": 50, "mode": "equalizing"},
        {"trace_id": HIGH, "trace_state": "a=b, ot=th:c;x:y"},
        True,
        "ot=th:c;x:y,a=b",
    ),
    (
        {"sampling_percentage": 50, "mode": "proportional"},
        {"trace_id": HIGH, "trace_state": "ot=th:8"},
        True,
        "ot=th:c",
    ),
    (
        {"sampling_percentage": 50, "mode": "proportional"},
        {"trace_id": HIGH, "trace_state": "ot=rv:7fffffffffffff"},
        False,
        None,
    ),
    (  # it should not have come, so what it says counts for nothing
        {"sampling_percentage": 50, "mode": "proportional", "fail_closed": False},
        {"trace_id": LOW, "trace_state": "ot=th:8"},
        True,
        "ot=th:0",
    ),
    (
        {"sampling_percentage": 50, "mode": "proportional"},
        {"trace_id": LOW, "trace_state": "ot=th:8"},
        False,
        None,
    ),
    ({"sampling_percentage": 100, "mode": "equalizing"}, {"trace_id": b"\0" * 16}, False, None),
    ({"sampling_percentage": 100}, {"trace_id": b""}, False, None),
    (
        {"sampling_percentage": 100, "fail_closed": False},
        {"trace_id": b""},
        True,
        "ot=rv:ffffffffffffff;th:0",
    ),
    ({"sampling_percentage": 100}, {"trace_state": "ot=th:8"}, False, None),
    (
        {"sampling_percentage": 100, "fail_closed": False},
        {"trace_state": "ot=th:8"},
        True,
        "ot=th:8",
    ),
    ({"sampling_percentage": 100}, {"trace_state": "ot=th:x"}, False, None),
    ({"sampling_percentage": 100}, {"trace_state": "no member"}, False, None),
    ({"sampling_percentage": 100, "fail_closed": False}, {"trace_state": "A=b"}, True, "A=b"),
    ({"sampling_percentage": 0}, {"attributes": {"sampling.priority": 1}}, True, "ot=th:0"),
    ({"sampling_percentage": 0}, {"attributes": {"sampling.priority": 0.5}}, True, "ot=th:0"),
    ({"sampling_percentage": 0}, {"attributes": {"sampling.priority": "2"}}, True, "ot=th:0"),
    ({"sampling_percentage": 0}, {"attributes": {"sampling.priority": "1_0"}}, False, None),
    ({"sampling_percentage": 100}, {"attributes": {"sampling.priority": 0}}, False, None),
    ({"sampling_percentage": 100}, {"attributes": {"sampling.priority": "0"}}, False, None),
    ({"sampling_percentage": 100}, {"attributes": {"sampling.priority": -1}}, True, None),
    ({"sampling_percentage": 100}, {"attributes": {"sampling.priority": b"0"}}, True, None),
]


@pytest.mark.parametrize(("keys", "row", "is_kept", "state"), KEPT_SPANS)
def test_spans(keys: dict[str, Any], row: dict[str, Any], is_kept: bool, state: str | None) -> None:
    sampler = made(**keys)
    kept = read(sampler.process(spans(row)))

    assert is_kept == bool(kept)
    if state is not None:
        assert [state] == [span.trace_state for span in kept]


def hashes(data: bytes) -> str:
    state = arithmetic.seeded(0)
    return arithmetic.write_randomness(arithmetic.hashed(data, state))


ALL = {"sampling_percentage": 100}
BY_RECORD = {"attribute_source": "record", "from_attribute": "id"}
KEPT_LOGS = [
    # keys, record, its sampling.randomness when it is kept
    (ALL, {}, hashes(TRACE)),
    (ALL, {"trace_id": b""}, None),
    ({**ALL, "from_attribute": "id"}, {"trace_id": b"", "attributes": {"id": "a"}}, hashes(b"a")),
    ({**ALL, "from_attribute": "id"}, {"attributes": {"id": "a"}}, hashes(TRACE)),
    ({**ALL, **BY_RECORD}, {"attributes": {"id": "a"}}, hashes(b"a")),
    ({**ALL, **BY_RECORD}, {"attributes": {"id": b"\xff"}}, hashes(b"\xff")),
    ({**ALL, **BY_RECORD}, {"attributes": {"id": 17}}, hashes(b"17")),
    ({**ALL, **BY_RECORD}, {"attributes": {"id": 0.5}}, hashes(b"0.5")),
    ({**ALL, **BY_RECORD}, {}, None),
    (ALL, {"attributes": {"sampling.randomness": "00000000000001"}}, None),
    (ALL, {"attributes": {"sampling.threshold": "8"}}, None),
    (ALL, {"attributes": {"sampling.threshold": "no"}}, None),
    ({**ALL, "sampling_priority": "p"}, {"attributes": {"p": 0}}, None),
    ({"sampling_priority": "p"}, {"attributes": {"p": 100}}, ""),
    ({"sampling_priority": "p"}, {"attributes": {"p": 250.0}}, ""),
    ({"sampling_priority": "p"}, {"attributes": {"p": "100"}}, None),
    ({**ALL, "sampling_priority": "p"}, {"attributes": {"p": "0"}}, hashes(TRACE)),
    ({**ALL, "mode": "equalizing"}, {}, ""),
    ({**ALL, "mode": "equalizing"}, {"trace_id": b""}, None),
    (
        {"sampling_percentage": 50, "mode": "proportional"},
        {"attributes": {"sampling.randomness": "ffffffffffffff", "sampling.threshold": "8"}},
        "ffffffffffffff",
    ),
]


@pytest.mark.parametrize(("keys", "row", "randomness"), KEPT_LOGS)
def test_log_records(keys: dict[str, Any], row: dict[str, Any], randomness: str | None) -> None:
    kept = read(made(signal=Signal.LOGS, **keys).process(logs(row)))

    assert (randomness is not None) == bool(kept)
    for record in kept:
        attributes = {pair.key: pair.value.string_value for pair in record.attributes}
        assert randomness == attributes.get("sampling.randomness", "")
        expected = "c" if keys.get("mode") == "proportional" else "0"
        assert expected == attributes["sampling.threshold"]


@pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS], ids=str)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_comes_it_is_counted_and_fields_survive(signal: Signal, seed: int) -> None:
    wire = WireMaker(seed).request(signal)
    sampler = made(signal=signal, sampling_percentage=50, fail_closed=False)
    payload = Payload(signal, wire)
    result = sampler.process(payload)
    kept = 0 if result is None else result.items

    filtered = sampler._settings.pipeline_ledger.filtered[RULE]
    assert payload.items == kept + filtered
    if result is not None:
        again = Payload(signal, result.wires)
        assert kept == again.items
        canonical(signal, again.joined())  # it is a request for the official classes too


async def test_the_ledger_is_even_and_the_counts_are_the_collectors() -> None:
    seen: list[Payload] = []

    async def sink(payload: Payload) -> None:
        seen.append(payload)

    pipeline = {
        "receivers": ["app"],
        "processors": ["probabilistic_sampler"],
        "exporters": ["sink"],
    }
    config: dict[str, Any] = {
        "processors": {"probabilistic_sampler": {"sampling_percentage": 30, "hash_seed": 22}},
        "service": {"pipelines": {"traces": pipeline}},
    }
    async with Collector(config, sources=["app"], sinks={"sink": sink}) as collector:
        for number in range(20):
            await collector.feed("app", make_payload(Signal.TRACES, 50, seed=number))
        ledger = collector.pipeline_ledgers()["traces"]
        name = "otelcol_processor_probabilistic_sampler_count_traces_sampled"
        counts = {
            dict(sample.attributes)["sampled"]: int(sample.value)
            for sample in collector.metrics()
            if sample.name == name and dict(sample.attributes)["policy"] == "trace_id_hash"
        }

    kept = sum(payload.items for payload in seen)
    assert (1000, kept, 0) == (ledger.received, ledger.handed_on, ledger.imbalance)
    assert {"true": kept, "false": 1000 - kept} == counts
    assert 200 < kept < 400


def test_a_broken_item_is_malformed_data() -> None:
    request = b"\x0a\x05\x12\x03\x12\x01\xff"

    with pytest.raises(MalformedError):
        made(sampling_percentage=50).process(Payload(Signal.TRACES, request))


BAD = [
    ({"sampling_percentage": -1}, "negative"),
    ({"sampling_percentage": float("inf")}, "finite"),
    ({"sampling_percentage": 1e-20}, "too small"),
    ({"sampling_precision": 0}, "between 1 and 14"),
    ({"sampling_precision": 15}, "between 1 and 14"),
    ({"hash_seed": -1}, "4294967295"),
    ({"mode": "other"}, "mode"),
    ({"attribute_source": "span"}, "attribute_source"),
]


@pytest.mark.parametrize(("keys", "message"), BAD)
def test_what_is_wrong_is_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, keys)
