"""Calls that need not wait are answered where they are read; the rest of the others is awaited."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.config.values import NetAddress
from mlsysops_pipeline.errors import Code, RetryableError
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.testing import JumpClock, advance_until, settle, wait_until
from mlsysops_pipeline.transport import listen
from mlsysops_pipeline.transport.http2 import frames
from mlsysops_pipeline.transport.http2.calls import Service, UnaryMethod
from mlsysops_pipeline.transport.http2.server import NativeGrpcServer
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from tests.core.transport.http2.wire import GREETING, PATH, Caller, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mlsysops_pipeline.transport.http2.requests import GrpcRequest


class Serving:
    """``wait``, ``fail`` and ``break`` say with their message how a call is answered."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.handled: list[bytes] = []
        self.cancelled = 0
        self.memory = MemoryAccount()
        method = UnaryMethod(self._handle, handle_now=self._handle_now)
        sockets = listen.bind(NetAddress("127.0.0.1", 0))
        self.port = listen.port_of(sockets)
        self.clock = JumpClock()
        self.server = NativeGrpcServer(
            Service(
                {PATH: method}, self.memory, lambda error: GrpcStatus(Code.ABORTED, str(error))
            ),
            sockets,
            clock=self.clock,
            logger=logging.getLogger("test.grpc"),
            decompress=self._decompress,
        )

    @staticmethod
    async def _decompress(_encoding: str, data: bytes, _bytes_max: int) -> bytes:
        return data

    async def _handle(self, request: GrpcRequest) -> bytes:
        self.handled.append(b"slowly " + request.message)
        return b"slow"

    def _handle_now(self, request: GrpcRequest) -> bytes | Callable[[], Awaitable[bytes]]:
        self.handled.append(request.message)
        if request.message == b"fail":
            raise RetryableError("not now")
        if request.message == b"break":
            raise ZeroDivisionError
        return self._rest if request.message == b"wait" else b"now"

    async def _rest(self) -> bytes:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b"waited"

    async def exchange(self, data: bytes, caller: Caller, count: int) -> dict[int, dict[str, Any]]:
        """Send, and read until so many answers are here."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(GREETING + data)
        got = b""
        while len(answered(got)) < count:
            got += await reader.read(1 << 16)
        writer.close()
        return caller.answers(got)


def answered(data: bytes) -> set[int]:
    """Streams that have ended in what was read so far."""
    ended = set()
    position = 0
    while position + 9 <= len(data):
        high, low, kind, flags, stream = frames.HEADER.unpack_from(data, position)
        position += 9 + (high << 16 | low)
        if kind == frames.HEADERS and flags & frames.END_STREAM and position <= len(data):
            ended.add(stream)
    return ended


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    running = Serving()
    await running.server.start()
    yield running
    stopping = asyncio.get_running_loop().create_task(running.server.shutdown(1.0))
    await advance_until(running.clock, stopping.done)
    assert 0 == running.memory.in_flight


async def test_each_kind_of_call_gets_its_answer(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    serving.gate.set()
    caller = Caller()
    data = b"".join(caller.call(message) for message in (b"go", b"wait", b"fail", b"break"))
    data += caller.call(b"packed", flag=1, extra=[("grpc-encoding", "gzip")])
    answers = await serving.exchange(data, caller, 5)
    codes = [answers[stream]["grpc-status"] for stream in (1, 3, 5, 7, 9)]
    assert ["0", "0", str(int(Code.ABORTED)), str(int(Code.INTERNAL)), "0"] == codes
    assert [b"go", b"wait", b"fail", b"break", b"slowly packed"] == serving.handled
    assert "ZeroDivisionError" in caplog.text


async def test_a_call_that_was_reset_behind_its_message_is_not_begun(serving: Serving) -> None:
    caller = Caller()
    reset = frame(frames.RST_STREAM, 0, 1, int(frames.ErrorCode.CANCEL).to_bytes(4))
    answers = await serving.exchange(caller.call(b"gone") + reset + caller.call(b"go"), caller, 1)
    assert [b"go"] == serving.handled
    assert "0" == answers[3]["grpc-status"]


async def test_a_call_that_waits_is_cancelled_with_its_stream(serving: Serving) -> None:
    caller = Caller()
    _, writer = await asyncio.open_connection("127.0.0.1", serving.port)
    writer.write(GREETING + caller.call(b"wait"))
    await wait_until(lambda: serving.handled)
    await settle()
    writer.write(frame(frames.RST_STREAM, 0, 1, int(frames.ErrorCode.CANCEL).to_bytes(4)))
    await wait_until(lambda: serving.cancelled)
    protocol: Any = next(iter(serving.server._protocols))
    await wait_until(lambda: not protocol.grpc.connection.held_streams)
    writer.close()
