"""The end of the line for remote write: takes requests, counts samples, answers at once.

It prints its port, and then the same lines as `sink`. Target infos are not counted, as collectors
send more or fewer of them, nor what a scrape says of itself, nor marks of the end of a series. A
bare HTTP/1.1 server, for the same reason as there.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

import cramjam
import uvloop
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from mlsysops_pipeline.pdata.signal import Signal

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
_NOT_COUNTED = re.compile(rb"__name__\x12(?:\x02up|\x0btarget_info|.scrape_)", re.DOTALL)
_STALE = b"\x09\x02\x00\x00\x00\x00\x00\xf0\x7f"
"""The value of a sample that marks the end of its series: a NaN of its own."""


def _request_class() -> Any:
    """A `prometheus.WriteRequest` whose series stay closed."""
    file = FileDescriptorProto(name="write.proto", package="sink", syntax="proto3")
    message = file.message_type.add(name="WriteRequest")
    message.field.add(
        name="timeseries",
        number=1,
        type=FieldDescriptorProto.TYPE_BYTES,
        label=FieldDescriptorProto.LABEL_REPEATED,
    )
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("sink.WriteRequest"))


class Counts:
    """What has come, on all connections."""

    def __init__(self) -> None:
        self.samples = 0
        self.requests = 0
        self.bytes = 0
        self._request = _request_class()

    def add(self, body: bytes) -> None:
        """Count one request. Every series of the harness has one sample."""
        series = self._request.FromString(bytes(cramjam.snappy.decompress_raw(body))).timeseries
        self.samples += sum([not _NOT_COUNTED.search(one) and _STALE not in one for one in series])
        self.requests += 1
        self.bytes += len(body)

    def line(self) -> str:
        """For the harness."""
        numbers: dict[str, float] = dict.fromkeys(map(str, Signal), 0)
        numbers |= {str(Signal.METRICS): self.samples, "requests": self.requests}
        numbers |= {"bytes": self.bytes, "cpu_s": time.process_time()}
        return json.dumps(numbers)


class Connection(asyncio.Protocol):
    """One connection: one request after the other."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._rest = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._rest += data
        while (head := self._rest.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(bytes(self._rest[:head]))
            size = head + 4 + int(length[1] if length else 0)
            if len(self._rest) < size:
                break
            self._counts.add(bytes(self._rest[head + 4 : size]))
            del self._rest[:size]
            self._transport.write(_ANSWER)


async def main() -> None:
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counts), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(counts.line(), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
