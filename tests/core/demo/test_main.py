"""The flags of the demo, and what it says without the SDK."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlsysops_pipeline import cli, demo
from mlsysops_pipeline.demo import supervisor, values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        ("1.5", 1.5),
        ("45s", 45),
        ("2m", 120),
        ("1h1m1s", 3661),
        ("500ms", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds == demo._seconds(text)


@pytest.mark.parametrize("text", ["", "-1", "soon", "3 s", "1d", "m", "1e3", "inf", "٣"])
def test_what_is_no_duration_is_a_usage_error(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main(["--duration", text])
    assert 2 == ended.value.code
    assert "expected a duration such as 45, 45s or 2m" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "lost"), [("1", (1, None)), ("logs=2", (2, "logs")), ("traces=1", (1, "traces"))]
)
def test_what_to_lose(text: str, lost: tuple[int, str | None]) -> None:
    assert lost == demo._lose(text)


@pytest.mark.parametrize("text", ["", "one", "spans=1", "logs=", "-1"])
def test_what_cannot_be_lost_is_a_usage_error(text: str) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main([f"--lose={text}"])
    assert 2 == ended.value.code


@pytest.mark.parametrize("arguments", [[], ["--duration", "5", "--lose", "logs=1"]])
def test_the_command_line_hands_its_flags_on(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[supervisor.Options] = []

    class Pretended:
        def __init__(
            self, options: supervisor.Options, _display: object, *, prometheus: str | None
        ) -> None:
            assert values.find_prometheus() == prometheus
            seen.append(options)

        async def run(self) -> int:
            return 7

    monkeypatch.setattr(supervisor, "Demo", Pretended)
    assert 7 == cli.main(["demo", *arguments])
    expected = supervisor.Options(5, 1, "logs") if arguments else supervisor.Options(30, 0, None)
    assert [expected] == seen


WITHOUT_SDK = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "{package}":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from mlsysops_pipeline.demo import main
sys.exit(main([]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["opentelemetry", "grpc"])
def test_without_the_sdk_one_line_names_the_extra(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SDK.format(package=package)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert 2 == done.returncode
    assert "" == done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: the demo needs")
    assert line.endswith("pip install 'mlsysops-collector[demo]'")


@pytest.mark.slow
def test_the_two_ends_import_nothing_of_the_collector() -> None:
    program = (
        "import sys, mlsysops_pipeline.demo.sink, mlsysops_pipeline.demo.load;"
        "print(*(m for m in sys.modules if m.startswith('mlsysops_')), sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env=environment,
    )
    allowed = {"mlsysops_pipeline", "mlsysops_pipeline.version"}
    loaded = {name for name in done.stdout.split() if not name.startswith("mlsysops_pipeline.demo")}
    assert loaded <= allowed
