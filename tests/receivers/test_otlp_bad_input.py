"""What a hostile or broken sender can do to the `otlp` receiver, over both transports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import pytest

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.memory import give_back
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, Sink, make_settings, make_wire, wait_until
from mlsysops_pipeline.transport.compression import HTTP_ENCODINGS, compress
from mlsysops_pipeline.transport.http2 import frames
from mlsysops_receivers.otlp import FACTORY
from tests.core.transport.http2.wire import GREETING, Caller, frame, read_frames
from tests.receivers.otlp_running import JSON, PROTOBUF, Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Serve = Callable[..., Awaitable[Running]]

METRICS = Signal.METRICS.method
MIB = 1 << 20


class Sender:
    """Sends one request by ``transport`` and says how it was answered, as a gRPC code."""

    def __init__(self, transport: str) -> None:
        self.transport = transport

    async def send(
        self, running: Running, wire: bytes, signal: Signal = Signal.METRICS, encoding: str = ""
    ) -> Code:
        if self.transport == "grpc":
            return await self._by_grpc(running, wire, signal, encoding)
        headers = {"Content-Type": PROTOBUF, **({"Content-Encoding": encoding} if encoding else {})}
        async with (
            aiohttp.ClientSession() as client,
            client.post(running.url(signal.url_path), data=_pieces(wire), headers=headers) as got,
        ):
            await got.read()
            return _HTTP_CODES[got.status]

    async def _by_grpc(self, running: Running, wire: bytes, signal: Signal, encoding: str) -> Code:
        port = running.receiver.ports["grpc"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        caller = Caller()
        extra = [("grpc-encoding", encoding)] if encoding else []
        writer.write(GREETING + caller.head(path=signal.method, extra=extra))
        prefix = bytes([bool(encoding)]) + len(wire).to_bytes(4)
        writer.write(frame(frames.DATA, 0, 1, prefix))
        answer = asyncio.get_running_loop().create_task(_read_status(reader, caller))
        # Windows are what they are: more than the first is only sent if it was asked for.
        room = MIB - 5
        for start in range(0, len(wire), MIB // 2):
            piece = wire[start : start + MIB // 2]
            if room < len(piece) and encoding == "":
                await asyncio.sleep(0.02)
                if answer.done():
                    break
            room -= len(piece)
            writer.write(frame(frames.DATA, 0, 1, piece))
            await writer.drain()
        if not answer.done():
            writer.write(frame(frames.DATA, frames.END_STREAM, 1))
        try:
            async with asyncio.timeout(15):
                return await answer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


_HTTP_CODES = {
    200: Code.OK,
    400: Code.INVALID_ARGUMENT,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.UNIMPLEMENTED,
}


async def _pieces(wire: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(wire), MIB):
        yield wire[start : start + MIB]


async def _read_status(reader: asyncio.StreamReader, caller: Caller) -> Code:
    """The grpc-status of the first answer."""
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3]))
        fields = caller.answers(head + payload)
        for found in fields.values():
            if "grpc-status" in found:
                return Code(int(found["grpc-status"]))


@pytest.fixture(params=["grpc", "http"])
def sender(request: pytest.FixtureRequest) -> Sender:
    return Sender(request.param)


def _nested_value(levels: int) -> bytes:
    """A log record whose body is a list in a list in a list ..."""
    value = b""
    for _ in range(levels):
        inner = b"\x0a" + _length(len(value)) + value  # ArrayValue.values
        value = b"\x2a" + _length(len(inner)) + inner  # AnyValue.array_value
    for tag in (b"\x2a", b"\x12", b"\x12", b"\x0a"):  # body, log_records, scope_logs, resource_logs
        value = tag + _length(len(value)) + value
    return value


def _length(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


async def test_truncated_requests(serve: Serve, sender: Sender) -> None:
    # OH-5, OG-4
    running = await serve()
    wire = make_wire(Signal.METRICS, 20)
    for end in (1, 2, len(wire) // 2, len(wire) - 1):
        assert Code.INVALID_ARGUMENT == await sender.send(running, wire[:end])
    assert [] == running.sinks[Signal.METRICS].payloads


async def test_random_requests(serve: Serve, sender: Sender) -> None:
    running = await serve()
    chance = random.Random(7)  # noqa: S311  the same every time
    seen = set()
    for size in (1, 3, 10, 100, 5_000):
        for _ in range(6):
            seen.add(await sender.send(running, chance.randbytes(size)))
    assert seen <= {Code.OK, Code.INVALID_ARGUMENT}
    assert Code.INVALID_ARGUMENT in seen
    assert Code.OK == await sender.send(running, make_wire(Signal.METRICS, 1))


async def test_deeply_nested_requests(serve: Serve, sender: Sender) -> None:
    running = await serve()
    groups = b"\x7b" * 5_000  # groups that begin and never end, at the top
    assert Code.INVALID_ARGUMENT == await sender.send(running, groups)
    closed = b"\x7b" * 5_000 + b"\x7c" * 5_000
    assert Code.INVALID_ARGUMENT == await sender.send(running, closed)


async def test_nesting_inside_an_item_is_seen_by_a_full_check(serve: Serve, sender: Sender) -> None:
    # The design: the framing is checked down to the item, the rest only by ``validate: full``.
    wire = _nested_value(3_000)
    for validation, code in (("framing", Code.OK), ("full", Code.INVALID_ARGUMENT)):
        running = await serve({"validate": validation})
        assert code == await sender.send(running, wire, Signal.LOGS)
        assert int(code == Code.OK) == len(running.sinks[Signal.LOGS].payloads)


async def test_garbage_inside_an_item_is_seen_by_a_full_check(serve: Serve, sender: Sender) -> None:
    wire = make_wire(Signal.METRICS, 3)
    broken = wire.replace(b"value-1-1", b"\xff" * 9)  # not UTF-8
    assert wire != broken
    for validation, code in (("framing", Code.OK), ("full", Code.INVALID_ARGUMENT)):
        running = await serve({"validate": validation})
        assert code == await sender.send(running, broken)
        assert Code.OK == await sender.send(running, wire)


_FRACTION = (
    b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":'
    b'[{"asInt":"5.5"}]}}]}]}]}'
)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"{",
        b"\xff\xfe{}",
        b'{"resourceMetrics": {}}',
        b'{"resourceMetrics": [3]}',
        b'{"resourceMetrics": [{"scopeMetrics": "x"}]}',
        b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": 5}]}]}]}',
        b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": []}]}]}]}',
        _FRACTION,
        b'{"resourceMetrics": NaN}',
        b'{"resourceMetrics": ' + b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    ],
)
async def test_json_that_is_no_request(
    serve: Serve, client: aiohttp.ClientSession, text: bytes
) -> None:
    # OH-4, OH-5, OJ-9
    running = await serve()
    async with client.post(running.url(), data=text, headers={"Content-Type": JSON}) as response:
        assert 400 == response.status
        status = await response.json()
    assert int(Code.INVALID_ARGUMENT) == status["code"]
    assert status["message"]
    assert [] == running.sinks[Signal.METRICS].payloads


@pytest.mark.parametrize(
    "case",
    [
        *(f"http {encoding}" for encoding in HTTP_ENCODINGS),
        *(f"grpc {encoding}" for encoding in ("gzip", "deflate", "zstd", "snappy")),
    ],
)
@pytest.mark.slow
async def test_bombs_of_every_codec(serve: Serve, case: str) -> None:
    # OC-8, OH-6, OG-2
    transport, encoding = case.split()
    running = await serve(
        http={"max_request_body_size": 4 * MIB}, grpc={"max_recv_msg_size_mib": 4}
    )
    bomb = compress(encoding, bytes(64 * MIB))
    assert len(bomb) < 4 * MIB
    code = await Sender(transport).send(running, bomb, encoding=encoding)
    assert Code.RESOURCE_EXHAUSTED == code
    assert running.settings.memory.peak <= 4 * MIB
    assert Code.OK == await Sender(transport).send(running, make_wire(Signal.METRICS, 1))


def _peak_mib() -> float:
    """The most resident memory since `_reset_peak`."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1_024
    raise AssertionError("Linux says how much memory was used")


