"""What this collector and the Go collector make of the same input: `make diff`.

Both scrape the same node_exporter and the same pages, both get the same OTLP; their Prometheus
pages and what they send on as OTLP are compared. Every difference is printed: one that is meant
with its reason. The status is 1 if there is one that is not meant.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from benchmarks.known_peers import go_collector
from mlsysops_pipeline import Signal
from tests.differential import differences, inputs, pages, processors, routes
from tests.interop.conftest import OtlpSink, Program, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_ITSELF = re.compile(r"^scrape_duration_seconds")
_TEXT = "text/plain;version=0.0.4"
_OPEN = "application/openmetrics-text;version=1.0.0"
_SETTLE_S = 2.5

_FRAMEWORK = """{endpoint: "127.0.0.1:PAGE", send_timestamps: true, metric_expiration: 60s,
    enable_open_metrics: false, add_metric_suffixes: true,
    resource_to_telemetry_conversion: {enabled: true}}"""
_PLAIN = '{endpoint: "127.0.0.1:PAGE"}'
_BARE = """{endpoint: "127.0.0.1:PAGE", namespace: "my ns", const_labels: {a: b},
    translation_strategy: UnderscoreEscapingWithoutSuffixes}"""
_UTF8 = '{endpoint: "127.0.0.1:PAGE", translation_strategy: NoUTF8EscapingWithSuffixes}'
_OPEN_METRICS = '{endpoint: "127.0.0.1:PAGE", enable_open_metrics: true}'

_CONFIG = """
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:GRPC"}}}
SCRAPE
exporters:
  prometheus: OPTIONS
  otlp: {endpoint: "127.0.0.1:SINK", tls: {insecure: true}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [RECEIVERS], exporters: [prometheus, otlp]}
