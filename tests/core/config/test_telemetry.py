"""`service.telemetry`: what the collector tells about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.config import Severity
from mlsysops_pipeline.config.decode import decode, parse_config
from mlsysops_pipeline.config.nodes import from_plain
from mlsysops_pipeline.config.schema import NetAddress
from mlsysops_pipeline.config.telemetry import LogSampling, TelemetryConfig

if TYPE_CHECKING:
    from tests.core.config.conftest import Load

PAGE = {"pull": {"exporter": {"prometheus": {"host": "0.0.0.0", "port": 9000}}}}


def said(value: Any) -> list[tuple[str, str]]:
    """What is found about a telemetry section: severity and line."""
    _, problems = decode(TelemetryConfig, from_plain(value))
    lines = [str(problem).removeprefix("configuration: ") for problem in problems]
    return [(p.severity.value, line) for p, line in zip(problems, lines, strict=True)]


def test_nothing_listens_unless_it_is_configured() -> None:
    telemetry = parse_config(TelemetryConfig)
    assert ("normal", ()) == (telemetry.metrics.level, telemetry.metrics.pages())
    assert ("info", "console") == (telemetry.logs.level, telemetry.logs.encoding)
    assert LogSampling(tick=10.0, initial=10, thereafter=100) == telemetry.logs.sampling
    assert {} == telemetry.resource_attributes()


def test_a_pull_reader_is_a_page_on_its_host_and_port() -> None:
    default = {"pull": {"exporter": {"prometheus": None}}}
    telemetry = parse_config(TelemetryConfig, {"metrics": {"readers": [PAGE, default]}})
    assert (NetAddress("0.0.0.0", 9000), NetAddress("localhost", 8888)) == telemetry.metrics.pages()


@pytest.mark.parametrize("level", ["none", "None", "NONE"])
def test_level_none_switches_the_page_off(level: str) -> None:
    metrics = {"level": level, "readers": [PAGE]}
    assert () == parse_config(TelemetryConfig, {"metrics": metrics}).metrics.pages()
    assert [] == said({"metrics": {"level": level, "readers": []}})


def test_what_the_default_reader_of_the_collector_writes_is_accepted() -> None:
    exporter = {
        "host": "localhost",
        "port": 8888,
        "without_scope_info": True,
        "without_units": True,
        "without_type_suffix": True,
    }
    assert [] == said({"metrics": {"readers": [{"pull": {"exporter": {"prometheus": exporter}}}]}})


REFUSED = "is not supported: own metrics come out under the names of the Collector's default reader"


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        (
            {"readers": []},
            (
                "metrics.readers: collector telemetry metrics reader should exist when "
                "metric level is not none (write level: none to switch them off)"
            ),
        ),
        (
            {"readers": [{}]},
            "metrics.readers[0]: a reader is either pull or periodic (write pull:)",
        ),
        (
            {"readers": [{"pull": {}}]},
            "metrics.readers[0].pull.exporter: is missing; a value is required",
        ),
        (
            {"readers": [{"pull": {"exporter": {}}}]},
            "metrics.readers[0].pull.exporter: a pull reader needs an exporter (write prometheus:)",
        ),
        (
            {"readers": [{"pull": {"exporter": {"prometheus": {"port": 65536}}}}]},
            (
                "metrics.readers[0].pull.exporter.prometheus.port: must be at most "
                "65535, got the number 65536"
            ),
        ),
        (
            {"readers": [{"pull": {"exporter": {"prometheus": {"without_units": False}}}}]},
            f"metrics.readers[0].pull.exporter.prometheus.without_units: {REFUSED}",
        ),
        (
            {"readers": [{"periodic": {"exporter": {"otlp": {}}}}]},
            (
                "metrics.readers[0].periodic: is not supported: own metrics are served "
                "by a pull reader, not pushed"
            ),
        ),
        (
            {"level": "detailed", "views": [{}]},
            "metrics.views: is not supported: the views of own metrics are fixed",
        ),
        ({"level": "normall"}, 'metrics.level: "normall" is not allowed (did you mean "normal"?)'),
        (
            {"address": "localhost:8888"},
            (
                "metrics.address: is not supported: it was removed; write readers: "
                "[{pull: {exporter: {prometheus: {host: HOST, port: PORT}}}}]"
            ),
        ),
    ],
)
def test_metrics_that_would_come_out_otherwise_are_errors(metrics: Any, line: str) -> None:
    assert ("error", line) in said({"metrics": metrics})


@pytest.mark.parametrize("level", ["debug", "INFO", "warn", "Error", "fatal"])
def test_log_levels_are_written_in_any_case(level: str) -> None:
    assert level.lower() == parse_config(TelemetryConfig, {"logs": {"level": level}}).logs.level


@pytest.mark.parametrize("sampling", [{"enabled": False}, {"enabled": False, "initial": 5}])
def test_log_sampling_can_be_switched_off(sampling: Any) -> None:
    assert parse_config(TelemetryConfig, {"logs": {"sampling": sampling}}).logs.sampling is None


def test_keys_of_logs_and_traces_that_do_nothing_are_warnings() -> None:
    value = {
        "logs": {
            "development": True,
            "output_paths": ["/var/log/x"],
            "error_output_paths": ["stderr"],
            "initial_fields": {"a": 1},
        },
        "traces": {"level": "basic", "propagators": ["b3"], "processors": [{"batch": {}}]},
    }
    assert [
        "logs.development",
        "logs.output_paths",
        "traces.level",
        "traces.propagators",
        "traces.processors",
    ] == [line.partition(":")[0] for severity, line in said(value) if severity == "warning"]
    assert [] == [line for severity, line in said(value) if severity == "error"]


def test_own_logs_by_otlp_are_refused() -> None:
    (finding,) = said({"logs": {"processors": [{"batch": {}}]}})
    assert (
        "error",
        "logs.processors: is not supported: the collector's own logs are not sent by OTLP",
    ) == finding


@pytest.mark.parametrize(
    ("resource", "attributes"),
    [
        (None, {}),
        ({}, {}),
        (
            {"service.name": "x", "n": 5, "flag": True},
            {"service.name": "x", "n": "5", "flag": "true"},
        ),
        ({"service.instance.id": None}, {"service.instance.id": None}),
        (
            {"attributes": [{"name": "a", "value": "b", "type": "string"}, {"name": "c"}]},
            {"a": "b", "c": None},
        ),
        ({"attributes": "text"}, {"attributes": "text"}),
    ],
)
def test_the_resource_has_two_forms(resource: Any, attributes: dict[str, str | None]) -> None:
    telemetry = parse_config(TelemetryConfig, {"resource": resource})
    assert attributes == telemetry.resource_attributes()


@pytest.mark.parametrize(
    ("resource", "line"),
    [
        ("x", "resource: expected a map of attributes"),
        ({"a": {"b": 1}}, "resource.a: expected a string, got a map or list"),
        (
            {"attributes": [{"nam": "a"}]},
            "resource.attributes[0]: expected a map of name and value",
        ),
        ({"attributes": ["a"]}, "resource.attributes[0]: expected a map of name and value"),
        (
            {"attributes": [{"name": "a", "val": 1}]},
            "resource.attributes[0].val: unknown key (allowed: name, value, type)",
        ),
        (
            {"attributes": [{"name": "a", "value": []}]},
            "resource.attributes[0].value: expected a string, got a map or list",
        ),
        ({"attributes": [], "x": 1}, "resource.x: unknown key (allowed: attributes)"),
    ],
)
def test_a_resource_of_another_form_is_an_error(resource: Any, line: str) -> None:
    assert [("error", line)] == said({"resource": resource})


def test_detecting_resources_has_no_effect() -> None:
    found = said({"resource": {"attributes": [], "detectors": [], "schema_url": "x"}})
    assert ["warning", "warning"] == [severity for severity, _ in found]


def test_positions_are_those_of_the_file(load: Load, good: str) -> None:
    loaded = load(good + "  telemetry:\n    metrics:\n      level: no\n      adress: x\n")
    assert [
        'F:10:14: service.telemetry.metrics.level: "no" is not allowed (did you mean "none"?)',
        "F:11:7: service.telemetry.metrics.adress: unknown key (allowed: level, readers)",
    ] == loaded.lines
    assert all(problem.severity is Severity.ERROR for problem in loaded.problems)
