"""What the framework's variables become: only those that are set, at the level they are for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline import cli, modes
from mlsysops_pipeline.config import load_configuration
from mlsysops_pipeline.config.printing import render
from mlsysops_pipeline.framework_environment import CLUSTER_HOST, HOP_PORT, NAME, read
from mlsysops_pipeline.modes import ModeError, ModeOptions
from mlsysops_pipeline.registry import Registry

if TYPE_CHECKING:
    from mlsysops_pipeline.config import Configuration

REGISTRY = Registry.installed()
NODE, CLUSTER, CONTINUUM = ("agent", "node"), ("gateway", "cluster"), ("gateway", "continuum")
PLACES = [NODE, CLUSTER, CONTINUUM, ("agent", None), ("gateway", None)]
PORTS = (
    "MLS_OTEL_GRPC_PORT",
    "MLS_OTEL_HTTP_PORT",
    "MLS_OTEL_PROM_PORT",
    "MLS_OTEL_PROMETHEUS_LISTEN_PORT",
)


def configured(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *flags: str
) -> tuple[Configuration, list[str]]:
    monkeypatch.setattr("os.environ", variables)
    configuration, problems = cli._load(cli._parser("validate").parse_args(flags))
    assert configuration is not None, [problem.line() for problem in problems]
    return configuration, [problem.line() for problem in problems]


@pytest.mark.parametrize(("mode", "level"), PLACES)
@pytest.mark.parametrize("value", [None, "", " "])
def test_what_is_not_set_says_nothing(mode: str, level: str | None, value: str | None) -> None:
    names = (*PORTS, "MLS_OTEL_HIGHER_EXPORT", "EJABBERD_DOMAIN", "MLS_OTEL_LOKI_EXPORT_ENDPOINT")
    variables = {} if value is None else dict.fromkeys(names, value)
    reading = read({"MLS_NODE_EXPORTER_PORT": "9200", **variables}, mode, level)
    assert ({}, []) == (reading.options.given(), reading.notes)


@pytest.mark.parametrize(
    ("place", "variables", "expected"),
    [
        (NODE, {"MLS_OTEL_CLUSTER_PORT": "5"}, f"{CLUSTER_HOST}:5"),
        (NODE, {"MLS_OTEL_HIGHER_EXPORT": "ON"}, f"{CLUSTER_HOST}:{HOP_PORT}"),
        (NODE, {"MLS_OTEL_HIGHER_EXPORT": "off", "MLS_OTEL_CLUSTER_PORT": "5"}, None),
        (NODE, {"EJABBERD_DOMAIN": "top", "MLS_OTEL_CONTINUUM_PORT": "6"}, None),
        (("agent", None), {"MLS_OTEL_CLUSTER_PORT": "5"}, f"{CLUSTER_HOST}:5"),
        (CLUSTER, {"EJABBERD_DOMAIN": "top"}, f"top:{HOP_PORT}"),
        (CLUSTER, {"EJABBERD_DOMAIN": "top", "MLS_OTEL_CONTINUUM_PORT": "6"}, "top:6"),
        (CLUSTER, {"EJABBERD_DOMAIN": "::1", "MLS_OTEL_CONTINUUM_PORT": "6"}, "[::1]:6"),
        (CLUSTER, {"EJABBERD_DOMAIN": "top", "MLS_OTEL_HIGHER_EXPORT": "OFF"}, None),
        (CLUSTER, {"MLS_OTEL_CLUSTER_PORT": "5"}, None),
        (CONTINUUM, {"MLS_OTEL_CONTINUUM_EXPORT_IP": "10.1.1.1"}, f"10.1.1.1:{HOP_PORT}"),
        (
            CONTINUUM,
            {"MLS_OTEL_CONTINUUM_EXPORT_IP": "up", "MLS_OTEL_CONTINUUM_EXPORT_PORT": "7"},
            "up:7",
        ),
        (CONTINUUM, {"MLS_OTEL_CONTINUUM_EXPORT_PORT": "7"}, None),
        (CONTINUUM, {"MLS_OTEL_HIGHER_EXPORT": "ON", "EJABBERD_DOMAIN": "top"}, None),
    ],
)
def test_the_next_hop_is_that_of_the_level(
    place: tuple[str, str | None], variables: dict[str, str], expected: str | None
) -> None:
    reading = read(variables, *place)
    assert expected == reading.options.export_to
    assert [] == reading.notes


@pytest.mark.parametrize(
    ("place", "variables", "said"),
    [
        (CLUSTER, {"MLS_OTEL_HIGHER_EXPORT": "ON"}, "MLS_OTEL_HIGHER_EXPORT has no effect"),
        (CLUSTER, {"MLS_OTEL_CONTINUUM_PORT": "1"}, "without EJABBERD_DOMAIN"),
        (("gateway", None), {"MLS_OTEL_CONTINUUM_PORT": "1"}, "without --level"),
        (
            NODE,
            {"MLS_OTEL_PROM_PORT": "1", "MLS_OTEL_PROMETHEUS_LISTEN_PORT": "2"},
            "(2) and MLS_OTEL_PROM_PORT (1) differ",
        ),
    ],
)
def test_what_cannot_be_honoured_is_one_warning(
    place: tuple[str, str | None], variables: dict[str, str], said: str
) -> None:
    (note,) = read(variables, *place).notes
    assert said in note


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        *(({name: "x"}, name) for name in PORTS),
        ({"MLS_OTEL_CLUSTER_PORT": "70000"}, "MLS_OTEL_CLUSTER_PORT"),
        ({"MLS_OTEL_HIGHER_EXPORT": "maybe"}, "MLS_OTEL_HIGHER_EXPORT"),
        ({"MLS_OTEL_PROMETHEUS_LISTEN_IP": "a\nfile/evil: {}"}, "MLS_OTEL_PROMETHEUS_LISTEN_IP"),
        ({"MLS_OTEL_MIMIR_EXPORT_ENDPOINT": "mimir"}, "MLS_OTEL_MIMIR_EXPORT_ENDPOINT"),
        ({"MLS_OTEL_LOKI_EXPORT_ENDPOINT": "loki:3100"}, "MLS_OTEL_LOKI_EXPORT_ENDPOINT"),
        ({"MLS_OTEL_TEMPO_EXPORT_ENDPOINT": "tempo"}, "MLS_OTEL_TEMPO_EXPORT_ENDPOINT"),
        ({"MLS_OTEL_TEMPO_EXPORT_ENDPOINT": "a:1\nb: c:2"}, "MLS_OTEL_TEMPO_EXPORT_ENDPOINT"),
    ],
)
def test_a_value_that_is_none_names_its_variable(variables: dict[str, str], named: str) -> None:
    with pytest.raises(ModeError, match=f"^{named}: expected"):
        read(variables, *NODE)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *PORTS,
                "EJABBERD_DOMAIN",
                "MLS_OTEL_MIMIR_EXPORT_ENDPOINT",
                "MLS_OTEL_TEMPO_EXPORT_ENDPOINT",
            ]
        ),
        st.text(),
    ),
    st.sampled_from(PLACES),
)
def test_any_text_is_read_or_refused_by_name(
    variables: dict[str, str], place: tuple[str, str | None]
) -> None:
    try:
        options = read(variables, *place).options
    except ModeError as error:
        assert str(error).partition(":")[0] in variables  # noqa: PT017  either outcome is fine
    else:
        assert isinstance(options, ModeOptions)


def test_a_framework_deployment_becomes_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "MLS_OTEL_GRPC_PORT": "43170",
        "MLS_OTEL_HTTP_PORT": "43180",
        "MLS_OTEL_PROM_PORT": "9998",
        "MLS_OTEL_PROMETHEUS_LISTEN_IP": "0.0.0.0",
        "MLS_OTEL_HIGHER_EXPORT": "ON",
        "EJABBERD_DOMAIN": "top.example",
        "MLS_OTEL_MIMIR_EXPORT_ENDPOINT": "http://mimir/api/v1/push?a=${env:HOME}",
        "MLS_OTEL_LOKI_EXPORT_ENDPOINT": "http://loki/loki/api/v1/push",
        "MLS_OTEL_TEMPO_EXPORT_ENDPOINT": "tempo:4317",
    }
    flags = ("--mode", "gateway", "--level", "cluster")
    configuration, lines = configured(monkeypatch, variables, *flags)
    content: dict[str, Any] = json.loads(render(configuration, "json"))
    protocols = content["receivers"]["otlp"]["protocols"]
    assert "0.0.0.0:43170" == protocols["grpc"]["endpoint"]
    assert "0.0.0.0:43180" == protocols["http"]["endpoint"]
    exporters = content["exporters"]
    assert "0.0.0.0:9998" == exporters["prometheus"]["endpoint"]
    assert "top.example:43170" == exporters["otlp_grpc"]["endpoint"]
    # Literally: nothing of a variable's text is a reference to another.
    url = variables["MLS_OTEL_MIMIR_EXPORT_ENDPOINT"]
    assert url == exporters["prometheus_remote_write"]["endpoint"].replace("$$", "$")
    assert "http://loki/loki/api/v1/push" == exporters["loki"]["endpoint"]
    assert "tempo:4317" == exporters["tempo"]["endpoint"]
    pipelines = content["service"]["pipelines"]
    assert {
        "metrics": ["otlp_grpc", "prometheus_remote_write"],
        "logs": ["otlp_grpc", "loki"],
        "traces": ["otlp_grpc", "tempo"],
        "metrics/local": ["prometheus"],
    } == {name: pipeline["exporters"] for name, pipeline in pipelines.items()}
    assert [] == lines
    assert f'0.0.0.0:43170"  # {NAME}' in render(configuration)


def test_an_address_alone_gives_a_gateway_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"MLS_OTEL_PROMETHEUS_LISTEN_IP": "10.0.0.1"}
    configuration, _ = configured(monkeypatch, variables, "--mode", "gateway")
    assert "endpoint: 10.0.0.1:9999" in render(configuration).replace('"', "")


def test_our_own_variables_and_flags_come_after(monkeypatch: pytest.MonkeyPatch) -> None:
    def grpc_and_next(variables: dict[str, str], *flags: str) -> tuple[str, str]:
        configuration, _ = configured(monkeypatch, variables, "--mode", "agent", *flags)
        content = json.loads(render(configuration, "json"))
        listener: str = content["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
        return listener.rpartition(":")[2], content["exporters"]["otlp_grpc"]["endpoint"]

    variables = {"MLS_OTEL_GRPC_PORT": "1", "MLS_OTEL_CLUSTER_PORT": "1"}
    assert ("1", f"{CLUSTER_HOST}:1") == grpc_and_next(variables)
    variables |= {"MLSYSOPS_COLLECTOR_OTLP_GRPC_PORT": "2", "MLSYSOPS_COLLECTOR_EXPORT_TO": "b:2"}
    assert ("2", "b:2") == grpc_and_next(variables)
    assert ("3", "c:3") == grpc_and_next(variables, "--otlp-grpc-port=3", "--export-to=c:3")


def test_without_a_mode_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    path = modes.configuration_folder() / "gateway.yaml"
    variables = {"MLS_OTEL_GRPC_PORT": "x", "MLS_OTEL_LOKI_EXPORT_ENDPOINT": "http://l"}
    configuration, lines = configured(monkeypatch, variables, "--config", str(path))
    plain, _ = load_configuration([path], REGISTRY)
    assert plain is not None
    assert [] == lines
    assert plain.service.pipelines == configuration.service.pipelines


@pytest.mark.parametrize(
    "name", ["MLS_OTEL_MIMIR_EXPORT_ENDPOINT", "MLS_OTEL_LOKI_EXPORT_ENDPOINT", "EJABBERD_DOMAIN"]
)
def test_a_line_break_is_refused_and_no_password_shown(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Configuration that somebody puts into a variable stays text."""
    value = "http://me:hunter2@mimir/\n  file/evil:\n    path: /tmp/evil"
    monkeypatch.setattr("os.environ", {name: value})
    assert 2 == cli.main(["validate", "--mode=gateway", "--level=cluster"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {name}: expected ")
    assert r"\n  file/evil" in line
    assert "hunter2" not in line
