"""OTLP/HTTP: paths, encodings and the errors of each (conformance OH-1 to OH-7, OH-12, OH-13)."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.errors import Code, PeerError
from mlsysops_pipeline.pdata.otlp_json import decode
from mlsysops_pipeline.transport.aside import Aside
from mlsysops_pipeline.transport.http.messages import HttpRequest, HttpResponse
from mlsysops_pipeline.transport.http.server import HttpServer
from mlsysops_pipeline.transport.outgoing import HOPS_HEADER
from mlsysops_pipeline.transport.refusals import Refusal, refusal
from mlsysops_pipeline.transport.rpc_status import encode_status
from mlsysops_receivers.otlp.intake import Intake, Senders

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from mlsysops_pipeline.component import Rest, Settings
    from mlsysops_pipeline.memory import MemoryAccount
    from mlsysops_pipeline.pdata.payload import Metadata
    from mlsysops_pipeline.pdata.signal import Signal
    from mlsysops_receivers.otlp.config import HttpConfig

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
_INLINE_JSON_BYTES_MAX: Final = 256 << 10
_JSON_MEMORY_RATIO: Final = 2  # besides the text itself: three times the wire, as for views
_ASIDE: Final = Aside("json")

# OC-4, OH-3: an answer of the request's type that leaves partial_success unset.
_FULL_SUCCESS: Final = {
    PROTOBUF: HttpResponse(200, b"", PROTOBUF),
    JSON: HttpResponse(200, b"{}", JSON),
}


class OtlpHttp:
    """What the HTTP server is given: where requests go, and how they are refused."""

    def __init__(
        self, config: HttpConfig, intakes: Iterable[Intake], memory: MemoryAccount
    ) -> None:
        self._intakes = {config.path_of(intake.signal): intake for intake in intakes}
        self._senders = Senders("http")
        self._keeps_headers = config.include_metadata
        self._memory = memory
        self._json_turn = asyncio.Lock()

    def on_head(self, request: HttpRequest) -> None:
        """Refuse what is no OTLP request, and what there is no memory for, at its head."""
        intake = self._intakes.get(request.path)
        if intake is None:
            raise PeerError(f"unknown path {request.path[:200]}", Code.UNIMPLEMENTED)
        if request.method != "POST":
            raise PeerError(
                f"{request.method[:20]} is not supported, only POST is",
                Code.UNIMPLEMENTED,
                http_status=405,
            )
        if request.media_type not in _FULL_SUCCESS:
            given = request.media_type[:100] or "none"
            raise PeerError(
                f"the content-type is {given}, supported are {JSON} and {PROTOBUF}",
                Code.INVALID_ARGUMENT,
                http_status=415,
            )
        intake.admit(max(request.head.length, 0))

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Take a request whose head has been found right."""
        intake = self._intakes[request.path]
        media_type = request.media_type
        wire = request.body
        if media_type == JSON:
            wire = await self._decoded(intake.signal, wire)
        await intake.take(wire, self._metadata(request))
        return _FULL_SUCCESS[media_type]

    def handle_now(
        self, request: HttpRequest
    ) -> HttpResponse | Callable[[], Awaitable[HttpResponse]]:
        """The same, as far as it goes without waiting: see `HttpServer`."""
        if request.media_type == JSON:
            return partial(self.handle, request)
        rest = self._intakes[request.path].take_now(request.body, self._metadata(request))
        return _FULL_SUCCESS[PROTOBUF] if rest is None else partial(_succeed, rest)

    def _metadata(self, request: HttpRequest) -> Metadata:
        headers = request.headers if self._keeps_headers else None
        hops = request.header(HOPS_HEADER)
        return self._senders.metadata(request.peer, hops, headers, request.auth)

    async def _decoded(self, signal: Signal, text: bytes) -> bytes:
        """A JSON body as protobuf; a large one aside, one at a time, for the memory it takes."""
        if len(text) <= _INLINE_JSON_BYTES_MAX:
            return decode(signal, text)
        async with self._json_turn:
            with self._memory.held(len(text) * _JSON_MEMORY_RATIO):
                return await _ASIDE.run(decode, signal, text)

    def on_error(self, request: HttpRequest | None, error: Exception) -> HttpResponse:
        """A `google.rpc.Status` in the request's encoding, JSON if that is unknown (OH-4)."""
        told = refusal(error)
        headers: list[tuple[str, str]] = []
        if told.retry_after and told.http_status in {429, 503}:
            headers.append(("retry-after", told.retry_after))
        if told.http_status == 405:
            headers.append(("allow", "POST"))
        if told.http_status == 401:
            headers.append(("www-authenticate", "Bearer, Basic"))
        if request is not None and request.media_type == PROTOBUF:
            body = encode_status(told.code, told.message, told.retry_after_s)
            return HttpResponse(told.http_status, body, PROTOBUF, tuple(headers))
        return HttpResponse(told.http_status, _json_status(told), JSON, tuple(headers))


async def _succeed(rest: Rest) -> HttpResponse:
    await rest()
    return _FULL_SUCCESS[PROTOBUF]


def _json_status(told: Refusal) -> bytes:
    status: dict[str, object] = {"code": int(told.code), "message": told.message}
    if told.retry_after_s is not None:
        delay = f"{told.retry_after_s:.9f}".rstrip("0").rstrip(".")
        status["details"] = [{"@type": _RETRY_INFO, "retryDelay": f"{delay}s"}]
    return json.dumps(status, separators=(",", ":")).encode()


def make_http(config: HttpConfig, intakes: Iterable[Intake], settings: Settings) -> HttpServer:
    """The server of OTLP/HTTP, not started."""
    otlp = OtlpHttp(config, intakes, settings.memory)
    return HttpServer(
        config,
        otlp.handle,
        settings=settings,
        on_head=otlp.on_head,
        on_error=otlp.on_error,
        handle_now=otlp.handle_now,
    )
