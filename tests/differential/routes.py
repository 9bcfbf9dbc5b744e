"""Random OTLP through the routing connector of both collectors: what goes to which pipeline.

The Go collector of `go_collector.yaml` has no routing connector (see there), so this is run with
another one: `python -m tests.differential --routing-peer PATH`. It was last held against 0.149.0,
built with ``receiver/otlpreceiver``, ``connector/routingconnector`` and ``exporter/otlpexporter``.
Conditions are in the form that releases from 0.14x on and this collector understand: paths of the
context itself without its prefix.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from mlsysops_pipeline import Signal
from tests.differential import processors, random_otlp
from tests.interop.conftest import OtlpSink, Program, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ROWS_SHOWN = 4
_QUIET_S = 0.7
"""So long nothing more comes: two programs with clocks of their own."""


@dataclass(frozen=True, slots=True)
class RouteCase:
    """One routing table: rows of context, condition, action and pipelines."""

    signal: Signal
    table: tuple[tuple[str, str, str, str], ...]
    has_default: bool = True
    seed: int = 1

    @property
    def name(self) -> str:
        shown = self.table if len(self.table) < _ROWS_SHOWN else self.table[:1]
        rows = "; ".join(" ".join(row) for row in shown)
        rows += f"; and {len(self.table) - 1} more" if shown != self.table else ""
        return f"connector routing {self.signal} {rows}{'' if self.has_default else ', no default'}"

    def config(self, port: int, sinks: dict[str, OtlpSink]) -> str:
        """The configuration of a collector; one exporter for each pipeline."""
        table = [
            f"{{context: {context}, condition: '{condition}', action: {action}, "
            f"pipelines: [{', '.join(f'{self.signal}/{name}' for name in pipelines.split('+'))}]}}"
            for context, condition, action, pipelines in self.table
        ]
        lines = [
            "receivers:",
            f'  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}',
            "connectors:",
            "  routing:",
            *([f"    default_pipelines: [{self.signal}/rest]"] if self.has_default else []),
            "    error_mode: ignore",
            f"    table: [{', '.join(table)}]",
            "exporters:",
            *(
                f'  otlp/{name}: {{endpoint: "127.0.0.1:{sink.grpc_port}", '
                "tls: {insecure: true}}"
                for name, sink in sinks.items()
            ),
            "service:",
            "  telemetry: {metrics: {level: none}}",
            "  pipelines:",
            f"    {self.signal}: {{receivers: [otlp], exporters: [routing]}}",
            *(
                f"    {self.signal}/{name}: {{receivers: [routing], exporters: [otlp/{name}]}}"
                for name in sinks
            ),
        ]
        return "\n".join(lines) + "\n"

    @property
    def pipelines(self) -> list[str]:
        """Those that the table leads to."""
        names = [name for row in self.table for name in row[3].split("+")]
        return list(dict.fromkeys([*names, *(["rest"] if self.has_default else [])]))


_M, _L, _T = Signal.METRICS, Signal.LOGS, Signal.TRACES
_CONTEXT = {_M: "datapoint", _L: "log", _T: "span"}
_VALUES = (
    'attributes["s"] == "a"',
    'attributes["s"] != "a"',
    'attributes["s"] == nil',
    'attributes["s"] != nil',
    'attributes["s"] == 1',
    'attributes["s"] == 1.0',
    'attributes["s"] == 2.5',
    'attributes["s"] == true',
    'attributes["s"] != false',
    'attributes["s"] > 0',
    'attributes["s"] <= 1',
    'attributes["s"] < "b"',
    'attributes["s"] >= "1"',
    'not (attributes["s"] == "a") and attributes["app.id"] != nil',
    'attributes["s"] == "a" or attributes["s"] == "b" and attributes["app.id"] == "1"',
    'IsMatch(attributes["s"], "^[ab1-7]")',
    'IsMatch(attributes["s"], "")',
    'IsMatch(attributes["s"], "e|k|ff|x")',
    'IsMatch(attributes["s"], "na.ve")',
)


def _one(signal: Signal, context: str, condition: str, **more: Any) -> RouteCase:
    return RouteCase(signal, ((context, condition, "move", "a"),), **more)


def _values(signal: Signal, context: str) -> RouteCase:
    """Every condition for itself, by copies: one pipeline for each."""
    rows = [(context, text, "copy", f"c{at}") for at, text in enumerate(_VALUES)]
    return RouteCase(signal, tuple(rows), has_default=False)


def _actions(signal: Signal, context: str) -> Iterator[RouteCase]:
    """What rows do to one another."""
    first, second = 'attributes["s"] != nil', 'attributes["s"] == "a"'
    for one in ("move", "copy"):
        for two in ("move", "copy"):
            table = ((context, first, one, "a"), (context, second, two, "b"))
            yield RouteCase(signal, table, has_default=one == "copy")
    yield RouteCase(signal, ((context, first, "move", "a+b"), (context, second, "copy", "rest")))
    yield RouteCase(signal, ((context, second, "copy", "a"), (context, first, "move", "a")))


def _mixed(signal: Signal) -> Iterator[RouteCase]:
    """Rows of several contexts in one table."""
    item = _CONTEXT[signal]
    outer, inner = 'attributes["app.id"] != nil', 'attributes["s"] == "a"'
    yield RouteCase(signal, (("resource", outer, "move", "a"), (item, inner, "move", "b")))
    yield RouteCase(signal, ((item, inner, "copy", "a"), ("resource", outer, "move", "b")))
    yield RouteCase(signal, (("resource", outer, "copy", "a"), (item, inner, "move", "a+b")))


CASES = (
    *(_values(signal, "resource") for signal in Signal),
    *(_values(signal, _CONTEXT[signal]) for signal in Signal),
    *(case for signal in Signal for case in _actions(signal, "resource")),
    *(case for signal in Signal for case in _actions(signal, _CONTEXT[signal])),
    *(case for signal in Signal for case in _mixed(signal)),
    *(
        _one(signal, _CONTEXT[signal], 'resource.attributes["s"] == attributes["s"]')
        for signal in Signal
    ),
    _one(_T, "span", 'name == "work"'),
    _one(_M, "metric", 'name == "m1" or name == ""'),
    _one(_M, "metric", 'IsMatch(name, "^m[23]$$") and resource.attributes["s"] != nil'),
    _one(_M, "metric", 'resource.attributes["s"] == "a"', has_default=False),
    _one(_M, "datapoint", 'metric.name == "m2"'),
    RouteCase(_M, (("metric", 'name == "m1"', "copy", "a"), ("metric", 'name != ""', "move", "b"))),
    RouteCase(
        _M,
        (
            ("metric", 'name == "m1"', "move", "a"),
            ("datapoint", 'attributes["s"] != nil', "move", "b"),
        ),
    ),
)
"""The tables."""


class _Side:
    def __init__(self, name: str, command: list[str], folder: Path, case: RouteCase) -> None:
        self.sinks = {pipeline: OtlpSink() for pipeline in case.pipelines}
        self.grpc = free_port()
        path = folder / f"{name}.yaml"
        path.write_text(case.config(self.grpc, self.sinks))
        self.program = Program([*command, "--config", str(path)], folder / f"{name}.log")

    def stop(self) -> None:
        for sink in self.sinks.values():
            sink.stop()

    def count(self, signal: Signal) -> int:
        return sum(len(sink.messages(signal)) for sink in self.sinks.values())


def compare(case: RouteCase, go: str, folder: Path) -> list[str]:
    """Run both and return what differs. Raises `AssertionError` when one does not run."""
    with ExitStack() as stack:
        sides = []
        ours = [sys.executable, "-m", "mlsysops_pipeline.cli"]
        for name, command in (("go", [go]), ("ours", ours)):
            side = _Side(name, command, folder, case)
            stack.callback(side.stop)
            stack.enter_context(running(side.program, side.grpc))
            sides.append(side)
        bodies = list(random_otlp.requests(case.signal, case.seed))  # with the time that it is
        for side in sides:
            with grpc.insecure_channel(f"127.0.0.1:{side.grpc}") as channel:
                send = channel.unary_unary(case.signal.method)
                for body in bodies:
                    send(body, timeout=10)
        _await_quiet(case.signal, sides)
        found = []
        for pipeline in case.pipelines:
            go_sent, our_sent = (side.sinks[pipeline].messages(case.signal) for side in sides)
            different = processors.differences(case.signal, go_sent, our_sent)
            found += [f"pipeline {pipeline}: {line}" for line in different]
        return found if sides[0].count(case.signal) else ["nothing came out of Go"]


def _await_quiet(signal: Signal, sides: list[_Side]) -> None:
    before = -1
    while (now := sum(side.count(signal) for side in sides)) != before:
        before = now
        time.sleep(_QUIET_S)
