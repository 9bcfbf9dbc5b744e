"""The receiver that receives nothing (components, A10)."""

from __future__ import annotations

import pytest

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_settings
from mlsysops_receivers.nop import FACTORY, Config


async def test_it_starts_stops_and_never_brings_anything() -> None:
    sink = Sink()
    settings = make_settings("nop", kind=Kind.RECEIVER)
    receiver = FACTORY.create(parse_config(Config), settings, dict.fromkeys(Signal, sink))
    await receiver.shutdown()
    await receiver.start()
    await receiver.shutdown()
    await receiver.shutdown()
    assert [] == sink.payloads


def test_it_has_no_keys() -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        parse_config(Config, {"endpoint": "localhost:1"})
