from __future__ import annotations

import asyncio
import base64
import gzip
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.testing import JumpClock, make_settings, settle, wait_until
from mlsysops_receivers.prometheus.client_config import ClientConfig
from mlsysops_receivers.prometheus.fetch import names
from mlsysops_receivers.prometheus.fetch.client import (
    IDLE_MAX_S,
    REDIRECTS_MAX,
    Fetcher,
    FetchError,
)
from mlsysops_receivers.prometheus.fetch.connection import AHEAD_BYTES_MAX
from mlsysops_receivers.prometheus.fetch.deadline import Deadline
from mlsysops_receivers.prometheus.fetch.urls import Url
from tests.receivers.prometheus.peers import Peer, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Awaitable[Fetcher]]]:
    made: list[tuple[Fetcher, Any]] = []

    async def opened(**keys: Any) -> Fetcher:
        settings = make_settings("prometheus", clock=SystemClock())
        fetcher = Fetcher(parse_config(ClientConfig, keys), settings)
        made.append((fetcher, settings))
        await fetcher.open()
        return fetcher

    yield opened
    for fetcher, settings in made:
        fetcher.close()
        await settings.tasks.shutdown()


async def get(fetcher: Fetcher, url: str, fields: str = "") -> tuple[int, bytes]:
    async with asyncio.timeout(5), fetcher.get(Url.parse(url), fields) as reply:
        return reply.status, b"".join([piece async for piece in reply.pieces()])


async def test_a_connection_is_kept(make: Any) -> None:
    async with Peer(answer("page")) as peer:
        fetcher = await make()
        for _ in range(3):
            assert (200, b"page") == await get(fetcher, f"http://{peer.address}/metrics?a=b")

    assert (1, 3) == (peer.connections, len(peer.requests))
    assert peer.requests[0].startswith("GET /metrics?a=b HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_a_connection_that_the_peer_closed_is_made_again(make: Any) -> None:
    async with Peer(answer("page")) as peer:
        fetcher = await make()
        await get(fetcher, f"http://{peer.address}/")
        peer.hang_up()
        assert (200, b"page") == await get(fetcher, f"http://{peer.address}/")

    assert peer.connections == 2


async def test_a_body_that_nobody_reads_costs_the_connection(make: Any) -> None:
    async with Peer(answer(b"x" * 1_000_000)) as peer:
        fetcher = await make()
        for _ in range(2):
            async with fetcher.get(Url.parse(f"http://{peer.address}/"), "") as reply:
                assert reply.status == 200

    assert peer.connections == 2


async def test_a_fast_peer_waits_for_who_reads_slowly(make: Any) -> None:
    """Memory is bounded however large the page is."""
    size = 20 * AHEAD_BYTES_MAX

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // 65_536):
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with Peer(reply) as peer:
        fetcher = await make()
        total = 0
        async with fetcher.get(Url.parse(f"http://{peer.address}/"), "") as answered:
            connection = answered._connection
            assert connection is not None
            async for piece in answered.pieces():
                total += len(piece)
                assert connection._ahead_bytes <= 3 * AHEAD_BYTES_MAX
                await settle()

    assert size == total


async def test_gzip_is_undone(make: Any) -> None:
    page = b"line\n" * 100_000
    async with Peer(answer(gzip.compress(page), Content_Encoding="gzip")) as peer:
        assert (200, page) == await get(await make(), f"http://{peer.address}/")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"", "EOF"),
        (b"hello world\r\n\r\n", "malformed HTTP response"),
        (answer("page")[:-1], "unexpected EOF"),
        (answer("page", Content_Encoding="br"), "unsupported Content-Encoding"),
        (answer("page", Content_Encoding="gzip"), "gzip: "),
    ],
)
async def test_what_is_no_page_is_an_error_of_one_line(
    make: Any, reply: bytes, message: str
) -> None:
    async with Peer(reply) as peer:
        peer.closes_after_answer = True
        with pytest.raises(FetchError, match=message) as caught:
            await get(await make(), f"http://{peer.address}/")

    assert "\n" not in str(caught.value)


