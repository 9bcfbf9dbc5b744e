"""``include`` and ``exclude``: which data the attributes processor changes."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlsysops_pipeline.config.decode import decode, parse_config
from mlsysops_pipeline.config.nodes import from_plain
from mlsysops_pipeline.config.problems import Severity
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_settings
from mlsysops_processors.attributes import AttributesProcessor, Config
from mlsysops_processors.attributes.matching import MatchConfig

MARK = {"key": "mark", "action": "insert", "value": True}


def labelled(attributes: Any, **pairs: Any) -> None:
    for key, value in pairs.items():
        target = attributes.add(key=key.replace("_", ".")).value
        if isinstance(value, bool):
            target.bool_value = value
        elif isinstance(value, int):
            target.int_value = value
        else:
            target.string_value = value


def spans() -> bytes:
    request = ExportTraceServiceRequest()
    for service, scope, version in (("shop", "lib.http", "1"), ("bank", "lib.db", "2")):
        group = request.resource_spans.add()
        labelled(group.resource.attributes, service_name=service, host_id=7)
        scoped = group.scope_spans.add()
        scoped.scope.name, scoped.scope.version = scope, version
        for name, kind, code in (("GET /", 2, 200), ("query", 3, 500), ("work", 0, 0)):
            span = scoped.spans.add(name=f"{service} {name}", kind=kind)
            labelled(span.attributes, http_code=code, secret=code == 500)
    return bytes(request.SerializeToString())


def logs() -> bytes:
    request = ExportLogsServiceRequest()
    for number, text, body in ((9, "INFO", "fine"), (17, "ERROR", "broken"), (0, "", "unknown")):
        group = request.resource_logs.add()
        record = group.scope_logs.add().log_records.add(severity_number=number, severity_text=text)
        record.body.string_value = body
    request.resource_logs.add().scope_logs.add().log_records.add().body.int_value = 1
    return bytes(request.SerializeToString())


def metrics() -> bytes:
    request = ExportMetricsServiceRequest()
    for service in ("shop", "bank"):
        group = request.resource_metrics.add()
        labelled(group.resource.attributes, service_name=service)
        for name in ("http.duration", "http.size", "cpu"):
            metric = group.scope_metrics.add().metrics.add(name=f"{service}.{name}")
            metric.gauge.data_points.add(as_int=1)
    return bytes(request.SerializeToString())


def marked(signal: Signal, wire: bytes, **keys: Any) -> list[str]:
    """The names (of metrics, spans; bodies of logs) of the items that were changed."""
    config = parse_config(Config, {"actions": [MARK], **keys})
    result = AttributesProcessor(config, make_settings()).process(Payload(signal, wire)).joined()
    found: list[tuple[str, Any]]
    if signal is Signal.TRACES:
        found = [
            (span.name, span)
            for group in ExportTraceServiceRequest.FromString(result).resource_spans
            for scoped in group.scope_spans
            for span in scoped.spans
        ]
    elif signal is Signal.LOGS:
        found = [
            (record.body.string_value, record)
            for group in ExportLogsServiceRequest.FromString(result).resource_logs
            for scoped in group.scope_logs
            for record in scoped.log_records
        ]
    else:
        found = [
            (metric.name, metric.gauge.data_points[0])
            for group in ExportMetricsServiceRequest.FromString(result).resource_metrics
            for scoped in group.scope_metrics
            for metric in scoped.metrics
        ]
    return [name for name, item in found if any(p.key == "mark" for p in item.attributes)]


def strict(**criteria: Any) -> dict[str, Any]:
    return {"match_type": "strict", **criteria}


def regexp(**criteria: Any) -> dict[str, Any]:
    return {"match_type": "regexp", **criteria}


SHOP = ["shop GET /", "shop query", "shop work"]
BANK = ["bank GET /", "bank query", "bank work"]


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (strict(services=["shop", "other"]), SHOP),
        (regexp(services=["^sh", "zzz"]), SHOP),
        (strict(services=["sh"]), []),
        (strict(span_names=["bank work", "shop work"]), ["shop work", "bank work"]),
        (regexp(span_names=["q.*y$"]), ["shop query", "bank query"]),
        (strict(span_kinds=["SPAN_KIND_SERVER"]), ["shop GET /", "bank GET /"]),
        (regexp(span_kinds=["CLIENT|UNSPEC"]), [*SHOP[1:], *BANK[1:]]),
        (strict(attributes=[{"key": "http.code", "value": 500}]), ["shop query", "bank query"]),
        (strict(attributes=[{"key": "http.code", "value": "500"}]), []),
        (strict(attributes=[{"key": "http.code"}, {"key": "secret", "value": True}]), None),
        (regexp(attributes=[{"key": "http.code", "value": "^[25]"}]), [*SHOP[:2], *BANK[:2]]),
        (strict(attributes=[{"key": "absent"}]), []),
        (strict(resources=[{"key": "service.name", "value": "bank"}]), BANK),
        (strict(resources=[{"key": "host.id", "value": 7}]), [*SHOP, *BANK]),
        (strict(libraries=[{"name": "lib.http"}]), SHOP),
        (strict(libraries=[{"name": "lib.http", "version": "2"}]), []),
        (regexp(libraries=[{"name": "^lib", "version": "2"}]), BANK),
        (strict(services=["shop"], span_kinds=["SPAN_KIND_SERVER"]), ["shop GET /"]),
    ],
)
def test_spans(include: dict[str, Any], expected: list[str] | None) -> None:
    if expected is None:
        expected = ["shop query", "bank query"]
    assert expected == marked(Signal.TRACES, spans(), include=include)

    left = [name for name in [*SHOP, *BANK] if name not in expected]
    assert left == marked(Signal.TRACES, spans(), exclude=include)


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (strict(log_bodies=["fine"]), ["fine"]),
        (regexp(log_bodies=["n"]), ["fine", "broken", "unknown"]),
        (strict(log_severity_texts=["ERROR"]), ["broken"]),
        (strict(log_severity_number={"min": 10}), ["broken"]),
        (strict(log_severity_number={"min": 9}), ["fine", "broken"]),
        (
            strict(log_severity_number={"min": 17, "match_undefined": True}),
            ["broken", "unknown", ""],
        ),
        (strict(services=["<nil-service-name>"]), ["fine", "broken", "unknown", ""]),
    ],
)
def test_log_records(include: dict[str, Any], expected: list[str]) -> None:
    assert expected == marked(Signal.LOGS, logs(), include=include)


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (strict(metric_names=["shop.cpu"]), ["shop.cpu"]),
        (
            regexp(metric_names=["http"], resources=[{"key": "service.name", "value": "ba"}]),
            ["bank.http.duration", "bank.http.size"],
        ),
    ],
)
def test_metrics(include: dict[str, Any], expected: list[str]) -> None:
    assert expected == marked(Signal.METRICS, metrics(), include=include)


def test_exclude_subtracts_from_include() -> None:
    include, exclude = strict(services=["shop"]), strict(span_kinds=["SPAN_KIND_SERVER"])

    assert SHOP[1:] == marked(Signal.TRACES, spans(), include=include, exclude=exclude)
    assert ["bank GET /"] == marked(Signal.TRACES, spans(), include=exclude, exclude=include)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"match_type": "strict"}, "at least one of attributes, libraries"),
        ({"services": ["x"]}, "match_type: is missing: use strict or regexp"),
        (regexp(span_names=["ok", "("]), r"span_names\[1\]: no regular expression"),
        (regexp(attributes=[{"key": "k", "value": "["}]), r"attributes\[0\]\.value: no regular"),
        (regexp(libraries=[{"name": "*"}]), r"libraries\[0\]\.name: no regular"),
        (strict(attributes=[{"value": 1}]), r"attributes\[0\]\.key: must not be empty"),
    ],
)
def test_criteria_are_checked(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(MatchConfig, keys)


def test_the_cache_of_the_collector_has_no_effect_and_says_so() -> None:
    keys = regexp(services=["x"], regexp={"cacheenabled": True, "cachemaxnumentries": 5})
    config, problems = decode(MatchConfig, from_plain(keys))

    assert config is not None
    assert [Severity.WARNING, Severity.WARNING] == [problem.severity for problem in problems]
