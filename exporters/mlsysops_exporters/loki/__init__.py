"""Sends logs to Grafana Loki (`loki`): by its push API, or as OTLP where the endpoint is that.

**Order.** Payloads are delivered one after the other, and each is tried until it is delivered or
given up before the next one begins: what the core's queue is told is in `Config.in_force`. The
requests of one payload go out in parallel if they have no stream in common (`requests`).

**What is sent.** Labels: the older Collector's four, those attributes that the configuration names
(Loki's own list unless it does), and those that hints ask for (`loki.attribute.labels`,
`loki.resource.labels`). The line is the body; a map or list is JSON. All other attributes, of
record, scope and resource, the severity and the ids of trace and span are structured metadata. The
time is the record's, else the one at which it was observed, else now. `loki.format` and the key
`format` ask for the lines that the Collector's exporter wrote; `loki.tenant` names the attribute
that says whose a record is.

**What is refused** is counted whole (reason `rejected`) and Loki's answer logged once: it says 400
when single entries are too old, too long or have too many labels, keeps the others of the request,
and does not say how many. Records that cannot be read are not sent but counted (reason
`unsendable`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from mlsysops_exporters.loki.config import Config
from mlsysops_exporters.loki.delivery import Delivery
from mlsysops_exporters.loki.requests import lanes
from mlsysops_exporters.loki.spread import VALUES_MAX
from mlsysops_exporters.loki.streams import Streams, Translator
from mlsysops_pipeline.component import ExportResult, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import without_password
from mlsysops_pipeline.delivery.attempts import Attempts
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.delivery.otlp_http import OtlpHttpExporter
from mlsysops_pipeline.delivery.workers import current_task
from mlsysops_pipeline.errors import MalformedError, PermanentError, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.transport.http.opening import open_client
from mlsysops_pipeline.transport.http.push import Push, push, push_headers
from mlsysops_pipeline.transport.outgoing import OutgoingHeaders
from mlsysops_pipeline.version import user_agent

if TYPE_CHECKING:
    from mlsysops_exporters.loki.requests import Request
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.transport.http.client import HttpClient

__all__ = ["FACTORY", "Config", "LokiExporter"]

_TENANT_HEADER: Final = "x-scope-orgid"

_FIXED: Final = {"content-type": "application/x-protobuf"}
_DEFAULTS: Final = {"user-agent": user_agent()}

_MEMORY_FACTOR: Final = 3
"""What a view, entries, requests and their compressed copies take, as a multiple of the payload."""


class LokiExporter:
    """Implements `Exporter`, for the push API."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._clock = settings.clock
        self._url = config.url
        self._headers = OutgoingHeaders(config.headers, None)
        self._client: HttpClient | None = None
        self._causes = CauseLog(settings.logger, settings.clock)
        self._translator = Translator(
            config, self._clock.unix_ns, self._unsendable, self._has_many_values
        )
        self._turn = asyncio.Lock()
        self._unfinished: Delivery | None = None
        self._charged = 0
        self._attempts: Attempts[Push, None] = Attempts(self._post, config.timeout, self._clock)

    @property
    def telemetry_attributes(self) -> dict[str, str]:
        """What self-metrics say about the peer."""
        return {"server.address": self._url.host, "server.port": str(self._url.port)}

    async def start(self) -> None:
        """Read certificates and find the authenticator. Connecting waits for the first payload.

        Raises `OSError` for a certificate that cannot be used, `ConfigError` for an authenticator
        that cannot be used.
        """
        urls = (self._url,)
        self._client, self._headers = await open_client(self._config, urls, self._settings)

    async def export(self, payload: Payload) -> ExportResult | None:
        """Deliver what is left of a payload."""
        async with self._turn:  # behind the core's queue nobody waits here: `Config.in_force`
            try:
                delivery = self._unfinished
                if delivery is None or delivery.payload is not payload:
                    self._hold(None)
                    self._charge(payload)
                    delivery = await self._begin(payload)
                    self._unfinished = delivery
                result = await delivery.attempt(self._config.parallelism)
            except PermanentError:
                self._hold(None)
                raise
            self._hold(None)
            return result

    def _charge(self, payload: Payload) -> None:
        self._charged = _MEMORY_FACTOR * payload.size
        self._settings.memory.charge(self._charged)

    def _hold(self, delivery: Delivery | None) -> None:
        """Keep a delivery until the next attempt; without one, its memory is free."""
        self._unfinished = delivery
        if delivery is None:
            self._settings.memory.release(self._charged)
            self._charged = 0

    async def _begin(self, payload: Payload) -> Delivery:
        client, url = self._client, self._url.text
        if client is None:
            raise PermanentError("the exporter is not running")
        headers = _DEFAULTS | push_headers(self._headers.of(payload.metadata), _FIXED)
        streams = await self._translated(payload)

        async def send(request: Request) -> None:
            tenant = {_TENANT_HEADER: request.tenant} if request.tenant else {}
            one = Push(client, url, headers | tenant, request.body)
            await self._attempts.run(one, current_task(), self._clock.monotonic())

        return Delivery(payload, lanes(streams, self._config.max_batch_size_bytes), send)

    async def _translated(self, payload: Payload) -> Streams:
        """The records of all members; a member that is malformed costs only itself."""
        streams = Streams()
        for wire in payload.wires:
            try:
                for _ in self._translator.translate(wire, streams):
                    await asyncio.sleep(0)
            except MalformedError as failure:
                self._unsendable(failure.message)
        return streams

    def _unsendable(self, cause: str) -> None:
        self._causes.say(
            "unsendable", logging.ERROR, f"dropped a record that cannot be read: {cause}"
        )

    def _has_many_values(self, label: str, origin: str) -> None:
        self._causes.say(
            ("spread", label),
            logging.WARNING,
            f"the label {label} has had more than {VALUES_MAX} values within ten minutes, and each "
            f"is a stream: Loki takes few (5000 unless configured). It comes from {origin}; "
            f"without that it is structured metadata",
        )

    async def _post(self, request: Push) -> None:
        await push(request, self._clock, peer="Loki")

    async def shutdown(self) -> None:
        """Close the connections."""
        self._hold(None)
        self._attempts.abort(RetryableError("the exporter is being shut down"))
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def __repr__(self) -> str:
        url = without_password(self._url.text)
        return f"<LokiExporter {url} {self._translator!r} {self._unfinished!r}>"


def _create(
    config: Config,
    settings: Settings,
    next_: None,  # noqa: ARG001  the factory's contract
) -> LokiExporter | OtlpHttpExporter:
    if config.is_otlp:
        return OtlpHttpExporter(config.otlp(), settings)
    return LokiExporter(config, settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="loki",
    config=Config,
    create=_create,
    signals=frozenset({Signal.LOGS}),
    stability=Stability.BETA,
    notes="the push API, or OTLP where the endpoint ends in /otlp",
)
