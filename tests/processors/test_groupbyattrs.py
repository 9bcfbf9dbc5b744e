"""The groupbyattrs processor (components, C8), for one against the plainest way there is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, MalformedError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, make_settings, make_wire
from mlsysops_processors.groupbyattrs import FACTORY, Config, GroupByAttrsProcessor
from tests.core.pdata.wires import CHILDREN, OFFICIAL, WireMaker, field

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)
NOUNS = {Signal.METRICS: "metric", Signal.LOGS: "log", Signal.TRACES: "span"}


def make(*keys: str) -> GroupByAttrsProcessor:
    made = FACTORY.create(
        parse_config(Config, {"keys": list(keys)}), make_settings("groupbyattrs"), None
    )
    assert isinstance(made, GroupByAttrsProcessor)
    return made


def groups_of(payload: Payload) -> list[Any]:
    request = OFFICIAL[payload.signal].FromString(payload.joined())
    return list(getattr(request, CHILDREN[payload.signal][0]))


def texts(attributes: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in attributes}


def shell(message: Any, *fields: str) -> bytes:
    """A message without some of its fields."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in fields:
        copy.ClearField(name)
    return bytes(copy.SerializeToString(deterministic=True))


def plainly(signal: Signal, wire: bytes, keys: tuple[str, ...]) -> Counter[Any]:
    """Every item with all that should stand around it in the end."""
    found: Counter[Any] = Counter()
    _, scopes, members = CHILDREN[signal]
    for group in groups_of(Payload(signal, wire)):
        around = type(group)()
        around.CopyFrom(group)
        around.ClearField(scopes)
        for scope in getattr(group, scopes):
            scope_shell = shell(scope, members)
            for child in getattr(scope, members):
                items, metric_shell = [child], b""
                if signal is Signal.METRICS:
                    kind = child.WhichOneof("data")
                    if kind is None or not getattr(child, kind).data_points:
                        found[b"no points", scope_shell, shell(child)] += 1
                        continue
                    items = list(getattr(child, kind).data_points)
                    getattr(child, kind).ClearField("data_points")
                    metric_shell = shell(child)
                for item in items:
                    moved = {p.key: shell(p) for p in reversed(item.attributes) if p.key in keys}
                    rest = [pair for pair in item.attributes if pair.key not in moved]
                    kept = [
                        shell(pair) for pair in around.resource.attributes if pair.key not in moved
                    ]
                    del item.attributes[:]
                    item.attributes.extend(rest)
                    final = type(around)()
                    final.CopyFrom(around)
                    if final.HasField("resource"):
                        final.resource.ClearField("attributes")
                    if moved:
                        final.resource.SetInParent()
                    attributes = tuple(sorted([*kept, *moved.values()]))
                    found[shell(final), attributes, scope_shell, metric_shell, shell(item)] += 1
    return found


@EVERY
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), keys=st.sampled_from([(), ("a",), ("x" * 130, "a", "io.scope")]))
def test_every_item_of_any_request_arrives_where_it_should(
    signal: Signal, seed: int, keys: tuple[str, ...]
) -> None:
    wire = WireMaker(seed, one_kind=True).request(signal)
    processor = make(*keys)
    for _ in range(2):  # the second time from memory
        result = processor.process(Payload(signal, wire))

        assert plainly(signal, wire, keys) == plainly(signal, result.joined(), ())


@EVERY
def test_the_attribute_moves_and_equal_ones_meet(signal: Signal) -> None:
    first, second = make_wire(signal, 3), make_wire(signal, 3)
    processor = make("key.0")
    payload = Payload(signal, [first, second])

    result = processor.process(payload)

    groups = groups_of(result)
    assert 3 == len(groups)
    for index, group in enumerate(groups):
        expected = {"service.name": "service-0", "host.name": "node", "key.0": f"value-{index}-0"}
        assert expected == texts(group.resource.attributes)
    assert (6, 6) == (result.items, Payload(signal, result.wires).items)
    meter = processor._settings.meter
    noun = NOUNS[signal]
    prefix = "otelcol_processor_groupbyattrs"
    assert 6 == meter.value(f"{prefix}_num_grouped_{noun}s")
    assert 0 == meter.value(f"{prefix}_num_non_grouped_{noun}s")
    assert 3 == meter.value(f"{prefix}_{noun}_groups_sum")


