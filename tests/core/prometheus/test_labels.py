"""Attributes, resources and scopes as labels (conformance PO-11 to PO-14)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.any_values import key_value, serialize, serialize_array
from mlsysops_pipeline.prometheus.escaping import is_legacy_label
from mlsysops_pipeline.prometheus.labels import (
    label_of,
    make_labels,
    read_attributes,
    scope_labels,
    target_labels,
)
from mlsysops_pipeline.prometheus.names import Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT = Strategy.UNDERSCORES_WITH_SUFFIXES


def _text(value: Any) -> str:
    return read_attributes([key_value(b"k", serialize(value))])["k"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ('with "quotes" <&>', 'with "quotes" <&>'),
        ("", ""),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (42, "42"),
        (-(2**63), "-9223372036854775808"),
        (2.5, "2.5"),
        (3.0, "3"),
        (1e21, "1e+21"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (b"hello", "aGVsbG8="),
        (b"", ""),
        ([], "[]"),
        ([1, "x", False, None, 2.5, b"hello"], '[1,"x",false,null,2.5,"aGVsbG8="]'),
        ([math.nan, -math.inf], '["NaN","-Infinity"]'),
        ({}, "{}"),
        ({"k": "v", "a": [1]}, '{"a":[1],"k":"v"}'),
    ],
)
def test_values_become_text(value: Any, expected: str) -> None:
    """PO-11."""
    assert expected == _text(value)


def test_bytes_that_are_no_text_are_replaced() -> None:
    found = read_attributes([key_value(b"k\xff", b"\x0a\x02\xfe\xff")])
    assert found == {"k�": "��"}
    assert make_labels(found, {}, _DEFAULT) == (("k_", "��"),)


def test_the_first_of_equal_keys_counts() -> None:
    pairs = [key_value(b"k", serialize(value)) for value in ("first", "second")]
    assert read_attributes(pairs) == {"k": "first"}


def test_what_is_no_attribute_is_malformed() -> None:
    with pytest.raises(MalformedError, match="no protobuf attribute"):
        read_attributes([b"\x0a\xff"])


def _labels(values: Mapping[str, str], **fixed: str) -> dict[str, str]:
    return dict(make_labels(values, fixed, _DEFAULT))


def test_colliding_keys_are_joined_in_their_order() -> None:
    """PO-12."""
    values = {"a/b": "slash", "a.b": "dot", "a_b": "underscore"}
    assert _labels(values) == {"a_b": "dot;slash;underscore"}
    assert _labels(dict(reversed(values.items()))) == {"a_b": "dot;slash;underscore"}


def test_keys_of_which_nothing_is_left_keep_series_apart() -> None:
    assert _labels({"": "x", "é": "y", "ü": "z"}) == {"_": "x;y;z"}


def test_empty_values_are_no_labels() -> None:
    """PO-11, R1-3."""
    assert _labels({"a": "", "b": "x"}, job="") == {"b": "x"}


def test_attributes_do_not_hide_our_labels() -> None:
    found = _labels({"job": "mine", "exported.job": "other", "x": "y"}, job="ours")
    assert found == {"exported_job": "other;mine", "job": "ours", "x": "y"}
    again = _labels({"job": "mine"}, job="ours", exported_job="ours as well")
    assert again["exported_exported_job"] == "mine"
    assert make_labels({"le": "1"}, {}, _DEFAULT, "le") == (("exported_le", "1"),)


def test_no_attribute_is_the_name_of_the_metric() -> None:
    for strategy in Strategy:
        assert label_of("__name__", strategy) == "_name_"


@given(values=st.dictionaries(st.text(max_size=8), st.text(max_size=4), max_size=8))
def test_labels_are_canonical(values: dict[str, str]) -> None:
    """R1-3, R1-4: sorted, valid, none twice, none empty, whatever the order of attributes."""
    found = make_labels(values, {"job": "j"}, _DEFAULT)
    assert found == make_labels(dict(reversed(values.items())), {"job": "j"}, _DEFAULT)
    names = [name for name, _ in found]
    assert names == sorted(set(names))
    assert all(is_legacy_label(name) and value for name, value in found)


def test_utf_8_labels_stay_as_they_are() -> None:
    """PO-17."""
    found = make_labels({"a.b": "x", "é": "y"}, {}, Strategy.NO_TRANSLATION)
    assert found == (("a.b", "x"), ("é", "y"))


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"service.name": "s"}, {"job": "s"}),
        ({"service.name": "s", "service.namespace": "n"}, {"job": "n/s"}),
        ({"service.namespace": "n"}, {}),
        ({"service.name": "s", "service.instance.id": "i"}, {"job": "s", "instance": "i"}),
        ({"service.instance.id": "i", "host.name": "h"}, {"instance": "i"}),
        ({}, {}),
    ],
)
def test_job_and_instance(resource: dict[str, str], expected: dict[str, str]) -> None:
    """PO-14."""
    assert expected == target_labels(resource)


def test_scopes() -> None:
    """PO-13: attributes cannot take the place of name, version and schema URL."""
    attributes = {"name": "x", "version": "x", "schema.url": "x", "the.mascot": "gopher", "e": ""}
    assert scope_labels("lib", "1", "http://u", attributes, _DEFAULT) == {
        "otel_scope_name": "lib",
        "otel_scope_version": "1",
        "otel_scope_schema_url": "http://u",
        "otel_scope_the_mascot": "gopher",
    }
    assert scope_labels("", "", "", {"name": "x"}, _DEFAULT) == {}


def test_deeply_nested_values_are_written_or_refused() -> None:
    value = serialize("x")
    for _ in range(40):
        value = serialize_array([value])
    assert read_attributes([key_value(b"k", value)]) == {"k": "[" * 40 + '"x"' + "]" * 40}
    for _ in range(40):
        value = serialize_array([value])
    with pytest.raises(MalformedError):
        read_attributes([key_value(b"k", value)])
