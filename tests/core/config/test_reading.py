"""YAML as the Collector reads it, each value with its place."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from mlsysops_pipeline.config import reading
from mlsysops_pipeline.config.problems import Position, Problem, Severity, path_text
from mlsysops_pipeline.config.reading import Reader


def read(text: str) -> Any:
    reader = Reader("F")
    node = reader.read(text)
    assert reader.problems == []
    assert node is not None
    return node.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("off", "off"),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("1_000", 1000),
        ("0x1F", 31),
        ("-0x1F", -31),
        ("0o17", 15),
        ("0b101", 5),
        ("0123", 83),
        ("089", 89.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("5s", "5s"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("1.2.3", "1.2.3"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!str", ""),
        ("9" * 200, "9" * 200),
        ("<", "<"),
        ("=", "="),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    result = read(f"a: {text}")["a"]
    assert value == result
    assert type(value) is type(result)


def test_what_is_no_number_is_nan() -> None:
    assert math.isnan(read("a: .NaN")["a"])


def test_block_texts_and_aliases_work() -> None:
    assert {"a": "x\ny\n", "b": "x y\n"} == read("a: |\n  x\n  y\nb: >\n  x\n  y\n")
    assert {"a": [1], "b": [1]} == read("a: &x [1]\nb: *x\n")


def test_merge_keys_fill_what_is_not_written() -> None:
    assert {"k": 1, "l": 2} == read("a: &x {k: 0, l: 2}\nb: {<<: *x, k: 1}")["b"]
    text = "a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc: {<<: [*x, *y], m: 4}"
    assert {"k": 1, "l": 3, "m": 4} == read(text)["c"]
    assert {"<<": 1} == read('{"<<": 1}')


def test_keys_are_text_whatever_they_look_like() -> None:
    assert {"8080": 1, "true": 2, "~": 3} == read("8080: 1\ntrue: 2\n~: 3")


def test_every_value_and_key_has_its_place() -> None:
    reader = Reader("F", order=3)
    node = reader.read("a:\n  - b: x\n    c: [1,\n      2]\n")
    assert node is not None
    found, steps = node.find(("a", 0, "c", 1))
    assert (4, "F:4:7") == (steps, str(found.position))
    assert Position("F", 4, 7, 3) == found.position
    assert "F:3:5" == str(node.find(("a", 0, "c"))[0].at)
    deepest, steps = node.find(("a", 0, "missing", 1))
    assert (2, "F:2:5") == (steps, str(deepest.position))
    assert (1, node.find(("a",))[0]) == (node.find(("a", 7))[1], node.find(("a", 7))[0])


def test_a_byte_order_mark_is_no_content() -> None:
    node = Reader("F").read_bytes(b"\xef\xbb\xbfa: 1")
    assert node is not None
    assert {"a": 1} == node.plain()


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", None)])
@pytest.mark.parametrize(
    "text",
    ["a: b: c", "a: [", "\ta: 1", "a: \x07", "a: \ud800", "[" * 600, "a: *x", "%YAML 9\n---\na"],
)
def test_broken_text_is_one_problem_with_every_parser(
    text: str, loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loader is None:
        pytest.skip("this PyYAML has no C parser")
    monkeypatch.setattr(reading, "_Loader", loader)
    reader = Reader("F")
    assert reader.read(text) is None
    (problem,) = reader.problems
    assert "F" == problem.position.source
    assert problem.position.line >= 1


def test_a_tab_is_named_as_such() -> None:
    for text in ("a:\n\tb: 1\n", "\ta: 1\n", "a:\n  b: 1\n\tc: 2\n"):
        reader = Reader("F")
        reader.read(text)
        assert ["a tab; YAML is indented with spaces"] == [p.message for p in reader.problems]


def test_a_problem_is_one_line_that_moves_no_cursor() -> None:
    problem = Problem(
        Severity.WARNING, Position("F\n", 1, 2), ("a", 0, "b\x1b[2J"), "bad\r\u2028", "why\x85"
    )
    assert "F\\n:1:2: a[0].b\\x1b[2J: bad\\r\\u2028 (why\\x85)" == str(problem)
    assert "F\\n:1:2: warning: a[0]" == problem.line().partition(".b")[0]


def test_paths_are_written_with_dots_and_brackets() -> None:
    assert "" == path_text(())
    assert "a.b[1].c" == path_text(("a", "b", 1, "c"))
