"""Whatever is written, the answer is a configuration or a list of problems: never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config import Configuration, SetSource, load_configuration, reading
from mlsysops_pipeline.config.printing import render
from mlsysops_pipeline.config.problems import has_errors
from mlsysops_pipeline.config.reading import Reader
from mlsysops_pipeline.registry import Registry
from tests.core.config.conftest import GOOD, REGISTRY

if TYPE_CHECKING:
    from mlsysops_pipeline.config import ConfigurationSource

SHARED = Path(__file__).parents[4] / "shared" / "configs"
WORDS = st.sampled_from(
    [
        "receivers",
        "processors",
        "exporters",
        "connectors",
        "extensions",
        "service",
        "pipelines",
        "telemetry",
        "otlp",
        "batch",
        "debug",
        "forward",
        "protocols",
        "grpc",
        "endpoint",
        "headers",
        "enabled",
        "traces",
        "metrics",
        "logs",
        "name",
        "value",
        "otlp_grpc",
        "basicauth",
        "readers",
        "level",
        "resource",
        "timeout",
        "queue",
        "storage",
        "tls",
        "localhost:4317",
        "${env:X}",
        "${X}",
        "$$",
        "5s",
        "-1",
        "a::b",
        "a.b",
        "/",
        "otlp/",
        "[]",
        "{}",
    ]
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text(max_size=5))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(WORDS, st.text(max_size=3)), inner, max_size=5),
    ),
    max_leaves=25,
)
MODEST = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def judged(*sources: ConfigurationSource) -> Configuration | None:
    """Load, and check what holds for every answer."""
    environment = {"X": "[${env:X}"}
    configuration, problems = load_configuration(sources, REGISTRY, environment)
    assert has_errors(problems) is (configuration is None)
    assert [] == [p for p in problems if len(p.line().splitlines()) != 1]
    orders = [(p.position.order, p.position.source, p.position.line) for p in problems]
    assert sorted(orders) == orders
    if configuration is not None:
        assert render(configuration)
    return configuration


@MODEST
@given(TREES)
def test_any_tree_is_answered(tree: Any) -> None:
    judged({"receivers": tree})
    judged(tree if isinstance(tree, dict) else {"service": tree})


@MODEST
@given(TREES, st.sampled_from(["receivers.otlp", "exporters.debug", "service", "service.pipelines",
                               "service.pipelines.traces", "service.telemetry", "extensions",
                               "connectors.forward", "exporters.otlp_grpc"]))  # fmt: skip
def test_any_value_in_any_place_is_answered(tree: Any, place: str) -> None:
    text = yaml.safe_dump(tree, default_flow_style=True, allow_unicode=True)
    judged(f"yaml:{GOOD}", SetSource(f"{place}={text.removesuffix('...' + chr(10))}"))


@MODEST
@given(st.binary(max_size=60))
def test_any_bytes_are_answered(content: bytes) -> None:
    reader = Reader("bytes")
    node = reader.read_bytes(content)
    assert (node is None) <= bool(reader.problems)


@MODEST
@given(st.text(alphabet="{}[]:,-&*<>!|#%@\"' \n\tab01${}~?", max_size=40))
def test_any_punctuation_is_answered(text: str) -> None:
    judged(f"yaml:{text}")
    judged(SetSource(f"receivers={text}"))


@pytest.mark.parametrize("count", [1, 17, 60])
def test_a_good_file_cut_or_stained_anywhere_is_answered(count: int) -> None:
    for index in range(0, len(GOOD), max(1, len(GOOD) // count)):
        judged(f"yaml:{GOOD[:index]}")
        judged(f"yaml:{GOOD[:index]}\0{GOOD[index:]}")
        judged(f"yaml:{GOOD[:index]}\t{GOOD[index:]}")


def test_an_alias_bomb_is_refused_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_NODES_MAX", 5_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    configuration, problems = load_configuration(["yaml:" + "\n".join(lines)], REGISTRY, {})
    assert configuration is None
    assert ["too large, nested too deeply, or an endless alias"] == [p.message for p in problems]


@pytest.mark.parametrize("name", ["mlsysops-node.yaml", "mlsysops-cluster.yaml"])
def test_the_files_of_the_field_are_answered_line_by_line(name: str) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    environment = {"NODE_HOSTNAME": "n1", "NODE_IP": "10.0.0.1"}
    registry = Registry.installed()
    configuration, problems = load_configuration([path], registry, environment)
    assert (configuration is None) == has_errors(problems)
    lines = [problem.line().removeprefix(f"{path}:") for problem in problems]
    for place, kind in (("11:3", Kind.RECEIVER), ("26:3", Kind.EXPORTER)):
        if "prometheus" in registry.types(kind):
            continue
        message = f'unknown type "prometheus": there is no such {kind.value} here'
        assert [f"{place}: {kind.section}.prometheus: {message}"] == [
            line.partition(" (")[0] for line in lines if message in line
        ]
    assert all(line[0].isdigit() for line in lines)


@pytest.mark.slow
def test_loading_imports_no_heavy_library() -> None:
    code = (
        "import sys; from mlsysops_pipeline.config import load_configuration;"
        "print([m for m in ('grpc', 'aiohttp', 'asyncio', 'ssl', 'google.protobuf.json_format',"
        " 'hypothesis', 'opentelemetry') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()
