"""The command line, as the program and as a function."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline import cli
from mlsysops_pipeline.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

READY = "Everything is ready"
PLAIN = """\
receivers:
  otlp:
    protocols:
      http: {{endpoint: "127.0.0.1:{port}"}}
exporters:
  nop:
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [nop]}}
"""
LOG = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.yaml"
    path.write_text(PLAIN.format(port=free_port()), encoding="utf-8")
    return path


class Program:
    """A collector process whose log is read until it is ready."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlsysops_pipeline.cli", *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.log: list[str] = []

    def wait_until(self, words: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if words in line:
                return
        raise AssertionError(f"ended before it said {words!r}:\n" + "".join(self.log))

    def end(self, *signals: signal.Signals) -> int:
        for place, number in enumerate(signals):
            if place:  # two that are on their way at the same time would be one
                self.wait_until("Received signal")
            self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=15)
        self.log.append(rest)
        return self.process.returncode

    @property
    def text(self) -> str:
        return "".join(self.log)


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[Program]:
    program = Program(arguments, environment)
    try:
        program.wait_until(READY)
        yield program
    finally:
        program.process.kill()
        program.process.communicate()


def test_validate_says_ok_in_one_line(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == cli.main(["validate", f"--config={plain}"])
    assert "OK: 1 pipeline\n" == capsys.readouterr().out


def test_validate_lists_every_problem_with_its_place_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "receivers:\n  otlp:\n    protocls: {grpc: }\nexporters:\n  otlp: {endpoint: 5}\n"
        "service:\n  pipelines:\n    logs: {receivers: [otlp], exporters: [otpl]}\n",
        encoding="utf-8",
    )
    assert 1 == cli.main(["validate", "--config", str(path)])
    lines = capsys.readouterr().err.splitlines()

    assert any(
        line.startswith(f"{path}:3:5: ") and "did you mean" in line and "protocols" in line
        for line in lines
    )
    assert any(line.startswith(f"{path}:5:20: ") for line in lines)
    assert any(line.startswith(f"{path}:8:") and "otpl" in line for line in lines)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"- a\n- b\n", "map"),
        (b"receivers: \xff\n", "not UTF-8"),
        (b"receivers:\n\totlp:\n", "tab"),
        (b"receivers:\n  otlp:\n  otlp:\n", "duplicate key 'otlp'"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, expected: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    assert 1 == cli.main(["validate", "--config", str(path)])
    lines = capsys.readouterr().err.splitlines()

    assert any(line.startswith(f"{path}:") and expected in line for line in lines)
    assert not any("Traceback" in line for line in lines)


def test_run_refuses_a_wrong_configuration_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == cli.main(["--config", str(tmp_path / "absent.yaml")])
    assert f"{tmp_path / 'absent.yaml'}" in capsys.readouterr().err


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert 0 == ended.value.code
    assert f"mlsysops-collector version {VERSION}\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "at least one --config, --set or --mode must be given"),
        (["--config=x", "--export-to=a:1"], "go with --mode"),
        (["--mode=agent", "--otlp-grpc-port=70000"], "expected a port from 0 to 65535"),
        (["--mode=agent", "--export-to=nowhere"], "write HOST:PORT"),
        (["--config=x", "--prometheus-port=1"], "go with --mode"),
        (["--config=x", "--remote-write=http://a/"], "go with --mode"),
        (["--mode=agent", "--prometheus-port=x"], "--prometheus-port: expected a port"),
        (["--mode=agent", "--remote-write=a:1"], "--remote-write"),
        (["--mode=agent", "--listen="], "--listen: the address is empty"),
    ],
)
def test_flags_without_sense_exit_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == cli.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vaildate"], "unknown command 'vaildate' (did you mean \"validate\"?)"),
        (["help"], "unknown command 'help' (allowed: components, demo, print-config, run, "),
        (["otelcol.yaml"], "unexpected 'otelcol.yaml': write --config otelcol.yaml"),
        (["validate", "etc/otelcol"], "unexpected 'etc/otelcol': write --config etc/otelcol"),
    ],
)
def test_a_word_that_is_no_command_is_answered_with_what_is_meant(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert 2 == ended.value.code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "print-config"])
def test_feature_gates_are_accepted_with_a_warning_by_every_command(
    command: str, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for gates in (["--feature-gates=+a,-b"], ["--feature-gates", "-a"], ["--feature-gates=x"]):
        assert 0 == cli.main([command, f"--config={plain}", *gates])
        assert "--feature-gates is ignored" in capsys.readouterr().err


def test_components_are_listed_as_the_collector_does(capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    assert 0 == cli.main(["components"])
    listing = yaml.safe_load(capsys.readouterr().out)

    assert VERSION == listing["buildinfo"]["version"]
    assert "otlp" in [entry["name"] for entry in listing["receivers"]]
    assert "otlp_grpc" in [entry["name"] for entry in listing["exporters"]]
    (forward,) = [entry for entry in listing["connectors"] if entry["name"] == "forward"]
    assert "Beta" == forward["stability"]["logs-to-logs"]


def test_print_config_shows_what_flags_became_and_masks_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    secret = tmp_path / "secret.yaml"
    secret.write_text("exporters: {otlp_grpc: {headers: {key: hidden}}}\n", encoding="utf-8")
    arguments = ["print-config", "--mode=agent", "--export-to=up.example:4317"]
    arguments += [f"--config={secret}", "--otlp-grpc-port=14317"]
    arguments += ["--set=processors.memory_limiter.limit_mib=100"]
    assert 0 == cli.main(arguments)
    printed = capsys.readouterr().out
    content = yaml.safe_load(printed)

    assert "127.0.0.1:14317" == content["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    assert "up.example:4317" == content["exporters"]["otlp_grpc"]["endpoint"]
    assert 100 == content["processors"]["memory_limiter"]["limit_mib"]
    assert "hidden" not in printed
    assert "[REDACTED]" in printed
    assert "secret.yaml:1:" in printed
    assert "--set" in printed


def test_a_password_in_a_url_is_neither_printed_nor_complained_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "urls.yaml"
    text = PLAIN.format(port=1).replace("nop", "otlp_http")
    url = "http://me:hunter2@gateway:4318"
    path.write_text(text.replace("otlp_http:", f"otlp_http: {{endpoint: '{url}'}}"))
    assert cli.main(["print-config", "--config", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "http://me:[REDACTED]@gateway:4318" in printed
    assert "hunter2" not in printed
    assert cli.main(["print-config", "--config", str(path), "--mask", "unredacted"]) == 0
    assert url in capsys.readouterr().out
    # As the Collector has it.
    arguments = ["print-config", "--config", str(path), "--mode=unredacted", "--validate=true"]
    assert cli.main(arguments) == 0
    assert url in capsys.readouterr().out
    for wrong in (url + "x", "ftp" + url, url.replace("me", "m" * 60), url[7:]):
        for exporter in ("otlp_http", "otlp_grpc"):
            rewritten = text.replace("otlp_http:", f"{exporter}: {{endpoint: '{wrong}x'}}")
            path.write_text(rewritten.replace("[otlp_http]", f"[{exporter}]"))
            assert cli.main(["validate", "--config", str(path)]) == 1
            assert "hunter2" not in capsys.readouterr().err


def test_print_config_can_be_json_and_unmasked(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == cli.main(["print-config", "--config", str(plain), "--format=json"])
    assert "otlp" in json.loads(capsys.readouterr().out)["receivers"]


def test_precedence_is_mode_environment_config_flags_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    def grpc_port(*more: str) -> str:
        assert 0 == cli.main(["print-config", "--mode=agent", *more])
        content = yaml.safe_load(capsys.readouterr().out)
        endpoint: str = content["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
        return endpoint.rpartition(":")[2]

    path = tmp_path / "over.yaml"
    path.write_text(
        "receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:3'}}}}\n", encoding="utf-8"
    )
    set_flag = "--set=receivers.otlp.protocols.grpc.endpoint=127.0.0.1:5"
    assert "4317" == grpc_port()
    monkeypatch.setenv("MLSYSOPS_COLLECTOR_OTLP_GRPC_PORT", "2")
    assert "2" == grpc_port()
    assert "3" == grpc_port(f"--config={path}")
    assert "4" == grpc_port(f"--config={path}", "--otlp-grpc-port=4")
    assert "5" == grpc_port(f"--config={path}", "--otlp-grpc-port=4", set_flag)


@pytest.mark.slow
def test_a_signal_before_anything_runs_ends_it(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the first process of a container a signal that nobody asked for is none."""
    before = signal.getsignal(signal.SIGTERM)

    def load(_options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it arrives at once")

    monkeypatch.setattr(cli, "_load", load)
    with pytest.raises(SystemExit) as left:
        cli.main(["run", f"--config={plain}"])

    assert 0 == left.value.code
    assert before == signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_file_runs_until_a_signal_and_drains(plain: Path, number: signal.Signals) -> None:
    with running("--config", str(plain), "--feature-gates=-x") as program:
        port = int(plain.read_text(encoding="utf-8").split("127.0.0.1:")[1].partition('"')[0])
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/logs", LOG, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310  our own server
            assert 200 == answer.status
        assert 0 == program.end(number)

    assert "--feature-gates is ignored" in program.text
    assert "Received signal from OS" in program.text
    assert "Shutdown complete." in program.text


@pytest.mark.slow
def test_a_mode_runs_without_a_file_and_serves_its_numbers() -> None:
    grpc, http, telemetry = free_port(), free_port(), free_port()
    ports = [f"--otlp-grpc-port={grpc}", f"--otlp-http-port={http}"]
    with running("--mode=gateway", *ports, f"--telemetry-port={telemetry}") as program:
        page = urllib.request.urlopen(f"http://127.0.0.1:{telemetry}/metrics").read()
        assert b"otelcol_process_uptime" in page
        assert 0 == program.end(signal.SIGTERM)

    assert 1 == program.text.count("no destination")


POINT = """\
{"resourceMetrics":[{"resource":{"attributes":[{"key":"node","value":{"stringValue":"n"}}]},
"scopeMetrics":[{"metrics":[{"name":"temp","unit":"Cel","gauge":{"dataPoints":[
{"timeUnixNano":"%d","asDouble":%d}]}}]}]}]}"""


@pytest.mark.slow
def test_an_agent_shows_its_metrics_and_a_second_one_says_that_the_port_is_in_use() -> None:
    page, http = free_port(), free_port()
    flags = ["--mode=agent", "--telemetry-port=0", f"--prometheus-port={page}"]
    # Nobody listens at the next hop, and its queue is full at once: the page does not mind.
    flags += ["--export-to=127.0.0.1:1", "--set=exporters.otlp_grpc.sending_queue.queue_size=1"]
    with running(*flags, "--otlp-grpc-port=0", f"--otlp-http-port={http}"):
        for value in range(5):
            request = urllib.request.Request(
                f"http://127.0.0.1:{http}/v1/metrics",
                (POINT % (time.time_ns(), value)).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request) as answer:  # noqa: S310  our own server
                assert 200 == answer.status
        text = urllib.request.urlopen(f"http://127.0.0.1:{page}/metrics").read().decode()
        assert 'temp_celsius{node="n"} 4' in text
        second = subprocess.run(
            [sys.executable, "-m", "mlsysops_pipeline.cli", *flags, "--otlp-grpc-port=0",
             "--otlp-http-port=0", "--log-level=error"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert 1 == second.returncode
        (line,) = second.stderr.splitlines()
        assert f"cannot listen on 127.0.0.1:{page}: the address is already in use" in line
        assert line.startswith('Error: failed to start "prometheus" exporter: ')
        assert line.endswith(
            "(another agent? --prometheus-port PORT moves this one, 0 switches it off)"
        )


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_the_drain(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "stuck.yaml"
    path.write_text(
        PLAIN.format(port=port)
        .replace("  nop:", "  otlp: {endpoint: '127.0.0.1:1', tls: {insecure: true}}")
        .replace("[nop]", "[otlp]"),
        encoding="utf-8",
    )
    with running("--config", str(path), "--drain-timeout=60s") as program:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/logs", LOG, {"content-type": "application/json"}
        )
        urllib.request.urlopen(request).close()  # noqa: S310  our own server
        began = time.monotonic()
        assert program.end(signal.SIGTERM, signal.SIGTERM) in {0, 130}

    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_port_in_use_is_one_line_and_exit_status_1(plain: Path) -> None:
    port = int(plain.read_text(encoding="utf-8").split("127.0.0.1:")[1].partition('"')[0])
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [sys.executable, "-m", "mlsysops_pipeline.cli", "--config", str(plain)],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )

    assert 1 == done.returncode
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert 1 == len(errors)
    assert f"127.0.0.1:{port}" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_json_logs_are_json(plain: Path) -> None:
    with running("--config", str(plain), "--log-format=json", "--log-level=debug") as program:
        program.end(signal.SIGTERM)

    lines = [line for line in program.text.splitlines() if line]
    assert all(json.loads(line)["msg"] for line in lines)
