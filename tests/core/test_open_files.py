from __future__ import annotations

import subprocess
import sys

from mlsysops_pipeline import open_files

PROGRAM = """
import resource
from mlsysops_pipeline import open_files
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
before = open_files.limit()
open_files.raise_limit()
print(before, open_files.limit() > 100 or hard == 100)
"""


def test_the_limit_is_raised_to_what_the_system_gives() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert "100 True" == done.stdout.strip()


def test_the_limit_is_known() -> None:
    assert open_files.limit() > 10
