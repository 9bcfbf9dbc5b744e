"""Where configuration comes from, in which order, and what merging does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config import DictSource, SetSource, Severity, load_configuration
from mlsysops_pipeline.config.nodes import from_plain, merged
from mlsysops_pipeline.config.sources import Merger

if TYPE_CHECKING:
    from pathlib import Path

    from mlsysops_pipeline.config import ConfigurationSource
    from mlsysops_pipeline.registry import Registry
    from tests.core.config.conftest import Load


def tree(*sources: ConfigurationSource, env: dict[str, str] | None = None) -> Any:
    merger = Merger(env or {})
    node = merger.merge(sources)
    assert merger.problems == []
    return node.plain()


def complaints(*sources: ConfigurationSource, env: dict[str, str] | None = None) -> list[str]:
    merger = Merger(env or {})
    merger.merge(sources)
    return [problem.line() for problem in merger.problems]


def test_later_sources_win_and_maps_merge_deeply() -> None:
    one = {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    other = {"a": {"c": [3], "e": 4}}
    assert {"a": {"b": 1, "c": [3], "e": 4}, "d": "x"} == tree(one, other)


def test_a_null_wipes_what_came_before() -> None:
    assert {"a": None} == tree({"a": {"b": 1}}, {"a": None})
    assert {"a": {"c": 2}} == tree({"a": {"b": 1}}, {"a": None}, {"a": {"c": 2}})


def test_built_in_defaults_survive_a_null() -> None:
    default = DictSource("default", {"a": {"b": {"c": 1}}}, yields=True)
    assert {"a": {"b": {"c": 1}}} == tree(default, {"a": None})
    assert {"a": {"b": {"c": 1}, "x": None}} == tree(default, {"a": {"b": None, "x": None}})
    assert {"a": {"b": {"c": 2}}} == tree(default, {"a": {"b": {"c": 2}}})


def test_options_win_wherever_they_stand() -> None:
    assert {"a": {"b": 2}} == tree(SetSource("a.b=2"), {"a": {"b": 1}})
    assert {"a": {"b": 3}} == tree(SetSource("a.b=2"), {"a": {"b": 1}}, SetSource("a.b=3"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=1", {"a": {"b": 1}}),
        ("a::b=x", {"a": {"b": "x"}}),
        ("a=[1, {b: c}]", {"a": [1, {"b": "c"}]}),
        ("a=", {"a": None}),
        ("a=b=c", {"a": "b=c"}),
        ("a='${env:X}'", {"a": "${env:X}"}),
    ],
)
def test_the_value_of_an_option_is_yaml(text: str, value: Any) -> None:
    assert value == tree(SetSource(text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.b", '--set 1:1: missing equal sign in "a.b" (write a.b.c=value)'),
        ("=1", '--set 1:1: "" has an empty part (write a.b.c=value)'),
        ("a..b=1", '--set 1:1: "a..b" has an empty part (write a.b.c=value)'),
        ("a={", '--set 1:1: the value of "a" is not YAML'),
    ],
)
def test_an_option_of_another_form_is_one_line(text: str, line: str) -> None:
    assert [line] == complaints(SetSource(text))


def test_a_wrong_option_is_found_by_its_number(load: Load, good: str) -> None:
    loaded = load(good, SetSource("exporters.debug.x=1"), SetSource("receivers.otlp.y=1"))
    assert [
        "--set 1:1: exporters.debug.x: unknown key (it has no keys)",
        "--set 2:1: receivers.otlp.y: unknown key (allowed: protocols)",
    ] == loaded.lines


def test_uris_name_files_variables_and_inline_text(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("a: 1\n")
    assert {"a": 1} == tree(f"file:{path}") == tree(str(path)) == tree(path)
    assert {"a": 1} == tree("env:CONF", env={"CONF": "a: 1"})
    assert {"a": {"b": {"c": 1, "d": 2}}} == tree("yaml:a::b: {c: 1, d: 2}")
    assert {"a": {"b": 1, "c": 2}} == tree("yaml:{a::b: 1, a::c: 2}")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            "https://x/y",
            ('https://x/y: scheme "https" is not supported; file, env and yaml are '
            "(fetch it to a file first)"),
        ),
        ("", "--config: the name of a file is missing"),
        ("file:", "--config: the name of a file is missing"),
        ("s3:bucket", 's3:bucket: scheme "s3" is not supported; file, env and yaml are'),
        ("env:ABSENT", "env:ABSENT: the environment variable is not set"),
        ("env:A B", "env:A B: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$"),
        ("env:BAD", "env:BAD:2:1: not YAML: did not find expected node content"),
        ("yaml:[1]", "yaml::1:1: expected a map of sections (receivers, service, ...), got a list"),
        ("C:\\x.yaml", "C:\\x.yaml: unable to read the file: No such file or directory"),
        ("a\0b", "a\\x00b: unable to read the file: embedded null byte"),
        ({"a": {1: 2}}, "configuration: a: keys must be strings, got 1"),
        ({"a": [object]}, "configuration: a[0]: type is no configuration value"),
        (DictSource("flags", {"a": b"x"}), "flags: a: bytes is no configuration value"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_read_is_one_line(source: Any, line: str) -> None:
    assert [line] == complaints(source, env={"BAD": "a: {\n"})


def test_a_dict_that_contains_itself_is_one_line() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    assert ["configuration: nested too deeply, or a map that contains itself"] == complaints(
        endless
    )


def test_an_empty_file_among_others_is_a_warning(load: Load, good: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    loaded = load(good, tmp_path / "empty")
    assert ["empty:1:1: empty configuration file"] == loaded.warnings
    assert loaded.configuration is not None


def test_a_file_that_never_ends_is_refused() -> None:
    assert ["/dev/zero:1:1: the file is larger than 16 MiB"] == complaints("/dev/zero")


def test_problems_of_several_files_come_in_the_order_of_the_files(
    load: Load, good: str, tmp_path: Path
) -> None:
    (tmp_path / "A").write_text("exporters: {debug: {x: 1}}\n")
    (tmp_path / "B").write_text("receivers: {otlp: {z: 1}}\n")
    loaded = load(good.replace("debug:\n", "debug: {y: 1}\n"), tmp_path / "B", tmp_path / "A")
    assert ["F:4:11", "B:1:20", "A:1:21"] == [line.partition(": ")[0] for line in loaded.lines]


def test_a_section_of_two_files_is_found_where_it_was_first_written(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "over").write_text("exporters: {otlp_grpc: {ratio: 1}}\n")
    text = (
        "receivers: {otlp: {protocols: {grpc: }}}\n"
        "exporters: {otlp_grpc: {timeout: 1s}}\n"
        "service: {pipelines: {logs: {receivers: [otlp], exporters: [otlp_grpc]}}}\n"
    )
    assert ["F:2:13: exporters.otlp_grpc.endpoint: is missing; a value is required"] == load(
        text, tmp_path / "over", {"exporters": {"otlp_grpc": {}}}
    ).lines


def test_the_environment_is_that_of_the_process_unless_given(
    monkeypatch: pytest.MonkeyPatch, good: str, registry: Registry
) -> None:
    monkeypatch.setenv("MLSYSOPS_TEST_CONF", good)
    configuration, problems = load_configuration(["env:MLSYSOPS_TEST_CONF"], registry)
    assert problems == []
    assert configuration is not None
    assert "<Configuration pipelines=1 receivers=1 " in repr(configuration)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3))
KEYS = st.sampled_from("abc")
# Where one source has a map and another a scalar, the order of deletions matters, as in the
# Collector. So every key holds maps only, or values only.
MAPS = st.fixed_dictionaries(
    {},
    optional={
        "map": st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS, max_size=3), max_size=3),
        "value": st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
    },
)


@settings(max_examples=50)
@given(MAPS, MAPS, MAPS)
def test_merging_is_associative_and_nothing_is_neutral(a: Any, b: Any, c: Any) -> None:
    one, two, three = from_plain(a), from_plain(b), from_plain(c)
    left = merged(merged(one, two), three)
    right = merged(one, merged(two, three))
    assert left.plain() == right.plain()
    assert one.plain() == merged(one, from_plain({})).plain() == merged(from_plain({}), one).plain()


@settings(max_examples=50)
@given(MAPS, MAPS)
def test_merging_changes_neither_side(a: Any, b: Any) -> None:
    one, two = from_plain(a), from_plain(b)
    merged(one, two)
    assert (a, b) == (one.plain(), two.plain())


def test_what_only_defaults_say_is_not_where_a_problem_is_shown(
    tmp_path: Path, registry: Registry
) -> None:
    text = "receivers: {otlp: {protocols: {grpc: }}}\nexporters: {debug: }\n"
    defaults = DictSource("default", {"service": {"telemetry": {}}}, yields=True)
    path = tmp_path / "F"
    path.write_text(text)
    _, problems = load_configuration([defaults, path], registry, {})
    errors = [p.line() for p in problems if p.severity is Severity.ERROR]
    assert [f"{path}:1:1: service must have at least one pipeline"] == errors
