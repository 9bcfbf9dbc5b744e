"""The page with the collector's own metrics: `/metrics`, where `service.telemetry` says so."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import ComponentID, Kind
from mlsysops_pipeline.service.exposition import CONTENT_TYPE, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.config.telemetry import MetricsConfig
    from mlsysops_pipeline.config.values import NetAddress
    from mlsysops_pipeline.service.host import Surroundings
    from mlsysops_pipeline.transport.http.server import HttpRequest, HttpResponse, HttpServer

_LOGGER = logging.getLogger("mlsysops_pipeline.service")
_PATH = "/metrics"
_GRACE_S = 1.0


class TelemetryServer:
    """Serves the numbers of one collector. Without a page in its configuration it does nothing."""

    def __init__(
        self, config: MetricsConfig, around: Surroundings, resource: Mapping[str, str]
    ) -> None:
        self._config = config
        self._around = around
        self._resource = resource
        self._servers: list[HttpServer] = []

    async def start(self) -> None:
        """Listen. Raises `OSError` that names the address when that is not possible."""
        if self._config.level == "none":
            _LOGGER.info("Internal metrics telemetry disabled")
        try:
            for page in self._config.pages():
                await self._listen(page)
        except BaseException:
            await self.shutdown()
            raise

    async def _listen(self, page: NetAddress) -> None:
        from mlsysops_pipeline.transport.http.server import HttpServer  # noqa: PLC0415  if used
        from mlsysops_pipeline.transport.server_settings import (  # noqa: PLC0415  if used
            HttpServerConfig,
        )

        settings = self._around.settings(Kind.EXTENSION, ComponentID("telemetry"))
        config = HttpServerConfig.model_construct(endpoint=page)  # no validator is built for it
        server = HttpServer(config, self._answer, settings=settings)
        await server.start()
        self._servers.append(server)
        _LOGGER.info("Serving metrics on %s%s", page, _PATH)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        from mlsysops_pipeline.transport.http.server import HttpResponse  # noqa: PLC0415  if used

        if request.path != _PATH:
            return HttpResponse(404, b"404 page not found\n", "text/plain; charset=utf-8")
        if request.method not in {"GET", "HEAD"}:
            headers = (("allow", "GET, HEAD"),)
            return HttpResponse(405, b"405 method not allowed\n", "text/plain", headers)
        page = render(self._around.meter, self._resource, self._config.level)
        return HttpResponse(200, page.encode(), CONTENT_TYPE)

    async def shutdown(self) -> None:
        """Close the listeners. Safe before `start` and twice."""
        servers, self._servers = self._servers, []
        for server in servers:
            await server.shutdown(_GRACE_S)

    @property
    def port(self) -> int | None:
        """The port of the first page, ``None`` when nothing is served."""
        return self._servers[0].port if self._servers else None
