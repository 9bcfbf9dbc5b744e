"""What can be wrong with the configuration of aggregation, and that all of it is said."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError
from mlsysops_processors.aggregation.config import Config, Function, Glob
from mlsysops_processors.aggregation.rules import Rule

RULE: dict[str, Any] = {"metrics": ["a"], "functions": ["sum"]}


def problems(config: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(Config, config)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"functions": ["summ"]}, "is no function"),
        ({"functions": ["p0"]}, "above p0 and below p100"),
        ({"functions": ["p100"]}, "above p0 and below p100"),
        ({"functions": ["P50"]}, "is no function"),
        ({"functions": []}, "is empty"),
        ({"functions": ["sum", "sum"]}, "twice"),
        ({"metrics": []}, "is empty"),
        ({"metrics": [""]}, "is empty"),
        ({"metrics": ["a[bc"]}, 'has no "]"'),
        ({"metrics": ["[z-a]"]}, "is no glob"),
        ({"by": ["a"], "without": ["b"]}, "not both"),
        ({"by": [""]}, "is empty"),
        ({"match": {"a": 1 << 70}}, "64 bits"),
        ({"rename": "{nam}"}, "is unknown"),
        ({"rename": "{name"}, "no partner"),
        ({"rename": "  "}, "is blank"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(change: dict[str, Any], expected: str) -> None:
    (problem,) = problems({"rules": [{**RULE, **change}]})
    assert expected in problem


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"interval": "0s"}, "at least 1ms"),
        ({"interval": "1s", "allowed_lateness": "1h"}, "at most 1000 intervals"),
        ({"max_series": 0}, "at least 1"),
        ({"rules": []}, "nothing would be aggregated"),
        ({"late": "keep"}, "allowed: drop, forward"),
        ({"rulez": 1}, "unknown key"),
    ],
)
def test_what_is_wrong_beside_rules_is_said(change: dict[str, Any], expected: str) -> None:
    (problem,) = problems({"rules": [RULE], **change})
    assert expected in problem


def test_all_problems_are_reported_at_once() -> None:
    assert len(problems({"interval": "0s", "max_series": -1, "rules": []})) == 3


def test_rules_that_write_the_same_result_are_noticed() -> None:
    rules = [RULE, {**RULE, "functions": ["max"], "rename": "{name}.max"}, RULE]
    config = parse_config(Config, {"rules": rules})
    (finding,) = config.check()
    assert finding.path == ("rules", 2)


@pytest.mark.parametrize(
    ("glob", "name", "expected"),
    [
        ("http.*", "http.server", True),
        ("http.*", "httpxserver", False),
        ("http.*", "a.http.b", False),
        ("a?", "ab", True),
        ("a?", "a", False),
        ("a[bc]", "ac", True),
        ("a[!bc]", "ac", False),
        ("a[]]", "a]", True),
        ("a[b^]", "a^", True),
        ("*", "any\nthing", True),
        ("a+(b)", "a+(b)", True),
    ],
)
def test_globs(glob: str, name: str, expected: bool) -> None:
    rule = Rule(0, parse_config(Config, {"rules": [{**RULE, "metrics": [glob]}]}).rules[0])
    assert expected == rule.means(name.encode())


def test_functions_and_globs_are_shown_as_they_are_written() -> None:
    assert str(Function.parse("p99.9")) == "p99.9"
    assert Function.parse("p99.9").fraction == pytest.approx(0.999)
    assert str(Glob.parse("a*")) == "a*"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["m"]),
        ({"functions": ["sum", "p99"]}, ["m.sum", "m.p99"]),
        ({"rename": "{name}.by"}, ["m.by"]),
        ({"rename": "{name}.by", "functions": ["sum", "max"]}, ["m.by.sum", "m.by.max"]),
        ({"rename": "{function}_{name}", "functions": ["sum", "max"]}, ["sum_m", "max_m"]),
    ],
)
def test_names_of_results(change: dict[str, Any], expected: list[str]) -> None:
    rule = Rule(0, parse_config(Config, {"rules": [{**RULE, **change}]}).rules[0])
    assert expected == [rule.name(b"m", function).decode() for function in rule.functions]