async def test_nobody_there_is_an_error(make: Any) -> None:
    async with Peer() as peer:
        address = peer.address
    with pytest.raises(FetchError, match=r"Connection refused \(127\.0\.0\.1:"):
        await get(await make(), f"http://{address}/")


async def test_a_name_that_cannot_be_found_is_an_error(make: Any) -> None:
    with pytest.raises(FetchError, match=r"^lookup does-not-exist\.invalid: "):
        await get(await make(), "http://does-not-exist.invalid/")


async def test_redirects_are_followed(make: Any) -> None:
    async with Peer(answer("page")) as peer:
        peer.replies["/old"] = answer("elsewhere", "302 Found", Location="/new?x=1")
        assert (200, b"page") == await get(await make(), f"http://{peer.address}/old")

    assert peer.requests[1].startswith("GET /new?x=1 ")
    assert peer.connections == 1


async def test_redirects_are_answers_where_that_is_written(make: Any) -> None:
    async with Peer(answer("elsewhere", "302 Found", Location="/new")) as peer:
        fetcher = await make(follow_redirects=False)
        assert (302, b"elsewhere") == await get(fetcher, f"http://{peer.address}/")


async def test_redirects_end(make: Any) -> None:
    async with Peer(answer("", "302 Found", Location="/")) as peer:
        with pytest.raises(FetchError, match="stopped after 10 redirects"):
            await get(await make(), f"http://{peer.address}/")

    assert REDIRECTS_MAX + 1 == len(peer.requests)


async def test_secrets_stay_with_the_host_that_was_configured(make: Any) -> None:
    async with Peer(answer("page")) as other, Peer() as peer:
        peer.reply = answer("", "302 Found", Location=f"http://{other.address}/")
        fetcher = await make(authorization={"credentials": "secret"})
        await get(fetcher, f"http://{peer.address}/", "Accept: x\r\n")

    assert "Bearer secret" == peer.fields()["authorization"]
    assert "authorization" not in other.fields()
    assert "x" == other.fields()["accept"]


