"""Choosing the format of a page (conformance NG-1, NG-2, TX-3)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.prometheus.escaping import Escaping
from mlsysops_pipeline.prometheus.negotiation import Page, negotiate

_VECTORS = Path(__file__).parents[4] / "shared" / "spec" / "vectors" / "negotiate.jsonl"
_TEXT = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"


@pytest.mark.skipif(not _VECTORS.exists(), reason="the vectors stand beside a checkout")
def test_formats_are_chosen_as_in_the_vectors() -> None:
    """NG-1, NG-2. Expected difference: we have no protobuf, so the next best is chosen."""
    for line in _VECTORS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        expected = _TEXT if "protobuf" in row["format"] else row["format"]
        assert expected == negotiate(row["accept"], open_metrics=True).content_type, row


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "image/png",
        "application/json;q=0.9",
        "application/openmetrics-text;version=7",
        "text/plain;version=9",
        "text/plain;q=nan",
        "text/plain;q=0",
        "application/openmetrics-text;version=1.0.0;q=-1",
        ";;;,,,=;q",
        "\x00\xff",
    ],
)
def test_nothing_usable_is_text_with_underscores(accept: str) -> None:
    """NG-1, TX-3."""
    found = negotiate(accept, open_metrics=True)
    assert (_TEXT, Page.TEXT, Escaping.UNDERSCORES) == (
        found.content_type,
        found.page,
        found.escaping,
    )


def test_open_metrics_only_where_it_is_enabled() -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.1"
    assert negotiate(accept, open_metrics=True).content_type == _OPEN_METRICS
    assert negotiate(accept, open_metrics=False).content_type == _TEXT
    assert negotiate("*/*", open_metrics=False).content_type == _TEXT


def test_the_highest_weight_wins_and_the_first_of_equals() -> None:
    """NG-1."""
    first = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0"
    assert negotiate(first, open_metrics=True).page is Page.TEXT
    later = "text/plain;version=0.0.4;q=0.1,application/openmetrics-text;version=1.0.0;q=0.2"
    assert negotiate(later, open_metrics=True).page is Page.OPEN_METRICS


def test_both_spellings_of_utf_8_are_understood() -> None:
    for scheme in ("allow-utf8", "allow-utf-8"):
        found = negotiate(
            f'application/openmetrics-text; Version="1.0.0"; escaping={scheme}', open_metrics=True
        )
        assert found.escaping is Escaping.ALLOW_UTF_8
        assert found.content_type.endswith("escaping=allow-utf-8")


@given(accept=st.text(max_size=200), open_metrics=st.booleans())
def test_any_header_gets_a_clean_answer(accept: str, open_metrics: bool) -> None:
    """NG-2: nothing of the request is in the answer but what we know."""
    found = negotiate(accept, open_metrics=open_metrics)
    version = "0.0.4" if found.page is Page.TEXT else found.content_type.split("=")[1][:5]
    assert version in {"0.0.4", "1.0.0", "0.0.1"}
    assert found.content_type == (
        f"{found.page.value}; version={version}; charset=utf-8; escaping={found.escaping}"
    )
