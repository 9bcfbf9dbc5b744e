"""`${...}` in values: what is replaced, what stays, and what comes of missing variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.config.expand import Expander
from mlsysops_pipeline.config.nodes import from_plain
from mlsysops_pipeline.config.schema import Opaque

if TYPE_CHECKING:
    from pathlib import Path

    from tests.core.config.conftest import Load

ENV = {
    "PORT": "8080",
    "OCTAL": "0123",
    "LIST": "[a, b]",
    "MAP": "{a: {b: 1}}",
    "EMPTY": "",
    "NAME": "PORT",
    "OUTER": "x${env:PORT}y",
    "DOLLARS": "a$$b",
    "LINES": "a: 1\nb: 2",
    "COLON": "a: b: c",
    "SELF": "${env:SELF}",
    "SELVES": "x${env:SELVES}${env:SELVES}",
    "TREE": "['${env:TREE}', '${env:TREE}']",
    "BIG": "x" * 300_000,
}


def expanded(value: Any) -> tuple[Any, list[str]]:
    expander = Expander(ENV)
    node = expander.expand(from_plain({"key": value}))
    return node.plain()["key"], [str(problem) for problem in expander.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:PORT}", 8080),
        ("${PORT}", 8080),
        ("${env:LIST}", ["a", "b"]),
        ("${env:MAP}", {"a": {"b": 1}}),
        ("${env:ABSENT:-def}", "def"),
        ("${ABSENT:-5}", 5),
        ("${env:ABSENT:-}", ""),
        ("${env:PORT:-def}", 8080),
        ("${env:ABSENT:-${env:PORT}}", 8080),
        ("${env:${env:NAME}}", 8080),
        ("${env:OUTER}", "x8080y"),
        ("h:${env:PORT}", "h:8080"),
        ("${env:PORT}${env:PORT}", "80808080"),
        ("${env:OCTAL}:1", "0123:1"),
        ("$$", "$"),
        ("$${env:PORT}", "${env:PORT}"),
        ("$$${env:PORT}", "$8080"),
        ("$PORT", "$PORT"),
        ("a}b", "a}b"),
        ("${env:PORT", "${env:PORT"),
        ("} ${env:PORT}", "} 8080"),
        ("${env:DOLLARS}", "a$b"),
        ("${env:COLON}", "a: b: c"),
        ("${yaml:[1, 2]}", [1, 2]),
        ("${yaml:a::b::c: 1}", {"a": {"b": {"c": 1}}}),
    ],
)
def test_references_are_replaced_as_in_the_collector(text: str, value: Any) -> None:
    assert (value, []) == expanded(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # Once an escaped reference comes first, the search stops.
        ("$${env:PORT} ${env:PORT}", "${env:PORT} ${env:PORT}"),
        # Replacement is textual over the whole string.
        ("${env:PORT} $${env:PORT}", "8080 $8080"),
    ],
)
def test_the_quirks_of_the_collector_are_kept(text: str, value: str) -> None:
    assert (value, []) == expanded(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "${env:A B}",
            (
                'environment variable "A B" has invalid name: must match regex '
                "^[a-zA-Z_][a-zA-Z0-9_]*$"
            ),
        ),
        (
            "${1}",
            (
                'environment variable "1" has invalid name: must match regex '
                "^[a-zA-Z_][a-zA-Z0-9_]*$; write $${1} if a group of a regular expression is meant"
            ),
        ),
        (
            "${http://x/y}",
            'scheme "http" is not supported for uri "http://x/y"; env, file and yaml are',
        ),
        ("${s3:x}", 'scheme "s3" is not supported for uri "s3:x"; env, file and yaml are'),
        ("${env:A$B}", "the uri \"env:A$B\" contains unsupported characters ('$')"),
        ("x ${env:MAP}", "${env:MAP} is a map or list inside text"),
        (
            "${file:/no/such/file}",
            "unable to read the file /no/such/file: No such file or directory",
        ),
        ("${env:SELF}", "too many recursive expansions"),
        ("${env:SELVES}", "too many recursive expansions"),
        ("${env:TREE}", "too many recursive expansions"),
        ("${env:BIG}${env:BIG} ${env:BIG}${env:BIG} ${PORT}", "too many recursive expansions"),
    ],
)
def test_what_cannot_be_replaced_is_a_problem(text: str, message: str) -> None:
    _, problems = expanded(text)
    (problem,) = problems
    assert problem.startswith("configuration: key")
    assert problem.endswith(f": {message}")


def test_a_file_is_included_with_its_type(tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text("a: [1, x]\n")
    (tmp_path / "word").write_bytes(b"secret\n")
    assert ({"a": [1, "x"]}, []) == expanded(f"${{file:{tmp_path}/part.yaml}}")
    assert ("secret", []) == expanded(f"${{file:{tmp_path}/word}}")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    _, problems = expanded(f"${{file:{tmp_path}/bytes}}")
    assert "unable to read the file" in problems[0]


def test_what_is_wrong_in_an_included_file_is_shown_in_that_file(
    load: Load, good: str, tmp_path: Path
) -> None:
    (tmp_path / "grpc").write_text("# the server\nendpoint: 1.2.3.4\nmax: ${env:NO}\nidle: 5x\n")
    loaded = load(good.replace("grpc: ", f"grpc: '${{file:{tmp_path}/grpc}}'"))
    assert [
        (
            'grpc:2:11: receivers.otlp.protocols.grpc.endpoint: "1.2.3.4": the port is missing; '
            "write HOST:PORT"
        ),
        'grpc:3:1: receivers.otlp.protocols.grpc.max: unknown key (did you mean "max_mib"?)',
        "grpc:3:6: warning: receivers.otlp.protocols.grpc.max: environment variable NO is not set",
        (
            'grpc:4:7: receivers.otlp.protocols.grpc.idle: "5x" is no duration; '
            "a duration is a number "
            "with a unit, such as 5s, 200ms or 1h30m"
        ),
    ] == loaded.lines


def test_a_word_from_an_included_file_is_shown_in_that_file(
    load: Load, good: str, tmp_path: Path
) -> None:
    (tmp_path / "idle").write_text("5x\n")
    loaded = load(good.replace("grpc: ", f"grpc: {{idle: '${{file:{tmp_path}/idle}}'}}"))
    assert [line.partition(" ")[0] for line in loaded.errors] == ["idle:1:1:"]


@pytest.mark.parametrize(
    "reference", ["${file:/no}", "${vault:x}", "${env:1x}", "${env:SELF}", "x ${env:MAP}"]
)
@pytest.mark.parametrize("place", ["grpc: {idle: 'X'}", "grpc: {endpoint: 'X'}", "grpc: 'X'"])
def test_a_reference_that_fails_is_one_problem_and_not_two(
    load: Load, good: str, reference: str, place: str
) -> None:
    text = good.replace("grpc: ", place.replace("X", reference))
    (line,) = load(text, env={"SELF": "${env:SELF}", "MAP": "{a: b}"}).lines
    assert line.startswith("F:2:")


@pytest.mark.parametrize(("name", "state"), [("ABSENT", "not set"), ("EMPTY", "empty")])
def test_an_empty_variable_is_null_and_a_warning(name: str, state: str) -> None:
    value, problems = expanded(f"${{env:{name}:-def}}" if name == "EMPTY" else f"${{env:{name}}}")
    assert value is None
    assert [f"configuration: key: environment variable {name} is {state}"] == problems


def test_keys_are_never_expanded() -> None:
    expander = Expander(ENV)
    node = from_plain({"${env:PORT}": "x"})
    assert {"${env:PORT}": "x"} == expander.expand(node).plain()


def exporter(value: str) -> str:
    return f"""\