"""
_SCRAPE = """  prometheus:
    config:
      scrape_configs:
        - job_name: machine
          scrape_interval: 1s
          scrape_timeout: 1s
          static_configs: [{targets: ["127.0.0.1:TARGET"]}]
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One input, and how both are configured and read."""

    name: str
    options: str
    accept: str = _TEXT
    page: tuple[str, str] | None = None
    """Content type and text of a page that is scraped."""
    node_exporter: bool = False

    @property
    def scrapes(self) -> bool:
        return self.page is not None or self.node_exporter


CASES = (
    Case("node_exporter", _FRAMEWORK, node_exporter=True),
    Case("scraped text", _FRAMEWORK, page=(_TEXT, inputs.TEXT)),
    Case("scraped text, plain", _PLAIN, page=(_TEXT, inputs.TEXT)),
    Case("scraped OpenMetrics", _OPEN_METRICS, _OPEN, (_OPEN, inputs.OPEN_METRICS)),
    Case("scraped UTF-8 names", _PLAIN, page=(_TEXT, inputs.UTF8)),
    Case("OTLP", _FRAMEWORK),
    Case("OTLP, plain", _PLAIN),
    Case("OTLP, without suffixes", _BARE),
    Case("OTLP, OpenMetrics", _OPEN_METRICS, _OPEN),
    Case("OTLP, UTF-8", _UTF8, "text/plain;version=1.0.0;escaping=allow-utf-8"),
)


_AnyCase: TypeAlias = Case | processors.ProcessorCase | routes.RouteCase


class Side:
    """One of the two collectors with its sink."""

    def __init__(self, name: str, command: list[str], folder: Path, config: str) -> None:
        self.sink = OtlpSink()
        self.grpc, self.page = free_port(), free_port()
        path = folder / f"{name}.yaml"
        for mark, port in (("GRPC", self.grpc), ("PAGE", self.page), ("SINK", self.sink.grpc_port)):
            config = config.replace(f":{mark}", f":{port}")
        path.write_text(config)
        self.program = Program([*command, "--config", str(path)], folder / f"{name}.log")

    def read(self, accept: str) -> str:
        """The page, empty while there is none."""
        url = f"http://127.0.0.1:{self.page}/metrics"
        request = urllib.request.Request(url, headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 our own URL
                return str(answer.read().decode())
        except urllib.error.URLError:
            return ""

    def has_scraped(self) -> bool:
        """Whether its page shows a scrape."""
        return "\nup{" in self.read(_TEXT)

    def has_received(self) -> bool:
        """Whether it has sent something on."""
        return bool(self.sink.messages(Signal.METRICS))


def compare(case: Case, go: str, folder: Path) -> list[str]:
    """Run both and return what differs. Raises `AssertionError` when one does not run."""
    with ExitStack() as stack:
        config = _CONFIG.replace("OPTIONS", case.options)
        config = config.replace("RECEIVERS", "otlp, prometheus" if case.scrapes else "otlp")
        scrape = ""
        if case.scrapes:
            port = stack.enter_context(_target(case, folder))
            scrape = _SCRAPE.replace("TARGET", str(port))
        config = config.replace("SCRAPE\n", scrape)
        ours = [sys.executable, "-m", "mlsysops_pipeline.cli"]
        sides = []
        for name, command in (("go", [go]), ("ours", ours)):
            side = Side(name, command, folder, config)
            stack.callback(side.sink.stop)
            stack.enter_context(running(side.program, side.grpc, side.page))
            sides.append(side)
        if case.scrapes:
            _await_scrapes(sides)
        else:
            _send(sides)
        left, right = (pages.read(side.read(case.accept)) for side in sides)
        found = list(differences.of_pages(left, right, _OF_ITSELF))
        sent = [side.sink.messages(Signal.METRICS) for side in sides]
        return found + list(differences.of_otlp(sent[0], sent[1], _OF_ITSELF))


def compare_processor(case: processors.ProcessorCase, go: str, folder: Path) -> list[str]:
    """The same for a processor, of which only what is sent on is read."""
    with ExitStack() as stack:
        sides = []
        ours = [sys.executable, "-m", "mlsysops_pipeline.cli"]
        for name, command in (("go", [go]), ("ours", ours)):
            side = Side(name, command, folder, case.config)
            stack.callback(side.sink.stop)
            stack.enter_context(running(side.program, side.grpc))
            sides.append(side)
        for body in processors.requests(case, seed=1):
            for side in sides:
                with grpc.insecure_channel(f"127.0.0.1:{side.grpc}") as channel:
                    channel.unary_unary(case.signal.method)(body, timeout=10)
        time.sleep(case.wait_s)  # two programs with clocks of their own: `Case.wait_s`
        sent = [side.sink.messages(case.signal) for side in sides]
        if not sent[0]:
            return ["nothing came out of Go"]
        return list(processors.differences(case.signal, sent[0], sent[1]))


def _send(sides: list[Side]) -> None:
    body = inputs.otlp().SerializeToString()
    for side in sides:
        with grpc.insecure_channel(f"127.0.0.1:{side.grpc}") as channel:
            channel.unary_unary(Signal.METRICS.method)(body, timeout=10)
    for side in sides:
        side.program.wait_for(side.has_received, "OTLP")
    time.sleep(0.5)  # what they hand on late would be a difference


def _await_scrapes(sides: list[Side]) -> None:
    for side in sides:
        side.program.wait_for(side.has_scraped, "a scrape")
    time.sleep(_SETTLE_S)  # the same


@contextmanager
def _target(case: Case, folder: Path) -> Iterator[int]:
    """What is scraped: for both the same page, that of a node_exporter as it was at one time."""
    page = case.page
    if page is None:
        port = free_port()
        command = [shutil.which("prometheus-node-exporter") or ""]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        with running(Program(command, folder / "node_exporter.log"), port):
            url = f"http://127.0.0.1:{port}/metrics"
            with urllib.request.urlopen(url, timeout=5) as answer:
                page = (answer.headers["Content-Type"], answer.read().decode())
    with _served(*page) as port:
        yield port


@contextmanager
def _served(content_type: str, text: str) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with this in their name")
    parser.add_argument("--quiet", action="store_true", help="not the differences that are meant")
    add = parser.add_argument
    add("--routing-peer", metavar="PATH", help="a Go collector that has the routing connector")
    options = parser.parse_args()
    go = go_collector()
    if go is None:
        _say("the Go collector is not here: make peers")
        return 1
    bad = 0
    cases: list[_AnyCase] = [*CASES, *processors.CASES]
    if options.routing_peer:
        cases += routes.CASES
    else:
        _say("== connector routing: left out, as its Go collector is another one: --routing-peer")
    for case in cases:
        if options.only not in case.name:
            continue
        if (
            isinstance(case, Case)
            and case.node_exporter
            and not shutil.which("prometheus-node-exporter")
        ):
            _say(f"== {case.name}: left out, as node_exporter is not installed")
            continue
        with tempfile.TemporaryDirectory(prefix="diff-") as folder:
            try:
                if isinstance(case, Case):
                    found = compare(case, str(go), Path(folder))
                elif isinstance(case, routes.RouteCase):
                    found = routes.compare(case, options.routing_peer, Path(folder))
                else:
                    found = compare_processor(case, str(go), Path(folder))
            except AssertionError as error:
                found = [f"did not run: {error}"]
        meant = [one for one in found if differences.expected(one)]
        bad += len(found) - len(meant)
        _say(f"== {case.name}: {len(found) - len(meant)} differences, {len(meant)} that are meant")
        for one in found:
            reason = differences.expected(one)
            if not reason:
                _say(f"   {one}")
            elif not options.quiet:
                _say(f"   ({one}: {reason})")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
