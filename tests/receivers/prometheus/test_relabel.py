from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError
from mlsysops_receivers.prometheus.relabel import RelabelConfig, Template, anchored, relabeler

BASE = {"a": "foo", "b": "bar", "c": "baz"}


def relabel(labels: dict[str, str], *rules: dict[str, Any]) -> dict[str, str] | None:
    step = relabeler([parse_config(RelabelConfig, rule) for rule in rules])
    assert step is not None
    return step(dict(labels))


CASES: list[tuple[str, dict[str, Any], dict[str, str], dict[str, str] | None]] = [
    (
        "replace with a group",
        {
            "source_labels": ["a"],
            "regex": "f(.*)",
            "target_label": "d",
            "replacement": "ch${1}-ch${1}",
        },
        BASE,
        {**BASE, "d": "choo-choo"},
    ),
    (
        "sources are joined by the separator",
        {"source_labels": ["a", "b"], "regex": "foo;(.*)", "target_label": "d"},
        BASE,
        {**BASE, "d": "bar"},
    ),
    (
        "another separator",
        {"source_labels": ["a", "none", "b"], "separator": "/", "target_label": "d"},
        BASE,
        {**BASE, "d": "foo//bar"},
    ),
    (
        "the pattern must match everything",
        {"source_labels": ["a"], "regex": "o", "target_label": "d", "replacement": "x"},
        BASE,
        BASE,
    ),
    (
        "alternatives are anchored together",
        {"source_labels": ["a"], "regex": "f|o", "target_label": "d", "replacement": "x"},
        BASE,
        BASE,
    ),
    (
        "the target may come from a group",
        {"source_labels": ["a"], "regex": "(f)(o+)", "target_label": "x_$1", "replacement": "$2"},
        BASE,
        {**BASE, "x_f": "oo"},
    ),
    (
        "an empty replacement removes the label",
        {"source_labels": ["a"], "target_label": "b", "replacement": ""},
        BASE,
        {"a": "foo", "c": "baz"},
    ),
    (
        "a group that took no part is empty and so removes the label",
        {"source_labels": ["a"], "regex": "foo(x)?", "target_label": "b"},
        BASE,
        {"a": "foo", "c": "baz"},
    ),
    (
        "no source at all matches the empty text",
        {"target_label": "d", "replacement": "constant"},
        BASE,
        {**BASE, "d": "constant"},
    ),
    (
        "a missing label is empty",
        {"source_labels": ["none"], "regex": "^$", "target_label": "d", "replacement": "was empty"},
        BASE,
        {**BASE, "d": "was empty"},
    ),
    (
        "a named group",
        {
            "source_labels": ["a"],
            "regex": "(?P<first>.)(?P<rest>.*)",
            "target_label": "d",
            "replacement": "${rest}$first",
        },
        BASE,
        {**BASE, "d": "oof"},
    ),
    (
        "line ends are matched by a dot",
        {"source_labels": ["a"], "regex": "x.y", "target_label": "d", "replacement": "yes"},
        {"a": "x\ny"},
        {"a": "x\ny", "d": "yes"},
    ),
    (
        "letters beyond ASCII",
        {"source_labels": ["a"], "regex": "(.)(.*)", "target_label": "d", "replacement": "$2$1"},
        {"a": "äöü"},
        {"a": "äöü", "d": "öüä"},
    ),
    ("keep what matches", {"action": "keep", "source_labels": ["a"], "regex": "f.*"}, BASE, BASE),
    ("keep nothing else", {"action": "keep", "source_labels": ["a"], "regex": "f"}, BASE, None),
    ("drop what matches", {"action": "drop", "source_labels": ["a"], "regex": "f.*"}, BASE, None),
    ("drop nothing else", {"action": "drop", "source_labels": ["a"], "regex": "f"}, BASE, BASE),
    ("drop by default pattern", {"action": "drop", "source_labels": ["a"]}, BASE, None),
    (
        "keepequal keeps equal ones",
        {"action": "keepequal", "source_labels": ["a"], "target_label": "z"},
        {"a": "1", "z": "1"},
        {"a": "1", "z": "1"},
    ),
    (
        "keepequal drops others",
        {"action": "keepequal", "source_labels": ["a"], "target_label": "z"},
        {"a": "1", "z": "2"},
        None,
    ),
    (
        "dropequal drops equal ones",
        {"action": "dropequal", "source_labels": ["a"], "target_label": "z"},
        {"a": "1", "z": "1"},
        None,
    ),
    (
        "dropequal keeps others",
        {"action": "dropequal", "source_labels": ["a"], "target_label": "z"},
        {"a": "1", "z": "2"},
        {"a": "1", "z": "2"},
    ),
    (
        "labelmap copies under another name",
        {"action": "labelmap", "regex": "__meta_(.+)"},
        {"__meta_a": "1", "b": "2"},
        {"__meta_a": "1", "b": "2", "a": "1"},
    ),
    (
        "labelmap with a replacement",
        {"action": "labelmap", "regex": "(b.*)", "replacement": "bar_${1}"},
        {"a": "1", "b1": "2", "b2": "3"},
        {"a": "1", "b1": "2", "b2": "3", "bar_b1": "2", "bar_b2": "3"},
    ),
    ("labeldrop", {"action": "labeldrop", "regex": "(a|b)"}, BASE, {"c": "baz"}),
    ("labelkeep", {"action": "labelkeep", "regex": "(a|b)"}, BASE, {"a": "foo", "b": "bar"}),
    (
        "lowercase",
        {"action": "lowercase", "source_labels": ["a"], "target_label": "a"},
        {"a": "FoO"},
        {"a": "foo"},
    ),
    (
        "uppercase",
        {"action": "uppercase", "source_labels": ["a"], "target_label": "d"},
        {"a": "FoO"},
        {"a": "FoO", "d": "FOO"},
    ),
    (
        "the action in capitals",
        {"action": "KEEP", "source_labels": ["a"], "regex": "foo"},
        BASE,
        BASE,
    ),
    (
        "an action that is empty replaces",
        {"action": "", "target_label": "d", "replacement": "x"},
        BASE,
        {**BASE, "d": "x"},
    ),
]


