"""What files say about servers: `GrpcServerConfig` and `HttpServerConfig` (components, A1.1, A1.2).

Components that listen inherit one of them or use it as a section, and may change defaults.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated, Final, Literal

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Endpoint,
    ExtensionRef,
    Finding,
    Headers,
    NetAddress,
    Section,
    Severity,
    no_effect,
    refused,
)
from mlsysops_pipeline.transport.tls import TlsServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AuthConfig",
    "CorsConfig",
    "GrpcServerConfig",
    "HttpAuthConfig",
    "HttpServerConfig",
    "KeepaliveEnforcement",
    "KeepaliveParameters",
    "KeepaliveServerConfig",
    "Transport",
    "address_family",
]

MIB: Final = 1 << 20
_MESSAGE_MIB_DEFAULT: Final = 64
_MESSAGE_MIB_MAX: Final = 2047  # gRPC counts message bytes in 31 bits

Transport = Literal["tcp", "tcp4", "tcp6", "unix"]
Encoding = Literal["", "gzip", "zstd", "zlib", "snappy", "deflate", "lz4", "x-snappy-framed"]
Middlewares = Annotated[
    tuple[dict[str, str], ...],
    refused("there are no middleware extensions, and theirs may be security", unless=()),
]
_BUFFERS = "asyncio sizes its buffers itself"


def address_family(transport: Transport) -> socket.AddressFamily | None:
    """The kind of address that a `transport` allows; ``None`` for any."""
    return {"tcp4": socket.AF_INET, "tcp6": socket.AF_INET6}.get(transport)


def _transport_findings(transport: str, endpoint: NetAddress) -> Iterable[Finding]:
    if transport == "unix" and not endpoint.unix_path:
        yield Finding(("endpoint",), "is no unix socket", suggestion="write unix://PATH")


class AuthConfig(ComponentConfig):
    """Who may send."""

    authenticator: ExtensionRef
    """The authentication extension that is asked about every request."""


class HttpAuthConfig(AuthConfig):
    """Who may send over HTTP."""

    request_params: tuple[str, ...] = ()
    """Names of query parameters that the authenticator sees beside the headers."""


class KeepaliveParameters(ComponentConfig):
    """How long connections live, and when silent ones are asked for a sign of life."""

    max_connection_idle: Duration = 0.0
    """Seconds without calls before a connection is ended gracefully; zero means never."""
    max_connection_age: Duration = 0.0
    """Seconds before any connection is ended gracefully, so that clients spread anew; zero means
    never."""
    max_connection_age_grace: Duration = 0.0
    """Seconds that calls still have then; zero means as long as they take."""
    time: Duration = 0.0
    """Seconds of silence before a PING is sent; zero means two hours."""
    timeout: Duration = 0.0
    """Seconds that its answer may take; zero means 20."""


class KeepaliveEnforcement(ComponentConfig):
    """What clients may do to keep connections alive; who exceeds it is disconnected."""

    min_time: Duration = 0.0
    """Seconds that must lie between a client's PINGs; zero means five minutes."""
    permit_without_stream: bool = False
    """Whether clients may ping without a call under way."""


class KeepaliveServerConfig(ComponentConfig):
    """`keepalive` of a gRPC server."""

    server_parameters: Section[KeepaliveParameters] = None
    """How long connections live."""
    enforcement_policy: Section[KeepaliveEnforcement] = None
    """What clients may do to keep them alive."""


class GrpcServerConfig(ComponentConfig):
    """A gRPC server."""

    endpoint: NetAddress = NetAddress("localhost", 4317)
    """Where it listens: HOST:PORT, or unix://PATH."""
    transport: Transport = "tcp"
    """`tcp4` and `tcp6` keep to one kind of address; `unix` wants a unix:// endpoint."""
    tls: Section[TlsServerConfig] = None
    """Certificate and key; without this section connections are not encrypted."""
    max_recv_msg_size_mib: int = 0
    """MiB of a message, compressed and not; zero means 64, which OTLP recommends."""
    max_concurrent_streams: int = 0
    """Calls at the same time on one connection; zero means 1,000."""
    read_buffer_size: Annotated[int, no_effect(_BUFFERS)] = 0
    """Bytes of the Collector's read buffer."""
    write_buffer_size: Annotated[int, no_effect(_BUFFERS)] = 0
    """Bytes of the Collector's write buffer."""
    keepalive: Section[KeepaliveServerConfig] = None
    """How long connections live and how they are kept alive; without it, as gRPC does."""
    auth: Section[AuthConfig] = None
    """Who may send; without this section anybody."""
    include_metadata: bool = False
    """Keep the request's metadata with the data, for processors and exporters that use it."""
    middlewares: Middlewares = ()
    """Extensions that see every request; must be empty."""

    @property
    def message_bytes_max(self) -> int:
        """The limit of a message in bytes."""
        return (self.max_recv_msg_size_mib or _MESSAGE_MIB_DEFAULT) * MIB

    def check(self) -> Iterable[Finding]:
        """Ranges, and what belongs together."""
        yield from _transport_findings(self.transport, self.endpoint)
        if not 0 <= self.max_recv_msg_size_mib <= _MESSAGE_MIB_MAX:
            yield Finding(
                ("max_recv_msg_size_mib",), f"must be between 0 and {_MESSAGE_MIB_MAX} MiB"
            )
        if not 0 <= self.max_concurrent_streams < 1 << 32:
            yield Finding(("max_concurrent_streams",), "must be between 0 and 4294967295")
        for key in ("read_buffer_size", "write_buffer_size"):
            if getattr(self, key) < 0:
                yield Finding((key,), "must not be negative")

    def listeners(self) -> Iterable[Endpoint]:
        """The socket that it listens on."""
        yield Endpoint.of(("endpoint",), self.endpoint)


