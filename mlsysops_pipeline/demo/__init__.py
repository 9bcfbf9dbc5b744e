"""The main job, live: a real SDK program -> node -> cluster -> continuum -> a sink that counts.

`mlsysops-collector demo` and `make demo`. Items are counted by the SDK program at one end and by a
sink that is not the collector at the other; the exit status is 0 only if they are equal. One value
is read at the node's Prometheus endpoint and, where Prometheus is installed, by PromQL at the top.

``supervisor``  starts, watches and stops everything     ``hops``     the collectors, their metrics
``load``        the SDK program, a process of its own    ``table``    what is shown
``sink``        the counting server, likewise            ``verdict``  the comparison at the end
``values``      one value at both ends
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEEDED = ("grpc", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LOSE = re.compile(r"(?:(metrics|logs|traces)=)?(\d+)", re.ASCII)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status.

    0: everything that was sent arrived, and every process ended when asked. 1: something is
    missing or failed; standard output says what. 2: wrong flags, or the SDK is not installed.
    130: interrupted before there was anything to compare, or twice.
    """
    parser = argparse.ArgumentParser(
        prog="mlsysops-collector demo",
        description="Feed node, cluster and continuum collectors from an OpenTelemetry SDK "
        "program and compare what was sent with what arrived.",
        allow_abbrev=False,
    )
    parser.add_argument("--duration", type=_seconds, default=30.0, metavar="DURATION",
        help="how long, such as 45, 45s or 2m; 0 = until Ctrl-C (30s)")  # fmt: skip
    # Losing items on purpose is how the comparison itself is tested: COUNT or SIGNAL=COUNT.
    parser.add_argument("--lose", type=_lose, default=(0, None), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    missing = [name for name in _NEEDED if not _is_installed(name)]
    if missing:
        print(  # noqa: T201
            f"Error: the demo needs the OpenTelemetry SDK ({' and '.join(missing)} not found): "
            "pip install 'mlsysops-collector[demo]'",
            file=sys.stderr,
        )
        return 2
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415  the two ends need none of this and start the faster

    from mlsysops_pipeline.demo import supervisor, table, values  # noqa: PLC0415

    lose, lose_signal = options.lose
    plan = supervisor.Options(options.duration, lose, lose_signal)
    try:
        demo = supervisor.Demo(plan, table.Display(sys.stdout), prometheus=values.find_prometheus())
        return asyncio.run(demo.run())
    except table.OutputLostError:
        # Whoever read this is gone; the interpreter must not stumble over it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _seconds(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"expected a duration such as 45, 45s or 2m, got {text!r}")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _lose(text: str) -> tuple[int, str | None]:
    match = _LOSE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected COUNT or SIGNAL=COUNT, got {text!r}")
    return int(match[2]), match[1]
