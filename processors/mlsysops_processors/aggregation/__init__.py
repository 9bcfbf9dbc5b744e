"""Aggregates metrics in windows of event time, over some of their attributes, by rules.

Right for every type of metric (DM-2, DM-4, DM-6, DM-10 to DM-12); the README has the table. What a
window gives depends only on the points that came before it closed, not on their order, and points
that come twice count once. A window closes when the clock is past its end and the lateness that is
allowed. Of points, numbers are kept in columns and others as bytes; exemplars are left out. Fields
of OTLP that are not known survive in what is handed on as it is, and not in results.

What the next stage refuses for now is tried again until it is taken, while windows wait; when more
than `POINTS_MAX` points are held, new ones are refused. All that feeds one result must come to one
collector (DM-8).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Consumer, Factory, Kind, Settings, Stability
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.errors import DropReason, MalformedError, PermanentError, RetryableError
from mlsysops_pipeline.metrics.leaving import Leaving
from mlsysops_pipeline.metrics.turns import Turns
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.aggregation.closing import Closing, sweep
from mlsysops_processors.aggregation.config import Config
from mlsysops_processors.aggregation.inputs import Inputs
from mlsysops_processors.aggregation.intake import Intake
from mlsysops_processors.aggregation.numbers import INVALID
from mlsysops_processors.aggregation.reporting import Reporting
from mlsysops_processors.aggregation.rules import Rules
from mlsysops_processors.aggregation.windows import Windows
from mlsysops_processors.aggregation.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlsysops_pipeline.component import Rest
    from mlsysops_processors.aggregation.windows import Window

POINTS_MAX = 8_000_000
"""Points that are held; more are refused until a window was handed on."""
_IDLE_S = 1.0
"""How often it is looked for windows when there are none."""
_OPEN_FACTOR = 3
_SLOW_BYTES = 32 * 1024
"""Requests of this size are taken in steps, between which others have their turn."""
_NS_PER_S = 1_000_000_000


class Aggregation:
    """Implements `HoldingProcessor`: one task closes windows and hands their results on."""

    def __init__(self, config: Config, settings: Settings, next_: Consumer) -> None:
        self._settings = settings
        self._next = next_
        self._interval_ns = round(config.interval * _NS_PER_S)
        self._stale_ns = round(max(config.max_stale, 2 * config.interval) * _NS_PER_S)
        self._expires = config.max_stale > 0
        self._keeps_original = config.keep_original
        self._withholds = config.partial_windows == "withhold"
        self._inputs = Inputs(config.max_series)
        self._lateness_ns = round(config.allowed_lateness * _NS_PER_S)
        self._windows = Windows(self._interval_ns, self._lateness_ns)
        self._intake = Intake(
            Rules(config.rules),
            self._inputs,
            self._windows,
            forwards_late=config.late == "forward",
            passes_impossible=config.unmergeable == "pass",
            keeps_original=config.keep_original,
        )
        self._turns = Turns(settings, next_, self._process, self._settle)
        causes = CauseLog(settings.logger, settings.clock)
        self._reporting = Reporting(settings, causes, self._inputs, self._windows)
        self._leaving = Leaving(settings, next_, causes, "a window", self._reporting.handed_on)
        self._lost = 0  # points that protobuf does not know of: the last of a oneof counts
        self._closing = 0
        self._alive_ns = 0
        self._worker: asyncio.Task[None] | None = None
        settings.pipeline_ledger.hold(
            lambda: self._windows.points + self._closing + self._leaving.items
        )

    async def start(self) -> None:
        """Begin to close windows. Those that began before are partial."""
        self._alive_ns = self._settings.clock.unix_ns()
        self._worker = self._settings.tasks.spawn_forever(str(self._settings.id), self._work)

    async def consume(self, payload: Payload) -> None:
        """Hold the points that rules mean, hand the rest on."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`."""
        if self._leaving.is_stopping:
            raise RetryableError("aggregation is being shut down", retry_after_s=1.0)
        if self._windows.points + self._closing >= POINTS_MAX:
            raise RetryableError(
                f"aggregation holds {POINTS_MAX} points until a window is handed on",
                reason=DropReason.QUEUE_FULL,
                retry_after_s=1.0,
            )
        if payload.size >= _SLOW_BYTES:
            return partial(self._take_slowly, payload)
        return self._turns.accept_now(payload)

    async def shutdown(self) -> None:
        """Hand on all windows; what is refused for too long is dropped, counted and logged."""
        if self._leaving.is_stopping:
            return
        self._leaving.stop()
        if self._worker is None:
            return
        try:
            await asyncio.wait([self._worker])
        finally:
            self._worker.cancel()
            lost = self._windows.points + self._closing + self._leaving.items
            self._windows.points = self._closing = self._leaving.items = 0
            size = sum(window.size for window in self._windows.by_start.values())
            self._settings.memory.release(size)
            self._windows.by_start.clear()
            if lost:
                self._leaving.lose(DropReason.SHUTDOWN, lost, "not handed on before the deadline")

    def _process(self, payload: Payload) -> Payload | None:
        """What is left of a payload when the points that rules mean are taken out."""
        wires = []
        with self._settings.memory.held(_OPEN_FACTOR * payload.size):
            self._intake.begin(self._settings.clock.unix_ns(), payload.metadata.hops)
            for wire in payload.wires:
                left = wire
                for step in self._intake.take(wire):
                    left = wire if step is None else step
                wires.append(left)
        return self._rest(payload, wires)

    async def _take_slowly(self, payload: Payload) -> None:
        """As `Turns` with `_process`, in steps: thousands of new series take a while."""
        await self._turns.turn()
        try:
            wires = []
            with self._settings.memory.held(_OPEN_FACTOR * payload.size):
                self._intake.begin(self._settings.clock.unix_ns(), payload.metadata.hops)
                for wire in payload.wires:
                    left = wire
                    for step in self._intake.take(wire):
                        left = wire if step is None else step
                        await asyncio.sleep(0)
                    wires.append(left)
            result = self._rest(payload, wires)
            if result is not None:
                await self._next.consume(result)
            self._settle(True)  # noqa: FBT003  "taken", as its contract says
        except MalformedError as error:
            self._settle(False)  # noqa: FBT003  the same
            raise PermanentError(
                error.message, code=error.code, reason=DropReason.MALFORMED
            ) from error
        except BaseException:  # cancelled too: the sender has no answer and sends it once more
            self._settle(False)  # noqa: FBT003  the same
            raise
        finally:
            self._turns.end_turn()
        self._reporting.passed_on(payload.items, 0 if result is None else result.items)

    def _rest(self, payload: Payload, wires: list[bytes]) -> Payload | None:
        if all(new is old for new, old in zip(wires, payload.wires, strict=True)):
            return payload
        result = payload.with_wires([wire for wire in wires if wire])
        self._lost = payload.items - result.items - self._intake.taken
        return result if result.wires else None

    def _settle(self, is_taken: bool) -> None:  # noqa: FBT001  the contract of `Turns`
        lost, self._lost = self._lost, 0
        if not is_taken:
            self._intake.undo()
            return
        ledger = self._settings.pipeline_ledger
        if self._keeps_original:
            ledger.created += self._intake.taken
        if lost:
            ledger.drop(DropReason.MALFORMED, lost)
        self._reporting.taken(self._intake)
        _, size = self._intake.keep()
        if size:
            self._settings.memory.charge(size)

    async def _work(self) -> None:
        while True:
            if not self._leaving.is_stopping:
                await self._leaving.pause(self._wait_s())
            is_last = self._leaving.is_stopping
            await self._turns.turn()
            self._windows.advance(self._settings.clock.unix_ns())
            closed = self._windows.closed(is_last=is_last)
            points = sum(window.points for window in closed)
            self._windows.points -= points
            self._closing += points
            self._turns.end_turn()
            for window in closed:
                await self._close(window)
            if closed and self._expires and not is_last:
                await self._turns.turn()
                try:
                    before_ns = closed[-1].start_ns - self._stale_ns
                    await _slowly(sweep(self._inputs, self._windows, before_ns))
                finally:
                    self._turns.end_turn()
            if is_last:
                return

    def _wait_s(self) -> float:
        """Until the next window closes."""
        close_ns = self._windows.next_close_ns()
        if close_ns is None:
            return min(_IDLE_S, self._interval_ns / _NS_PER_S)
        wait_s = (close_ns - self._settings.clock.unix_ns()) / _NS_PER_S
        return min(max(wait_s, 0.0), _IDLE_S)

    async def _close(self, window: Window) -> None:
        """Compute a window and hand its results on."""
        now_ns = self._settings.clock.unix_ns()
        is_cut = now_ns < window.end_ns + self._lateness_ns
        end_ns = max(min(window.end_ns, now_ns), window.start_ns + 1)
        is_partial = window.start_ns < self._alive_ns
        closing = Closing(window, self._inputs, self._alive_ns, self._reporting.about_histogram)
        writer = Writer(
            window.start_ns,
            end_ns,
            self._interval_ns,
            closing.causes,
            is_partial=is_partial or is_cut,
        )
        try:
            await _slowly(closing.steps())
            await _slowly(writer.steps(closing.fed))
        except Exception as error:  # noqa: BLE001  the edge: a bug costs one window, and is reported
            self._settings.memory.release(window.size)
            self._closing -= window.points
            self._inputs.forget_window()
            self._leaving.lose(DropReason.PROCESSOR_ERROR, window.points, str(error), error)
            return
        self._settings.memory.release(window.size)
        self._reporting.closed(closing.causes)
        self._reporting.overflown(closing.overflown)
        ledger = self._settings.pipeline_ledger
        invalid = closing.causes[INVALID]
        if invalid:
            ledger.drop(DropReason.UNCONVERTIBLE, invalid)
        ledger.aggregated += window.points - invalid
        self._closing -= window.points
        if not writer.items or (is_partial and self._withholds):
            return
        ledger.created += writer.items
        self._leaving.items = writer.items
        metadata = Metadata(hops=window.hops)
        await self._leaving.hand_on(
            Payload(Signal.METRICS, tuple(writer.wires), metadata, items=writer.items)
        )

    @property
    def is_busy(self) -> bool:
        """Whether a window is being computed or handed on."""
        return bool(self._closing or self._leaving.items)

    def __repr__(self) -> str:
        return (
            f"<Aggregation {self._settings.id} series={self._inputs.count}"
            f" windows={len(self._windows.by_start)} points={self._windows.points}>"
        )


async def _slowly(steps: Iterator[None]) -> None:
    """Go through steps; others have their turn after each."""
    for _ in steps:
        await asyncio.sleep(0)


def _create(config: Config, settings: Settings, next_: Consumer) -> Aggregation:
    return Aggregation(config, settings, next_)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="aggregation",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.ALPHA,
)
