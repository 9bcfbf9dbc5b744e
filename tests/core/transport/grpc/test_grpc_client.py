"""The gRPC channel against grpcio, hand-made servers, and peers that are no server at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.testing import JumpClock, advance_until, wait_until
from mlsysops_pipeline.transport.dialing import Address, Target
from mlsysops_pipeline.transport.grpc import client as grpc_client
from mlsysops_pipeline.transport.grpc.client import GrpcChannel
from mlsysops_pipeline.transport.http2.client import ClientTimes
from mlsysops_pipeline.transport.http2.frames import goaway_frame, settings_frame
from mlsysops_pipeline.transport.http2.heads import request_fields
from mlsysops_pipeline.transport.proxies import Proxy
from mlsysops_pipeline.transport.tls import TlsClientConfig, client_context_source
from tests.core.transport.grpc_peers import (
    METHOD,
    Certificates,
    H2Peer,
    free_port,
    grpcio_server,
    make_certificates,
    raw_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.transport.http2.answers import Outcome
    from mlsysops_pipeline.transport.http2.headers import Fields

LOGGER = logging.getLogger("test")


def fields(timeout_s: float = 5.0, **more: Any) -> Fields:
    return request_fields(METHOD, "authority:1", "agent/1", timeout_s, **more)


class Client:
    """A channel and what it reported."""

    def __init__(self, target: Target | int, clock: Clock | None = None, **options: Any) -> None:
        if isinstance(target, int):
            target = Target("127.0.0.1", target)
        self.states: list[tuple[bool, str]] = []
        self.tasks = Tasks(LOGGER)
        self.channel = GrpcChannel(
            target,
            clock=clock or SystemClock(),
            tasks=self.tasks,
            on_state=lambda is_up, message: self.states.append((is_up, message)),
            **options,
        )

    async def call(self, message: bytes = b"request", timeout_s: float = 5.0) -> Outcome:
        return await self.channel.call(fields(timeout_s), message, timeout_s)

    async def begin(
        self, message: bytes = b"request", timeout_s: float = 5.0
    ) -> asyncio.Task[Outcome]:
        task = self.tasks.spawn("call", self.call(message, timeout_s))
        await asyncio.sleep(0)
        return task


@contextlib.asynccontextmanager
async def client_of(target: Target | int, **options: Any) -> AsyncIterator[Client]:
    client = Client(target, **options)
    try:
        yield client
    finally:
        await client.channel.close()
        await client.tasks.shutdown()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


# Against grpcio.


async def test_calls_are_answered_and_share_a_connection() -> None:
    """OC-16: calls at the same time."""
    with grpcio_server(lambda request, _: request[::-1]) as server:
        async with client_of(server.port) as client:
            outcomes = await asyncio.gather(*(client.call(b"%d!" % n) for n in range(100)))

            assert [b"!%d" % n for n in range(100)] == [
                o.body[:1] + o.body[1:][::-1] for o in outcomes
            ]
            assert "connections=1" in repr(client.channel)
            assert [(True, f"connected to 127.0.0.1:{server.port}")] == client.states


async def test_metadata_arrives() -> None:
    """OC-17 among others."""
    with grpcio_server() as server:
        async with client_of(server.port) as client:
            head = fields(metadata=[(b"plain", b"v"), (b"some-bin", b"AAE")])
            await client.channel.call(head, b"", 5.0)

    assert METHOD == server.methods[0]
    assert (
        server.metadata[0].items()
        >= {
            "plain": "v",
            "some-bin": b"\x00\x01",
            "user-agent": "agent/1",
        }.items()
    )


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_530, 65_531, 143_000, 3_000_000])
async def test_requests_of_any_size_arrive(size: int) -> None:
    with grpcio_server(lambda request, _: str(len(request)).encode()) as server:
        async with client_of(server.port) as client:
            message = bytes(range(256)) * (size // 256 + 1)
            outcome = await client.call(message[:size])

    assert (Code.OK, str(size).encode()) == (outcome.code, outcome.body)
    assert [message[:size]] == server.requests


def test_requests_arrive_from_the_event_loop_of_the_command_line() -> None:
    async def scenario() -> None:
        async with client_of(server.port) as client:
            messages = [bytes([n]) * 143_000 for n in range(20)]
            outcomes = await asyncio.gather(*map(client.call, messages))
            assert messages == [outcome.body for outcome in outcomes]

    with grpcio_server() as server:
        uvloop.run(scenario())


async def test_answers_of_several_windows_arrive() -> None:
    with grpcio_server(lambda request, _: request * 40) as server:
        async with client_of(server.port) as client:
            outcome = await client.call(b"x" * 100_000)

    assert b"x" * 4_000_000 == outcome.body


async def test_a_deadline_ends_the_call_on_both_sides() -> None:
    over = threading.Event()
    known: list[float] = []

    def behave(_request: bytes, context: Any) -> bytes:
        known.append(context.time_remaining())
        context.add_callback(over.set)
        over.wait(10)
        return b""

    with grpcio_server(behave) as server:
        async with client_of(server.port) as client:
            outcome = await client.channel.call(fields(60.0), b"", 0.2)
            await wait_until(over.is_set)

    assert Code.DEADLINE_EXCEEDED == outcome.code
    assert 55 < known[0] <= 60


async def test_cancelling_resets_the_call() -> None:
    started, over = threading.Event(), threading.Event()

    def behave(_request: bytes, context: Any) -> bytes:
        context.add_callback(over.set)
        started.set()
        over.wait(10)
        return b""

    with grpcio_server(behave) as server:
        async with client_of(server.port) as client:
            call = await client.begin()
            await wait_until(started.is_set)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await wait_until(over.is_set)

    assert call.cancelled()


async def test_a_server_that_comes_back_is_found_again() -> None:
    clock = JumpClock()
    with grpcio_server() as server:
        async with client_of(server.port, clock=clock) as client:
            assert Code.OK == (await client.call()).code
            server.stop()
            await wait_until(lambda: "connections=0" in repr(client.channel))
            down = await client.call()
            assert Code.UNAVAILABLE == down.code
            assert "Connection refused" in down.message
            server.start(f"127.0.0.1:{server.port}")
            assert Code.UNAVAILABLE == (await client.call()).code  # too early to try again
            await clock.advance(1.3)
            assert Code.OK == (await client.call()).code

    assert [True, False, True] == [is_up for is_up, _ in client.states]


async def test_unix_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with grpcio_server(address=f"unix:{path}"):
        async with client_of(Target("", 0, path)) as client:
            assert b"request" == (await client.call()).body


# TLS.


def tls(certificates: Certificates, **more: Any) -> Any:
    config = TlsClientConfig(**{"ca_file": str(certificates.ca), **more})
    return client_context_source(config, ("h2",))


async def test_tls(certificates: Certificates) -> None:
    with grpcio_server(credentials=certificates.grpcio()) as server:
        async with client_of(Target("localhost", server.port), tls=tls(certificates)) as client:
            outcomes = [await client.call(), await client.call(b"x" * 200_000)]

    assert [b"request", b"x" * 200_000] == [outcome.body for outcome in outcomes]


def test_tls_on_the_event_loop_of_the_command_line(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with client_of(Target("localhost", server.port), tls=tls(certificates)) as client:
            assert b"x" * 200_000 == (await client.call(b"x" * 200_000)).body

    with grpcio_server(credentials=certificates.grpcio()) as server:
        uvloop.run(scenario())


async def test_a_server_that_wants_to_know_its_clients(certificates: Certificates) -> None:
    context = tls(
        certificates,
        cert_file=str(certificates.client_cert),
        key_file=str(certificates.client_key),
    )
    with grpcio_server(credentials=certificates.grpcio(mutual=True)) as server:
        async with client_of(Target("localhost", server.port), tls=context) as client:
            assert b"request" == (await client.call()).body
        async with client_of(Target("localhost", server.port), tls=tls(certificates)) as client:
            assert Code.UNAVAILABLE == (await client.call()).code


@pytest.mark.parametrize(
    ("host", "changes", "server_name", "message"),
    [
        ("localhost", {"ca_file": "other"}, "", "certificate is not accepted"),
        ("127.0.0.1", {}, "wrong.example", "certificate is not accepted: Hostname mismatch"),
        ("127.0.0.1", {}, "other.example", ""),
        ("127.0.0.1", {}, "", ""),
        ("127.0.0.1", {"ca_file": "other", "insecure_skip_verify": True}, "", ""),
    ],
)
async def test_certificates_are_checked(
    certificates: Certificates, host: str, changes: dict[str, Any], server_name: str, message: str
) -> None:
    if "ca_file" in changes:
        changes = {**changes, "ca_file": str(certificates.other_ca)}
    with grpcio_server(credentials=certificates.grpcio()) as server:
        async with client_of(
            Target(host, server.port), tls=tls(certificates, **changes), server_name=server_name
        ) as client:
            outcome = await client.call()

    assert (Code.UNAVAILABLE if message else Code.OK) == outcome.code
    assert message in outcome.message


async def test_tls_to_a_server_without_it(certificates: Certificates) -> None:
    with grpcio_server() as server:
        async with client_of(Target("localhost", server.port), tls=tls(certificates)) as client:
            outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert "TLS failed" in outcome.message


async def test_no_tls_to_a_server_with_it(certificates: Certificates) -> None:
    with grpcio_server(credentials=certificates.grpcio()) as server:
        async with client_of(server.port) as client:
            outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code


async def test_a_tls_server_that_speaks_another_protocol(certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(100)

    async with (
        raw_server(serve, tls=context) as server,
        client_of(Target("localhost", server.port), tls=tls(certificates)) as client,
    ):
        outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert "speaks HTTP/1" in outcome.message


# Peers that behave badly.


async def test_nobody_listens() -> None:
    async with client_of(free_port()) as client:
        outcome = await client.call()

        assert Code.UNAVAILABLE == outcome.code
        assert "cannot connect to 127.0.0.1" in outcome.message
        assert [False] == [is_up for is_up, _ in client.states]


async def test_an_unknown_host() -> None:
    async with client_of(Target("no-such-host.invalid", 4317)) as client:
        outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert "cannot connect to no-such-host.invalid:4317" in outcome.message


@pytest.mark.parametrize("host", ["a" * 70 + ".invalid", "..", "é\udc80"])
async def test_a_name_that_is_none(host: str) -> None:
    async with client_of(Target(host, 4317)) as client:
        assert Code.UNAVAILABLE == (await client.call()).code


async def test_attempts_to_connect_are_further_and_further_apart() -> None:
    """OH-10 in spirit: back-off with jitter."""
    clock = JumpClock()

    async def serve(_reader: Any, writer: Any, _number: int) -> None:
        writer.close()

    async with raw_server(serve) as server, client_of(server.port, clock=clock) as client:
        attempts = []
        for _ in range(60):
            await client.call()
            attempts.append(server.connections)
            await clock.advance(1.0)

    assert 1 == attempts[0]
    assert 3 <= attempts[10] <= 5
    assert 12 <= attempts[-1] <= 18


@pytest.mark.slow
async def test_a_peer_that_returns_is_found_without_a_call() -> None:
    clock = JumpClock()
    found: list[float] = []
    port = free_port()
    async with client_of(port, clock=clock, on_ready=lambda: found.append(clock.monotonic())) as it:
        assert Code.UNAVAILABLE == (await it.call()).code
        await clock.advance(30)
        assert not found
        with grpcio_server(address=f"127.0.0.1:{port}"):
            await advance_until(clock, lambda: found, step_s=0.1)
            await clock.advance(5)
            assert 1 == len(found)
            assert "connections=1" in repr(it.channel)


async def test_calls_that_wait_go_before_those_made_when_the_connection_is_there() -> None:
    with grpcio_server() as server:
        newer: list[asyncio.Task[Outcome]] = []
        begun: list[int] = []

        def on_ready() -> None:
            newer.append(client.tasks.spawn("call", client.call(bytes(9))))

        async with client_of(server.port, on_ready=on_ready) as client:
            begin = client.channel._begin

            def noted(call: Any, now_s: float) -> bool:
                has_begun = begin(call, now_s)
                if has_begun:
                    begun.append(call.size)
                return has_begun

            client.channel._begin = noted  # type: ignore[method-assign]  # the order is seen nowhere else
            older = [await client.begin(bytes(size)) for size in (1, 2, 3)]
            outcomes = await asyncio.gather(*older)
            outcomes += await asyncio.gather(*newer)

        assert [Code.OK] * 4 == [outcome.code for outcome in outcomes]
        assert [1, 2, 3, 9] == begun


async def test_calls_during_an_attempt_to_connect_again_fail_when_they_are_told_of_its_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = JumpClock()
    with grpcio_server() as server:
        async with client_of(server.port, clock=clock, on_ready=lambda: None) as client:
            assert Code.OK == (await client.call()).code
            hanging = asyncio.Event()

            async def resolve(_target: Target, *, shuffled: bool) -> list[Address]:
                assert shuffled
                await hanging.wait()
                raise OSError("no network")

            monkeypatch.setattr(grpc_client, "resolve", resolve)
            server.stop()
            await wait_until(lambda: "connections=0" in repr(client.channel))
            waits = await client.begin()
            await clock.advance(0.5)
            assert not waits.done()
            fails = await client.call()
            hanging.set()
            await waits

    assert Code.UNAVAILABLE == fails.code
    assert "connecting to" in fails.message
    assert "no network" in waits.result().message


@pytest.mark.slow
async def test_a_peer_that_nobody_calls_any_more_is_not_looked_for() -> None:
    clock = JumpClock()

    async def serve(_reader: Any, writer: Any, _number: int) -> None:
        writer.close()

    async with raw_server(serve) as server, client_of(server.port, clock=clock) as client:
        await client.call()
        given_up_s = clock.monotonic() + 70
        await advance_until(clock, lambda: clock.monotonic() >= given_up_s)
        before = server.connections
        await advance_until(clock, lambda: clock.monotonic() >= given_up_s + 30)

        assert 1 < before == server.connections


async def test_a_peer_that_accepts_and_says_nothing() -> None:
    clock = JumpClock()

    async def serve(reader: Any, _writer: Any, _number: int) -> None:
        await reader.read()

    async with raw_server(serve) as server, client_of(server.port, clock=clock) as client:
        call = await client.begin(timeout_s=math.inf)
        await wait_until(lambda: server.connections)
        await asyncio.sleep(0.01)
        await clock.advance(11)
        outcome = await call

    assert Code.UNAVAILABLE == outcome.code
    assert "does not answer with HTTP/2" in outcome.message


async def test_a_peer_that_cannot_be_reached_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = JumpClock()

    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(grpc_client, "open_socket", never)
    async with client_of(1, clock=clock) as client:
        patient, hasty = await client.begin(timeout_s=60), await client.begin(timeout_s=3)
        await clock.advance(5)
        assert Code.DEADLINE_EXCEEDED == (await hasty).code
        await clock.advance(16)

    assert Code.UNAVAILABLE == (await patient).code
    assert "no connection within 20 s" in (await patient).message


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 50, settings_frame({})[:5]],
)
async def test_a_peer_that_is_no_grpc_server(said: bytes) -> None:
    async def serve(reader: Any, writer: Any, _number: int) -> None:
        await reader.read(24)
        writer.write(said)

    async with raw_server(serve) as server, client_of(server.port) as client:
        outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert f"cannot connect to 127.0.0.1:{server.port}: " in outcome.message


async def test_a_connection_that_breaks_during_a_call() -> None:
    async def serve(reader: Any, writer: Any, _number: int) -> None:
        async for _ in H2Peer(reader, writer).requests():
            writer.transport.abort()

    async with raw_server(serve) as server, client_of(server.port) as client:
        outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert not outcome.is_unprocessed


async def test_what_a_leaving_server_did_not_look_at_is_sent_to_the_next() -> None:
    async def serve(reader: Any, writer: Any, number: int) -> None:
        peer = H2Peer(reader, writer)
        async for stream in peer.requests():
            if number == 1:
                writer.write(goaway_frame(0, 0))
            else:
                peer.answer(stream)

    async with raw_server(serve) as server, client_of(server.port) as client:
        outcomes = await asyncio.gather(*(client.call() for _ in range(5)))

    assert [Code.OK] * 5 == [outcome.code for outcome in outcomes]
    assert 2 == server.connections


async def test_a_server_that_refuses_every_call_is_not_asked_for_ever() -> None:
    streams = []

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        peer = H2Peer(reader, writer)
        async for stream in peer.requests():
            streams.append(stream)
            peer.h2.reset_stream(stream, 7)
            peer.flush()

    async with raw_server(serve) as server, client_of(server.port) as client:
        outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert 4 == len(streams)


async def test_a_server_that_always_leaves_is_not_connected_to_for_ever() -> None:
    async def serve(_reader: Any, writer: Any, _number: int) -> None:
        writer.write(settings_frame({}) + goaway_frame(0, 0))

    async with raw_server(serve) as server, client_of(server.port) as client:
        outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert 1 == server.connections


async def test_more_calls_than_a_connection_takes_get_another_one() -> None:
    gate = asyncio.Event()

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        peer = H2Peer(reader, writer, max_concurrent_streams=2)
        async for stream in peer.requests():
            await gate.wait()
            peer.answer(stream)

    async with raw_server(serve) as server, client_of(server.port) as client:
        calls = [await client.begin() for _ in range(12)]
        await wait_until(lambda: server.connections == 4)
        gate.set()
        outcomes = await asyncio.gather(*calls)

    assert [Code.OK] * 12 == [outcome.code for outcome in outcomes]
    assert 4 == server.connections


async def test_a_window_of_a_few_bytes() -> None:
    received = bytearray()

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        peer = H2Peer(reader, writer, initial_window_size=7)
        async for event in peer.events():
            received.extend(getattr(event, "data", b""))
            if type(event).__name__ == "StreamEnded":
                peer.answer(event.stream_id)

    message = bytes(range(256))
    async with raw_server(serve) as server, client_of(server.port) as client:
        outcome = await client.call(message)

    assert Code.OK == outcome.code
    assert message == received[5:]


async def test_a_peer_that_stops_reading_is_given_up() -> None:
    clock = JumpClock()
    gate = asyncio.Event()

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        writer.write(settings_frame({4: 2**31 - 1}) + b"\0\0\4\x08\0\0\0\0\0\x7f\0\0\0")
        await reader.read(100)
        writer.transport.pause_reading()
        await gate.wait()

    async with raw_server(serve) as server, client_of(server.port, clock=clock) as client:
        large = await client.begin(b"x" * 30_000_000, math.inf)
        await wait_until(lambda: "paused=True" in repr(client.channel._links))
        waiting = await client.begin(timeout_s=5)
        await clock.advance(6)
        assert Code.DEADLINE_EXCEEDED == (await waiting).code
        assert not large.done()
        await clock.advance(30)
        outcome = await large
        gate.set()

    assert Code.UNAVAILABLE == outcome.code
    assert "does not read" in outcome.message


async def test_a_server_that_minds_pings_is_pinged_less() -> None:
    async def serve(reader: Any, writer: Any, number: int) -> None:
        peer = H2Peer(reader, writer)
        async for stream in peer.requests():
            peer.answer(stream)
            if number == 1:
                writer.write(goaway_frame(stream, 11, b"too_many_pings"))

    async with (
        raw_server(serve) as server,
        client_of(server.port, times=ClientTimes(ping_after_s=10.0)) as client,
    ):
        await client.call()
        await wait_until(lambda: client.channel.times.ping_after_s == 20.0)

        assert Code.OK == (await client.call()).code


# Addresses.


async def test_the_next_address_is_tried_when_one_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with grpcio_server() as server:
        addresses = [
            Address(socket.AF_INET, ("127.0.0.1", free_port())),
            Address(socket.AF_INET, ("127.0.0.1", server.port)),
        ]

        async def resolve(_target: Target, *, shuffled: bool) -> list[Address]:
            assert shuffled
            return addresses

        monkeypatch.setattr(grpc_client, "resolve", resolve)
        async with client_of(Target("two.example", 1)) as client:
            assert b"request" == (await client.call()).body
            addresses.pop()
            addresses.append(Address(socket.AF_INET6, ("::1", free_port())))
        async with client_of(Target("two.example", 1)) as client:
            outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert "(127.0.0.1:" in outcome.message
    assert "([::1]:" in outcome.message


# Proxies.


class ConnectProxy:
    """A proxy that leads wherever it is asked to on this machine; ``answer`` is what it says."""

    def __init__(self, port: int, answer: bytes = b"HTTP/1.1 200 Go on\r\nx: y\r\n\r\n") -> None:
        self.port = port
        self.answer = answer
        self.heads: list[str] = []

    async def serve(self, reader: Any, writer: Any, _number: int) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        peer_reader, peer_writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(self.answer)
        await asyncio.gather(self.pump(reader, peer_writer), self.pump(peer_reader, writer))

    async def pump(self, reader: Any, writer: Any) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()


async def test_a_proxy_leads_to_the_peer(certificates: Certificates) -> None:
    with grpcio_server(credentials=certificates.grpcio()) as server:
        way = ConnectProxy(server.port)
        async with raw_server(way.serve) as proxy:
            url = f"http://user:p%40ss@127.0.0.1:{proxy.port}"
            target = Target("other.example", 4317)
            async with client_of(target, tls=tls(certificates), proxy=Proxy.parse(url)) as client:
                assert b"request" == (await client.call()).body

    lines = way.heads[0].split("\r\n")
    assert ["CONNECT other.example:4317 HTTP/1.1", "Host: other.example:4317"] == lines[:2]
    assert "Proxy-Authorization: Basic dXNlcjpwQHNz" in lines
    assert "p@ss" not in repr(Proxy.parse(url))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "answered 'HTTP/1.1 407"),
        (b"SSH-2.0\r\n\r\n", "answered 'SSH-2.0'"),
        (b"x" * 20_000, "does not answer with HTTP"),
    ],
)
async def test_a_proxy_that_leads_nowhere(answer: bytes, message: str) -> None:
    with grpcio_server() as server:
        way = ConnectProxy(server.port, answer)
        async with raw_server(way.serve) as proxy:
            target = Proxy(Target("127.0.0.1", proxy.port))
            async with client_of(Target("peer.example", 1), proxy=target) as client:
                outcome = await client.call()

    assert Code.UNAVAILABLE == outcome.code
    assert message in outcome.message


async def test_a_proxy_that_says_nothing() -> None:
    clock = JumpClock()

    async def serve(reader: Any, _writer: Any, _number: int) -> None:
        await reader.read()

    async with raw_server(serve) as proxy:
        target = Proxy(Target("127.0.0.1", proxy.port))
        async with client_of(Target("peer.example", 1), clock=clock, proxy=target) as client:
            call = await client.begin(timeout_s=60)
            await wait_until(lambda: proxy.connections)
            await clock.advance(21)

            assert "no connection within 20 s" in (await call).message


@pytest.mark.parametrize("url", ["http://", "http://h:x", "http://:1"])
def test_proxies_that_are_none(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the words are urllib's or ours
        Proxy.parse(url)


# Waiting and closing.


async def test_a_call_can_wait_for_a_peer_that_is_not_there_yet() -> None:
    clock = JumpClock()
    port = free_port()
    async with client_of(port, clock=clock, waits_for_ready=True) as client:
        call = await client.begin(timeout_s=60)
        await wait_until(lambda: client.states)
        assert not call.done()
        with grpcio_server(address=f"127.0.0.1:{port}"):
            await clock.advance(1.5)
            assert b"request" == (await call).body


async def test_waiting_ends_at_the_deadline() -> None:
    clock = JumpClock()
    async with client_of(free_port(), clock=clock, waits_for_ready=True) as client:
        call = await client.begin(timeout_s=3)
        cancelled = await client.begin(timeout_s=60)
        await wait_until(lambda: client.states)
        cancelled.cancel()
        await clock.advance(3)
        outcome = await call

        assert Code.DEADLINE_EXCEEDED == outcome.code
        assert "Connection refused" in outcome.message
        assert "waiting=0" in repr(client.channel)


async def test_no_more_calls_wait_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_client, "CALLS_WAITING_MAX", 2)
    async with client_of(free_port(), waits_for_ready=True) as client:
        calls = [await client.begin() for _ in range(2)]
        assert "too many calls wait" in (await client.call()).message
        for call in calls:
            call.cancel()


async def test_closing_ends_what_waits_and_what_is_under_way() -> None:
    async def serve(reader: Any, writer: Any, _number: int) -> None:
        async for _ in H2Peer(reader, writer).requests():
            pass

    async with raw_server(serve) as server:
        client = Client(server.port)
        call = await client.begin()
        await wait_until(lambda: "calls=1" in repr(client.channel._links))
        await client.channel.close()
        await client.channel.close()
        after = await client.call()

    waiting = Client(free_port(), waits_for_ready=True)
    other = await waiting.begin()
    await waiting.channel.close()

    for outcome in (await call, after, await other):
        assert Code.UNAVAILABLE == outcome.code
    assert "shutting down" in after.message
    await client.tasks.shutdown()
    await waiting.tasks.shutdown()


async def test_closing_before_anything_was_sent() -> None:
    await Client(1).channel.close()


async def test_a_cancelled_call_makes_room_for_one_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_client, "CONNECTIONS_MAX", 1)
    asked: list[int] = []

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        peer = H2Peer(reader, writer, max_concurrent_streams=1)
        async for stream in peer.requests():
            asked.append(stream)
            if len(asked) == 2:
                peer.answer(stream)

    async with raw_server(serve) as server, client_of(server.port) as client:
        first = await client.begin()
        await wait_until(lambda: asked)
        second = await client.begin()
        assert "waiting=1" in repr(client.channel)
        first.cancel()

        assert Code.OK == (await second).code


async def test_a_peer_that_breaks_every_connection_is_tried_less_and_less() -> None:
    clock = JumpClock()

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        async for _ in H2Peer(reader, writer).requests():
            writer.write(b"\0\0\0\x05\0\0\0\0\0")  # a push

    async with raw_server(serve) as server, client_of(server.port, clock=clock) as client:
        for _ in range(30):
            outcome = await client.call()
            assert Code.UNAVAILABLE == outcome.code
            await clock.advance(1.0)

    assert 4 <= server.connections <= 8


async def test_tls_over_a_unix_socket(certificates: Certificates, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with grpcio_server(address=f"unix:{path}", credentials=certificates.grpcio()):
        async with client_of(Target("", 0, path), tls=tls(certificates)) as client:
            assert b"request" == (await client.call()).body


async def test_a_server_that_drains_loses_nothing() -> None:
    """A graceful end: calls under way are answered."""
    stopping = threading.Event()

    def behave(request: bytes, _context: Any) -> bytes:
        stopping.wait(5)
        return request

    with grpcio_server(behave) as server:
        async with client_of(server.port) as client:
            calls = [await client.begin(b"%d" % n) for n in range(5)]
            await wait_until(lambda: len(server.requests) == 5)
            stopped = server.drain(10)
            await wait_until(lambda: "draining" in repr(client.channel._links))
            stopping.set()
            outcomes = await asyncio.gather(*calls)
            await wait_until(stopped.is_set)

    assert [b"%d" % n for n in range(5)] == [outcome.body for outcome in outcomes]


# Several addresses.


@contextlib.contextmanager
def names(monkeypatch: pytest.MonkeyPatch, *ports: int) -> Iterator[list[Address]]:
    """The name of every peer means these ports of this machine."""
    addresses = [Address(socket.AF_INET, ("127.0.0.1", port)) for port in ports]

    async def resolve(_target: Target, *, shuffled: bool) -> list[Address]:
        assert shuffled in {True, False}
        return list(addresses)

    with monkeypatch.context() as patch:
        patch.setattr(grpc_client, "resolve", resolve)
        yield addresses


async def test_calls_take_turns_over_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        grpcio_server() as one,
        grpcio_server() as two,
        grpcio_server() as three,
        names(monkeypatch, one.port, two.port, three.port),
    ):
        async with client_of(Target("peers.example", 1)) as client:
            await client.call()
            await wait_until(lambda: "connections=3" in repr(client.channel))
            await asyncio.gather(*(client.call() for _ in range(30)))
            served = [len(server.requests) for server in (one, two, three)]
        async with client_of(Target("peers.example", 1), is_balanced=False) as client:
            for _ in range(5):
                await client.call()
            assert "connections=1" in repr(client.channel)

    assert 31 == sum(served)
    assert 10 <= min(served)
    assert served[0] + 5 == len(one.requests)


async def test_an_address_that_fails_is_left_out_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = JumpClock()
    port = free_port()
    with grpcio_server() as one, names(monkeypatch, port, one.port):
        async with client_of(Target("peers.example", 1), clock=clock) as client:
            assert Code.OK == (await client.call()).code
            await wait_until(lambda: client.channel._spread_timer is not None)
            with grpcio_server(address=f"127.0.0.1:{port}") as two:
                await clock.advance(30)
                await wait_until(lambda: "connections=2" in repr(client.channel))
                await asyncio.gather(*(client.call() for _ in range(4)))
                assert 2 == len(two.requests)
            await wait_until(lambda: "connections=1" in repr(client.channel))
            assert Code.OK == (await client.call()).code
            assert [True] == [is_up for is_up, _ in client.states]


async def test_one_family_of_addresses_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with grpcio_server() as one, names(monkeypatch, one.port) as addresses:
        addresses.append(Address(socket.AF_INET6, ("::1", one.port)))
        async with client_of(Target("peers.example", 1)) as client:
            for _ in range(5):
                await client.call()
                await asyncio.sleep(0.005)

            assert "connections=1" in repr(client.channel)
            assert client.channel._spread_timer is None


async def test_an_address_that_is_new_is_found_when_a_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = JumpClock()
    with (
        grpcio_server() as one,
        grpcio_server() as two,
        grpcio_server() as three,
        names(monkeypatch, one.port, two.port) as addresses,
    ):
        async with client_of(Target("peers.example", 1), clock=clock) as client:
            await client.call()
            await wait_until(lambda: "connections=2" in repr(client.channel))
            addresses[0] = Address(socket.AF_INET, ("127.0.0.1", three.port))
            one.stop()
            await wait_until(lambda: "connections=1" in repr(client.channel))
            await clock.advance(1)
            await wait_until(lambda: "connections=2" in repr(client.channel))
            await asyncio.gather(*(client.call() for _ in range(4)))

    assert 2 == len(three.requests)


@pytest.mark.slow
async def test_a_peer_that_reads_again_gets_the_rest() -> None:
    gate = asyncio.Event()
    received = 0

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        nonlocal received
        peer = H2Peer(reader, writer, initial_window_size=2**30)
        peer.h2.increment_flow_control_window(2**30)
        peer.flush()
        await gate.wait()
        async for event in peer.events():
            received += len(getattr(event, "data", b""))
            if type(event).__name__ == "StreamEnded":
                peer.answer(event.stream_id)

    async with raw_server(serve) as server, client_of(server.port) as client:
        large = await client.begin(b"x" * 20_000_000, 15)
        await wait_until(lambda: "paused=True" in repr(client.channel._links))
        small = await client.begin(timeout_s=15)
        assert "waiting=1" in repr(client.channel)
        gate.set()

        assert Code.OK == (await large).code
        assert Code.OK == (await small).code
    assert 20_000_000 + 5 + 7 + 5 == received


# Everything at once.


class FastClock(SystemClock):
    """Time flies: a second takes a fiftieth of one."""

    def monotonic(self) -> float:
        return super().monotonic() * 50

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        return super().call_later(seconds / 50, call)

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_every_call_ends_whatever_the_peer_does(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  a scenario, not a secret
    answered: list[int] = []
    is_good = False

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        if not is_good and chance.random() < 0.1:
            return
        streams = 2**31 - 1 if is_good else chance.choice([1, 3, 1_000])
        peer = H2Peer(reader, writer, max_concurrent_streams=streams)
        async for stream in peer.requests():
            what = (
                "answer"
                if is_good
                else chance.choice(
                    [
                        "answer",
                        "answer",
                        "answer",
                        "refuse",
                        "cancel",
                        "leave",
                        "break",
                        "hang",
                        "cut",
                    ]
                )
            )
            if what == "answer":
                answered.append(stream)
                peer.answer(stream)
            elif what in {"refuse", "cancel"}:
                peer.h2.reset_stream(stream, 7 if what == "refuse" else 8)
                peer.flush()
            elif what == "leave":
                writer.write(goaway_frame(max(stream - 2, 0), 0))
            elif what == "break":
                writer.write(chance.randbytes(20))
            elif what == "cut":
                writer.transport.abort()

    async with raw_server(serve) as server, client_of(server.port, clock=FastClock()) as client:
        succeeded = 0
        for _ in range(15):
            outcomes = await asyncio.gather(*(client.call(timeout_s=10) for _ in range(8)))
            succeeded += sum(outcome.code is Code.OK for outcome in outcomes)
        channel = client.channel
        assert 0 < succeeded <= len(answered)
        assert "waiting=0" in repr(channel)
        assert all("calls=0" in repr(link) for link in channel._links)
        is_good = True
        last = await client.call(timeout_s=100)
        for _ in range(200):
            if last.code is Code.OK:
                break
            await asyncio.sleep(0.01)
            last = await client.call(timeout_s=100)
        assert Code.OK == last.code


@pytest.mark.slow
def test_a_slow_reader_on_the_event_loop_of_the_command_line() -> None:
    uvloop.run(test_a_peer_that_reads_again_gets_the_rest())