class CorsConfig(ComponentConfig):
    """Which pages of other sites may send from a browser. Credentials are always allowed."""

    allowed_origins: tuple[str, ...] = ()
    """Origins such as `https://*.example.com`; empty means that there is no CORS at all."""
    allowed_headers: tuple[str, ...] = ()
    """Request headers beside the safe ones; `*` allows any."""
    exposed_headers: tuple[str, ...] = ()
    """Response headers that pages may read."""
    max_age: int = 0
    """Seconds that browsers may remember the answer; zero leaves it to them."""

    def check(self) -> Iterable[Finding]:
        """Keys that do nothing without origins."""
        others = ("allowed_headers", "exposed_headers", "max_age")
        if not self.allowed_origins and any(getattr(self, key) for key in others):
            yield Finding(
                (),
                "has no effect without allowed_origins",
                Severity.WARNING,
            )
        for index, origin in enumerate(self.allowed_origins):
            if origin.count("*") > 1:
                yield Finding(("allowed_origins", index), "has more than one *")
        if self.max_age < 0:
            yield Finding(("max_age",), "must not be negative")


class HttpServerConfig(ComponentConfig):
    """An HTTP/1.1 server. Timeouts of zero mean that our own limits hold, which are generous."""

    endpoint: NetAddress = NetAddress("localhost", 4318)
    """Where it listens: HOST:PORT, or unix://PATH."""
    transport: Transport = "tcp"
    """`tcp4` and `tcp6` keep to one kind of address; `unix` wants a unix:// endpoint."""
    tls: Section[TlsServerConfig] = None
    """Certificate and key; without this section connections are not encrypted."""
    cors: Section[CorsConfig] = None
    """Which pages of other sites may send from a browser; without this section none."""
    auth: Section[HttpAuthConfig] = None
    """Who may send; without this section anybody."""
    max_request_body_size: int = 64 * MIB
    """Bytes of a body as it comes, and again when it is decompressed; zero means 64 MiB, which
    OTLP recommends."""
    include_metadata: bool = False
    """Keep the request's headers with the data, for processors and exporters that use them."""
    response_headers: Headers = ()
    """Added to every answer."""
    compression_algorithms: tuple[Encoding, ...] = (
        "",
        "gzip",
        "zstd",
        "zlib",
        "snappy",
        "deflate",
        "lz4",
        "x-snappy-framed",
    )
    """Content-Encodings that requests may have; an empty word stands for none."""
    read_timeout: Duration = 0.0
    """Seconds for a whole request; zero means 30 for the body, and longer while it comes at
    16 KiB/s."""
    read_header_timeout: Duration = 60.0
    """Seconds for the head of a request; zero means 60."""
    write_timeout: Duration = 30.0
    """Seconds that the peer may take to read an answer, and longer while it reads a large one at
    64 KiB/s; zero means 30."""
    idle_timeout: Duration = 60.0
    """Seconds that a connection may wait for its next request; zero means for ever."""
    keep_alives_enabled: bool = True
    """Whether a connection serves more than one request."""
    middlewares: Middlewares = ()
    """Extensions that see every request; must be empty."""

    @property
    def body_bytes_max(self) -> int:
        """The limit of a body in bytes."""
        return self.max_request_body_size or _MESSAGE_MIB_DEFAULT * MIB

    def check(self) -> Iterable[Finding]:
        """Ranges, and what belongs together."""
        yield from _transport_findings(self.transport, self.endpoint)
        if self.max_request_body_size < 0:
            yield Finding(("max_request_body_size",), "must not be negative")

    def listeners(self) -> Iterable[Endpoint]:
        """The socket that it listens on."""
        yield Endpoint.of(("endpoint",), self.endpoint)
