"""Sends precomputed requests over OTLP/gRPC or OTLP/HTTP and says how many were acknowledged.

One JSON object on standard input: transport, port, signal, items, points, requests, concurrency,
rate (requests a second; 0 = as fast as acknowledgements allow). One JSON object on standard output.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from grpc import aio

from benchmarks.workload import Workload
from mlsysops_pipeline.pdata import Signal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Send = "Callable[[bytes], Awaitable[bool]]"


async def main() -> None:
    plan = json.load(sys.stdin)
    signal = Signal(plan["signal"])
    frames = Workload(signal, plan["items"], plan["points"]).frames()
    run = over_grpc if plan["transport"] == "grpc" else over_http
    print(json.dumps(await run(plan, signal, frames)))


async def over_grpc(plan: dict[str, Any], signal: Signal, frames: list[bytes]) -> dict[str, Any]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with aio.insecure_channel(f"127.0.0.1:{plan['port']}", options=options) as channel:
        call = channel.unary_unary(signal.method)

        async def send(frame: bytes) -> bool:
            try:
                await call(frame)
            except aio.AioRpcError:
                return False
            return True

        return await drive(plan, frames, send)


async def over_http(plan: dict[str, Any], signal: Signal, frames: list[bytes]) -> dict[str, Any]:
    url = f"http://127.0.0.1:{plan['port']}{signal.url_path}"
    headers = {"Content-Type": "application/x-protobuf"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def send(frame: bytes) -> bool:
            async with session.post(url, data=frame) as response:
                await response.read()
                return response.status == 200

        return await drive(plan, frames, send)


async def drive(
    plan: dict[str, Any], frames: list[bytes], send: Callable[[bytes], Awaitable[bool]]
) -> dict[str, Any]:
    turns = itertools.count()
    acknowledged = 0
    latencies_s: list[float] = []
    started_s = time.perf_counter()
    rate = plan.get("rate") or 0

    async def worker() -> None:
        nonlocal acknowledged
        while (turn := next(turns)) < plan["requests"]:
            if rate:
                due_s = started_s + turn / rate
                await asyncio.sleep(max(0, due_s - time.perf_counter()))
            sent_s = time.perf_counter()
            acknowledged += await send(frames[turn % len(frames)])
            latencies_s.append(time.perf_counter() - sent_s)

    await asyncio.gather(*(worker() for _ in range(plan["concurrency"])))
    elapsed_s = time.perf_counter() - started_s
    latencies_s.sort()
    return {
        "acknowledged": acknowledged,
        "elapsed_s": elapsed_s,
        "cpu_s": time.process_time(),
        "p50_ms": latencies_s[len(latencies_s) // 2] * 1e3,
        "p99_ms": latencies_s[int(len(latencies_s) * 0.99)] * 1e3,
    }


if __name__ == "__main__":
    asyncio.run(main())
