"""Every message: what is written, and the one line that says what is wrong with it and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.core.config.conftest import Load

HEAD = "service:\n  pipelines:\n    metrics: {receivers: [otlp], exporters: [otlp_grpc]}\n"
RECEIVER = "receivers:\n  otlp: {protocols: {grpc: }}\n"


def with_exporter(body: str) -> str:
    """A file whose exporter has this body, from line 7 on."""
    return f"{HEAD}{RECEIVER}exporters:\n  otlp_grpc:\n{body}"


EXPORTER_KEYS = "exporters.otlp_grpc"
VALUES = [
    (
        "    endpint: x:1",
        ['F:8:5: {}.endpint: unknown key (did you mean "endpoint"?)'],
    ),
    (
        "    endpoint: 4317",
        ['F:8:15: {}.endpoint: expected a string, got the number 4317 (write "4317" in quotes)'],
    ),
    ("    endpoint: host", ['F:8:15: {}.endpoint: "host": the port is missing; write HOST:PORT']),
    ("    endpoint:", ["F:8:14: {}.endpoint: must not be empty: write HOST:PORT"]),
    ("    endpoint: [x:1]", ["F:8:15: {}.endpoint: expected a string, got a list"]),
    (
        "    endpoint: http://x:1",
        ['F:8:15: {}.endpoint: "http://x:1": expected HOST:PORT without a scheme'],
    ),
    (
        "    {endpoint: x:1, timeout: 5 minutes}",
        [
            (
                'F:8:30: {}.timeout: "5 minutes" is no duration; a duration is a number '
                "with a unit, such as 5s, 200ms or 1h30m"
            )
        ],
    ),
    (
        '    {endpoint: x:1, timeout: "5"}',
        ['F:8:30: {}.timeout: "5" has no unit; write 5s if seconds are meant'],
    ),
    (
        "    {endpoint: x:1, timeout: 1d}",
        ['F:8:30: {}.timeout: "1d": durations have no unit above hours; write days as 24h'],
    ),
    (
        "    {endpoint: x:1, timeout: -5s}",
        ['F:8:30: {}.timeout: expected a duration that is not negative, got "-5s"'],
    ),
    (
        "    {endpoint: x:1, timeout: -5}",
        ["F:8:30: {}.timeout: expected a duration that is not negative, got the number -5"],
    ),
    (
        "    {endpoint: x:1, timeout: 0.5}",
        ["F:8:30: {}.timeout: expected a duration such as 5s, 200ms or 1h30m, got the number 0.5"],
    ),
    (
        "    {endpoint: x:1, timeout: {}}",
        ["F:8:30: {}.timeout: expected a duration such as 5s, 200ms or 1h30m, got a map"],
    ),
    (
        "    {endpoint: x:1, compression: gzp}",
        ['F:8:34: {}.compression: "gzp" is not allowed (did you mean "gzip"?)'],
    ),
    (
        "    {endpoint: x:1, compression: lz4}",
        ['F:8:34: {}.compression: "lz4" is not allowed (allowed: gzip, none, zstd)'],
    ),
    (
        "    {endpoint: x:1, compression: [gzip]}",
        ["F:8:34: {}.compression: expected one word, got a list (allowed: gzip, zstd, none)"],
    ),
    (
        "    {endpoint: x:1, compression: }",
        ["F:8:34: {}.compression: must not be empty (allowed: gzip, zstd, none)"],
    ),
    ("    {endpoint: x:1, ratio: 2}", ["F:8:28: {}.ratio: must be at most 1, got the number 2"]),
    (
        "    {endpoint: x:1, ratio: -0.5}",
        ["F:8:28: {}.ratio: must be at least 0, got the number -0.5"],
    ),
    (
        '    {endpoint: x:1, ratio: "1"}',
        ['F:8:28: {}.ratio: expected a number, got "1" (write 1 without quotes)'],
    ),
    (
        "    {endpoint: x:1, ratio: .nan}",
        ["F:8:28: {}.ratio: expected a finite number, got the number .nan"],
    ),
    (
        "    {endpoint: x:1, token: 12345}",
        ["F:8:28: {}.token: expected a string, got a number (write it in quotes)"],
    ),
    (
        "    {endpoint: x:1, headers: {a: 12345}}",
        ["F:8:34: {}.headers.a: expected a string, got a number (write it in quotes)"],
    ),
    (
        "    {endpoint: x:1, headers: [{nam: b}]}",
        ["F:8:31: {}.headers[0]: expected a map of name and value, got a map"],
    ),
    (
        "    {endpoint: x:1, headers: [{name: b, valu: c}]}",
        ['F:8:41: {}.headers[0].valu: unknown key (did you mean "value"?)'],
    ),
    (
        "    {endpoint: x:1, headers: secret}",
        ["F:8:30: {}.headers: expected a map, or a list of {{name, value}}, got a string"],
    ),
    (
        "    {endpoint: x:1, queue: {size: 0}}",
        ["F:8:35: {}.queue.size: must be greater than 0, got the number 0"],
    ),
    (
        "    {endpoint: x:1, queue: {size: 0.5}}",
        ["F:8:35: {}.queue.size: expected a whole number, got the number 0.5"],
    ),
    (
        "    {endpoint: x:1, queue: {size: 10MiB}}",
        [
            (
                'F:8:35: {}.queue.size: expected a whole number, got "10MiB" (sizes are '
                "plain numbers; the key says in which unit)"
            )
        ],
    ),
    (
        "    {endpoint: x:1, queue: {size: true}}",
        ["F:8:35: {}.queue.size: expected a whole number, got the bool true"],
    ),
    (
        "    {endpoint: x:1, queue: [1]}",
        ["F:8:28: {}.queue: expected a map of keys and values, got a list"],
    ),
    (
        "    {endpoint: x:1, queue: true}",
        ["F:8:28: {}.queue: expected a map of keys and values, got the bool true"],
    ),
    (
        '    {endpoint: x:1, queue: {enabled: "no"}}',
        ['F:8:38: {}.queue.enabled: expected true or false, got "no" (write false)'],
    ),
    ("    - x", ["F:8:5: {}: expected a map of keys and values, got a list"]),
    ("    x", ['F:8:5: {}: expected a map of keys and values, got "x"']),
]


@pytest.mark.parametrize(("body", "expected"), VALUES, ids=[body.strip() for body, _ in VALUES])
def test_a_wrong_value_is_one_line(load: Load, body: str, expected: list[str]) -> None:
    lines = [line.format(EXPORTER_KEYS) for line in expected]
    assert sorted(lines) == sorted(load(with_exporter(body)).lines)


PARTS = [
    ("", ["F:1:1: empty configuration file"]),
    ("# only a comment\n", ["F:1:1: empty configuration file"]),
    ("- receivers\n", ["F:1:1: expected a map of sections (receivers, service, ...), got a list"]),
    ("receivers", ['F:1:1: expected a map of sections (receivers, service, ...), got "receivers"']),
    (b"receivers:\n  otlp: \xff\n", ["F:2:9: not UTF-8: byte 0xff is invalid"]),
    ("receivers:\n\totlp:\n", ["F:2:1: a tab; YAML is indented with spaces"]),
    (
        "receivers:\n  otlp:\n  otlp:\n",
        ["F:3:3: duplicate key 'otlp': it stands in line 2 already"],
    ),
    (
        "exporters:\n  otlp:\n    endpoint: cluster:\n",
        [
            (
                "F:3:22: not YAML: mapping values are not allowed in this context (a value ends in "
                "a colon: is a port missing behind it?)"
            )
        ],
    ),
    (
        "a:\n  b: 1\n    c: 2\n",
        [
            (
                "F:3:6: not YAML: mapping values are not allowed in this context (is this line "
                "indented deeper than the one above it?)"
            )
        ],
    ),
    (
        "a: x: y\n",
        [
            (
                "F:1:5: not YAML: mapping values are not allowed in this context (a value with a "
                "colon and a space in it must be in quotes)"
            )
        ],
    ),
    (
        "a:\n    b: 1\n   c: 2\n",
        [
            (
                "F:3:4: not YAML: did not find expected key (is this line indented as its "
                "neighbours are?)"
            )
        ],
    ),
    (
        (
            'receivers: {otlp: {protocols: {grpc: }}}\nexporters: {otlp: {endpoint: "a:1"}}\n'
            "service:\npipelines:\n  logs: {}\n"
        ),
        [
            "F:3:1: service: service must have at least one pipeline",
            "F:4:1: pipelines: unknown key (indent it: it is part of service)",
        ],
    ),
    ("receivers: {\n", ["F:2:1: not YAML: did not find expected node content"]),
    ("a: 1\n---\nb: 2\n", ["F:3:1: more than one YAML document in one file"]),
    ("a: \x07\n", ["F:1:4: not YAML: control characters are not allowed"]),
    ("a: &x [*x]\n", ["F:1:4: too large, nested too deeply, or an endless alias"]),
    ("? [a]\n: b\n", ["F:1:3: a key must be a string, not a list or map"]),
    ("a: {<<: 3}\n", ["F:1:9: << takes a map or a list of maps"]),
    (
        "{}",
        [
            "F:1:1: no receiver configuration specified in config",
            "F:1:1: no exporter configuration specified in config",
            "F:1:1: service must have at least one pipeline",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), PARTS)
def test_a_file_that_is_no_configuration_is_one_clear_line(
    load: Load, text: str | bytes, expected: list[str]
) -> None:
    assert expected == load(text).lines


def test_a_missing_file_and_a_folder_are_one_clear_line_each(
    load: Load, good: str, tmp_path: Path
) -> None:
    loaded = load(good, "/no/such/file.yaml", tmp_path)
    assert [
        "/no/such/file.yaml: unable to read the file: No such file or directory",
        f"{tmp_path}: unable to read the file: Is a directory",
    ] == loaded.lines


SECTIONS = [
    (
        "receivrs: {}\n",
        ['F:1:1: receivrs: unknown key (did you mean "receivers"?)'],
    ),
    ("connectors: [forward]\n", ["F:1:13: connectors: expected a map of connectors, got a list"]),
    ("connectors: {x-y: }\n", ['F:1:14: connectors.x-y: invalid character(s) in type "x-y"']),
    (
        "connectors: {forward/: }\n",
        ['F:1:14: connectors.forward/: in "forward/" id: the part after / should not be empty'],
    ),
    (
        "extensions: {oath: }\n",
        [
            (
                'F:1:14: extensions.oath: unknown type "oath": there is no such extension here '
                "(allowed: basicauth)"
            ),
        ],
    ),
    (
        "processors: {bath: }\n",
        [
            (
                'F:1:14: processors.bath: unknown type "bath": there is no such processor here '
                '(did you mean "batch"?)'
            ),
        ],
    ),
    (
        "processors: {otlp: }\n",
        [
            (
                'F:1:14: processors.otlp: unknown type "otlp": there is no such processor here '
                "(it is a receiver)"
            ),
        ],
    ),
    (
        "processors: {batch: , 'batch ': }\n",
        [
            "F:1:14: warning: processors.batch: is defined but not used: it is not in any pipeline",
            'F:1:23: processors.batch : duplicate name "batch": it stands in line 1 already',
        ],
    ),
]


@pytest.mark.parametrize(("head", "expected"), SECTIONS, ids=[head for head, _ in SECTIONS])
def test_a_wrong_section_is_one_line(load: Load, good: str, head: str, expected: list[str]) -> None:
    assert expected == load(head + good).lines


SERVICE = "receivers: {otlp: {protocols: {grpc: }}, scrape: }\nexporters: {debug: }\nservice:\n"
PIPELINES = [
    (
        "  pipeline: {}\n",
        [
            'F:4:3: service.pipeline: unknown key (did you mean "pipelines"?)',
            "F:3:1: service: service must have at least one pipeline",
        ],
    ),
    ("  pipelines: {}\n", ["F:4:3: service.pipelines: service must have at least one pipeline"]),
    (
        "  pipelines: [a]\n",
        [
            "F:4:14: service.pipelines: expected a map of pipelines, got a list",
            "F:4:3: service.pipelines: service must have at least one pipeline",
        ],
    ),
    (
        "  pipelines: {trace: {}}\n",
        [
            (
                'F:4:15: service.pipelines.trace: "trace" is no signal; the signals are '
                "metrics, logs, traces"
            )
        ],
    ),
    (
        "  pipelines: {traces: {}}\n",
        [
            "F:4:15: service.pipelines.traces: must have at least one receiver",
            "F:4:15: service.pipelines.traces: must have at least one exporter",
        ],
    ),
    (
        "  pipelines: {traces: {receivers: [otpl], exporters: [debug]}}\n",
        [
            (
                "F:4:36: service.pipelines.traces.receivers[0]: references receiver "
                '"otpl" which is not configured (did you mean "otlp"?)'
            )
        ],
    ),
    (
        "  pipelines: {traces: {receivers: [otlp], processors: [batch], exporters: [debug]}}\n",
        [
            (
                "F:4:56: service.pipelines.traces.processors[0]: references processor "
                '"batch" which is not configured (processors has no entries)'
            )
        ],
    ),
    (
        "  pipelines: {traces: {receivers: [debug], exporters: [debug]}}\n",
        [
            (
                "F:4:36: service.pipelines.traces.receivers[0]: references receiver "
                '"debug" which is not configured (it is configured in exporters)'
            )
        ],
    ),
    (
        "  pipelines: {traces: {receivers: [scrape], exporters: [debug]}}\n",
        [
            (
                'F:4:36: service.pipelines.traces.receivers[0]: receiver "scrape" does '
                "not support traces (only metrics)"
            )
        ],
    ),
    (
        "  pipelines: {traces: {receivers: [otlp], exporter: [debug]}}\n",
        [
            'F:4:43: service.pipelines.traces.exporter: unknown key (did you mean "exporters"?)',
            "F:4:15: service.pipelines.traces: must have at least one exporter",
        ],
    ),
    (
        "  pipelines: {traces: {receivers: {otlp: }, exporters: [debug]}}\n",
        [
            "F:4:35: service.pipelines.traces.receivers: expected a list of ids, got a map",
            "F:4:24: service.pipelines.traces.receivers: must have at least one receiver",
        ],
    ),
    (
        "  pipelines: {traces: {receivers: [3], exporters: [debug]}}\n",
        [
            (
                "F:4:36: service.pipelines.traces.receivers[0]: expected a string, got "
                'the number 3 (write "3" in quotes)'
            ),
            "F:4:24: service.pipelines.traces.receivers: must have at least one receiver",
        ],
    ),
    (
        (
            "  extensions: [basicauth]\n  pipelines: {traces: {receivers: [otlp], "
            "exporters: [debug]}}\n"
        ),
        ['F:4:16: service.extensions[0]: references extension "basicauth" which is not configured'],
    ),
    (
        (
            "  telemetry: {metrics: {address: x}}\n  pipelines: {traces: {receivers: "
            "[otlp], exporters: [debug]}}\n"
        ),
        [
            (
                "F:4:25: service.telemetry.metrics.address: is not supported: it was "
                "removed; write readers: "
                "[{pull: {exporter: {prometheus: {host: HOST, port: PORT}}}}]"
            )
        ],
    ),
]


@pytest.mark.parametrize(("body", "expected"), PIPELINES, ids=[body for body, _ in PIPELINES])
def test_a_wrong_service_is_one_line(load: Load, body: str, expected: list[str]) -> None:
    assert sorted(expected) == sorted(load(SERVICE + body).errors)


def test_the_logging_exporter_has_the_message_of_the_collector(load: Load, good: str) -> None:
    errors = load(good.replace("debug", "logging")).errors
    assert [
        (
            "F:4:3: exporters.logging: the logging exporter has been deprecated, use the debug "
            "exporter instead"
        )
    ] == errors


def test_a_processor_twice_in_one_pipeline_is_an_error_and_an_exporter_a_warning(
    load: Load, good: str
) -> None:
    text = "processors: {nothing: }\n" + good.replace(
        "exporters: [debug]}", "processors: [nothing, nothing], exporters: [debug, debug]}"
    )
    loaded = load(text)
    assert [
        (
            "F:8:55: service.pipelines.traces.processors[1]: references processor "
            '"nothing" multiple times'
        )
    ] == loaded.errors
    assert [
        'F:8:84: service.pipelines.traces.exporters[1]: references exporter "debug" multiple times'
    ] == loaded.warnings


def test_everything_wrong_is_reported_at_once_in_file_order(load: Load) -> None:
    text = """\
