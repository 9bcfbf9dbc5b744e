"""OTLP over gRPC, for the exporters that speak it (components, A5). See `OtlpGrpcExporter`.

One request per payload: its members are joined once, compressed if configured, and sent over the
native client of `transport.grpc`. Queue, batching, retry and timeout are the core's.
Outcomes are sorted as OTLP says (OG-5, OG-6): only what may succeed later is tried again, and a
partial success never is (OC-7). An absent peer is a state, logged when it changes, not an error.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Annotated, Final

from mlsysops_pipeline.config.schema import no_effect
from mlsysops_pipeline.delivery.config import DeliveryConfig
from mlsysops_pipeline.errors import Code, PeerError, PermanentError
from mlsysops_pipeline.transport.client_settings import GrpcClientConfig, GrpcCompression
from mlsysops_pipeline.transport.compression import compress, decompress_aside
from mlsysops_pipeline.transport.grpc.client import GrpcChannel
from mlsysops_pipeline.transport.grpc.outcomes import error_of, result_of
from mlsysops_pipeline.transport.http2.client import ANSWER_BYTES_MAX
from mlsysops_pipeline.transport.http2.heads import (
    is_reserved,
    metadata_field,
    metadata_problem,
    request_fields,
)
from mlsysops_pipeline.transport.outgoing import OutgoingHeaders, client_authenticator
from mlsysops_pipeline.transport.proxies import Proxy, proxy_from_environment
from mlsysops_pipeline.transport.tls import client_context_source
from mlsysops_pipeline.version import user_agent

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import ExportResult, Settings
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.transport.http2.answers import Outcome
    from mlsysops_pipeline.transport.http2.headers import Field, Fields
    from mlsysops_pipeline.transport.tls import ContextSource

_ENCODINGS: Final = {
    "gzip": ("gzip", "gzip"),
    "zstd": ("zstd", "zstd"),
    # What gRPC calls snappy is the stream format: that is what the Collector's codec writes.
    "snappy": ("snappy", "x-snappy-framed"),
}
"""The grpc-encoding of each `compression`, and the name of its codec."""

_INLINE_BYTES_MAX: Final = 1 << 20
"""What the event loop compresses itself: below a millisecond with gzip."""

_PIECE_BYTES_MIN: Final = 4 << 10
"""Members that are larger on average are written as they are. Joining them first would copy them
into memory that is not in any cache: 60 to 100 us a megabyte. Each piece costs about 0.4 us."""

_HEADS_MAX: Final = 64


class OtlpGrpcConfig(GrpcClientConfig, DeliveryConfig):
    """What users write: the keys and defaults of the Collector's exporter."""

    compression: GrpcCompression = "gzip"
    """How requests are compressed; `none` or empty: not at all."""
    write_buffer_size: Annotated[int, no_effect("asyncio sizes its buffers itself")] = 512 * 1024
    """Bytes; see `GrpcClientConfig`."""


