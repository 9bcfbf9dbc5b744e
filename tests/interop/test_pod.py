"""The collector as the framework's Pod runs it: one argument, two variables, a user without rights.

In namespaces of its own it has the file of a ConfigMap at the Pod's path, a file system that cannot
be written, a network of its own and no capability.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.framework_files import Rendered

if TYPE_CHECKING:
    from pathlib import Path

MOUNTED = "/etc/otel-collector-config"
SCRIPT = f"""
set -e
cd "$1"
ip link set lo up
mount -t overlay overlay -o lowerdir=/etc,upperdir=upper,workdir=work /etc
mkdir {MOUNTED}
cp otel-collector-config.yaml {MOUNTED}
mount -o remount,bind,ro /
mount -o remount,ro /etc
set -- "$2" -c "$3" "$2" {MOUNTED}/otel-collector-config.yaml
exec unshare --map-user=10001 --map-group=10001 -- "$@"
"""
PROBE = """
import os, signal, subprocess, sys, time, urllib.request
arguments = [sys.argv[1], "-m", "mlsysops_pipeline.cli", f"--config={sys.argv[2]}"]
collector = subprocess.Popen(arguments, stderr=subprocess.STDOUT)
for _ in range(150):
    try:
        page = urllib.request.urlopen("http://127.0.0.1:9999/metrics", timeout=5)
        break
    except OSError:
        time.sleep(0.1)
with open(f"/proc/{collector.pid}/status") as file:
    status = dict(line.rstrip().split(":", 1) for line in file)
print("uid", status["Uid"].split()[0], "status", page.status)
for place in ("/x", "/tmp/x", "/etc/x"):
    try:
        open(place, "w")
    except OSError as error:
        print("write", place, error.strerror)
collector.send_signal(signal.SIGTERM)
print("ended with", collector.wait(20))
"""

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "mount"))),
    reason="only root can make the namespaces, with unshare, ip and mount",
)


@needs_root
def test_it_runs_as_the_frameworks_pod_does(tmp_path: Path) -> None:
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    text = Rendered("node", next_hop=None).text()
    (tmp_path / "otel-collector-config.yaml").write_text(text, encoding="utf-8")

    done = subprocess.run(
        ["unshare", "-m", "-n", "sh", "-c", SCRIPT, "sh", str(tmp_path), sys.executable, PROBE],
        env={"PATH": os.environ["PATH"], "NODE_HOSTNAME": "node-1", "NODE_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    output = done.stdout + done.stderr
    assert "uid 10001 status 200" in output, output
    assert 3 == output.count("Read-only file system"), output
    assert "ended with 0" in output, output
    assert "Everything is ready" in output, output
