"""Answers over HTTP whether the collector is ready and delivers.

Component reference: F1. Unlike the Collector's, it does not say 200 while nothing is delivered. It
answers 503

- until every component has started, and again from the moment that stopping begins;
- while a component has failed for good;
- while a component, such as an exporter whose destination does not answer, has been failing for
  ``check_collector_pipeline.interval`` without a break. Receivers do not count here: that a target
  cannot be scraped is no reason to send nobody else's telemetry to this collector.

A probe that restarts the collector when it fails should not see the last two, because a restart
loses what waits in memory: for it write ``check_collector_pipeline: {enabled: false}``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mlsysops_pipeline.component import Factory, Kind, Status
from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Finding,
    NetAddress,
    Section,
    format_duration,
    no_effect,
    refused,
)
from mlsysops_pipeline.transport.http.server import HttpRequest, HttpResponse, HttpServer
from mlsysops_pipeline.transport.server_settings import HttpServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.component import ComponentStatus, Settings

_LOOK_INTERVAL_S = 1.0
_GRACE_S = 1.0
_NEVER = "0001-01-01T00:00:00Z"
_FAILED = frozenset({Status.PERMANENT_ERROR, Status.FATAL_ERROR})


class ResponseBodyConfig(ComponentConfig):
    """Bodies in place of the usual JSON."""

    healthy: str = ""
    """The body of an answer of 200."""
    unhealthy: str = ""
    """The body of an answer of 503."""


class PipelineCheckConfig(ComponentConfig):
    """Whether failing components make the answer 503. On, unless switched off."""

    interval: Duration = 300.0
    """How long a component may be failing before it counts."""
    exporter_failure_threshold: Annotated[
        int, no_effect("what counts is how long an exporter has been failing", unless=5)
    ] = 5
    """Of the Collector: failures within the interval."""

    def check(self) -> Iterable[Finding]:
        """Zero would count the first failure, which retrying repairs."""
        if self.interval <= 0:
            yield Finding(("interval",), "must be greater than zero")


class Config(HttpServerConfig):
    """An HTTP server and what it answers."""

    endpoint: NetAddress = NetAddress("localhost", 13133)
    """Where it listens."""
    path: str = "/"
    """The path that is answered; ``/`` answers every path, as the Collector does."""
    response_body: ResponseBodyConfig | None = None
    """Other bodies than the usual JSON."""
    check_collector_pipeline: Section[PipelineCheckConfig] = Field(
        default_factory=PipelineCheckConfig
    )
    """What failing components mean for the answer; ``enabled: false``: nothing."""
    use_v2: Annotated[bool, refused("the second version of this extension", unless=False)] = False
    """Of the Collector: other paths and answers."""

    def check(self) -> Iterable[Finding]:
        """A path begins with a slash."""
        yield from super().check()
        if not self.path.startswith("/"):
            yield Finding(("path",), "path must start with /")


def failures(
    statuses: Iterable[ComponentStatus], now_ns: int, patience_s: float
) -> list[ComponentStatus]:
    """The components that have failed for good, or keep failing for ``patience_s`` already."""
    since_ns = now_ns - int(patience_s * 1e9)
    return [
        state
        for state in statuses
        if state.status in _FAILED
        or (
            state.status is Status.RECOVERABLE_ERROR
            and state.kind is not Kind.RECEIVER
            and state.since_ns <= since_ns
        )
    ]


class HealthCheck:
    """Implements `Extension`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._server = HttpServer(config, self._answer, settings=settings)
        self._up_since_ns: int | None = None

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return self._server.port

    async def start(self) -> None:
        """Listen. Raises `OSError` for a port in use, `ConfigError` for its TLS."""
        await self._server.start()
        self._settings.tasks.spawn_forever("watch health", self._watch)

    async def shutdown(self) -> None:
        """Stop listening."""
        await self._settings.tasks.shutdown()
        await self._server.shutdown(_GRACE_S)

    async def _watch(self) -> None:
        """Notice changes although nobody asks, so that they are logged when they happen."""
        while True:
            self._look()
            await self._settings.clock.sleep(_LOOK_INTERVAL_S)

    def _look(self) -> tuple[bool, list[ComponentStatus]]:
        """Whether all is well, and which components are not. Logs when the answer changes."""
        host, check = self._settings.host, self._config.check_collector_pipeline
        now_ns = self._settings.clock.unix_ns()
        bad = [] if check is None else failures(host.statuses(), now_ns, check.interval)
        is_well = host.is_ready and not bad
        if is_well is (self._up_since_ns is None):
            self._up_since_ns = now_ns if is_well else None
            self._settings.logger.info(
                "Health Check state change: status=%s", "ready" if is_well else "unavailable"
            )
        return is_well, bad

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        if self._config.path not in {"/", request.path}:
            return HttpResponse(404, b"404 page not found\n", "text/plain; charset=utf-8")
        is_well, bad = self._look()
        status = 200 if is_well else 503
        custom = self._config.response_body
        if custom is not None:
            text = custom.healthy if is_well else custom.unhealthy
            return HttpResponse(status, text.encode(), "text/plain; charset=utf-8")
        return HttpResponse(status, self._body(is_well, bad), "application/json")

    def _body(self, is_well: bool, bad: list[ComponentStatus]) -> bytes:  # noqa: FBT001  private
        body: dict[str, Any] = {
            "status": "Server available" if is_well else "Server not available",
            "upSince": _NEVER,
            "uptime": "",
        }
        if self._up_since_ns is not None:
            up_ns = self._settings.clock.unix_ns() - self._up_since_ns
            body["upSince"] = _rfc3339(self._up_since_ns)
            body["uptime"] = format_duration(up_ns / 1e9)
        if bad:
            body["failing"] = [_described(state) for state in bad]
        return json.dumps(body, separators=(",", ":")).encode()

    def __repr__(self) -> str:
        state = "unavailable" if self._up_since_ns is None else "ready"
        return f"<HealthCheck {self._settings.id} {state} port={self.port}>"


def _described(state: ComponentStatus) -> dict[str, str]:
    return {
        "kind": state.kind.value,
        "id": str(state.id),
        "status": state.status.value,
        "since": _rfc3339(state.since_ns),
        "error": state.message,
    }


def _rfc3339(unix_ns: int) -> str:
    """A time as Go prints it: nine digits at most, without zeros at the end."""
    seconds, rest = divmod(unix_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{moment}{fraction}Z"


def _create(config: Config, settings: Settings, next_: None) -> HealthCheck:  # noqa: ARG001
    return HealthCheck(config, settings)


FACTORY = Factory(kind=Kind.EXTENSION, type="health_check", config=Config, create=_create)
