"""The client against servers that answer well, badly, late and never."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web
from blockbuster import blockbuster_ctx

from mlsysops_pipeline import query as api
from mlsysops_pipeline.query import (
    AnswerError,
    ExpressionError,
    Matrix,
    NoAnswerError,
    PartialAnswerError,
    QueryClient,
    QueryError,
    QueryTimeoutError,
    RefusedError,
    Scalar,
    Server,
    Vector,
)
from mlsysops_pipeline.query.http import PIECE_BYTES
from mlsysops_pipeline.testing import JumpClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

T0 = 1_700_000_000
ONE = {"metric": {"__name__": "up", "job": "a"}, "value": [T0, "1"]}


@pytest.fixture(autouse=True)
def never_blocking() -> Iterator[None]:
    with blockbuster_ctx():
        yield


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """A server that gives every request to ``handler``, and its URL."""
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    _, port = runner.addresses[0][:2]
    try:
        yield f"{'https' if tls else 'http'}://localhost:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(answer: bytes, *, hang: bool = False) -> AsyncIterator[str]:
    """A server that reads a request, writes ``answer`` and closes, or keeps silent."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if hang:
                await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def data(kind: str, result: Any, **members: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **members}


def answering(value: object = None, **options: Any) -> Any:
    """A handler that always answers the same."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        if "text" in options or "body" in options:
            return web.Response(**options)
        return web.json_response(data("vector", [ONE]) if value is None else value, **options)

    return handle


def http(head: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Type: {kind}\r\n".encode() + body


async def test_a_query_and_what_is_sent_for_it() -> None:
    seen: list[Any] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path, dict(request.query), request.headers))
        return web.json_response(data("vector", [ONE], warnings=["w"], infos=["i"]))

    async with serving(handle) as url:
        server = Server(url + "/pröm etheus", tenant="edge", basic_auth=("me", "secret"))
        async with QueryClient(server) as client:
            result = await client.query('up{job=~"a|b+c;d&e"}', at=datetime.fromtimestamp(T0, UTC))

    assert isinstance(result, Vector)
    assert (1.0, ("w",), ("i",)) == (result.value, result.warnings, result.infos)
    (method, path, form, headers) = seen[0]
    assert ("GET", "/pröm etheus/api/v1/query") == (method, path)
    assert {"query": 'up{job=~"a|b+c;d&e"}', "time": f"{T0}.000", "timeout": "30"} == form
    credentials = base64.b64encode(b"me:secret").decode()
    assert ("edge", f"Basic {credentials}") == (
        headers["X-Scope-OrgID"],
        headers["Authorization"],
    )


async def test_a_range_query_and_what_is_sent_for_it() -> None:
    seen: list[dict[str, str]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append({**request.query, "path": request.path})
        return web.json_response(
            data("matrix", [{"metric": {}, "values": [[T0, "1"], [T0 + 15, "2"]]}])
        )

    async with serving(handle) as url, QueryClient(url) as client:
        start = datetime.fromtimestamp(T0, UTC)
        result = await client.query_range("up", start, T0 + 60.5, "15s")

    assert [(T0, 1.0), (T0 + 15, 2.0)] == list(result.series[0].points())
    assert {
        "query": "up",
        "start": f"{T0}.000",
        "end": f"{T0 + 60}.500",
        "step": "15.000",
        "timeout": "30",
        "path": "/api/v1/query_range",
    } == seen[0]


async def test_a_long_expression_is_posted_as_a_form() -> None:
    expression = " + ".join(f'up{{é="{i}"}}' for i in range(500))
    seen: list[Any] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.query_string, dict(await request.post())))
        return web.json_response(data("scalar", [T0, "1"]))

    async with serving(handle) as url, QueryClient(url) as client:
        await client.query(expression)

    assert ("POST", "", {"query": expression, "timeout": "30"}) == seen[0]


async def test_compressed_answers_are_read() -> None:
    text = json.dumps(data("vector", [{**ONE, "metric": {"i": str(i)}} for i in range(2000)]))
    body = gzip.compress(text.encode())
    handler = answering(
        body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
    )
    async with serving(handler) as url, QueryClient(url) as client:
        result = await client.query("up")

    assert isinstance(result, Vector)
    assert 2000 == len(result)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_others_run_between_any_two_pieces_of_an_answer(encoding: str) -> None:
    """2,000 series are a third of a megabyte of JSON; how long a piece takes is a benchmark."""
    text = json.dumps(
        data("vector", [{**ONE, "metric": {"i": str(i), "n": "x" * 120}} for i in range(2000)])
    ).encode()
    body = gzip.compress(text) if encoding == "gzip" else text
    handler = answering(body=body, headers={"Content-Encoding": encoding})
    turns = 0
    is_done = False

    async def tick() -> None:
        nonlocal turns
        while not is_done:
            turns += 1
            await asyncio.sleep(0)

    async with serving(handler) as url, QueryClient(url) as client, asyncio.TaskGroup() as group:
        await client.query("up")
        group.create_task(tick())
        result = await client.query("up")
        is_done = True

    assert isinstance(result, Vector)
    assert 2000 == len(result)
    assert turns >= len(text) / PIECE_BYTES


async def test_a_compressed_answer_counts_as_large_as_it_is() -> None:
    """4 MiB in 4 KiB: no more than the limit is ever decompressed."""
    body = gzip.compress(b"{" + b" " * (4 << 20))
    handler = answering(body=body, headers={"Content-Encoding": "gzip"})
    async with (
        serving(handler) as url,
        QueryClient(Server(url, answer_bytes_max=100_000)) as client,
    ):
        with pytest.raises(AnswerError, match="more than 100000 bytes"):
            await client.query("up")


@pytest.mark.parametrize(
    ("body", "encoding", "error", "problem"),
    [
        (gzip.compress(b'{"status":', mtime=0)[:-3], "gzip", NoAnswerError, "ends too early"),
        (b"{}", "gzip", AnswerError, "is damaged"),
        (b"{}", "br", AnswerError, "compressed by 'br'"),
        (gzip.compress(b"{}", mtime=0) + b"x", "gzip", AnswerError, "goes on behind its end"),
    ],
)
async def test_damaged_compression(
    body: bytes, encoding: str, error: type[QueryError], problem: str
) -> None:
    handler = answering(body=body, headers={"Content-Encoding": encoding})
    async with serving(handler) as url, QueryClient(url) as client:
        with pytest.raises(error, match=problem):
            await client.query("up")


async def test_a_bad_expression_is_answered_with_the_words_of_the_server() -> None:
    body = {"status": "error", "errorType": "bad_data", "error": "1:4: parse error: no"}
    async with serving(answering(body, status=400)) as url, QueryClient(url) as client:
        with pytest.raises(ExpressionError, match="1:4: parse error: no") as caught:
            await client.query("up{")

    assert "bad_data" == caught.value.kind
    assert f"{url}/api/v1/query: 1:4: parse error: no" == str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error", "problem"),
    [
        ({"status": 401, "text": "no org id\n"}, RefusedError, "HTTP 401 .*no org id.*no tenant"),
        ({"status": 403, "text": ""}, RefusedError, "no credentials and no tenant given"),
        ({"status": 404, "text": "404 page not found"}, RefusedError, "ends in /prometheus"),
        ({"status": 405, "text": ""}, RefusedError, "HTTP 405"),
        ({"status": 429, "text": "slow down"}, RefusedError, "HTTP 429 .*slow down"),
        ({"status": 500, "text": "{"}, RefusedError, "HTTP 500"),
        ({"status": 500, "text": "[" * 50_000}, RefusedError, "HTTP 500"),
        ({"status": 400, "text": '{"error": {}}'}, RefusedError, "HTTP 400"),
        (
            {"status": 502, "text": "<html><style>p{}</style><h1>Bad\n gateway</h1></html>"},
            RefusedError,
            "HTTP 502 Bad Gateway: Bad gateway$",
        ),
        (
            {"status": 302, "text": "", "headers": {"Location": "https://login/"}},
            RefusedError,
            "redirects are not followed; it leads to https://login/",
        ),
        ({"status": 500, "text": "x" * (1 << 20)}, RefusedError, r"x{200}\.\.\.$"),
        (
            {"text": "<!DOCTYPE html><p>Please log in</p>", "content_type": "text/html"},
            AnswerError,
            "a web page, not data: 'Please log in'",
        ),
        ({"text": "<p>hello", "content_type": "text/plain"}, AnswerError, "not '<p>hello'"),
        ({"text": '{"status":"succ', "content_type": "application/json"}, NoAnswerError, "early"),
        ({"body": b'{"status":"\xff"}'}, AnswerError, "no UTF-8"),
        ({"body": b""}, NoAnswerError, "after 0 characters"),
        ({"status": 204, "text": ""}, NoAnswerError, "after 0 characters"),
    ],
)
async def test_answers_that_are_none(
    answer: dict[str, Any], error: type[QueryError], problem: str
) -> None:
    async with serving(answering(**answer)) as url, QueryClient(url) as client:
        with pytest.raises(error, match=problem):
            await client.query("up")


@pytest.mark.parametrize(("status", "is_temporary"), [(429, True), (503, True), (401, False)])
async def test_a_refusal_says_whether_to_come_back(status: int, is_temporary: bool) -> None:
    handler = answering(status=status, text="", headers={"Retry-After": "7"})
    async with serving(handler) as url, QueryClient(url) as client:
        with pytest.raises(RefusedError) as caught:
            await client.query("up")

    assert (status, "7", is_temporary) == (
        caught.value.status,
        caught.value.retry_after,
        caught.value.is_temporary,
    )


async def test_a_server_that_gave_up_is_a_timeout() -> None:
    body = {"status": "error", "errorType": "timeout", "error": "query timed out"}
    async with serving(answering(body, status=503)) as url, QueryClient(url) as client:
        with pytest.raises(QueryTimeoutError, match="the server gave up: query timed out"):
            await client.query("up")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "closed before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "."),
        (http("200 OK", b'Content-Length: 99\r\n\r\n{"status":"success"'), "ends too early"),
        (http("200 OK", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"), "ends too early"),
        (http("200 OK", b'\r\n{"status":"success","data"'), "ends too early"),
    ],
)
async def test_connections_that_end_too_early(answer: bytes, problem: str) -> None:
    async with raw(answer) as url, QueryClient(url) as client:
        with pytest.raises(NoAnswerError, match=problem) as caught:
            await client.query("up")

    assert f"{url}/api/v1/query" == caught.value.url


@pytest.mark.parametrize("answer", [b"", http("200 OK", b'Content-Length: 99\r\n\r\n{"status":')])
async def test_a_server_that_hangs_is_given_up(answer: bytes) -> None:
    async with raw(answer, hang=True) as url, QueryClient(Server(url, timeout_s=0.05)) as client:
        with pytest.raises(QueryTimeoutError, match=r"no complete answer within 0\.05 s"):
            await client.query("up")


async def test_nobody_listens() -> None:
    async with raw(b"") as url:
        pass  # the port is free again
    async with QueryClient(url) as client:
        with pytest.raises(NoAnswerError, match="cannot connect: Connection refused"):
            await client.query("up")


async def test_missing_data_is_an_error_unless_allowed() -> None:
    body = data("vector", [ONE], isPartial=True, warnings=["a store is away"])
    async with serving(answering(body)) as url:
        server = Server(url)
        async with QueryClient(server) as client:
            with pytest.raises(PartialAnswerError, match="a store is away"):
                await client.query("up")
        async with QueryClient(replace(server, allow_partial=True)) as client:
            result = await client.query("up")

    assert result.is_partial


async def test_a_range_query_is_answered_with_a_matrix_or_not_at_all() -> None:
    async with serving(answering()) as url, QueryClient(url) as client:
        with pytest.raises(AnswerError, match="is a Vector, not a Matrix"):
            await client.query_range("up", T0, T0, 1)


async def test_the_type_of_an_answer_may_be_expected() -> None:
    async with serving(answering()) as url, QueryClient(url) as client:
        vector = await client.query("up", expect=Vector)
        other = await api.query("up", server=url, expect=Vector)
        with pytest.raises(AnswerError, match="is a Vector, not a Scalar"):
            await client.query("up", expect=Scalar)

    assert (1.0, 1.0) == (vector.value, other.value)


async def test_a_client_that_is_closed_says_so() -> None:
    client = QueryClient("http://127.0.0.1:1")
    await client.close()
    await client.close()

    with pytest.raises(NoAnswerError, match="the client is closed"):
        await client.query("up")
    assert "closed=True" in repr(client)


async def test_questions_run_side_by_side_on_kept_connections() -> None:
    peers: set[object] = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        await asyncio.sleep(0)
        return web.json_response(data("scalar", [T0, request.query["query"]]))

    async with serving(handle) as url, QueryClient(url) as client:
        results = await asyncio.gather(*(client.query(str(i)) for i in range(50)))

    assert [float(i) for i in range(50)] == [getattr(r, "value", None) for r in results]
    assert 16 >= len(peers)


async def test_tls_with_a_server_that_has_none() -> None:
    async with serving(answering()) as url, QueryClient(url.replace("http:", "https:")) as client:
        with pytest.raises(NoAnswerError, match=r"cannot connect: .*SSL"):
            await client.query("up")


@pytest.fixture
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For a server, and for clients that trust it."""
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(served)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    return served, trusted


