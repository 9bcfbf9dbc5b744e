"""The command line: a thin shell around `Collector`.

    mlsysops-collector [run] [--config URI]... [--set KEY=VALUE]... [--mode agent|gateway] ...
    mlsysops-collector validate | components | print-config | demo | --version

It takes the arguments of the Collector's image too. Errors are one line each on standard error and
exit status 1; wrong flags are exit status 2.

A command imports what it needs when it runs (hence PLC0415), so that the others start sooner.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import errno
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from mlsysops_pipeline import framework_environment, modes
from mlsysops_pipeline.version import NAME, VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlsysops_pipeline.config import Configuration, ConfigurationSource, Problem

_LOGGER = logging.getLogger("mlsysops_pipeline.cli")
_COMMANDS = ("run", "validate", "components", "print-config", "demo")
_MASKS = ("redacted", "unredacted")
_FORCED = 130
_PAGE_HINT = " (another agent? --prometheus-port PORT moves this one, 0 switches it off)"
_NO_GATES = "--feature-gates is ignored: there are no feature gates here"


class UsageError(Exception):
    """The flags have no sense together."""


class _Formatter(argparse.HelpFormatter):
    """As wide as the terminal. The standard one imports `shutil`, which takes 10 ms of a start."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size().columns
        except (ValueError, OSError):  # no number, no terminal
            columns = 80
        super().__init__(prog, width=columns - 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = "run"
    if arguments and arguments[0] in (*_COMMANDS, "print-initial-config"):
        command = arguments.pop(0).replace("print-initial-config", "print-config")
    if command == "demo":
        from mlsysops_pipeline import demo  # noqa: PLC0415  only the demo needs an SDK

        return demo.main(arguments)
    parser = _parser(command)
    if arguments and not arguments[0].startswith("-"):
        parser.error(_misplaced(arguments[0]))
    options = _parsed(parser, arguments)
    if getattr(options, "feature_gates", None) and command != "run":
        _complain(_NO_GATES)
    run = {
        "run": _run,
        "validate": _validate,
        "components": _components,
        "print-config": _print_config,
    }[command]
    try:
        return run(options)
    except (UsageError, modes.ModeError) as error:
        from mlsysops_pipeline.config.values import without_password  # noqa: PLC0415

        _complain(f"Error: {without_password(str(error))}")
        return 2
    except KeyboardInterrupt:
        return _FORCED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME if command == "run" else f"{NAME} {command}",
        description="An OpenTelemetry Collector in pure Python.",
        epilog=f"commands: {', '.join(_COMMANDS)} (run is the default)",
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    version = f"{NAME} version {VERSION}"
    parser.add_argument("--version", "-v", action="version", version=version)
    if command == "components":
        return parser
    add = parser.add_argument
    add("--config", action="append", default=[], metavar="URI",
        help="a file, or file:, env: or yaml: URI; repeat to merge, later ones win")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE",
        help="set one value, e.g. processors.batch.timeout=2s; wins over everything")  # fmt: skip
    add("--feature-gates", action="append", default=[], metavar="GATES",
        help="accepted and ignored: there are no feature gates here")  # fmt: skip
    if command == "print-config":
        add("--mode", choices=(*modes.MODES, *_MASKS), action="append", default=[],
            help="as of the other commands; redacted or unredacted mean --mask")  # fmt: skip
    else:
        add("--mode", choices=modes.MODES, help="run without a file, as agent or gateway")
    add("--level", choices=modes.LEVELS, help="the level of this collector in the hierarchy")
    add("--export-to", metavar="HOST:PORT",
        help="with --mode: where everything goes, by OTLP/gRPC; https://HOST:PORT for TLS")  # fmt: skip
    add("--listen", metavar="HOST", help="with --mode: the address to listen on")
    add("--otlp-grpc-port", metavar="PORT", help="with --mode: default 4317")
    add("--otlp-http-port", metavar="PORT", help="with --mode: default 4318")
    add("--prometheus-port", metavar="PORT",
        help="with --mode: a page of the latest metrics; agent: default 9999; 0 = off")  # fmt: skip
    add("--remote-write", metavar="URL",
        help="with --mode: metrics go there too, by Prometheus remote write")  # fmt: skip
    add("--telemetry-port", metavar="PORT", help="the port of the self-metrics, 8888; 0 = off")
    if command == "run":
        add("--log-level", choices=("debug", "info", "warn", "error"))
        add("--log-format", choices=("text", "json"))
        add("--drain-timeout", type=_seconds, default=20.0, metavar="DURATION",
            help="how long a stop may take to hand on what was accepted (20s)")  # fmt: skip
    if command == "print-config":
        add("--format", choices=("yaml", "json"), default="yaml")
        add("--mask", choices=_MASKS, default="redacted",
            help="whether secrets are masked")  # fmt: skip
        add("--validate", nargs="?", help="accepted: what is printed is always valid")
    return parser


