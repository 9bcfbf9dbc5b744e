"""Reading samples off a Prometheus text page."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.query import AnswerError, NoAnswerError, QueryError, Vector
from mlsysops_pipeline.query.exposition import LINE_CHARS_MAX, PageReader, Wanted

VECTORS = Path(__file__).parents[4] / "shared" / "spec" / "vectors" / "exposition_parse.jsonl"
NOW_S = 1_800_000_000.5


def read(
    page: str, name: str, piece_chars: int = 1 << 20, *, om: bool = False, **labels: Any
) -> Vector:
    reader = PageReader(Wanted(name, labels), NOW_S, is_open_metrics=om)
    for at in range(0, len(page), piece_chars):
        reader.feed(page[at : at + piece_chars])
    return reader.result()


def plain(vector: Vector) -> list[tuple[dict[str, str], float]]:
    return [(dict(sample.labels), sample.value) for sample in vector]


PAGE = """\
# HELP load The load.
# TYPE load gauge
load{node="a",zone="x"} 1.5
load{node="b"} 2 1700000000123
load{zone="x\\\\\\"\\n,}\\t",node="ab"} +Inf
load_max{node="a"} 9
# TYPE "http.load" gauge
{"http.load",node="a","http.method"="GET"} 7
{node="b", "http.load"} NaN
loads 3
 spaced { node = "a" , } 4
