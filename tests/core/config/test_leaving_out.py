"""What a file can run without, and when it is refused all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config import ComponentConfig, Severity, load_configuration
from mlsysops_pipeline.config.printing import render
from mlsysops_pipeline.pdata.signal import Signal
from tests.core.config.conftest import REGISTRY, Grpced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.core.config.conftest import Load, Loaded


class Undemanding(ComponentConfig):
    """An exporter that does without an endpoint."""

    endpoint: str = "x"


TEMPO = REGISTRY.extended(
    [
        Factory(Kind.EXPORTER, "tempo", Grpced, print, frozenset({Signal.TRACES})),
        Factory(Kind.EXPORTER, "optional", Undemanding, print, frozenset(Signal)),
        Factory(Kind.EXPORTER, "page", Grpced, print, frozenset({Signal.METRICS})),
    ]
)
HEAD = """\
receivers: {otlp: {protocols: {grpc: }}}
exporters:
  debug:
  optional: {endpoint: }
  page: {endpoint: 'a:1'}
  tempo: {endpoint: 'b:1'}
  otlp_grpc:
    endpoint:
connectors: {forward: , forward/b: }
service:
  pipelines:
"""


def loaded(load: Load, pipelines: str, env: Mapping[str, str] | None = None) -> Loaded:
    """With these pipelines; problems about what is not used are left out."""
    result = load(HEAD + pipelines, env=env, registry=TEMPO)
    result.problems = [p for p in result.problems if p.code != "unused"]
    return result


NO_ENDPOINT = (
    "F:8:14: warning: exporters.otlp_grpc.endpoint: nothing is written here, so exporter "
    '"otlp_grpc" has no endpoint and is left out (write its address, or remove the exporter; '
    "templates write this when a variable is empty)"
)


@pytest.mark.parametrize(
    ("pipelines", "lines"),
    [
        (
            "    logs: {receivers: [otlp], exporters: [debug, loki]}\n",
            [
                NO_ENDPOINT,
                (
                    "F:12:50: warning: service.pipelines.logs.exporters[1]: "
                    'references exporter "loki" '
                    "which is not configured; the pipeline runs without it "
                    "(define exporters.loki, or take it off this list)"
                ),
            ],
        ),
        (
            "    logs: {receivers: [otlp], exporters: [debugs, debug]}\n",
            [
                NO_ENDPOINT,
                (
                    "F:12:43: warning: service.pipelines.logs.exporters[0]: "
                    'references exporter "debugs'
                    '" which is not configured; the pipeline runs without it '
                    '(did you mean "debug"?)'
                ),
            ],
        ),
        (
            "    metrics: {receivers: [otlp], exporters: [debug, tempo]}\n",
            [
                NO_ENDPOINT,
                (
                    "F:12:53: warning: service.pipelines.metrics.exporters[1]: "
                    'exporter "tempo" does '
                    "not support metrics: Tempo stores traces; the pipeline runs "
                    "without it (put it "
                    "into a pipeline traces instead; without one no traces are received)"
                ),
            ],
        ),
        ("    logs: {receivers: [otlp], exporters: [otlp_grpc, debug]}\n", [NO_ENDPOINT]),
        ("    logs: {receivers: [otlp], exporters: [optional]}\n", [NO_ENDPOINT]),
    ],
    ids=["undefined", "misspelt", "tempo", "no endpoint", "endpoint not needed"],
)
def test_a_pipeline_runs_without_an_exporter_that_cannot(
    load: Load, pipelines: str, lines: list[str]
) -> None:
    found = loaded(load, pipelines)
    assert lines == found.lines
    (pipeline,) = found.good.service.pipelines.values()
    assert not {"otlp", "debugs", "tempo", "otlp_grpc"} & set(map(str, pipeline.exporters))


def test_what_is_left_out_is_not_printed(load: Load) -> None:
    """`print-config` shows what runs, and reads back without a word about what does not."""
    pipelines = (
        "    metrics: {receivers: [otlp], exporters: [tempo, otlp_grpc, debug]}\n"
        "    logs: {receivers: [otlp], exporters: [otlp]}\n"
    )
    text = render(loaded(load, pipelines).good)
    assert "otlp_grpc" not in text
    assert "logs:" not in text.partition("telemetry:")[0]
    again = load(text, registry=TEMPO)
    assert [p for p in again.problems if p.code != "unused"] == []


def test_a_pipeline_that_keeps_no_exporter_is_left_out_with_an_error_line(load: Load) -> None:
    found = loaded(
        load,
        "    traces: {receivers: [otlp], exporters: [debug]}\n"
        "    logs: {receivers: [otlp], exporters: [otlp_grpc, loki]}\n",
    )
    assert [
        NO_ENDPOINT,
        "F:13:5: error: service.pipelines.logs: is left out: none of its exporters can run",
        (
            "F:13:54: warning: service.pipelines.logs.exporters[1]: "
            'references exporter "loki" which '
            "is not configured (define exporters.loki, or take it off this list)"
        ),
    ] == found.lines
    assert ["traces"] == list(map(str, found.good.service.pipelines))
    assert "otlp_grpc" not in map(str, found.good.exporters)


@pytest.mark.parametrize(
    ("pipelines", "errors"),
    [
        (
            (
                "    logs: {receivers: [otlp], exporters: [loki]}\n"
                "    metrics: {receivers: [otlp], exporters: [tempo]}\n"
            ),
            [
                (
                    "F:12:43: service.pipelines.logs.exporters[0]: references "
                    'exporter "loki" which is '
                    "not configured (define exporters.loki, or take it off this list)"
                ),
                (
                    'F:13:46: service.pipelines.metrics.exporters[0]: exporter "tempo" does not '
                    "support metrics: Tempo stores traces (put it into a pipeline traces instead; "
                    "without one no traces are received)"
                ),
            ],
        ),
        (
            "    logs: {receivers: [otlp], exporters: [otlp_grpc]}\n",
            ["F:8:14: exporters.otlp_grpc.endpoint: must not be empty: write HOST:PORT"],
        ),
    ],
    ids=["undefined and tempo", "no endpoint"],
)
def test_a_file_of_which_nothing_remains_is_refused(
    load: Load, pipelines: str, errors: list[str]
) -> None:
    found = loaded(load, pipelines)
    assert found.configuration is None
    assert errors == found.errors
    assert [] == [p for p in found.problems if p.severity is Severity.LEFT_OUT]


@pytest.mark.parametrize(
    ("pipelines", "error"),
    [
        (
            "    logs: {receivers: [otlp, x], exporters: [debug]}\n",
            (
                "F:12:30: service.pipelines.logs.receivers[1]: references "
                'receiver "x" which is not '
                "configured (allowed: forward, forward/b, otlp)"
            ),
        ),
        (
            "    logs: {receivers: [otlp], processors: [x], exporters: [debug]}\n",
            (
                "F:12:44: service.pipelines.logs.processors[0]: references "
                'processor "x" which is not '
                "configured (processors has no entries)"
            ),
        ),
        (
            "    logs: {receivers: [otlp], exporters: [debug, page]}\n",
            (
                "F:12:50: service.pipelines.logs.exporters[1]: exporter "
                '"page" does not support logs '
                "(only metrics)"
            ),
        ),
        (
            (
                "    logs: {receivers: [otlp], exporters: []}\n"
                "    traces: {receivers: [otlp], exporters: [debug]}\n"
            ),
            "F:12:31: service.pipelines.logs.exporters: must have at least one exporter",
        ),
    ],
    ids=["receiver", "processor", "signal of another exporter", "empty list"],
)
def test_other_mistakes_stay_errors(load: Load, pipelines: str, error: str) -> None:
    found = loaded(load, pipelines)
    assert found.configuration is None
    assert [error] == found.errors


def test_a_wrong_key_of_an_exporter_without_an_endpoint_is_an_error(load: Load) -> None:
    text = HEAD.replace("    endpoint:\n", "    {endpoint: , endpiont: x}\n")
    found = load(
        text + "    logs: {receivers: [otlp], exporters: [otlp_grpc, debug]}\n", registry=TEMPO
    )
    assert ['F:8:18: exporters.otlp_grpc.endpiont: unknown key (did you mean "endpoint"?)'] == (
        found.errors
    )


def test_a_variable_without_a_value_is_an_endpoint_with_nothing_behind_it(load: Load) -> None:
    text = HEAD.replace("    endpoint:\n", "    endpoint: ${env:NEXT}\n")
    pipelines = "    logs: {receivers: [otlp], exporters: [otlp_grpc, debug]}\n"
    found = load(text + pipelines, registry=TEMPO, env={"NEXT": ""})
    assert [
        (
            "F:8:15: warning: exporters.otlp_grpc.endpoint: environment "
            "variable NEXT is empty or not "
            'set, so exporter "otlp_grpc" has no endpoint and is left '
            "out (write its address, or "
            "remove the exporter)"
        )
    ] == [p for p in found.lines if "used" not in p]


def test_what_only_leads_to_a_pipeline_that_is_left_out_goes_with_it(load: Load) -> None:
    found = loaded(
        load,
        "    logs: {receivers: [otlp], exporters: [debug, forward]}\n"
        "    logs/end: {receivers: [forward], exporters: [otlp]}\n"
        "    traces: {receivers: [otlp], exporters: [forward/b]}\n"
        "    traces/end: {receivers: [forward/b], exporters: [otlp]}\n",
    )
    assert ["logs"] == list(map(str, found.good.service.pipelines))
    (logs,) = found.good.service.pipelines.values()
    assert ("debug",) == tuple(map(str, logs.exporters))
    assert [
        (
            "F:12:50: warning: service.pipelines.logs.exporters[1]: "
            'connector "forward" leads only to '
            "pipelines that are left out; the pipeline runs without it"
        )
    ] == [line for line in found.lines if "forward" in line and "12:" in line]
    assert ["logs/end", "traces", "traces/end"] == [
        str(p.path[-1]) for p in found.problems if p.severity is Severity.LEFT_OUT
    ]


def test_what_is_only_fed_by_a_pipeline_that_is_left_out_goes_with_it(load: Load) -> None:
    found = loaded(
        load,
        "    logs: {receivers: [otlp], exporters: [debug]}\n"
        "    traces: {receivers: [otlp], exporters: [loki]}\n"
        "    traces/b: {receivers: [otlp], exporters: [loki, forward/b]}\n"
        "    traces/end: {receivers: [otlp, forward/b], exporters: [debug]}\n",
    )
    assert ["logs", "traces/b", "traces/end"] == list(map(str, found.good.service.pipelines))


def test_a_pipeline_that_another_one_feeds_still_runs_without_it(load: Load) -> None:
    """The connector is in a pipeline that runs: what it leads to does, too."""
    found = loaded(
        load,
        "    logs: {receivers: [otlp], exporters: [loki, forward]}\n"
        "    logs/end: {receivers: [forward], exporters: [debug]}\n",
    )
    assert ["logs", "logs/end"] == list(map(str, found.good.service.pipelines))


MEMBERS = ("debug", "otlp_grpc", "missing", "tempo", "forward", "forward/b")


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, Any]:
    """Some pipelines, wrong in any way that may leave something out."""
    names = st.sampled_from(["metrics", "logs", "traces", "logs/a", "logs/b", "metrics/a"])
    receivers = st.lists(st.sampled_from(["otlp", "forward", "forward/b"]), min_size=1, unique=True)
    exporters = st.lists(st.sampled_from(MEMBERS), min_size=1, unique=True)
    plan = st.fixed_dictionaries({"receivers": receivers, "exporters": exporters})
    return draw(st.dictionaries(names, plan, min_size=1))


@pytest.mark.slow
@settings(max_examples=60)
@given(pipelines())
def test_what_remains_is_a_configuration_without_errors(plan: dict[str, Any]) -> None:
    written = {
        "receivers": {"otlp": {"protocols": {"grpc": None}}},
        "exporters": {"debug": None, "otlp_grpc": {"endpoint": None}, "tempo": {"endpoint": "a:1"}},
        "connectors": {"forward": None, "forward/b": None},
        "service": {"pipelines": plan},
    }
    configuration, problems = load_configuration([written], TEMPO, {})
    assert (configuration is None) is any(p.severity is Severity.ERROR for p in problems)
    if configuration is None:
        return
    text = render(configuration, "json")
    again, problems = load_configuration([f"yaml:{text}"], TEMPO, {})
    assert again is not None, [problem.line() for problem in problems]
    assert configuration.service.pipelines == again.service.pipelines
    assert {p.code for p in problems} <= {"unused"}
    left = {str(id_) for p in again.service.pipelines.values() for id_ in p.exporters}
    assert not left & {"missing", "otlp_grpc"}
    kept = {name for name in plan if "debug" in plan[name]["exporters"]}
    running = set(map(str, again.service.pipelines))
    assert {n for n in kept if "otlp" in plan[n]["receivers"]} <= running
