"""What a page shows of requests whose outcome in Prometheus 3.14 is known (PO-1 to PO-14)."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mlsysops_pipeline.pdata.otlp_json import decode
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from tests.exporters.prometheus.building import families, serving

VECTORS = (
    Path(__file__).resolve().parents[4] / "shared" / "spec" / "vectors" / "otlp_to_prometheus.jsonl"
)
EXPECTED_DIFFERENCES = {
    "exphist": "text has no native histograms: fixed buckets",
    "exphist_zero_threshold": "the same",
    "stale_gauge": "a series that ended is absent from a page (PO-9)",
    "stale_histogram": "the same",
    "stale_summary": "the same",
    "no_service": "the specification wants target_info here (known disagreement)",
    "duplicate_points": "of two points at one time the first is shown (components, E1)",
}


@cache
def cases() -> dict[str, Any]:
    if not VECTORS.is_file():
        return {}
    rows = map(json.loads, VECTORS.read_text(encoding="utf-8").splitlines())
    return {row["case"]: row for row in rows}


@pytest.mark.skipif(not cases(), reason="the vectors are not beside this checkout")
@pytest.mark.parametrize("name", cases())
async def test_series_are_those_of_prometheus(name: str) -> None:
    case = cases()[name]
    wire = decode(Signal.METRICS, json.dumps(case["otlp"]).encode())
    async with serving() as served:
        await served.exporter.export(Payload(Signal.METRICS, wire))
        page = await served.scrape()
    shown = {
        _key({"__name__": sample.name, **sample.labels}): _word(sample.value)
        for family in families(page)
        for sample in family.samples
    }
    expected = {
        _key(series["labels"]): _word(series.get("value")) for series in case["prometheus_3_14"]
    }
    if name in EXPECTED_DIFFERENCES:
        assert expected != shown
    else:
        assert expected == shown


def _key(labels: dict[str, str]) -> str:
    return json.dumps(labels, sort_keys=True)


def _word(value: Any) -> str:
    if isinstance(value, float | int):
        return "NaN" if math.isnan(value) else str(float(value))
    return {"+Inf": "inf", "-Inf": "-inf"}.get(value, str(value))


def test_every_expected_difference_is_a_case() -> None:
    assert not cases() or cases().keys() >= EXPECTED_DIFFERENCES.keys()
