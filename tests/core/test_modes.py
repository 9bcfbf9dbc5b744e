"""Modes, levels, flags and environment variables become configuration, in their order."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline import cli, modes
from mlsysops_pipeline.config import load_configuration
from mlsysops_pipeline.config.printing import render
from mlsysops_pipeline.config.reading import plain_yaml
from mlsysops_pipeline.modes import ModeError, ModeOptions
from mlsysops_pipeline.registry import Registry

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from mlsysops_pipeline.config import Configuration

PAGE = "prometheus.yaml"
"""No file of its own: it lies over that of a mode."""
FILES = sorted({path.name for path in modes.configuration_folder().glob("*.yaml")} - {PAGE})
REGISTRY = Registry.installed()
SIGNALS = ("metrics", "logs", "traces")
LOCAL = "metrics/local"
"""The pipeline that is the raw route."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("MLSYSOPS_COLLECTOR_", "MLS_OTEL_", "EJABBERD_")):
            monkeypatch.delenv(name)


def options(*flags: str) -> argparse.Namespace:
    return cli._parser("validate").parse_args(flags)


def configured(*flags: str) -> Configuration:
    configuration, problems = load_configuration(cli.sources(options(*flags)), REGISTRY)
    assert configuration is not None, [problem.line() for problem in problems]
    return configuration


def printed(*flags: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(render(configured(*flags), "json"))
    return content


def endpoints(content: dict[str, Any]) -> list[str]:
    protocols = content["receivers"]["otlp"]["protocols"]
    return [protocols["grpc"]["endpoint"], protocols["http"]["endpoint"]]


def exporters(content: dict[str, Any]) -> dict[str, list[str]]:
    return {name: plan["exporters"] for name, plan in content["service"]["pipelines"].items()}


def page(content: dict[str, Any]) -> str | None:
    """Where the Prometheus endpoint is."""
    if LOCAL not in content["service"]["pipelines"]:
        assert "prometheus" not in content["exporters"]
        return None
    assert ["prometheus"] == exporters(content)[LOCAL]
    endpoint: str = content["exporters"]["prometheus"]["endpoint"]
    return endpoint


def test_there_is_a_file_for_every_mode_and_level() -> None:
    names = {f"{name}.yaml" for name in (*modes.MODES, *modes.LEVELS)}
    assert names == names & set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_file_is_a_configuration_without_warnings(name: str) -> None:
    folder = modes.configuration_folder()
    configuration, problems = load_configuration([folder / name], REGISTRY)
    assert [] == [problem.line() for problem in problems]
    assert configuration is not None
    configuration, problems = load_configuration([folder / name, folder / PAGE], REGISTRY)
    assert [] == [problem.line() for problem in problems]
    assert configuration is not None


@pytest.mark.parametrize("name", FILES)
def test_what_is_printed_of_a_shipped_file_means_the_same(name: str) -> None:
    path = modes.configuration_folder() / name
    first, _ = load_configuration([path], REGISTRY)
    assert first is not None
    second, problems = load_configuration([f"yaml:{render(first, redact=False)}"], REGISTRY)
    assert second is not None, [problem.line() for problem in problems]
    assert first.service.pipelines == second.service.pipelines
    assert render(first, "json") == render(second, "json")


@pytest.mark.parametrize(("mode", "host"), [("agent", "127.0.0.1"), ("gateway", "0.0.0.0")])
def test_a_mode_listens_limits_and_has_no_destination(mode: str, host: str) -> None:
    content = printed("--mode", mode)
    assert [f"{host}:4317", f"{host}:4318"] == endpoints(content)
    pipelines = content["service"]["pipelines"]
    assert (mode == "agent") is (LOCAL in pipelines)
    assert set(SIGNALS) == set(pipelines) - {LOCAL}
    for name, pipeline in pipelines.items():
        assert ["otlp"] == pipeline["receivers"]
        assert ["memory_limiter"] == pipeline["processors"]
        assert ["prometheus" if name == LOCAL else "no_destination"] == pipeline["exporters"]


@pytest.mark.parametrize(
    ("destination", "insecure"),
    [("next:4317", True), ("http://next:4317", True), ("https://next:4317", False),
     ("[::1]:4317", True)],
)  # fmt: skip
def test_a_destination_gets_a_batching_queue(destination: str, insecure: bool) -> None:
    content = printed("--mode", "agent", "--export-to", destination)
    exporter = content["exporters"]["otlp_grpc"]
    assert destination == exporter["endpoint"]
    assert insecure is exporter["tls"]["insecure"]
    assert 8192 == exporter["sending_queue"]["batch"]["min_size"]
    assert "0s" == exporter["retry_on_failure"]["max_elapsed_time"]
    for name, ends in exporters(content).items():
        assert ["prometheus" if name == LOCAL else "otlp_grpc"] == ends


@pytest.mark.parametrize(
    "destination", ["next", "next:", "next:x", "next:99999", "next:0", ":4317", "ftp://next:1", ""]
)
def test_a_destination_of_another_form_is_named(destination: str) -> None:
    with pytest.raises(ModeError, match="--export-to"):
        cli.sources(options("--mode", "agent", "--export-to", destination))


@pytest.mark.parametrize(
    ("mode", "level"), [("agent", "node"), ("gateway", "cluster"), ("gateway", "continuum")]
)
def test_a_level_names_itself_in_the_resource(mode: str, level: str) -> None:
    content = printed("--mode", mode, "--level", level)
    (action,) = content["processors"]["resource/level"]["attributes"]
    assert ("mlsysops.levels", level) == (action["key"], action["value"])
    without = printed("--mode", mode)
    assert "mlsysops.levels" not in json.dumps(without)
    assert endpoints(without) == endpoints(content)


@pytest.mark.parametrize(
    ("mode", "level"), [("agent", "cluster"), ("agent", "continuum"), ("gateway", "node")]
)
def test_a_level_of_another_mode_is_refused(mode: str, level: str) -> None:
    with pytest.raises(ModeError, match=f"--level {level} goes with --mode"):
        cli.sources(options("--mode", mode, "--level", level))


def test_flags_move_the_listeners() -> None:
    assert ["0.0.0.0:4317", "0.0.0.0:4318"] == endpoints(
        printed("--mode", "agent", "--listen", "0.0.0.0")
    )
    assert ["127.0.0.1:1", "127.0.0.1:4318"] == endpoints(
        printed("--mode", "agent", "--otlp-grpc-port", "1")
    )
    assert ["[::1]:1", "[::1]:2"] == endpoints(
        printed("--mode", "agent", "--listen", "::1", "--otlp-grpc-port", "1",
                "--otlp-http-port", "2")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "page"),
    [
        ((), "127.0.0.1:8888"),
        (("--telemetry-port", "9000"), "127.0.0.1:9000"),
        (("--telemetry-port", "0"), None),
    ],
)
def test_own_metrics_are_on_8888_elsewhere_or_off(flags: tuple[str, ...], page: str | None) -> None:
    metrics = configured("--mode", "agent", *flags).service.telemetry.metrics
    assert ([] if page is None else [page]) == list(map(str, metrics.pages()))


