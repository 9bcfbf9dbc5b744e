"""Names of metrics, units and labels (conformance PO-1 to PO-4, PO-12, PO-17), and vectors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.prometheus.escaping import is_legacy_label, is_legacy_name
from mlsysops_pipeline.prometheus.names import (
    Kind,
    Strategy,
    label_name,
    metric_name,
    ucum_unit,
    unit_name,
)

_VECTORS = Path(__file__).parents[4] / "shared" / "spec" / "vectors"
_KINDS = {
    "counter": Kind.COUNTER,
    "updown": Kind.UP_DOWN_COUNTER,
    "exphist": Kind.EXPONENTIAL_HISTOGRAM,
}
_AS_SPECIFIED = (("tibibytes", "tebibytes"), ("kBy", "kilobytes"))
"""Expected differences: the written specification has these words for ``TiBy`` and ``kBy``."""


def _rows(name: str) -> list[dict[str, Any]]:
    path = _VECTORS / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _corrected(text: str) -> str:
    for theirs, specified in _AS_SPECIFIED:
        text = text.replace(theirs, specified)
    return text


@pytest.mark.parametrize(
    "unit",
    [
        "d",
        "h",
        "min",
        "s",
        "ms",
        "us",
        "ns",
        "By",
        "KiBy",
        "MiBy",
        "GiBy",
        "TiBy",
        "kBy",
        "MBy",
        "GBy",
        "TBy",
        "m",
        "V",
        "A",
        "J",
        "W",
        "g",
        "Cel",
        "Hz",
        "%",
        "By/s",
        "m/h",
    ],
)
def test_units_come_back_from_their_words(unit: str) -> None:
    """PI-1, PO-2: by the same table."""
    assert unit == ucum_unit(unit_name(unit))
    assert ("1", "boxes/s", "") == (
        ucum_unit("ratio"),
        ucum_unit("boxes_per_second"),
        ucum_unit(""),
    )


def test_metric_names_and_units_are_those_of_the_vectors() -> None:
    """PO-1, PO-2, PO-3, PO-17, but for the two units that the specification calls otherwise."""
    rows = _rows("metric_names")
    assert len(rows) > 1000
    for row in rows:
        strategy = Strategy(row["strategy"])
        found = metric_name(row["name"], row["unit"], _KINDS[row["type"]], strategy=strategy)
        assert (_corrected(row["out"]), _corrected(row["prom_unit"])) == (
            found,
            unit_name(row["unit"], strategy=strategy),
        ), row


def test_label_names_are_those_of_the_vectors() -> None:
    for row in _rows("label_names"):
        assert row["out"] == label_name(row["in"]), row


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("d", "days"),
        ("h", "hours"),
        ("min", "minutes"),
        ("s", "seconds"),
        ("ms", "milliseconds"),
        ("us", "microseconds"),
        ("ns", "nanoseconds"),
        ("By", "bytes"),
        ("KiBy", "kibibytes"),
        ("MiBy", "mebibytes"),
        ("GiBy", "gibibytes"),
        ("TiBy", "tebibytes"),
        ("kBy", "kilobytes"),
        ("MBy", "megabytes"),
        ("GBy", "gigabytes"),
        ("TBy", "terabytes"),
        ("m", "meters"),
        ("V", "volts"),
        ("A", "amperes"),
        ("J", "joules"),
        ("W", "watts"),
        ("g", "grams"),
        ("Cel", "celsius"),
        ("Hz", "hertz"),
        ("%", "percent"),
        ("m/s", "meters_per_second"),
        ("1/s", "per_second"),
        ("{request}/m", "per_minute"),
        ("By/{call}", "bytes"),
        ("{packet}", ""),
        ("1", ""),
        ("", ""),
    ],
)
def test_units_become_words(unit: str, expected: str) -> None:
    """PO-2: the table, annotations and rates."""
    assert expected == unit_name(unit)
    ending = f"_{expected}" if expected else ""
    assert f"x{ending}" == metric_name("x", unit, Kind.HISTOGRAM)
    assert f"x{ending}_total" == metric_name("x", unit, Kind.COUNTER)


def test_a_name_does_not_repeat_its_unit_or_total() -> None:
    """PO-2, PO-3."""
    assert metric_name("sent.bytes", "By", Kind.COUNTER) == "sent_bytes_total"
    assert metric_name("sent.bytes.total", "By", Kind.COUNTER) == "sent_bytes_total"
    assert metric_name("total.sent", "By", Kind.COUNTER) == "sent_bytes_total"


def test_only_gauges_of_unit_one_are_ratios() -> None:
    """PO-4."""
    assert metric_name("cpu.utilization", "1", Kind.GAUGE) == "cpu_utilization_ratio"
    assert metric_name("cpu.utilization_ratio", "1", Kind.GAUGE) == "cpu_utilization_ratio"
    assert metric_name("requests", "1", Kind.COUNTER) == "requests_total"
    for kind in (Kind.UP_DOWN_COUNTER, Kind.HISTOGRAM, Kind.SUMMARY):
        assert metric_name("x", "1", kind) == "x"
    assert metric_name("x", "1", Kind.GAUGE, strategy=Strategy.UTF8_WITH_SUFFIXES) == "x_ratio"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.UNDERSCORES_WITH_SUFFIXES, "my_app_http_requests_seconds_total"),
        (Strategy.UNDERSCORES_WITHOUT_SUFFIXES, "my_app_http_requests"),
        (Strategy.UTF8_WITH_SUFFIXES, "my-app_http.requests_seconds_total"),
        (Strategy.NO_TRANSLATION, "my-app_http.requests"),
    ],
)
def test_a_namespace_comes_first(strategy: Strategy, expected: str) -> None:
    found = metric_name("http.requests", "s", Kind.COUNTER, strategy=strategy, namespace="my-app")
    assert expected == found


def test_names_of_which_nothing_is_left_are_empty() -> None:
    for name in ("", "@#$%", "é"):
        assert metric_name(name, "", Kind.GAUGE) == ""
    without = Strategy.UNDERSCORES_WITHOUT_SUFFIXES
    assert metric_name("_/_", "", Kind.GAUGE, strategy=without) == ""
    assert label_name("") == ""
    assert label_name("é") == ""


@given(name=st.text(max_size=20), unit=st.text(max_size=6), kind=st.sampled_from(Kind))
def test_escaped_names_are_valid_or_empty(name: str, unit: str, kind: Kind) -> None:
    """PO-1, R1-4."""
    for strategy in (Strategy.UNDERSCORES_WITH_SUFFIXES, Strategy.UNDERSCORES_WITHOUT_SUFFIXES):
        found = metric_name(name, unit, kind, strategy=strategy, namespace="9")
        assert not found or is_legacy_name(found)
    assert "__" not in metric_name(name, unit, kind)
    assert re.fullmatch(r"[a-zA-Z0-9:_]*", unit_name(unit))


@given(key=st.text(max_size=20))
def test_labels_are_valid_or_empty(key: str) -> None:
    """PO-12, R1-4."""
    found = label_name(key)
    assert not found or is_legacy_label(found)
    assert key == label_name(key, strategy=Strategy.NO_TRANSLATION)
