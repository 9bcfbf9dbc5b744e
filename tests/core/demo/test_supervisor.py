"""Whole runs of the demo around stand-ins for collectors: five processes, real gRPC, real ends.

The stand-ins can misbehave, which collectors do not do on demand.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.demo import supervisor
from mlsysops_pipeline.demo.hops import free_ports
from mlsysops_pipeline.demo.reports import SIGNALS
from mlsysops_pipeline.demo.supervisor import INTERRUPTED, Options
from tests.core.demo.fakes import fake_command, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.core.demo.conftest import Family

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

_PROGRAM = [sys.executable, str(Path(__file__).with_name("fakes.py"))]
_ROOT = Path(__file__).parents[3]


async def test_a_run_in_which_everything_arrives_is_a_success(family: Family) -> None:
    status, shown = await run(Options(0.6), fake_command())
    assert 0 == status, shown
    assert "OK: every item that the SDK program sent arrived, once." in shown
    assert 3 == shown.count("   equal")
    assert re.search(
        r"requests_total\{model=\"\w+\",outcome=\"ok\"\}: \d+ at the node's Prometheus endpoint "
        r"\(no PromQL at the continuum: Prometheus is not installed here\)",
        shown,
    )
    assert "mlsysops.levels at the sink: node -> cluster -> continuum" in shown
    assert {} == family.left()


@pytest.mark.parametrize("signal_name", SIGNALS)
async def test_one_item_that_the_sink_loses_is_a_failure(signal_name: str, family: Family) -> None:
    status, shown = await run(Options(0.4, 1, signal_name), fake_command())
    assert 1 == status, shown
    assert 1 == shown.count("FAILED: ")
    assert f"FAILED: {signal_name}: the SDK program sent " in shown
    assert "; 1 missing" in shown
    assert 2 == shown.count("   equal")
    assert {} == family.left()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("lose-one", "FAILED: logs: the SDK program sent "),
        ("swallow", "FAILED: traces: the SDK program sent "),
        ("duplicate", " of them twice"),
        ("bad-status", "FAILED: cluster ended with status 3"),
        ("die", "FAILED: cluster ended with signal SIGSEGV"),
        ("fail", "FAILED: cluster ended at its start with status 1"),
    ],
)
async def test_a_hop_that_misbehaves_is_a_failure(
    how: str, said: str, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_SETTLE_TIMEOUT_S", 0.5)
    status, shown = await run(Options(2 if how == "die" else 0.4), fake_command({"cluster": how}))
    assert 1 == status, shown
    assert said in shown
    assert {} == family.left()


async def test_a_node_whose_page_cannot_be_read_is_a_failure(family: Family) -> None:
    status, shown = await run(Options(0.4), fake_command({"node": "no-page"}))
    assert 1 == status, shown
    assert 1 == shown.count("FAILED: ")
    assert "FAILED: the node's Prometheus endpoint: " in shown
    assert {} == family.left()


async def test_a_hop_that_does_not_end_is_killed_and_a_failure(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_DRAIN_TIMEOUT_S", 0.3)
    status, shown = await run(Options(0.3), fake_command({"node": "hang"}))
    assert 1 == status, shown
    assert "FAILED: node had to be killed: it did not end within 0.3 s" in shown
    assert {} == family.left()


async def test_a_hop_that_is_never_ready_is_a_failure(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_ready = supervisor.Demo._all_ready
    waited_s = 0.0

    async def ready(demo: supervisor.Demo) -> bool:
        """Time passes when all others are ready, however long they take on a busy machine."""
        nonlocal waited_s
        if len(demo._ready) == len(demo._children) - 1:
            waited_s = supervisor._READY_TIMEOUT_S
        return await all_ready(demo)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + waited_s)
    monkeypatch.setattr(supervisor.Demo, "_all_ready", ready)
    monkeypatch.setattr(supervisor, "time", clock)
    status, shown = await run(Options(1), fake_command({"node": "silent"}))
    assert 1 == status, shown
    assert "FAILED: not ready after 30 s: node\n" in shown
    assert {} == family.left()


async def test_a_port_that_was_taken_meanwhile_is_chosen_again(family: Family) -> None:
    attempts = 0

    def pick(count: int) -> list[int]:
        nonlocal attempts
        attempts += 1
        ports = free_ports(count)
        if attempts == 1:
            ports[3] = ports[0]  # two hops want the same
        return ports

    status, shown = await run(Options(0.3), fake_command(), pick_ports=pick)
    assert 0 == status, shown
    assert 2 == attempts
    assert "was taken meanwhile; starting again on others" in shown
    assert {} == family.left()


async def test_a_command_that_does_not_exist_is_a_failure(family: Family) -> None:
    status, shown = await run(Options(1), lambda *_: ["/nowhere/at/all"])
    assert 1 == status, shown
    assert "FAILED: " in shown
    assert {} == family.left()


class Running:
    """The demo as a program with its output in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*_PROGRAM, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
            )

    def text(self) -> str:
        return self._output.read_text()

    def wait_for(self, words: str, timeout_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while words not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline_s, self.text()
            time.sleep(0.02)  # between two looks at another process

    def end(self) -> int:
        return self.process.wait(30)


@pytest.fixture
def endless(tmp_path: Path, family: Family) -> Iterator[Running]:
    program = Running(tmp_path, "0")
    try:
        program.wait_for("   1 s |")
        yield program
    finally:
        program.process.kill()
        program.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_a_summary(
    number: signal.Signals, endless: Running, family: Family
) -> None:
    endless.process.send_signal(number)
    assert 0 == endless.end(), endless.text()
    assert "OK: every item" in endless.text()
    assert {} == family.left()


def test_a_second_signal_kills_everything(tmp_path: Path, family: Family) -> None:
    program = Running(tmp_path, "0", "continuum=hang")
    program.wait_for("   1 s |")
    program.process.send_signal(signal.SIGINT)
    time.sleep(1.2)  # sooner it would count as the same wish come twice
    program.process.send_signal(signal.SIGINT)
    assert INTERRUPTED == program.end(), program.text()
    assert "Interrupted twice: every process is killed." in program.text()
    assert {} == family.left()


def test_a_signal_before_anything_was_sent_leaves_nothing(tmp_path: Path, family: Family) -> None:
    program = Running(tmp_path, "0", "node=silent")
    program.wait_for("Starting ")
    program.process.send_signal(signal.SIGINT)
    assert INTERRUPTED == program.end(), program.text()
    assert "Interrupted before anything was sent." in program.text()
    assert {} == family.left()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does this on Linux only")
def test_nothing_is_left_when_the_demo_is_killed(endless: Running, family: Family) -> None:
    assert 6 == len(family.members())
    endless.process.kill()
    assert -signal.SIGKILL == endless.end()
    assert {} == family.left()


def test_nothing_is_left_when_nobody_reads_the_output(family: Family) -> None:
    with subprocess.Popen(
        [*_PROGRAM, "0"], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stderr=subprocess.PIPE,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        program.stdout.readline()
        program.stdout.close()
        assert 0 != program.wait(30)
    assert {} == family.left()


def test_on_a_terminal_the_table_is_redrawn(family: Family) -> None:
    own, its = pty.openpty()
    with subprocess.Popen(
        [*_PROGRAM, "0.6"],
        stdout=its,
        stderr=its,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "TERM": "xterm"},
    ) as program:
        os.close(its)
        seen = bytearray()
        with suppress(OSError):  # Linux ends a terminal with an error
            while chunk := os.read(own, 65536):
                seen += chunk
        os.close(own)
        assert 0 == program.wait(30), seen.decode()
    text = seen.decode()
    # 24 lines are the height of this terminal, the table has 18: it is drawn over itself.
    assert re.search(r"\x1b\[1\dF", text)
    assert "running  [" in text
    assert "OK: every item" in text
    assert {} == family.left()
