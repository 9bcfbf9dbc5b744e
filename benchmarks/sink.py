"""The end of the line: takes OTLP/gRPC, counts items, answers at once.

It prints its port, then a JSON line with the items per signal, the requests, and its own CPU time
for every line that it reads; the end of its input ends it. It is a bare HTTP/2 server, because
`grpcio` would cost more than the collectors that send to it. Its windows are wide (4 MiB) and its
frames 16 KiB, as those of gRPC servers are.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks import http2
from benchmarks.compression import unpack
from mlsysops_pipeline.pdata.counting import count_items
from mlsysops_pipeline.pdata.signal import Signal

_WINDOW = 4 * 1024 * 1024
_CREDIT = _WINDOW // 2
_SIGNALS = {signal.method: signal for signal in Signal}
_HEAD = http2.stateless_block([(":status", "200"), ("content-type", "application/grpc")])
_TRAILERS = http2.stateless_block([("grpc-status", "0")])


class Counts:
    """What has come, on all connections."""

    def __init__(self) -> None:
        self.items = dict.fromkeys(Signal, 0)
        self.requests = 0
        self.bytes = 0

    def add(self, signal: Signal, message: memoryview, encoding: str) -> None:
        """Count one gRPC message. Raises `http2.ProtocolError` for a broken one."""
        if message[0] > 1 or int.from_bytes(message[1:5], "big") != len(message) - 5:
            raise http2.ProtocolError("a broken message")
        body = bytes(message[5:])
        if message[0]:
            body = unpack(encoding, body)
        self.items[signal] += count_items(signal, body)
        self.requests += 1
        self.bytes += len(message)

    def line(self) -> str:
        """For the harness."""
        numbers: dict[str, float] = {str(signal): count for signal, count in self.items.items()}
        numbers |= {"requests": self.requests, "bytes": self.bytes, "cpu_s": time.process_time()}
        return json.dumps(numbers)


class Connection(asyncio.Protocol):
    """One connection: streams are collected, counted and answered."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._frames = http2.Frames()
        self._headers = http2.HeaderReader(":path", "grpc-encoding")
        self._streams: dict[int, tuple[Signal, str, bytearray]] = {}
        self._preface = len(http2.PREFACE)
        self._uncredited = 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._transport.write(
            http2.settings({http2.INITIAL_WINDOW_SIZE: _WINDOW})
            + http2.window_update(0, _WINDOW - http2.DEFAULT_WINDOW)
        )

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._preface:
            skipped = min(self._preface, len(data))
            self._preface -= skipped
            data = data[skipped:]
        answer: list[bytes] = []
        for kind, flags, stream, payload in self._frames.feed(data):
            if kind == http2.DATA:
                self._data(stream, payload, answer)
            elif kind == http2.HEADERS:
                path, encoding = self._headers.read(payload)
                self._streams[stream] = (_SIGNALS[path], encoding, bytearray())
            elif kind == http2.SETTINGS and not flags & http2.ACK:
                answer.append(http2.frame(http2.SETTINGS, http2.ACK, 0))
            elif kind == http2.PING and not flags & http2.ACK:
                answer.append(http2.frame(http2.PING, http2.ACK, 0, payload))
            elif kind == http2.RST_STREAM:
                self._streams.pop(stream, None)
            if kind in {http2.DATA, http2.HEADERS} and flags & http2.END_STREAM:
                self._end(stream, answer)
        if answer:
            self._transport.write(b"".join(answer))

    def _data(self, stream: int, payload: bytes, answer: list[bytes]) -> None:
        message = self._streams[stream][2]
        before = len(message) // _CREDIT
        message += payload
        if len(message) // _CREDIT > before:
            answer.append(http2.window_update(stream, _CREDIT))
        self._uncredited += len(payload)
        if self._uncredited >= _CREDIT:
            answer.append(http2.window_update(0, self._uncredited))
            self._uncredited = 0

    def _end(self, stream: int, answer: list[bytes]) -> None:
        signal, encoding, message = self._streams.pop(stream)
        self._counts.add(signal, memoryview(message), encoding)
        answer += (
            http2.frame(http2.HEADERS, http2.END_HEADERS, stream, _HEAD),
            http2.frame(http2.DATA, 0, stream, bytes(5)),
            http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, _TRAILERS),
        )


async def main() -> None:
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counts), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(counts.line(), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
