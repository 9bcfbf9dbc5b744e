"""`print-config`: what was merged, what was filled in, and where each value comes from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config import DictSource, SetSource, load_configuration
from mlsysops_pipeline.config.emitting import Tree, plain, yaml_lines
from mlsysops_pipeline.config.printing import render
from mlsysops_pipeline.config.reading import Reader

if TYPE_CHECKING:
    from mlsysops_pipeline.registry import Registry
    from tests.core.config.conftest import Load

TEXT = """\
receivers:
  otlp:
    protocols:
      grpc: {tls: {cert_file: c, key_file: k}}
processors:
  batch: {send_size: 5}
exporters:
  otlp_grpc:
    endpoint: '${env:HOST:-far}:4317'
    headers: {authorization: 'Bearer ${env:TOKEN}', plain: hidden}
    token: ${env:TOKEN}
    queue: {enabled: false}
service:
  pipelines:
    traces: {receivers: "otlp", processors: [batch], exporters: [otlp_grpc]}
"""

PRINTED = """\
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: "0.0.0.0:4317"  # --set 1:40
        max_mib: 4  # default
        idle: 1m  # default
        tls:
          cert_file: c  # F:4:31
          key_file: k  # F:4:44
          insecure: false  # default
processors:
  batch:
    timeout: 2s  # flags
    send_size: 5  # F:6:22
exporters:
  otlp_grpc:
    endpoint: far:4317  # F:9:15
    headers:
      authorization: "[REDACTED]"  # F:10:30
      plain: "[REDACTED]"  # F:10:60
    timeout: 5s  # default
    compression: gzip  # default
    token: "[REDACTED]"  # F:11:12 ${env:TOKEN}
    ratio: 0.5  # default
    queue:
      enabled: false  # F:12:22
service:
  pipelines:
    traces:
      receivers:
        - otlp  # F:15:25
      processors:
        - batch  # F:15:46
      exporters:
        - otlp_grpc  # F:15:66
  telemetry:
    logs:
      level: info  # default
      encoding: console  # default
      sampling:
        tick: 10s  # default
        initial: 10  # default
        thereafter: 100  # default
    metrics:
      level: normal  # default
"""
ENV = {"TOKEN": "s3cret"}
FORMATS: tuple[Literal["yaml", "json"], ...] = ("yaml", "json")
OVER = (
    DictSource("flags", {"processors": {"batch": {"timeout": "2s"}}}),
    SetSource("receivers.otlp.protocols.grpc.endpoint=0.0.0.0:4317"),
)


def test_every_value_is_printed_with_its_origin(load: Load) -> None:
    loaded = load(TEXT, *OVER, env=ENV)
    assert PRINTED.splitlines() == (
        render(loaded.good).replace(f"{loaded.folder}/", "").splitlines()
    )


def test_secrets_are_masked_unless_asked_for(load: Load) -> None:
    configuration = load(TEXT, env=ENV).good
    for style in FORMATS:
        masked = render(configuration, style)
        assert "s3cret" not in masked
        assert "hidden" not in masked
        shown = render(configuration, style, redact=False)
        assert "Bearer s3cret" in shown
        assert "s3cret" not in repr(configuration)
    defaulted = load(TEXT.replace("${env:TOKEN}", "${env:NO:-s3cret}")).good
    assert "s3cret" not in render(defaulted)


def test_json_has_the_same_values(load: Load) -> None:
    configuration = load(TEXT, *OVER, env=ENV).good
    assert yaml.safe_load(render(configuration)) == json.loads(render(configuration, "json"))


def test_what_is_printed_is_a_configuration_that_means_the_same(
    load: Load, registry: Registry
) -> None:
    first = load(TEXT, *OVER, env={"TOKEN": "a${b}$$c"}).good
    for style in FORMATS:
        text = render(first, style, redact=False)
        second, problems = load_configuration([f"yaml:{text}"], registry, {})
        assert second is not None, problems
        for mine, theirs in zip(
            [*first.receivers.values(), *first.processors.values(), *first.exporters.values()],
            [*second.receivers.values(), *second.processors.values(), *second.exporters.values()],
            strict=True,
        ):
            assert (mine.id, mine.config) == (theirs.id, theirs.config)
        assert first.service.pipelines == second.service.pipelines


@pytest.mark.parametrize(
    ("headers", "printed"),
    [
        ("[{name: a, value: b}]", [{"name": "a", "value": "b"}]),
        ("[{name: a, value: b}, {name: a, value: c}]",
         [{"name": "a", "value": "b"}, {"name": "a", "value": "c"}]),
        ("{a: b}", {"a": "b"}),
        ("{}", {}),
    ],
)  # fmt: skip
def test_headers_are_printed_as_they_were_written(load: Load, headers: str, printed: Any) -> None:
    text = TEXT.replace("{authorization: 'Bearer ${env:TOKEN}', plain: hidden}", headers)
    configuration = load(text, env=ENV).good
    content = json.loads(render(configuration, "json", redact=False))
    assert printed == content["exporters"]["otlp_grpc"]["headers"]


def test_what_no_terminal_can_print_is_escaped(load: Load) -> None:
    configuration = load(TEXT, env={"TOKEN": "a\udcff\x9b"}).good
    for style in FORMATS:
        assert "a\\udcff\\u009b" in render(configuration, style, redact=False).encode().decode()


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**18), 10**18),
        st.floats(allow_nan=False),
        st.text(),
        st.sampled_from(["yes", "null", "~", "0x1f", "1:30", "a: b", "- a", "#", "x #y", "1e5"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def as_tree(value: Any) -> Tree:
    if isinstance(value, dict):
        return Tree({key: as_tree(child) for key, child in value.items()})
    if isinstance(value, list):
        return Tree([as_tree(child) for child in value])
    return Tree(value, "origin: x # y")


@settings(max_examples=25)
@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=3))
def test_printed_yaml_is_read_back_as_it_was(values: dict[str, Any]) -> None:
    tree = as_tree(values)
    text = "\n".join(yaml_lines(tree))
    reader = Reader("text")
    node = reader.read(text)
    assert reader.problems == []
    assert node is not None
    assert plain(tree) == (node.plain() or {})