@pytest.mark.parametrize(
    ("rule", "labels", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_one_rule(
    rule: dict[str, Any], labels: dict[str, str], expected: dict[str, str] | None
) -> None:
    assert expected == relabel(labels, rule)


def test_hashmod_is_that_of_prometheus() -> None:
    """The last eight bytes of MD5, as a number: other tools shard by the same."""
    rule = {"action": "hashmod", "source_labels": ["c"], "target_label": "d", "modulus": 1000}
    number = int(hashlib.md5(b"baz", usedforsecurity=False).hexdigest()[16:], 16) % 1000

    assert {**BASE, "d": "976"} == relabel(BASE, rule)
    assert number == 976


def test_rules_see_what_those_before_them_did() -> None:
    rules = (
        {"source_labels": ["a"], "target_label": "d", "replacement": "x-$1"},
        {"source_labels": ["d"], "target_label": "e", "regex": "x-(.*)"},
        {"action": "labeldrop", "regex": "d"},
    )

    assert {**BASE, "e": "foo"} == relabel(BASE, *rules)


def test_what_a_rule_dropped_is_seen_by_no_other() -> None:
    rules = ({"action": "drop"}, {"target_label": "d", "replacement": "x"})

    assert relabel(BASE, *rules) is None


def test_empty_labels_are_not_there() -> None:
    assert {"a": "1"} == relabel({"a": "1", "b": ""}, {"action": "keep"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$1", "o"),
        ("${1}", "o"),
        ("$1x", ""),  # the group "1x", which there is not
        ("${1}x", "ox"),
        ("$0", "foo"),
        ("$9", ""),
        ("$$1", "$1"),
        ("$", "$"),
        ("a$", "a$"),
        ("$-$1", "$-o"),
        ("${", "${"),
        ("${1", "${1"),
        ("$name", "oo"),
        ("${none}", ""),
        ("cost: $$", "cost: $"),
        ("$01", ""),
    ],
)
def test_templates_are_those_of_go(text: str, expected: str) -> None:
    """Go, `regexp.Expand`."""
    pattern = anchored("f(o)(?P<unused>x)?.*|(?P<name>oo)")
    match = pattern.search(b"foo")
    assert match is not None
    if "name" in text:
        match = pattern.search(b"oo")
        assert match is not None

    assert expected == Template(text, pattern).expand(match)


@given(st.text(max_size=20), st.text(max_size=20).filter(bool))
def test_replacing_by_the_whole_copies(value: str, other: str) -> None:
    rule = {"source_labels": ["a"], "target_label": "b"}
    expected = {name: text for name, text in (("a", value), ("b", value)) if text}

    assert expected == relabel({"a": value, "b": other}, rule)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"action": "hashmod", "target_label": "d"}, "hashmod requires non-zero modulus"),
        ({"action": "hashmod", "modulus": 1}, "hashmod action requires 'target_label'"),
        ({"source_labels": ["a"]}, "replace action requires 'target_label' value"),
        ({"action": "lowercase", "source_labels": ["a"]}, "lowercase action requires"),
        ({"action": "keepequal", "source_labels": ["a"]}, "keepequal action requires"),
        ({"action": "dropequal", "target_label": "a", "regex": "x"}, "requires only"),
        ({"action": "labeldrop", "regex": "x", "source_labels": ["a"]}, "requires only 'regex'"),
        ({"action": "labelkeep", "regex": "x", "target_label": "a"}, "requires only 'regex'"),
        ({"action": "labelmap", "replacement": ""}, "is invalid 'replacement' for labelmap"),
        (
            {"action": "uppercase", "target_label": "a", "replacement": "x"},
            "'replacement' can not be set for uppercase action",
        ),
        ({"action": "keep", "regex": "a("}, "is no regular expression"),
        ({"action": "keep", "regex": "a)(b"}, "is no regular expression"),
        ({"action": "keep", "regex": "(?=a)"}, "is no regular expression"),
        ({"action": "kept"}, 'did you mean "keep"'),
        ({"action": "keep", "source_label": ["a"]}, 'did you mean "source_labels"'),
        ({"action": "hashmod", "target_label": "d", "modulus": -1}, "must not be negative"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(RelabelConfig, rule)

    assert message in str(caught.value)