receivers: {{otlp: {{protocols: {{grpc: }}}}}}
exporters:
  otlp_grpc: {value}
service:
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_grpc]}}
"""


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("{endpoint: '${env:E}'}", "F:3:25: exporters.otlp_grpc.endpoint: {}"),
        ("{endpoint: '${env:E}:4317'}", "F:3:25: exporters.otlp_grpc.endpoint: {}"),
        ("{endpoint: 'h:${env:E}'}", "F:3:25: exporters.otlp_grpc.endpoint: {}"),
        ("{endpoint: 'h:1', timeout: '${env:E}'}", "F:3:41: exporters.otlp_grpc.timeout: {}"),
        ("{endpoint: 'h:1', ratio: '${env:E}'}", "F:3:39: exporters.otlp_grpc.ratio: {}"),
        ("{endpoint: 'h:1', queue: '${env:E}'}", "F:3:39: exporters.otlp_grpc.queue: {}"),
        ("{endpoint: 'h:1', compression: '${E}'}", "F:3:45: exporters.otlp_grpc.compression: {}"),
        (
            "{endpoint: 'h:1', queue: {size: '${env:E}'}}",
            "F:3:46: exporters.otlp_grpc.queue.size: {}",
        ),
    ],
)
@pytest.mark.parametrize("env", [{}, {"E": ""}])
def test_an_empty_variable_where_a_value_is_needed_is_one_error(
    load: Load, value: str, line: str, env: dict[str, str]
) -> None:
    message = "environment variable E is empty or not set, and a value is needed here"
    assert [line.format(message)] == load(exporter(value), env=env).lines


def test_a_rule_that_an_empty_variable_breaks_names_the_variable(load: Load, good: str) -> None:
    text = good.replace("grpc: ", "grpc: {tls: {cert_file: '${env:CERT}', key_file: k}}")
    assert [
        (
            "F:2:46: receivers.otlp.protocols.grpc.tls.cert_file: certificate and key go together "
            "(environment variable CERT is empty or not set)"
        )
    ] == load(text).lines


def test_an_empty_variable_in_an_optional_place_is_a_warning(load: Load) -> None:
    loaded = load(exporter("{endpoint: 'h:1', token: '${env:E}', headers: {a: '${env:E}'}}"))
    assert loaded.errors == []
    assert [
        "F:3:39: exporters.otlp_grpc.token: environment variable E is not set",
        "F:3:64: exporters.otlp_grpc.headers.a: environment variable E is not set",
    ] == loaded.warnings


def test_a_value_from_one_reference_keeps_its_text_for_strings_only(load: Load) -> None:
    text = exporter("{endpoint: '${env:A}', headers: {a: '${env:N}'}, queue: {size: '${env:N}'}}")
    loaded = load(text, env={"A": "h:1", "N": "0123"})
    (section,) = loaded.good.exporters.values()
    assert "0123" == section.config.headers[0][1].reveal()
    assert 0o123 == section.config.queue.size


@pytest.mark.parametrize(
    "value",
    [
        "y\nevil: {b: c}\n",
        "a: b",
        "[x]",
        "y\n  evil:\n",
        "#x",
        "x #y",
        '"x"',
        "null",
        "@`%",
        "0123",
    ],
)
def test_a_string_is_what_the_variable_holds_and_never_structure(load: Load, value: str) -> None:
    text = exporter("{endpoint: 'h:1', headers: {a: '${env:N}'}, token: '${env:N}'}")
    loaded = load(text, env={"N": value})
    (section,) = loaded.good.exporters.values()
    assert [("a", value)] == [(name, v.reveal()) for name, v in section.config.headers]
    # Where null is a value of its own, null stays null.
    expected = None if value in {"null", "#x"} else Opaque(value)
    assert expected == section.config.token
