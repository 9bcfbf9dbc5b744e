"""Prometheus pages read line by line, so that what they say can be compared as it is written.

This is no parser for pages of strangers: it reads what the two collectors write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_SAMPLE = re.compile(
    rf"^([^\s{{]+)?(\{{(?:[^\"}}]|{_QUOTED})*\}})?\s+(\S+)(?:\s+(-?[\d.]+))?(?:\s+#\s+(.*))?$"
)
_SCRAPERS = (
    "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver",
    "mlsysops_receivers.prometheus",
)
_SCOPE = re.compile(
    rf'otel_scope_name="(?:{"|".join(map(re.escape, _SCRAPERS))})"(.*?)otel_scope_version="[^"]*"'
)
_ABOUT = re.compile(rf"^# (TYPE|HELP|UNIT) ({_QUOTED}|\S+) ?(.*)$")
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
        about = _ABOUT.match(line)
        if about is not None:
            kind, name, rest = about.groups()
            stores = {"TYPE": page.types, "HELP": page.helps, "UNIT": page.units}
            stores[kind][name] = rest
        elif line.startswith("#"):
            continue
        elif line:
            _sample(page, line)
    return page


def is_scraper(scope: str) -> bool:
    """Whether a scope is that of one of the two receivers that scrape."""
    return scope in _SCRAPERS


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
    """Labels in the order of their names, which says nothing, without those that are empty.

    To Prometheus an empty label is none. Who scraped is named differently by the two. What stands
    alone is a quoted name of a metric.
    """
    pairs = sorted(_LABEL.findall(_SCOPE.sub(r'otel_scope_name="(who scraped)"\1', labels)))
    shown = (
        f'{name}="{value}"' if value else name for name, value in pairs if _counts(name, value)
    )
    return "{" + ",".join(shown) + "}"


def _counts(name: str, value: str) -> bool:
    return bool(value) or name.startswith('"')
