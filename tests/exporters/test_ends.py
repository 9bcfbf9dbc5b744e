"""The exporters that keep nothing: `nop` (components, A10) and `no_destination`."""

from __future__ import annotations

import logging

import pytest

from mlsysops_exporters import no_destination, nop
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, DropReason
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, make_settings


@pytest.mark.parametrize("signal", list(Signal))
async def test_nop_takes_everything(signal: Signal) -> None:
    exporter = nop.FACTORY.create(nop.Config(), make_settings("nop", kind=Kind.EXPORTER), None)
    await exporter.shutdown()
    await exporter.start()
    assert await exporter.export(make_payload(signal, 3)) is None
    await exporter.shutdown()
    await exporter.shutdown()


async def test_no_destination_rejects_every_item_by_name_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    settings = make_settings("no_destination", kind=Kind.EXPORTER)
    exporter = no_destination.FACTORY.create(no_destination.Config(), settings, None)
    await exporter.start()
    result = await exporter.export(make_payload(Signal.LOGS, 3))
    await exporter.export(make_payload(Signal.LOGS, 3))
    assert (3, DropReason.NO_DESTINATION) == (result.rejected_items, result.reason)
    assert ["no destination"] == [record.getMessage()[:14] for record in caplog.records]
    await exporter.shutdown()


def test_neither_has_keys() -> None:
    for module in (nop, no_destination):
        with pytest.raises(ConfigError, match="endpoint"):
            parse_config(module.Config, {"endpoint": "localhost:1"})
