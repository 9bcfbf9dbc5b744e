from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import pytest

from mlsysops_pipeline.testing import JumpClock, wait_until
from tests.receivers.otlp_running import Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    """Starts `otlp` receivers and stops them; memory must be given back by then."""
    started: list[Running] = []

    async def start(keys: dict[str, Any] | None = None, **options: Any) -> Running:
        started.append(Running(keys, **options))
        return await started[-1].start()

    yield start
    for running in started:
        for _ in range(2):
            await _stopped(running)
        await wait_until(running.has_given_back)


async def _stopped(running: Running) -> None:
    """Shut down; a clock that stands still is turned, so that nobody waits for ever."""
    stop = asyncio.get_running_loop().create_task(running.receiver.shutdown())
    while not stop.done():
        if isinstance(running.settings.clock, JumpClock):
            await running.settings.clock.advance(1.0)
        await asyncio.sleep(0.001)
    await stop


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def dial() -> AsyncIterator[Callable[..., grpc.aio.Channel]]:
    """Opens channels of grpcio and closes them."""
    channels: list[grpc.aio.Channel] = []

    def open_channel(address: str, **options: Any) -> grpc.aio.Channel:
        settings = [("grpc.max_send_message_length", -1), *options.items()]
        channels.append(grpc.aio.insecure_channel(address, options=settings))
        return channels[-1]

    yield open_channel
    for channel in channels:
        await channel.close()
