"""What is wrong between components: order, connectors, extensions, spellings, what is unused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config import DictSource, Severity
from mlsysops_pipeline.config.printing import render
from mlsysops_pipeline.entry_points import EntryPoint
from mlsysops_pipeline.registry import Registry
from tests.core.config.conftest import REGISTRY

if TYPE_CHECKING:
    from tests.core.config.conftest import Load

COMPONENTS = """\
receivers: {otlp: {protocols: {grpc: }}}
processors: {batch: , memory_limiter: , nothing: }
exporters: {debug: , otlp_grpc: {endpoint: 'far:4317', queue: {storage: basicauth}}}
connectors: {forward: , forward/b: , count: }
extensions: {basicauth: }
service:
  extensions: [basicauth]
  pipelines:
"""


def found(load: Load, pipelines: str) -> tuple[list[str], list[str]]:
    """Errors and warnings, without those about what is not used."""
    loaded = load(COMPONENTS + pipelines)
    warnings = [line for line in loaded.warnings if "not used" not in line]
    return loaded.errors, warnings


def test_batch_in_front_of_a_stored_queue_weakens_it(load: Load) -> None:
    errors, warnings = found(
        load,
        "    traces: {receivers: [otlp], processors: [batch], exporters: [otlp_grpc, debug]}\n",
    )
    assert errors == []
    assert [
        (
            'F:9:46: service.pipelines.traces.processors[0]: "batch" acknowledges '
            "data from memory, "
            "so the stored queue of otlp_grpc does not protect what it holds "
            "(use sending_queue.batch of the exporter instead)"
        )
    ] == warnings


def test_batch_in_front_of_a_queue_in_memory_is_fine(load: Load) -> None:
    pipeline = "    traces: {receivers: [otlp], processors: [batch], exporters: [debug]}\n"
    assert ([], []) == found(load, pipeline)


def test_a_memory_limiter_that_is_not_first_is_a_warning(load: Load) -> None:
    _, warnings = found(
        load,
        "    traces: {receivers: [otlp], processors: [nothing, memory_limiter], "
        "exporters: [debug]}\n",
    )
    assert [
        (
            'F:9:55: service.pipelines.traces.processors[1]: "memory_limiter" should be the first '
            'processor (what "nothing" does in front of it is not protected)'
        )
    ] == warnings


def test_a_memory_limiter_in_front_is_fine(load: Load) -> None:
    pipeline = (
        "    traces: {receivers: [otlp], processors: [memory_limiter, nothing], "
        "exporters: [debug]}\n"
    )
    assert ([], []) == found(load, pipeline)


def test_a_connector_joins_pipelines(load: Load) -> None:
    pipelines = (
        "    traces/in: {receivers: [otlp], exporters: [forward, count]}\n"
        "    traces/out: {receivers: [forward], exporters: [debug]}\n"
        "    metrics: {receivers: [count], exporters: [debug]}\n"
    )
    assert ([], []) == found(load, pipelines)


@pytest.mark.parametrize(
    ("pipelines", "line"),
    [
        (
            "    traces/in: {receivers: [otlp], exporters: [forward]}\n",
            (
                'F:9:48: service.pipelines.traces/in: connector "forward" used as exporter in '
                "[traces/in] pipeline but not used in any supported receiver pipeline"
            ),
        ),
        (
            "    traces/out: {receivers: [forward], exporters: [debug]}\n",
            (
                'F:9:30: service.pipelines.traces/out: connector "forward" used as receiver in '
                "[traces/out] pipeline but not used in any supported exporter pipeline"
            ),
        ),
        (
            (
                "    traces: {receivers: [otlp], exporters: [forward]}\n"
                "    logs: {receivers: [otlp], exporters: [forward]}\n"
                "    logs/out: {receivers: [forward], exporters: [debug]}\n"
            ),
            (
                'F:9:45: service.pipelines.traces: connector "forward" cannot connect from traces '
                "to logs: telemetry type is not supported"
            ),
        ),
        (
            "    traces: {receivers: [otlp, forward], exporters: [forward]}\n",
            (
                'F:9:54: service.pipelines.traces: cycle detected: connector "forward" -> '
                'connector "forward"'
            ),
        ),
        (
            (
                "    traces/a: {receivers: [otlp, forward], processors: [nothing], "
                "exporters: [forward/b]}\n"
                "    traces/b: {receivers: [forward/b], exporters: [forward, debug]}\n"
            ),
            (
                'F:10:52: service.pipelines.traces/b: cycle detected: connector "forward" -> '
                'processor "nothing" in pipeline "traces/a" -> connector "forward/b" -> '
                'connector "forward"'
            ),
        ),
    ],
    ids=["no receiver", "no exporter", "no conversion", "own cycle", "cycle of two"],
)
def test_a_connector_that_joins_nothing_is_an_error(load: Load, pipelines: str, line: str) -> None:
    assert [line] == found(load, pipelines)[0]


@pytest.mark.slow
def test_many_pipelines_in_a_row_are_no_cycle_and_no_deep_recursion(load: Load) -> None:
    count = 1100
    connectors = "".join(f"  forward/{i}:\n" for i in range(count))
    pipelines = "".join(
        f"    traces/{i}: {{receivers: [forward/{i}], exporters: [forward/{i + 1}]}}\n"
        for i in range(count - 1)
    )
    text = (
        f"receivers: {{otlp: {{protocols: {{grpc: }}}}}}\nexporters: {{debug: }}\n"
        f"connectors:\n{connectors}service:\n  pipelines:\n"
        f"    traces/in: {{receivers: [otlp], exporters: [forward/0]}}\n{pipelines}"
        f"    traces/out: {{receivers: [forward/{count - 1}], exporters: [debug]}}\n"
    )
    assert load(text).lines == []


def test_a_connector_must_not_share_the_id_of_an_exporter(load: Load) -> None:
    loaded = load(
        "receivers: {otlp: {protocols: {grpc: }}}\n"
        "exporters: {debug: , forward: }\n"
        "connectors: {forward: }\n"
        "service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n"
    )
    assert (
        'F:3:14: connectors.forward: ambiguous ID: Found both "forward" exporter and "forward" '
        'connector (rename "forward" connector to "forward/connector")'
    ) in loaded.errors


def test_an_extension_that_is_used_must_be_defined_and_listed(load: Load, good: str) -> None:
    text = good.replace("{protocols: {grpc: }}", "{protocols: {grpc: {auth: basicauth/x}}}")
    assert [
        (
            "F:2:35: receivers.otlp.protocols.grpc.auth: references extension "
            '"basicauth/x" which is '
            "not configured"
        )
    ] == load(text).errors
    assert [
        (
            'F:2:35: receivers.otlp.protocols.grpc.auth: references extension "basicauth/x" which '
            "does not run (add basicauth/x to service.extensions)"
        )
    ] == load(f"{text}extensions: {{basicauth/x: }}\n").errors
    listed = text.replace("service:", "service:\n  extensions: [basicauth/x]")
    assert load(f"{listed}extensions: {{basicauth/x: }}\n").lines == []


def test_an_extension_of_a_component_that_is_not_used_may_be_missing(load: Load, good: str) -> None:
    text = good.replace(
        "receivers:", "receivers:\n  otlp/2: {protocols: {grpc: {auth: nobody}}}", 1
    )
    loaded = load(text)
    assert loaded.errors == []
    assert [
        "F:2:3: receivers.otlp/2: is defined but not used: it is not in any pipeline"
    ] == loaded.warnings


def test_an_unused_component_is_validated_all_the_same(load: Load, good: str) -> None:
    loaded = load(good.replace("exporters:\n", "exporters:\n  otlp_grpc: {endpoint: x}\n"))
    assert ['F:4:25: exporters.otlp_grpc.endpoint: "x": the port is missing; write HOST:PORT'] == (
        loaded.errors
    )


def test_old_spellings_work_with_a_warning(load: Load, good: str) -> None:
    loaded = load(good.replace("debug:", "otlp/x: {endpoint: 'far:1'}").replace("debug", "otlp/x"))
    assert ['F:4:3: exporters.otlp/x: "otlp" alias is deprecated (use "otlp_grpc" instead)'] == (
        loaded.warnings
    )
    assert ["otlp/x"] == [str(id_) for id_ in loaded.good.exporters]


def test_marked_keys_are_reported_where_they_are_written(load: Load, good: str) -> None:
    text = (
        good.replace(
            "grpc: }",
            "grpc: {read_buffer_size: 1, middlewares: [{id: x}]}, http: {middlewares: []}}",
        )
        + "processors: {batch: {send_size: 1}}\n"
    )
    loaded = load(text)
    assert [
        (
            "F:2:50: receivers.otlp.protocols.grpc.middlewares: is not supported: "
            "nothing would run "
            "them"
        )
    ] == loaded.errors
    assert [
        (
            "F:2:29: receivers.otlp.protocols.grpc.read_buffer_size: has no effect here: asyncio "
            "sizes its buffers itself"
        ),
        "F:8:14: processors.batch: is defined but not used: it is not in any pipeline",
        "F:8:22: processors.batch.send_size: is deprecated: use sizes",
    ] == loaded.warnings


def test_a_refused_key_is_one_line_whatever_it_refers_to(load: Load, good: str) -> None:
    text = good.replace("grpc: ", "grpc: {hook: nobody}")
    assert ["F:2:29: receivers.otlp.protocols.grpc.hook: is not supported: there are no hooks"] == (
        load(text).lines
    )


def test_what_one_file_defines_and_nobody_uses_can_be_told_apart(load: Load, good: str) -> None:
    loaded = load(good, DictSource("/own/f", {"processors": {"batch": None}}))
    (problem,) = loaded.problems
    assert Severity.WARNING is problem.severity
    assert problem.concerns_unused_in("/own")
    assert not problem.concerns_unused_in("/other")


def test_an_extension_that_is_listed_twice_runs_once(load: Load, good: str) -> None:
    text = good.replace("service:", "service:\n  extensions: [basicauth, basicauth]")
    loaded = load(f"{text}extensions: {{basicauth: }}\n")
    assert [
        'F:6:27: service.extensions[1]: references extension "basicauth" multiple times'
    ] == loaded.warnings
    assert 1 == len(loaded.good.service.extensions)
    assert "extensions:\n    - basicauth" in render(loaded.good)


def test_a_component_that_cannot_be_loaded_is_a_line_and_no_traceback(
    load: Load, good: str
) -> None:
    group = Kind.EXPORTER.entry_points
    broken = EntryPoint("debug", "no_such_module_anywhere:FACTORY", group)
    registry = Registry(list(REGISTRY.factories(Kind.RECEIVER)), [broken])
    (line,) = load(good, registry=registry).lines
    assert line.startswith("F:4:3: exporters.debug: exporter type 'debug' of ")
    assert line.endswith("ModuleNotFoundError: No module named 'no_such_module_anywhere'")


def test_a_component_whose_variable_is_empty_has_its_defaults(load: Load, good: str) -> None:
    loaded = load(good.replace("debug:", "debug: ${env:SETTINGS}"))
    assert [
        "F:4:3: exporters.debug: is empty and so has its defaults",
        "F:4:10: exporters.debug: environment variable SETTINGS is not set",
    ] == loaded.warnings


def test_a_page_that_an_earlier_file_switched_off_is_a_warning(load: Load, good: str) -> None:
    page = {"readers": [{"pull": {"exporter": {"prometheus": None}}}]}
    flags = DictSource("flags", {"service": {"telemetry": {"metrics": page}}})
    assert [
        (
            "flags: service.telemetry.metrics.readers: has no effect: level is none (F:8:32) "
            "(set level as well)"
        )
    ] == load(good + "  telemetry: {metrics: {level: none}}\n", flags).warnings
    off = DictSource("off", {"service": {"telemetry": {"metrics": {"level": "none"}}}})
    assert load(good, flags, off).warnings == []
