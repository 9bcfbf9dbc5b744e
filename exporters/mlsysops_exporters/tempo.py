"""Sends traces to Grafana Tempo (`tempo`), which takes OTLP: over gRPC or HTTP, by the endpoint.

The Collector has no exporter of this name, but files of the field do. ``HOST:PORT``, or a URL whose
port is not 4318 and that has no path: OTLP/gRPC. ``http(s)://`` with a path, with port 4318 or with
no port at all: OTLP/HTTP, to the path itself if it ends in ``/v1/traces``, else below it. Keys are
those of `otlp_grpc`; what only gRPC has does nothing over HTTP, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.config.schema import Finding, Severity
from mlsysops_pipeline.delivery.otlp_grpc import OtlpGrpcConfig, OtlpGrpcExporter
from mlsysops_pipeline.delivery.otlp_http import OtlpHttpConfig, OtlpHttpExporter
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.transport.client_settings import GrpcEndpoint, HttpUrl
from mlsysops_pipeline.transport.dialing import Target

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings

_NO_URL: Final = HttpUrl("")
_HTTP_PORT: Final = 4318
"""Where OTLP/HTTP listens unless configured, and OTLP/gRPC does not."""
_GRPC_PORT: Final = 4317
_QUERY_PORT: Final = 3200
"""Where Tempo answers queries unless configured, and takes no traces."""
_SHARED: Final = ("tls", "headers", "auth", "compression", "timeout")
"""What is taken over into the configuration of OTLP/HTTP."""
_GRPC_ONLY: Final = ("keepalive", "wait_for_ready", "user_agent", "balancer_name", "authority")


@dataclass(frozen=True, slots=True)
class TempoEndpoint(GrpcEndpoint):
    """Where Tempo takes OTLP. ``url``: where it takes traces over HTTP; empty for gRPC."""

    url: HttpUrl = _NO_URL

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an endpoint. Raises `ValueError` that says what is missing or wrong."""
        if text.startswith(("http://", "https://")):
            url = HttpUrl.parse(text)
            has_port = urlsplit(text).port is not None
            if url.port == _HTTP_PORT or url.path.strip("/") or not has_port:
                if not url.path.rstrip("/").endswith(Signal.TRACES.url_path):
                    url = HttpUrl.parse(text.rstrip("/") + Signal.TRACES.url_path)
                return cls(text, url.scheme, Target(url.host, url.port), url)
        found = GrpcEndpoint.parse(text)
        return cls(found.text, found.scheme, found.target)


class Config(OtlpGrpcConfig):
    """The keys of `otlp_grpc`."""

    endpoint: TempoEndpoint = TempoEndpoint.parse("")
    """Tempo's OTLP receiver: HOST:4317 (gRPC) or http://HOST:4318 (HTTP), see above. Without a
    scheme and without `tls` it is reached in plaintext, as Tempo itself is set up."""

    @property
    def is_plaintext(self) -> bool:
        """Whether connections are not encrypted."""
        if self._says_nothing_of_tls:
            return True
        return super().is_plaintext

    @property
    def _says_nothing_of_tls(self) -> bool:
        return not self.endpoint.scheme and "tls" not in self.model_fields_set

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        yield from self._check_port()
        if self.endpoint.url:
            yield from self.http().check()
            for key in _GRPC_ONLY:
                if key in self.model_fields_set:
                    message = f"has no effect here: {self.endpoint} is OTLP/HTTP"
                    yield Finding((key,), message, Severity.WARNING)
            return
        for finding in super().check():
            # That http:// is plaintext surprises only where the Collector's exporter has a say.
            if finding.severity is not Severity.WARNING or finding.path != ("endpoint",):
                yield finding
        if self.endpoint and not self.endpoint.target.unix_path and self._says_nothing_of_tls:
            yield Finding(
                ("endpoint",),
                "traces are sent in plaintext: there is neither a scheme nor `tls`",
                Severity.WARNING,
                "write tls.insecure: true if this is meant, or https://",
            )

    def _check_port(self) -> Iterable[Finding]:
        """Ports that are usual for something else than what they are asked for here."""
        target = self.endpoint.target
        if target.port == _HTTP_PORT and not self.endpoint.url:
            message, suggestion = "speaks gRPC to 4318, the port of OTLP/HTTP", f"http://{target}"
        elif target.port == _QUERY_PORT:
            message = "3200 is usually Tempo's port for queries, where no traces are taken"
            suggestion = str(Target(target.host, _GRPC_PORT))
        else:
            return
        yield Finding(("endpoint",), message, Severity.WARNING, f"write {suggestion}")

    def http(self) -> OtlpHttpConfig:
        """The same for OTLP/HTTP."""
        shared = {key: getattr(self, key) for key in _SHARED}
        return OtlpHttpConfig(traces_endpoint=self.endpoint.url, **shared)


def _create(
    config: Config,
    settings: Settings,
    next_: None,  # noqa: ARG001  the factory's contract
) -> OtlpGrpcExporter | OtlpHttpExporter:
    if config.endpoint.url:
        return OtlpHttpExporter(config.http(), settings)
    return OtlpGrpcExporter(config, settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="tempo",
    config=Config,
    create=_create,
    signals=frozenset({Signal.TRACES}),
    stability=Stability.BETA,
    notes="OTLP over gRPC or HTTP, by the endpoint",
)
