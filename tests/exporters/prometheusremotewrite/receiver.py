"""A receiver of remote write 1.0 that takes nothing that the protocol forbids (R1-1 to R1-7).

It refuses with 400: other headers, another encoding, what is no snappy block or no message, label
sets that are not sorted, repeat or are empty, bad names, a series twice in a request, samples that
are not newer than those it has. A sample that comes again exactly as it was is taken and counted in
``repeated``: an answer may have been lost.

``behave`` says what happens to each request before it is looked at: `None` to take it, or one of
the outcomes below.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import cramjam
from google.protobuf.message import DecodeError

from tests.exporters.prometheusremotewrite import prompb

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_HEADERS = {
    "content-encoding": "snappy",
    "content-type": "application/x-protobuf",
    "x-prometheus-remote-write-version": "0.1.0",
}

Labels: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """An answer that is given without looking. ``slow_s``: given after that long."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    slow_s: float = 0.0


@dataclass(frozen=True)
class Hang:
    """No answer ever. ``stores``: the request counts all the same."""

    stores: bool = False


class Close:
    """The connection ends instead."""


@dataclass(frozen=True)
class Slow:
    """Taken, after that long."""

    seconds: float


Outcome: TypeAlias = Answer | Hang | Close | Slow | None


class Refused(Exception):  # noqa: N818  it is an answer, not an error of the program
    """The request is against the rules."""


@dataclass
class Receiver:
    """What arrived. ``series``: by labels the samples in the order of their arrival."""

    behave: Callable[[int], Outcome] = lambda _: None
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    series: dict[Labels, list[tuple[int, float]]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    repeated: int = 0
    seen: int = 0
    active: int = 0
    active_peak: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/write"

    def named(self, name: str) -> dict[Labels, list[tuple[int, float]]]:
        """The series of a metric name, without that label."""
        return {
            tuple(pair for pair in labels if pair[0] != "__name__"): samples
            for labels, samples in self.series.items()
            if ("__name__", name) in labels
        }

    @property
    def names(self) -> set[str]:
        return {dict(labels)["__name__"] for labels in self.series}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                await writer.drain()
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        outcome = self.behave(self.seen)
        self.seen += 1
        self.headers.append({**headers, ":first": first})
        self.active += 1
        self.active_peak = max(self.active_peak, self.active)
        try:
            answer = await self._answer(reader, outcome, headers, body)
        finally:
            self.active -= 1
        if answer is None:
            return False
        more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        head = f"HTTP/1.1 {answer.status} Because\r\ncontent-length: {len(answer.body)}\r\n{more}"
        writer.write(f"{head}\r\n".encode() + answer.body)
        return True

    async def _answer(
        self, reader: asyncio.StreamReader, outcome: Outcome, headers: dict[str, str], body: bytes
    ) -> Answer | None:
        if isinstance(outcome, Close):
            return None
        if isinstance(outcome, Hang):
            if outcome.stores:
                self.take(headers, body)
            await reader.read()  # until the client has had enough
            return None
        if isinstance(outcome, Answer):
            await asyncio.sleep(outcome.slow_s)
            return outcome
        if isinstance(outcome, Slow):
            await asyncio.sleep(outcome.seconds)
        try:
            self.take(headers, body)
        except Refused as refusal:
            self.refusals.append(str(refusal))
            return Answer(400, str(refusal).encode())
        return Answer(204)

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Store a request, or raise `Refused` and store nothing of it."""
        for name, value in _HEADERS.items():
            if headers.get(name) != value:
                raise Refused(f"{name} is {headers.get(name)!r}")
        if not re.match(r"[^/ ]+/[0-9]", headers.get("user-agent", "")):
            raise Refused("a User-Agent without name and version")
        try:
            message = prompb.parse(bytes(cramjam.snappy.decompress_raw(body)))
        except (cramjam.DecompressionError, DecodeError) as error:
            raise Refused(f"no snappy block of a WriteRequest: {error}") from error
        found: dict[Labels, list[tuple[int, float]]] = {}
        for series in message.timeseries:
            labels = _checked_labels(series)
            if labels in found:
                raise Refused(f"twice in one request: {labels}")
            found[labels] = self._checked_samples(series, labels)
        for labels, samples in found.items():
            self.series.setdefault(labels, []).extend(samples)
        self.requests.append(message)

    def _checked_samples(self, series: Any, labels: Labels) -> list[tuple[int, float]]:
        pairs = [(one.timestamp, one.value) for one in series.samples]
        pairs += [(one.timestamp, float(one.count_int)) for one in series.histograms]
        if not pairs:
            raise Refused(f"no samples: {labels}")
        have = self.series.get(labels, [])
        newest = have[-1] if have else (-(1 << 63), 0.0)
        taken = []
        for pair in pairs:
            if pair[0] > newest[0]:
                taken.append(pair)
                newest = pair
            elif any(pair[0] == one[0] and _bits(pair[1]) == _bits(one[1]) for one in have):
                self.repeated += 1
            else:
                raise Refused(f"out of order: {pair} after {newest} of {labels}")
        return taken


def _checked_labels(series: Any) -> Labels:
    labels = tuple((label.name, label.value) for label in series.labels)
    names = [name for name, _ in labels]
    if names != sorted(set(names)):
        raise Refused(f"labels are not sorted, or repeat: {names}")
    for name, value in labels:
        if not value:
            raise Refused(f"an empty value of {name!r}")
        if not _LABEL_NAME.fullmatch(name):
            raise Refused(f"a bad label name: {name!r}")
    metric = dict(labels).get("__name__", "")
    if not _METRIC_NAME.fullmatch(metric):
        raise Refused(f"a bad metric name: {metric!r}")
    return labels


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)


def is_stale(value: float) -> bool:
    return int.from_bytes(_bits(value), "little") == prompb.STALE_BITS


@contextlib.asynccontextmanager
async def receiving(
    behave: Callable[[int], Outcome] | None = None,
    *,
    receiver: Receiver | None = None,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Receiver]:
    """A receiver that listens; with ``receiver``, one that has what that one has."""
    found = receiver or Receiver()
    if behave is not None:
        found.behave = behave
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # which only the end below causes
                await found.serve(reader, writer)
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls, limit=1 << 24)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