def _reset_peak() -> float:
    give_back()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak_mib()


@pytest.mark.slow
@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of memory cannot be reset"
)
async def test_64_mib_of_empty_metrics(serve: Serve, sender: Sender) -> None:
    # Opened, these would take 1.7 GB; counting them must not.
    running = await serve()
    metrics = bytes([0x12, 0]) * (32 * MIB - 20)
    scope = b"\x12" + _length(len(metrics)) + metrics
    wire = b"\x0a" + _length(len(scope)) + scope
    del metrics, scope
    assert 64 * MIB >= len(wire) > 64 * MIB - 64
    before = _reset_peak()
    code = await sender.send(running, wire)
    grown = _peak_mib() - before
    del wire  # so that a failure is not shown with 64 MiB of zeros
    assert Code.RESOURCE_EXHAUSTED == code
    # The request itself, once more while its pieces are joined, and what the client holds.
    assert grown < 64 * 3
    await wait_until(running.has_given_back)
    assert [] == running.sinks[Signal.METRICS].payloads


async def test_the_operator_sees_one_line_for_each_kind_of_bad_request(
    serve: Serve, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    running = await serve()
    for _ in range(3):
        for path, media_type, data in (
            ("/v1/metrics", PROTOBUF, b"\xff"),
            ("/v1/logs", JSON, b"["),
            ("/v1/metrics", "text/plain", b"x"),
            ("/v2/metrics", PROTOBUF, b""),
        ):
            headers = {"Content-Type": media_type}
            async with client.post(running.url(path), data=data, headers=headers) as response:
                assert response.status in {400, 404, 415}
        async with grpc.aio.insecure_channel(running.grpc) as channel:
            for method, data in ((METRICS, b"\xff"), ("/no/such", b""), (METRICS, bytes(65 << 20))):
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary(method)(data)
    lines = [message for message in caplog.messages if message.startswith("refused 127.0.0.1 at ")]
    assert 6 == len(lines), lines
    assert lines == caplog.messages
    for place in ("'/v1/metrics'", "'/v2/metrics'", f"'{METRICS}'", "'/no/such'"):
        assert any(place in line for line in lines)


async def test_a_client_that_stops_in_mid_request(serve: Serve) -> None:
    running = await serve()
    http = (
        b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: 5000\r\n\r\n"
    )
    caller = Caller()
    begun = GREETING + caller.head(path=METRICS)
    begun += frame(frames.DATA, 0, 1, b"\x00\x00\x00\x13\x88" + bytes(100))
    for protocol, data in (("http", http % PROTOBUF.encode() + bytes(100)), ("grpc", begun)):
        _, writer = await asyncio.open_connection("127.0.0.1", running.receiver.ports[protocol])
        writer.write(data)
        await wait_until(lambda: running.settings.memory.in_flight == 5_000)
        writer.transport.abort()
        await wait_until(running.has_given_back)
    assert [] == running.sinks[Signal.METRICS].payloads


async def test_a_client_that_goes_on_too_slowly(serve: Serve) -> None:
    clock = JumpClock()
    running = await serve(clock=clock)
    caller = Caller()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.receiver.ports["grpc"])
    writer.write(GREETING + caller.head(path=METRICS))
    writer.write(frame(frames.DATA, 0, 1, b"\x00\x00\x00\x13\x88" + bytes(100)))
    await wait_until(lambda: running.settings.memory.in_flight == 5_000)
    await clock.advance(31.0)
    assert Code.DEADLINE_EXCEEDED == await _read_status(reader, caller)
    assert running.has_given_back()
    writer.close()


