"""Series that go, scrapes that fail, targets that go (conformance SC-2, SC-3, PI-8)."""

from __future__ import annotations

import pytest

from mlsysops_receivers.prometheus.scrape import ScrapeError
from tests.receivers.prometheus.scrape.scraping import (
    OPEN_METRICS,
    REPORT,
    REPORTS,
    TEXT,
    Bench,
    attributes_of,
    each_metric,
    metrics_of,
    points_of,
    values_of,
)

_PAGE = """# TYPE a counter
a{b="1"} 1
a{b="2"} 2
# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="+Inf"} 2
h_count 2
h_sum 3
# TYPE s summary
s{quantile="0.5"} 1
s_count 2
s_sum 3
"""


def test_a_series_that_goes_is_marked_once() -> None:
    """SC-3, PI-8."""
    bench = Bench()
    bench.scrape(_PAGE)
    without = _PAGE.replace('a{b="1"} 1\n', "")
    metrics = bench.scrape(without)
    assert {"b=1": None, "b=2": 2.0} == values_of(metrics["a"])
    [_, marker] = points_of(metrics["a"])
    assert (1, bench.at_ns, False) == (
        marker.flags,
        marker.time_unix_nano,
        marker.HasField("as_double"),
    )
    assert {"b=2": 2.0} == values_of(bench.scrape(without)["a"])
    assert {"b=1": 1.0, "b=2": 2.0} == values_of(bench.scrape(_PAGE)["a"])


def test_a_metric_that_goes_is_marked_with_bounds_and_quantiles() -> None:
    """SC-3, PI-8: who reads it knows all the series that it stands for."""
    bench = Bench()
    bench.scrape(_PAGE)
    metrics = bench.scrape("b 1\n")
    assert {"a", "h", "s", "b"} == metrics.keys()
    assert {"b=1": None, "b=2": None} == values_of(metrics["a"])
    [point] = points_of(metrics["h"])
    assert (1, 0, [1.0], [0, 0]) == (
        point.flags,
        point.count,
        list(point.explicit_bounds),
        list(point.bucket_counts),
    )
    [point] = points_of(metrics["s"])
    assert (1, 0, [0.5]) == (
        point.flags,
        point.count,
        [pair.quantile for pair in point.quantile_values],
    )
    assert {"b"} == bench.scrape("b 1\n").keys()


def test_an_empty_page_is_a_scrape_in_which_all_went() -> None:
    """SC-3."""
    bench = Bench()
    bench.scrape(_PAGE)
    assert {"a", "h", "s"} == bench.scrape("").keys()
    assert {} == bench.scrape("")


@pytest.mark.parametrize("by_value", [True, False])
@pytest.mark.parametrize("piece_bytes", [7, 1 << 20])
def test_nothing_of_a_page_is_kept_whose_last_line_is_wrong(
    by_value: bool, piece_bytes: int
) -> None:
    """SC-2, OM-5: and all that was there is marked, once."""
    bench = Bench()
    bench.scrape(_PAGE)
    changed = _PAGE.replace('a{b="1"} 1', 'a{b="1"} 7')
    bad = changed.replace("s_sum 3", "s_sum x") if by_value else changed + "c{\n"
    with pytest.raises(ScrapeError, match=r"^line 1[234]: "):
        bench.scrape(bad, piece_bytes=piece_bytes)
    metrics = metrics_of(bench.fail())
    assert {"a", "h", "s"} == metrics.keys() - REPORTS
    assert {"b=1": None, "b=2": None} == values_of(metrics["a"])
    assert {"": 0.0} == values_of(metrics["up"])
    assert REPORTS > metrics_of(bench.fail()).keys()
    metrics = bench.scrape(_PAGE)
    assert {"b=1": 1.0, "b=2": 2.0} == values_of(metrics["a"])
    assert [[1, 1]] == [list(point.bucket_counts) for point in points_of(metrics["h"])]


def test_what_went_during_a_failure_is_not_marked_again() -> None:
    """SC-2, SC-3."""
    bench = Bench()
    bench.scrape(_PAGE)
    bench.fail()
    assert {"b=2": 2.0} == values_of(bench.scrape(_PAGE.replace('a{b="1"} 1\n', ""))["a"])