class OtlpGrpcExporter:
    """Implements `Exporter`, whichever type of exporter it is made for.

    ``on_ready``: called when a connection to the peer was made (see `delivery.sender.Sender`).
    """

    def __init__(self, config: OtlpGrpcConfig, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._encoding, self._codec = _ENCODINGS.get(config.compression, ("", ""))
        self._timeout_s = config.timeout or math.inf
        self._headers = OutgoingHeaders(config.headers, None)
        self._heads: dict[tuple[object, ...], Fields] = {}
        self._channel: GrpcChannel | None = None
        self.on_ready: list[Callable[[], object]] = []

    @property
    def telemetry_attributes(self) -> dict[str, str]:
        """What self-metrics say about the peer."""
        target = self._config.endpoint.target
        if target.unix_path:
            return {"server.address": target.unix_path}
        return {"server.address": target.host, "server.port": str(target.port)}

    async def start(self) -> None:
        """Read certificates and find the authenticator. Connecting waits for the first payload.

        Raises `OSError` for a certificate that cannot be used, `ConfigError` for an authenticator.
        """
        config, settings = self._config, self._settings
        if config.auth is not None:
            authenticator = client_authenticator(
                settings.host, config.auth.authenticator, is_plaintext=config.is_plaintext
            )
            self._headers = OutgoingHeaders(config.headers, authenticator)
        self._channel = GrpcChannel(
            config.endpoint.target,
            clock=settings.clock,
            tasks=settings.tasks,
            tls=self._context(),
            server_name=config.tls.server_name_override,
            times=None if config.keepalive is None else config.keepalive.times,
            pinned=self._pinned(),
            waits_for_ready=config.wait_for_ready,
            is_balanced=config.balancer_name == "round_robin",
            proxy=self._proxy(),
            on_state=self._log_state,
            on_ready=self._tell_ready,
        )

    def _context(self) -> ContextSource | None:
        if self._config.is_plaintext:
            return None
        return client_context_source(self._config.tls, ("h2",), self._settings.logger)

    def _proxy(self) -> Proxy | None:
        """The proxy of the environment. Raises `OSError` if that is none."""
        target = self._config.endpoint.target
        url = None if target.unix_path else proxy_from_environment("https", str(target))
        if url is None:
            return None
        try:
            return Proxy.parse(url)
        except ValueError as error:
            raise OSError(f"HTTPS_PROXY: {error}") from error

    def _pinned(self) -> list[Field]:
        """Fields that nearly every request has; configured ones may be secrets and are not here."""
        fields: list[Field] = []
        for signal in self._settings.signals:
            fields += self._request_fields(signal.method, [])
        return fields

    def _request_fields(self, method: str, metadata: list[Field]) -> Fields:
        config = self._config
        return request_fields(
            method,
            config.authority_text,
            config.user_agent or user_agent(),
            self._timeout_s,
            metadata,
            encoding=self._encoding,
            is_tls=not config.is_plaintext,
        )

    async def export(self, payload: Payload) -> ExportResult | None:
        """Send one request and wait for its answer."""
        channel = self._channel
        if channel is None:
            raise PermanentError("the exporter is not running")
        fields = self._head(payload)
        wires = payload.wires
        if not self._encoding and payload.size >= len(wires) * _PIECE_BYTES_MIN and all(wires):
            outcome = await channel.call(fields, wires, self._timeout_s)
        else:
            # What is joined is a copy, besides the members that the queue holds.
            with self._settings.memory.held(payload.size if len(wires) > 1 else 0):
                message = await self._packed(payload.joined())
                outcome = await channel.call(
                    fields, message, self._timeout_s, is_compressed=bool(self._encoding)
                )
        if outcome.code is not Code.OK:
            raise error_of(outcome)
        body = outcome.body
        if outcome.encoding != "identity":
            body = await _decompressed(outcome)
        return result_of(body, payload.items) if body else None

    async def _packed(self, message: bytes) -> bytes:
        """A message as it is sent; what takes longer than a millisecond is compressed aside."""
        if not self._encoding:
            return message
        if len(message) <= _INLINE_BYTES_MAX:
            return compress(self._codec, message)
        return await asyncio.to_thread(compress, self._codec, message)

    def _head(self, payload: Payload) -> Fields:
        """The head of a request; the same headers give the same object."""
        headers = self._headers.of(payload.metadata)
        key = (payload.signal, *headers.items())
        fields = self._heads.get(key)
        if fields is None:
            metadata = []
            for name, value in headers.items():
                if is_reserved(name):
                    continue
                problem = metadata_problem(name, value)
                if problem:
                    raise PermanentError(f"header {name} {problem}")
                metadata.append(metadata_field(name, value))
            fields = self._request_fields(payload.signal.method, metadata)
            if len(self._heads) >= _HEADS_MAX:
                self._heads.clear()
            self._heads[key] = fields
        return fields

    def _tell_ready(self) -> bool:
        woken = [call() for call in self.on_ready]
        return any(woken)

    def _log_state(self, is_up: bool, message: str) -> None:  # noqa: FBT001  a callback
        if is_up:
            self._settings.logger.info("%s", message)
        else:
            self._settings.logger.warning("%s", message)

    async def shutdown(self) -> None:
        """Close the connections."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def __repr__(self) -> str:
        return f"<OtlpGrpcExporter {self._config.endpoint} {self._channel!r}>"


async def _decompressed(outcome: Outcome) -> bytes:
    """The answer; one that is too large or broken is final (OC-11)."""
    try:
        return await decompress_aside(outcome.encoding, outcome.body, ANSWER_BYTES_MAX)
    except PeerError as error:
        raise PermanentError(f"the answer cannot be read: {error.message}") from error
