"""How long the query API holds up an event loop: `python -m benchmarks.micro_query`.

A task that does nothing but give way runs beside the question; the longest time between two of its
turns is the stall. `stall` is by the clock on the wall, where other programs of the machine count
too, `cpu` by the CPU time of the thread; both are the median and the worst of all runs. The worst
is mostly a full garbage collection, which grows with what the program has loaded. The server is a
process of its own, answers compressed, as Prometheus does, and has its answers ready.

`loads` is what `json.loads` of the whole answer would take, in one piece, before any conversion.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import random
import statistics
import subprocess
import sys
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, Final

from benchmarks.micro_json import best_us
from mlsysops_pipeline.query import QueryClient, Vector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mlsysops_pipeline.query import Matrix

T0: Final = 1_700_000_000
STEP_S: Final = 15
RUNS: Final = 15
SHAPES: Final = {
    "instant, 2,000 series": (2_000, 0),
    "range, 2,000 series of 100": (2_000, 100),
    "range, 10 series of 10,000": (10, 10_000),
    "range, 1 series of 500,000": (1, 500_000),
}
PAGE_SERIES: Final = 20_000


def answer(series: int, points: int) -> bytes:
    """What a server would say; ``points`` zero: to an instant query."""
    rng = random.Random(1)  # noqa: S311  numbers of a benchmark
    result = []
    for i in range(series):
        labels = {
            "__name__": "node_cpu_seconds_total",
            "cluster": "athens",
            "cpu": str(i % 64),
            "instance": f"10.0.{i // 250}.{i % 250}:9100",
            "job": "node",
            "mode": "idle",
        }
        pairs = [[T0 + k * STEP_S, repr(rng.random() * 1e5)] for k in range(points or 1)]
        result.append({"metric": labels, **({"values": pairs} if points else {"value": pairs[0]})})
    data = {"resultType": "matrix" if points else "vector", "result": result}
    return json.dumps({"status": "success", "data": data}, separators=(",", ":")).encode()


def page() -> bytes:
    """A page of an agent; every tenth series is asked for."""
    lines = (
        f'app_{"load" if i % 10 == 0 else "other"}{{instance="i{i}",job="node"}} {i / 7}\n'
        for i in range(PAGE_SERIES)
    )
    return "".join(lines).encode()


def serve() -> None:
    """Answer until killed. The line of output is the port, and what `json.loads` takes, in ms."""
    bodies = {}
    loads_ms = []
    for index, (series, points) in enumerate(SHAPES.values()):
        body = answer(series, points)
        loads_ms.append(best_us(partial(json.loads, body), 5) / 1e3)
        path = f"/{index}/api/v1/query{'_range' if points else ''}"
        bodies[path] = gzip.compress(body, 1)
    text = page()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = bodies.get(self.path.partition("?")[0])
            self.send_response(200)
            if body is not None:
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body or text)))
            self.end_headers()
            self.wfile.write(body or text)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(json.dumps([server.server_address[1], loads_ms]), flush=True)
    server.serve_forever()


async def stall_ms(ask: Callable[[], Awaitable[object]]) -> tuple[float, float, float]:
    """The longest turn while ``ask`` runs, by the wall and by CPU, and how long it takes, in ms."""
    wall = cpu = 0
    is_done = False

    async def tick() -> None:
        nonlocal wall, cpu
        last, last_cpu = time.perf_counter_ns(), time.thread_time_ns()
        while not is_done:
            await asyncio.sleep(0)
            now, now_cpu = time.perf_counter_ns(), time.thread_time_ns()
            wall, cpu = max(wall, now - last), max(cpu, now_cpu - last_cpu)
            last, last_cpu = now, now_cpu

    async with asyncio.TaskGroup() as group:
        group.create_task(tick())
        start = time.perf_counter_ns()
        await ask()
        took = time.perf_counter_ns() - start
        is_done = True
    return wall / 1e6, cpu / 1e6, took / 1e6


def _row(title: str, runs: list[tuple[float, float, float]], loads_ms: float) -> str:
    wall, cpu, took = zip(*runs, strict=True)
    figures = (
        statistics.median(wall),
        max(wall),
        statistics.median(cpu),
        max(cpu),
        loads_ms,
        statistics.median(took),
    )
    return f"{title:28}" + "".join(f"{figure:11.2f}" for figure in figures)


async def measure(port: int, loads_ms: list[float]) -> None:
    """Print a table of all questions."""
    titles = ("stall", "worst", "cpu", "worst cpu", "loads", "in all")
    print(f"{'milliseconds':28}" + "".join(f"{title:>11}" for title in titles))
    for index, (title, (series, points)) in enumerate(SHAPES.items()):
        url = f"http://127.0.0.1:{port}/{index}"
        async with QueryClient(url) as client:

            async def ask(client: QueryClient = client, points: int = points) -> Vector | Matrix:
                if points:
                    return await client.query_range("m", T0, T0 + points * STEP_S, STEP_S)
                result = await client.query("m")
                assert isinstance(result, Vector)
                return result

            assert series == len(await ask())
            gc.collect()  # what was left by preparing is not the question's
            runs = [await stall_ms(ask) for _ in range(RUNS)]
            print(_row(title, runs, loads_ms[index]))
            frame = (await ask()).frame
            print(f"{'      its frame()':28}{'':22}{best_us(frame, RUNS) / 1e3:11.2f}")
    async with QueryClient(local=f"http://127.0.0.1:{port}/metrics") as client:
        gc.collect()
        runs = [await stall_ms(partial(client.latest, "app_load")) for _ in range(RUNS)]
        print(_row(f"latest, page of {PAGE_SERIES:,}", runs, 0))


def main() -> None:
    """Start the server, measure, and stop it."""
    if "--serve" in sys.argv:
        serve()
        return
    command = [sys.executable, "-m", "benchmarks.micro_query", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            asyncio.run(measure(*json.loads(server.stdout.readline())))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