receivers:
  otlp: {protocols: {grpc: {max_mib: 2000, idel: 1s}}}
exporters:
  otlp: {endpoint: here}
processors:
  memory_limiter: {limit_mib: lots}
service:
  pipelines:
    traces: {receivers: [otlp, missing], exporters: [otlp]}
  extension: []
"""
    assert [2, 4, 4, 6, 6, 9, 10] == [p.position.line for p in load(text).problems][1:]
    assert 6 == len(load(text).errors)


def test_a_list_in_the_collectors_comma_form_is_split_and_not_trimmed(
    load: Load, good: str
) -> None:
    text = good.replace("[otlp], exporters: [debug]", '"otlp", exporters: "debug,debug"')
    loaded = load(text)
    assert 1 == len(loaded.good.service.pipelines)
    (pipeline,) = loaded.good.service.pipelines.values()
    assert ["debug"] == list(map(str, pipeline.exporters))


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("{endpoint: 'a:1', tls_settings: }", '"tls" now'),
        ("{endpoint: 'a:1', insecure: true}", 'it belongs under "tls"'),
        ("{endpoint: 'a:1', batcher: }", "use sending_queue.batch"),
        ("{endpoint: 'a:1', sending_queue: {blocking: true}}", '"block_on_overflow" now'),
        ("{endpoint: 'a:1', retry_settings: }", '"retry_on_failure"'),
        ("{endpoint: 'a:1', sending_queue: {batch: {min_size_items: 1}}}", '"min_size" now'),
    ],
)
def test_a_key_of_older_files_has_its_successor(load: Load, body: str, hint: str) -> None:
    text = (
        "receivers: {otlp: {protocols: {grpc: }}}\n"
        f"exporters: {{otlp_grpc: {body}}}\n"
        "service: {pipelines: {logs: {receivers: [otlp], exporters: [otlp_grpc]}}}\n"
    )
    (line,) = load(text, registry=Registry.installed()).errors
    assert "unknown key" in line
    assert hint in line


def test_the_same_word_elsewhere_is_a_word_like_any_other(load: Load, good: str) -> None:
    (line,) = load(good.replace("debug:", "debug: {insecure: true}")).errors
    assert line.endswith("exporters.debug.insecure: unknown key (it has no keys)")


@pytest.mark.parametrize(
    ("section", "name"),
    [("processors", "tail_sampling"), ("receivers", "kafka"), ("connectors", "servicegraph")],
)
def test_what_the_collector_has_and_we_do_not_is_no_misspelling(
    load: Load, good: str, section: str, name: str
) -> None:
    text = good.replace("receivers:\n", f"receivers:\n  {name}:\n")
    if section != "receivers":
        text = f"{section}: {{{name}: }}\n{good}"
    (line,) = load(text, registry=Registry.installed()).errors
    kind = section.removesuffix("s")
    assert line.endswith(f'unknown type "{name}": the Collector\'s {kind} is not supported here')
