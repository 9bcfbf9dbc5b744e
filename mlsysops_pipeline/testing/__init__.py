"""Fakes that this project and component authors test with; nothing here is used in production."""

from mlsysops_pipeline.testing.clock import JumpClock, advance_until, settle
from mlsysops_pipeline.testing.components import (
    FakeHost,
    FlakyExporter,
    Sink,
    make_settings,
    wait_until,
)
from mlsysops_pipeline.testing.telemetry import make_payload, make_wire

__all__ = [
    "FakeHost",
    "FlakyExporter",
    "JumpClock",
    "Sink",
    "advance_until",
    "make_payload",
    "make_settings",
    "make_wire",
    "settle",
    "wait_until",
]
