"""The `otlp` receiver on uvloop, which is what the command line runs on."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import uvloop

from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_wire, wait_until
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
