"""Limits, samples that are left out, bad pages (conformance SC-2, SC-6)."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

from mlsysops_receivers.prometheus.scrape import FEED_BYTES, ScrapeError
from mlsysops_receivers.prometheus.scrape.series import Series
from tests.receivers.prometheus.scrape.scraping import (
    OPEN_METRICS,
    Bench,
    metrics_of,
    points_of,
    values_of,
)


@pytest.mark.parametrize(
    ("options", "page", "message"),
    [
        ({"sample_limit": 2}, "a 1\nb 2\nc 3\n", "sample_limit exceeded: 3 samples, 2 allowed"),
        ({"label_limit": 3}, 'a{b="1"} 1\n', "label_limit exceeded: a has 4 labels"),
        ({"label_name_length_limit": 8}, 'a{bcdefghij="1"} 1\n', "label_name_length_limit"),
        ({"label_value_length_limit": 13}, 'a{b="12345678901234"} 1\n', "has 14 bytes"),
        ({"samples_max": 2}, "a 1\nb 2\nc 3\n", "more than 2 samples"),
        ({"samples_max": 2}, "\n" * 9, "more than 8 lines"),
        ({"page_bytes_max": 9}, "a 1\nb 2\nccccccc 3\n", "more than 9 bytes"),
        ({"line_bytes_max": 9}, "a 1\nbbbbbbbbbb 2\n", "a line of more than 9 bytes"),
    ],
)
def test_a_limit_fails_the_whole_scrape(options: dict[str, Any], page: str, message: str) -> None:
    """SC-6: also of a page that grew since the last one."""
    with pytest.raises(ScrapeError, match=message):
        Bench(**options).scrape(page)
    bench = Bench(**options)
    bench.scrape("a 1\n")
    with pytest.raises(ScrapeError, match=message):
        bench.scrape("a 1\n" + page.removeprefix("a 1\n"))
    assert {"a": None} == {
        name: None
        for name, metric in metrics_of(bench.fail()).items()
        if None in values_of(metric).values()
    }


def test_a_limit_counts_what_relabelling_keeps() -> None:
    """SC-6: and says how many there are."""

    def keep_a(labels: dict[str, str]) -> dict[str, str] | None:
        return labels if labels["__name__"].startswith("a") else None

    page = "a1 1\nb 1\na2 1\nb2 1\n"
    assert {"a1", "a2"} == Bench(sample_limit=2, relabel=keep_a).scrape(page).keys()
    bench = Bench(sample_limit=1, relabel=keep_a)
    with pytest.raises(ScrapeError, match="sample_limit"):
        bench.scrape(page)
    metrics = metrics_of(bench.fail())
    assert [4.0, 2.0] == [
        points_of(metrics[f"scrape_samples_{name}"])[0].as_double
        for name in ("scraped", "post_metric_relabeling")
    ]


def test_the_sample_that_a_limit_of_labels_refuses_was_scraped() -> None:
    """SC-6: it counts, as in Prometheus."""
    bench = Bench(label_limit=3)
    with pytest.raises(ScrapeError, match="line 2: label_limit"):
        bench.scrape('a 1\nb{c="1"} 1\nd 1\n')
    assert 2.0 == points_of(metrics_of(bench.fail())["scrape_samples_scraped"])[0].as_double


def test_the_first_of_two_samples_of_a_series_is_kept() -> None:
    """SC-2: also if only its labels are the same; also on pages that repeat it."""
    page = 'a 1\na 2\nb{c="1",d="2"} 3\nb{d="2",c="1"} 4\nx 0\n'
    bench = Bench(sample_limit=4)
    for number in range(3):
        metrics = bench.scrape(page.replace("a 2", f"a {number + 5}"))
        assert ({"": 1.0}, {"c=1,d=2": 3.0}) == (values_of(metrics["a"]), values_of(metrics["b"]))
        assert bench.scraped is not None
        assert (5, 5, 2) == (
            bench.scraped.samples_scraped,
            bench.scraped.samples_post_relabel,
            bench.scraped.duplicates,
        )
    # Without the first ones, the second ones count, and nothing went.
    metrics = bench.scrape('a 2\nb{d="2",c="1"} 4\nx 0\n')
    assert ({"": 2.0}, {"c=1,d=2": 4.0}) == (values_of(metrics["a"]), values_of(metrics["b"]))


def test_a_sample_with_a_label_twice_is_left_out() -> None:
    bench = Bench()
    for _ in range(2):
        assert {"b"} == bench.scrape('a{b="1",b="2"} 1\na{__name__="c"} 1\nb 1\n').keys()
        assert bench.scraped is not None
        assert (3, 1, 2) == (
            bench.scraped.samples_scraped,
            bench.scraped.samples_post_relabel,
            bench.scraped.rejected,
        )


def test_times_are_kept_in_order_and_in_bounds() -> None:
    """SC-2: an old or a future sample is left out and counted, the others stay."""
    bench = Bench()
    now_ms = bench.at_ns // 10**6
    second = 1000

    def scrape(*times: int) -> tuple[list[int], tuple[int, int, int]]:
        lines = [f"a {number} {time}" for number, time in enumerate(times)]
        metrics = bench.scrape("\n".join([*lines, "b 1", ""]))
        assert {"": 1.0} == values_of(metrics["b"])
        points = points_of(metrics["a"]) if "a" in metrics else []
        scraped = bench.scraped
        assert scraped is not None
        counts = (scraped.out_of_order, scraped.out_of_bounds, scraped.duplicates)
        return [point.time_unix_nano // 10**6 for point in points], counts

    assert ([now_ms], (0, 0, 0)) == scrape(now_ms)
    assert ([], (1, 0, 0)) == scrape(now_ms - 1)
    assert ([now_ms], (0, 0, 0)) == scrape(now_ms)
    assert ([], (0, 1, 0)) == scrape(now_ms + 3600 * second)
    assert ([now_ms + 5, now_ms + 6], (1, 0, 1)) == scrape(
        now_ms + 5, now_ms + 6, now_ms + 6, now_ms + 4
    )
    assert ([now_ms + 300 * second], (0, 0, 0)) == scrape(now_ms + 300 * second)
    # The present is before that.
    metrics = bench.scrape("a 1\nb 1\n")
    assert "a" not in metrics
    assert bench.scraped is not None
    assert 1 == bench.scraped.out_of_order


def test_times_of_open_metrics_that_nothing_can_say_are_out_of_bounds() -> None:
    """OM-3."""
    bench = Bench()
    metrics = bench.scrape("a 1 1e300\nb 1 -1\nc 1 1.5\n# EOF\n", OPEN_METRICS)
    assert {"c"} == metrics.keys()
    assert 1_500_000_000 == points_of(metrics["c"])[0].time_unix_nano
    assert bench.scraped is not None
    assert 2 == bench.scraped.out_of_bounds


def test_times_are_ignored_where_they_are_not_honoured() -> None:
    bench = Bench(honor_timestamps=False)
    for number in (5, 4):
        [point] = points_of(bench.scrape(f"a 1 {number}\n")["a"])
        assert bench.at_ns == point.time_unix_nano


def test_a_histogram_with_times_is_one_point_at_its_time() -> None:
    """PI-2, PI-4."""
    bench = Bench()
    now_ms = bench.at_ns // 10**6
    page = '# TYPE a histogram\na_bucket{{le="1"}} 1 {0}\na_count 2 {0}\na_sum 3 {0}\n'
    for time in (now_ms, now_ms + 1):
        [point] = points_of(bench.scrape(page.format(time))["a"])
        assert time * 10**6 == point.time_unix_nano
        assert [1, 1] == list(point.bucket_counts)
    assert "a" not in bench.scrape(page.format(now_ms))


@pytest.mark.slow
def test_errors_name_the_line_wherever_it_is_found() -> None:
    """SC-2: among lines that were met, looked up, wait, or are only counted."""
    lines = [f"a{number} 1" for number in range(900)]
    for sample_limit in (0, 900, 5):
        for piece_bytes in (100, 1 << 20):
            for bad in ("a300 x", "y" * 70_000):
                bench = Bench(sample_limit=sample_limit)
                if sample_limit != 5:
                    bench.scrape("\n".join(lines))
                page = "\n".join(["new 1", *lines[1:600], bad, *lines[600:], ""])
                with pytest.raises(ScrapeError, match=r"^line 601: "):
                    bench.scrape(page, piece_bytes=piece_bytes)


def test_relabelling_that_takes_the_name_fails_the_scrape() -> None:
    def unnamed(labels: dict[str, str]) -> dict[str, str]:
        del labels["__name__"]
        return labels

    with pytest.raises(ScrapeError, match=r"^line 1: relabelling left no name of 'a'"):
        Bench(relabel=unnamed).scrape("a 1\n")


@pytest.mark.parametrize(
    "page", [b"<html><body>404</body></html>\n", b'a 1\nb{c="\xff"} 1\n', b"\x00\x01", b"\x1f\x8b"]
)
def test_pages_that_are_none(page: bytes) -> None:
    """SC-2."""
    with pytest.raises(ScrapeError, match=r"^line "):
        Bench().scrape(page)


@pytest.mark.slow
def test_a_huge_page_takes_no_more_memory_than_its_limits() -> None:
    """SC-2, SC-6: neither do lines that are always new."""
    bench = Bench(samples_max=500)
    line = 'a_metric_of_usual_length{{code="200",handler="/api/v1/{}"}} 12345\n'
    page = "".join(line.format(number) for number in range(500)).encode()
    tracemalloc.start()
    try:
        bench.scrape(page, piece_bytes=FEED_BYTES)
        assert tracemalloc.get_traced_memory()[0] / 500 < 2000
    finally:
        tracemalloc.stop()
    for turn in range(1, 5):
        bench.scrape(page.replace(b"v1/", b"v%d/" % turn), piece_bytes=FEED_BYTES)
    assert 500 == len(bench.series)
    scrape = bench.series.begin("text/plain", bench.at_ns)
    for number in range(500):
        scrape.feed(line.format(f"x{number}").encode())
    with pytest.raises(ScrapeError, match="more than 500 samples"):
        scrape.feed(page)
    bench.fail()
    gc.collect()
    living = [each for each in gc.get_objects() if isinstance(each, Series)]
    ours = [each for each in living if each.name == "a_metric_of_usual_length"]
    assert len(ours) <= 1001  # with those of the page that failed


def test_names_that_come_and_go_are_forgotten() -> None:
    """SC-3: nothing grows with what was."""
    bench = Bench()
    for turn in range(40):
        lines = [f"name{turn}_{number} 1" for number in range(100)]
        bench.scrape("\n".join(["# TYPE a gauge", *lines, ""]))
    layout = bench.series._layout
    assert len(layout.families) < 2000
    assert 100 == len(layout.by_key) == len(layout.by_head)
