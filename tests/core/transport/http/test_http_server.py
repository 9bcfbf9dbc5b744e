"""The HTTP server through real sockets: good clients, slow ones, and those that break off."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import zlib
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import ComponentID
from mlsysops_pipeline.config.values import NetAddress
from mlsysops_pipeline.errors import Code, ConfigError, PeerError, RetryableError
from mlsysops_pipeline.testing import FakeHost, JumpClock, make_settings, wait_until
from mlsysops_pipeline.transport.compression import HTTP_ENCODINGS, compress
from mlsysops_pipeline.transport.http.server import (
    HttpRequest,
    HttpResponse,
    HttpServer,
    http_date,
)
from mlsysops_pipeline.transport.server_settings import (
    CorsConfig,
    HttpAuthConfig,
    HttpServerConfig,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from mlsysops_pipeline.component import Settings

    Serve = Callable[..., Awaitable["Running"]]

LOCAL = NetAddress("127.0.0.1", 0)


class Handler:
    """Answers with the size of the body; set ``gate`` to make it wait, ``error`` to raise."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.head_error: Exception | None = None
        self.cancelled = 0
        self.body = b""

    def on_head(self, request: HttpRequest) -> None:
        assert b"" == request.body
        if self.head_error is not None:
            raise self.head_error

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if self.error is not None:
            raise self.error
        return HttpResponse(200, self.body or b"%d" % len(request.body), "text/plain")


class Running:
    """A server under test with its handler and settings."""

    def __init__(self, server: HttpServer, handler: Handler, settings: Settings) -> None:
        self.server = server
        self.handler = handler
        self.settings = settings
        self.url = f"http://127.0.0.1:{server.port}/x"

    async def raw(self, data: bytes, *, until: bytes = b"", eof: bool = False) -> bytes:
        """What comes back for raw bytes, up to ``until`` or the end of the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(data)
        if eof:
            writer.write_eof()
        got = await (reader.readuntil(until) if until else reader.read())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return got


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers: ``await serve(key=value, ...)``; ``clock`` and ``host`` go to settings."""
    running: list[Running] = []

    async def start(*, clock: Any = None, host: FakeHost | None = None, **keys: Any) -> Running:
        handler = Handler()
        settings = make_settings(clock=clock or SystemClock(), host=host)
        config = HttpServerConfig(**{"endpoint": LOCAL, **keys})
        server = HttpServer(config, handler, settings=settings, on_head=handler.on_head)
        await server.start()
        running.append(Running(server, handler, settings))
        return running[-1]

    yield start
    for each in running:
        for _ in range(2):
            await _stopped(each)
        assert 0 == each.settings.memory.in_flight