async def test_a_client_that_never_reads(serve: Serve) -> None:
    clock = JumpClock()
    running = await serve(clock=clock)
    caller = Caller()
    _, writer = await asyncio.open_connection("127.0.0.1", running.receiver.ports["grpc"], limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    # It never opens a window, so every answer waits.
    writer.write(GREETING + frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 0}))
    server: Any = running.receiver._grpc
    await wait_until(lambda: server._protocols)
    protocol = next(iter(server._protocols))
    for _ in range(4):
        writer.write(b"".join(caller.call(b"", path=METRICS) for _ in range(200)))
    outbound = protocol.grpc.connection.outbound
    await wait_until(lambda: outbound.blocked_count == 800)
    assert outbound.unsent_bytes <= 800 * 5
    for _ in range(4):  # what it sends does not help it
        await clock.advance(7.0)
        writer.write(b"".join(caller.call(b"", path=METRICS) for _ in range(40)))
        assert server._protocols
    await clock.advance(3.0)
    await wait_until(lambda: not protocol.grpc.calls and protocol.grpc.is_over)
    writer.transport.abort()
    await wait_until(lambda: not server._protocols)


async def test_other_protocols_on_the_grpc_port(serve: Serve) -> None:
    running = await serve()
    for data, answer in (
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 505 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60), b"\x00\x00"),
        (b"nonsense", b"\x00\x00"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.receiver.ports["grpc"])
        writer.write(data)
        got = await reader.read()
        assert got.startswith(answer)
        if not got.startswith(b"HTTP"):
            assert [frames.GOAWAY] == [f.kind for f in read_frames(got)]
        writer.close()


async def test_a_port_in_use_is_one_clear_line_and_frees_the_other(serve: Serve) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        endpoint = f"127.0.0.1:{other.getsockname()[1]}"
        running = Running(http={"endpoint": endpoint}, grpc={"endpoint": "localhost:0"})
        with pytest.raises(OSError, match="already in use") as caught:
            await running.start()
        assert f"cannot listen on {endpoint}: the address is already in use" == str(caught.value)
        # The gRPC server, which could start, does not listen any more.
        assert {} == running.receiver.ports
        assert running.receiver._grpc is None


async def test_a_port_is_not_shared_with_grpcio(serve: Serve) -> None:
    running = await serve()
    server = grpc.aio.server()  # it asks for SO_REUSEPORT
    try:
        with pytest.raises(RuntimeError, match="Failed to bind"):
            server.add_insecure_port(running.grpc)
    finally:
        await server.stop(None)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_missing_certificate_is_one_clear_line(protocol: str, tmp_path: Path) -> None:
    tls = {"cert_file": f"{tmp_path}/cert.pem", "key_file": f"{tmp_path}/key.pem"}
    options: dict[str, Any] = {protocol: {"tls": tls}}
    running = Running(**options)
    with pytest.raises(OSError, match="cert_file") as caught:
        await running.start()
    assert f"tls.cert_file: {tmp_path}/cert.pem: No such file or directory" == str(caught.value)
    assert {} == running.receiver.ports


async def test_shutdown_before_start_and_twice() -> None:
    running = Running()
    await running.receiver.shutdown()
    await running.start()
    await running.receiver.shutdown()
    await running.receiver.shutdown()


async def test_the_factory_makes_one_object_and_does_no_io() -> None:
    running = Running()
    made = FACTORY.create(running.config, make_settings("otlp"), {Signal.LOGS: Sink()})
    assert {} == made.ports
    assert "<OtlpReceiver otlp ports={}>" == repr(made)
