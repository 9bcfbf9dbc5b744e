"""Whatever metrics are called, and whatever they are, both parsers read every page (TX-*, OM-*)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.prometheus.points import Type
from tests.exporters.prometheus.building import OPEN_METRICS, families, samples
from tests.exporters.prometheus.test_page import Filled

NAMES = [
    *("a", "a_b", "a.b", "a/b", "a_total", "a_total_total", "a_count", "a_sum", "a_bucket"),
    *("a_created", "a_info", "é", "a b", "1a", "a:b", "_", "target_info"),
]
LABELS = ["x", "x.y", "x_y", "x/y", "é", "1x", "_name_"]
VALUES = st.one_of(st.integers(-2, 2).map(float), st.floats())
series = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from([*Type]),
    st.dictionaries(st.sampled_from(LABELS), st.sampled_from(["1", "2", 'q"\\\n,=}']), max_size=2),
    VALUES,
)


@pytest.mark.slow
@pytest.mark.parametrize("escaping", ["underscores", "dots", "values", "allow-utf-8"])
@pytest.mark.parametrize("accept", ["text/plain", OPEN_METRICS], ids=["text", "open"])
@settings(max_examples=30)
@given(given_series=st.lists(series, max_size=12))
def test_every_page_is_read(
    accept: str,
    escaping: str,
    given_series: list[tuple[str, Type, dict[str, str], float]],
) -> None:
    filled = Filled()
    for name, type_, labels, value in given_series:
        if type_ is Type.HISTOGRAM:
            filled.put_histogram(name, 1, 2, 3, **labels)
        elif type_ is not Type.SUMMARY:
            filled.put(name, value, type_, **labels)
    page = filled.page(f"{accept};escaping={escaping}", is_legacy=False)
    samples(page)  # says if one is there twice
    assert page.count("# TYPE ") == len(families(page))
    if escaping != "allow-utf-8":
        assert page.isascii()