@pytest.mark.parametrize("port", ["-1", "65536", "x", "1.5", "٣", ""])
def test_a_port_that_is_none_is_named(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModeError, match="--otlp-grpc-port: expected a port"):
        cli.sources(options("--mode", "agent", f"--otlp-grpc-port={port}"))
    if port:
        monkeypatch.setenv("MLSYSOPS_COLLECTOR_TELEMETRY_PORT", port)
        with pytest.raises(ModeError, match="MLSYSOPS_COLLECTOR_TELEMETRY_PORT: expected a port"):
            cli.sources(options("--mode", "agent"))


def test_the_order_is_mode_file_environment_files_flags_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def port(*flags: str) -> str:
        return endpoints(printed("--mode", "agent", *flags))[0].rpartition(":")[2]

    path = tmp_path / "over.yaml"
    path.write_text("receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:3'}}}}\n")
    option = "receivers.otlp.protocols.grpc.endpoint=127.0.0.1:5"
    assert "4317" == port()
    monkeypatch.setenv("MLSYSOPS_COLLECTOR_OTLP_GRPC_PORT", "2")
    assert "2" == port()
    assert "3" == port("--config", str(path))
    assert "4" == port("--config", str(path), "--otlp-grpc-port", "4")
    assert "5" == port("--config", str(path), "--otlp-grpc-port", "4", "--set", option)


def test_an_empty_environment_variable_counts_as_not_set() -> None:
    assert ModeOptions() == ModeOptions.from_environment({"MLSYSOPS_COLLECTOR_LISTEN": ""})
    assert {"listen": "h", "telemetry_port": 0} == ModeOptions.from_environment(
        {"MLSYSOPS_COLLECTOR_LISTEN": "h", "MLSYSOPS_COLLECTOR_TELEMETRY_PORT": "0", "OTHER": "x"}
    ).given()


def test_print_config_shows_which_flag_did_what() -> None:
    text = render(configured("--mode", "agent", "--export-to", "next:1"))
    assert "endpoint: next:1  # flags" in text
    assert "port: 8888  # default" in text


def test_warnings_about_what_a_mode_leaves_unused_are_told_apart() -> None:
    sources = cli.sources(options("--mode", "agent", "--export-to", "next:1"))
    _, problems = load_configuration(sources, REGISTRY)
    folder = str(modes.configuration_folder())
    assert ["exporters.no_destination: is defined but not used"] == [
        line.partition(": ")[2].rpartition(": ")[0] for line in map(str, problems)
    ]
    assert all(problem.concerns_unused_in(folder) for problem in problems)