async def test_a_name_and_a_password(make: Any, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p w\n")
    async with Peer(answer("page")) as peer:
        fetcher = await make(
            basic_auth={"username": "user", "password_file": str(tmp_path / "password")}
        )
        await get(fetcher, f"http://{peer.address}/")

    assert f"Basic {base64.b64encode(b'user:p w').decode()}" == peer.fields()["authorization"]


async def test_credentials_and_headers_from_files(make: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" abc \n")
    async with Peer(answer("page")) as peer:
        fetcher = await make(
            authorization={"type": "Token", "credentials_file": str(tmp_path / "token")},
            http_headers={
                "X-Scope-OrgID": {"values": ["1"]},
                "X-T": {"files": [str(tmp_path / "token")]},
            },
        )
        await get(fetcher, f"http://{peer.address}/")

    fields = peer.fields()
    assert ("Token abc", "1", "abc") == (
        fields["authorization"],
        fields["x-scope-orgid"],
        fields["x-t"],
    )


async def test_a_file_of_secrets_that_is_missing_is_named(make: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-token"):
        await make(authorization={"credentials_file": str(tmp_path / "no-such-token")})


async def test_a_certificate_file_that_is_missing_is_named(make: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-ca"):
        await make(tls_config={"ca_file": str(tmp_path / "no-such-ca")})


async def test_https_with_an_authority_of_our_own(make: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("target.example").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with Peer(answer("page"), tls=context) as peer:
        keys = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "target.example"}
        fetcher = await make(tls_config=keys)
        url = f"https://{peer.address}/"
        assert (200, b"page") == await get(fetcher, url)
        assert (200, b"page") == await get(fetcher, url)
        assert peer.connections == 1

        strict = await make()
        with pytest.raises(FetchError, match="its certificate is not accepted"):
            await get(strict, url)
        lax = await make(tls_config={"insecure_skip_verify": True})
        assert (200, b"page") == await get(lax, url)


async def test_a_proxy_is_asked_for_the_whole_url(make: Any) -> None:
    async with Peer(answer("page")) as proxy:
        fetcher = await make(proxy_url=f"http://me:pw@{proxy.address}", no_proxy="direct.example")
        assert (200, b"page") == await get(fetcher, "http://target.invalid:9100/metrics")

    assert proxy.requests[0].startswith("GET http://target.invalid:9100/metrics HTTP/1.1\r\n")
    assert "proxy-authorization" in proxy.fields()


async def test_a_deadline_is_kept_by_the_components_clock() -> None:
    clock = JumpClock()

    async def wait() -> None:
        with Deadline(clock, 5.0):
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(wait())
    await clock.advance(4.9)
    assert not task.done()
    await clock.advance(0.2)
    with pytest.raises(TimeoutError):
        await task
    assert clock.pending == 0


async def test_a_task_that_is_cancelled_within_its_deadline_is_cancelled() -> None:
    clock = JumpClock()

    async def wait() -> None:
        with Deadline(clock, 5.0):
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(wait())
    await clock.advance(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.pending == 0


async def test_a_deadline_that_is_paused_waits() -> None:
    clock = JumpClock()
    steps: list[str] = []

    async def wait() -> None:
        with Deadline(clock, 5.0) as deadline:
            await clock.sleep(3.0)
            deadline.pause()
            deadline.pause()
            await clock.sleep(60.0)
            deadline.resume()
            deadline.resume()
            steps.append("resumed")
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(wait())
    await clock.advance(64.9)
    assert (["resumed"], False) == (steps, task.done())
    await clock.advance(0.2)
    with pytest.raises(TimeoutError):
        await task


async def test_a_name_is_looked_up_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many scrapes give up waiting for it, and beside any number of other names."""
    release = threading.Event()
    asked: list[str] = []

    def look_up(host: str, port: int) -> list[Any]:
        asked.append(host)
        if host == "slow":
            release.wait(5)
        return [host, port]

    monkeypatch.setattr(names, "_look_up", look_up)
    lookups = names.Names()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await lookups.look_up("slow", 1)
    assert ["quick", 1] == await lookups.look_up("quick", 1)
    release.set()
    assert ["slow", 1] == await lookups.look_up("slow", 1)
    lookups.close()
    lookups.close()

    assert ["slow", "quick"] == asked


async def test_https_through_a_proxy_is_a_tunnel(make: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("target.example").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    heads: list[str] = []
    ended = asyncio.Event()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with Peer(answer("page"), tls=context) as peer:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            there, out = await asyncio.open_connection("127.0.0.1", peer.port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(copy(reader, out), copy(there, writer), return_exceptions=True)
            ended.set()

        proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        fetcher = await make(
            proxy_url=f"http://127.0.0.1:{port}", tls_config={"ca_file": str(tmp_path / "ca.pem")}
        )
        for _ in range(2):
            assert (200, b"page") == await get(fetcher, "https://target.example:8443/m")
        fetcher.close()
        proxy.close()
        await ended.wait()  # the proxy has noticed that both sides have gone

    assert len(heads) == 1
    assert heads[0].startswith("CONNECT target.example:8443 HTTP/1.1\r\n")
    assert peer.requests[0].startswith("GET /m HTTP/1.1\r\nHost: target.example:8443\r\n")


async def test_a_connection_that_nobody_used_for_long_is_closed() -> None:
    """So targets with long intervals, or that are gone, hold no files; others keep theirs."""
    clock = JumpClock()
    settings = make_settings("prometheus", clock=clock)
    fetcher = Fetcher(parse_config(ClientConfig, {}), settings)
    async with Peer(answer("page")) as rare, Peer(answer("page")) as often:
        await get(fetcher, f"http://{rare.address}/")
        for _ in range(8):
            await get(fetcher, f"http://{often.address}/")
            await clock.advance(IDLE_MAX_S / 4)
        await wait_until(lambda: repr(fetcher) == "<Fetcher idle=1>")
        await get(fetcher, f"http://{rare.address}/")
        assert (2, 1) == (rare.connections, often.connections)
        await clock.advance(2 * IDLE_MAX_S)
        assert "<Fetcher idle=0>" == repr(fetcher)
    fetcher.close()
    await settings.tasks.shutdown()
