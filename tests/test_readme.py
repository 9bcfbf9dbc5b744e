"""What the README says is so: its example runs, its table is the registry's, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlsysops_pipeline.errors import DropReason
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.service.catalogue import BEGIN, END, table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_embedding_example_runs_and_prints_what_it_received() -> None:
    example = next(block for block in blocks("python") if "async with Collector" in block)
    wire = "open('metrics.pb', 'rb').read()"
    program = example.replace('main(b"")', f"main({wire})")
    assert program != example
    from mlsysops_pipeline.pdata.signal import Signal
    from mlsysops_pipeline.testing import make_wire

    done = subprocess.run(
        [sys.executable, "-c", program.replace(wire, repr(make_wire(Signal.METRICS, 3)))],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert ("metrics 3 items\n", "") == (done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_examples_are_clean_for_a_strict_type_checker(tmp_path: Path) -> None:
    """What a third party sees of our types, with its own settings and not with ours."""
    for number, example in enumerate(blocks("python")):
        (tmp_path / f"example{number}.py").write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir=cache", *tmp_path.glob("*.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.startswith("Success: no issues found in "), done.stdout


def test_the_component_example_works_as_a_package_of_its_own(tmp_path: Path) -> None:
    """A third-party package adds a component by an entry point alone."""
    component = next(block for block in blocks("python") if "FACTORY = Factory(" in block)
    (entry_point,) = (b for b in blocks("toml") if "mlsysops_pipeline.processors" in b)
    name, target = re.findall(r'^(\w+) = "(.*)"$', entry_point, re.MULTILINE)[0]
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "rename.py").write_text(component, encoding="utf-8")
    metadata = tmp_path / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[mlsysops_pipeline.processors]\n{name} = {target}\n"
    )
    program = f"""
import asyncio
from mlsysops_pipeline import Collector, Payload, Signal
from mlsysops_pipeline.testing import make_wire

async def seen(payload):
    print(payload.items)

async def main():
    pipeline = {{"receivers": ["app"], "processors": [{name!r}], "exporters": ["seen"]}}
    config = {{
        "processors": {{{name!r}: {{"marker": "service-1"}}}},
        "service": {{"pipelines": {{"logs": pipeline}}}},
    }}
    async with Collector(config, sources=["app"], sinks={{"seen": seen}}) as collector:
        wires = [make_wire(Signal.LOGS, 2), make_wire(Signal.LOGS, 3, seed=1)]
        await collector.feed("app", Payload(Signal.LOGS, wires))
        ledger = collector.pipeline_ledgers()["logs"]
        print(dict(ledger.filtered), ledger.imbalance)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert ("3\n{'marker': 2} 0\n", "") == (done.stdout, done.stderr)


def test_the_component_table_is_that_of_the_registry() -> None:
    written = README.partition(BEGIN)[2].partition(END)[0].strip()

    assert table(Registry.installed()).strip() == written


in_a_checkout = pytest.mark.skipif(
    not (ROOT / "Makefile").exists(), reason="speaks of files that are only in a checkout"
)


@in_a_checkout
def test_every_make_target_that_is_named_exists_and_the_other_way_round() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)", README)) | {"run", "lint", "format", "types"}

    assert set() == named - targets
    assert {"demo", "run", "test", "check", "lint", "format", "types", "bench"} <= targets


@in_a_checkout
def test_every_folder_that_is_named_exists() -> None:
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*/)`", README)

    assert named
    assert [] == [
        name
        for name in named
        if not (ROOT / name).is_dir() and not (ROOT / "mlsysops_pipeline" / name).is_dir()
    ]


def test_every_reason_for_a_loss_is_explained() -> None:
    explained = set(re.findall(r"^\| `([a-z_]+)` \| [^|]+ \|$", README, re.MULTILINE))

    assert {str(reason) for reason in DropReason} <= explained
