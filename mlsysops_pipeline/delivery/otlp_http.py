"""OTLP over HTTP, for the exporters that speak it (components, A6). See `OtlpHttpExporter`.

One POST per payload, protobuf or JSON, compressed as configured. Queue, batching, retry and
timeout are the core's. Only 429, 502, 503 and 504 are tried again, and what got no answer at all
(OH-8, OH-10); `Retry-After` is honoured on 429 and 503 (OH-9). A partial success is never tried
again (OC-7). Redirects: see `transport.http`.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from mlsysops_pipeline.component import ExportResult
from mlsysops_pipeline.config.problems import NOWHERE, error
from mlsysops_pipeline.config.schema import Duration, Finding, no_effect, without_password
from mlsysops_pipeline.delivery.config import DeliveryConfig
from mlsysops_pipeline.errors import (
    Code,
    ConfigError,
    ConsumeError,
    DropReason,
    MalformedError,
    PermanentError,
    RetryableError,
)
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.transport.client_settings import (
    OWN_HEADERS,
    HttpClientConfig,
    HttpCompression,
    HttpUrl,
)
from mlsysops_pipeline.transport.compression import compress
from mlsysops_pipeline.transport.grpc.outcomes import result_of
from mlsysops_pipeline.transport.http.client import (
    AnswerTooLargeError,
    UnreachableError,
    retry_after_s,
)
from mlsysops_pipeline.transport.http.opening import open_client
from mlsysops_pipeline.transport.outgoing import OutgoingHeaders
from mlsysops_pipeline.transport.rpc_status import RpcStatus, decode_status
from mlsysops_pipeline.version import user_agent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.transport.http.client import HttpClient, HttpReply

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_WAITS: Final = frozenset({429, 503})
_CODES: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
}
"""What a sender that waits for the result is told (the receiver's own mapping, backwards)."""

_LINE_END: Final = re.compile(r"[\r\n\0]")
_REJECTED: Final = ("rejectedDataPoints", "rejectedLogRecords", "rejectedSpans")
_TEXT_CHARACTERS_MAX: Final = 500
_INLINE_BYTES_MAX: Final = 1 << 20
_INLINE_JSON_BYTES_MAX: Final = 64 << 10
"""What the event loop encodes and compresses itself, in about a millisecond."""


class OtlpHttpConfig(HttpClientConfig, DeliveryConfig):
    """What users write: the keys and defaults of the Collector's exporter."""

    timeout: Duration = 30.0
    """How long one attempt may take, in seconds. 0: as long as it takes."""
    compression: HttpCompression = "gzip"
    """How requests are compressed; `none` or empty: not at all."""
    write_buffer_size: Annotated[int, no_effect("asyncio sizes its buffers itself")] = 512 * 1024
    """Bytes; see `HttpClientConfig`."""
    endpoint: HttpUrl = HttpUrl("")
    """The base URL; `/v1/traces`, `/v1/metrics` or `/v1/logs` is appended."""
    traces_endpoint: HttpUrl = HttpUrl("")
    """The whole URL for traces, instead of the base with a path."""
    metrics_endpoint: HttpUrl = HttpUrl("")
    """The whole URL for metrics, instead of the base with a path."""
    logs_endpoint: HttpUrl = HttpUrl("")
    """The whole URL for logs, instead of the base with a path."""
    profiles_endpoint: Annotated[HttpUrl, no_effect("there is no signal `profiles`")] = HttpUrl("")
    """The whole URL for profiles."""
    encoding: Literal["proto", "json"] = "proto"
    """Protobuf or JSON."""

    def urls(self) -> Iterable[tuple[str, HttpUrl]]:
        """See `HttpClientConfig.urls`."""
        yield "endpoint", self.endpoint
        yield "traces_endpoint", self.traces_endpoint
        yield "metrics_endpoint", self.metrics_endpoint
        yield "logs_endpoint", self.logs_endpoint

    def url(self, signal: Signal) -> HttpUrl:
        """Where a signal goes; empty if nowhere (OH-14)."""
        own: HttpUrl = getattr(self, f"{signal}_endpoint")
        if own or not self.endpoint:
            return own
        return HttpUrl.parse(self.endpoint.text.removesuffix("/") + signal.url_path)

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        yield from super().check()
        if not any(url for _, url in self.urls()):
            yield Finding(("endpoint",), "at least one endpoint must be specified")


class OtlpHttpExporter:
    """Implements `Exporter`, whichever type of exporter it is made for."""

    def __init__(self, config: OtlpHttpConfig, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._urls = {signal: config.url(signal) for signal in Signal}
        self._headers = OutgoingHeaders(config.headers, None)
        self._encoding = "" if config.compression == "none" else config.compression
        self._client: HttpClient | None = None

    def telemetry_attributes(self, signal: Signal) -> dict[str, str]:
        """What self-metrics say about the peer of a signal."""
        url = self._urls[signal]
        if not url:
            return {}
        return {
            "server.address": url.host,
            "server.port": str(url.port),
            "url.path": url.path or "/",
        }

    async def start(self) -> None:
        """Read certificates and find the authenticator. Connecting waits for the first payload.

        Raises `OSError` for a certificate that cannot be used, `ConfigError` for a signal without
        an endpoint or an authenticator that cannot be used.
        """
        config, settings = self._config, self._settings
        for signal in sorted(settings.signals, key=str):
            if not self._urls[signal]:
                message = f"either endpoint or {signal}_endpoint must be specified"
                raise ConfigError([error(NOWHERE, (f"{signal}_endpoint",), message)])
        used = [self._urls[signal] for signal in settings.signals]
        self._client, self._headers = await open_client(config, used, settings)

    async def export(self, payload: Payload) -> ExportResult | None:
        """Send one request and wait for its answer."""
        client = self._client
        if client is None:
            raise PermanentError("the exporter is not running")
        is_json = self._config.encoding == "json"
        headers = self._request_headers(payload, is_json=is_json)
        # What is joined or encoded is a copy, besides the members that the queue holds.
        is_copied = is_json or len(payload.wires) > 1
        with self._settings.memory.held(payload.size if is_copied else 0):
            return await self._send(client, payload, headers, is_json=is_json)

    async def _send(
        self, client: HttpClient, payload: Payload, headers: dict[str, str], *, is_json: bool
    ) -> ExportResult | None:
        if payload.size <= (_INLINE_JSON_BYTES_MAX if is_json else _INLINE_BYTES_MAX):
            body = self._body(payload)
        else:
            body = await asyncio.to_thread(self._body, payload)
        url = self._urls[payload.signal].text
        try:
            reply = await client.post(url, headers, body)
        except UnreachableError as failure:
            text = f"failed to make an HTTP request: {without_password(url)}: {failure}"
            raise RetryableError(text, is_unanswered=failure.was_sent) from failure
        except AnswerTooLargeError as failure:
            raise PermanentError(f"{without_password(url)} answered with {failure}") from failure
        if 200 <= reply.status < 300:
            return _result(reply, payload.items)
        raise self._error(reply)

    def _request_headers(self, payload: Payload, *, is_json: bool) -> dict[str, str]:
        headers = {"user-agent": user_agent(), **self._headers.of(payload.metadata)}
        for name in OWN_HEADERS:
            headers.pop(name, None)
        for name, value in headers.items():
            if _LINE_END.search(value):  # it came with the data: it would end the header early
                raise PermanentError(f"header {name} has a value with a line end")
        headers["content-type"] = _JSON if is_json else _PROTOBUF
        if self._encoding:
            headers["content-encoding"] = self._encoding
        return headers

    def _body(self, payload: Payload) -> bytes:
        """The request as it is sent. Runs in a thread if it is large."""
        body = payload.joined()
        if self._config.encoding == "json":
            from mlsysops_pipeline.pdata import otlp_json  # noqa: PLC0415  only for who sends it

            try:
                body = otlp_json.encode(payload.signal, body)
            except MalformedError as failure:
                raise PermanentError(
                    failure.message, code=failure.code, reason=DropReason.MALFORMED
                ) from failure
        return compress(self._encoding, body, self._config.level)

    def _error(self, reply: HttpReply) -> ConsumeError:
        """The error for an answer that is no success."""
        text = (
            f"error exporting items, request to {without_password(reply.url)} responded with HTTP "
            f"Status Code {reply.status}"
        )
        status = _status(reply)
        if status is not None:
            text += f", Message={status.message}, Details=[{status.details}]"
        if reply.status not in _RETRYABLE:
            return PermanentError(text, code=_CODES.get(reply.status, Code.INTERNAL))
        wait_s = None
        if reply.status in _WAITS:
            wait_s = retry_after_s(reply.retry_after, self._settings.clock.unix_ns() / 1e9)
        return RetryableError(text, retry_after_s=wait_s)

    async def shutdown(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def __repr__(self) -> str:
        return f"<OtlpHttpExporter {without_password(str(self._config.endpoint))} {self._client!r}>"


def _result(reply: HttpReply, items: int) -> ExportResult | None:
    """What a success says. Raises `PermanentError` for a body that is not what it claims to be."""
    if reply.content_type == _PROTOBUF:
        return result_of(reply.body, items)
    if reply.content_type != _JSON or not reply.body:
        return None
    try:
        answer = json.loads(reply.body)
        partial = answer.get("partialSuccess") or {}
        rejected = max(int(partial.get(name) or 0) for name in _REJECTED)
        message = str(partial.get("errorMessage") or "")
    except (ValueError, TypeError, AttributeError, RecursionError) as failure:
        raise PermanentError(f"the answer cannot be read: {failure}") from failure
    if rejected <= 0 and not message:
        return None
    return ExportResult(min(max(rejected, 0), items), message)


def _status(reply: HttpReply) -> RpcStatus | None:
    """What the body of an error says: a Status (OH-4), or some text."""
    body = reply.body
    if not body:
        return None
    if reply.content_type == _JSON:
        try:
            answer = json.loads(body)
            return RpcStatus(message=str(answer.get("message") or "")[:_TEXT_CHARACTERS_MAX])
        except (ValueError, AttributeError, RecursionError):
            return None
    if reply.content_type.startswith("text/"):
        text = " ".join(body.decode("utf-8", "replace").split())
        return RpcStatus(message=text[:_TEXT_CHARACTERS_MAX])
    try:
        return decode_status(body)
    except MalformedError:
        return None
