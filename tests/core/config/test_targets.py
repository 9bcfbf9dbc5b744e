"""Pipelines and exporters that a component sends to by name must be where it can reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.registry import Registry

if TYPE_CHECKING:
    from tests.core.config.conftest import Load

TEXT = """\
receivers: {otlp: {protocols: {grpc: }}}
exporters: {debug: , debug/b: }
connectors:
  routing:
    default_pipelines: [DEFAULT]
    table: [{condition: 'true', pipelines: [traces/a, ROW]}]
processors:
  routing:
    from_attribute: tenant
    default_exporters: [EXPORTER]
    table: [{value: a, exporters: [debug]}]
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [routing, debug/b]}
    traces/a: {receivers: [routing], processors: [routing], exporters: [debug]}
"""
DEFAULT = "connectors.routing.default_pipelines[0]"
ROW = "connectors.routing.table[0].pipelines[1]"
EXPORTER = "processors.routing.default_exporters[0]"


def errors(load: Load, default: str, row: str, exporter: str) -> list[str]:
    text = TEXT.replace("DEFAULT", default).replace("ROW", row).replace("EXPORTER", exporter)
    return load(text, registry=Registry.installed()).errors


def test_targets_that_can_be_reached_are_fine(load: Load) -> None:
    assert errors(load, "traces/a", "traces/a", "debug") == []


def test_every_target_that_does_not_exist_is_said_at_its_place(load: Load) -> None:
    missing = 'references {} "{}" which is not configured (did you mean "{}"?)'.format
    assert errors(load, "traces/b", "traces/aa", "debugs") == [
        f"F:5:25: {DEFAULT}: {missing('pipeline', 'traces/b', 'traces/a')}",
        f"F:6:55: {ROW}: {missing('pipeline', 'traces/aa', 'traces/a')}",
        f"F:10:25: {EXPORTER}: {missing('exporter', 'debugs', 'debug')}",
    ]


def test_every_target_that_cannot_be_reached_is_said_at_its_place(load: Load) -> None:
    not_joined = (
        'pipeline "traces" does not have this connector as a receiver '
        "(add routing to its receivers)"
    )
    elsewhere = (
        'exporter "debug/b" is not in pipeline "traces/a", where this processor is '
        "(add debug/b to its exporters)"
    )
    assert errors(load, "traces", "traces/a", "debug/b") == [
        f"F:5:25: {DEFAULT}: {not_joined}",
        f"F:10:25: {EXPORTER}: {elsewhere}",
    ]


def test_what_is_left_out_cannot_be_sent_to(load: Load) -> None:
    text = """\
receivers: {otlp: {protocols: {grpc: }}}
exporters: {debug: , otlp_grpc: {endpoint: }}
connectors:
  routing: {default_pipelines: [logs/a], table: [{condition: 'true', pipelines: [logs/b]}]}
processors:
  routing: {from_attribute: a, table: [{value: x, exporters: [otlp_grpc]}]}
service:
  pipelines:
    logs: {receivers: [otlp], processors: [routing], exporters: [routing, otlp_grpc]}
    logs/a: {receivers: [routing], exporters: [debug]}
    logs/b: {receivers: [routing], exporters: [otlp_grpc]}
"""
    errors = load(text, registry=Registry.installed()).errors
    told = "is left out, so nothing can be sent to it"
    row = "connectors.routing.table[0].pipelines[0]"
    exporter = "processors.routing.table[0].exporters[0]"
    assert f'F:4:82: {row}: pipeline "logs/b" {told}' in errors
    assert f'F:6:63: {exporter}: exporter "otlp_grpc" {told}' in errors
