"""The demo as a user runs it, with real collectors: five programs, everything through gRPC."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.demo import supervisor, values
from mlsysops_pipeline.demo.reports import SIGNALS
from mlsysops_pipeline.demo.supervisor import Options
from tests.core.demo.fakes import fake_command, run

if TYPE_CHECKING:
    from tests.core.demo.conftest import Family

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

PROMETHEUS = values.find_prometheus()
_COMMAND = str(Path(sys.executable).with_name("mlsysops-collector"))


def run_demo(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [_COMMAND, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=80,
        check=False,
    )
    return done.returncode, done.stdout


def test_everything_goes_through_three_collectors_and_arrives_once(
    family: Family, tmp_path: Path
) -> None:
    status, shown = run_demo("--duration", "2")
    assert 0 == status, shown
    assert "OK: every item that the SDK program sent arrived, once." in shown
    assert "mlsysops.levels at the sink: node -> cluster -> continuum  on " in shown
    value = re.search(r"requests_total\{.*\}: ([\d,]+) at the node's Prometheus endpoint", shown)
    assert value is not None, shown
    if PROMETHEUS is None:
        assert "(no PromQL at the continuum: Prometheus is not installed here)" in shown
    else:
        assert f"endpoint, {value[1]} by PromQL at the continuum" in shown
    assert [] == list(tmp_path.iterdir())
    rows = [line.split() for line in shown.splitlines()]
    for hop in ("node", "cluster", "continuum"):
        place = next(i for i, row in enumerate(rows) if row[:2] == [hop, "metrics"])
        for row, name in zip((rows[place][1:], *rows[place + 1 : place + 3]), SIGNALS, strict=True):
            received, sent, waiting, refused, dropped = row[1:]
            assert name == row[0]
            assert received == sent != "0"
            assert ("0", "0", "0") == (waiting, refused, dropped)
    assert {} == family.left()


@pytest.mark.parametrize("name", SIGNALS)
def test_one_item_that_is_lost_on_purpose_fails_the_demo(name: str, family: Family) -> None:
    status, shown = run_demo("--duration", "0.5", f"--lose={name}=1")
    assert 1 == status, shown
    assert 1 == shown.count("FAILED: ")
    assert f"FAILED: {name}: the SDK program sent " in shown
    assert "; 1 missing" in shown
    assert {} == family.left()


async def test_one_log_record_that_a_hop_loses_fails_the_demo(family: Family) -> None:
    command = fake_command({"cluster": "lose-one"}, real=frozenset({"node", "continuum"}))
    status, shown = await run(Options(1), command)
    assert 1 == status, shown
    assert 1 == shown.count("FAILED: ")
    assert "FAILED: logs: the SDK program sent " in shown
    assert "; 1 missing, among them number " in shown
    assert {} == family.left()


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed")
async def test_a_continuum_that_does_not_write_fails_the_demo(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_VALUE_TIMEOUT_S", 0.3)
    status, shown = await run(Options(0.5), fake_command(), prometheus=PROMETHEUS)
    assert 1 == status, shown
    assert 1 == shown.count("FAILED: ")
    assert "FAILED: PromQL knows no requests_total{" in shown
    assert {} == family.left()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does this on Linux only")
def test_nothing_is_left_when_the_demo_is_killed(family: Family, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as stream:
        program = subprocess.Popen([_COMMAND, "demo", "--duration", "0"], stdout=stream)
    deadline_s = time.monotonic() + 40
    while "   1 s |" not in output.read_text() and time.monotonic() < deadline_s:
        time.sleep(0.05)  # between two looks at another process
    expected = 6 if PROMETHEUS is None else 7
    assert expected == len(family.members()), output.read_text()
    os.kill(program.pid, signal.SIGKILL)
    program.wait(10)
    assert {} == family.left()
