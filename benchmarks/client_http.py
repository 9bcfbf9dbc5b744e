"""The sending half of OTLP/HTTP from precomputed requests, one at a time on a connection."""

from __future__ import annotations

import re
from collections import deque

from benchmarks import http2
from benchmarks.compression import pack
from benchmarks.workload import TIME_MARK, stamped

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class HttpClient:
    """One connection, as `client_grpc.GrpcClient`. A further request waits for its turn."""

    def __init__(
        self,
        authority: str,
        path: str,
        requests: list[bytes],
        compression: str = "none",
        like: HttpClient | None = None,
    ) -> None:
        encoding = "" if compression == "none" else f"Content-Encoding: {compression}\r\n"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: benchmark\r\n"
            f"{encoding}Content-Type: application/x-protobuf\r\nContent-Length: "
        )
        packed = (pack(compression, body) for body in requests)
        self.requests: list[bytes] = (
            [f"{head}{len(body)}\r\n\r\n".encode() + body for body in packed]
            if like is None
            else like.requests
        )
        self._number = 0
        self._waiting: deque[tuple[int, int]] = deque()
        self._under_way: int | None = None
        self._rest = b""
        self.outgoing: list[bytes] = []

    def request(self, index: int) -> int:
        """Send a request of the list and return a number that `receive` names it by."""
        self._number += 1
        self._waiting.append((self._number, index))
        self._send_next()
        return self._number

    def receive(self, data: bytes) -> list[tuple[int, bool]]:
        """The requests that have ended, and whether they were acknowledged.

        Raises `http2.ProtocolError` for an answer without a length.
        """
        ended: list[tuple[int, bool]] = []
        self._rest += data
        while (head := self._rest.find(b"\r\n\r\n")) >= 0:
            status = _STATUS.match(self._rest)
            length = _LENGTH.search(self._rest, 0, head)
            if status is None or length is None or self._under_way is None:
                raise http2.ProtocolError(f"unexpected answer {self._rest[:200]!r}")
            size = head + 4 + int(length[1])
            if len(self._rest) < size:
                break
            self._rest = self._rest[size:]
            ended.append((self._under_way, status[1] == b"200"))
            self._under_way = None
            self._send_next()
        return ended

    def _send_next(self) -> None:
        if self._under_way is None and self._waiting:
            self._under_way, index = self._waiting.popleft()
            request = self.requests[index]
            if TIME_MARK in request:
                request = stamped(request)
            self.outgoing.append(request)
