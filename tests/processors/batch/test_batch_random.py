"""The `batch` processor under random load and refusals: no item is ever unaccounted for."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.component import PipelineID
from mlsysops_pipeline.errors import ConsumeError, PermanentError, QueueFullError, RetryableError
from mlsysops_pipeline.ledger import PipelineLedger
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.service.nodes import PipelineEntry, PipelineExit
from mlsysops_pipeline.testing import JumpClock, Sink, make_settings, make_wire
from mlsysops_processors import batch
from mlsysops_processors.batch import FACTORY, BatchProcessor, Config

if TYPE_CHECKING:
    from collections.abc import Iterator

WIRES = {items: make_wire(Signal.METRICS, items) for items in (1, 2, 3, 5, 8)}
MOODS: dict[str, Exception | None] = {
    "takes": None,
    "busy": RetryableError("busy"),
    "throttles": RetryableError("slow down", retry_after_s=3.0),
    "full": QueueFullError("full", lambda: None),
    "refuses": PermanentError("no"),
    "breaks": ZeroDivisionError("oops"),
}
Step: TypeAlias = "tuple[int, str] | float | str"

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(list(WIRES)), st.sampled_from(["a", "b", "c"])),
        st.tuples(st.sampled_from(list(WIRES)), st.sampled_from(["a", "b", "c"])),
        st.sampled_from([0.125, 1.0, 10.0]),
        st.sampled_from(list(MOODS)),
    ),
    min_size=5,
    max_size=40,
)
configs = st.builds(
    Config,
    send_batch_size=st.integers(0, 8),
    timeout=st.sampled_from([0.0, 0.25, 2.0]),
    send_batch_max_size=st.sampled_from([0, 8, 9]),
    metadata_keys=st.sampled_from([(), ("tenant",)]),
    metadata_cardinality_limit=st.sampled_from([0, 2]),
)


@pytest.fixture
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.usefixtures("_quiet")
@settings(max_examples=60, deadline=None)
@given(config=configs, plan=steps, held_max=st.sampled_from([1_000, 1 << 20]))
def test_every_item_is_accounted_for(config: Config, plan: list[Step], held_max: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "HELD_BYTES_MAX", held_max)
        asyncio.run(play(config, plan))


async def play(config: Config, plan: list[Step]) -> None:
    clock, sink, ledger = JumpClock(), Sink(), PipelineLedger()
    around = make_settings("batch", clock=clock, ledger=ledger)
    processor: BatchProcessor = FACTORY.create(config, around, PipelineExit(ledger, [sink]))
    entry = PipelineEntry(PipelineID(Signal.METRICS), ledger, processor, [])
    await processor.start()
    for step in plan:
        if isinstance(step, str):
            sink.error = MOODS[step]
        elif isinstance(step, float):
            await clock.advance(step)
        else:
            items, tenant = step
            metadata = Metadata(headers={"tenant": (tenant,)})
            try:
                await entry.consume(Payload(Signal.METRICS, WIRES[items], metadata))
            except ConsumeError:
                continue
        assert 0 == ledger.imbalance
        assert processor.size == around.memory.in_flight
    async with asyncio.TaskGroup() as group:
        group.create_task(processor.shutdown())
        await clock.advance(60)

    assert (0, 0, 0) == (ledger.imbalance, ledger.held, around.memory.in_flight)
    assert ledger.received == sink.items + ledger.dropped.total()
    assert sink.items == ledger.handed_on
    await around.tasks.shutdown()
