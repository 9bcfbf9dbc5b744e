"""The otlp_http exporter, and the HTTP client below it, against hand-made servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_exporters import otlp_http
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import ComponentID, ExportResult, Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import (
    Code,
    ConfigError,
    DropReason,
    PermanentError,
    RetryableError,
)
from mlsysops_pipeline.pdata import otlp_json
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, make_payload, make_settings
from mlsysops_pipeline.transport.compression import HTTP_ENCODINGS, compress, decompress
from mlsysops_pipeline.transport.http import client as http_client
from mlsysops_pipeline.transport.http.client import retry_after_s
from mlsysops_pipeline.transport.proxies import proxy_from_environment
from mlsysops_pipeline.transport.rpc_status import Answer, encode_status
from tests.core.transport.grpc_peers import (
    Certificates,
    encode_answer,
    free_port,
    make_certificates,
    raw_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, MutableMapping

PROTOBUF = "application/x-protobuf"


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """An HTTP/1.1 server of few words; ``reply(request)`` returns the bytes of an answer."""

    reply: Callable[[Request], bytes]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.connections = number
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.IncompleteReadError:
                return
            first, *lines = head[:-4].split("\r\n")
            method, target, _ = first.split(" ")
            pairs = (line.split(": ", 1) for line in lines)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            request = Request(method, target, headers, body)
            self.requests.append(request)
            answer = self.reply(request)
            if not answer:
                return
            writer.write(answer)
            await writer.drain()


def answer(
    status: int = 200, body: bytes = b"", kind: str = PROTOBUF, **headers: str
) -> Callable[[Request], bytes]:
    lines = [f"HTTP/1.1 {status} Because", f"content-length: {len(body)}"]
    if kind:
        lines.append(f"content-type: {kind}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return lambda _: head + body


@contextlib.asynccontextmanager
async def web(
    reply: Callable[[Request], bytes] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Web]:
    site = Web(reply or answer())
    async with raw_server(site.serve, tls=tls) as server:
        scheme, host = ("http", "127.0.0.1") if tls is None else ("https", "localhost")
        site.url = f"{scheme}://{host}:{server.port}"
        yield site


@contextlib.asynccontextmanager
async def exporter_to(
    endpoint: str, host: Any = None, **config: Any
) -> AsyncIterator[otlp_http.OtlpHttpExporter]:
    value = {"endpoint": endpoint, **config} if endpoint else config
    exporter = otlp_http.FACTORY.create(
        parse_config(otlp_http.Config, value),
        make_settings(
            "otlp_http",
            kind=Kind.EXPORTER,
            clock=SystemClock(),
            host=host,
            signals=[Signal.LOGS] if "logs_endpoint" in config else list(Signal),
        ),
        None,
    )
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown()


def logs(items: int = 5) -> Payload:
    return make_payload(Signal.LOGS, items)


class Signer:
    """An authentication extension."""

    needs_tls = False

    async def start(self) -> None:
        pass

    async def shutdown(self) -> None:
        pass

    def apply(self, headers: MutableMapping[str, str], metadata: Metadata) -> None:
        headers["authorization"] = f"Bearer {metadata.peer}"


# What is sent.


@pytest.mark.parametrize("end", ["", "/", "/base", "/base/"])
@pytest.mark.parametrize("signal", list(Signal))
async def test_a_base_endpoint_gets_the_path_of_the_signal(signal: Signal, end: str) -> None:
    """OH-14."""
    payload = Payload.merge([make_payload(signal, 3), make_payload(signal, 4, seed=1)])
    async with web() as site, exporter_to(site.url + end) as exporter:
        assert await exporter.export(payload) is None

    request = site.requests[0]
    assert ("POST", f"{end.rstrip('/')}/v1/{signal}") == (request.method, request.target)
    assert PROTOBUF == request.headers["content-type"]
    assert payload.joined() == decompress("gzip", request.body, 1 << 30)


@pytest.mark.parametrize(
    ("encoding", "members", "copies"), [("proto", 1, 0), ("proto", 2, 1), ("json", 1, 1)]
)
async def test_the_copy_that_is_sent_is_charged_to_the_memory_account(
    encoding: str, members: int, copies: int
) -> None:
    payload = Payload.merge([logs()] * members)
    async with web() as site, exporter_to(site.url, encoding=encoding) as exporter:
        await exporter.export(payload)
        memory = exporter._settings.memory
        assert (copies * payload.size, 0) == (memory.peak, memory.in_flight)


@pytest.mark.parametrize(("path", "target"), [("/own/path", "/own/path"), ("", "/")])
async def test_a_signals_own_endpoint_is_used_as_it_is(path: str, target: str) -> None:
    """OH-14."""
    async with web() as site, exporter_to("", logs_endpoint=site.url + path) as exporter:
        await exporter.export(logs())

    assert target == site.requests[0].target


async def test_headers() -> None:
    """OC-17, OH-11: among them those of the Collector."""
    config = {"headers": {"X-Key": "v", "Host": "other.example", "Content-Type": "no"}}
    async with web() as site, exporter_to(site.url, **config) as exporter:
        await exporter.export(make_payload(Signal.LOGS, 1, metadata=Metadata(hops=3)))

    headers = site.requests[0].headers
    assert ("v", "other.example", "4") == (
        headers["x-key"],
        headers["host"],
        headers["mlsysops-hops"],
    )
    assert ("gzip", PROTOBUF) == (headers["content-encoding"], headers["content-type"])
    assert headers["user-agent"].startswith("mlsysops-collector/")
    assert "accept-encoding" not in headers


async def test_a_user_agent_may_be_configured() -> None:
    config = {"headers": {"User-Agent": "other/1"}}
    async with web() as site, exporter_to(site.url, **config) as exporter:
        await exporter.export(logs())

    assert "other/1" == site.requests[0].headers["user-agent"]


async def test_an_authenticator_signs_each_request() -> None:
    host = FakeHost({ComponentID("signer"): Signer()})
    config = {"auth": {"authenticator": "signer"}}
    async with web() as site, exporter_to(site.url, host, **config) as exporter:
        await exporter.export(make_payload(Signal.LOGS, 1, metadata=Metadata(peer="10.0.0.1")))

    assert "Bearer 10.0.0.1" == site.requests[0].headers["authorization"]


@pytest.mark.parametrize("peer", ["a\r\nx-smuggled: 1", "a\n", "\0"])
async def test_a_header_that_cannot_be_sent_costs_its_payload_only(peer: str) -> None:
    host = FakeHost({ComponentID("signer"): Signer()})
    config = {"auth": {"authenticator": "signer"}}
    async with web() as site, exporter_to(site.url, host, **config) as exporter:
        with pytest.raises(PermanentError, match="header authorization"):
            await exporter.export(make_payload(Signal.LOGS, 1, metadata=Metadata(peer=peer)))
        await exporter.export(logs())

    assert 1 == len(site.requests)


@pytest.mark.parametrize("compression", [*HTTP_ENCODINGS, "none", ""])
@pytest.mark.parametrize("members", [1, 600])
async def test_compression(compression: str, members: int) -> None:
    """OH-11."""
    payload = Payload(Signal.METRICS, make_payload(Signal.METRICS, 20).wires * members)
    async with web() as site, exporter_to(site.url, compression=compression) as exporter:
        await exporter.export(payload)

    request = site.requests[0]
    encoding = request.headers.get("content-encoding", "")
    assert compression.replace("none", "") == encoding
    assert payload.joined() == decompress(encoding, request.body, 1 << 30)


@pytest.mark.parametrize("level", [1, 9])
async def test_the_level_of_compression_is_used(level: int) -> None:
    config = {"compression": "gzip", "compression_params": {"level": level}}
    payload = make_payload(Signal.METRICS, 500)
    async with web() as site, exporter_to(site.url, **config) as exporter:
        await exporter.export(payload)

    assert compress("gzip", payload.wires[0], level) == site.requests[0].body


@pytest.mark.parametrize("signal", list(Signal))
async def test_json(signal: Signal) -> None:
    payload = make_payload(signal, 20)
    async with web() as site, exporter_to(site.url, encoding="json") as exporter:
        await exporter.export(payload)

    request = site.requests[0]
    text = decompress("gzip", request.body, 1 << 30)
    assert "application/json" == request.headers["content-type"]
    assert otlp_json.encode(signal, payload.wires[0]) == text


async def test_what_cannot_be_written_as_json_is_bad_data() -> None:
    payload = Payload(Signal.LOGS, b"\x0a\x05abc")
    async with web() as site, exporter_to(site.url, encoding="json") as exporter:
        with pytest.raises(PermanentError) as caught:
            await exporter.export(payload)

    assert caught.value.is_bad_data
    assert DropReason.MALFORMED == caught.value.reason


async def test_connections_are_kept() -> None:
    """OH-10."""
    async with web() as site, exporter_to(site.url) as exporter:
        for _ in range(3):
            await exporter.export(logs())

    assert (3, 1) == (len(site.requests), site.connections)


async def test_connections_are_not_kept_if_that_is_not_wanted() -> None:
    async with web() as site, exporter_to(site.url, disable_keep_alives=True) as exporter:
        for _ in range(3):
            await exporter.export(logs())

    assert 3 == site.connections


@pytest.mark.parametrize("is_on", [True, False])
async def test_cookies_are_sent_back_only_if_that_is_wanted(is_on: bool) -> None:
    reply = answer(set_cookie="route=7")
    async with web(reply) as site, exporter_to(site.url, cookies={"enabled": is_on}) as exporter:
        for _ in range(2):
            await exporter.export(logs())

    assert ("route=7" if is_on else None) == site.requests[1].headers.get("cookie")


# What is answered.

PARTIAL = {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "bad"}}


@pytest.mark.parametrize(
    ("body", "kind", "result"),
    [
        (b"", PROTOBUF, None),
        (b"\x0a\x00", PROTOBUF, None),
        (encode_answer(Answer(2, "bad")), PROTOBUF, ExportResult(2, "bad")),
        (encode_answer(Answer(9)), PROTOBUF, ExportResult(5)),
        (b"{}", "application/json", None),
        (b'{"partialSuccess":null}', "application/json; charset=utf-8", None),
        (b'{"partialSuccess":{}}', "Application/JSON", None),
        (json.dumps(PARTIAL).encode(), "application/json", ExportResult(2, "bad")),
        (b'{"partialSuccess":{"rejectedSpans":1}}', "application/json", ExportResult(1)),
        (b"anything", "text/plain", None),
        (b"anything", "", None),
    ],
)
async def test_success(body: bytes, kind: str, result: ExportResult | None) -> None:
    """OC-7."""
    async with web(answer(200, body, kind)) as site, exporter_to(site.url) as exporter:
        assert result == await exporter.export(logs())


@pytest.mark.parametrize("status", [201, 202, 204, 299])
async def test_every_2xx_is_success(status: int) -> None:
    async with web(answer(status, kind="")) as site, exporter_to(site.url) as exporter:
        assert await exporter.export(logs()) is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xff", PROTOBUF),
        (b"nonsense", "application/json"),
        (b"[]", "application/json"),
        (b'{"partialSuccess":3}', "application/json"),
        (b'{"partialSuccess":{"rejectedSpans":"x"}}', "application/json"),
    ],
)
async def test_a_success_that_cannot_be_read_is_final(body: bytes, kind: str) -> None:
    async with web(answer(200, body, kind)) as site, exporter_to(site.url) as exporter:
        with pytest.raises(PermanentError, match="the answer cannot be read"):
            await exporter.export(logs())


@pytest.mark.parametrize(
    "status", [300, 301, 302, 303, 304, 400, 401, 403, 404, 405, 408, 413, 415, 500, 501, 505]
)
async def test_most_errors_are_final(status: int) -> None:
    """OH-8: 500 and 408 too. A redirect that would become a GET is not followed."""
    reply = answer(status, location="/elsewhere", retry_after="5")
    async with web(reply) as site, exporter_to(site.url) as exporter:
        with pytest.raises(PermanentError) as caught:
            await exporter.export(logs())

    assert (
        f"error exporting items, request to {site.url}/v1/logs responded with HTTP Status Code"
        f" {status}" == caught.value.message
    )
    assert (status == 400) == caught.value.is_bad_data
    assert 1 == len(site.requests)


@pytest.mark.parametrize(("status", "wait_s"), [(429, 7.0), (503, 7.0), (502, None), (504, None)])
async def test_some_errors_can_be_tried_again(status: int, wait_s: float | None) -> None:
    """OH-8, OH-9."""
    async with web(answer(status, retry_after="7")) as site, exporter_to(site.url) as exporter:
        with pytest.raises(RetryableError) as caught:
            await exporter.export(logs())

    assert wait_s == caught.value.retry_after_s
    assert Code.UNAVAILABLE == caught.value.code


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("999999", 86_400.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 86_400.0),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("-3", None),
        ("\u0663", None),
        ("9" * 400, None),
        ("Tue, 99 Nov 2023 22:13:30 GMT", None),
    ],
)
def test_retry_after(text: str, wait_s: float | None) -> None:
    """OH-9: both forms, and a malformed one is an ordinary back-off."""
    assert wait_s == retry_after_s(text, 1_700_000_000.0)


async def test_a_date_to_come_back_counts_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    async with web(answer(503, retry_after=date)) as site, exporter_to(site.url) as exporter:
        with pytest.raises(RetryableError) as caught:
            await exporter.export(logs())

    assert caught.value.retry_after_s is not None
    assert 55 < caught.value.retry_after_s <= 60


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (encode_status(3, "bad data"), PROTOBUF, "Message=bad data, Details=[]"),
        (encode_status(3, "later", 1.0), PROTOBUF, "Details=[google.rpc.RetryInfo]"),
        (encode_status(3, "bad data"), "", "Message=bad data"),
        (b'{"code":3,"message":"bad json"}', "application/json", "Message=bad json"),
        (b"<h1>Not\n here</h1>", "text/html", "Message=<h1>Not here</h1>"),
        (b"x" * 200_000, "text/plain", "Message=xxx"),
        (b"\xff\xff", PROTOBUF, "HTTP Status Code 400"),
        (b"[1]", "application/json", "HTTP Status Code 400"),
    ],
)
async def test_errors_are_quoted(body: bytes, kind: str, said: str) -> None:
    async with web(answer(400, body, kind)) as site, exporter_to(site.url) as exporter:
        with pytest.raises(PermanentError) as caught:
            await exporter.export(logs())

    assert said in caught.value.message
    assert len(caught.value.message) < 1_000


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_an_answer_that_is_too_large_is_final(encoding: str) -> None:
    """OC-11: on the wire, and when decompressed."""
    body = compress(encoding, encode_answer(Answer(1, "x" * 5_000_000)))
    more = {"content_encoding": encoding} if encoding else {}
    async with web(answer(200, body, **more)) as site, exporter_to(site.url) as exporter:
        with pytest.raises(PermanentError, match="4194304"):
            await exporter.export(logs())
        assert 1 == len(site.requests)


async def test_an_answer_may_be_compressed() -> None:
    body = compress("gzip", encode_answer(Answer(2, "bad")))
    reply = answer(200, body, content_encoding="gzip")
    async with web(reply) as site, exporter_to(site.url) as exporter:
        assert ExportResult(2, "bad") == await exporter.export(logs())


# Redirects.


@pytest.mark.parametrize("status", [307, 308])
async def test_the_same_request_is_made_where_a_redirect_says(status: int) -> None:
    async with web() as other:
        reply = answer(status, location=f"{other.url}/new/v1/logs")
        async with web(reply) as site:
            config = {"headers": {"X-Secret": "v"}}
            async with exporter_to(site.url, **config) as exporter:
                assert await exporter.export(logs()) is None

    request = other.requests[0]
    assert ("POST", "/new/v1/logs") == (request.method, request.target)
    assert site.requests[0].body == request.body
    assert ("gzip", PROTOBUF) == (
        request.headers["content-encoding"],
        request.headers["content-type"],
    )
    assert "x-secret" not in request.headers
    assert "v" == site.requests[0].headers["x-secret"]


async def test_a_redirect_within_a_host_keeps_the_headers() -> None:
    def reply(request: Request) -> bytes:
        return (
            answer()(request) if request.target == "/new" else answer(307, location="/new")(request)
        )

    config = {"headers": {"X-Secret": "v"}}
    async with web(reply) as site, exporter_to(site.url, **config) as exporter:
        assert await exporter.export(logs()) is None

    assert "v" == site.requests[1].headers["x-secret"]


async def test_redirects_end() -> None:
    def reply(request: Request) -> bytes:
        return answer(307, location=f"{request.target}x")(request)

    async with web(reply) as site, exporter_to(site.url) as exporter:
        with pytest.raises(RetryableError, match="more than 5 redirects"):
            await exporter.export(logs())

    assert 6 == len(site.requests)


@pytest.mark.parametrize("location", ["ftp://x/", "", "http://[::1"])
async def test_a_redirect_to_nowhere_stands(location: str) -> None:
    async with web(answer(307, location=location)) as site, exporter_to(site.url) as exporter:
        with pytest.raises((PermanentError, RetryableError)):
            await exporter.export(logs())

    assert 1 == len(site.requests)


# Peers that behave badly.


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    ],
)
async def test_a_peer_that_breaks_off_or_speaks_nonsense(said: bytes) -> None:
    """OH-10."""

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    async with (
        raw_server(serve) as server,
        exporter_to(f"http://127.0.0.1:{server.port}") as exporter,
    ):
        with pytest.raises(RetryableError, match="failed to make an HTTP request"):
            await exporter.export(logs())


async def test_nobody_listens() -> None:
    """OH-10."""
    async with exporter_to(f"http://127.0.0.1:{free_port()}") as exporter:
        with pytest.raises(RetryableError, match="failed to make an HTTP request") as caught:
            await exporter.export(logs())

    assert Code.UNAVAILABLE == caught.value.code


async def test_a_password_in_the_endpoint_is_sent_and_not_told() -> None:
    async with web(answer(404)) as site:
        async with exporter_to(site.url.replace("//", "//me:hunter2@")) as exporter:
            with pytest.raises(PermanentError, match=r"me:\[REDACTED\]@127\.0\.0\.1") as refused:
                await exporter.export(logs())
            assert "hunter2" not in repr(exporter)
        assert "Basic bWU6aHVudGVyMg==" == site.requests[0].headers["authorization"]
    async with exporter_to(f"http://me:hunter2@127.0.0.1:{free_port()}") as exporter:
        with pytest.raises(RetryableError, match=r"me:\[REDACTED\]@127\.0\.0\.1") as absent:
            await exporter.export(logs())
    assert "hunter2" not in refused.value.message + absent.value.message


async def test_cancelling_lets_go_of_a_peer_that_hangs() -> None:
    hung = asyncio.Event()
    gone = asyncio.Event()

    async def serve(reader: Any, _writer: Any, _number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        hung.set()
        await reader.read()
        gone.set()

    async with (
        raw_server(serve) as server,
        exporter_to(f"http://127.0.0.1:{server.port}") as exporter,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await exporter.export(logs())
        await asyncio.wait_for(gone.wait(), 5)

    assert hung.is_set()


# Proxies.


async def test_a_configured_proxy_is_asked() -> None:
    async with web() as proxy, exporter_to("http://peer.invalid", proxy_url=proxy.url) as exporter:
        assert await exporter.export(logs()) is None

    assert "http://peer.invalid/v1/logs" == proxy.requests[0].target


async def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with exporter_to("http://peer.invalid") as exporter:
            assert await exporter.export(logs()) is None

    assert 1 == len(proxy.requests)


@pytest.mark.parametrize(
    ("scheme", "netloc", "proxy"),
    [
        ("http", "peer:4318", "http://one:1"),
        ("https", "peer:4318", "http://two:2"),
        ("http", "left.out:4318", None),
        ("http", "localhost:4318", None),
        ("http", "127.0.0.5:4318", None),
        ("http", "[::1]:4318", None),
    ],
)
def test_which_proxy(
    monkeypatch: pytest.MonkeyPatch, scheme: str, netloc: str, proxy: str | None
) -> None:
    for name, value in {"http": "http://one:1", "https": "two:2", "no": "left.out"}.items():
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
        monkeypatch.setenv(f"{name}_proxy", value)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)

    assert proxy == proxy_from_environment(scheme, netloc)


# TLS.


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def server_tls(certificates: Certificates, *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    if mutual:
        context.load_verify_locations(certificates.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_tls(certificates: Certificates) -> None:
    tls = {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_cert),
        "key_file": str(certificates.client_key),
    }
    async with (
        web(tls=server_tls(certificates, mutual=True)) as site,
        exporter_to(site.url, tls=tls) as exporter,
    ):
        assert await exporter.export(logs()) is None


async def test_certificates_are_checked(certificates: Certificates) -> None:
    tls = {"ca_file": str(certificates.other_ca)}
    async with web(tls=server_tls(certificates)) as site:
        async with exporter_to(site.url, tls=tls) as exporter:
            with pytest.raises(RetryableError, match="certificate"):
                await exporter.export(logs())
        skip = {**tls, "insecure_skip_verify": True}
        async with exporter_to(site.url, tls=skip) as exporter:
            assert await exporter.export(logs()) is None


async def test_nobody_is_led_out_of_tls(certificates: Certificates) -> None:
    async with web() as plain:
        reply = answer(307, location=f"{plain.url}/v1/logs")
        async with web(reply, tls=server_tls(certificates)) as site:
            tls = {"ca_file": str(certificates.ca)}
            async with exporter_to(site.url, tls=tls) as exporter:
                with pytest.raises(PermanentError, match="HTTP Status Code 307"):
                    await exporter.export(logs())

    assert [] == plain.requests


# Life.


async def test_a_signal_without_an_endpoint_is_found_at_start() -> None:
    config = parse_config(otlp_http.Config, {"traces_endpoint": "http://peer/t"})
    exporter = otlp_http.FACTORY.create(config, make_settings(signals=[Signal.LOGS]), None)
    with pytest.raises(ConfigError, match="either endpoint or logs_endpoint must be specified"):
        await exporter.start()


def test_some_endpoint_is_required() -> None:
    with pytest.raises(ConfigError, match="at least one endpoint must be specified"):
        parse_config(otlp_http.Config, {})


async def test_it_is_safe_to_stop_at_any_time() -> None:
    config = parse_config(otlp_http.Config, {"endpoint": "http://peer"})
    exporter = otlp_http.FACTORY.create(config, make_settings(kind=Kind.EXPORTER), None)
    await exporter.shutdown()
    await exporter.start()
    await exporter.shutdown()
    await exporter.shutdown()
    with pytest.raises(PermanentError, match="not running"):
        await exporter.export(logs())


async def test_credentials_in_plaintext_are_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signer = Signer()
    signer.needs_tls = True
    host = FakeHost({ComponentID("signer"): signer})
    async with exporter_to("http://peer", host, auth={"authenticator": "signer"}):
        assert "the credentials of signer are sent in plaintext" in caplog.text


def test_defaults() -> None:
    """Components, A6."""
    config = parse_config(otlp_http.Config, {"endpoint": "http://peer"})

    assert ("gzip", 30.0, "proto") == (config.compression, config.timeout, config.encoding)
    assert ("otlphttp",) == otlp_http.FACTORY.aliases


def test_self_metrics_name_the_peer_of_each_signal() -> None:
    value = {"logs_endpoint": "https://logs", "traces_endpoint": "http://traces:1/in"}
    config = parse_config(otlp_http.Config, value)
    attributes = otlp_http.OtlpHttpExporter(config, make_settings()).telemetry_attributes

    assert {"server.address": "logs", "server.port": "443", "url.path": "/"} == attributes(
        Signal.LOGS
    )
    assert {"server.address": "traces", "server.port": "1", "url.path": "/in"} == attributes(
        Signal.TRACES
    )
    assert {} == attributes(Signal.METRICS)


def test_an_unknown_encoding() -> None:
    with pytest.raises(ConfigError, match="encoding"):
        parse_config(otlp_http.Config, {"endpoint": "http://peer", "encoding": "xml"})


async def test_the_client_is_told_apart_from_a_closed_one() -> None:
    config = parse_config(otlp_http.Config, {"endpoint": "http://peer"})
    client = http_client.HttpClient(config, None)
    with pytest.raises(http_client.UnreachableError):
        await client.post("http://peer", {}, b"")
    assert "open=False" in repr(client)
