"""An `otlp` receiver under test, with a sink behind every signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_settings
from mlsysops_receivers.otlp import FACTORY, Config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.testing import FakeHost

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


class Running:
    """Start it with `start`; ``sinks`` are the pipelines."""

    def __init__(
        self,
        keys: dict[str, Any] | None = None,
        *,
        grpc: dict[str, Any] | None = None,
        http: dict[str, Any] | None = None,
        signals: Iterable[Signal] = tuple(Signal),
        host: FakeHost | None = None,
        clock: Any = None,
    ) -> None:
        protocols = {
            "grpc": {"endpoint": "127.0.0.1:0", **(grpc or {})},
            "http": {"endpoint": "127.0.0.1:0", **(http or {})},
        }
        self.config = parse_config(Config, {"protocols": protocols, **(keys or {})})
        self.sinks = {signal: Sink() for signal in signals}
        self.settings = make_settings(
            "otlp/test", kind=Kind.RECEIVER, clock=clock or SystemClock(), host=host
        )
        self.receiver = FACTORY.create(self.config, self.settings, self.sinks)

    async def start(self) -> Running:
        await self.receiver.start()
        return self

    @property
    def grpc(self) -> str:
        """The address of the gRPC server."""
        return f"127.0.0.1:{self.receiver.ports['grpc']}"

    def has_given_back(self) -> bool:
        """Whether nothing is charged to the memory account any more."""
        return self.settings.memory.in_flight == 0

    def url(self, path: str = "/v1/metrics") -> str:
        """A URL of the HTTP server."""
        return f"http://127.0.0.1:{self.receiver.ports['http']}{path}"

    def counted(self, name: str, signal: Signal, transport: str) -> float:
        """A self-metric of this receiver."""
        return self.settings.meter.value(
            f"otelcol_receiver_{name}_{signal.item_noun}",
            receiver="otlp/test",
            transport=transport,
        )
