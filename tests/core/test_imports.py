"""Importing costs what is used: an agent must start fast and stay small."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "grpc", "bcrypt", "re2", "opentelemetry.sdk", "h2", "numpy", "pandas")
MODULES_MAX = 500
"""A module costs half a millisecond of the start."""
REPORT = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{REPORT}"],
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_the_package_imports_nothing_until_a_name_is_used() -> None:
    loaded = modules_after("import mlsysops_pipeline")

    assert not loaded & {"pydantic", "google.protobuf", "yaml", *HEAVY}


def test_an_embedding_program_sees_its_names_and_gets_a_clear_error_for_others() -> None:
    import mlsysops_pipeline

    assert "Collector" in dir(mlsysops_pipeline)
    with pytest.raises(AttributeError, match="no attribute 'Kollector'"):
        mlsysops_pipeline.Kollector  # noqa: B018  the access is the test


def modules_of_an_agent(*flags: str) -> set[str]:
    """What is loaded when it has started, on ports that nobody else has."""
    ports = [
        *("--otlp-grpc-port=0", "--otlp-http-port=0"),
        f"--set=service.telemetry.metrics.readers={OWN_PAGE}",
    ]
    return modules_after(
        "import asyncio\n"
        "from mlsysops_pipeline import cli\n"
        "from mlsysops_pipeline.registry import Registry\n"
        "from mlsysops_pipeline.config import load_configuration\n"
        "from mlsysops_pipeline.service.collector import Collector\n"
        f"options = cli._parser('run').parse_args({['--mode=agent', *ports, *flags]!r})\n"
        "configuration, _ = load_configuration(cli.sources(options), Registry.installed())\n"
        "async def start():\n"
        "    async with Collector(configuration):\n"
        "        pass\n"
        "asyncio.run(start())\n"
    )


OWN_PAGE = "[{pull: {exporter: {prometheus: {host: localhost, port: 0}}}}]"
PAGE = "--set=exporters.prometheus.endpoint=localhost:0"
SLOW = {
    "importlib.metadata": "mlsysops_pipeline.entry_points reads what it needs of it",
    "importlib.resources": "paths beside the package need none of it",
    "shutil": "argparse wants the width of the terminal: see cli._Formatter",
    "tempfile": "brings shutil and compression",
    "mlsysops_pipeline.service.embedding": "for programs that embed the collector",
    "mlsysops_pipeline.functions": "for functions of users",
    "pydantic.plugin._loader": "a validator was built: see config.construction",
}
"""What takes milliseconds and an agent can do without."""


@pytest.mark.slow
def test_an_agent_that_forwards_by_grpc_loads_nothing_heavy() -> None:
    loaded = modules_of_an_agent("--export-to=a:1", PAGE)

    assert {} == {name: why for name, why in SLOW.items() if name in loaded}
    assert len(loaded) < MODULES_MAX

    assert "mlsysops_exporters.prometheus" in loaded
    assert set() == loaded & set(HEAVY)
    assert not {name for name in loaded if name.startswith("mlsysops_pipeline.query")}
    assert not {"mlsysops_exporters.otlp_http", "mlsysops_exporters.prometheusremotewrite"} & loaded


@pytest.mark.slow
def test_an_agent_without_its_page_loads_nothing_of_it() -> None:
    loaded = modules_of_an_agent("--export-to=a:1", "--prometheus-port=0")

    assert set() == loaded & set(HEAVY)
    assert not {name for name in loaded if name.startswith("mlsysops_exporters.prometheus")}
    assert not {name for name in loaded if name.startswith("mlsysops_pipeline.prometheus")}
