"""What users write about the `otlp` receiver (components, A1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Finding,
    Section,
    no_effect,
)
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.transport.server_settings import GrpcServerConfig, HttpServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

ELEMENTS_MAX: Final = 200_000
_PATH: Final = re.compile(r"/?[A-Za-z0-9\-._~!$&'()*+,;=:@%/]+")


class GrpcConfig(GrpcServerConfig):
    """`protocols.grpc`."""

    read_buffer_size: Annotated[int, no_effect("asyncio sizes its buffers itself")] = 512 << 10
    """Bytes of the Collector's read buffer."""


class HttpConfig(HttpServerConfig):
    """`protocols.http`."""

    read_header_timeout: Duration = 0.0
    """Seconds for the head of a request; zero means 60."""
    write_timeout: Duration = 0.0
    """Seconds that the peer may take to read an answer; zero means 30."""
    idle_timeout: Duration = 0.0
    """Seconds that a connection may wait for its next request; zero means for ever."""
    traces_url_path: str = Signal.TRACES.url_path
    """Where traces are posted; a leading / is added if it is missing."""
    metrics_url_path: str = Signal.METRICS.url_path
    """Where metrics are posted."""
    logs_url_path: str = Signal.LOGS.url_path
    """Where logs are posted."""

    def path_of(self, signal: Signal) -> str:
        """The path of one signal, with its leading slash."""
        path: str = getattr(self, f"{signal.value}_url_path")
        return path if path.startswith("/") else f"/{path}"

    def check(self) -> Iterable[Finding]:
        """Paths that can be asked for, each by one signal."""
        yield from super().check()
        seen: dict[str, Signal] = {}
        for signal in Signal:
            key = f"{signal.value}_url_path"
            if not _PATH.fullmatch(getattr(self, key)):
                yield Finding((key,), "invalid HTTP URL path set for signal")
                continue
            other = seen.setdefault(self.path_of(signal), signal)
            if other is not signal:
                yield Finding((key,), f"is the path of {other} too")


class Protocols(ComponentConfig):
    """Which protocols are spoken. Each is on when it is written, even with nothing behind it."""

    grpc: Section[GrpcConfig] = None
    """OTLP over gRPC."""
    http: Section[HttpConfig] = None
    """OTLP over HTTP."""


class Config(ComponentConfig):
    """The `otlp` receiver."""

    protocols: Protocols = Protocols()
    """What is spoken, and where."""
    max_elements: int = ELEMENTS_MAX
    """Resources, scopes, metrics and items that one request may hold together; zero means any
    number. Empty ones take no bytes to speak of but much memory."""
    validation: Literal["framing", "full"] = Field(default="framing", alias="validate")
    """How deep a request is checked before it is accepted: down to the items, or every field
    (about 200 ns a data point)."""

    def check(self) -> Iterable[Finding]:
        """At least one protocol, and sensible numbers."""
        if self.protocols.grpc is None and self.protocols.http is None:
            yield Finding(
                ("protocols",), "must specify at least one protocol when using the OTLP receiver"
            )
        if self.max_elements < 0:
            yield Finding(("max_elements",), "must not be negative")
