"""Translation against what the OTLP endpoint of Prometheus 3.14 stores (conformance A7)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.core.prometheus.flat import Bench, from_json

_VECTORS = Path(__file__).parents[4] / "shared" / "spec" / "vectors" / "otlp_to_prometheus.jsonl"


def _cases() -> list[Any]:
    if not _VECTORS.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no {_VECTORS}"))]
    rows = [json.loads(line) for line in _VECTORS.read_text(encoding="utf-8").splitlines()]
    return [pytest.param(row, id=row["case"]) for row in rows]


def _as_specified(case: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is expected where the written specification differs from Prometheus."""
    rows = copy.deepcopy(rows)
    for row in rows:
        if row["family"] == "target_info":
            row["type"] = "info"  # PO-14: an info, which formats without any call a gauge
    if case == "exphist_zero_threshold":
        rows[0]["histogram"]["zero_threshold"] = 0.001  # PO-8: as given
    if case == "meta_info":
        rows[0]["type"] = "info"  # PO-5
    if case == "no_service":  # PO-14: a target without job and instance
        target = copy.deepcopy(rows[0])
        target["labels"] = {"__name__": "target_info", "host_name": "h1"}
        target |= {"family": "target_info", "type": "info", "help": "Target metadata", "value": 1}
        rows.append(target)
    return rows


def _normalized(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = copy.deepcopy(rows)
    for row in rows:
        if found := row.get("histogram"):
            for name in ("positive_spans", "negative_spans"):
                found[name] = [
                    [span["Offset"], span["Length"]] if isinstance(span, dict) else list(span)
                    for span in found[name] or ()
                ]
            for name in ("custom_values", "reset_hint"):  # neither is of exponential buckets
                assert not found.pop(name, None)
    return rows


@pytest.mark.parametrize("case", _cases())
def test_points_are_what_prometheus_stores(case: dict[str, Any]) -> None:
    """PO-3, PO-5, PO-7 to PO-11, PO-13, PO-14, PO-16."""
    bench = Bench()
    expected = _as_specified(case["case"], case["prometheus_3_14"])
    found = bench.rows(from_json(case["otlp"]))
    assert _normalized(expected) == _normalized(found)
    assert bool(case["error"]) == bool(bench.dropped)
