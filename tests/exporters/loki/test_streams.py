"""The two ways to an entry, by pieces of bytes and by opening the record, lead to the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_exporters.loki.config import Config
from mlsysops_exporters.loki.requests import lanes
from mlsysops_exporters.loki.streams import Streams, Translator
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import MalformedError
from tests.exporters.loki import logproto
from tests.exporters.loki.fake import Entry, Loki
from tests.exporters.loki.otlp import T0, fill, payload, record

if TYPE_CHECKING:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

KEYS = st.sampled_from(
    ["a", "a.b", "a_b", "ünï", "level", "flags", "trace_id", "9", "zone", "x" * 130, ""]
)
LEAVES = (
    st.text(max_size=5) | st.booleans() | st.integers(-5, 5) | st.floats() | st.binary(max_size=3)
)
VALUES = (
    LEAVES
    | st.text("é", min_size=60, max_size=70)
    | st.lists(LEAVES, max_size=2)
    | st.dictionaries(KEYS, LEAVES, max_size=2)
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=4)


@st.composite
def records(draw: st.DrawFn) -> LogRecord:
    one = record(draw(st.text(max_size=10)), at=T0 + draw(st.integers(0, 10**9)))
    one.severity_number = draw(st.integers(0, 30))  # type: ignore[assignment]  # an open enum
    one.severity_text = draw(st.sampled_from(["", "info"]))
    one.trace_id = draw(st.sampled_from([b"", bytes(16), bytes(range(16)), b"odd"]))
    one.span_id = draw(st.sampled_from([b"", bytes(8), bytes(range(8)), b"odd"]))
    one.flags = draw(st.integers(0, 1))
    one.event_name = draw(st.sampled_from(["", "event"]))
    fill(one.attributes, draw(ATTRIBUTES))
    return one


def configured(labels: dict[str, str]) -> Config:
    return parse_config(Config, {"endpoint": "http://loki", "labels": {"attributes": labels}})


PLAIN, LABELLED = configured({}), configured({"a.b": "", "zone": "where"})


def translator(config: Config = PLAIN) -> Translator:
    def fail(cause: str) -> None:
        raise AssertionError(cause)

    return Translator(config, lambda: 1, fail)


def streams_of(translator_: Translator, *wires: bytes) -> dict[str, list[Entry]]:
    """What a Loki has that takes nothing that is forbidden."""
    import cramjam

    streams = Streams()
    for wire in wires:
        for _ in translator_.translate(wire, streams):
            pass
    server = Loki()
    for lane in lanes(streams, 2_000):
        for request in lane:
            body = bytes(cramjam.snappy.compress_raw(request.body))
            server.take({"content-type": "application/x-protobuf"}, body)
    return server.streams


@settings(max_examples=50, deadline=None)
@given(
    st.lists(records(), min_size=1, max_size=3),
    ATTRIBUTES,
    ATTRIBUTES,
    st.sampled_from([PLAIN, LABELLED]),
)
def test_a_record_that_is_opened_becomes_the_same_entry(
    some: list[LogRecord], resource: dict[str, Any], scope: dict[str, Any], config: Config
) -> None:
    plain = payload(*some, resource=resource, scope=scope or {"s": 1}).joined()
    for one in some:
        one.attributes.add(key="loki.format").value.string_value = "raw"
    opened = payload(*some, resource=resource, scope=scope or {"s": 1}).joined()
    made = translator(config)

    expected = streams_of(translator(config), opened)

    assert expected == streams_of(made, plain)
    assert expected == streams_of(made, plain)  # now everything is known


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(records(), ATTRIBUTES), min_size=1, max_size=3))
def test_what_was_seen_before_changes_nothing(some: list[tuple[LogRecord, dict[str, Any]]]) -> None:
    """One translator for all, whose names and pieces are known, or a new one for each."""
    wires = [payload(one, resource=resource).joined() for one, resource in some]
    shared = translator()
    for wire in wires:
        streams_of(shared, wire)

    for wire in wires:
        assert streams_of(translator(), wire) == streams_of(shared, wire)


def test_entries_stay_in_order_whatever_is_special() -> None:
    some = [
        record(str(number), at=T0 + number, more={"loki.format": "raw"} if number % 3 else {})
        for number in range(1_200)
    ]

    ((entries),) = streams_of(translator(), payload(*some).joined()).values()

    assert [str(number) for number in range(1_200)] == [entry.line for entry in entries]


def test_a_request_that_is_none_is_malformed() -> None:
    with pytest.raises(MalformedError):
        list(translator().translate(b"\xff", Streams()))


def test_caches_are_bounded() -> None:
    made = translator(LABELLED)
    for number in range(1_500):
        one = record(str(number), more={"zone": f"z{number}", f"key.{number}": "x" * 600})
        streams_of(made, payload(one, resource={"service.name": f"s{number}"}).joined())

    assert len(made._resources) <= 500
    assert all(len(resource._finished) <= 64 for resource in made._resources.values())
    assert len(made._rules._finished) <= 1_000
    assert made._pieces._cache.bytes <= 4 << 20
    assert "resources=500" in repr(made)


def test_the_descriptor_of_the_tests_is_that_of_loki() -> None:
    assert [] == list(logproto.parse(b"").streams)
