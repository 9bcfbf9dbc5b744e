"""Escaping of UTF-8 names (conformance ES-1)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.prometheus.escaping import Escaping, escape, is_legacy_name

_VECTORS = Path(__file__).parents[4] / "shared" / "spec" / "vectors" / "name_escaping.jsonl"
_AS_SPECIFIED = {
    (Escaping.DOTS, "métric"): "m_tric",
    (Escaping.DOTS, "1abc"): "_abc",
    (Escaping.DOTS, "日本"): "__",
    (Escaping.DOTS, "with space"): "with_space",
    (Escaping.DOTS, "a-b"): "a_b",
    (Escaping.DOTS, "9"): "_",
    (Escaping.DOTS, 'a"b'): "a_b",
    (Escaping.VALUES, "metric.name"): "U__metric_2E_name",
    (Escaping.VALUES, "my_metric.with_under"): "U__my__metric_2E_with__under",
    (Escaping.VALUES, "métric"): "U__m_E9_tric",
    (Escaping.VALUES, "a.b.c"): "U__a_2E_b_2E_c",
    (Escaping.VALUES, "日本"): "U___65E5__672C_",
    (Escaping.VALUES, "a-b"): "U__a_2D_b",
}
"""Expected differences: one underscore in `dots` and upper case in `values`, as is written."""


@pytest.mark.skipif(not _VECTORS.exists(), reason="the vectors stand beside a checkout")
def test_names_are_escaped_as_in_the_vectors() -> None:
    """ES-1."""
    seen = set()
    for line in _VECTORS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        case = (Escaping(row["scheme"]), row["in"])
        found = escape(row["in"], case[0])
        assert _AS_SPECIFIED.get(case, row["out"]) == found, row
        if found != row["out"]:
            seen.add(case)
    assert set(_AS_SPECIFIED) == seen


def test_the_examples_of_the_specification() -> None:
    """ES-1."""
    assert escape("metric.name/with/slashes", Escaping.UNDERSCORES) == "metric_name_with_slashes"
    dotted = "metric_dot_name_dot_with_dot_dots"
    assert dotted == escape("metric.name.with.dots", Escaping.DOTS)
    assert escape("metric.name", Escaping.VALUES) == "U__metric_2E_name"


@given(name=st.text(min_size=1, max_size=30), scheme=st.sampled_from(Escaping))
def test_escaped_names_can_be_read_by_everyone(name: str, scheme: Escaping) -> None:
    """ES-1."""
    found = escape(name, scheme)
    assert found == name if scheme is Escaping.ALLOW_UTF_8 else is_legacy_name(found)


@given(name=st.text(min_size=1, max_size=30))
def test_values_can_be_turned_back(name: str) -> None:
    """ES-1."""
    found = escape(name, Escaping.VALUES)
    if found.startswith("U__") and found != name:
        found = re.sub(
            r"__|_([0-9A-F]+)_",
            lambda match: chr(int(match[1], 16)) if match[1] else "_",
            found.removeprefix("U__"),
        )
    assert name == found
