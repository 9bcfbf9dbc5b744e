"""The sockets, tasks and timers around `GrpcConnection`: limits, stalls, endings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from mlsysops_pipeline.config.values import NetAddress
from mlsysops_pipeline.errors import Code, MalformedError, RetryableError
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.testing import JumpClock, wait_until
from mlsysops_pipeline.transport import listen
from mlsysops_pipeline.transport.complaints import CAUSES_MAX
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.calls import Service, UnaryMethod
from mlsysops_pipeline.transport.http2.server import NativeGrpcServer
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from mlsysops_pipeline.transport.refusals import refusal
from tests.core.transport.http2.wire import GREETING, PATH, Caller, frame, goaway, read_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mlsysops_pipeline.transport.http2.requests import GrpcRequest

    Serve = Callable[..., Awaitable["Running"]]


def _status_of(error: Exception) -> GrpcStatus:
    told = refusal(error)
    return GrpcStatus(told.code, told.message)


async def _decompress(_encoding: str, data: bytes, _bytes_max: int) -> bytes:
    if data == b"bad":
        raise MalformedError("cannot be decompressed")
    return data * 2


class Running:
    """A server that answers ``answer``; ``gate`` makes calls wait, ``error`` makes them fail."""

    def __init__(self, clock: JumpClock, **options: Any) -> None:
        self.clock = clock
        self.answer = b"answer"
        self.gate: asyncio.Event | None = None
        self.error: BaseException | None = None
        self.requests: list[GrpcRequest] = []
        self.cancelled = 0
        self.memory = MemoryAccount()
        service = Service({PATH: UnaryMethod(self._handle)}, self.memory, _status_of)
        sockets = listen.bind(NetAddress("127.0.0.1", 0))
        self.port = listen.port_of(sockets)
        self.server = NativeGrpcServer(
            service,
            sockets,
            clock=clock,
            logger=logging.getLogger("test.grpc"),
            decompress=_decompress,
            **options,
        )

    async def _handle(self, request: GrpcRequest) -> bytes:
        self.requests.append(request)
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.answer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def stop(self) -> None:
        """Shut down; the clock is turned, so that nobody waits for ever."""
        task = asyncio.get_running_loop().create_task(self.server.shutdown(1.0))
        while not task.done():
            await self.clock.advance(1.0)
            await asyncio.sleep(0.001)
        await task


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    started: list[Running] = []

    async def start(**options: Any) -> Running:
        started.append(Running(JumpClock(), **options))
        await started[-1].server.start()
        return started[-1]

    yield start
    for running in started:
        await running.stop()
        await running.stop()
        assert 0 == running.memory.in_flight


async def _read_until_end(reader: asyncio.StreamReader) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := await reader.read(1 << 16):
            got += piece
    return got


async def test_a_large_answer_waits_for_a_slow_reader(serve: Serve) -> None:
    running = await serve()
    running.answer = bytes(6 << 20)
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{running.port}", options=[("grpc.max_receive_message_length", -1)]
    ) as channel:
        assert running.answer == await channel.unary_unary(PATH)(b"x")
    assert "127.0.0.1" == running.requests[0].peer
    assert (b"x", 1) == (running.requests[0].message, running.requests[0].wire_bytes)


async def test_a_socket_that_is_never_read_is_not_read_from_and_cut_off(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    running = await serve()
    running.answer = bytes(3 << 20)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)  # noqa: FBT003  the library's signature
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", running.port))
        settings = {frames.INITIAL_WINDOW_SIZE: 8 << 20}
        greeting = GREETING + frames.settings_frame(settings)
        greeting += frames.window_update_frame(0, 64 << 20)
        caller = Caller()
        await asyncio.get_running_loop().sock_sendall(
            client, greeting + caller.call(b"") + caller.call(b"")
        )
        await wait_until(lambda: running.server._protocols)
        protocol: Any = next(iter(running.server._protocols))
        await wait_until(lambda: protocol._is_paused)
        assert not protocol._transport.is_reading()
        await running.clock.advance(limits.STALL_TIMEOUT_S + 1)
        await wait_until(lambda: not running.server._protocols)
    assert any("does not read its answers" in message for message in caplog.messages)


async def test_a_reader_that_comes_back_is_served_on(serve: Serve) -> None:
    running = await serve()
    running.answer = bytes(7 << 20)  # more than the kernel takes
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    small.setblocking(False)  # noqa: FBT003  the library's signature
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", running.port))
    reader, writer = await asyncio.open_connection(sock=small)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    greeting = GREETING + frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 8 << 20})
    caller = Caller()
    writer.write(greeting + frames.window_update_frame(0, 64 << 20) + caller.call(b""))
    await wait_until(lambda: running.server._protocols)
    protocol: Any = next(iter(running.server._protocols))
    await wait_until(lambda: protocol._is_paused)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    got = bytearray()  # of thousands of pieces
    while not _is_answered(got):
        piece = await reader.read(1 << 18)
        assert piece, "the connection ended"
        got += piece
    assert not protocol._is_paused
    assert "0" == caller.answers(bytes(got))[1]["grpc-status"]
    writer.close()


def _is_answered(got: bytearray) -> bool:
    """Whether the trailers of the first stream are here, which come last."""
    at = got.rfind(b"\x01\x05\x00\x00\x00\x01", max(0, len(got) - 200))
    return at >= 3 and len(got) >= at + 6 + int.from_bytes(got[at - 3 : at])


async def test_connections_have_a_limit(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    running = await serve(connections_max=1)
    _, writer = await running.connect()
    await wait_until(lambda: running.server._protocols)
    for _ in range(2):
        reader, other = await running.connect()
        assert b"" == await _read_until_end(reader)
        other.close()
    assert ["gRPC connection ended: more than 1 connections"] == caplog.messages
    writer.close()


async def test_complaints_are_bounded(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    running = await serve()
    for number in range(300):
        running.server.complain(f"cause {number}", "x")
    assert CAUSES_MAX == len(caplog.messages)


async def test_errors_of_methods(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    running = await serve()
    expected: list[tuple[BaseException, grpc.StatusCode, str]] = [
        (RetryableError("full"), grpc.StatusCode.UNAVAILABLE, "full"),
        (ZeroDivisionError("oops"), grpc.StatusCode.INTERNAL, "internal error"),
        (
            asyncio.CancelledError(),
            grpc.StatusCode.CANCELLED,
            "the call was cancelled by the server",
        ),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        for error, code, details in expected:
            running.error = error
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(PATH)(b"")
            assert (code, details) == (caught.value.code(), caught.value.details())
    assert [f"{PATH} failed: ZeroDivisionError('oops')"] == caplog.messages


async def test_decompression_comes_before_the_method(serve: Serve) -> None:
    running = await serve()
    caller = Caller()
    reader, writer = await running.connect()
    extra = [("grpc-encoding", "gzip")]
    writer.write(GREETING + caller.call(b"ab", flag=1, extra=extra))
    await wait_until(lambda: running.requests)
    assert (b"abab", 2) == (running.requests[0].message, running.requests[0].wire_bytes)
    assert "gzip" == running.requests[0].header(b"grpc-encoding")
    writer.write(caller.call(b"bad", flag=1, extra=extra))
    got = b""
    while b"cannot be" not in got:
        piece = await reader.read(1_000)
        assert piece, "the connection ended"
        got += piece
    assert 1 == len(running.requests)
    writer.close()


async def test_a_client_that_goes_away_stops_its_calls(serve: Serve) -> None:
    running = await serve()
    running.gate = asyncio.Event()
    caller = Caller()
    _, writer = await running.connect()
    writer.write(GREETING + b"".join(caller.call(b"x") for _ in range(5)))
    await wait_until(lambda: len(running.requests) == 5)
    writer.close()
    await wait_until(lambda: running.cancelled == 5)
    await wait_until(lambda: not running.server._lingering)


async def test_a_reset_stops_one_call(serve: Serve) -> None:
    running = await serve()
    running.gate = asyncio.Event()
    caller = Caller()
    _, writer = await running.connect()
    writer.write(GREETING + caller.call(b"x") + caller.call(b"y"))
    await wait_until(lambda: len(running.requests) == 2)
    writer.write(frames.reset_frame(1, frames.ErrorCode.CANCEL))
    await wait_until(lambda: running.cancelled == 1)
    protocol = next(iter(running.server._protocols))
    await wait_until(lambda: protocol.grpc.connection.held_streams == 0)
    running.gate.set()
    writer.close()


def _writes(running: Running) -> list[bytes]:
    """What is written from now on to the only connection, write by write."""
    protocol: Any = next(iter(running.server._protocols))
    writes: list[bytes] = []
    transport = protocol._transport

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(transport, name)

        def write(self, data: bytes) -> None:
            writes.append(data)
            transport.write(data)

    protocol._transport = Spy()
    return writes


async def test_the_answer_to_a_ping_behind_a_call_is_written_with_that_of_the_call(
    serve: Serve,
) -> None:
    """As grpc-go sends it, when the call ends at its first step."""
    running = await serve()
    reader, writer = await running.connect()
    writer.write(GREETING)
    got = b""
    while not got.endswith(frames.SETTINGS_ACK):
        got += await reader.read(1 << 16)
    writes = _writes(running)
    writer.write(Caller().call(b"x") + frames.ping_frame(b"12345678"))
    got = b""
    while not _is_answered(bytearray(got)):
        got += await reader.read(1 << 16)
    assert [got] == writes
    assert frames.ping_frame(b"12345678", ack=True) in got
    writer.close()


async def test_answers_of_calls_that_end_together_are_written_together(serve: Serve) -> None:
    running = await serve()
    running.gate = asyncio.Event()
    caller = Caller()
    reader, writer = await running.connect()
    writer.write(GREETING + b"".join(caller.call(b"x") for _ in range(20)))
    await wait_until(lambda: len(running.requests) == 20)
    writes = _writes(running)
    running.gate.set()
    got = bytearray()  # one write may arrive in pieces
    while got.count(b"\x00\x00\x00\x00\x06answer") < 20:
        piece = await reader.read(1 << 16)
        assert piece, "the connection ended"
        got += piece
    assert 1 == len(writes)
    writer.close()


async def test_a_peer_that_broke_a_rule_is_told_before_the_end(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    running = await serve()
    reader, writer = await running.connect()
    writer.write(GREETING + frame(frames.DATA, 0, 0, b"x"))
    got = await _read_until_end(reader)
    assert goaway(got) == (0, 1, "DATA on stream 0")
    writer.write(b"it goes on")
    await running.clock.advance(2.0)  # it has been read from for long enough
    await wait_until(lambda: not running.server._protocols)
    assert ["gRPC connection ended: 127.0.0.1: DATA on stream 0"] == caplog.messages
    writer.close()


async def test_shutdown_says_goodbye_and_waits_for_calls(serve: Serve) -> None:
    running = await serve()
    running.gate = asyncio.Event()
    caller = Caller()
    reader, writer = await running.connect()
    idle_reader, idle = await running.connect()
    idle.write(GREETING)
    writer.write(GREETING + caller.call(b"x"))
    await wait_until(lambda: running.requests and len(running.server._protocols) == 2)
    await wait_until(
        lambda: all(p.grpc.connection.is_established for p in running.server._protocols)
    )
    stop = asyncio.get_running_loop().create_task(running.server.shutdown(60.0))
    await running.clock.advance(limits.DRAIN_PING_TIMEOUT_S + 0.1)
    assert frames.GOAWAY in {f.kind for f in read_frames(await _read_until_end(idle_reader))}
    assert not stop.done()
    running.gate.set()
    answers = caller.answers(await _read_until_end(reader))
    assert str(int(Code.OK)) == answers[1]["grpc-status"]
    writer.close()
    idle.close()
    await stop


async def test_shutdown_before_start_frees_the_port() -> None:
    running = Running(JumpClock())
    await running.server.shutdown(1.0)
    listen.close(listen.bind(NetAddress("127.0.0.1", running.port)))
    assert repr(running.server).startswith("<NativeGrpcServer ")
