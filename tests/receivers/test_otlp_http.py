"""The `otlp` receiver over HTTP (conformance A1, A3, "Known disagreements")."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from mlsysops_pipeline.component import ComponentID
from mlsysops_pipeline.errors import Code, PeerError, PermanentError, RetryableError
from mlsysops_pipeline.pdata.otlp_json import encode
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, make_wire
from mlsysops_pipeline.transport.compression import HTTP_ENCODINGS, compress
from tests.receivers.otlp_running import JSON, PROTOBUF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import aiohttp

    from tests.receivers.otlp_running import Running

    Serve = Callable[..., Awaitable[Running]]
    Client = aiohttp.ClientSession


class Answer:
    """An answer, read; ``status``: the HTTP status, ``rpc``: the body as `google.rpc.Status`."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.type = response.content_type
        self.headers = response.headers
        self.body = body

    @property
    def rpc(self) -> status_pb2.Status:
        # OH-4: read by the official classes, in the encoding that the answer names.
        if self.type == PROTOBUF:
            return status_pb2.Status.FromString(self.body)
        assert JSON == self.type
        return json_format.Parse(self.body, status_pb2.Status())


async def _post(
    client: Client, url: str, body: bytes, content_type: str | None = PROTOBUF, **headers: str
) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        fields["Content-Type"] = content_type
    skip = ["Content-Type"]
    async with client.post(
        url, data=io.BytesIO(body), headers=fields, skip_auto_headers=skip
    ) as response:
        return Answer(response, await response.read())


def _retry_delay(status: status_pb2.Status) -> float | None:
    for detail in status.details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToNanoseconds() / 1e9)
    return None


@pytest.mark.parametrize("signal", list(Signal))
async def test_every_signal_is_received_in_both_encodings(
    serve: Serve, client: Client, signal: Signal
) -> None:
    # OH-1, OH-2, OH-3, OC-4
    running = await serve()
    wire = make_wire(signal, 25)
    url = running.url(signal.url_path)
    got = await _post(client, url, wire)
    assert (200, PROTOBUF, b"") == (got.status, got.type, got.body)
    got = await _post(client, url, encode(signal, wire), JSON)
    assert (200, JSON, b"{}") == (got.status, got.type, got.body)
    first, second = running.sinks[signal].payloads
    assert (wire, 25, 25) == (first.joined(), first.items, second.items)
    assert ("http", "127.0.0.1") == (first.metadata.transport, first.metadata.peer)
    assert 50 == running.counted("accepted", signal, "http")
    assert 0 == running.counted("accepted", signal, "grpc")


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"],
)
async def test_parameters_and_case_of_content_types(
    serve: Serve, client: Client, content_type: str
) -> None:
    # OH-2
    running = await serve()
    assert 200 == (await _post(client, running.url(), b"{}", content_type)).status
    proto = content_type.lower().replace("json", "x-protobuf")
    assert 200 == (await _post(client, running.url(), b"", proto)).status


@pytest.mark.parametrize("encoding", ["identity", *HTTP_ENCODINGS])
async def test_encodings(serve: Serve, client: Client, encoding: str) -> None:
    # OC-1, OH-11
    running = await serve()
    wire = make_wire(Signal.METRICS, 3_000)
    for size in (1, 3_000):
        wire = make_wire(Signal.METRICS, size)
        body = compress(encoding, wire)
        got = await _post(client, running.url(), body, Content_Encoding=encoding)
        assert 200 == got.status
        assert wire == running.sinks[Signal.METRICS].payloads[-1].joined()


async def test_empty_requests_succeed_and_nobody_hears_of_them(
    serve: Serve, client: Client
) -> None:
    # OC-3, OC-14
    running = await serve()
    for body, kind in (
        (b"", PROTOBUF),
        (b"\x0a\x00", PROTOBUF),
        (b"{}", JSON),
        (b'{"resourceMetrics":[]}', JSON),
        (b'{"resourceMetrics":[{}]}', JSON),
    ):
        assert 200 == (await _post(client, running.url(), body, kind)).status
    assert [] == running.sinks[Signal.METRICS].payloads


