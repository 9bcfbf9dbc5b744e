"""How many files and sockets this process may have open."""

from __future__ import annotations

import sys

_UNKNOWN = 1_024


def limit() -> int:
    """The number that holds now."""
    if sys.platform == "win32":
        return _UNKNOWN
    import resource  # noqa: PLC0415  Unix only

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Take what the system would give anyway, as every Go program does when it starts.

    For programs that are nothing but a collector: it holds for the whole process, and for children
    that it starts.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  Unix only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # a system that says more than it gives
            return
