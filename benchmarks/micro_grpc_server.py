"""CPU of a request from the bytes of a socket to a batch, without the socket.

    python -m benchmarks.micro_grpc_server [--calls] [ITEMS POINTS ...]

A collector runs with ``otlp``, ``memory_limiter``, ``batch`` and ``nop``; what a client would send
is given to one of its connections directly, request by request, and the answers are thrown away.
Prints the microseconds of a request, the least of ten rounds, for ``ITEMS`` items a request and
``POINTS`` points a metric; with ``--calls`` how many Python calls that is and which take longest.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from typing import Any

import uvloop

from benchmarks.client_grpc import GrpcClient
from benchmarks.process import free_port
from benchmarks.workload import Workload
from mlsysops_pipeline import Collector
from mlsysops_pipeline.memory import settle_objects, tune_allocation
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.transport.http2.server import GrpcProtocol

_ROUNDS = 10
_ITEMS_A_ROUND = 100_000
_REQUESTS_A_ROUND_MAX = 2_000
_READ_BYTES = 256 << 10
"""What uvloop reads at once."""


class _NoSocket(asyncio.Transport):
    """Takes what is written."""

    def write(self, data: Any) -> None:
        """See `asyncio.WriteTransport`."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""


def _configuration(port: int) -> dict[str, Any]:
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_mib": 2048},
            "batch": {},
        },
        "exporters": {"nop": {}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "metrics": {
                    "receivers": ["otlp"],
                    "processors": ["memory_limiter", "batch"],
                    "exporters": ["nop"],
                }
            },
        },
    }


async def _protocol(port: int) -> GrpcProtocol:
    """A connection of the server that listens at ``port``, with no socket behind it."""
    made: asyncio.Future[GrpcProtocol] = asyncio.get_running_loop().create_future()
    original = GrpcProtocol.connection_made

    def remember(self: GrpcProtocol, transport: asyncio.BaseTransport) -> None:
        made.set_result(self)
        original(self, transport)

    GrpcProtocol.connection_made = remember  # type: ignore[method-assign]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    protocol = GrpcProtocol((await made)._server)  # noqa: SLF001  nobody else hands it out
    GrpcProtocol.connection_made = original  # type: ignore[method-assign]
    writer.close()
    protocol.connection_made(_NoSocket())
    return protocol


async def _measure(protocol: GrpcProtocol, items: int, points: int, *, calls: bool) -> None:
    requests = Workload(Signal.METRICS, items, points).requests()
    client = GrpcClient("benchmark", Signal.METRICS.method, requests)
    client._window = client._initial_window = 1 << 60  # noqa: SLF001  credit is not looked at
    count = min(_REQUESTS_A_ROUND_MAX, _ITEMS_A_ROUND // items)
    profile = cProfile.Profile() if calls else None
    best_s = float("inf")
    protocol.data_received(b"".join(client.outgoing))
    for _ in range(1 if calls else _ROUNDS):
        reads = []
        for index in range(count):
            client.outgoing.clear()
            client.request(index % len(requests))
            wire = b"".join(client.outgoing)
            reads += [wire[at : at + _READ_BYTES] for at in range(0, len(wire), _READ_BYTES)]
        if profile is not None:
            profile.enable()
        began_s = time.thread_time()
        for data in reads:
            protocol.data_received(data)
            await asyncio.sleep(0)
        best_s = min(best_s, time.thread_time() - began_s)
        if profile is not None:
            profile.disable()
    print(f"{items:5} items a request, {points:2} a metric: {best_s / count * 1e6:7.1f} us")
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)


async def _main(cases: list[tuple[int, int]], *, calls: bool) -> None:
    port = free_port()
    async with Collector(_configuration(port)):
        settle_objects()
        for items, points in cases:
            # A connection each: stream numbers go on from one request to the next.
            protocol = await _protocol(port)
            await _measure(protocol, items, points, calls=calls)
            protocol.connection_lost(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, metavar="ITEMS POINTS")
    parser.add_argument("--calls", action="store_true", help="profile instead of timing")
    arguments = parser.parse_args()
    sizes = arguments.sizes or [1, 1, 100, 10, 100, 1, 1000, 10, 1000, 1]
    tune_allocation()  # as the command line does, and it settles what there is after the start
    uvloop.run(_main(list(zip(sizes[::2], sizes[1::2], strict=True)), calls=arguments.calls))


if __name__ == "__main__":
    main()