async def test_unknown_keys_are_ignored(serve: Serve, client: Client) -> None:
    # OC-2
    running = await serve()
    value = json.loads(encode(Signal.LOGS, make_wire(Signal.LOGS, 1)))
    value["later"] = {"deep": [1]}
    value["resourceLogs"][0]["later"] = [{}]
    body = json.dumps(value).encode()
    assert 200 == (await _post(client, running.url("/v1/logs"), body, JSON)).status
    assert 1 == running.sinks[Signal.LOGS].items


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("target", "content_type", "status"),
    [
        ("GET /v1/metrics", ..., 405),
        ("PUT /v1/metrics", ..., 405),
        ("POST /v1/metric", ..., 404),
        ("POST /", ..., 404),
        ("POST /v1/metrics/", ..., 404),
        ("POST /v1development/profiles", ..., 404),
        ("POST /v1/metrics", "text/plain", 415),
        ("POST /v1/metrics", "application/x-protobufs", 415),
        ("POST /v1/metrics", None, 415),
    ],
)
async def test_what_is_no_otlp_request(  # noqa: PLR0917  a table has as many columns
    serve: Serve, client: Client, kind: str, target: str, content_type: Any, status: int
) -> None:
    # OH-4, OH-12: all with a Status body, where the Collector answers text.
    running = await serve()
    method, path = target.split()
    content_type = kind if content_type is ... else content_type
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with client.request(
        method, running.url(path), data=b"x", headers=headers, skip_auto_headers=["Content-Type"]
    ) as response:
        got = Answer(response, await response.read())
    assert status == got.status
    assert (PROTOBUF if content_type == PROTOBUF else JSON) == got.type
    assert got.rpc.message
    assert got.rpc.code in {int(Code.UNIMPLEMENTED), int(Code.INVALID_ARGUMENT)}
    assert ("POST" if status == 405 else None) == got.headers.get("Allow")


async def test_only_signals_with_a_pipeline_are_served(serve: Serve, client: Client) -> None:
    running = await serve(signals=[Signal.LOGS])
    assert 404 == (await _post(client, running.url("/v1/metrics"), b"")).status
    assert 200 == (await _post(client, running.url("/v1/logs"), b"")).status


async def test_paths_may_be_configured(serve: Serve, client: Client) -> None:
    # OH-1
    running = await serve(http={"metrics_url_path": "otlp/m"})
    assert 200 == (await _post(client, running.url("/otlp/m"), b"")).status
    assert 404 == (await _post(client, running.url("/v1/metrics"), b"")).status


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
async def test_overload_is_503_with_retry_after(serve: Serve, client: Client, kind: str) -> None:
    # OH-7, OH-13
    running = await serve()
    running.sinks[Signal.METRICS].error = RetryableError("queue is full", retry_after_s=2.5)
    wire = make_wire(Signal.METRICS, 4)
    body = wire if kind == PROTOBUF else encode(Signal.METRICS, wire)
    got = await _post(client, running.url(), body, kind)
    assert (503, kind, "3") == (got.status, got.type, got.headers["Retry-After"])
    assert (int(Code.UNAVAILABLE), "queue is full") == (got.rpc.code, got.rpc.message)
    assert 2.5 == _retry_delay(got.rpc)
    assert 4 == running.counted("refused", Signal.METRICS, "http")
    # The fourth of the wire's items is refused with the rest: nothing is accepted in part.
    assert 0 == running.counted("accepted", Signal.METRICS, "http")


async def test_memory_pressure_refuses_before_reading(serve: Serve, client: Client) -> None:
    # CV-2, OH-7
    running = await serve()
    running.sinks[Signal.METRICS].admit_error = RetryableError("data refused", retry_after_s=1.0)
    got = await _post(client, running.url(), make_wire(Signal.METRICS, 5_000))
    assert (503, "1") == (got.status, got.headers["Retry-After"])
    assert 0 == running.settings.memory.peak


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PermanentError("no"), 500, Code.INTERNAL),
        (PermanentError("no", code=Code.INVALID_ARGUMENT), 400, Code.INVALID_ARGUMENT),
        (PermanentError("no", code=Code.UNAUTHENTICATED), 401, Code.UNAUTHENTICATED),
        (PermanentError("no", code=Code.PERMISSION_DENIED), 403, Code.PERMISSION_DENIED),
        (PermanentError("no", code=Code.UNIMPLEMENTED), 404, Code.UNIMPLEMENTED),
        (RetryableError("no", code=Code.RESOURCE_EXHAUSTED), 429, Code.RESOURCE_EXHAUSTED),
        (RetryableError("no", code=Code.ABORTED), 503, Code.ABORTED),
        (ZeroDivisionError("oops"), 500, Code.INTERNAL),
    ],
)
async def test_errors_of_pipelines(
    serve: Serve, client: Client, error: Exception, status: int, code: Code
) -> None:
    # OH-13
    running = await serve()
    running.sinks[Signal.METRICS].error = error
    got = await _post(client, running.url(), make_wire(Signal.METRICS, 1))
    assert (status, int(code)) == (got.status, got.rpc.code)
    assert "oops" not in got.rpc.message
    assert (status in {429, 503}) == ("Retry-After" in got.headers)


