"""The `otlp` receiver on uvloop, which is what the command line runs on."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import uvloop

from mlsysops_pipeline.config.values import NetAddress
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, make_settings, make_wire, wait_until
from mlsysops_pipeline.transport.http.server import HttpRequest, HttpResponse, HttpServer
from mlsysops_pipeline.transport.server_settings import HttpServerConfig
from tests.core.transport.http2.wire import GREETING, Caller
from tests.receivers.otlp_running import PROTOBUF, Running

if TYPE_CHECKING:
    from pathlib import Path

WIRE = make_wire(Signal.METRICS, 400)


async def _post(running: Running, **where: Any) -> bytes:
    reader, writer = await asyncio.open_connection(**where)
    head = (
        f"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n"
        f"Content-Length: {len(WIRE)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + WIRE)
    answer = await reader.read()
    writer.close()
    return answer


async def _call(running: Running, **where: Any) -> None:
    taken = len(running.sinks[Signal.METRICS].payloads)
    _, writer = await asyncio.open_connection(**where)
    caller = Caller()
    calls = [caller.call(WIRE[:0], path=Signal.METRICS.method) for _ in range(3)]
    writer.write(GREETING + b"".join(calls) + caller.call(WIRE, path=Signal.METRICS.method))
    await wait_until(lambda: len(running.sinks[Signal.METRICS].payloads) == taken + 1)
    writer.close()


async def _serve_plain() -> None:
    running = await Running().start()
    ports = running.receiver.ports
    assert (await _post(running, host="127.0.0.1", port=ports["http"])).startswith(
        b"HTTP/1.1 200 OK"
    )
    await _call(running, host="127.0.0.1", port=ports["grpc"])
    with pytest.raises(OSError, match="already in use"):
        await Running(http={"endpoint": f"127.0.0.1:{ports['http']}"}).start()
    await running.receiver.shutdown()
    assert running.has_given_back()
    again = await Running(http={"endpoint": f"127.0.0.1:{ports.get('http', 0)}"}).start()
    await again.receiver.shutdown()


async def _serve_tls(tls: dict[str, str], authority: trustme.CA) -> None:
    running = await Running(grpc={"tls": tls}, http={"tls": tls}).start()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    ports = running.receiver.ports
    where = {"host": "127.0.0.1", "ssl": context}
    answer = await _post(running, port=ports["http"], **where)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    await _call(running, port=ports["grpc"], **where)
    await running.receiver.shutdown()
    assert running.has_given_back()


async def _serve_unix(folder: str) -> None:
    endpoint = {"endpoint": f"unix://{folder}/otlp.sock", "transport": "unix"}
    running = await Running(http=endpoint).start()
    reader, writer = await asyncio.open_unix_connection(f"{folder}/otlp.sock")
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await running.receiver.shutdown()


async def _answer_who_does_not_read() -> None:
    """Large answers that are not read, and a connection that is closed with them."""

    async def answer(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, bytes(3 << 20), "text/plain")

    clock = JumpClock()
    settings = make_settings(clock=clock)
    config = HttpServerConfig(endpoint=NetAddress("127.0.0.1", 0))
    server = HttpServer(config, answer, settings=settings)
    await server.start()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)  # noqa: FBT003  the library's signature
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        await loop.sock_sendall(client, ask + ask)
        await wait_until(lambda: server._connections)
        connection: Any = next(iter(server._connections))
        await wait_until(lambda: connection._write_due_s < math.inf)
        size = 0
        while size < 3 << 20:  # it reads after all
            size += len(await loop.sock_recv(client, 1 << 20))
        await loop.sock_sendall(client, b"nonsense\r\n\r\n")
        await clock.advance(40.0)
        await clock.advance(40.0)
        await wait_until(lambda: not server._connections)
    await server.shutdown(1.0)


def test_clients_that_do_not_read(caplog: pytest.LogCaptureFixture) -> None:
    uvloop.run(_answer_who_does_not_read())
    assert [] == [record for record in caplog.records if record.name == "asyncio"]


def test_plain_text() -> None:
    uvloop.run(_serve_plain())


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    path = str(tmp_path / "server.pem")
    pem.write_to_path(path)
    uvloop.run(_serve_tls({"cert_file": path, "key_file": path}, authority))


def test_unix_sockets(tmp_path: Path) -> None:
    uvloop.run(_serve_unix(str(tmp_path)))
    assert [] == list(tmp_path.iterdir())
