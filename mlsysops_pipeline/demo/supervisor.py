"""Runs the demo: starts its processes, feeds them, shows their numbers, stops them in order.

Whatever happens, no process is left: an ordinary end asks each to end and kills what does not;
an exception or a second signal kills all; and should this process itself be killed, the kernel
ends the children (see `guard`).
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.demo import hops, values
from mlsysops_pipeline.demo.children import Child, python_module
from mlsysops_pipeline.demo.hops import PLANS, Plan, Ports, collector_command
from mlsysops_pipeline.demo.reports import SIGNALS, START, STOP, SdkReport, SinkReport
from mlsysops_pipeline.demo.table import Stage, table
from mlsysops_pipeline.demo.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlsysops_pipeline.demo.table import Display

    HopCommand = Callable[[Plan, Ports, int, str | None], list[str]]

INTERRUPTED = 130
_ATTEMPTS = 5
_READY_TIMEOUT_S = 30.0
_FLUSH_TIMEOUT_S = 60.0  # the SDK tries again for ten seconds, batch by batch
_SETTLE_TIMEOUT_S = 5.0
_DRAIN_TIMEOUT_S = 25.0  # the collector's own deadline for draining is 20 s
_SINK_TIMEOUT_S = 10.0
_VALUE_TIMEOUT_S = 5.0
_START_TICK_S = 0.02
_TICK_S = 0.25
_STOP_TICK_S = 0.05
_SECOND_SIGNAL_S = 1.0
_LOG_LINES_SHOWN = 15
_SDK, _SINK = "SDK", "sink"
_NODE = PLANS[0].name


class DemoError(Exception):
    """The demo cannot go on. The message is for the user; ``log`` are lines of the culprit."""

    def __init__(self, message: str, log: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log = list(log)


class LeftEarlyError(Exception):
    """A signal came before there was anything to compare."""


class PortTakenError(Exception):
    """Somebody took a port between our choosing it and the child's listening on it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line gave."""

    duration_s: float = 30.0
    """How long the load runs. Zero: until a signal."""
    lose: int = 0
    """How many items the sink loses on purpose."""
    lose_signal: str | None = None
    """Of which signal. ``None``: whatever comes first."""