async def test_too_large_is_413(serve: Serve, client: Client) -> None:
    # OH-6, OC-8
    running = await serve(http={"max_request_body_size": 1_000})
    for body, headers in (
        (bytes(1_001), {}),
        (gzip.compress(bytes(5_000)), {"Content_Encoding": "gzip"}),
    ):
        got = await _post(client, running.url(), body, **headers)
        assert (413, int(Code.RESOURCE_EXHAUSTED)) == (got.status, got.rpc.code)
        assert _retry_delay(got.rpc) is None
        assert "Retry-After" not in got.headers


async def test_too_many_elements_are_413(serve: Serve, client: Client) -> None:
    running = await serve({"max_elements": 1_000})
    wire = make_wire(Signal.METRICS, 2_000)
    for body, kind in ((wire, PROTOBUF), (encode(Signal.METRICS, wire), JSON)):
        got = await _post(client, running.url(), body, kind)
        assert (413, int(Code.RESOURCE_EXHAUSTED)) == (got.status, got.rpc.code)
    assert 200 == (await _post(client, running.url(), make_wire(Signal.METRICS, 500))).status


@pytest.mark.slow
async def test_large_json_does_not_hold_up_others(serve: Serve, client: Client) -> None:
    running = await serve()
    body = encode(Signal.METRICS, make_wire(Signal.METRICS, 2_000))
    assert len(body) > 256 << 10
    answers = await asyncio.gather(*(_post(client, running.url(), body, JSON) for _ in range(3)))
    assert [200] * 3 == [answer.status for answer in answers]
    assert 6_000 == running.sinks[Signal.METRICS].items
    # One document at a time is open, and charged as views are.
    assert 5 * len(body) <= running.settings.memory.peak <= 6 * len(body)
    assert running.has_given_back()


async def test_include_metadata_and_hops(serve: Serve, client: Client) -> None:
    for include in (True, False):
        running = await serve(http={"include_metadata": include})
        wire = make_wire(Signal.METRICS, 1)
        await _post(client, running.url(), wire, X_Tenant="a", mlsysops_hops="4")
        metadata = running.sinks[Signal.METRICS].payloads[0].metadata
        assert 4 == metadata.hops
        assert (("a",) if include else None) == metadata.headers.get("x-tenant")


class Guard:
    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def authenticate(self, headers: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
        if headers.get("authorization") == ("right",):
            return {"user": "me"}
        raise PeerError("who are you?", Code.UNAUTHENTICATED)


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
async def test_authentication(serve: Serve, client: Client, kind: str) -> None:
    host = FakeHost({ComponentID.parse("guard"): Guard()})
    running = await serve(host=host, http={"auth": {"authenticator": "guard"}})
    body = b"" if kind == PROTOBUF else b"{}"
    got = await _post(client, running.url(), body, kind)
    assert (401, int(Code.UNAUTHENTICATED), "who are you?") == (
        got.status,
        got.rpc.code,
        got.rpc.message,
    )
    assert "WWW-Authenticate" in got.headers
    wire = make_wire(Signal.METRICS, 1)
    assert 200 == (await _post(client, running.url(), wire, Authorization="right")).status
    assert {"user": "me"} == running.sinks[Signal.METRICS].payloads[0].metadata.auth


async def test_browsers(serve: Serve, client: Client) -> None:
    running = await serve(http={"cors": {"allowed_origins": ["https://shop.example"]}})
    headers = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    async with client.options(running.url("/v1/traces"), headers=headers) as response:
        assert 204 == response.status
        assert "https://shop.example" == response.headers["Access-Control-Allow-Origin"]
    got = await _post(client, running.url(), b"", Origin="https://shop.example")
    assert "https://shop.example" == got.headers["Access-Control-Allow-Origin"]
