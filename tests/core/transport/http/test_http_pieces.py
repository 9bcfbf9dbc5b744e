"""Answers in pieces: written as their reader reads, whole or not at all, and given up only once."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.config.values import NetAddress
from mlsysops_pipeline.testing import JumpClock, make_settings, wait_until
from mlsysops_pipeline.transport.http import connection as http_connection
from mlsysops_pipeline.transport.http.server import HttpRequest, HttpResponse, HttpServer
from mlsysops_pipeline.transport.server_settings import HttpServerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
PIECE = b"0123456789abcdef" * 4096


class Pages:
    """A server that answers ``count`` pieces of 64 KiB, or "small" on other paths."""

    def __init__(self, clock: Any) -> None:
        self.count = 3
        self.finished = 0
        self._writers: list[asyncio.StreamWriter] = []
        self.settings = make_settings(clock=clock)
        config = HttpServerConfig(endpoint=NetAddress("127.0.0.1", 0))
        self.server = HttpServer(config, self.answer, settings=self.settings)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        if request.path != "/page":
            return HttpResponse(200, b"small")
        return HttpResponse(200, pieces=(PIECE,) * self.count, finished=self._finish)

    def _finish(self) -> None:
        self.finished += 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self._writers.append(writer)
        return reader, writer

    async def disconnect(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def slow_reader(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that has asked for a page far larger than any buffer, and does not read."""
        self.count = 400
        reader, writer = await self.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # typeshed
        writer.write(GET)
        await wait_until(self._is_held)
        return reader, writer

    def _is_held(self) -> bool:
        return any(connection._writable is not None for connection in self.server._connections)


@pytest.fixture
async def pages(request: pytest.FixtureRequest) -> AsyncIterator[Pages]:
    clock = getattr(request, "param", SystemClock)()
    serving = Pages(clock)
    await serving.server.start()
    yield serving
    await serving.disconnect()
    stop = asyncio.get_running_loop().create_task(serving.server.shutdown(1.0))
    while not stop.done():
        if isinstance(clock, JumpClock):
            await clock.advance(1.0)
        await asyncio.sleep(0.001)
    await stop


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    return await reader.readexactly(int(fields[b"content-length"]))


async def test_pieces_arrive_whole_and_the_connection_goes_on(pages: Pages) -> None:
    reader, writer = await pages.connect()
    for _ in range(3):
        writer.write(GET)
        assert PIECE * 3 == await read_answer(reader)
        await wait_until(lambda: pages.finished)
        pages.finished = 0
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"small" == await read_answer(reader)


async def test_requests_sent_ahead_are_answered_behind_the_pieces(pages: Pages) -> None:
    reader, writer = await pages.connect()
    writer.write(GET + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    assert PIECE * 3 == await read_answer(reader)
    assert b"small" == await read_answer(reader)
    assert PIECE * 3 == await read_answer(reader)


async def test_head_tells_the_length_only(pages: Pages) -> None:
    reader, writer = await pages.connect()
    writer.write(b"HEAD /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    got = await reader.read()
    assert b"content-length: %d\r\n" % (3 * len(PIECE)) in got
    assert got.endswith(b"\r\n\r\n")
    assert 1 == pages.finished


async def test_who_closes_its_half_still_gets_everything(pages: Pages) -> None:
    reader, writer = await pages.connect()
    writer.write(GET)
    writer.write_eof()
    assert PIECE * 3 == await read_answer(reader)
    assert b"" == await reader.read()


async def test_a_slow_reader_holds_up_nobody_and_gets_the_same_page(pages: Pages) -> None:
    # OM-5: concurrent scrapes are supported.
    reader, writer = await pages.slow_reader()
    other_reader, other_writer = await pages.connect()
    other_writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"small" == await read_answer(other_reader)
    assert 0 == pages.finished
    (connection,) = [each for each in pages.server._connections if each._is_streaming]
    assert connection._transport is not None
    assert connection._transport.get_write_buffer_size() < 1 << 20
    writer.transport.resume_reading()  # type: ignore[attr-defined]  # typeshed
    assert PIECE * 400 == await read_answer(reader)
    await wait_until(lambda: pages.finished)


async def test_who_goes_away_gives_the_page_back(pages: Pages) -> None:
    _, writer = await pages.slow_reader()
    writer.transport.abort()
    await wait_until(lambda: pages.finished and not pages.server._connections)
    assert 1 == pages.finished


@pytest.mark.parametrize("pages", [JumpClock], indirect=True)
async def test_who_never_reads_is_disconnected(pages: Pages) -> None:
    await pages.slow_reader()
    assert isinstance(pages.settings.clock, JumpClock)
    await pages.settings.clock.advance(31.0)
    await wait_until(lambda: not pages.server._connections)
    assert 1 == pages.finished


@pytest.mark.parametrize("pages", [JumpClock], indirect=True)
@pytest.mark.parametrize(("bytes_per_s", "is_whole"), [(64 << 10, True), (1 << 40, False)])
async def test_a_page_may_take_as_long_as_it_is_read_fast_enough(
    pages: Pages, monkeypatch: pytest.MonkeyPatch, bytes_per_s: int, is_whole: bool
) -> None:
    monkeypatch.setattr(http_connection, "ANSWER_BYTES_PER_S", bytes_per_s)
    reader, writer = await pages.slow_reader()
    clock = pages.settings.clock
    assert isinstance(clock, JumpClock)
    (connection,) = pages.server._connections
    await clock.advance(20)
    writer.transport.resume_reading()  # type: ignore[attr-defined]  # typeshed
    await reader.readuntil(b"\r\n\r\n")
    read = 200 * len(PIECE)
    await reader.readexactly(read)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # typeshed
    await wait_until(lambda: connection._write_due_s < math.inf)
    await clock.advance(20)  # less than the 30 s after which nothing was read at all
    writer.transport.resume_reading()  # type: ignore[attr-defined]  # typeshed
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        read += len(await reader.readexactly(200 * len(PIECE)))
    assert is_whole == (read == 400 * len(PIECE))
    await wait_until(lambda: pages.finished)


async def test_stopping_lets_a_page_be_read_to_its_end(pages: Pages) -> None:
    reader, writer = await pages.slow_reader()
    stop = asyncio.get_running_loop().create_task(pages.server.shutdown(10.0))
    await asyncio.sleep(0)
    writer.transport.resume_reading()  # type: ignore[attr-defined]  # typeshed
    assert PIECE * 400 == await read_answer(reader)
    await stop
    assert 1 == pages.finished