"""


def test_a_name_means_that_name_only() -> None:
    assert [1.5, 2.0, math.inf] == [sample.value for sample in read(PAGE, "load")]
    assert [9.0] == [sample.value for sample in read(PAGE, "load_max")]


def test_labels_match_exactly_and_others_may_be_there() -> None:
    assert [1.5] == [s.value for s in read(PAGE, "load", node="a")]
    assert [] == [s.value for s in read(PAGE, "load", node="A")]
    assert [] == [s.value for s in read(PAGE, "load", node="a", zone="y")]
    assert [2.0] == [s.value for s in read(PAGE, "load", zone="")]


def test_escapes_of_values_are_undone() -> None:
    (sample,) = read(PAGE, "load", node="ab")

    assert {"__name__": "load", "zone": 'x\\"\n,}\\t', "node": "ab"} == sample.labels


def test_names_in_quotes() -> None:
    first, second = read(PAGE, "http.load")

    assert {"__name__": "http.load", "node": "a", "http.method": "GET"} == first.labels
    assert {"__name__": "http.load", "node": "b"} == second.labels
    get: dict[str, Any] = {"http.method": "GET"}
    assert [7.0] == [s.value for s in read(PAGE, "http.load", **get)]


def test_a_sample_has_its_own_time_or_that_of_reading() -> None:
    times = [sample.timestamp_s for sample in read(PAGE, "load")]
    seconds = read("load 1 1700000000.123\n# EOF\n", "load", om=True)

    assert [NOW_S, 1_700_000_000.123, NOW_S] == pytest.approx(times, abs=1e-6)
    assert 1_700_000_000.123 == seconds.samples[0].timestamp_s


def test_spaces_may_stand_where_the_format_has_them() -> None:
    assert [({"__name__": "spaced", "node": "a"}, 4.0)] == plain(read(PAGE, "spaced"))


def test_exemplars_are_passed_over() -> None:
    page = (
        'n_bucket{le="1"} 3 # {trace_id="a # } b"} 0.5 1700000000.1\n'
        'n_bucket{le="+Inf"} 4 1.5 # {} 1\n# EOF\n'
    )

    assert [(3.0, NOW_S), (4.0, 1.5)] == [
        (s.value, s.timestamp_s) for s in read(page, "n_bucket", om=True)
    ]


def test_of_a_series_that_stands_there_twice_the_newest_counts() -> None:
    assert [3.0] == [s.value for s in read("a 1 5\na 3 9\na 2 7\n", "a")]
    assert [2.0] == [s.value for s in read("a 1\na 2\n", "a")]


def test_what_is_not_asked_for_may_be_broken() -> None:
    assert [1.0] == [s.value for s in read("b what\n!!\nb{\n{\na 1\n", "a")]


@pytest.mark.parametrize(
    "line",
    [
        "a", "a ", "a x", "a 1_0", "a 0x1", 'a{b="c} 1', 'a{b="c",,d="e"} 1', "a{b} 1",
        'a{"b"} 1', 'a{"b","c"} 1', 'a{1="b"} 1', "a 1 2 3", "a 1 2.5", "a 1 NaN",
        "a 1 " + "9" * 18,
        "a {count:4,sum:6}", '{"a" 1', '{"a","a"} 1',
    ],
)  # fmt: skip
def test_a_broken_line_of_the_wanted_metric_is_an_error(line: str) -> None:
    with pytest.raises(AnswerError, match="line 2 of the page"):
        read(f"b 1\n{line}\n", "a")


def test_a_line_without_end_is_not_gathered() -> None:
    with pytest.raises(AnswerError, match="line 1 of the page is longer than"):
        read("a" * 3 * LINE_CHARS_MAX, "a", 1000)


def test_an_open_metrics_page_without_its_end_is_incomplete() -> None:
    with pytest.raises(NoAnswerError, match="has no # EOF"):
        read("a 1\n", "a", om=True)


def test_windows_line_ends() -> None:
    assert [1.0, 2.0] == [s.value for s in read('a{b="1"} 1\r\na{b="2"} 2\r\n', "a")]


@settings(max_examples=50)
@given(st.text(alphabet='a{}"\\ \t\n#=,1.e+NI_\u00e9', max_size=60), st.integers(1, 9))
def test_any_text_is_an_answer_or_a_query_error(page: str, piece: int) -> None:
    whole: object
    pieces: object
    try:
        whole = plain(read(page, "a"))
    except QueryError as error:
        whole = str(error)
    try:
        pieces = plain(read(page, "a", piece))
    except QueryError as error:
        pieces = str(error)

    assert repr(whole) == repr(pieces)


@settings(max_examples=30)
@given(
    st.dictionaries(st.text("ab_9", min_size=1).map("l".__add__), st.text(min_size=1), max_size=3),
    st.floats(),
)
def test_what_the_reference_writer_would_write_is_read(
    labels: dict[str, str], value: float
) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    text = "a{" + ",".join(f'{k}="{escaped(v)}"' for k, v in labels.items()) + f"}} {value!r}"
    (sample,) = read(text, "a")

    assert ({"__name__": "a", **labels}, repr(value)) == (sample.labels, repr(sample.value))


def cases() -> list[Any]:
    if not VECTORS.exists():
        return []
    lines = VECTORS.read_text(encoding="utf-8").splitlines()
    return [pytest.param(case, id=case["source"]) for case in map(json.loads, lines)]


Found = list[tuple[list[tuple[str, str]], str]]


def _expected(case: dict[str, Any]) -> dict[str, Found]:
    """Of every metric its series, with the value that has the newest time."""
    unit = 1e-3
    newest: dict[str, dict[str, tuple[dict[str, str], str, float]]] = {}
    for entry in case["entries"]:
        if "labels" not in entry:
            continue
        labels = {key: value for key, value in entry["labels"].items() if value}
        time_s = entry["ts_ms"] * unit if "ts_ms" in entry else NOW_S
        series = newest.setdefault(labels["__name__"], {})
        key = str(_canonical(labels))
        if key not in series or time_s >= series[key][2]:
            series[key] = labels, repr(float(entry["value"])), time_s
    return {
        name: [(_canonical(labels), value) for labels, value, _ in series.values()]
        for name, series in newest.items()
    }


def _canonical(labels: dict[str, str]) -> list[tuple[str, str]]:
    """Prometheus 3 writes bounds as floats; a page has them as its writer liked."""

    def bound(text: str) -> str:
        try:
            return repr(float(text))
        except ValueError:
            return text

    return sorted((k, bound(v) if k in {"le", "quantile"} else v) for k, v in labels.items())


@pytest.mark.skipif(not VECTORS.exists(), reason="the vectors stand beside a checkout")
@pytest.mark.parametrize("case", cases())
def test_pages_are_read_as_prometheus_reads_them(case: dict[str, Any]) -> None:
    is_open_metrics = case["content_type"].startswith("application/openmetrics")
    if not case["prometheus_accepts"]:
        for name in ("a", "metric", "nh"):
            with suppress(QueryError):  # laxer with what is not asked for, never surprised
                read(case["input"], name, om=is_open_metrics)
        return
    for name, series in _expected(case).items():
        if any(
            abs(entry.get("ts_ms", 0)) > 9e12 and entry["labels"]["__name__"] == name
            for entry in case["entries"]
        ):
            with pytest.raises(AnswerError, match="has no time"):  # nanoseconds do not reach there
                read(case["input"], name, om=is_open_metrics)
            continue
        found = read(case["input"], name, om=is_open_metrics)
        got = [(_canonical(dict(s.labels)), repr(s.value)) for s in found]
        assert sorted(series) == sorted(got)
