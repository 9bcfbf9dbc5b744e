"""A Loki that takes nothing that its documentation forbids.

It refuses with 400: another content type, what is no snappy block of a push request, labels that
cannot be read, are not sorted, repeat, are empty or too many, a bad name of a label or of metadata,
a name that is there twice, an entry without a time. ``reply`` says what happens before a request is
looked at: ``None`` to take it, or a status with headers and a body.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import cramjam
from google.protobuf.message import DecodeError

from tests.exporters.loki import logproto

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LABELS_MAX = 15
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"')


class Entry(NamedTuple):
    time_ns: int
    line: str
    metadata: dict[str, str]


class Answer(NamedTuple):
    """An answer that is given without looking. Status 0: the connection ends instead."""

    status: int
    body: bytes = b""
    headers: str = ""
    stores: bool = False


class Refused(Exception):  # noqa: N818  it is an answer, not an error of the program
    """The request is against the rules."""


@dataclass
class Loki:
    """What arrived: by tenant and labels the entries, in the order of their arrival."""

    reply: Callable[[int], Answer | None] = lambda _: None
    tenants: dict[str, dict[str, list[Entry]]] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    active: int = 0
    active_peak: int = 0
    slow_s: float = 0.0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def streams(self) -> dict[str, list[Entry]]:
        """Those of no tenant."""
        return self.tenants.get("", {})

    @property
    def lines(self) -> list[str]:
        return [entry.line for entries in self.streams.values() for entry in entries]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                await writer.drain()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        number = len(self.targets)
        self.targets.append(first.split(" ")[1])
        self.headers.append(headers)
        self.active += 1
        self.active_peak = max(self.active_peak, self.active)
        try:
            await asyncio.sleep(self.slow_s)  # a slow server is what some tests want
            answer = self.reply(number)
            if answer is None or answer.stores:
                answer = self._taken(headers, body, answer)
        finally:
            self.active -= 1
        if not answer.status:
            return False
        start = f"HTTP/1.1 {answer.status} Because\r\ncontent-length: {len(answer.body)}\r\n"
        writer.write(f"{start}{answer.headers}\r\n".encode() + answer.body)
        return True

    def _taken(self, headers: dict[str, str], body: bytes, answer: Answer | None) -> Answer:
        try:
            self.take(headers, body)
        except Refused as refusal:
            self.refusals.append(str(refusal))
            return Answer(400, str(refusal).encode())
        return answer or Answer(204)

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Store a request, or raise `Refused` and store nothing of it."""
        if headers.get("content-type") != "application/x-protobuf":
            raise Refused(f"content-type is {headers.get('content-type')!r}")
        if "content-encoding" in headers:
            raise Refused("a push has no content-encoding: it is snappy anyway")
        try:
            raw = bytes(cramjam.snappy.decompress_raw(body))
            message = logproto.parse(raw)
        except (cramjam.DecompressionError, DecodeError) as error:
            raise Refused(f"no snappy block of a push request: {error}") from error
        found: dict[str, list[Entry]] = {}
        for stream in message.streams:
            if stream.labels in found:
                raise Refused(f"twice in one request: {stream.labels}")
            read_labels(stream.labels)
            found[stream.labels] = [_checked(entry) for entry in stream.entries]
            if not found[stream.labels]:
                raise Refused(f"no entries: {stream.labels}")
        kept = self.tenants.setdefault(headers.get("x-scope-orgid", ""), {})
        for labels, entries in found.items():
            kept.setdefault(labels, []).extend(entries)
        self.bodies.append(raw)


def read_labels(text: str) -> dict[str, str]:
    """Labels of a stream. Raises `Refused`."""
    if not (text.startswith("{") and text.endswith("}")):
        raise Refused(f"no labels: {text}")
    rest, found = text[1:-1], []
    while rest:
        match = _LABEL.match(rest)
        if match is None:
            raise Refused(f"no labels: {text}")
        value = re.sub(r"\\u(....)", lambda code: chr(int(code[1], 16)), match[2])
        found.append((match[1], re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), value)))
        rest = rest[match.end() :].removeprefix(", ")
    names = [name for name, _ in found]
    if names != sorted(set(names)) or not 0 < len(names) <= LABELS_MAX:
        raise Refused(f"labels are none, too many, not sorted, or repeat: {text}")
    if not all(value for _, value in found):
        raise Refused(f"an empty label: {text}")
    return dict(found)


def _checked(entry: Any) -> Entry:
    names = [pair.name for pair in entry.metadata]
    if len(names) != len(set(names)):
        raise Refused(f"names of metadata repeat: {names}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise Refused(f"a bad name of metadata: {name!r}")
    time_ns = entry.timestamp.seconds * 10**9 + entry.timestamp.nanos
    if not time_ns or not 0 <= entry.timestamp.nanos < 10**9:
        raise Refused("an entry without a valid time")
    return Entry(time_ns, entry.line, {pair.name: pair.value for pair in entry.metadata})


@contextlib.asynccontextmanager
async def loki(reply: Callable[[int], Answer | None] | None = None) -> AsyncIterator[Loki]:
    """A Loki that listens."""
    found = Loki() if reply is None else Loki(reply)
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

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
