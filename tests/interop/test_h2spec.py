"""h2spec, the conformance tests of HTTP/2, against the collector's gRPC port."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import pytest

from tests.core.transport.grpc_peers import make_certificates
from tests.interop.conftest import Collector, require, running

if TYPE_CHECKING:
    from collections.abc import Iterator

_H2SPEC: Final = Path(__file__).parent / "go" / "h2spec"
_CASES_MIN: Final = 140
_CONFIG: Final = """
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: "127.0.0.1:$GRPC$"
        TLS
exporters:
  nop: {}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [otlp], exporters: [nop]}
"""

_LARGE_HEADERS: Final = (
    "http2/4.2: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE"
)
"""It exceeds the default, 16 KiB, and not what we announce (RFC 9113, section 4.2), unless it is
told to send more: then it must pass.
"""


@pytest.fixture(params=["plain", "tls"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """Arguments that lead h2spec to a running collector."""
    require(_H2SPEC.is_file(), "h2spec (.ci/install-peers)")
    tls, arguments = "", []
    if request.param == "tls":
        files = make_certificates(tmp_path)
        tls = f'tls: {{cert_file: "{files.server_cert}", key_file: "{files.server_key}"}}'
        arguments = ["--tls", "--insecure"]
    program = Collector(tmp_path, _CONFIG.replace("TLS", tls))
    with running(program, program.grpc_port):
        yield [*arguments, "--port", str(program.grpc_port)]


def failures(folder: Path, arguments: list[str]) -> tuple[int, set[str]]:
    """How many cases ran, and section and description of those that failed."""
    report = folder / "report.xml"
    command = [str(_H2SPEC), "--strict", "--timeout", "2", "--junit-report", str(report)]
    subprocess.run([*command, *arguments], capture_output=True, timeout=50, check=False)
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  we asked for it
    failed = {
        f"{case.attrib['package']}: {case.attrib['classname']}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    return len(cases), failed


def test_all_cases_pass_but_one_with_a_reason(target: list[str], tmp_path: Path) -> None:
    count, failed = failures(tmp_path, target)
    assert count >= _CASES_MIN
    assert set() == failed - {_LARGE_HEADERS}


def test_a_headers_frame_that_is_too_large_ends_the_connection(
    target: list[str], tmp_path: Path
) -> None:
    more = ["--max-header-length", "300000", "http2/4.2/3"]
    count, failed = failures(tmp_path, [*target, *more])
    assert count >= 1
    assert set() == failed