async def _stopped(running: Running) -> None:
    """Shut down; a clock that stands still is turned, so that nobody waits for ever."""
    stop = asyncio.get_running_loop().create_task(running.server.shutdown(1.0))
    while not stop.done():
        if isinstance(running.settings.clock, JumpClock):
            await running.settings.clock.advance(1.0)
        await asyncio.sleep(0.001)
    await stop


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def test_a_connection_serves_many_requests(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    running = await serve()
    for size in (0, 1, 100_000, 5):
        async with client.post(running.url, data=b"x" * size) as response:
            assert 200 == response.status
            assert "Date" in response.headers
            assert b"%d" % size == await response.read()
    assert 1 == len(running.server._connections)
    assert "127.0.0.1" == running.handler.requests[0].peer


async def test_chunked_bodies(serve: Serve, client: aiohttp.ClientSession) -> None:
    running = await serve()

    async def parts() -> AsyncIterator[bytes]:
        for number in range(50):
            yield b"x" * number * 100

    async with client.post(running.url, data=parts()) as response:
        assert b"122500" == await response.read()


async def test_head_answers_without_a_body(serve: Serve) -> None:
    running = await serve()
    got = await running.raw(b"HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"content-length: 1" in got
    assert got.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("encoding", ["identity", *HTTP_ENCODINGS])
async def test_encoded_bodies(serve: Serve, client: aiohttp.ClientSession, encoding: str) -> None:
    # OC-1, OH-11; `identity` is no encoding ("Known disagreements").
    running = await serve()
    for plain in (b"abc", b"x" * 3_000_000):
        headers = {"Content-Encoding": encoding}
        async with client.post(
            running.url, data=io.BytesIO(compress(encoding, plain)), headers=headers
        ) as response:
            assert b"%d" % len(plain) == await response.read()


async def test_encodings_that_are_not_enabled_are_refused(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    running = await serve(compression_algorithms=("gzip",))
    for headers in ({"Content-Encoding": "br"}, {"Content-Encoding": "zstd"}, {}):
        async with client.post(running.url, data=b"x", headers=headers) as response:
            assert 400 == response.status
            assert b"unsupported Content-Encoding" in await response.read()
    assert [] == running.handler.requests


@pytest.mark.parametrize("encoding", HTTP_ENCODINGS)
async def test_broken_encodings_are_400(
    serve: Serve, client: aiohttp.ClientSession, encoding: str
) -> None:
    # OH-5: gzip header missing, gzip truncated.
    running = await serve()
    whole = compress(encoding, b"telemetry" * 100)
    for data in (b"\x01not compressed", whole[:-1]):
        headers = {"Content-Encoding": encoding}
        async with client.post(running.url, data=data, headers=headers) as response:
            assert 400 == response.status


async def test_too_large_before_and_after_decompression_is_413(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    # OH-6, OC-8
    running = await serve(max_request_body_size=10_000)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1_000

    packed = {"Content-Encoding": "gzip"}
    for data, headers in (
        (b"x" * 10_001, {}),
        (parts(), {}),
        (gzip.compress(b"x" * 10_001), packed),
    ):
        async with client.post(running.url, data=data, headers=headers) as response:
            assert 413 == response.status
    async with client.post(running.url, data=b"x" * 10_000) as response:
        assert 200 == response.status


async def test_what_is_refused_at_the_head_is_never_kept(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    # OH-7: admission comes before the body, and the connection goes on.
    running = await serve()
    running.handler.head_error = RetryableError("memory is short", retry_after_s=1.5)
    async with client.post(running.url, data=io.BytesIO(b"x" * 3_000_000)) as response:
        assert 503 == response.status
        assert "2" == response.headers["Retry-After"]
    assert 0 == running.settings.memory.peak
    running.handler.head_error = None
    async with client.post(running.url, data=b"abc") as response:
        assert b"3" == await response.read()
    assert 1 == len(running.server._connections)


async def test_bodies_are_charged_while_they_are_held(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    running = await serve()
    memory = running.settings.memory
    running.handler.gate = asyncio.Event()
    plain = b"x" * 50_000
    data = gzip.compress(plain)
    headers = {"Content-Encoding": "gzip"}
    request = asyncio.get_running_loop().create_task(
        client.post(running.url, data=data, headers=headers)
    )
    await wait_until(lambda: running.handler.requests)
    assert len(plain) == memory.in_flight
    running.handler.gate.set()
    await (await request).read()
    await wait_until(lambda: not memory.in_flight)


async def test_handler_errors_become_answers(
    serve: Serve, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    running = await serve()
    for error, status in (
        (PeerError("no", Code.PERMISSION_DENIED), 403),
        (RetryableError("full"), 503),
        (ZeroDivisionError("oops"), 500),
    ):
        running.handler.error = error
        async with client.post(running.url, data=b"x") as response:
            assert status == response.status
            assert "oops" not in await response.text()
    assert [  # that something further on is full has been said there
        "refused 127.0.0.1 at '/x': no",
        "/x failed: ZeroDivisionError('oops')",
    ] == caplog.messages


async def test_answers_are_gzipped_only_if_allowed(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    # OH-11
    running = await serve()
    running.handler.body = b"metric 1\n" * 1_000
    for accepted, encoded in (("gzip, br", True), ("gzip;q=0", False), ("br", False), ("", False)):
        async with client.get(running.url, headers={"Accept-Encoding": accepted}) as response:
            body = await response.read()
            assert encoded == (response.headers.get("Content-Encoding") == "gzip")
            plain = zlib.decompress(body, wbits=31) if encoded else body
            assert running.handler.body == plain


async def test_configured_fields_are_added_to_every_answer(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    from mlsysops_pipeline.config.values import Opaque

    running = await serve(response_headers=(("X-Content-Type-Options", Opaque("nosniff")),))
    for data in (b"x", b"x" * (65 << 20)):
        async with client.post(running.url, data=io.BytesIO(data)) as response:
            assert "nosniff" == response.headers["X-Content-Type-Options"]


async def test_cors(serve: Serve, client: aiohttp.ClientSession) -> None:
    running = await serve(cors=CorsConfig(allowed_origins=("https://*.example.com",)))
    origin = {"Origin": "https://shop.example.com"}
    preflight = {**origin, "Access-Control-Request-Method": "POST"}
    async with client.options(running.url, headers=preflight) as response:
        assert 204 == response.status
        assert origin["Origin"] == response.headers["Access-Control-Allow-Origin"]
    assert [] == running.handler.requests
    running.handler.error = RetryableError("full")
    async with client.post(running.url, data=b"x", headers=origin) as response:
        assert 503 == response.status
        assert origin["Origin"] == response.headers["Access-Control-Allow-Origin"]


class Guard:
    """An authenticator that takes one header and one parameter."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def authenticate(self, headers: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
        if self.gate is not None:
            await self.gate.wait()
        if headers.get("authorization") == ("right",) or headers.get("token") == ("right",):
            return {"user": "me"}
        raise PeerError("who are you?", Code.UNAUTHENTICATED)


async def test_nobody_is_served_without_authentication(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    guard = Guard()
    id_ = ComponentID.parse("guard")
    auth = HttpAuthConfig(authenticator=id_, request_params=("token",))
    running = await serve(host=FakeHost({id_: guard}), auth=auth)
    for data in (b"x", b"x" * 2_000_000, b""):
        async with client.post(running.url, data=io.BytesIO(data)) as response:
            assert 401 == response.status
    assert [] == running.handler.requests
    async with client.post(
        running.url, data=io.BytesIO(b"x" * 2_000_000), headers={"Authorization": "right"}
    ) as response:
        assert b"2000000" == await response.read()
    async with client.post(f"{running.url}?token=right", data=b"x") as response:
        assert 200 == response.status
    assert {"user": "me"} == running.handler.requests[0].auth


async def test_an_extension_that_does_not_authenticate_is_found_at_start(serve: Serve) -> None:
    id_ = ComponentID.parse("health_check")
    with pytest.raises(ConfigError, match="health_check does not authenticate"):
        await serve(host=FakeHost({id_: object()}), auth=HttpAuthConfig(authenticator=id_))  # type: ignore[dict-item]


POST = b"POST /x HTTP/1.1\r\nHost: x\r\n"


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    running = await serve()
    requests = b"".join(
        POST + b"Content-Length: %d\r\n\r\n%b" % (size, b"x" * size) for size in range(1, 60)
    )
    got = await running.raw(requests + POST + b"Connection: close\r\n\r\n")
    bodies = [part.partition(b"\r\n\r\n")[2] for part in got.split(b"HTTP/1.1 200 OK")[1:]]
    assert [b"%d" % size for size in [*range(1, 60), 0]] == bodies


async def test_a_client_that_sends_far_ahead_is_not_read_from(serve: Serve) -> None:
    running = await serve()
    running.handler.gate = asyncio.Event()
    _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    for _ in range(40):
        writer.write(POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000)
    await wait_until(lambda: running.handler.requests)
    connection: Any = next(iter(running.server._connections))
    await wait_until(lambda: not connection._transport.is_reading())
    assert len(connection._pending) < 1 << 20
    running.handler.gate.set()
    await wait_until(lambda: len(running.handler.requests) == 40)
    writer.close()


async def test_expect_continue(serve: Serve) -> None:
    running = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    head = POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    writer.write(head)
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await reader.readuntil(b"\r\n\r\n")
    writer.write(b"abc")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    running.handler.head_error = RetryableError("memory is short")
    await reader.readexactly(1)
    writer.write(head)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
    assert b"memory is short\n" == await reader.read()  # the body was never wanted: closed
    writer.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
        (b"nonsense\r\n\r\n", b"400"),
        (POST + b"Content-Length: x\r\n\r\n", b"400"),
        (POST + b"X: " + b"x" * 20_000, b"431"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", b"400"),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", b"501"),
    ],
)
async def test_what_cannot_be_read_is_answered_and_the_connection_ended(
    serve: Serve, data: bytes, status: bytes
) -> None:
    running = await serve()
    got = await running.raw(data)
    assert got.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in got
    assert [] == running.handler.requests


async def test_a_client_that_stops_within_a_request_leaves_nothing_behind(serve: Serve) -> None:
    running = await serve()
    for data in (
        b"PO",
        POST,
        POST + b"Content-Length: 100000\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ):
        assert b"" == await running.raw(data, eof=True)
    await wait_until(lambda: not running.server._connections)
    assert 0 == running.settings.memory.in_flight
    assert [] == running.handler.requests


async def test_a_client_that_goes_away_stops_its_handler(serve: Serve) -> None:
    clock = JumpClock()
    running = await serve(clock=clock)
    running.handler.gate = asyncio.Event()
    _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(POST + b"Content-Length: 3\r\n\r\nabc")
    await wait_until(lambda: running.handler.requests)
    connection: Any = next(iter(running.server._connections))
    writer.transport.abort()
    await wait_until(lambda: connection._is_half_closed)
    assert 0 == running.handler.cancelled
    await clock.advance(1.1)
    await wait_until(lambda: running.handler.cancelled)
    assert 0 == running.settings.memory.in_flight


async def test_a_half_closed_client_gets_its_answer(serve: Serve) -> None:
    running = await serve()
    got = await running.raw(POST + b"Content-Length: 3\r\n\r\nabc", eof=True)
    assert got.endswith(b"\r\n\r\n3")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"POST /x HT", b"HTTP/1.1 408 "),
        (POST + b"Content-Length: 10\r\n\r\nabc", b"HTTP/1.1 408 "),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", b"HTTP/1.1 408 "),
    ],
)
async def test_a_client_that_is_too_slow_is_sent_away(
    serve: Serve, data: bytes, expected: bytes
) -> None:
    clock = JumpClock()
    running = await serve(clock=clock)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    for byte in data:  # every byte buys no time
        writer.write(bytes([byte]))
        await writer.drain()
    await wait_until(lambda: running.server._connections)
    connection: Any = next(iter(running.server._connections))
    await wait_until(lambda: _seen(connection, data))
    await clock.advance(61.0)
    got = await reader.read()
    assert got.startswith(expected)
    assert bool(expected) == bool(got)
    writer.close()
    await wait_until(lambda: not running.server._connections)


def _seen(connection: Any, data: bytes) -> bool:
    if connection._request is None:
        return bool(data == connection._pending)
    return bool(connection._body.received in {2, 3})


async def test_a_slow_body_may_go_on_while_it_is_not_slower_than_agreed(serve: Serve) -> None:
    clock = JumpClock()
    running = await serve(clock=clock)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(POST + b"Content-Length: 1048576\r\n\r\n")  # 30 s, and 16 s for each piece
    await wait_until(lambda: running.settings.memory.in_flight)
    for _ in range(4):
        writer.write(b"x" * 262_144)
        await clock.advance(20.0)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_what_is_announced_buys_no_time(serve: Serve) -> None:
    """It would hold memory that others are refused for, for an hour at 64 MiB."""
    clock = JumpClock()
    running = await serve(clock=clock)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(POST + b"Content-Length: 67108864\r\n\r\nabc")
    await wait_until(lambda: running.settings.memory.in_flight)
    await clock.advance(31.0)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 408 ")
    assert not running.settings.memory.in_flight
    writer.close()


async def test_a_client_that_never_reads_is_disconnected(serve: Serve) -> None:
    clock = JumpClock()
    running = await serve(clock=clock)
    running.handler.body = b"x" * 1_000_000
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, limit=1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(50):
        writer.write(POST + b"\r\n")
    await wait_until(lambda: running.server._connections)
    connection: Any = next(iter(running.server._connections))
    await wait_until(lambda: not connection._transport.is_reading())
    assert len(running.handler.requests) < 50
    await clock.advance(31.0)
    await wait_until(lambda: not running.server._connections)
    assert reader is not None
    writer.transport.abort()


async def test_idle_connections_are_closed_if_configured(serve: Serve) -> None:
    clock = JumpClock()
    running = await serve(clock=clock, idle_timeout=5.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    for _ in range(3):
        writer.write(POST + b"\r\n")
        assert await reader.readuntil(b"\r\n\r\n0")
        await clock.advance(4.0)
    await clock.advance(2.0)
    assert b"" == await reader.read()
    writer.close()


async def test_idle_connections_stay_for_ever_if_configured(serve: Serve) -> None:
    clock = JumpClock()
    running = await serve(clock=clock, idle_timeout=0.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    for _ in range(2):
        writer.write(POST + b"\r\n")
        assert await reader.readuntil(b"\r\n\r\n0")
        await clock.advance(100_000.0)
    writer.close()


async def test_keep_alive_can_be_switched_off(serve: Serve) -> None:
    running = await serve(keep_alives_enabled=False)
    got = await running.raw(POST + b"\r\n")
    assert b"connection: close" in got
    running = await serve()
    got = await running.raw(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", until=b"\r\n\r\n")
    assert b"connection: keep-alive" in got


async def test_shutdown_lets_requests_under_way_finish(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    running = await serve()
    running.handler.gate = asyncio.Event()
    request = asyncio.get_running_loop().create_task(client.post(running.url, data=b"abc"))
    await wait_until(lambda: running.handler.requests)
    stop = asyncio.get_running_loop().create_task(running.server.shutdown(5.0))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", running.server.port)
    running.handler.gate.set()
    response = await request
    assert 200 == response.status
    assert "close" == response.headers["Connection"]
    await stop


async def test_shutdown_ends_what_takes_too_long(serve: Serve) -> None:
    clock = JumpClock()
    running = await serve(clock=clock)
    running.handler.gate = asyncio.Event()
    _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(POST + b"Content-Length: 3\r\n\r\nabc")
    await wait_until(lambda: running.handler.requests)
    stop = asyncio.get_running_loop().create_task(running.server.shutdown(5.0))
    await clock.advance(4.9)
    assert not stop.done()
    await clock.advance(0.2)
    await stop
    assert 1 == running.handler.cancelled
    writer.close()


async def test_shutdown_before_start_does_nothing() -> None:
    server = HttpServer(HttpServerConfig(endpoint=LOCAL), Handler(), settings=make_settings())
    await server.shutdown(1.0)


async def test_a_port_in_use_is_one_clear_line(serve: Serve) -> None:
    running = await serve()
    port = running.server.port
    with pytest.raises(OSError, match="already in use") as caught:
        await serve(endpoint=NetAddress("127.0.0.1", port))
    assert f"cannot listen on 127.0.0.1:{port}: the address is already in use" == str(caught.value)


async def test_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    running = await serve(endpoint=NetAddress("", 0, str(path)), transport="unix")
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.post("http://collector/x", data=b"abc") as response,
    ):
        assert b"3" == await response.read()
    await running.server.shutdown(1.0)
    assert not path.exists()


async def test_connections_have_a_limit(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mlsysops_pipeline.transport.http.server.CONNECTIONS_MAX", 1)
    running = await serve()
    _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    await wait_until(lambda: running.server._connections)
    for _ in range(2):
        reader, other = await asyncio.open_connection("127.0.0.1", running.server.port)
        with contextlib.suppress(ConnectionResetError):
            assert b"" == await reader.read()
        other.close()
    assert 1 == len(caplog.messages)  # each cause once a minute
    writer.close()


async def test_who_comes_while_it_stops_is_not_called_too_many(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    running = await serve()
    running.server.is_stopping = True  # as for those who were accepted just before
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    with contextlib.suppress(ConnectionResetError):
        assert b"" == await reader.read()
    writer.close()
    assert [] == caplog.messages


def test_dates_are_those_of_the_standard_library() -> None:
    for unix_s in range(0, 4_000_000_000, 86_400 * 97 + 3_661):
        assert formatdate(unix_s, usegmt=True) == http_date(unix_s)
