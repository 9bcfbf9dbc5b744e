"""Something to scrape: a page like node_exporter's, whose values change from scrape to scrape.

It reads one line, the number of samples of a page; prints its port; then prints a JSON line for
every line that it reads: the pages that it served. After the line ``stop`` it answers 503. It
listens on all addresses of the loopback network, so that one program is many targets.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import sys
import time
from typing import Any

_VARIANTS = 24
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_HISTOGRAMS = 5
_HISTOGRAM_SAMPLES = len(_BUCKETS) + 3
_CHANGING = 0.4
_HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
    "Content-Length: {}\r\n{}\r\n"
)
_GONE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def points(samples: int) -> int:
    """The OTLP data points of a page: a histogram is one."""
    return samples - _HISTOGRAMS * (_HISTOGRAM_SAMPLES - 1)


class Page:
    """The page at one time after the other; the same ones every time."""

    def __init__(self, samples: int) -> None:
        self._source = random.Random(7)  # noqa: S311
        self._families = self._layout(samples - _HISTOGRAMS * _HISTOGRAM_SAMPLES)
        self._values = [self._source.random() * 1e6 for _ in range(samples)]
        self._counts = [0] * _HISTOGRAMS

    def _layout(self, samples: int) -> list[tuple[str, str, list[str]]]:
        """Families as node_exporter has them: many of one series, some of one a device or CPU."""
        families: list[tuple[str, str, list[str]]] = []
        while samples:
            number = len(families)
            size = min(samples, self._source.choice((1, 1, 1, 2, 8, 32)))
            kind = "counter" if number % 2 else "gauge"
            ending = "_total" if kind == "counter" else ""
            name = f"node_subsystem{number % 20}_value{number}_bytes{ending}"
            labels = [f'{{device="dev{index}",mode="mode{index % 8}"}}' for index in range(size)]
            families.append((name, kind, labels if size > 1 else [""]))
            samples -= size
        return families

    def next(self) -> bytes:
        """The page now: two in five values have changed."""
        lines: list[str] = []
        values = iter(range(len(self._values)))
        for name, kind, labels in self._families:
            lines += (f"# HELP {name} A value of the machine, in bytes.", f"# TYPE {name} {kind}")
            for label in labels:
                place = next(values)
                if self._source.random() < _CHANGING:
                    self._values[place] += round(self._source.random() * 1000, 3)
                lines.append(f"{name}{label} {self._values[place]!r}")
        for number in range(_HISTOGRAMS):
            lines += self._histogram(number)
        return ("\n".join(lines) + "\n").encode()

    def _histogram(self, number: int) -> list[str]:
        name = f"node_request{number}_seconds"
        self._counts[number] += self._source.randrange(100)
        count = self._counts[number]
        lines = [f"# HELP {name} How long requests took.", f"# TYPE {name} histogram"]
        for place, bound in enumerate(_BUCKETS):
            share = count * (place + 1) // (len(_BUCKETS) + 1)
            lines.append(f'{name}_bucket{{le="{bound}"}} {share}')
        lines.append(f'{name}_bucket{{le="+Inf"}} {count}')
        return [*lines, f"{name}_sum {count * 0.2!r}", f"{name}_count {count}"]


class Server:
    """Answers from memory, compressed where that is wanted, and counts."""

    def __init__(self, samples: int) -> None:
        page = Page(samples)
        bodies = [page.next() for _ in range(_VARIANTS)]
        packed = [gzip.compress(body, compresslevel=5, mtime=0) for body in bodies]
        encoding = "Content-Encoding: gzip\r\n"
        self._plain = [_HEAD.format(len(one), "").encode() + one for one in bodies]
        self._packed = [_HEAD.format(len(one), encoding).encode() + one for one in packed]
        self.pages = 0
        self.stopped = False

    def answer(self, head: bytes) -> bytes:
        """The answer to a request."""
        if self.stopped:
            return _GONE
        self.pages += 1
        answers = self._packed if b"gzip" in head else self._plain
        return answers[self.pages % _VARIANTS]

    def line(self) -> str:
        """For the harness."""
        return json.dumps({"pages": self.pages, "cpu_s": time.process_time()})


class Connection(asyncio.Protocol):
    """One connection: a request is a head without a body."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in heads:
            self._transport.write(self._server.answer(head))


async def main() -> None:
    samples = int(await asyncio.to_thread(sys.stdin.readline))
    target = Server(samples)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(target), "0.0.0.0", 0)  # noqa: S104 127/8
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        target.stopped = target.stopped or line.strip() == "stop"
        print(target.line(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
