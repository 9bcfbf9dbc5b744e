"""Runs a command that dies with the process that asked for it: ``guard.py PARENT COMMAND...``.

It is run as a file of its own, with `-I -S`, so that it costs little. On Linux the kernel kills
the command when its parent ends in any way, SIGKILL included (prctl(2), PR_SET_PDEATHSIG, which
survives execve). Elsewhere it only runs the command: there the parent's own tidying has to do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # The parent ended before the line above, and nobody would tell us any more.
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  a list of arguments, no shell


if __name__ == "__main__":
    main()