@EVERY
def test_without_keys_equal_resources_and_scopes_are_put_together(signal: Signal) -> None:
    payload = Payload(
        signal, [make_wire(signal, 2), make_wire(signal, 1, seed=1), make_wire(signal, 3)]
    )
    processor = make()

    result = processor.process(payload)

    services = [texts(group.resource.attributes)["service.name"] for group in groups_of(result)]
    assert ["service-0", "service-1"] == services
    first = getattr(groups_of(result)[0], CHILDREN[signal][1])
    assert 1 == len(first)
    assert 6 == Payload(signal, result.wires).items
    if signal is Signal.METRICS:  # of one name and type there is one metric
        assert [5] == [len(metric.gauge.data_points) for metric in first[0].metrics]
    name = f"otelcol_processor_groupbyattrs_num_non_grouped_{NOUNS[signal]}s"
    assert 6 == processor._settings.meter.value(name)


def test_the_order_of_resource_attributes_does_not_matter_but_their_values_do() -> None:
    def group(*pairs: tuple[str, str]) -> bytes:
        request = OFFICIAL[Signal.LOGS]()
        made = request.resource_logs.add()
        for key, value in pairs:
            made.resource.attributes.add(key=key).value.string_value = value
        made.scope_logs.add().log_records.add(severity_number=1)
        return bytes(request.SerializeToString())

    wires = [
        group(("a", "1"), ("b", "2")),
        group(("b", "2"), ("a", "1")),
        group(("a", "1"), ("b", "3")),
    ]
    result = make().process(Payload(Signal.LOGS, wires))

    assert [2, 1] == [len(made.scope_logs[0].log_records) for made in groups_of(result)]


def test_the_moved_attribute_replaces_that_of_the_resource() -> None:
    request = OFFICIAL[Signal.LOGS]()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="env").value.string_value = "old"
    record = group.scope_logs.add().log_records.add()
    record.attributes.add(key="env").value.string_value = "new"
    record.attributes.add(key="other").value.string_value = "stays"

    (made,) = groups_of(make("env").process(Payload(Signal.LOGS, request.SerializeToString())))

    assert {"env": "new"} == texts(made.resource.attributes)
    assert {"other": "stays"} == texts(made.scope_logs[0].log_records[0].attributes)


def test_metrics_of_different_temporality_do_not_meet() -> None:
    request = OFFICIAL[Signal.METRICS]()
    for temporality in (1, 2, 1):
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
        metric.sum.aggregation_temporality = temporality
        metric.sum.data_points.add(as_int=temporality)

    (made,) = groups_of(make().process(Payload(Signal.METRICS, request.SerializeToString())))

    assert [2, 1] == [len(metric.sum.data_points) for metric in made.scope_metrics[0].metrics]


@EVERY
def test_the_same_payload_comes_back_when_there_is_nothing_to_do(signal: Signal) -> None:
    payload = make_payload(signal, 3)
    assert payload is make("absent").process(payload)
    assert payload is make().process(payload)


def test_fields_of_the_request_itself_are_kept() -> None:
    wire = make_wire(Signal.LOGS, 1) + make_wire(Signal.LOGS, 1, seed=1) + field(77, b"new")
    assert field(77, b"new") in make().process(Payload(Signal.LOGS, wire)).joined()


def test_what_is_remembered_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysops_processors.groupbyattrs.regrouping._SERIES_MAX", 10)
    processor = make("key.0")
    processor.process(make_payload(Signal.METRICS, 50))
    assert 10 == len(processor._extractors[Signal.METRICS]._known)


@pytest.mark.parametrize(
    "wire",
    [
        b"\x0a",
        field(1, field(2, field(2, field(6, b"\x0a\x05key")))),
        field(1, field(1, field(1, b"\x0a\x05k")) + field(2, field(2, field(6, field(1, b"key"))))),
    ],
)
def test_broken_bytes_are_bad_data(wire: bytes) -> None:
    with pytest.raises(MalformedError):
        make("key").process(Payload(Signal.LOGS, wire))


def test_keys_have_names() -> None:
    with pytest.raises(ConfigError, match=r"keys\[1\]: must not be empty"):
        parse_config(Config, {"keys": ["a", ""]})
