"""Children are watched, stopped, and cannot outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.demo import children
from mlsysops_pipeline.demo.children import Child, clean_environment, python_module
from mlsysops_pipeline.testing import wait_until

if TYPE_CHECKING:
    from tests.core.demo.conftest import Family


def child(program: str, **hooks: object) -> Child:
    return Child("child", [sys.executable, "-c", program], **hooks)  # type: ignore[arg-type]


def test_what_would_lead_telemetry_elsewhere_is_kept_from_children() -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere",
        "OTEL_SDK_DISABLED": "true",
        "MLSYSOPS_COLLECTOR_EXPORT_TO": "elsewhere:1",
        "HTTPS_PROXY": "http://proxy",
        "grpc_proxy": "http://proxy",
        "PATH": "/bin",
        "HOME": "/root",
    }
    assert {"PATH": "/bin", "HOME": "/root"} == clean_environment(environment)


def test_the_current_folder_cannot_shadow_modules() -> None:
    assert [sys.executable, "-P", "-m", "this", "a"] == python_module("this", "a")


@pytest.mark.slow
async def test_lines_of_both_outputs_reach_their_listeners() -> None:
    output: list[str] = []
    log: list[str] = []
    one = child(
        "import sys; print('a'); print('b'); sys.stderr.write('c\\nd')",
        on_line=output.append,
        on_log=log.append,
    )
    await one.start()
    await wait_until(lambda: not one.running)
    await one.close()
    assert (["a", "b"], ["c", "d"]) == (output, log)
    assert ["d"] == one.last_lines(1)
    assert 0 == one.status
    assert not one.killed


@pytest.mark.slow
async def test_a_line_without_an_end_keeps_its_beginning_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(children, "_LINE_BYTES_MAX", 10)
    output: list[str] = []
    one = child("print('0123456789' * 1000, end='')", on_line=output.append)
    await one.start()
    await wait_until(lambda: not one.running)
    await one.close()
    assert ["0123456789"] == output


@pytest.mark.slow
async def test_a_child_is_told_words_and_ends_by_itself() -> None:
    one = child("import sys; sys.exit(0 if input() == 'stop' else 1)")
    await one.start()
    one.tell("stop")
    await wait_until(lambda: not one.running)
    await one.close()
    assert 0 == one.status
    one.tell("nobody listens any more")
    one.terminate()


@pytest.mark.slow
async def test_who_does_not_end_when_asked_is_killed() -> None:
    heard: list[str] = []
    one = child(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=1)"
        "\nwhile True: time.sleep(1)",
        on_line=heard.append,
    )
    await one.start()
    await wait_until(lambda: heard)
    one.terminate()
    await one.kill()
    assert one.killed
    assert -signal.SIGKILL == one.status
    await one.kill()


async def test_what_was_never_started_can_be_closed() -> None:
    one = child("pass")
    one.terminate()
    one.tell("anything")
    await one.kill()
    assert one.status is None
    assert not one.killed


PARENT = """
import asyncio, sys
from mlsysops_pipeline.demo.children import Child
async def main():
    one = Child("one", [sys.executable, "-c", "import time; time.sleep(60)"])
    await one.start()
    print(one.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does this on Linux only")
def test_a_child_dies_with_a_parent_that_was_killed(family: Family) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert {parent.pid, pid} == set(family.members())
        parent.kill()
    assert {} == family.left()


@pytest.mark.slow
def test_the_guard_does_not_start_anything_for_a_parent_that_is_gone() -> None:
    stranger = os.getppid()
    done = subprocess.run(
        [sys.executable, "-I", "-S", children._GUARD, str(stranger), "/bin/echo", "started"],
        capture_output=True,
        check=False,
        timeout=10,
    )
    assert (1, b"") == (done.returncode, done.stdout)
