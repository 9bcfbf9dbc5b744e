"""What files say about clients: `GrpcClientConfig` and `HttpClientConfig` (components, A1.3).

Exporters inherit one of them beside `delivery.DeliveryConfig`, and may change defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Endpoint,
    ExtensionRef,
    Finding,
    Headers,
    Section,
    Severity,
    no_effect,
    refused,
    split_host_port,
)
from mlsysops_pipeline.transport.dialing import Target
from mlsysops_pipeline.transport.http2.client import ClientTimes
from mlsysops_pipeline.transport.http2.heads import is_reserved, metadata_problem
from mlsysops_pipeline.transport.tls import TlsClientConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "OWN_HEADERS",
    "ClientAuthConfig",
    "CompressionParams",
    "CookiesConfig",
    "GrpcClientConfig",
    "GrpcEndpoint",
    "HttpClientConfig",
    "HttpUrl",
    "KeepaliveClientConfig",
]

GrpcCompression = Literal["gzip", "snappy", "zstd", "none", ""]
HttpCompression = Literal[
    "gzip", "zstd", "snappy", "x-snappy-framed", "zlib", "deflate", "lz4", "none", ""
]
Middlewares = Annotated[
    tuple[dict[str, str], ...],
    refused("there are no middleware extensions, and theirs may be security", unless=()),
]
_BUFFERS = "asyncio sizes its buffers itself"
_KEEPALIVE_MIN_S: Final = 10.0
"""gRPC clients never ping more often, whatever is configured."""

_DEFLATE_LEVELS: Final = (-2, 9)
OWN_HEADERS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "transfer-encoding"}
)
"""Headers of requests that no configuration and no authenticator changes."""

_PORTS: Final = {"http": 80, "https": 443}


class ClientAuthConfig(ComponentConfig):
    """How we identify ourselves."""

    authenticator: ExtensionRef
    """The authentication extension that adds to the headers of every request."""


class KeepaliveClientConfig(ComponentConfig):
    """When a silent peer is asked for a sign of life."""

    time: Duration = 10.0
    """Seconds of silence before a PING is sent, at least 10; zero means never."""
    timeout: Duration = 10.0
    """Seconds that its answer may take before the connection is given up; zero means 20."""
    permit_without_stream: bool = False
    """Whether to ping while no request is under way, too."""

    @property
    def times(self) -> ClientTimes:
        """The same for the connection."""
        return ClientTimes(
            ping_after_s=max(self.time, _KEEPALIVE_MIN_S) if self.time else math.inf,
            ping_timeout_s=self.timeout or ClientTimes().ping_timeout_s,
            pings_idle=self.permit_without_stream,
        )


@dataclass(frozen=True, slots=True)
class GrpcEndpoint:
    """``HOST:PORT``, perhaps behind ``http://``, ``https://`` or ``dns:///``, or ``unix://PATH``.

    ``scheme``: ``http``, ``https`` or empty. ``text``: as it was written.
    """

    text: str
    scheme: str
    target: Target

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an endpoint. Raises `ValueError` that says what is missing or wrong."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if not path:
                raise ValueError("unix socket path cannot be empty")
            return cls(text, "", Target("", 0, path))
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "", text
        if scheme == "dns":
            scheme, rest = "", rest.removeprefix("/")
        if scheme not in {"", "http", "https"}:
            raise ValueError(f'"{scheme}://" is not known: write HOST:PORT, https://HOST:PORT, ...')
        if not rest and not scheme:
            return cls(text, "", Target("", 0))
        host, port = split_host_port(rest.removesuffix("/") if scheme else rest)
        if not port:
            raise ValueError(f'"{text}": port 0 is nowhere')
        return cls(text, scheme, Target(host or "localhost", port))

    def __bool__(self) -> bool:
        return bool(self.target.port or self.target.unix_path)

    def __str__(self) -> str:
        return self.text


class GrpcClientConfig(ComponentConfig):
    """A gRPC client."""

    endpoint: GrpcEndpoint = GrpcEndpoint.parse("")
    """The peer: HOST:PORT, http://HOST:PORT (plaintext), https://HOST:PORT (TLS), dns:///HOST:PORT
    or unix://PATH. Without a scheme TLS is used unless `tls.insecure` says otherwise."""
    compression: GrpcCompression = ""
    """How requests are compressed; `none` or empty: not at all."""
    tls: TlsClientConfig = TlsClientConfig()
    """Certificates, and whether there is encryption at all."""
    keepalive: Section[KeepaliveClientConfig] = None
    """When a silent peer is asked for a sign of life. Off unless written."""
    read_buffer_size: Annotated[int, no_effect(_BUFFERS)] = 0
    """Bytes read from the socket at a time."""
    write_buffer_size: Annotated[int, no_effect(_BUFFERS)] = 0
    """Bytes written to the socket at a time."""
    wait_for_ready: bool = False
    """Whether a request waits for a peer that cannot be reached, until its timeout, instead of
    failing at once."""
    headers: Headers = ()
    """Metadata of every request."""
    user_agent: str = ""
    """What the client calls itself; empty means name and version of this program."""
    balancer_name: Literal["round_robin", "pick_first", ""] = "round_robin"
    """Which of several addresses is used: `round_robin` all in turn (eight at most), `pick_first`
    or empty the first that answers."""
    authority: str = ""
    """The `:authority` of requests; empty means the endpoint."""
    auth: Section[ClientAuthConfig] = None
    """Who we are. Off unless written."""
    middlewares: Middlewares = ()
    """Extensions that see every request."""

    @property
    def is_plaintext(self) -> bool:
        """Whether connections are not encrypted. The scheme decides, if there is one (OG-8)."""
        if self.endpoint.scheme:
            return self.endpoint.scheme == "http"
        return self.tls.is_plaintext

    @property
    def authority_text(self) -> str:
        """The `:authority` that requests carry."""
        if self.authority:
            return self.authority
        if not self.is_plaintext and self.tls.server_name_override:
            return self.tls.server_name_override
        target = self.endpoint.target
        return "localhost" if target.unix_path else str(target)

    def check(self) -> Iterable[Finding]:
        """What is missing, what belongs together, and what cannot be sent."""
        yield from super().check()
        if not self.endpoint:
            yield Finding(("endpoint",), 'requires a non-empty "endpoint"')
        yield from self._check_scheme()
        for key in ("read_buffer_size", "write_buffer_size"):
            if getattr(self, key) < 0:
                yield Finding((key,), "must not be negative")
        for key in ("user_agent", "authority"):
            if problem := metadata_problem(key, getattr(self, key)):
                yield Finding((key,), problem)
        for name, value in self.headers:
            problem = metadata_problem(name.lower(), value.reveal())
            if is_reserved(name.lower()):
                message = f"{name} has no effect: the gRPC client sets it itself"
                yield Finding(("headers", name), message, Severity.WARNING)
            elif problem:
                yield Finding(("headers", name), f"{name} {problem}")

    def _check_scheme(self) -> Iterable[Finding]:
        tls, scheme = self.tls, self.endpoint.scheme
        if scheme == "http":
            has_files = any(
                (tls.ca_file, tls.ca_pem, tls.cert_file, tls.cert_pem, tls.key_file, tls.key_pem)
            )
            if has_files:
                yield Finding(
                    ("endpoint",),
                    "http:// asks for plaintext, but tls has certificates",
                    suggestion="write https://",
                )
            elif not tls.insecure:
                yield Finding(
                    ("endpoint",),
                    "http:// means plaintext, as OTLP has it; the Collector would use TLS here",
                    Severity.WARNING,
                    "write tls.insecure: true, or https://",
                )
        elif scheme == "https" and tls.is_plaintext:
            yield Finding(
                ("tls", "insecure"),
                "has no effect: the endpoint is https://",
                Severity.WARNING,
            )

    def destinations(self) -> Iterable[Endpoint]:
        """The peer, so that loops are found."""
        target = self.endpoint.target
        if target.unix_path:
            yield Endpoint(("endpoint",), f"unix:{target.unix_path}", 0)
        elif target.port:
            yield Endpoint(("endpoint",), target.host, target.port)


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """``http://HOST[:PORT][/PATH]`` or ``https://…``. ``text`` is as it was written."""

    text: str
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL. Raises `ValueError` that says what is missing or wrong."""
        if not text:
            return cls("")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ValueError(f'"{text}" is no URL: {error}') from error
        if parts.scheme not in _PORTS:
            raise ValueError(f'"{text}" does not begin with http:// or https://')
        if not parts.hostname or not text.isprintable() or " " in text:
            raise ValueError(f'"{text}" is no URL: it needs a host')
        if port == 0:
            raise ValueError(f'"{text}": port 0 is nowhere')
        return cls(text, parts.scheme, parts.hostname, port or _PORTS[parts.scheme], parts.path)

    @property
    def is_plaintext(self) -> bool:
        """Whether requests to it are not encrypted."""
        return self.scheme == "http"

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.text


class CompressionParams(ComponentConfig):
    """How hard to compress."""

    level: int = 0
    """zstd: any level; gzip, zlib, deflate: -2 to 9; others: 0. Zero means the fast default."""


class CookiesConfig(ComponentConfig):
    """Whether cookies that the peer sets are sent back."""

    enabled: bool = False
    """On or off."""


_HTTP1 = "requests are sent over HTTP/1.1"
_POOL = "idle connections are bounded by what the queue's consumers use"


class HttpClientConfig(ComponentConfig):
    """An HTTP client."""

    endpoint: HttpUrl = HttpUrl("")
    """The peer, as a URL."""
    proxy_url: HttpUrl = HttpUrl("")
    """An HTTP proxy; empty means what HTTP_PROXY, HTTPS_PROXY and NO_PROXY say."""
    tls: TlsClientConfig = TlsClientConfig()
    """Certificates, and whether there is encryption at all."""
    headers: Headers = ()
    """Headers of every request. `Host` replaces the host of the URL there."""
    read_buffer_size: Annotated[int, no_effect(_BUFFERS)] = 0
    """Bytes read from the socket at a time."""
    write_buffer_size: Annotated[int, no_effect(_BUFFERS)] = 0
    """Bytes written to the socket at a time."""
    compression: HttpCompression = ""
    """How requests are compressed; `none` or empty: not at all."""
    compression_params: CompressionParams = CompressionParams()
    """How hard to compress."""
    max_idle_conns: Annotated[int, no_effect(_POOL)] = 100
    """Idle connections that are kept."""
    max_idle_conns_per_host: Annotated[int, no_effect(_POOL)] = 0
    """Idle connections that are kept to one peer."""
    max_conns_per_host: int = 0
    """Connections at the same time; zero means as many as there are requests under way."""
    idle_conn_timeout: Duration = 90.0
    """Seconds after which an idle connection is closed; zero means never."""
    auth: Section[ClientAuthConfig] = None
    """Who we are. Off unless written."""
    disable_keep_alives: bool = False
    """Whether each request has a connection of its own."""
    force_attempt_http2: Annotated[bool, no_effect(_HTTP1)] = True
    """Whether to try HTTP/2."""
    http2_read_idle_timeout: Annotated[Duration, no_effect(_HTTP1)] = 0.0
    """Seconds of silence before an HTTP/2 PING."""
    http2_ping_timeout: Annotated[Duration, no_effect(_HTTP1)] = 0.0
    """Seconds that its answer may take."""
    cookies: CookiesConfig = CookiesConfig()
    """Whether cookies that the peer sets are sent back."""
    middlewares: Middlewares = ()
    """Extensions that see every request."""

    @property
    def level(self) -> int | None:
        """The compression level, ``None`` for the default."""
        return self.compression_params.level or None

    def urls(self) -> Iterable[tuple[str, HttpUrl]]:
        """Every URL that requests may go to, with its key."""
        return (("endpoint", self.endpoint),)

    def check(self) -> Iterable[Finding]:
        """Ranges, and what belongs together."""
        yield from super().check()
        level, compression = self.compression_params.level, self.compression
        low, high = _DEFLATE_LEVELS
        if compression in {"gzip", "zlib", "deflate"}:
            if not low <= level <= high:
                yield Finding(
                    ("compression_params", "level"),
                    f"unsupported compression level {level} for {compression}: {low} to {high}",
                )
        elif compression != "zstd" and level:
            yield Finding(
                ("compression_params", "level"),
                f"has no meaning for compression {compression or 'none'}",
            )
        for key in (
            "read_buffer_size",
            "write_buffer_size",
            "max_idle_conns",
            "max_idle_conns_per_host",
            "max_conns_per_host",
        ):
            if getattr(self, key) < 0:
                yield Finding((key,), "must not be negative")
        for name, value in self.headers:
            if (
                not name
                or not name.isascii()
                or not name.replace("-", "").replace("_", "").isalnum()
            ):
                yield Finding(("headers", name), f"{name!r} is no name of a header")
            elif not value.reveal().isprintable():
                yield Finding(("headers", name), f"{name} has a value with control characters")
            elif name.lower() in OWN_HEADERS:
                message = f"{name} has no effect: the HTTP client sets it itself"
                yield Finding(("headers", name), message, Severity.WARNING)

    def destinations(self) -> Iterable[Endpoint]:
        """The peers, so that loops are found."""
        for key, url in self.urls():
            if url:
                yield Endpoint((key,), url.host, url.port)