async def test_tls_with_an_authority_of_ones_own(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    served, trusted = tls
    async with serving(answering(), tls=served) as url:
        async with QueryClient(Server(url, tls=trusted)) as client:
            result = await client.query("up")
        async with QueryClient(url) as client:
            with pytest.raises(NoAnswerError, match="certificate is not accepted"):
                await client.query("up")

    assert isinstance(result, Vector)


PAGE = 'load{node="a"} 1.5\nload{node="b"} 2 1700000000123\n'


async def test_the_latest_values_of_a_page() -> None:
    seen: list[Any] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.path_qs, request.headers["Accept"]))
        return web.Response(text=PAGE)

    clock = JumpClock()
    async with (
        serving(handle) as url,
        QueryClient(local=f"{url}/metrics?a=b", clock=clock) as client,
    ):
        result = await client.latest("load")
        one = await client.latest("load", node="a")

    assert [1.5, 2.0] == [sample.value for sample in result]
    assert (1.5, clock.unix_ns() / 1e9) == (one.value, one.samples[0].timestamp_s)
    assert 1_700_000_000.123 == pytest.approx(result.samples[1].timestamp_s)
    assert "/metrics?a=b" == seen[0][0]
    assert "escaping=allow-utf-8" in seen[0][1]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"text": "load 1\n", "content_type": "application/openmetrics-text"}, "no # EOF"),
        ({"text": "{}", "content_type": "application/json"}, "is application/json, not"),
        ({"text": "<p>hi", "content_type": "text/html"}, "a web page"),
        ({"text": "load", "content_type": "text/plain"}, "line 1 of the page is no sample"),
        ({"text": "x 1\n" * 500}, "more than 1000 bytes"),
        ({"status": 503, "text": "starting"}, "HTTP 503 .*starting"),
    ],
)
async def test_pages_that_are_none(answer: dict[str, Any], problem: str) -> None:
    async with (
        serving(answering(**answer)) as url,
        QueryClient(local=Server(url, answer_bytes_max=1000)) as client,
    ):
        with pytest.raises(QueryError, match=problem) as caught:
            await client.latest("load")

    assert url == caught.value.url.rstrip("/")


async def test_latest_wants_texts() -> None:
    async with QueryClient() as client:
        with pytest.raises(TypeError, match="label cpu has a text as value, not 1"):
            await client.latest("load", cpu=1)  # type: ignore[arg-type]  # what is tested
        with pytest.raises(ValueError, match="name of the metric is empty"):
            await client.latest("")
        with pytest.raises(TypeError, match="name of a metric is a text, not int"):
            await client.latest(1)  # type: ignore[arg-type]  # what is tested


async def test_the_functions_ask_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/metrics":
            return web.Response(text=PAGE)
        if request.path.endswith("query_range"):
            return web.json_response(data("matrix", []))
        return web.json_response(data("vector", [ONE]))

    async with serving(handle) as url:
        monkeypatch.setenv("MLSYSOPS_QUERY_URL", url)
        monkeypatch.setenv("MLSYSOPS_METRICS_URL", f"{url}/metrics")
        instant = await api.query("up")
        over_time = await api.query_range("up", T0, T0, 1)
        newest = await api.latest("load", node="b")
        named = await api.query("up", server=url)

    assert isinstance(instant, Vector)
    assert (1.0, Matrix(), 2.0) == (instant.value, over_time, newest.value)
    assert instant == named
