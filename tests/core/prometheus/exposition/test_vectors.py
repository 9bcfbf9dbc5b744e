"""Pages read as Prometheus 3.14 reads them: vectors (conformance TX-1, TX-2, OM-1 to OM-5)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mlsysops_pipeline.prometheus.exposition import (
    Comment,
    ExpositionError,
    PageReader,
    Sample,
    Topic,
)

_VECTORS = Path(__file__).parents[5] / "shared" / "spec" / "vectors" / "exposition_parse.jsonl"
_NUMBERS = {"NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf}
_ESCAPED_NAMES = "prometheus+client_python/tests/test_parser.py#2"
"""Expected difference: names in comments are unescaped here, so that they match their samples'."""


def _rows() -> list[dict[str, Any]]:
    if not _VECTORS.exists():
        pytest.skip(f"no {_VECTORS}")
    return [json.loads(line) for line in _VECTORS.read_text(encoding="utf-8").splitlines()]


def _read(row: dict[str, Any]) -> list[Sample | Comment] | None:
    reader = PageReader(row["content_type"])
    try:
        return reader.feed(row["input"].encode()) + reader.finish()
    except ExpositionError:
        return None


def _number(value: Any) -> Any:
    """A number so that NaN equals NaN."""
    found = float(_NUMBERS.get(value, value))
    return "NaN" if math.isnan(found) else found


def _canonical(labels: dict[str, str]) -> dict[str, Any]:
    """``le`` and ``quantile`` as numbers: Prometheus rewrites them, we read them later."""
    found: dict[str, Any] = dict(labels)
    for key in found.keys() & {"le", "quantile"}:
        try:
            found[key] = float(labels[key])
        except ValueError:
            continue
    return found


def _expected(entry: dict[str, Any]) -> dict[str, Any]:
    found = dict(entry)
    if "value" in found:
        found["value"] = _number(found["value"])
        found["labels"] = _canonical(found["labels"])
    return found


def _actual(entry: Sample | Comment) -> dict[str, Any]:
    if isinstance(entry, Comment):
        return {entry.topic.value: entry.name, entry.topic.value.lower(): entry.text}
    labels = {"__name__": entry.name, **dict(entry.labels)}
    found: dict[str, Any] = {"labels": _canonical(labels), "value": _number(entry.value)}
    if entry.timestamp_ms is not None:
        found["ts_ms"] = entry.timestamp_ms
    if entry.exemplar is not None:
        exemplar: dict[str, Any] = {
            "labels": dict(entry.exemplar.labels),
            "value": _number(entry.exemplar.value),
        }
        if entry.exemplar.timestamp_s is not None:
            exemplar["ts_ms"] = int(entry.exemplar.timestamp_s * 1000)
        found["exemplars"] = [exemplar]
    return found


def test_pages_are_accepted_and_refused_as_by_prometheus() -> None:
    """TX-1, TX-2, OM-1 to OM-5: the verdict on every page."""
    rows = _rows()
    assert len(rows) > 130
    for row in rows:
        assert row["prometheus_accepts"] == (_read(row) is not None), row


def test_pages_say_what_they_say_to_prometheus() -> None:
    """TX-2, OM-2, OM-3, SC-7: every sample and comment with a meaning."""
    for row in _rows():
        if row["prometheus_accepts"] and row["source"] != _ESCAPED_NAMES:
            entries = _read(row)
            assert entries is not None
            actual = [_actual(entry) for entry in entries if not _is_end(entry)]
            assert [_expected(entry) for entry in row["entries"]] == actual, row


def _is_end(entry: Sample | Comment) -> bool:
    return isinstance(entry, Comment) and entry.topic is Topic.EOF
