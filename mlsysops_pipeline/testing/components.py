"""Stand-ins for the neighbours of a component under test."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import ComponentID, Kind, PipelineID, Settings, Status
from mlsysops_pipeline.ledger import PipelineLedger
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.meter import Meter
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.testing.clock import JumpClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.component import ComponentStatus, ExportResult, Extension
    from mlsysops_pipeline.pdata.payload import Payload


class Sink:
    """An `Entry` that keeps what it takes. Set ``error`` to make it refuse, ``gate`` to block."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self.error: Exception | None = None
        self.admit_error: Exception | None = None
        self.gate: asyncio.Event | None = None

    def admit(self, size: int) -> None:  # noqa: ARG002  the contract's argument
        """Raise ``admit_error`` if it is set."""
        if self.admit_error is not None:
            raise self.admit_error

    async def consume(self, payload: Payload) -> None:
        """Keep the payload, or raise ``error``; first wait for ``gate`` if there is one."""
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.payloads.append(payload)

    @property
    def items(self) -> int:
        """Items taken so far."""
        return sum(payload.items for payload in self.payloads)


class FlakyExporter:
    """An exporter that answers what it is told to, call by call, and then succeeds."""

    def __init__(self, outcomes: Iterable[Exception | ExportResult | None] = ()) -> None:
        self.outcomes = list(outcomes)
        self.calls: list[Payload] = []
        self.delivered: list[Payload] = []
        self.gate: asyncio.Event | None = None
        self.active = 0
        self.active_peak = 0

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    async def export(self, payload: Payload) -> ExportResult | None:
        """Answer the next outcome."""
        self.calls.append(payload)
        self.active += 1
        self.active_peak = max(self.active_peak, self.active)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.active -= 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        self.delivered.append(payload)
        return outcome

    @property
    def items(self) -> int:
        """Items delivered so far."""
        return sum(payload.items for payload in self.delivered)


class FakeHost:
    """A `Host` with the extensions that a test puts in and a record of reported states."""

    def __init__(self, extensions: dict[ComponentID, Extension] | None = None) -> None:
        self.extensions = extensions or {}
        self.reports: list[tuple[Status, str]] = []
        self.states: list[ComponentStatus] = []
        self.is_ready = True

    def extension(self, id_: ComponentID) -> Extension:
        """See `Host.extension`."""
        return self.extensions[id_]

    def report_status(self, status: Status, message: str = "") -> None:
        """See `Host.report_status`."""
        self.reports.append((status, message))

    def statuses(self) -> tuple[ComponentStatus, ...]:
        """See `Host.statuses`: none unless a test puts some in ``states``."""
        return tuple(self.states)


def make_settings(
    id_: str = "test",
    *,
    kind: Kind = Kind.PROCESSOR,
    clock: Clock | None = None,
    host: FakeHost | None = None,
    signals: Iterable[Signal] = tuple(Signal),
    **changes: Any,
) -> Settings:
    """`Settings` for one component under test, with a `JumpClock` unless told otherwise."""
    logger = logging.LoggerAdapter(logging.getLogger(f"test.{id_}"), {})
    return Settings(
        **{
            "id": ComponentID.parse(id_),
            "kind": kind,
            "logger": logger,
            "meter": Meter(),
            "clock": clock or JumpClock(),
            "tasks": Tasks(logger),
            "memory": MemoryAccount(),
            "host": host or FakeHost(),
            "signals": frozenset(signals),
            "pipeline": PipelineID(Signal.METRICS, ""),
            "ledger": PipelineLedger(),
            **changes,
        }
    )


async def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return as soon as ``condition`` holds; raise `TimeoutError` when it takes too long.

    For tests with real sockets. Where a `JumpClock` is in use, turn that instead.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  any condition, not only an event
            await asyncio.sleep(0.005)
