"""The receiver object: its two servers, started and stopped together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.config.values import NetAddress
from mlsysops_receivers.otlp.intake import Intake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Entry, Settings
    from mlsysops_pipeline.pdata.signal import Signal
    from mlsysops_pipeline.transport.http.server import HttpServer
    from mlsysops_pipeline.transport.http2.server import NativeGrpcServer
    from mlsysops_receivers.otlp.config import Config

GRACE_S: Final = 5.0
"""What requests under way may still take when the receiver stops; then they are refused."""


class OtlpReceiver:
    """Implements `Receiver`. ``ports``: what it listens on, by protocol, once it has started."""

    def __init__(self, config: Config, settings: Settings, next_: Mapping[Signal, Entry]) -> None:
        self.ports: dict[str, int] = {}
        self._config = config
        self._settings = settings
        self._next = next_
        self._grpc: NativeGrpcServer | None = None
        self._http: HttpServer | None = None

    async def start(self) -> None:
        """Listen by gRPC, then by HTTP; if one cannot, neither does.

        Raises `OSError` with the address or the file that is the matter, or `ConfigError`.
        """
        try:
            await self._start()
        except BaseException:
            await self.shutdown()
            raise

    async def _start(self) -> None:
        protocols, logger = self._config.protocols, self._settings.logger
        if protocols.grpc is not None:
            from mlsysops_receivers.otlp.grpc import start_grpc  # noqa: PLC0415  only if it is on

            intakes = self._intakes("grpc")
            self._grpc, port = await start_grpc(protocols.grpc, intakes, self._settings)
            self.ports["grpc"] = port
            logger.info(
                "Starting GRPC server, endpoint %s", self._shown(protocols.grpc.endpoint, port)
            )
        if protocols.http is not None:
            from mlsysops_receivers.otlp.http import make_http  # noqa: PLC0415  only if it is on

            self._http = make_http(protocols.http, self._intakes("http"), self._settings)
            await self._http.start()
            self.ports["http"] = port = self._http.port
            logger.info(
                "Starting HTTP server, endpoint %s", self._shown(protocols.http.endpoint, port)
            )

    def _intakes(self, transport: str) -> list[Intake]:
        return [
            Intake(signal, entry, self._config, self._settings, transport)
            for signal, entry in self._next.items()
        ]

    async def shutdown(self) -> None:
        """Take no new requests; those under way have `GRACE_S` seconds left."""
        grpc, self._grpc = self._grpc, None
        http, self._http = self._http, None
        self.ports.clear()
        stops = [server.shutdown(GRACE_S) for server in (grpc, http) if server is not None]
        await asyncio.gather(*stops)

    @staticmethod
    def _shown(endpoint: NetAddress, port: int) -> str:
        return str(endpoint if endpoint.unix_path else NetAddress(endpoint.host, port))

    def __repr__(self) -> str:
        return f"<OtlpReceiver {self._settings.id} ports={self.ports}>"
