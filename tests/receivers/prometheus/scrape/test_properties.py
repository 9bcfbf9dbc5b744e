"""Whatever a target says in a row: the same comes out as if each page were the first.

A page is a list of samples, in an order of its own; from page to page samples come, go and change,
get times and exemplars and lose them. What is remembered of a page must not show in the next one.
"""

from __future__ import annotations

import math
import struct
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_receivers.prometheus.scrape import ScrapeError
from tests.core.prometheus.exposition.pages import open_metrics_pages, text_pages
from tests.receivers.prometheus.scrape.scraping import (
    OPEN_METRICS,
    REPORTS,
    TEXT,
    Bench,
    attributes_of,
    each_metric,
    points_of,
    values_of,
)

_HEADS = [
    "a",
    'a{b="1"}',
    'a{b="2"}',
    'a{b="2",c="3"}',
    'c_total{b="1"}',
    "c_total",
    'h_bucket{le="1"}',
    'h_bucket{le="2"}',
    'h_bucket{le="+Inf"}',
    "h_count",
    "h_sum",
    'h_bucket{b="x",le="1"}',
    'h_count{b="x"}',
    's{quantile="0.5"}',
    "s_count",
    "s_sum",
    'target_info{d="e"}',
    'c_created{b="1"}',
    "h_created",
]
_COMMENTS = ["# TYPE c counter", "# TYPE h histogram", "# TYPE s summary", "# HELP a about it"]
_VALUES = ["0", "1", "2.5", "3", "1e3", "NaN", "+Inf", "-1", "-0.5", "2.7", "1.8e19"]
_TIMES = ["", "", "", "", " 1600000000", " 1600000001.5"]
_EXEMPLARS = ["", "", "", ' # {x="y"} 1', ' # {trace_id="z"} 2 1600000000']


def _pages(seed: int) -> list[str]:
    """Pages of OpenMetrics that differ in some lines."""
    random = Random(seed)  # noqa: S311  no secret
    comments = random.sample(_COMMENTS, random.randint(2, 4))
    lines = [
        [head, random.choice(_VALUES)]
        for head in random.sample(_HEADS, random.randint(1, len(_HEADS)))
    ]
    pages = []
    for _ in range(random.randint(1, 6)):
        for line in lines:
            if random.random() < 0.5:
                line[1] = random.choice(_VALUES)
            if random.random() < 0.1:
                said = random.choice(_TIMES) + random.choice(_EXEMPLARS)
                line[1] = random.choice(_VALUES) + said
        if random.random() < 0.3:
            lines = [line for line in lines if random.random() < 0.8]
            added = [random.choice(_HEADS), random.choice(_VALUES)]
            lines.insert(random.randint(0, len(lines)), added)
        if random.random() < 0.1:
            comments = random.sample(_COMMENTS, random.randint(2, 4))
        pages.append("\n".join([*comments, *[" ".join(line) for line in lines], "# EOF", ""]))
    return pages


def _flat(metrics: list[Any]) -> dict[tuple[Any, ...], Any]:
    """The points that say something, by metric and attributes."""
    return {
        (
            metric.name,
            metric.WhichOneof("data"),
            metric.description,
            frozenset(attributes_of(point).items()),
        ): (point.SerializeToString(deterministic=True))
        for metric in metrics
        if metric.name not in REPORTS
        for point in points_of(metric)
        if not point.flags
    }


def _stale(metrics: list[Any]) -> set[tuple[Any, ...]]:
    return {
        (metric.name, frozenset(attributes_of(point).items()))
        for metric in metrics
        if metric.name not in REPORTS
        for point in points_of(metric)
        if point.flags
    }


def _names(flat: dict[tuple[Any, ...], Any]) -> set[tuple[Any, ...]]:
    return {(key[0], key[3]) for key in flat}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 60))
def test_what_is_remembered_of_a_page_does_not_show_in_the_next(
    seed: int, piece_bytes: int
) -> None:
    """SC-3, PI-4: the template, the look-up and a page read for the first time agree."""
    bench = Bench(honor_timestamps=False)
    before: set[tuple[Any, ...]] = set()
    for page in _pages(seed):
        fresh = Bench(honor_timestamps=False)
        fresh.at_ns = bench.at_ns
        expected = fresh.scrape_all(page, OPEN_METRICS)
        found = bench.scrape_all(page, OPEN_METRICS, piece_bytes)
        points = _flat(each_metric(expected))
        assert points == _flat(each_metric(found))
        assert {*expected.resource_metrics[0].resource.attributes[0].key} == {
            *found.resource_metrics[0].resource.attributes[0].key
        }
        names = _names(points)
        assert before - names >= _stale(each_metric(found)) - names
        assert _stale(each_metric(found)) & names == set()
        assert bench.scraped is not None
        assert fresh.scraped is not None
        for count in ("samples_scraped", "samples_post_relabel", "duplicates", "unmapped"):
            assert getattr(fresh.scraped, count) == getattr(bench.scraped, count), count
        before = names
    assert before == _stale(each_metric(bench.fail()))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_a_failed_scrape_leaves_nothing_behind(seed: int) -> None:
    """SC-2."""
    random = Random(seed)  # noqa: S311  no secret
    bench = Bench(honor_timestamps=False)
    for page in _pages(seed):
        cut = random.randint(0, len(page) - 2)
        with pytest.raises(ScrapeError):
            bench.scrape_all(page[:cut] + "\n\n", OPEN_METRICS)
        bench.fail()
        fresh = Bench(honor_timestamps=False)
        fresh.at_ns = bench.at_ns
        expected = _flat(each_metric(fresh.scrape_all(page, OPEN_METRICS)))
        assert expected == _flat(each_metric(bench.scrape_all(page, OPEN_METRICS)))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.one_of(text_pages(), open_metrics_pages()), st.integers(1, 50))
def test_any_valid_page_in_pieces_is_the_page(page: str, piece_bytes: int) -> None:
    content_type = OPEN_METRICS if page.endswith("# EOF\n") else TEXT
    whole, pieces = Bench(), Bench()
    for _ in range(2):
        assert whole.scrape_all(page, content_type) == pieces.scrape_all(
            page, content_type, piece_bytes
        )


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: f"{value:.6e}"),
    st.integers(-(10**30), 10**30).map(str),
    st.text("0123456789.eE+-,_ ", max_size=6),
    st.sampled_from(["-0", "-0.0", "+1", ".5", "5.", "01", "1e400", "1" * 400, "", "NaN", "0x1"]),
)


@given(st.lists(NUMBERS, max_size=8))
def test_numbers_of_changed_lines_are_those_that_float_reads(texts: list[str]) -> None:
    """However they are written, to the last bit; all or none."""
    bench = Bench()
    names = [f"a{index}" for index in range(len(texts))]

    def page(values: list[str]) -> str:
        return "".join(f"{name} {value}\n" for name, value in zip(names, values, strict=True))

    def outcome(of: Bench) -> list[tuple[str, bytes]] | str:
        try:
            found = of.scrape(page(texts))
        except ScrapeError as error:
            return str(error)
        return [
            (name, struct.pack("<d", math.nan if value is None else value))
            for name, metric in found.items()
            for value in values_of(metric).values()
        ]

    bench.scrape(page(["0"] * len(texts)))
    assert outcome(Bench()) == outcome(bench)
