"""Sends metrics by remote write 1.0 (`prometheus_remote_write`, before `prometheusremotewrite`).

**Order** (R1-5). Payloads are delivered one after the other, and each is tried until it is
delivered or given up before the next one begins; those that wait meanwhile become one. What the
core's queue is told is in `Config.in_force`. The requests of one payload go out in parallel, as
they have no series in common (`delivery`). A sample that is not newer than what was delivered of
its series is not sent (`order`); after a restart nothing is known of that.

**What is sent.** Names and labels as in the Collector (`mlsysops_pipeline.prometheus`); exponential
histograms as native histograms, which receivers skip that do not know them. Deltas, and what cannot
be valid, are not sent but counted (reason `unsendable`) and logged once by cause. A request that is
refused is counted whole (reason `rejected`) and its answer logged once; but what was only sent
together is first sent by itself, so that nobody's data is lost for a neighbour's (`delivery`). 1.0
has no start times, and type, help and unit only with `send_metadata`.

**What ends** (R1-7). Points with NoRecordedValue are stale markers, nothing else is. All series of
a histogram that were sent end with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from mlsysops_exporters.prometheusremotewrite.config import VERSION_HEADER, Config
from mlsysops_exporters.prometheusremotewrite.delivery import Delivery
from mlsysops_exporters.prometheusremotewrite.encoding import decode_labels, labels_of
from mlsysops_exporters.prometheusremotewrite.families import Families
from mlsysops_exporters.prometheusremotewrite.order import GENERATION_BYTES, Latest
from mlsysops_exporters.prometheusremotewrite.series import SeriesMaker
from mlsysops_exporters.prometheusremotewrite.stages import Stages
from mlsysops_pipeline.component import ExportResult, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.resource_labels import resource_labels
from mlsysops_pipeline.delivery.attempts import Attempts
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.delivery.workers import current_task
from mlsysops_pipeline.errors import MalformedError, PermanentError, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.prometheus.names import label_name
from mlsysops_pipeline.prometheus.translate import Options, Translator
from mlsysops_pipeline.transport.http.opening import open_client
from mlsysops_pipeline.transport.http.push import Push, push, push_headers
from mlsysops_pipeline.transport.outgoing import OutgoingHeaders
from mlsysops_pipeline.version import user_agent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlsysops_exporters.prometheusremotewrite.assembly import Assembly
    from mlsysops_exporters.prometheusremotewrite.series import Series
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.prometheus.points import Batch, Cause, Columns
    from mlsysops_pipeline.transport.http.client import HttpClient

__all__ = ["FACTORY", "Config", "RemoteWriteExporter"]

_HEADERS: Final = {
    "content-encoding": "snappy",
    "content-type": "application/x-protobuf",
    VERSION_HEADER: "0.1.0",
    "user-agent": user_agent(),
}
"""Headers that the protocol asks for; nobody changes them (R1-1)."""

_TENANTS_MAX: Final = 100
"""Sets of headers whose series are told apart; the one that is silent longest is forgotten."""

_MEMORY_FACTOR: Final = 3
"""What points, requests and their compressed copies take, as a multiple of the payload."""


class RemoteWriteExporter:
    """Implements `Exporter`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._clock = settings.clock
        self._headers = OutgoingHeaders(config.headers, None)
        self._client: HttpClient | None = None
        self._causes = CauseLog(settings.logger, settings.clock)
        external = {
            label_name(name, strategy=config.strategy): value
            for name, value in config.external_labels.items()
        }
        self._translator: Translator[Series] = Translator(
            _options(config), SeriesMaker(external), self._untranslated
        )
        self._families = Families() if config.send_metadata else None
        self._latest: dict[tuple[tuple[str, str], ...], Latest] = {}
        self._turn = asyncio.Lock()
        self._unfinished: Delivery | None = None
        self._charged = 0
        self._attempts: Attempts[Push, None] = Attempts(self._post, config.timeout, self._clock)
        self._bind_metrics()

    def _bind_metrics(self) -> None:
        """The Collector's names."""
        counter = self._settings.meter.counter
        prefix = "otelcol_exporter_prometheusremotewrite"
        self._labels = {"exporter": str(self._settings.id)}
        self._failed = counter(
            f"{prefix}_failed_translations", "{datapoint}", "Points that are not sent, by cause"
        )
        self._translated = counter(
            f"{prefix}_translated_time_series", "{series}", "Series in requests"
        ).bind(self._labels)
        self._sent = counter(
            f"{prefix}_sent_batches", "{batch}", "Requests, other tries of the same included"
        ).bind(self._labels)

    @property
    def telemetry_attributes(self) -> dict[str, str]:
        """What self-metrics say about the peer."""
        url = self._config.endpoint
        return {"server.address": url.host, "server.port": str(url.port)}

    async def start(self) -> None:
        """Read certificates and find the authenticator. Connecting waits for the first payload.

        Raises `OSError` for a certificate that cannot be used, `ConfigError` for an authenticator
        that cannot be used.
        """
        urls = (self._config.endpoint,)
        self._client, self._headers = await open_client(self._config, urls, self._settings)

    async def export(self, payload: Payload) -> ExportResult | None:
        """Deliver what is left of a payload."""
        async with self._turn:  # behind the core's queue nobody waits here: `Config.in_force`
            delivery = self._unfinished
            if delivery is None or delivery.payload is not payload:
                delivery = self._begin(payload)
                self._hold(delivery)
            try:
                result = await delivery.attempt(self._config.parallelism)
            except PermanentError:
                self._hold(None)
                raise
            self._hold(None)
            return result

    def _hold(self, delivery: Delivery | None) -> None:
        """Keep a delivery until the next attempt, at the expense of the memory account."""
        memory = self._settings.memory
        memory.release(self._charged)
        self._charged = 0 if delivery is None else _MEMORY_FACTOR * delivery.payload.size
        memory.charge(self._charged)
        self._unfinished = delivery

    def _begin(self, payload: Payload) -> Delivery:
        client, url = self._client, self._config.endpoint.text
        if client is None:
            raise PermanentError("the exporter is not running")
        headers = push_headers(self._headers.of(payload.metadata), _HEADERS)
        latest = self._latest_for(headers)

        async def send(body: bytes) -> None:
            self._sent.add(1)
            task, now_s = current_task(), self._clock.monotonic()
            await self._attempts.run(Push(client, url, headers, body), task, now_s)

        stages = Stages(
            [self._translate(wire) for wire in payload.wires],
            latest,
            self._clock,
            bytes_max=self._config.batch_bytes,
            families=self._families,
            assembled=self._assembled,
        )
        return Delivery(payload, latest, send, stages)

    async def _post(self, request: Push) -> None:
        await push(request, self._clock, peer="remote write")

    def _translate(self, wire: bytes) -> Iterator[Columns[Series] | Batch[Series]]:
        """The points of a member of a payload; one that is malformed costs only itself."""
        try:
            yield from self._translator.columns(wire)
        except MalformedError as failure:
            self._causes.say("malformed", logging.ERROR, f"dropped a request: {failure}")

    def _untranslated(self, cause: Cause, points: int, metric: str) -> None:
        """Points that have no place in Prometheus."""
        self._failed.bind({**self._labels, "cause": cause}).add(points)
        self._causes.say(
            cause,
            logging.ERROR,
            f"dropped points that remote write cannot carry: cause={cause} metric={metric!r}",
            items=points,
        )

    def _assembled(self, assembly: Assembly) -> None:
        """A part of a payload is ready to be sent, but for the points that must not be."""
        self._translated.add(len(assembly))
        for cause, points in assembly.unsent.items():
            self._failed.bind({**self._labels, "cause": cause}).add(points)
            series = dict(decode_labels(labels_of(assembly.examples[cause])))
            self._causes.say(
                cause,
                logging.ERROR,
                f"dropped points that must not be sent: cause={cause} for example of {series}",
                items=points,
            )

    def _latest_for(self, headers: Mapping[str, str]) -> Latest:
        """What was delivered for these headers: they may say whose series these are."""
        now_s = self._clock.monotonic()
        # Tokens change without being somebody else's; the rest is short.
        tenant = tuple(sorted(pair for pair in headers.items() if pair[0] != "authorization"))
        latest = self._latest.pop(tenant, None)
        if latest is None:
            latest = Latest(now_s)
        self._latest[tenant] = latest
        if len(self._latest) > _TENANTS_MAX:
            del self._latest[next(iter(self._latest))]
        if sum([one.bytes for one in self._latest.values()]) > GENERATION_BYTES:
            largest = max(self._latest.values(), key=lambda one: one.bytes)
            self._causes.say(
                "series",
                logging.WARNING,
                "there are so many series that old ones are forgotten: their order is no longer"
                f" watched. Label {largest.most_varied_label()!r} has the most values",
            )
            largest.forget(now_s)
        elif latest.is_due(now_s):
            latest.forget(now_s)
        return latest

    async def shutdown(self) -> None:
        """Close the connections."""
        self._hold(None)
        self._attempts.abort(RetryableError("the exporter is being shut down"))
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def __repr__(self) -> str:
        series = sum(map(len, self._latest.values()))
        return (
            f"<RemoteWriteExporter {self._config.endpoint} series={series} {self._translator!r} "
            f"{self._unfinished!r}>"
        )


def _options(config: Config) -> Options:
    """What the translator is told."""
    return Options(
        strategy=config.strategy,
        namespace=config.namespace,
        has_scope_labels=not config.disable_scope_info,
        has_target_info=config.target_info.enabled,
        has_details=config.send_metadata,
        resource_labels=resource_labels(
            config.resource_to_telemetry_conversion, config.resource_constant_labels
        ),
    )


def _create(config: Config, settings: Settings, next_: None) -> RemoteWriteExporter:  # noqa: ARG001
    return RemoteWriteExporter(config, settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="prometheus_remote_write",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.BETA,
    aliases=("prometheusremotewrite",),
)
