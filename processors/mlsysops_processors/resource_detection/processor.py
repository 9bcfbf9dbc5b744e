"""The first processor of the machine, as ``/proc/cpuinfo`` describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mlsysops_processors.resource_detection.releases import read_text

PATH: Final = Path("/proc/cpuinfo")
_TEXTS: Final = {
    "host.cpu.vendor.id": ("vendor_id", "vendorId", "CPU implementer"),
    "host.cpu.family": ("cpu family", "marchid"),
    "host.cpu.model.id": ("model", "CPU part", "mimpid"),
    "host.cpu.model.name": ("model name", "Model Name", "cpu", "uarch"),
    "host.cpu.stepping": ("stepping", "CPU revision", "revision"),
}
"""Under which names architectures have it."""
_CACHE: Final = "host.cpu.cache.l2.size"
NAMES: Final = (*_TEXTS, _CACHE)
"""The attributes that are found here."""
_IMPLEMENTERS: Final = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x44: "DEC",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x50: "APM",
    0x51: "Qualcomm",
    0x56: "Marvell",
    0x61: "Apple",
    0x69: "Intel",
    0xC0: "Ampere",
}
"""Who made a processor of the ARM architecture."""


def read() -> dict[str, Any]:
    """The attributes of the processor. Raises `OSError` if the system describes none."""
    return described(read_text(PATH))


def described(text: str) -> dict[str, Any]:
    """The attributes in a description. What is not in it is empty, or 0, as in the Collector."""
    lines: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not line.strip() and "processor" in lines:
            break  # the second one follows
        if colon:
            lines.setdefault(key.strip(), value.strip())
    found: dict[str, Any] = {
        name: next((lines[key] for key in keys if key in lines), "")
        for name, keys in _TEXTS.items()
    }
    found["host.cpu.stepping"] = found["host.cpu.stepping"] or "0"
    vendor = found["host.cpu.vendor.id"]
    if vendor.startswith("0x"):
        found["host.cpu.vendor.id"] = _IMPLEMENTERS.get(_number(vendor, 16), "")
    found[_CACHE] = _number(lines.get("cache size", "").removesuffix("KB").strip(), 10)
    return found


def _number(text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        return 0