def _parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """The options. Gates may begin with a minus sign, and `--mode` may be the Collector's."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--feature-gates":
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    options = parser.parse_args(joined)
    if isinstance(getattr(options, "mode", None), list):
        masks = [word for word in options.mode if word in _MASKS]
        words = [word for word in options.mode if word not in _MASKS]
        options.mask = masks[-1] if masks else options.mask
        options.mode = words[-1] if words else None
    return options


def _misplaced(word: str) -> str:
    """What to do about a word that is no flag."""
    from mlsysops_pipeline.config.wording import did_you_mean  # noqa: PLC0415

    if "." in word or "/" in word:
        return f"unexpected {word!r}: write --config {word}"
    return f"unknown command {word!r} ({did_you_mean(word, _COMMANDS)})"


def _seconds(text: str) -> float:
    from mlsysops_pipeline.config.schema import parse_duration  # noqa: PLC0415

    try:
        return float(text) if text.replace(".", "", 1).isdigit() else parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def sources(options: argparse.Namespace) -> list[ConfigurationSource]:
    """The configuration sources that the flags and the environment name, weakest first.

    Raises `UsageError` or `modes.ModeError` for flags that have no sense.
    """
    from mlsysops_pipeline.config import DictSource, SetSource  # noqa: PLC0415

    flags = _flags(options)
    only_telemetry = set(flags.given()) <= {"telemetry_port"}
    if options.mode is None and (options.level is not None or not only_telemetry):
        raise UsageError(
            "--level, --listen, --otlp-*-port, --prometheus-port, --export-to and --remote-write "
            "go with --mode"
        )
    if options.mode is None and not options.config and not options.set:
        raise UsageError("at least one --config, --set or --mode must be given")
    result: list[ConfigurationSource] = [
        DictSource(
            "default",
            {"service": {"telemetry": {"metrics": modes.telemetry(8888)}}},
            yields=True,
        )
    ]
    if options.mode is None:
        result += [*options.config, DictSource("flags", modes.overlay(flags, {}))]
    else:
        given = {
            framework_environment.NAME: _framework(options).options,
            "environment": modes.ModeOptions.from_environment(os.environ),
            "flags": flags,
        }
        *before, last = modes.layers(options.mode, options.level, given)
        result += [*before, *options.config, last]
    result += [SetSource(text) for text in options.set]
    return result


def _flags(options: argparse.Namespace) -> modes.ModeOptions:
    given = {
        field.name: value
        for field in dataclasses.fields(modes.ModeOptions)
        if (value := getattr(options, field.name, None)) is not None
    }
    for name, value in given.items():
        if name.endswith("_port"):
            given[name] = modes.port(value, "--" + name.replace("_", "-"))
    return modes.ModeOptions(**given)


def _framework(options: argparse.Namespace) -> framework_environment.Reading:
    return framework_environment.read(os.environ, options.mode, options.level)


def _load(options: argparse.Namespace) -> tuple[Configuration | None, list[Problem]]:
    from mlsysops_pipeline.config import load_configuration  # noqa: PLC0415
    from mlsysops_pipeline.config.files import unreadable  # noqa: PLC0415
    from mlsysops_pipeline.config.problems import (  # noqa: PLC0415
        Position,
        in_file_order,
        warning,
    )
    from mlsysops_pipeline.registry import Registry  # noqa: PLC0415

    configuration, problems = load_configuration(sources(options), Registry.installed())
    if configuration is not None:
        problems = in_file_order([*problems, *unreadable(configuration)])
    own = str(modes.configuration_folder())
    notes = _framework(options).notes if options.mode is not None else []
    return configuration, [
        *(warning(Position("environment"), (), note) for note in notes),
        *(problem for problem in problems if not problem.concerns_unused_in(own)),
    ]


def _validate(options: argparse.Namespace) -> int:
    from mlsysops_pipeline.config import Severity  # noqa: PLC0415

    configuration, problems = _load(options)
    for problem in problems:
        _complain(problem.line())
    if configuration is None:
        return 1
    count = len(configuration.service.pipelines)
    left_out = sum(problem.severity is Severity.LEFT_OUT for problem in problems)
    rest = f", {left_out} left out" if left_out else ""
    print(f"OK: {count} pipeline{'' if count == 1 else 's'}{rest}")  # noqa: T201
    return 0


def _components(_options: argparse.Namespace) -> int:
    from mlsysops_pipeline.registry import Registry  # noqa: PLC0415
    from mlsysops_pipeline.service.catalogue import listing  # noqa: PLC0415

    print(listing(Registry.installed()), end="")  # noqa: T201
    return 0


def _print_config(options: argparse.Namespace) -> int:
    from mlsysops_pipeline.config.printing import render  # noqa: PLC0415

    configuration, problems = _load(options)
    for problem in problems:
        _complain(problem.line())
    if configuration is None:
        return 1
    redact = options.mask == "redacted"
    print(render(configuration, format=options.format, redact=redact), end="")  # noqa: T201
    return 0


def _run(options: argparse.Namespace) -> int:
    before = signal.signal(signal.SIGTERM, _leave)
    gc.disable()  # until the collector runs: imports make little garbage, and 100 searches for it
    try:
        return _load_and_serve(options)
    finally:
        gc.enable()
        signal.signal(signal.SIGTERM, before)


def _leave(_number: int, _frame: object) -> NoReturn:
    """Stop before there is anything to drain: the first process of a container must ask for it."""
    sys.exit(0)


def _load_and_serve(options: argparse.Namespace) -> int:
    configuration, problems = _load(options)
    _set_up_logs(options, configuration)
    if configuration is None:
        for problem in problems:
            _complain(problem.line())
        return 1
    for problem in problems:
        _LOGGER.log(problem.level, "%s", problem)
    if options.feature_gates:
        _LOGGER.warning(_NO_GATES)
    hint = _PAGE_HINT if options.mode is not None else ""
    return _in_event_loop(_serve(configuration, options.drain_timeout, hint))


def _in_event_loop(main_coroutine: object) -> int:
    try:
        import uvloop  # noqa: PLC0415  absent on Windows
    except ImportError:
        return asyncio.run(main_coroutine)  # type: ignore[arg-type]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main_coroutine)  # type: ignore[arg-type]


def _set_up_logs(options: argparse.Namespace, configuration: Configuration | None) -> None:
    from mlsysops_pipeline.service import logs  # noqa: PLC0415

    level, encoding = options.log_level, options.log_format
    sampling: logs.Sampling | None = logs.Sampling()
    fields: dict[str, object] = {}
    if configuration is not None:
        plan = configuration.service.telemetry.logs
        level = level or plan.level
        encoding = encoding or plan.encoding
        fields = dict(plan.initial_fields)
        sampling = (
            logs.Sampling(plan.sampling.tick, plan.sampling.initial, plan.sampling.thereafter)
            if plan.sampling is not None
            else None
        )
    logs.set_up(
        level=(level or "info").lower(),
        encoding="json" if encoding == "json" else "console",
        fields=fields,
        sampling=sampling,
    )


async def _serve(configuration: Configuration, drain_s: float, page_hint: str) -> int:
    from mlsysops_pipeline import memory, open_files  # noqa: PLC0415
    from mlsysops_pipeline.clock import SystemClock  # noqa: PLC0415
    from mlsysops_pipeline.errors import CollectorError  # noqa: PLC0415
    from mlsysops_pipeline.service.collector import Collector  # noqa: PLC0415
    from mlsysops_pipeline.service.lifecycle import StartError  # noqa: PLC0415

    _LOGGER.info("Starting %s %s", NAME, VERSION)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def received(number: signal.Signals) -> None:
        if stop.is_set():
            _LOGGER.error("Received a second signal, leaving without draining")
            os._exit(_FORCED)
        _LOGGER.info("Received signal from OS: %s", number.name)
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        numbers.append(signal.SIGHUP)  # a terminal that closes must not cost what was accepted
    for number in numbers:
        loop.add_signal_handler(number, received, number)
    memory.tune_allocation()
    open_files.raise_limit()
    try:
        collector = Collector(configuration)
        await collector.start()
    except (CollectorError, StartError, OSError) as error:
        _complain(f"Error: {error}{page_hint if _is_page_in_use(error) else ''}")
        return 1
    memory.settle_objects()
    failed = loop.create_task(collector.failed())
    stopped = loop.create_task(stop.wait())
    ebb = loop.create_task(memory.give_back_after_bursts(collector.bytes_in_flight, SystemClock()))
    await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
    fatal = failed.done()
    for task in (failed, stopped, ebb):
        task.cancel()
    await collector.shutdown(drain_s)
    return 1 if fatal else 0


def _is_page_in_use(error: Exception) -> bool:
    """Whether another program, such as a second agent, has the port of the Prometheus endpoint."""
    cause = error.__cause__
    in_use = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
    return in_use and '"prometheus" exporter' in str(error)


def _complain(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def run() -> NoReturn:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
