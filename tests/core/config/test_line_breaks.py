"""What variables with more than one line become: values, refused where there is no such value.

Deployments fill variables from elsewhere. Whatever is in one ends as the literal value of the key
that refers to it, never as configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config import ComponentConfig
from mlsysops_pipeline.config.printing import render
from mlsysops_pipeline.config.schema import Headers, NetAddress, Opaque
from mlsysops_pipeline.registry import Registry
from tests.core.config.conftest import EVERY, REGISTRY

if TYPE_CHECKING:
    from tests.core.config.conftest import Load


class Sending(ComponentConfig):
    endpoint: NetAddress = NetAddress("h", 1)
    port: int = 0
    word: str = ""
    pem: Opaque = Opaque("")
    headers: Headers = ()


SENDING = REGISTRY.extended([Factory(Kind.EXPORTER, "sending", Sending, print, EVERY)])
FILE = """\
receivers: {otlp: {protocols: {grpc: }}}
exporters: {debug: , sending: {KEY: VALUE}}
service: {pipelines: {logs: {receivers: [otlp], exporters: [sending, debug]}}}
"""
EVIL = "h:1\nfile/evil:\n  path: /etc/passwd"
MAP = "a: 1\nb: 2"


def file(key: str, value: str) -> str:
    return FILE.replace("KEY", key).replace("VALUE", value)


@pytest.mark.parametrize("value", ["'${env:X}'", "'${X}'", "'${env:UNSET:-${env:X}}'"])
@pytest.mark.parametrize("content", [EVIL, MAP, "h:1\n", "h:1\r\n- x", "h:1\n---\na: 1"])
@pytest.mark.parametrize("key", ["endpoint", "port"])
def test_a_line_break_in_a_variable_is_no_configuration(
    load: Load, key: str, content: str, value: str
) -> None:
    loaded = load(file(key, value), registry=SENDING, env={"X": content})
    (line,) = loaded.errors
    assert line.startswith(f"F:2:{34 + len(key)}: exporters.sending.{key}: ")
    assert "\n" not in line


@pytest.mark.parametrize("value", ["'${env:X}'", "'a-${env:X}'", "'${env:X}:4317'"])
def test_the_message_says_what_became_of_the_line_break(load: Load, value: str) -> None:
    loaded = load(file("endpoint", value), registry=SENDING, env={"X": EVIL})
    (line,) = loaded.errors
    assert line.startswith("F:2:42: exporters.sending.endpoint: ")
    assert r"h:1\nfile/evil:" in line
    assert line.endswith("(the line break is part of the value, whatever follows it)")


def test_a_map_inside_text_is_refused(load: Load) -> None:
    loaded = load(file("word", "'a ${env:X}'"), registry=SENDING, env={"X": MAP})
    assert ["F:2:38: exporters.sending.word: ${env:X} is a map or list inside text"] == (
        loaded.errors
    )


@pytest.mark.parametrize(
    "content", ["http://me:s3cr\net@h/", "x\n'me:s3cret@h:1'", "http://me:s3cret\n@h:1"]
)
def test_a_password_with_a_line_break_is_not_shown(load: Load, content: str) -> None:
    loaded = load(file("endpoint", "'${env:X}'"), registry=SENDING, env={"X": content})
    assert loaded.errors
    assert "s3cr" not in "".join(loaded.lines)


def test_a_secret_of_several_lines_is_taken_and_not_shown(load: Load) -> None:
    """Keys and certificates have lines."""
    pem = "-----BEGIN KEY-----\nMIIB: x\n-----END KEY-----\n"
    loaded = load(file("pem", "'${env:X}'"), registry=SENDING, env={"X": pem})
    (section,) = (s for s in loaded.good.exporters.values() if s.id.type == "sending")
    assert pem == section.config.pem.reveal()
    assert "MIIB" not in render(loaded.good)


@pytest.mark.parametrize("content", ["one\ntwo: x", EVIL, MAP, "- a\n- b", "k: v\n"])
def test_text_of_several_lines_stays_as_it_is(load: Load, content: str) -> None:
    loaded = load(file("word", "'${env:X}'"), registry=SENDING, env={"X": content})
    (section,) = (s for s in loaded.good.exporters.values() if s.id.type == "sending")
    assert content == section.config.word


def test_an_id_has_no_line_breaks(load: Load) -> None:
    text = file("port", "1").replace("[sending, debug]", "['${env:X}', debug]")
    loaded = load(text, registry=SENDING, env={"X": "sending\n- file/evil"})
    (line,) = loaded.errors
    assert line.startswith("F:3:61: service.pipelines.logs.exporters[0]: ")


HOSTILE = """\
receivers:
  otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}}}
exporters:
  debug:
  EXPORTER
service: {pipelines: {metrics: {receivers: [otlp], exporters: [debug]}}}
"""


@pytest.mark.parametrize(
    "exporter",
    [
        "otlp_grpc: {endpoint: '${env:X}'}",
        "otlp_grpc: {endpoint: 'h:1', headers: {x: '${env:X}'}}",
        "otlp_grpc: {endpoint: 'h:1', user_agent: '${env:X}'}",
        "otlp_grpc: {endpoint: 'h:1', authority: '${env:X}'}",
        "otlp_http: {endpoint: '${env:X}'}",
        "otlp_http: {endpoint: 'http://${env:X}'}",
        "otlp_http: {endpoint: 'http://h', headers: {x: '${env:X}'}}",
        "prometheusremotewrite: {endpoint: 'http://h/${env:X}'}",
        "prometheusremotewrite: {endpoint: 'http://h', headers: {x: '${env:X}'}}",
        "prometheus: {endpoint: '${env:X}'}",
        "prometheus: {endpoint: '127.0.0.1:${env:X}'}",
    ],
)
def test_our_exporters_refuse_it_where_no_value_has_one(load: Load, exporter: str) -> None:
    text = HOSTILE.replace("EXPORTER", exporter)
    loaded = load(text, registry=Registry.installed(), env={"X": "h:80\nx-evil: 1"})
    (line,) = loaded.errors
    assert line.startswith("F:5:")
    assert "x-evil" not in line or r"\nx-evil" in line
