"""The `otlp` receiver behind TLS, with real clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
import grpc
import pytest
import trustme

from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_wire, wait_until
from tests.receivers.otlp_running import PROTOBUF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.receivers.otlp_running import Running

    Serve = Callable[..., Awaitable[Running]]

AUTHORITY = trustme.CA()
SERVER = AUTHORITY.issue_cert("127.0.0.1", "localhost")
CLIENT = AUTHORITY.issue_cert("agent.example")
STRANGER = trustme.CA().issue_cert("stranger.example")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The server's `tls` section without client certificates, and where its authority is."""
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    SERVER.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    return {"cert_file": f"{tmp_path}/server.pem", "key_file": f"{tmp_path}/server.pem"}


def _authority(files: dict[str, str]) -> str:
    return files["cert_file"].replace("server.pem", "ca.pem")


async def _by_grpc(running: Running, identity: trustme.LeafCert | None = None) -> bytes:
    pair = {}
    if identity is not None:
        chain = b"".join(part.bytes() for part in identity.cert_chain_pems)
        pair = {"private_key": identity.private_key_pem.bytes(), "certificate_chain": chain}
    credentials = grpc.ssl_channel_credentials(AUTHORITY.cert_pem.bytes(), **pair)
    async with grpc.aio.secure_channel(running.grpc, credentials) as channel:
        export = channel.unary_unary(Signal.METRICS.method)
        answer: bytes = await export(make_wire(Signal.METRICS, 3), timeout=5)
        return answer


async def _by_http(running: Running, identity: trustme.LeafCert | None = None) -> int:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    if identity is not None:
        identity.configure_cert(context)
    url = running.url().replace("http://", "https://")
    wire = make_wire(Signal.METRICS, 3)
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.post(url, data=wire, headers={"Content-Type": PROTOBUF}) as response,
    ):
        return response.status


async def test_tls_for_both_protocols(serve: Serve, files: dict[str, str]) -> None:
    running = await serve(grpc={"tls": files}, http={"tls": files})
    assert b"" == await _by_grpc(running)
    assert 200 == await _by_http(running)
    assert 6 == running.sinks[Signal.METRICS].items


async def test_clients_need_a_certificate(
    serve: Serve, files: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    tls = {**files, "client_ca_file": _authority(files)}
    running = await serve(grpc={"tls": tls}, http={"tls": tls})
    assert b"" == await _by_grpc(running, CLIENT)
    assert 200 == await _by_http(running, CLIENT)
    for identity in (None, STRANGER):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _by_grpc(running, identity)
        assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
        with pytest.raises(aiohttp.ClientError):
            await _by_http(running, identity)
    assert 6 == running.sinks[Signal.METRICS].items
    expected = {
        f"{protocol} connection ended: TLS handshake failed: {why}"
        for protocol in ("gRPC", "HTTP")
        for why in (
            "peer did not return a certificate",
            "the client's certificate is not accepted",
        )
    }
    assert expected == {message.split(": unable")[0] for message in caplog.messages}
    assert len(expected) == len(caplog.messages)


async def test_a_client_that_does_not_know_our_authority_is_logged(
    serve: Serve, files: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    running = await serve(http={"tls": files})

    def shake() -> None:
        context = ssl.create_default_context()
        address = ("127.0.0.1", running.receiver.ports["http"])
        with (
            socket.create_connection(address, timeout=5) as sock,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(sock, server_hostname="localhost")

    for _ in range(2):
        await asyncio.to_thread(shake)
    await wait_until(lambda: caplog.messages)
    why = "the client does not accept ours: tlsv1 alert unknown ca"
    assert [f"HTTP connection ended: TLS handshake failed: {why}"] == caplog.messages


async def test_plain_text_to_a_tls_port_is_no_trouble(
    serve: Serve,
    client: aiohttp.ClientSession,
    files: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = await serve(grpc={"tls": files}, http={"tls": files})
    for protocol in ("grpc", "http"):
        url = f"http://127.0.0.1:{running.receiver.ports[protocol]}/v1/metrics"
        with pytest.raises(aiohttp.ClientError):
            await client.post(url, data=b"")
    assert b"" == await _by_grpc(running)
    assert [
        f"{protocol} connection ended: TLS handshake failed: http request"
        for protocol in ("gRPC", "HTTP")
    ] == caplog.messages


async def test_another_protocol_by_alpn_is_refused(serve: Serve, files: dict[str, str]) -> None:
    running = await serve(grpc={"tls": files})
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    context.set_alpn_protocols(["http/1.1"])
    port: int = running.receiver.ports["grpc"]
    # RFC 7301: without a common protocol OpenSSL goes on without one; what follows is no HTTP/2.
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 505 ")
    writer.close()
