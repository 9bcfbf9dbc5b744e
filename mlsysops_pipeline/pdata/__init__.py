"""Telemetry as it travels: signals, payloads, and views into them. No I/O, no asyncio."""

from mlsysops_pipeline.pdata.payload import NO_METADATA, Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal

__all__ = ["NO_METADATA", "Metadata", "Payload", "Signal"]
