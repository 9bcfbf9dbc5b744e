"""Serves the last value of every series at `/metrics`, for Prometheus and its like to scrape.

Component reference: E1; conformance A7 and A9. What becomes of OTLP metrics:

- Gauges and sums that may fall: gauge. Monotonic sums: counter. Histograms: histogram. Summaries:
  summary. ``prometheus.type`` in a metric's metadata makes a gauge untyped, info or state set.
- Deltas of monotonic sums and of histograms are added up: a point that starts where the one before
  ended (or does not say where it starts) is added, any other begins anew (DM-7).
- Exponential histograms: histograms with bounds that are powers of two, because text has no other
  (see `values.fixed`). Without a sum, or coarser than Prometheus knows, they are dropped.
- Deltas of sums that may fall, and sums of no temporality, are dropped.

Which points are shown and for how long: `store`. How pages are written: `page`. A page is made as a
whole, in pieces with other work in between, before its first byte is sent; who asks for the same at
the same time gets the same one (`sharing`). A slow reader keeps its page and nothing else.

Points that cannot be shown are dropped and counted, and never refused: what other exporters took
would come again. There is no queue unless one is configured.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from mlsysops_exporters.prometheus.cardinality import culprit
from mlsysops_exporters.prometheus.config import Config
from mlsysops_exporters.prometheus.page import pieces
from mlsysops_exporters.prometheus.sharing import PAGES_MAX, Pages
from mlsysops_exporters.prometheus.store import Series, Store
from mlsysops_exporters.prometheus.values import Histogram, Summary, fixed
from mlsysops_pipeline.component import ExportResult, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.resource_labels import resource_labels
from mlsysops_pipeline.delivery.causes import INTERVAL_S, CauseLog
from mlsysops_pipeline.errors import DropReason, MalformedError
from mlsysops_pipeline.pdata.counting import count_items
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.prometheus.names import label_name
from mlsysops_pipeline.prometheus.negotiation import negotiate
from mlsysops_pipeline.prometheus.points import (
    Cause,
    Exponentials,
    Histograms,
    Numbers,
)
from mlsysops_pipeline.prometheus.translate import TARGET_INFO, Options, Translator
from mlsysops_pipeline.transport.compression import Gzip
from mlsysops_pipeline.transport.http.messages import TEXT
from mlsysops_pipeline.transport.http.server import HttpRequest, HttpResponse, HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.prometheus.negotiation import Format
    from mlsysops_pipeline.prometheus.points import Batch

_PATH: Final = "/metrics"
_EXPIRED_AT_ONCE: Final = 1_000
_POINTS_AT_ONCE: Final = 250
_TURN_S: Final = 0.003
"""After that many points or that long others get their turn."""
_GRACE_S: Final = 1.0


class PrometheusExporter:
    """Implements `Exporter`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        strategy = config.strategy
        self._config = config
        self._settings = settings
        self._clock = settings.clock
        self._causes = CauseLog(settings.logger, settings.clock)
        self.store = Store(
            expiration_s=config.metric_expiration,
            weight_max=config.max_series,
            const_labels={
                label_name(name, strategy=strategy): value
                for name, value in config.const_labels.items()
                if value
            },
        )
        self._translator = Translator(
            Options(
                strategy=strategy,
                namespace=config.namespace,
                has_scope_labels=not config.without_scope_info,
                takes_deltas=True,
                resource_labels=resource_labels(
                    config.resource_to_telemetry_conversion, config.resource_constant_labels
                ),
            ),
            self.store.series,
            self._untranslatable,
        )
        self._dropped = 0
        self._blame = ""
        self._blame_due_s = 0.0
        self._one_at_a_time = asyncio.Lock()
        self._pages: Pages[tuple[Format, bool]] = Pages(self._make, settings.memory, PAGES_MAX)
        self._server = HttpServer(config, self._answer, settings=settings)
        self._count = settings.meter.gauge(
            "mlsysops_exporter_prometheus_series", "{series}", "Series on the page"
        )

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return self._server.port

    async def start(self) -> None:
        """Listen. Raises `OSError` for a port in use, `ConfigError` for its TLS."""
        await self._server.start()
        self._count.observe({"exporter": str(self._settings.id)}, lambda: self.store.live)
        self._settings.tasks.spawn_forever("expire series", self._expire)

    async def shutdown(self) -> None:
        """Stop listening; pages under way have a second left."""
        self._count.forget({"exporter": str(self._settings.id)})
        await self._settings.tasks.shutdown()
        await self._server.shutdown(_GRACE_S)

    # Points.

    async def export(self, payload: Payload) -> ExportResult | None:
        """Take the points of a payload: see `Exporter.export`. Never refuses any.

        Payloads are taken one after the other, in the order in which they came, so that those of
        one sender stay in order although others run while a large one is taken.
        """
        async with self._one_at_a_time:
            store = self.store
            store.full = store.late = store.conflicts = 0
            self._dropped = failed = 0
            for wire in payload.wires:
                failed += await self._export(wire)
            self._report_store()
            if not failed + self._left_out:
                return None
            return ExportResult(
                rejected_items=failed + store.full,
                reason=DropReason.EXPORT_ERROR if failed else DropReason.CARDINALITY,
                unsendable_items=self._left_out - store.full,
            )

    @property
    def _left_out(self) -> int:
        """Points of this payload that cannot be shown, so far."""
        store = self.store
        return self._dropped + store.late + store.conflicts + store.full

    async def _export(self, wire: bytes) -> int:
        """Take the points of one request. Returns how many were lost by a failure of ours."""
        waiting, left_out = 0, self._left_out
        clock = self._clock
        until_s = clock.monotonic() + _TURN_S
        try:
            for batch in self._translator.translate(wire):
                self._take(batch)
                waiting += len(batch.points)
                if waiting >= _POINTS_AT_ONCE or clock.monotonic() >= until_s:
                    waiting = 0
                    await asyncio.sleep(0)
                    until_s = clock.monotonic() + _TURN_S
        except MalformedError as error:
            self._untranslatable(Cause.MALFORMED, count_items(Signal.METRICS, wire), error.message)
        except Exception as error:  # noqa: BLE001  the edge: others took the same data
            message = "the exporter failed by itself"
            self._causes.say(("bug", type(error)), logging.ERROR, message, error=error)
            return count_items(Signal.METRICS, wire) - (self._left_out - left_out)
        return 0

    def _take(self, batch: Batch[Series]) -> None:
        store, family = self.store, batch.family
        now_s, now_ns = self._clock.monotonic(), self._clock.unix_ns()
        conflicts, full = store.conflicts, store.full
        if isinstance(batch, Numbers):
            store.numbers(family, batch.points, now_s, now_ns)
            if family is TARGET_INFO:
                store.conflicts, store.full = conflicts, full  # they are nobody's points
        elif (group := store.group(family, now_s)) is None:
            store.conflicts += len(batch.points)
        else:
            is_delta = family.is_delta
            for point in batch.points:
                times = (point.timestamp_ns, point.start_ns, now_s, now_ns)
                value = None if point.is_stale else _value(batch, point)
                exemplars = getattr(point, "exemplars", ())
                store.take(group, point.series, value, times, exemplars, is_delta=is_delta)
        if store.conflicts > conflicts:
            known = store.groups[family.name].type
            self._causes.say(
                ("conflict", family.name),
                logging.ERROR,
                f"instrument type conflict: {family.name} is a {known}, a {family.type} of that "
                "name is dropped",
                items=store.conflicts - conflicts,
            )

    def _untranslatable(self, cause: Cause, points: int, name: str) -> None:
        """Points have no place in Prometheus."""
        self._dropped += points
        self._causes.say(
            ("cause", cause),
            logging.ERROR,
            f"dropped {points} points, for example of {name[:200]!r}: {_WHY.get(cause, cause)}",
            items=points,
        )

    def _report_store(self) -> None:
        store = self.store
        if store.full:
            self._causes.say(
                "full",
                logging.ERROR,
                f"dropped {store.full} points of new series: max_series "
                f"({self._config.max_series}) is reached; {self._culprit()}",
                items=store.full,
            )
        if store.late:
            self._causes.say(
                "late",
                logging.WARNING,
                f"dropped {store.late} changes (delta) that are older than what they would change",
                items=store.late,
            )

    def _culprit(self) -> str:
        """Who makes most series; looked for once a minute at most."""
        now_s = self._clock.monotonic()
        if now_s >= self._blame_due_s:
            self._blame_due_s = now_s + INTERVAL_S
            self._blame = culprit(self.store.groups)
        return self._blame

    async def _expire(self) -> None:
        while True:
            is_behind = self.store.expire(self._clock.monotonic(), _EXPIRED_AT_ONCE)
            await self._clock.sleep(0.0 if is_behind else self.store.interval_s)

    # Pages.

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        if request.path != _PATH:
            return HttpResponse(404, f"there is only {_PATH} here\n".encode(), TEXT)
        if request.method not in {"GET", "HEAD"}:
            allow = (("allow", "GET, HEAD"),)
            return HttpResponse(405, b"metrics are read by GET\n", TEXT, allow)
        page = negotiate(request.header("accept"), open_metrics=self._config.enable_open_metrics)
        kind = (page, request.takes_gzip)
        made = await self._pages.read(kind)
        encoding = (("content-encoding", "gzip"),) if request.takes_gzip else ()
        return HttpResponse(
            200,
            content_type=page.content_type,
            headers=(("vary", "Accept, Accept-Encoding"), *encoding),
            pieces=made.pieces or (),
            finished=lambda: self._pages.finished(made),
        )

    async def _make(self, kind: tuple[Format, bool]) -> AsyncIterator[bytes]:
        """The pieces of a page, with other work in between."""
        page, is_gzip = kind
        parts = pieces(
            self.store,
            page,
            alive_s=self.store.alive_s(self._clock.monotonic()),
            has_timestamps=self._config.send_timestamps,
            is_legacy=self._config.strategy.escapes,
            report=self._report_clash,
        )
        gzip = Gzip() if is_gzip else None
        for part in parts:
            data = part.encode("utf-8", "replace")
            if gzip is not None:
                data = gzip.compress(data)
            if data:
                yield data
            await asyncio.sleep(0)
        if gzip is not None:
            yield gzip.flush()

    def _report_clash(self, name: str) -> None:
        self._causes.say(
            ("clash", name),
            logging.WARNING,
            f"{name} is left out of a page: its samples would have the names of another metric's",
        )

    def __repr__(self) -> str:
        return f"<PrometheusExporter {self._settings.id} {self.store!r}>"


_WHY: Final = {
    Cause.NAME: "there is no name, or nothing of it that Prometheus could have",
    Cause.NO_DATA: "metrics of this kind are not known",
    Cause.TEMPORALITY: "neither cumulative nor a delta that can be added up",
    Cause.NO_SUM: "an exponential histogram without a sum",
    Cause.SCALE: "an exponential histogram with buckets too wide",
    Cause.MALFORMED: "malformed",
}


def _value(batch: Batch[Series], point: Any) -> Histogram | Summary:
    if isinstance(batch, Histograms):
        return Histogram(point.bounds, point.buckets, point.sum)
    if isinstance(batch, Exponentials):
        return fixed(point)
    return Summary(point.quantiles, point.count, point.sum)


def _create(config: Config, settings: Settings, next_: None) -> PrometheusExporter:  # noqa: ARG001
    return PrometheusExporter(config, settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="prometheus",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.BETA,
)