def test_a_failure_says_how_far_it_came() -> None:
    """SC-1, SC-2."""
    bench = Bench()
    with pytest.raises(ScrapeError):
        bench.scrape("a 1\nb 2\nc x\n")
    metrics = metrics_of(bench.fail())
    assert [2.0, 2.0, 0.0] == [
        points_of(metrics[f"scrape_{name}"])[0].as_double
        for name in ("samples_scraped", "samples_post_metric_relabeling", "series_added")
    ]
    # A scrape that had no page knows nothing of the one before.
    metrics = metrics_of(bench.fail())
    assert 0.0 == points_of(metrics["scrape_samples_scraped"])[0].as_double


@pytest.mark.slow
def test_a_page_that_is_not_finished_leaves_nothing_behind() -> None:
    """SC-2: a scrape that is given up in the middle of its steps, or before."""
    lines = [f'a{{b="{number}"}} 1\n' for number in range(1200)]
    lines += [f'b{{c="{number}"}} 1 1700000000000\n' for number in range(5)]
    page = "".join(lines)
    bench = Bench()
    bench.scrape(page)
    steps = 0
    is_finished = False
    while not is_finished:
        scrape = bench.series.begin(TEXT, bench.at_ns)
        scrape.feed("".join(lines[1:]).encode())
        finishing = scrape.finishing(REPORT)
        for _ in range(steps):
            is_finished = next(finishing, finishing) is not None
        finishing.close()
        metrics = bench.scrape(page)
        values = values_of(metrics["a"])
        assert (1200, {1.0}) == (len(values), {*values.values()})
        assert 5 == len(points_of(metrics["b"]))
        steps += 1
    assert steps > 5
    # A time-out is no fault of the page.
    scrape = bench.series.begin(TEXT, bench.at_ns)
    scrape.feed(b"x 1\n")
    metrics = {metric.name: metric for metric in each_metric(bench.fail())}
    assert 0.0 == points_of(metrics["scrape_samples_scraped"])[0].as_double


def test_a_target_that_goes_takes_its_report_series_along() -> None:
    """SC-3: and is forgotten."""
    bench = Bench({"job": "j", "instance": "i", "zone": "z"})
    assert b"" == bench.series.end(bench.at_ns)
    bench.scrape(_PAGE)
    metrics = metrics_of(bench.end())
    assert {"a", "h", "s"} == metrics.keys() - REPORTS
    assert {"zone=z": None} == values_of(metrics["up"])
    assert [{"zone": "z"}] == [attributes_of(point) for point in points_of(metrics["h"])]
    assert (b"", 0) == (bench.series.end(bench.at_ns), len(bench.series))


def test_series_with_explicit_times_are_not_marked_by_default() -> None:
    """SC-3."""
    page = "a 1 1700000000000\nb 2 1700000000000\n"
    bench = Bench()
    bench.scrape(page)
    assert {"b"} == bench.scrape("b 2 1700000001000\n").keys()
    assert REPORTS > metrics_of(bench.fail()).keys()
    bench = Bench(track_timestamps_staleness=True)
    bench.scrape(page)
    assert {"a", "b"} == bench.scrape("b 2 1700000001000\n").keys()
    # Without its time, a series is as any other.
    bench = Bench(honor_timestamps=False)
    bench.scrape(page)
    assert {"a", "b"} == bench.scrape("b 2 1700000001000\n").keys()


def test_a_series_that_is_only_written_otherwise_did_not_go() -> None:
    """SC-3: labels in another order, another format, another type."""
    bench = Bench()
    bench.scrape('a{b="1",c="2"} 1\n')
    assert {"b=1,c=2": 1.0} == values_of(bench.scrape('a{c="2", b="1"} 1\n')["a"])
    assert {"b=1,c=2": 1.0} == values_of(
        bench.scrape('a{b="1",c="2"} 1\n# EOF\n', OPEN_METRICS)["a"]
    )
    metrics = bench.scrape('# TYPE a counter\na{b="1",c="2"} 1\n')
    assert {"b=1,c=2": 1.0} == values_of(metrics["a"])


def test_a_page_in_another_format_is_read_by_its_rules() -> None:
    """OM-1: what is known of a line in text 0.0.4 is not what OpenMetrics allows."""
    bench = Bench()
    bench.scrape("a 1\n")
    with pytest.raises(ScrapeError, match=r"^line 2: the page does not end"):
        bench.scrape("a 1\n", OPEN_METRICS)
    with pytest.raises(ScrapeError, match=r"^line 3: something after"):
        bench.scrape("a 1\n# EOF\na 1\n", OPEN_METRICS)
    bench.scrape("a 1\n# EOF\n", OPEN_METRICS)
    with pytest.raises(ScrapeError, match=r"^line 3: something after"):
        bench.scrape("a 1\n# EOF\na 1\n", OPEN_METRICS)