def test_our_own_file_is_read_as_plain_values(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a: {b: [1, x]}\n")
    assert {"a": {"b": [1, "x"]}} == plain_yaml(tmp_path / "f")
    (tmp_path / "g").write_text("- a\n")
    with pytest.raises(ValueError, match="no configuration file"):
        plain_yaml(tmp_path / "g")


NODE = ("--mode", "agent", "--level", "node")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--mode", "agent"), "127.0.0.1:9999"),
        (NODE, "127.0.0.1:9999"),
        ((*NODE, "--prometheus-port", "9000"), "127.0.0.1:9000"),
        ((*NODE, "--listen", "0.0.0.0"), "0.0.0.0:9999"),
        ((*NODE, "--listen", "::1", "--prometheus-port", "9000"), "[::1]:9000"),
        ((*NODE, "--prometheus-port", "0"), None),
        (("--mode", "gateway"), None),
        (("--mode", "gateway", "--prometheus-port", "0"), None),
        (("--mode", "gateway", "--prometheus-port", "9000"), "0.0.0.0:9000"),
        (("--mode", "gateway", "--listen", "h", "--prometheus-port", "9000"), "h:9000"),
    ],
)
def test_an_agent_has_a_page_and_a_gateway_when_it_is_asked_for(
    flags: tuple[str, ...], expected: str | None
) -> None:
    assert expected == page(printed(*flags))


def test_the_raw_route_leaves_out_what_the_processed_one_adds() -> None:
    pipelines = printed(*NODE, "--export-to", "next:1")["service"]["pipelines"]
    assert ["memory_limiter", "resource/level"] == pipelines["metrics"]["processors"]
    assert ["memory_limiter"] == pipelines[LOCAL]["processors"]


def test_the_page_has_the_names_that_readers_of_the_framework_know() -> None:
    section = printed(*NODE)["exporters"]["prometheus"]
    assert not {"translation_strategy", "namespace"} & {k for k, v in section.items() if v}
    assert section["send_timestamps"]
    assert ["*"] == section["resource_constant_labels"]["included"]


@pytest.mark.parametrize("mode", modes.MODES)
def test_remote_write_takes_metrics_beside_the_next_hop(mode: str) -> None:
    url = "http://mimir:8080/api/v1/push"
    content = printed("--mode", mode, "--remote-write", url, "--export-to", "next:1")
    assert url == content["exporters"]["prometheus_remote_write"]["endpoint"]
    ends = exporters(content)
    ends.pop(LOCAL, None)
    assert {
        "metrics": ["otlp_grpc", "prometheus_remote_write"],
        "logs": ["otlp_grpc"],
        "traces": ["otlp_grpc"],
    } == ends
    alone = exporters(printed("--mode", mode, "--remote-write", url))
    assert ["prometheus_remote_write"] == alone["metrics"]
    assert ["no_destination"] == alone["logs"]


@pytest.mark.parametrize(
    "url", ["", "mimir:8080", "ftp://m/x", "http://", "http://m:x/", "http://m /"]
)
def test_a_url_of_another_form_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModeError, match="--remote-write"):
        cli.sources(options("--mode", "agent", f"--remote-write={url}"))
    if url:
        monkeypatch.setenv("MLS_OTEL_MIMIR_EXPORT_ENDPOINT", url)
        with pytest.raises(ModeError, match="MLS_OTEL_MIMIR_EXPORT_ENDPOINT: expected http"):
            cli.sources(options("--mode", "agent"))


def test_a_destination_of_one_source_stays_beside_that_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSYSOPS_COLLECTOR_REMOTE_WRITE", "http://m/w")
    monkeypatch.setenv("MLSYSOPS_COLLECTOR_EXPORT_TO", "one:1")
    both = ["otlp_grpc", "prometheus_remote_write"]
    assert both == exporters(printed("--mode", "agent"))["metrics"]
    path = tmp_path / "over.yaml"
    path.write_text("exporters: {nop: }\nservice: {pipelines: {metrics: {exporters: [nop]}}}\n")
    flags = ("--mode", "agent", "--config", str(path))
    assert ["nop"] == exporters(printed(*flags))["metrics"]
    assert both == exporters(printed(*flags, "--export-to", "two:2"))["metrics"]


def test_a_port_of_one_source_stays_with_the_address_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLSYSOPS_COLLECTOR_LISTEN", "10.0.0.1")
    monkeypatch.setenv("MLS_OTEL_HTTP_PORT", "43180")
    content = printed("--mode", "agent", "--otlp-grpc-port", "1", "--prometheus-port", "3")
    assert ["10.0.0.1:1", "10.0.0.1:43180"] == endpoints(content)
    assert "10.0.0.1:3" == page(content)


def test_the_page_can_be_off_in_the_environment_and_on_by_a_flag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLS_OTEL_PROM_PORT", "9100")
    assert "0.0.0.0:9100" == page(printed("--mode", "gateway"))
    monkeypatch.setenv("MLSYSOPS_COLLECTOR_PROMETHEUS_PORT", "0")
    assert page(printed("--mode", "agent")) is None
    assert page(printed("--mode", "gateway")) is None
    assert "0.0.0.0:9000" == page(printed("--mode", "gateway", "--prometheus-port", "9000"))
