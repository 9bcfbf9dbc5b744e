"""A sender between a test and an exporter that does as it is told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.component import ExportResult, Kind
from mlsysops_pipeline.delivery.config import DeliveryConfig
from mlsysops_pipeline.delivery.sender import Sender
from mlsysops_pipeline.ledger import ExporterLedger
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, FlakyExporter, JumpClock, make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.meter import Meter
    from mlsysops_pipeline.pdata.payload import Payload


class Rig:
    """One sender, everything around it, and shortcuts to what tests ask about."""

    def __init__(
        self,
        config: object,
        outcomes: Iterable[Exception | ExportResult | None] = (),
        signal: Signal = Signal.METRICS,
        **options: Any,
    ) -> None:
        self.clock = JumpClock()
        self.host = FakeHost()
        self.exporter: Any = options.pop("exporter", None) or FlakyExporter(outcomes)
        self.settings: Settings = make_settings(
            "otlp", kind=Kind.EXPORTER, clock=self.clock, host=self.host
        )
        self.ledger = ExporterLedger()
        self.sender = Sender(self.exporter, config, self.settings, signal, self.ledger, **options)

    @property
    def meter(self) -> Meter:
        return self.settings.meter

    @property
    def queued_bytes(self) -> int:
        return self.settings.memory.in_flight

    def begin(self, payload: Payload) -> asyncio.Task[None]:
        """Give a payload to the sender without waiting for it."""
        return asyncio.get_running_loop().create_task(self.sender.consume(payload))

    async def stop(self) -> None:
        if getattr(self.exporter, "gate", None) is not None:
            self.exporter.gate.set()
        await self.sender.shutdown(0)
        await self.settings.tasks.shutdown()
        assert 0 == self.ledger.imbalance
        assert 0 == self.queued_bytes
        assert 0 == self.ledger.queued


class MakeRig:
    """Makes rigs, and stops them when the test has ended."""

    def __init__(self) -> None:
        self.made: list[Rig] = []

    def __call__(
        self,
        config: object | None = None,
        outcomes: Iterable[Exception | ExportResult | None] = (),
        **options: Any,
    ) -> Rig:
        rig = Rig(config or DeliveryConfig(), outcomes, **options)
        self.made.append(rig)
        return rig


@pytest.fixture
async def make_rig(caplog: pytest.LogCaptureFixture) -> AsyncIterator[MakeRig]:
    caplog.set_level(logging.DEBUG)
    make = MakeRig()
    yield make
    for rig in make.made:
        await rig.stop()
