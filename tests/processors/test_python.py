"""The processor `python` as users meet it: by a file, by a program, by the README."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline import Collector, Payload, Signal, Telemetry, collector_processor
from mlsysops_pipeline.config import load_configuration
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, PermanentError
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.service.lifecycle import StartError
from mlsysops_pipeline.testing import make_payload
from mlsysops_processors.python import Config
from tests.core.pdata.wires import OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).resolve().parent.parent.parent / "README.md"
FILE = """
processors:
  python: {function: %s, view: point}
service:
  pipelines:
    metrics: {receivers: [app], processors: [python], exporters: [seen]}
"""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("zz_"):
            del sys.modules[name]


class Seen:
    """A sink that keeps payloads."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []

    async def __call__(self, payload: Payload) -> None:
        self.payloads.append(payload)


def written(folder: Path, function: str) -> Path:
    file = folder / "otelcol.yaml"
    file.write_text(FILE % function, encoding="utf-8")
    return file


def temperatures(*values: float) -> list[Payload]:
    payloads = []
    for value in values:
        request = OFFICIAL[Signal.METRICS]()
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="temperature")
        point = metric.gauge.data_points.add(as_double=value, time_unix_nano=1)
        point.attributes.add(key="device").value.string_value = "a"
        payloads.append(Payload(Signal.METRICS, request.SerializeToString()))
    return payloads


async def test_the_example_of_the_readme_finds_the_anomaly(tmp_path: Path) -> None:
    (example,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
        if block.startswith("# scores.py")
    )
    lines = [line for line in example.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 15
    (tmp_path / "zz_scores.py").write_text(example, encoding="utf-8")
    seen = Seen()
    file = written(tmp_path, "zz_scores:score")
    async with Collector(file, sources=["app"], sinks={"seen": seen}) as collector:
        for payload in temperatures(*[20.0, 20.5, 19.5, 20.2] * 10, 60.0):
            await collector.feed("app", payload)
        ledger = collector.pipeline_ledgers()["metrics"]
        assert (41, 82, 0) == (ledger.received, ledger.handed_on, ledger.imbalance)

    scores = [
        float(point.value or 0)
        for payload in seen.payloads
        for point in Telemetry(payload).points("temperature.anomaly")
    ]
    assert 41 == len(scores)
    assert max(scores[:-1]) < 3
    assert scores[-1] > 10


async def test_a_function_is_given_by_a_program_under_a_name() -> None:
    @collector_processor(view="resource")
    async def tag(telemetry: Telemetry) -> None:
        assert "resource" == telemetry.view
        for resource in telemetry.resources():
            resource.attributes["site"] = "lab"

    seen = Seen()
    pipeline = {"receivers": ["app"], "processors": ["tag"], "exporters": ["seen"]}
    config: dict[str, Any] = {"service": {"pipelines": {"logs": pipeline}}}
    async with Collector(
        config, sources=["app"], sinks={"seen": seen}, processors={"tag": tag}
    ) as collector:
        await collector.feed("app", make_payload(Signal.LOGS, 3))

    (resource,) = Telemetry(seen.payloads[0]).resources()
    assert "lab" == resource.attributes["site"]


async def test_its_fault_is_the_answer_to_the_sender_and_the_pipeline_goes_on() -> None:
    def picky(telemetry: Telemetry) -> None:
        if len(list(telemetry.points())) == 2:
            raise ValueError("two of them")

    seen = Seen()
    pipeline = {"receivers": ["app"], "processors": ["picky"], "exporters": ["seen"]}
    config: dict[str, Any] = {"service": {"pipelines": {"metrics": pipeline}}}
    async with Collector(
        config, sources=["app"], sinks={"seen": seen}, processors={"picky": picky}
    ) as collector:
        with pytest.raises(PermanentError, match=r"processor picky: .* two of them"):
            await collector.feed("app", make_payload(Signal.METRICS, 2))
        await collector.feed("app", make_payload(Signal.METRICS, 3))
        ledger = collector.pipeline_ledgers()["metrics"]

    assert (3, 3, 0) == (ledger.received, ledger.handed_on, ledger.imbalance)


def test_validating_imports_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, "zz_ruinous:function")
    (tmp_path / "zz_ruinous.py").write_text("raise SystemExit(1)\n", encoding="utf-8")
    ends = {"receivers": {"nop": None}, "exporters": {"nop": None}}
    plan = {"receivers": ["nop"], "processors": ["python"], "exporters": ["nop"]}
    more = {**ends, "service": {"pipelines": {"metrics": plan}}}

    configuration, problems = load_configuration([file, more], Registry.installed())

    assert configuration is not None, problems
    assert (tmp_path.resolve(),) == configuration.folders()
    assert "zz_ruinous" not in sys.modules


async def test_a_function_that_is_not_there_fails_the_start_and_says_where_it_looked(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, "zz_absent:function")
    collector = Collector(file, sources=["app"], sinks={"seen": Seen()})
    with pytest.raises(StartError, match=f"cannot import zz_absent.*nor in {tmp_path}"):
        await collector.start()


@pytest.mark.parametrize("keys", [{}, {"function": "scores"}, {"function": "a:b", "view": "all"}])
def test_what_is_wrong_in_a_file_is_named(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"function|view"):
        parse_config(Config, keys)
