"""The version of this package and the name under which it presents itself."""

from __future__ import annotations

import platform
import sys

VERSION = "0.1.0"
NAME = "mlsysops-collector"


def user_agent() -> str:
    """`mlsysops-collector/0.1.0 (linux/x86_64)`, as clients send it (OC-17)."""
    return f"{NAME}/{VERSION} ({sys.platform}/{platform.machine()})"
