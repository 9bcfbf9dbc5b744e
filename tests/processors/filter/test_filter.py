"""The filter processor (components, C3): what goes, what stays, and that both are counted."""

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
from mlsysops_processors.filter import FACTORY, FilterProcessor
from mlsysops_processors.filter.config import Config
from tests.core.pdata.wires import OFFICIAL, WireMaker, field, leaves

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)
SECTION = {
    Signal.METRICS: ("metrics", "resource_attributes", "datapoint"),
    Signal.LOGS: ("logs", "resource_attributes", "log"),
    Signal.TRACES: ("spans", "resources", "span"),
}
NAMES = {Signal.METRICS: "datapoints", Signal.LOGS: "logs", Signal.TRACES: "spans"}
STRICT = {"match_type": "strict"}
REGEXP = {"match_type": "regexp"}


class Rig:
    def __init__(self, config: dict[str, Any]) -> None:
        self.settings = make_settings("filter/x")
        made = FACTORY.create(parse_config(Config, config), self.settings, None)
        assert isinstance(made, FilterProcessor)
        self.processor = made

    def kept(self, payload: Payload) -> int:
        """Items that stay; the rest must be in the ledger and in the metric."""
        before = self.settings.pipeline_ledger.filtered.total()
        result = self.processor.process(payload)
        stays = 0 if result is None else result.items
        gone = self.settings.pipeline_ledger.filtered.total() - before
        name = f"otelcol_processor_filter_{NAMES[payload.signal]}.filtered"
        assert payload.items == stays + gone
        assert before + gone == self.settings.meter.value(name, filter="filter/x")
        return stays


def mixed(signal: Signal, *counts: int) -> Payload:
    wire = b"".join(make_wire(signal, count, seed=seed) for seed, count in enumerate(counts))
    return Payload(signal, wire)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ({**STRICT, "metric_names": ["test.metric.0"]}, None, 10),
        (None, {**STRICT, "metric_names": ["test.metric.0", "absent"]}, 15),
        ({**STRICT, "metric_names": ["test.metric"]}, None, 0),
        ({**REGEXP, "metric_names": ["metric"]}, None, 25),
        ({**REGEXP, "metric_names": [r"^test\.metric\.[12]$"]}, None, 15),
        (
            {**REGEXP, "metric_names": ["metric"]},
            {**STRICT, "metric_names": ["test.metric.2"]},
            20,
        ),
        (
            {**STRICT, "resource_attributes": [{"key": "service.name", "value": "service-0"}]},
            None,
            25,
        ),
        ({**STRICT, "resource_attributes": [{"key": "service.name", "value": "x"}]}, None, 0),
        (None, {**REGEXP, "resource_attributes": [{"key": "host.name", "value": "^no"}]}, 0),
        (None, {**STRICT, "resource_attributes": [{"key": "absent"}]}, 25),
        # A resource that is excluded takes all its metrics along, whatever their names.
        (
            None,
            {
                **STRICT,
                "metric_names": ["test.metric.0"],
                "resource_attributes": [{"key": "host.name"}],
            },
            0,
        ),
    ],
)
def test_metrics_by_name_and_resource(include: Any, exclude: Any, expected: int) -> None:
    given = {"include": include, "exclude": exclude}
    rig = Rig({"metrics": {key: match for key, match in given.items() if match}})
    assert expected == rig.kept(make_payload(Signal.METRICS, 25))
    assert expected == rig.kept(make_payload(Signal.METRICS, 25))  # the second time from memory


@EVERY
def test_resources_of_every_signal(signal: Signal) -> None:
    section, key, context = SECTION[signal]
    entry = {**STRICT, key: [{"key": "service.name", "value": "service-1"}]}
    condition = 'resource.attributes["service.name"] == "service-1"'

    assert 2 == Rig({section: {"include": entry}}).kept(mixed(signal, 1, 2, 4))
    assert 5 == Rig({section: {"exclude": entry}}).kept(mixed(signal, 1, 2, 4))
    prefix = {"datapoint": "metric", "log": "log", "span": "trace"}[context]
    assert 5 == Rig({f"{prefix}_conditions": [condition]}).kept(mixed(signal, 1, 2, 4))


