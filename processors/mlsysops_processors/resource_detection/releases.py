"""Which system this is: from the files in ``/etc`` by which distributions name themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ETC: Final = Path("/etc")
OS_RELEASES: Final = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
_FILE_BYTES_MAX: Final = 1 << 20
_RELEASE: Final = re.compile(r"release (\w[\d.]*)")
_LIKE_DEBIAN: Final = {
    "Ubuntu": "ubuntu",
    "LinuxMint": "linuxmint",
    "Kylin": "Kylin",
    "uos": "uos",
    "Deepin": "Deepin",
}
"""Distributions with Debian's file, which name themselves in another."""
_FIRST_LINE: Final = {"debian_version": "debian", "alpine-release": "alpine"}
"""Files that hold the version only, and whose they are."""
_LIKE_RED_HAT: Final = {
    "oracle-release": "oracle",
    "enterprise-release": "oracle",
    "redhat-release": "",
    "system-release": "",
}
"""Files with a sentence, and whose they are if it does not say so."""


def read_text(path: Path) -> str:
    """A file of the system, as text; the beginning of one that is absurdly long."""
    with path.open("rb") as file:
        return file.read(_FILE_BYTES_MAX).decode("utf-8", "replace")


def os_release() -> dict[str, str]:
    """The entries of the first ``os-release`` file there is; none if there is none."""
    for path in OS_RELEASES:
        text = _text(path)
        if text:
            return entries(text)
    return {}


def entries(text: str) -> dict[str, str]:
    """``KEY=value`` lines, without comments, quotes and the backslashes of a shell."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or not key or key.startswith("#"):
            continue
        value = value.strip()
        if len(value) > 1 and value[0] in "\"'" and value[0] == value[-1]:
            value = value[1:-1]
        found[key.strip()] = re.sub(r"\\([$\"'\\`])", r"\1", value)
    return found


def platform_and_version() -> tuple[str, str]:
    """The distribution in lower case and its version; either may be empty."""
    stated = entries(_text(ETC / "lsb-release"))
    for name, distribution in _LIKE_RED_HAT.items():
        text = _text(ETC / name)
        if text.strip():
            return _of_sentence(text.lower(), distribution)
    for name, distribution in _FIRST_LINE.items():
        text = _text(ETC / name).strip()
        if not text:
            continue
        derived = _LIKE_DEBIAN.get(stated.get("DISTRIB_ID", ""))
        if name == "debian_version" and derived:
            return derived, stated.get("DISTRIB_RELEASE", "")
        return distribution, text.splitlines()[0].strip()
    values = os_release()
    found = values.get("ID", "") or stated.get("DISTRIB_ID", "").lower()
    version = values.get("VERSION_ID", "") or stated.get("DISTRIB_RELEASE", "")
    return "amazon" if found == "amzn" else found, version


def _of_sentence(text: str, distribution: str) -> tuple[str, str]:
    if "rawhide" in text:
        version = "rawhide"
    else:
        found = _RELEASE.search(text)
        version = found[1] if found else ""
    if not distribution:
        distribution = "redhat" if "red hat" in text else text.split(maxsplit=1)[0]
    return distribution, version


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError:
        return ""
