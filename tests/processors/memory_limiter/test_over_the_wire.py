"""What senders are told while memory is short, and that they are taken again (CV-2, OG-3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from mlsysops_pipeline import Collector
from mlsysops_pipeline.component import ComponentID
from mlsysops_pipeline.memory import resident_bytes
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_wire, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mlsysops_pipeline.pdata.payload import Payload

MIB = 1 << 20
INTERVAL_S = 0.1


class Rig:
    """A collector with a limiter, and senders of one small request."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self.limit_mib = resident_bytes() // MIB + 1_000
        config: dict[str, Any] = {
            "receivers": {
                "otlp": {
                    "protocols": {
                        "grpc": {"endpoint": "127.0.0.1:0"},
                        "http": {"endpoint": "127.0.0.1:0"},
                    }
                }
            },
            "processors": {
                "memory_limiter": {"check_interval": "100ms", "limit_mib": self.limit_mib}
            },
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {
                    "logs": {
                        "receivers": ["otlp"],
                        "processors": ["memory_limiter"],
                        "exporters": ["seen"],
                    }
                },
            },
        }
        self.collector = Collector(config, sinks={"seen": self.take})

    async def take(self, payload: Payload) -> None:
        self.payloads.append(payload)

    @property
    def memory(self) -> Any:
        return self.collector._around.memory

    def port(self, protocol: str) -> int:
        return int(self.collector.graph.receivers[ComponentID("otlp")].ports[protocol])

    async def post(self) -> tuple[int, str | None]:
        """The status and Retry-After of a request over HTTP."""
        url = f"http://127.0.0.1:{self.port('http')}/v1/logs"
        headers = {"content-type": "application/x-protobuf"}
        async with (
            aiohttp.ClientSession() as client,
            client.post(url, data=make_wire(Signal.LOGS, 1), headers=headers) as response,
        ):
            return response.status, response.headers.get("retry-after")

    async def call(self) -> tuple[grpc.StatusCode, float]:
        """The status and the seconds of RetryInfo of a call over gRPC."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port('grpc')}") as channel:
            try:
                await channel.unary_unary(Signal.LOGS.method)(make_wire(Signal.LOGS, 1))
            except grpc.aio.AioRpcError as error:
                details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
                retry = error_details_pb2.RetryInfo()
                for detail in status_pb2.Status.FromString(details).details:
                    detail.Unpack(retry)
                return error.code(), retry.retry_delay.ToNanoseconds() / 1e9
        return grpc.StatusCode.OK, 0.0


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    async with made.collector:
        yield made


@pytest.mark.slow
async def test_refused_with_a_hint_and_accepted_again_within_two_intervals(rig: Rig) -> None:
    assert (200, None) == await rig.post()
    assert (grpc.StatusCode.OK, 0.0) == await rig.call()
    fill = rig.limit_mib * MIB * 9 // 10
    rig.memory.charge(fill)

    assert (503, "1") == await rig.post()
    assert (grpc.StatusCode.UNAVAILABLE, INTERVAL_S) == await rig.call()
    assert 2 == len(rig.payloads)

    rig.memory.release(fill)
    (_, processor) = next(iter(rig.collector.graph.processors()))
    await wait_until(lambda: not processor._policy.refusing, 2 * INTERVAL_S + 0.5)
    assert (200, None) == await rig.post()
    assert (grpc.StatusCode.OK, 0.0) == await rig.call()
    assert 4 == len(rig.payloads)


async def test_nothing_stays_charged(rig: Rig) -> None:
    for _ in range(3):
        await rig.post()
        await rig.call()

    assert 0 == rig.memory.in_flight
    assert rig.memory.peak > 0
