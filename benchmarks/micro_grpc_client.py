"""CPU of the native gRPC client for one call, against a server in another process.

    python -m benchmarks.micro_grpc_client [--calls N] [--concurrency N]

Prints, for several sizes of request, the microseconds of this process for a call (user and system
time), calls per second, and the same for a `grpc.aio` client where grpcio is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import uvloop

from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.transport.dialing import Target
from mlsysops_pipeline.transport.grpc.client import GrpcChannel
from mlsysops_pipeline.transport.http2.heads import request_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIZES = (150, 14_300, 143_000)
_LOGGER = logging.getLogger("benchmark")
_METHOD = Signal.METRICS.method


async def serve() -> None:
    """The peer: the native server, which answers everything with an empty message.

    It runs in a process of its own, and alone imports what it needs (hence PLC0415).
    """
    import socket  # noqa: PLC0415

    from mlsysops_pipeline.errors import Code  # noqa: PLC0415
    from mlsysops_pipeline.memory import MemoryAccount  # noqa: PLC0415
    from mlsysops_pipeline.transport.http2.calls import Service, UnaryMethod  # noqa: PLC0415
    from mlsysops_pipeline.transport.http2.server import NativeGrpcServer  # noqa: PLC0415
    from mlsysops_pipeline.transport.http2.status import GrpcStatus  # noqa: PLC0415

    async def handle(_request: object) -> bytes:
        return b""

    async def decompress(_encoding: str, data: bytes, _bytes_max: int) -> bytes:
        return data

    service = Service(
        methods={_METHOD: UnaryMethod(handle)},
        memory=MemoryAccount(),
        status_of=lambda error: GrpcStatus(Code.INTERNAL, str(error)),
    )
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)  # noqa: FBT003  the library's signature
    server = NativeGrpcServer(
        service, [sock], clock=SystemClock(), logger=_LOGGER, decompress=decompress
    )
    await server.start()
    print(sock.getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.shutdown(0)


async def measure(
    name: str, size: int, calls: int, concurrency: int, call: Callable[[bytes], Awaitable[object]]
) -> None:
    """Make ``calls`` calls, ``concurrency`` at a time, and print what they cost."""
    message = os.urandom(size)
    for _ in range(concurrency * 2):
        await call(message)

    async def worker() -> None:
        for _ in range(calls // concurrency):
            await call(message)

    started, before = time.perf_counter(), os.times()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())
    elapsed, after = time.perf_counter() - started, os.times()
    user = (after.user - before.user) / calls * 1e6
    system = (after.system - before.system) / calls * 1e6
    print(
        f"{name:8} {size:8} bytes x{concurrency:<3} {user + system:7.1f} us a call"
        f" ({user:.1f} user, {system:.1f} system) {calls / elapsed:9.0f} calls/s"
    )


async def native(port: int, calls: int, concurrency: int) -> None:
    fields = request_fields(_METHOD, f"127.0.0.1:{port}", "benchmark", 5.0)
    channel = GrpcChannel(
        Target("127.0.0.1", port), clock=SystemClock(), tasks=Tasks(_LOGGER), pinned=fields
    )

    async def call(message: bytes) -> None:
        outcome = await channel.call(fields, message, 5.0)
        assert outcome.code == 0, outcome

    for size in SIZES:
        await measure("native", size, calls, concurrency, call)
    await channel.close()


async def grpcio(port: int, calls: int, concurrency: int) -> None:
    try:
        from grpc import aio  # noqa: PLC0415
    except ImportError:
        return
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary(_METHOD)
        for size in SIZES:
            await measure(
                "grpc.aio", size, calls, concurrency, lambda message: method(message, timeout=5)
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve())
        return
    peer = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.micro_grpc_client", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert peer.stdout is not None
    port = int(peer.stdout.readline())
    try:
        uvloop.run(native(port, arguments.calls, arguments.concurrency))
        uvloop.run(grpcio(port, arguments.calls, arguments.concurrency))
    finally:
        peer.communicate("\n")


if __name__ == "__main__":
    main()
