"""The forward connector: merging and fanning out (components, A8; CV-4)."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_pipeline.component import ComponentID, Kind, PipelineID
from mlsysops_pipeline.connectors.forward import FACTORY, Config
from mlsysops_pipeline.errors import Code, PermanentError, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_payload, make_settings


def _pipelines(*names: str) -> dict[PipelineID, Sink]:
    return {PipelineID.parse(name): Sink() for name in names}


def _connector(pipelines: dict[PipelineID, Sink]) -> Any:
    settings = make_settings("forward", kind=Kind.CONNECTOR)
    return FACTORY.create(Config(), settings, pipelines)


async def test_a_payload_goes_to_every_pipeline_of_its_signal_as_it_is() -> None:
    pipelines = _pipelines("logs/a", "logs/b", "traces")
    connector = _connector(pipelines)
    payload = make_payload(Signal.LOGS, 3)
    await connector.consume(payload)
    assert [[payload], [payload], []] == [sink.payloads for sink in pipelines.values()]
    assert all(sink.payloads[0] is payload for sink in pipelines.values() if sink.payloads)


@pytest.mark.parametrize("names", [("logs",), ("logs/a", "logs/b")])
async def test_a_refusal_goes_back_to_the_sender(names: tuple[str, ...]) -> None:
    pipelines = _pipelines(*names)
    next(iter(pipelines.values())).error = RetryableError("later", retry_after_s=2.0)
    with pytest.raises(RetryableError) as raised:
        await _connector(pipelines).consume(make_payload(Signal.LOGS, 1))
    assert 2.0 == raised.value.retry_after_s
    assert [1] * (len(names) - 1) == [sink.items for sink in list(pipelines.values())[1:]]


async def test_a_permanent_refusal_outweighs_a_passing_one() -> None:
    pipelines = _pipelines("logs/a", "logs/b")
    first, second = pipelines.values()
    first.error, second.error = RetryableError("later"), PermanentError("no", code=Code.NOT_FOUND)
    with pytest.raises(PermanentError) as raised:
        await _connector(pipelines).consume(make_payload(Signal.LOGS, 1))
    assert Code.NOT_FOUND == raised.value.code


def test_it_joins_a_signal_only_with_itself() -> None:
    assert {(signal, signal) for signal in Signal} == FACTORY.pairs
    assert "forward" == ComponentID.parse(FACTORY.type).type
