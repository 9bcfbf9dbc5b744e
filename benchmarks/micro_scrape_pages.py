"""What reading a page and writing it as OTLP costs: `python -m benchmarks.micro_scrape_pages`.

Without the network: `micro_scrape` has that. CPU of one page of a target, in microseconds, the best
of many: read for the first time, and again. The pages are one of node_exporter, as it changes in a
second, if it is installed, and made-up ones of 1,000 samples each: all values change ("varied"),
or a third of them; histograms; samples with times; lines in another order each time; a line that
comes and goes.
"""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

from benchmarks.process import reference_ms
from mlsysops_receivers.prometheus.scrape import (
    FEED_BYTES,
    Report,
    ScrapeOptions,
    Target,
    TargetSeries,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAMPLES, _PAGES, _TURNS = 1_000, 5, 200
_BOUNDS = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
_NODE_EXPORTER = "prometheus-node-exporter"
_REPORT = Report(duration_s=0.01)
_TEXT = "text/plain; version=0.0.4"


def node_pages() -> list[bytes]:
    """Pages of node_exporter, a second apart; none if it is not installed."""
    program = shutil.which(_NODE_EXPORTER)
    if program is None:
        return []
    address = "127.0.0.1:19107"
    with subprocess.Popen(
        [program, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            time.sleep(1.5)
            pages = []
            for _ in range(_PAGES):
                with urllib.request.urlopen(f"http://{address}/metrics") as answer:
                    pages.append(answer.read())
                time.sleep(1.0)
            return pages
        finally:
            process.terminate()


def numbers(rng: random.Random, share: float) -> list[bytes]:
    """Pages of gauges and counters, a share of whose values changes."""
    heads = [
        f'http_requests_{n // 10}_total{{code="{n % 10}",handler="/api/v1/{n}",method="get"}}'
        for n in range(_SAMPLES)
    ]
    values = ["0"] * _SAMPLES
    pages: list[bytes] = []
    for _ in range(_PAGES):
        for at in range(_SAMPLES):
            if not pages or rng.random() < share:
                wide = repr(rng.random() * 10 ** rng.randrange(9))
                values[at] = str(rng.randrange(10**9)) if at % 3 else wide
        lines = zip(heads, values, strict=True)
        pages.append("".join(f"{head} {value}\n" for head, value in lines).encode())
    return pages


def histograms(rng: random.Random) -> list[bytes]:
    """Pages of histograms, all of which go on."""
    counts = [[0] * len(_BOUNDS) for _ in range(_SAMPLES // (len(_BOUNDS) + 2))]
    pages = []
    for _ in range(_PAGES):
        lines = ["# TYPE latency_seconds histogram"]
        for code, row in enumerate(counts):
            added = itertools.accumulate(rng.randrange(50) for _ in row)
            row[:] = [count + more for count, more in zip(row, added, strict=True)]
            lines += [
                f'latency_seconds_bucket{{code="{code}",le="{bound}"}} {count}'
                for bound, count in zip(_BOUNDS, row, strict=True)
            ]
            lines.append(f'latency_seconds_sum{{code="{code}"}} {rng.random() * row[-1]!r}')
            lines.append(f'latency_seconds_count{{code="{code}"}} {row[-1]}')
        pages.append("".join(f"{line}\n" for line in lines).encode())
    return pages


def timed(pages: Sequence[bytes]) -> list[bytes]:
    """The same with times, as cAdvisor writes them."""
    return [
        page.replace(b"\n", b" %d\n" % (1_700_000_000_000 + number))
        for number, page in enumerate(pages)
    ]


def shuffled(rng: random.Random, page: bytes) -> list[bytes]:
    """The same lines in other orders."""
    lines = page.splitlines(keepends=True)
    return [b"".join(rng.sample(lines, len(lines))) for _ in range(_PAGES)]


def without_one(page: bytes) -> list[bytes]:
    """A page, and without one of its lines."""
    lines = page.splitlines(keepends=True)
    return [page, b"".join(lines[: _SAMPLES // 2] + lines[_SAMPLES // 2 + 1 :])]


def scrape(series: TargetSeries, page: bytes, at_ns: int) -> int:
    """Read a page as the receiver does; the bytes of the request."""
    reading = series.begin(_TEXT, at_ns)
    for at in range(0, len(page), FEED_BYTES):
        reading.feed(page[at : at + FEED_BYTES])
    return len(reading.finish(_REPORT).wire)


def measure(name: str, pages: Sequence[bytes]) -> None:
    """Print what the pages cost, one after the other, as those of one target."""
    first: list[float] = []
    again: list[float] = []
    for _ in range(3):
        series = TargetSeries(
            Target({"job": "bench", "instance": "10.0.0.1:9100"}), ScrapeOptions()
        )
        for turn, page in zip(range(_TURNS), itertools.cycle(pages), strict=False):
            began = time.process_time_ns()
            scrape(series, page, 1_700_000_000_000_000_000 + turn * 10**6)
            cost = time.process_time_ns() - began
            # Every page is other than the one before, but not the first time.
            (again if turn else first).append(cost / 1e3)
    lines = pages[0].count(b"\n")
    best = sorted(again)[len(again) // 20]
    print(f"{name:16} {lines:5} lines: first {min(first):6.0f}, again {best:6.0f} us, "
          f"{best / lines * 1e3:5.0f} ns a line")  # fmt: skip


def main() -> None:
    """Measure all pages."""
    rng = random.Random(1)  # noqa: S311  no secret
    varied = numbers(rng, 1.0)
    print(f"reference {reference_ms(None):.1f} ms")
    for name, pages in {
        "node_exporter": node_pages(),
        "a third varied": numbers(rng, 0.33),
        "varied": varied,
        "histograms": histograms(rng),
        "timed": timed(varied),
        "shuffled": shuffled(rng, varied[0]),
        "one comes, goes": without_one(varied[0]),
    }.items():
        if pages:
            measure(name, pages)
        else:
            print(f"{name:16} left out: {_NODE_EXPORTER} is not installed")


if __name__ == "__main__":
    main()