def logs() -> Payload:
    request = OFFICIAL[Signal.LOGS]()
    records = request.resource_logs.add().scope_logs.add().log_records
    for number, text, body in (
        (9, "INFO", "start"),
        (13, "WARN", "disk full"),
        (17, "ERROR", "stop"),
        (0, "", ""),
    ):
        record = records.add(severity_number=number, severity_text=text)
        record.body.string_value = body
        record.attributes.add(key="n").value.int_value = number
    return Payload(Signal.LOGS, request.SerializeToString())


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ({**STRICT, "severity_texts": ["INFO", "WARN"]}, 2),
        ({**REGEXP, "severity_texts": ["R"]}, 2),
        ({**STRICT, "severity_number": {"min": 13}}, 2),
        ({**STRICT, "severity_number": {"min": 13, "match_undefined": True}}, 3),
        ({**STRICT, "severity_number": {"min": "warn"}}, 2),
        ({**STRICT, "severity_number": {"min": "WARN2"}}, 1),
        ({**STRICT, "severity_number": {"min": "13"}}, 2),
        ({"severity_number": {"min": 13}}, 2),
        ({**STRICT, "bodies": ["start"]}, 1),
        ({**REGEXP, "bodies": ["^st"]}, 2),
        ({**STRICT, "record_attributes": [{"key": "n", "value": 9}]}, 1),
        ({**STRICT, "record_attributes": [{"key": "n", "value": "9"}]}, 0),
        ({**STRICT, "record_attributes": [{"key": "n"}]}, 4),
        ({**REGEXP, "record_attributes": [{"key": "n", "value": "1"}]}, 2),
        ({**STRICT, "bodies": ["start", "stop"], "severity_texts": ["ERROR"]}, 1),
    ],
)
def test_logs_by_severity_body_and_attributes(include: dict[str, Any], expected: int) -> None:
    assert expected == Rig({"logs": {"include": include}}).kept(logs())
    assert 4 - expected == Rig({"logs": {"exclude": include}}).kept(logs())


@pytest.mark.parametrize(
    ("bodies", "expected"), [(["1"], 1), (["true"], 1), (['{"k":[1]}'], 1), ([""], 1)]
)
def test_bodies_that_are_no_texts_are_matched_as_the_collector_writes_them(
    bodies: list[str], expected: int
) -> None:
    request = OFFICIAL[Signal.LOGS]()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add().body.int_value = 1
    records.add().body.bool_value = True
    records.add().body.kvlist_value.values.add(key="k").value.array_value.values.add().int_value = 1
    records.add()
    payload = Payload(Signal.LOGS, request.SerializeToString())
    include = {**STRICT, "bodies": bodies}
    assert expected == Rig({"logs": {"include": include}}).kept(payload)


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ({**STRICT, "span_names": ["span 1"]}, 2),
        ({**REGEXP, "span_names": ["span [12]"]}, 4),
        ({**STRICT, "services": ["service-1"]}, 3),
        ({**STRICT, "services": ["service-1"], "span_names": ["span 0"]}, 1),
        ({**STRICT, "attributes": [{"key": "key.0", "value": "value-1-0"}]}, 2),
    ],
)
def test_spans_by_service_name_and_attributes(include: dict[str, Any], expected: int) -> None:
    payload = mixed(Signal.TRACES, 3, 3)
    assert expected == Rig({"spans": {"include": include}}).kept(payload)
    assert 6 - expected == Rig({"spans": {"exclude": include}}).kept(payload)


@pytest.mark.parametrize(
    ("config", "signal", "expected"),
    [
        ({"metrics": {"metric": ['name == "test.metric.0"']}}, Signal.METRICS, 2),
        ({"metrics": {"datapoint": ['attributes["key.0"] == "value-1-0"']}}, Signal.METRICS, 11),
        ({"metric_conditions": ['metric.name == "test.metric.0"']}, Signal.METRICS, 2),
        (
            {
                "metric_conditions": [
                    'metric.name == "test.metric.0"',
                    'IsMatch(datapoint.attributes["key.0"], "^value-1[0-9]-")',
                ]
            },
            Signal.METRICS,
            0,
        ),
        ({"logs": {"log_record": ['attributes["key.0"] != "value-1-0"']}}, Signal.LOGS, 1),
        ({"log_conditions": ['log.attributes["key.0"] == nil']}, Signal.LOGS, 12),
        ({"traces": {"span": ['name == "span 1"', 'name == "span 2"']}}, Signal.TRACES, 10),
        ({"trace_conditions": ['span.name == "span 1"']}, Signal.TRACES, 11),
        ({"error_mode": "propagate"}, Signal.LOGS, 12),
    ],
)
def test_what_a_condition_is_true_for_goes(
    config: dict[str, Any], signal: Signal, expected: int
) -> None:
    assert expected == Rig(config).kept(make_payload(signal, 12))


@EVERY
def test_the_same_payload_comes_back_when_all_stays(signal: Signal) -> None:
    payload = make_payload(signal, 3)
    for config in (
        {},
        {"metric_conditions": ['metric.name == "absent"']},
        {"log_conditions": ['log.attributes["absent"] == 1']},
        {"trace_conditions": ['span.name == "absent"']},
    ):
        assert payload is Rig(config).processor.process(payload)


