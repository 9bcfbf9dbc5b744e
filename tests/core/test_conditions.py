"""Conditions on attributes: OTTL's rules for them (components, C4 grammar and D1)."""

from __future__ import annotations

import math

import pytest

from mlsysops_pipeline.conditions import ConditionError, Level, Scene, compile_condition
from mlsysops_pipeline.pdata.payload import Metadata
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view

SCENE = Scene(
    Metadata(headers={"x-tenant": ("acme", "other")}),
    {
        "env": "prod",
        "n": 3,
        "half": 0.5,
        "yes": True,
        "raw": b"\x01",
        "none": None,
        "nan": math.nan,
        "a.b": 'say "hi"',
    },
    {"lib": "io"},
    {"http.route": "/internal/x"},
    "http.requests",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('attributes["env"] == "prod"', True),
        ('attributes["env"] != "prod"', False),
        ('resource.attributes["env"] == "prod"', True),
        ('"prod" == attributes["env"]', True),
        ('attributes["absent"] == nil', True),
        ('attributes["absent"] != "x"', True),
        ('attributes["none"] == nil', True),
        ('attributes["env"] == nil', False),
        ('attributes["n"] == 3', True),
        ('attributes["n"] == 3.0', True),
        ('attributes["n"] == "3"', False),
        ('attributes["n"] != "3"', True),
        ('attributes["n"] > 2 and attributes["n"] <= 3', True),
        ('attributes["n"] < "4"', False),
        ('attributes["half"] >= 5e-1', True),
        ('attributes["yes"] == true', True),
        ('attributes["yes"] == 1', False),
        ('attributes["raw"] == "\\u0001"', False),
        ('attributes["nan"] == attributes["nan"]', False),
        ('attributes["a.b"] == "say \\"hi\\""', True),
        ('not attributes["env"] == "prod" or attributes["n"] == 3', True),
        ('not (attributes["env"] == "prod" or attributes["n"] == 3)', False),
        # and binds closer than or
        ("true == true or true == true and true == false", True),
        ("(true == true or true == true) and true == false", False),
        ("true", True),
        ("not false", True),
        ('IsMatch(attributes["env"], "^pr")', True),
        ('IsMatch(attributes["env"], "ro")', True),
        ('IsMatch(attributes["n"], "^3$")', True),
        ('IsMatch(attributes["yes"], "true")', True),
        ('IsMatch(attributes["half"], "0.5")', True),
        ('IsMatch(attributes["raw"], "^01$")', True),
        ('IsMatch(attributes["absent"], ".*")', False),
        ('request["X-Tenant"] == "acme"', True),
        ('request["absent"] == nil', True),
    ],
)
def test_a_condition_is_true_or_not(text: str, expected: bool) -> None:
    context = "" if text.startswith("request") else "resource"
    assert expected is compile_condition(text, context).test(SCENE)


@pytest.mark.parametrize(
    ("text", "context", "level", "needs"),
    [
        ('attributes["a"] == 1', "resource", Level.RESOURCE, {Level.RESOURCE}),
        ('resource.attributes["a"] == 1', "resource", Level.RESOURCE, {Level.RESOURCE}),
        ('request["a"] == "1"', "request", Level.REQUEST, {Level.REQUEST}),
        ('metric.name == "a"', "metric", Level.METRIC, {Level.METRIC}),
        (
            'metric.name == "a" and datapoint.attributes["a"] == 1',
            "datapoint",
            Level.ITEM,
            {Level.METRIC, Level.ITEM},
        ),
        (
            'log.attributes["a"] == 1 and resource.attributes["b"] == 2',
            "log",
            Level.ITEM,
            {Level.ITEM, Level.RESOURCE},
        ),
        ('span.name == "a"', "span", Level.ITEM, {Level.ITEM}),
        ("true", "resource", Level.RESOURCE, set()),
    ],
)
def test_the_prefixes_tell_the_context(
    text: str, context: str, level: Level, needs: set[Level]
) -> None:
    made = compile_condition(text)

    assert (context, level, needs) == (made.context, made.level, set(made.needs))


def test_a_bare_path_belongs_to_the_context_that_is_given() -> None:
    assert compile_condition('attributes["http.route"] == "/internal/x"', "datapoint").test(SCENE)
    assert compile_condition('name == "http.requests"', "metric").test(SCENE)
    assert compile_condition('scope.attributes["lib"] == "io"', "log").test(SCENE)


@pytest.mark.parametrize(
    ("text", "context", "message"),
    [
        ("", "", "ends too early"),
        ('attributes["a"]', "", "ends too early"),
        ('attributes["a"] ==', "", "ends too early"),
        ("attributes == 1", "", "'==' is not supported"),
        ('attributes["a"]["b"] == 1', "", r"'\[' is not supported"),
        ('attributes["a"] == 1 attributes', "", "'attributes' is not supported"),
        ('body == "x"', "log", "'body' is not supported; supported are"),
        ('Len(attributes["a"]) == 1', "", "'Len' is not supported"),
        ('attributes["a"] == 1 + 2', "", r"'\+ 2' is not supported"),
        ('datapoint.attributes["a"] == 1', "resource", "datapoint.attributes' is not"),
        ('attributes["a"] == 1', "metric", "'attributes' is not supported"),
        ('resource.attributes["a"] == 1', "request", "'resource.attributes' is not"),
        ('attributes["a"] == "\\x"', "", "is no text"),
        ('attributes["a"] == "open', "", "is not supported"),
        ('attributes["a"] == 1e', "", "is not supported"),
        ('IsMatch(attributes["a"], "(")', "", "no regular expression"),
        ('IsMatch(attributes["a"], 1)', "", "'1' is not supported"),
        ('attributes["a"] == 1', "nowhere", "invalid context: nowhere"),
        ("(" * 60 + "true" + ")" * 60, "", "nests deeper than 50"),
        ("not " * 60 + "true", "", "nests deeper than 50"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, context: str, message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        compile_condition(text, context)


def test_a_list_or_map_equals_no_literal_and_matches_as_json() -> None:
    value = view(Signal.LOGS, Depth.FULL, "AnyValue")()
    value.array_value.values.add().int_value = 1  # type: ignore[attr-defined]  # protobuf
    scene = Scene(resource={"list": value})

    assert not compile_condition('attributes["list"] == "[1]"').test(scene)
    assert not compile_condition('attributes["list"] == nil').test(scene)
    assert not compile_condition('attributes["list"] < 5').test(scene)
    assert compile_condition('IsMatch(attributes["list"], "^\\\\[1\\\\]$")').test(scene)
