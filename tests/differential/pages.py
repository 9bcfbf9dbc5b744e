"""Prometheus pages read line by line, so that what they say can be compared as it is written.

This is no parser for pages of strangers: it reads what the two collectors write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"^([^\s{]+)?(\{.*\})?\s+(\S+)(?:\s+(-?[\d.]+))?(?:\s+#\s+(.*))?$")
_LABEL = re.compile(r'("(?:[^"\\]|\\.)*"|[^\s=,{}"]+)(?:="((?:[^"\\]|\\.)*)")?')


@dataclass(frozen=True, slots=True)
class Sample:
    """What stands behind a series."""

    value: float
    timestamp: str
    exemplar: str


@dataclass(slots=True)
class Page:
    """A page: type, help and unit by family; samples by name and labels."""

    types: dict[str, str] = field(default_factory=dict)
    helps: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    samples: dict[str, Sample] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    """Lines that are not understood, and series that are there twice."""


def read(text: str) -> Page:
    """Read a page in either text format."""
    page = Page()
    for line in text.splitlines():
        if line.startswith("# "):
            _, kind, *rest = line.split(" ", 3)
            store = {"TYPE": page.types, "HELP": page.helps, "UNIT": page.units}.get(kind)
            if store is not None:
                store[rest[0]] = rest[1] if len(rest) > 1 else ""
        elif line:
            _sample(page, line)
    return page


def _sample(page: Page, line: str) -> None:
    found = _SAMPLE.match(line)
    if found is None:
        page.odd.append(f"not understood: {line}")
        return
    name, labels, value, timestamp, exemplar = found.groups()
    key = (name or "") + _sorted(labels or "")
    if key in page.samples:
        page.odd.append(f"twice: {key}")
    page.samples[key] = Sample(float(value), timestamp or "", exemplar or "")


def _sorted(labels: str) -> str:
    """Labels in the order of their names: the order says nothing."""
    pairs = sorted(_LABEL.findall(labels))
    return "{" + ",".join(f'{name}="{value}"' if value else name for name, value in pairs) + "}"