def test_members_stay_members_and_those_with_nothing_left_go() -> None:
    rig = Rig({"logs": {"include": {**STRICT, "record_attributes": [{"key": "key.0"}]}}})
    keeps, goes = make_wire(Signal.LOGS, 2), make_wire(Signal.LOGS, 3, attributes=0)

    result = rig.processor.process(Payload(Signal.LOGS, [keeps, goes, keeps]))

    assert result is not None
    assert (keeps, keeps) == result.wires
    assert rig.processor.process(Payload(Signal.LOGS, goes)) is None
    assert 6 == rig.settings.pipeline_ledger.filtered["filter/x"]


@pytest.mark.parametrize(
    "config",
    [
        {"logs": {"include": {**STRICT, "record_attributes": [{"key": "a"}]}}},
        {"log_conditions": ['log.attributes["a"] == 1']},
    ],
)
def test_a_broken_record_is_bad_data(config: dict[str, Any]) -> None:
    wire = field(1, field(2, field(2, field(6, b"\x0a\x05x"))))
    with pytest.raises(MalformedError):
        Rig(config).processor.process(Payload(Signal.LOGS, wire))
    with pytest.raises(MalformedError):
        Rig(config).processor.process(Payload(Signal.LOGS, b"\x0a"))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_request_keeps_exactly_what_its_names_say(seed: int) -> None:
    wire = WireMaker(seed, one_kind=True).request(Signal.METRICS)
    rig = Rig({"metrics": {"exclude": {**STRICT, "metric_names": ["a"]}}})

    result = rig.processor.process(Payload(Signal.METRICS, wire))

    def of(part: bytes, *, plainly: bool) -> Counter[tuple[bytes, ...]]:
        metric = OFFICIAL[Signal.METRICS].DESCRIPTOR.fields[0].message_type
        assert metric.name == "ResourceMetrics"
        found = [leaf for leaf in leaves(Signal.METRICS, part) if len(leaf) == 5]
        return Counter(leaf for leaf in found if not (plainly and b"\n\x01a" == leaf[3][:3]))

    joined = b"" if result is None else result.joined()
    assert of(wire, plainly=True) == of(joined, plainly=False)


@EVERY
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_of_any_request_is_lost_between_opposites(signal: Signal, seed: int) -> None:
    wire = WireMaker(seed, one_kind=True).request(signal)
    context = SECTION[signal][2]
    key = {"datapoint": "metric_conditions", "log": "log_conditions", "span": "trace_conditions"}
    parts = []
    for operator in ("==", "!="):
        rig = Rig({key[context]: [f'{context}.attributes["a"] {operator} nil']})
        rig.kept(Payload(signal, wire))
        result = rig.processor.process(Payload(signal, wire))
        parts += [] if result is None else [result.joined()]

    full = 5 if signal is Signal.METRICS else 4
    whole = Counter(leaf for leaf in leaves(signal, wire) if len(leaf) == full)
    found = Counter(leaf for part in parts for leaf in leaves(signal, part) if len(leaf) == full)
    assert whole == found


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"metrics": {"include": {"metric_names": ["a"]}}}, "match_type: is missing"),
        ({"metrics": {"include": {**STRICT}}}, "metric_names or resource_attributes is needed"),
        ({"metrics": {"include": {**REGEXP, "metric_names": ["("]}}}, "no regular expression"),
        (
            {"metrics": {"include": {"match_type": "expr", "expressions": ["true"]}}},
            "expressions: is not supported: write conditions for datapoint",
        ),
        ({"logs": {"include": {**STRICT}}}, "at least one of bodies"),
        ({"logs": {"include": {**REGEXP, "bodies": ["("]}}}, "no regular expression"),
        (
            {"logs": {"include": {**STRICT, "severity_number": {"min": "LOUD"}}}},
            '"LOUD" is no severity: use TRACE to FATAL4',
        ),
        (
            {"logs": {"include": {**REGEXP, "record_attributes": [{"key": "a", "value": "("}]}}},
            r"record_attributes\[0\]\.value: no regular expression",
        ),
        ({"spans": {"include": {**STRICT, "log_bodies": ["a"]}}}, "cannot be used for spans"),
        ({"traces": {"spanevent": ["true"]}}, "on events of spans are not there yet"),
        ({"logs": {"log_record": ['body == "a"']}}, "supported are"),
        (
            {"metrics": {"include": {**STRICT, "metric_names": ["a"]}, "metric": ["true"]}},
            "cannot use include/exclude and conditions at the same time",
        ),
        (
            {"metrics": {"metric": ["true"]}, "metric_conditions": ['metric.name == "a"']},
            'conditions and the settings "metrics" at the same time',
        ),
        ({"log_conditions": ['span.name == "a"']}, "the context span does not exist in logs"),
        ({"log_conditions": ['request["a"] == "b"']}, "looks at nothing in the data"),
        ({"log_conditions": [{"conditions": ["true"]}]}, "log_conditions"),
    ],
)
def test_what_cannot_work_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, config)