class Demo:
    """One run. ``hop_command`` makes the command of a hop, ``pick_ports`` chooses free ports.

    ``prometheus`` is the program that the continuum writes to; ``None``: it is not installed.
    """

    def __init__(
        self,
        options: Options,
        display: Display,
        *,
        hop_command: HopCommand = collector_command,
        pick_ports: Callable[[int], list[int]] = hops.free_ports,
        prometheus: str | None = None,
    ) -> None:
        self._options = options
        self._display = display
        self._hop_command = hop_command
        self._pick_ports = pick_ports
        self._prometheus = prometheus
        self._prometheus_port = 0
        self._reading: values.Reading | None = None
        self._folder = ""  # of what Prometheus keeps
        self._children: dict[str, Child] = {}
        self._ports: dict[str, Ports] = {}
        self._ready: set[str] = set()
        self._counts: dict[str, hops.HopCounts] = {}
        self._sdk, self._sink = SdkReport(), SinkReport()
        self._mishaps: list[str] = []
        self._stop = asyncio.Event()
        self._stopped_s = 0.0
        self._forced = False
        self._fed_s: float | None = None

    async def run(self) -> int:
        """Run it all and return the exit status. Raises `OutputLostError`."""
        with ExitStack() as held:
            if self._prometheus is not None:
                # Nobody minds if some file in it goes a moment before the folder does.
                folder = tempfile.TemporaryDirectory(
                    prefix="mlsysops-demo-", ignore_cleanup_errors=True
                )
                self._folder = held.enter_context(folder)
            held.enter_context(self._signals())
            try:
                await self._start()
                await self._feed()
                await self._stop_in_order()
                return self._conclude()
            except DemoError as error:
                self._display.say("", f"FAILED: {error}", *(f"    {line}" for line in error.log))
                return 1
            except LeftEarlyError:
                self._display.say("Interrupted before anything was sent.")
                return INTERRUPTED
            except asyncio.CancelledError:
                if not self._forced:
                    raise
                self._display.say("", "Interrupted twice: every process is killed.")
                return INTERRUPTED
            finally:
                await self._kill_all()

    # Signals

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  only called in a task
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants it ignored
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._signalled, task)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _signalled(self, task: asyncio.Task[int]) -> None:
        now_s = time.monotonic()
        if not self._stop.is_set():
            self._stopped_s = now_s
            self._stop.set()
        elif now_s - self._stopped_s >= _SECOND_SIGNAL_S and not self._forced:
            # Sooner it is the same wish come twice: from make or timeout(1), and from their group.
            self._forced = True
            task.cancel()

    # Start

    async def _start(self) -> None:
        began_s = time.monotonic()
        for _ in range(_ATTEMPTS):
            try:
                await self._launch()
                await self._until_ready()
            except PortTakenError as error:
                self._display.say(f"{error}; starting again on others")
                await self._kill_all()
                continue
            took_s = time.monotonic() - began_s
            self._display.say(f"Ready after {took_s:.1f} s:")
            self._display.say(
                *(
                    f"  {name:9}  OTLP/gRPC 127.0.0.1:{ports.grpc}"
                    f"  OTLP/HTTP 127.0.0.1:{ports.http}"
                    f"  http://127.0.0.1:{ports.telemetry}/metrics"
                    for name, ports in self._ports.items()
                ),
                f"  metrics of the node: http://127.0.0.1:{self._ports[_NODE].prometheus}/metrics",
            )
            if self._prometheus is not None:
                url = f"http://127.0.0.1:{self._prometheus_port}/"
                self._display.say(f"  PromQL at the {PLANS[-1].name}: {url}")
            self._display.say("")
            return
        raise DemoError(f"{_ATTEMPTS} times somebody took a port that was free a moment before")

    async def _launch(self) -> None:
        numbers = self._pick_ports(3 + 3 * len(PLANS))
        sink_port, page_port, self._prometheus_port = (numbers.pop() for _ in range(3))
        self._ports = {plan.name: Ports(*(numbers.pop() for _ in range(3))) for plan in PLANS}
        self._ports[_NODE] = replace(self._ports[_NODE], prometheus=page_port)
        self._display.say(f"Starting {_SINK}, {', '.join(p.name for p in reversed(PLANS))} ...")
        self._children, self._ready, self._counts = {}, set(), {}
        lose = ["--lose", str(self._options.lose)]
        if self._options.lose_signal is not None:
            lose += ["--lose-signal", self._options.lose_signal]
        sink = python_module("mlsysops_pipeline.demo.sink", "--port", str(sink_port), *lose)
        await self._spawn(Child(_SINK, sink, on_line=self._sink_said))
        remote_write = await self._launch_prometheus()
        export_to = sink_port
        for plan in reversed(PLANS):
            ports = self._ports[plan.name]
            command = self._hop_command(plan, ports, export_to, remote_write)
            ready = self._ready_line(plan.name, hops.READY)
            await self._spawn(Child(plan.name, command, on_log=ready))
            export_to, remote_write = ports.grpc, None
        load = python_module("mlsysops_pipeline.demo.load", "--endpoint", f"127.0.0.1:{export_to}")
        await self._spawn(Child(_SDK, load, on_line=self._sdk_said))

    async def _launch_prometheus(self) -> str | None:
        """Start it, if it is installed. Returns the URL for the remote write of the continuum."""
        if self._prometheus is None:
            return None
        name, port = values.PROMETHEUS, self._prometheus_port
        command = values.prometheus_command(self._prometheus, port, self._folder)
        await self._spawn(Child(name, command, on_log=self._ready_line(name, values.READY)))
        return values.remote_write_url(port)

    async def _spawn(self, child: Child) -> None:
        self._children[child.name] = child
        try:
            await child.start()
        except OSError as error:
            raise DemoError(f"{child.name} cannot be started: {error}") from error

    async def _until_ready(self) -> None:
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while True:
            if self._stop.is_set():
                raise LeftEarlyError
            for child in self._children.values():
                if not child.running:
                    await self._explain_early_end(child)
            if await self._all_ready():
                return
            if time.monotonic() >= deadline_s:
                late = [c for name, c in self._children.items() if name not in self._ready]
                names = ", ".join(c.name for c in late) or "self-metrics"
                log = [f"{c.name}: {text}" for c in late for text in _tail(c)]
                raise DemoError(f"not ready after {_READY_TIMEOUT_S:g} s: {names}", log)
            await asyncio.sleep(_START_TICK_S)

    async def _all_ready(self) -> bool:
        if len(self._ready) < len(self._children):
            return False
        await self._scrape()
        return len(self._counts) == len(PLANS)

    async def _explain_early_end(self, child: Child) -> None:
        await child.close()  # so that the log is whole
        ports = self._ports.get(child.name)
        taken = ports.taken() if ports is not None else []
        if taken or any("in use" in line.lower() for line in child.log):
            which = f"port {', '.join(map(str, taken))}" if taken else "a port"
            raise PortTakenError(f"{child.name}: {which} was taken meanwhile")
        raise DemoError(f"{child.name} ended at its start with {_status(child)}", _tail(child))

    def _ready_line(self, name: str, words: str) -> Callable[[str], None]:
        def look(line: str) -> None:
            if words in line:
                self._ready.add(name)

        return look

    def _sdk_said(self, line: str) -> None:
        try:
            self._sdk = SdkReport.parse(line)
        except ValueError:
            self._children[_SDK].log.append(line)
        else:
            self._ready.add(_SDK)

    def _sink_said(self, line: str) -> None:
        try:
            self._sink = SinkReport.parse(line)
        except ValueError:
            self._children[_SINK].log.append(line)
        else:
            self._ready.add(_SINK)

    # Run

    async def _feed(self) -> None:
        self._fed_s = time.monotonic()
        self._children[_SDK].tell(START)
        while True:
            await self._refresh("running ")
            for child in self._children.values():
                if not child.running:
                    await child.close()
                    raise DemoError(f"{child.name} ended with {_status(child)}", _tail(child))
            left_s = self._options.duration_s - self._elapsed_s()
            if self._stop.is_set() or (self._options.duration_s > 0 and left_s <= 0):
                return
            pause_s = min(_TICK_S, left_s) if self._options.duration_s > 0 else _TICK_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def _elapsed_s(self) -> float:
        return 0.0 if self._fed_s is None else time.monotonic() - self._fed_s

    async def _refresh(self, state: str) -> None:
        await self._scrape()
        duration_s = self._options.duration_s
        self._display.show(state, self._elapsed_s(), duration_s, self.stages())

    async def _scrape(self) -> None:
        names = [plan.name for plan in PLANS if self._children[plan.name].running]
        pages = [hops.scrape(self._ports[name].telemetry) for name in names]
        for name, counts in zip(names, await asyncio.gather(*pages), strict=True):
            if counts is not None:
                self._counts[name] = counts

    def stages(self) -> list[Stage]:
        """The numbers of all stages as they are known now, in the order of the data."""
        sent = self._sdk.signals
        sdk = Stage(
            _SDK,
            {
                "sent": {name: sent[name].acknowledged for name in SIGNALS},
                "waiting": {
                    name: sent[name].made - sent[name].acknowledged - sent[name].failed
                    for name in SIGNALS
                },
                "dropped": {name: sent[name].failed for name in SIGNALS},
            },
        )
        sink = Stage(_SINK, {"received": {s: self._sink.signals[s].items for s in SIGNALS}})
        return [sdk, *(_hop_stage(plan.name, self._counts.get(plan.name)) for plan in PLANS), sink]

    # Stop

    async def _stop_in_order(self) -> None:
        load = self._children[_SDK]
        load.tell(STOP)
        await self._end(load, _FLUSH_TIMEOUT_S)
        self._reading = await values.at_node(self._ports[_NODE].prometheus)
        for plan in PLANS:
            child = self._children[plan.name]
            if not child.running:
                self._mishaps.append(f"{child.name} ended before it was asked to")
            # What it still holds would be handed on after the signal too; but then its last
            # numbers could not be read, and the table would end on older ones.
            await self._until(partial(self._settled, plan.name), _SETTLE_TIMEOUT_S)
            child.terminate()
            await self._end(child, _DRAIN_TIMEOUT_S)
        sink = self._children[_SINK]
        sink.tell(STOP)
        await self._end(sink, _SINK_TIMEOUT_S)
        if self._prometheus is not None:
            port = self._prometheus_port
            self._reading = await values.at_top(self._reading, port, _VALUE_TIMEOUT_S)
            store = self._children[values.PROMETHEUS]
            store.terminate()
            await self._end(store, _DRAIN_TIMEOUT_S)

    def _settled(self, name: str) -> bool:
        counts = self._counts.get(name)
        if counts is None or not self._children[name].running:
            return True
        return all(hops.settled(counts, signal) for signal in SIGNALS)

    async def _end(self, child: Child, timeout_s: float) -> None:
        if not await self._until(lambda: not child.running, timeout_s):
            self._mishaps.append(
                f"{child.name} had to be killed: it did not end within {timeout_s:g} s"
            )
            await child.kill()
            return
        await child.close()
        if child.status != 0:
            self._mishaps.append(f"{child.name} ended with {_status(child)}")

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while True:
            await self._refresh("stopping")
            if condition():
                return True
            if time.monotonic() >= deadline_s:
                return False
            await asyncio.sleep(_STOP_TICK_S)

    async def _kill_all(self) -> None:
        children = list(self._children.values())
        await asyncio.gather(*(child.kill() for child in children))

    def _conclude(self) -> int:
        outcome = Outcome(self._sdk, self._sink, self._mishaps, self._reading)
        stages = self.stages()
        self._display.show("ended   ", self._elapsed_s(), self._options.duration_s, stages)
        if not self._display.redraws:
            self._display.say("", *table(stages))
        self._display.say("", *outcome.lines(), "")
        problems = outcome.problems()
        if not problems:
            self._display.say("OK: every item that the SDK program sent arrived, once.")
            return 0
        for problem in problems:
            self._display.say(f"FAILED: {problem}")
        for child in self._children.values():
            log = [line for line in child.log if _is_remarkable(line)][-_LOG_LINES_SHOWN:]
            if log:
                self._display.say(f"{child.name} said:", *(f"    {line}" for line in log))
        return 1


def _hop_stage(name: str, counts: hops.HopCounts | None) -> Stage:
    if counts is None:
        return Stage(name)
    waiting = {
        s: max(0, counts[hops.RECEIVED][s] - counts[hops.SENT][s] - counts[hops.DROPPED][s])
        for s in SIGNALS
    }
    return Stage(name, {**counts, "waiting": waiting})


def _tail(child: Child) -> list[str]:
    return child.last_lines(_LOG_LINES_SHOWN) or ["(it wrote nothing)"]


def _status(child: Child) -> str:
    status = child.status
    if status is None:
        return "no status"
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"status {status}"


def _is_remarkable(line: str) -> bool:
    return any(word in line.lower() for word in ("\twarn", "\terror", "traceback", "error:"))
