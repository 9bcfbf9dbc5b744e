"""Facts about the machine, as Linux tells them: architecture, processor, system, identity.

Names and values are those of the Collector, which takes them from several libraries.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlsysops_processors.resource_detection import interfaces, processor
from mlsysops_processors.resource_detection.releases import (
    os_release,
    platform_and_version,
    read_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_processors.resource_detection.detection import Found

MACHINE_IDS: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "ppc64le": "ppc64",
    "mips64el": "mips64le",
    "mipsel": "mipsle",
}
_ARM_32: Final = re.compile("arm(v[5-8].*)?")
_X86: Final = re.compile("i[3-6]86")


def facts(wanted: frozenset[str]) -> tuple[Found, list[str]]:
    """The attributes ``wanted``, and why some of them are missing. Reads files."""
    found: Found = {}
    missing = []
    for name in sorted(wanted):
        try:
            value = _READERS[name]()
        except (OSError, ValueError) as error:
            missing.append(f"no {name}: {error}")
        else:
            found[name] = value
    return found, missing


def architecture(machine: str) -> str:
    """What the Collector calls an architecture of ``uname -m``."""
    if _ARM_32.fullmatch(machine):
        return "arm32"
    if _X86.fullmatch(machine):
        return "x86"
    return _ARCHITECTURES.get(machine, machine)


def _description() -> str:
    system = " ".join(os.uname())
    values = os_release()
    name, version = values.get("NAME", ""), values.get("VERSION") or values.get("VERSION_ID", "")
    release = f"{name} {version}" if name and version else values.get("PRETTY_NAME", "")
    return f"{release} ({system})" if release else system


def _id() -> str:
    for path in MACHINE_IDS:
        try:
            text = read_text(path).strip()
        except OSError:
            continue
        if text:
            return text
    raise OSError(f"neither {' nor '.join(map(str, MACHINE_IDS))} says it")


def _named(part: int, what: str) -> str:
    value = platform_and_version()[part]
    if not value:
        raise OSError(f"no file in /etc says the {what}")
    return value


def _build() -> str:
    return os_release().get("BUILD_ID") or os.uname().release


def _of_processor(name: str) -> Any:
    return processor.read()[name]


_READERS: Final[dict[str, Callable[[], Any]]] = {
    "os.type": lambda: sys.platform,
    "os.version": lambda: _named(1, "version"),
    "os.name": lambda: _named(0, "platform"),
    "os.build.id": _build,
    "os.description": _description,
    "host.arch": lambda: architecture(platform.machine()),
    "host.id": _id,
    "host.ip": interfaces.addresses,
    "host.mac": interfaces.hardware_addresses,
    "host.interface": interfaces.interface_names,
    **{name: partial(_of_processor, name) for name in processor.NAMES},
}
