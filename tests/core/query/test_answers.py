"""The JSON of PromQL servers, whole and in pieces, right and wrong."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.query import (
    AnswerError,
    Bucket,
    ExpressionError,
    Matrix,
    NoAnswerError,
    PartialAnswerError,
    QueryError,
    Scalar,
    String,
    Vector,
)
from mlsysops_pipeline.query.answers import AnswerReader
from mlsysops_pipeline.query.json_text import VALUE_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlsysops_pipeline.query import Result

T0 = 1_700_000_000


def read(text: str, piece_chars: int = 1 << 20, *, allow_partial: bool = False) -> Result:
    reader = AnswerReader(allow_partial=allow_partial)
    for at in range(0, len(text), piece_chars):
        reader.feed(text[at : at + piece_chars])
    return reader.result()


def answer(kind: str, result: Any, **members: Any) -> str:
    """As Prometheus writes it: no spaces."""
    whole = {"status": "success", "data": {"resultType": kind, "result": result}, **members}
    return json.dumps(whole, separators=(",", ":"))


def vector(*samples: tuple[dict[str, str], str]) -> str:
    return answer("vector", [{"metric": m, "value": [T0 + 0.123, v]} for m, v in samples])


def matrix(*series: tuple[dict[str, str], Sequence[tuple[float, str]]], **members: Any) -> str:
    return answer(
        "matrix", [{"metric": m, "values": [list(p) for p in ps]} for m, ps in series], **members
    )


def test_a_vector_has_labels_times_and_values() -> None:
    result = read(vector(({"__name__": "up", "job": "a"}, "1"), ({"job": "b"}, "-2.5e-3")))

    assert isinstance(result, Vector)
    assert [
        ("up", {"__name__": "up", "job": "a"}, T0 + 0.123, 1.0),
        ("", {"job": "b"}, T0 + 0.123, -0.0025),
    ] == [(s.name, s.labels, s.timestamp_s, s.value) for s in result]


def test_numbers_that_json_has_not_come_as_text() -> None:
    result = read(vector(*(({"v": text}, text) for text in ("NaN", "+Inf", "-Inf"))))

    assert isinstance(result, Vector)
    nan, plus, minus = (sample.value for sample in result)
    assert (True, math.inf, -math.inf) == (math.isnan(nan), plus, minus)


def test_a_matrix_keeps_every_point_and_invents_none() -> None:
    """A series that went stale and came back has a gap, not a value."""
    points = [(T0, "1"), (T0 + 15, "2"), (T0 + 60.5, "NaN")]
    result = read(matrix(({"job": "a"}, points), ({"job": "b"}, points[:1])))

    assert isinstance(result, Matrix)
    first, second = result
    assert [T0, T0 + 15, T0 + 60.5] == list(first.times)
    assert [(T0, 1.0), (T0 + 15, 2.0)] == list(first.points())[:2]
    assert math.isnan(first.numbers[2])
    assert [(T0, 1.0)] == list(second.points())


def test_series_with_the_same_times_share_them() -> None:
    points = [(T0 + 15 * step, str(step)) for step in range(300)]
    result = read(matrix(*(({"i": str(i)}, points) for i in range(3))), 1000)

    assert isinstance(result, Matrix)
    assert 1 == len({id(series.times) for series in result})


@pytest.mark.parametrize("piece_chars", [700, 1 << 20])
@pytest.mark.parametrize(("first", "count"), [(0, 299), (1, 300), (0, 301), (0, 1), (150, 300)])
def test_series_with_other_times_keep_theirs(first: int, count: int, piece_chars: int) -> None:
    all_points = [(T0 + 15 * step, str(step)) for step in range(450)]
    points = {"a": all_points[:300], "b": all_points[first : first + count]}
    points["c"] = [*points["b"][:-1], (T0 + 10_000, "1")]
    result = read(matrix(*(({"i": i}, some) for i, some in points.items())), piece_chars)

    assert isinstance(result, Matrix)
    for series in result:
        assert [(at, float(text)) for at, text in points[series.labels["i"]]] == list(
            series.points()
        )


def test_scalars_and_strings() -> None:
    scalar = read(answer("scalar", [T0, "+Inf"]))
    string = read(answer("string", [T0 + 0.5, "hello"]))

    assert (Scalar(T0, math.inf), String(T0 + 0.5, "hello")) == (scalar, string)


@pytest.mark.parametrize("empty", ["[]", "null", "[ ]"])
@pytest.mark.parametrize(("kind", "wanted"), [("vector", Vector()), ("matrix", Matrix())])
def test_no_series_is_an_answer(empty: str, kind: str, wanted: Result) -> None:
    text = f'{{"status":"success","data":{{"resultType":"{kind}","result":{empty}}}}}'

    assert wanted == read(text)


def test_native_histograms_are_typed() -> None:
    histogram = {
        "count": "3",
        "sum": "+Inf",
        "buckets": [[0, "1", "2", "1"], [1, "-2", "-1", "1"], [3, "-0.5", "0.5", "1"]],
    }
    sample = read(answer("vector", [{"metric": {}, "histogram": [T0, histogram]}]))
    series = read(
        answer("matrix", [{"metric": {}, "values": [], "histograms": [[T0, histogram]] * 2}])
    )

    assert isinstance(sample, Vector)
    assert isinstance(series, Matrix)
    one = sample.samples[0].histogram
    assert one is not None
    assert (3.0, math.inf) == (one.count, one.sum)
    assert (
        Bucket(1, 2, 1, includes_left=False, includes_right=True),
        Bucket(-2, -1, 1, includes_left=True, includes_right=False),
        Bucket(-0.5, 0.5, 1, includes_left=True, includes_right=True),
    ) == one.buckets
    assert math.isnan(sample.samples[0].value)
    assert [one, one] == [point.histogram for point in series.series[0].histograms]


def test_warnings_infos_and_unknown_members_in_any_order() -> None:
    """VictoriaMetrics writes other members, and Thanos other orders."""
    text = """
    { "warnings": ["w1", "w2"], "isPartial": false, "stats": {"seriesFetched": "1"},
      "data": { "stats": [1, [2]], "result": [
        { "value": [ 1700000000, "1" ], "group": 1, "metric": { "a": "b" } } ,
        { "value": [ 1700000000, "2" ], "metric": { } } ],
      "resultType": "vector" }, "infos": ["i"], "status": "success" }
    """
    result = read(text)

    assert isinstance(result, Vector)
    assert ((("w1", "w2"), ("i",)), [1.0, 2.0]) == (
        (result.warnings, result.infos),
        [sample.value for sample in result],
    )


def test_missing_data_is_an_error_unless_allowed() -> None:
    text = matrix(({}, [(T0, "1")]), isPartial=True, warnings=["one store is away"])

    with pytest.raises(PartialAnswerError, match="one store is away") as caught:
        read(text)
    allowed = read(text, allow_partial=True)

    assert caught.value.result == allowed
    assert allowed.is_partial


def test_an_error_carries_the_words_of_the_server() -> None:
    text = '{"status":"error","errorType":"bad_data","error":"parse error: \\"x\\"","data":null}'

    with pytest.raises(ExpressionError, match='parse error: "x"') as caught:
        read(text)
    assert "bad_data" == caught.value.kind


LABELS = st.dictionaries(st.text(max_size=6), st.text(max_size=8), max_size=4)
NUMBERS = st.floats()
POINTS = st.lists(NUMBERS, max_size=30)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(LABELS, POINTS), max_size=6, unique_by=lambda s: frozenset(s[0].items())),
    st.integers(1, 40),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]),
)
def test_however_it_is_cut_and_spaced_the_answer_is_the_same(
    series: list[tuple[dict[str, str], list[float]]], piece: int, spaces: tuple[str, str]
) -> None:
    plain = [
        {"metric": m, "values": [[T0 + i * 0.25, repr(v)] for i, v in enumerate(vs)]}
        for m, vs in series
    ]
    whole = {"status": "success", "data": {"resultType": "matrix", "result": plain}}
    text = json.dumps(whole, separators=spaces, ensure_ascii=False)

    result = read(text, piece)

    assert isinstance(result, Matrix)
    assert [
        (m, [T0 + i * 0.25 for i in range(len(vs))], [repr(v) for v in vs]) for m, vs in series
    ] == [(s.labels, list(s.times), [repr(v) for v in s.numbers]) for s in result]


GOOD = matrix(({"a": 'x"]}'}, [(T0 + i, f"{i}") for i in range(9)]), ({"a": "é"}, []))


def test_a_truncated_answer_is_said_to_be() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(NoAnswerError, match="ends too early"):
            read(GOOD[:length], 7)


@settings(max_examples=40)
@given(st.integers(0, len(GOOD) - 1), st.characters(), st.integers(1, 99))
def test_a_damaged_answer_is_an_error_or_an_answer(at: int, char: str, piece: int) -> None:
    """Nothing else than a QueryError comes out, whatever comes in."""
    with suppress(QueryError):
        read(GOOD[:at] + char + GOOD[at + 1 :], piece)


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["metric", "value", "values", "histogram", "histograms", "x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["vector", "matrix", "scalar", "string", "streams"]),
)
def test_json_of_any_other_shape_is_an_error_or_an_answer(result: Any, kind: str) -> None:
    with suppress(QueryError):
        read(answer(kind, result), 11)


BROKEN_BUCKET = {"count": "1", "sum": "1", "buckets": [[7, "1", "2", "1"]]}
SERIES = '{"metric":{"a":"b"},"values":'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "ends too early, after 0 characters"),
        ("<!DOCTYPE html><html>", "'{' expected at character 0, not '<!DOCTYPE"),
        ("[]", "'{' expected"),
        ("{}", "neither status nor error: no Prometheus API"),
        ('{"status":"success"}', "no data"),
        ('{"status":"success","data":{}}', "no data"),
        ('{"status":"success","data":{"result":[]}}', "no known type"),
        (answer("streams", []), "no streams"),
        (answer("vector", [{"metric": {}, "values": []}]), "no vector"),
        (answer("matrix", [{"metric": {}, "value": [T0, "1"]}]), "no matrix"),
        (answer("matrix", [T0, "1"]), "no matrix"),
        (answer("scalar", []), "no scalar"),
        (answer("vector", "x"), "no array"),
        (answer("vector", [{"metric": {}}]), "without values"),
        (answer("vector", [{"value": [T0, "1"]}]), "without labels"),
        (answer("vector", [{"metric": {"a": 1}, "value": [T0, "1"]}]), "without labels"),
        (vector(({}, "abc")), "no number: could not convert string to float: 'abc'"),
        (answer("vector", [{"metric": {}, "value": ["now", "1"]}]), "a time that is none"),
        (answer("vector", [{"metric": {}, "value": [1e300, "1"]}]), "a time that is none"),
        (answer("vector", [{"metric": {}, "value": [T0]}]), "a point that is none"),
        (vector(({"a": "b"}, "1"), ({"a": "b"}, "2")), "two series with the labels"),
        (matrix(({}, [(T0, "1"), (T0, "2")])), "times do not rise"),
        (matrix(({}, [(T0 + i % 150, "2") for i in range(300)])), "times do not rise"),
        (matrix(({}, [(T0 + i, "2") for i in range(300)] + [(1e10, "1")])), "a time that is none"),
        (matrix(({}, [(T0 + i, "e" * (i == 7) + "1") for i in range(300)])), "no number"),
        (answer("matrix", [{"metric": {}, "values": [[T0, "1", 2]]}]), "points that are none"),
        (answer("matrix", [{"metric": {}, "histograms": [[T0, 5]]}]), "a histogram that is none"),
        (answer("matrix", [{"metric": {}, "histograms": 5}]), r"'\[' expected"),
        (answer("matrix", [{"metric": {}, "histograms": 5, "x": []}]), "histograms that are none"),
        (
            answer("vector", [{"metric": {}, "histogram": [T0, BROKEN_BUCKET]}]),
            "a bucket that is none",
        ),
        (answer("vector", [{"metric": {}, "value": [T0, "1"]}, 5]), "a series expected"),
        (vector(({}, "1"))[:-1] + "}}", "the end expected"),
        (vector(({}, "1")) + "x", "the end expected"),
        (vector(({}, "1")).replace('"1"', "NaN"), "a value expected"),
        (answer("vector", []).replace("[", '[{"metric":' + "[" * 100_000), "nested too deeply"),
        ('{"error":"' + "x" * 2 * VALUE_CHARS_MAX, "a value of more than"),
    ],
)
def test_what_is_wrong_is_said(text: str, problem: str) -> None:
    with pytest.raises((AnswerError, NoAnswerError), match=problem.replace("(", r"\(")):
        read(text, 4096)


def test_times_rise_from_piece_to_piece() -> None:
    points = [(T0 + i, "1") for i in range(20)]
    text = matrix(({}, points + points[-1:]))

    for piece in range(20, 50):
        with pytest.raises(AnswerError, match="times do not rise"):
            read(text, piece)


def test_a_reader_is_only_as_large_as_what_was_not_read() -> None:
    """A long series is not gathered as text."""
    reader = AnswerReader()
    reader.feed('{"status":"success","data":{"resultType":"matrix","result":[' + SERIES + "[")
    longest = 0
    for block in range(200):
        at = T0 + block * 1000
        reader.feed(
            "".join(f'[{at + i},"{i}"],' for i in range(100))[: -1 if block == 199 else None]
        )
        longest = max(longest, len(reader._text.text) - reader._text.at)
    reader.feed("]}]}}")
    result = reader.result()

    assert isinstance(result, Matrix)
    assert (20_000, True) == (len(result.series[0]), longest < 100)
