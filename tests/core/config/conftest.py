"""Components that exist only here, and `load`: text in, configuration and lines out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import pytest
from pydantic import Field

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config import (
    ComponentConfig,
    Configuration,
    ConfigurationSource,
    Problem,
    Severity,
    load_configuration,
)
from mlsysops_pipeline.config.schema import (
    CaseInsensitive,
    Duration,
    Endpoint,
    ExtensionRef,
    Finding,
    Headers,
    NetAddress,
    Opaque,
    Section,
    deprecated,
    no_effect,
    refused,
)
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

EVERY = frozenset(Signal)


class Tls(ComponentConfig):
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False

    def check(self) -> Iterable[Finding]:
        if bool(self.cert_file) != bool(self.key_file):
            yield Finding(("cert_file",), "certificate and key go together")


class Server(ComponentConfig):
    endpoint: NetAddress
    max_mib: int = Field(4, ge=0, le=1024)
    idle: Annotated[Duration, Field(ge=1)] = 60.0
    tls: Section[Tls] = None
    auth: ExtensionRef | None = None
    read_buffer_size: Annotated[int, no_effect("asyncio sizes its buffers itself")] = 512
    hook: Annotated[ExtensionRef | None, refused("there are no hooks")] = None
    middlewares: Annotated[tuple[Any, ...], refused("nothing would run them", unless=())] = ()

    def listeners(self) -> Iterable[Endpoint]:
        yield Endpoint.of(("endpoint",), self.endpoint)


class Grpc(Server):
    endpoint: NetAddress = NetAddress("localhost", 4317)


class Http(Server):
    endpoint: NetAddress = NetAddress("localhost", 4318)


class Protocols(ComponentConfig):
    grpc: Section[Grpc] = None
    http: Section[Http] = None


class Otlp(ComponentConfig):
    protocols: Protocols = Field(default_factory=Protocols)

    def check(self) -> Iterable[Finding]:
        if self.protocols.grpc is None and self.protocols.http is None:
            yield Finding((), "must specify at least one protocol")


class Scrape(ComponentConfig):
    targets: tuple[str, ...] = ()
    jobs: dict[str, Duration] = Field(default_factory=dict)
    raw: Any = None


class Limiter(ComponentConfig):
    belongs_first: ClassVar[bool] = True
    check_interval: Duration = 1.0
    limit_mib: int = 0


class Batch(ComponentConfig):
    acknowledges_from_memory: ClassVar[bool] = True
    timeout: Duration = 0.2
    send_size: Annotated[int, deprecated("use sizes"), Field(ge=0)] = 8192


class Queue(ComponentConfig):
    size: int = Field(1000, gt=0)
    storage: ExtensionRef | None = None


class Grpced(ComponentConfig):
    endpoint: NetAddress
    headers: Headers = ()
    timeout: Duration = 5.0
    compression: Annotated[Literal["gzip", "zstd", "none"], CaseInsensitive()] = "gzip"
    token: Opaque | None = None
    ratio: float = Field(0.5, ge=0, le=1)
    queue: Section[Queue] = Field(default_factory=Queue)

    def destinations(self) -> Iterable[Endpoint]:
        yield Endpoint.of(("endpoint",), self.endpoint)

    def delivers_from_storage(self) -> bool:
        return self.queue is not None and self.queue.storage is not None


class Nothing(ComponentConfig):
    pass


class Basic(ComponentConfig):
    username: str = ""
    password: Opaque = Opaque("")
    upstream: ExtensionRef | None = None


SAME = frozenset((signal, signal) for signal in Signal)
TO_METRICS = frozenset((signal, Signal.METRICS) for signal in Signal)
METRICS = frozenset({Signal.METRICS})
REGISTRY = Registry(
    [
        Factory(Kind.RECEIVER, "otlp", Otlp, print, EVERY),
        Factory(Kind.RECEIVER, "scrape", Scrape, print, METRICS),
        Factory(Kind.PROCESSOR, "memory_limiter", Limiter, print, EVERY),
        Factory(Kind.PROCESSOR, "batch", Batch, print, EVERY),
        Factory(Kind.PROCESSOR, "nothing", Nothing, print, EVERY),
        Factory(Kind.EXPORTER, "otlp_grpc", Grpced, print, EVERY, aliases=("otlp",)),
        Factory(Kind.EXPORTER, "debug", Nothing, print, EVERY),
        Factory(Kind.CONNECTOR, "forward", Nothing, print, pairs=SAME),
        Factory(Kind.CONNECTOR, "count", Nothing, print, pairs=TO_METRICS),
        Factory(Kind.EXTENSION, "basicauth", Basic, print),
    ]
)


@dataclass
class Loaded:
    """What loading came to. The file is called ``F`` in every line."""

    configuration: Configuration | None
    problems: list[Problem]
    folder: Path

    @property
    def lines(self) -> list[str]:
        return [p.line().replace(f"{self.folder}/", "") for p in self.problems]

    @property
    def errors(self) -> list[str]:
        return self._of(Severity.ERROR)

    @property
    def warnings(self) -> list[str]:
        return self._of(Severity.WARNING)

    def _of(self, severity: Severity) -> list[str]:
        found = [p for p in self.problems if p.severity is severity]
        return [str(p).replace(f"{self.folder}/", "") for p in found]

    @property
    def good(self) -> Configuration:
        assert self.configuration is not None, self.lines
        return self.configuration


class Load(Protocol):
    def __call__(
        self,
        text: str | bytes,
        *more: ConfigurationSource,
        env: Mapping[str, str] | None = None,
        registry: Registry | None = None,
    ) -> Loaded: ...


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(
        text: str | bytes,
        *more: ConfigurationSource,
        env: Mapping[str, str] | None = None,
        registry: Registry | None = None,
    ) -> Loaded:
        path = tmp_path / "F"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        configuration, problems = load_configuration(
            [path, *more], registry or REGISTRY, dict(env or {})
        )
        return Loaded(configuration, problems, tmp_path)

    return load_text


GOOD = """\
receivers:
  otlp: {protocols: {grpc: }}
exporters:
  debug:
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [debug]}
"""


@pytest.fixture
def good() -> str:
    """A configuration with nothing wrong in it, of 7 lines."""
    return GOOD


@pytest.fixture
def registry() -> Registry:
    """The components that exist here."""
    return REGISTRY
