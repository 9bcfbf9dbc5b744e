"""The sending half of OTLP/gRPC from precomputed frames: no library call a request.

A request is one byte string with places for the stream number; it is only taken apart where the
peer's flow control windows are too small for it.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

from benchmarks import http2
from benchmarks.compression import pack
from benchmarks.workload import TIME_MARK, stamped


@dataclass(frozen=True, slots=True)
class _Template:
    """A whole request: HEADERS and DATA frames, and where the stream number stands."""

    wire: bytes
    places: tuple[int, ...]
    message: bytes
    steady: bool
    """Whether times are to be put in when it is sent."""


class GrpcClient:
    """One connection. Bytes to be sent collect in ``outgoing``; `receive` takes what came.

    ``like``: another connection for the same requests, which are kept once for both.
    """

    def __init__(
        self,
        authority: str,
        path: str,
        requests: list[bytes],
        compression: str = "none",
        like: GrpcClient | None = None,
    ) -> None:
        fields = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", authority),
            ("te", "trailers"), ("content-type", "application/grpc"),
            ("user-agent", "benchmark"),
        ]  # fmt: skip
        if compression != "none":
            fields.append(("grpc-encoding", compression))
        self._compression = compression
        self._block = http2.stateless_block(fields)
        self.templates: list[_Template] = (
            [self._template(request) for request in requests] if like is None else like.templates
        )
        self._frames = http2.Frames()
        self._headers = http2.HeaderReader("grpc-status")
        self._next_stream = 1
        self._window = self._initial_window = http2.DEFAULT_WINDOW
        self._windows: dict[int, int] = {}
        self._held: deque[tuple[int, bytes]] = deque()
        self.outgoing: list[bytes] = [
            http2.PREFACE,
            http2.settings({http2.INITIAL_WINDOW_SIZE: 1 << 20}),
            http2.window_update(0, 1 << 30),
        ]

    def request(self, index: int) -> int:
        """Send a request of the list and return a number that `receive` names it by."""
        stream = self._next_stream
        self._next_stream += 2
        template = self.templates[index]
        if template.steady:
            template = self._template(stamped(template.message[5:]))
        size = len(template.message)
        self._windows[stream] = self._initial_window
        if not self._held and size <= min(self._window, self._initial_window):
            wire = bytearray(template.wire)
            for place in template.places:
                struct.pack_into(">I", wire, place, stream)
            self.outgoing.append(bytes(wire))
            self._window -= size
            self._windows[stream] -= size
        else:
            flags = http2.END_HEADERS
            self.outgoing.append(http2.frame(http2.HEADERS, flags, stream, self._block))
            self._held.append((stream, template.message))
            self._send_held()
        return stream

    def receive(self, data: bytes) -> list[tuple[int, bool]]:
        """The requests that have ended, and whether they were acknowledged.

        Raises `http2.ProtocolError` when the peer ends the connection.
        """
        ended: list[tuple[int, bool]] = []
        for kind, flags, stream, payload in self._frames.feed(data):
            if kind == http2.HEADERS:
                (status,) = self._headers.read(payload)
                if flags & http2.END_STREAM and self._windows.pop(stream, None) is not None:
                    ended.append((stream, status == "0"))
            elif kind == http2.WINDOW_UPDATE:
                self._credit(stream, int.from_bytes(payload, "big"))
            elif kind == http2.SETTINGS and not flags & http2.ACK:
                self._settings(payload)
            elif kind == http2.PING and not flags & http2.ACK:
                self.outgoing.append(http2.frame(http2.PING, http2.ACK, 0, payload))
            elif kind == http2.RST_STREAM:
                # After an early answer it only says that the rest need not be sent.
                if self._windows.pop(stream, None) is not None:
                    ended.append((stream, False))
            elif kind == http2.GOAWAY:
                raise http2.ProtocolError(f"GOAWAY {payload!r}")
        return ended

    def _template(self, request: bytes) -> _Template:
        packed = pack(self._compression, request)
        flag = b"\0" if self._compression == "none" else b"\1"
        message = flag + struct.pack(">I", len(packed)) + packed
        wire = bytearray(http2.frame(http2.HEADERS, http2.END_HEADERS, 0, self._block))
        places = [5]
        for place in range(0, len(message), http2.FRAME_BYTES_MAX):
            piece = message[place : place + http2.FRAME_BYTES_MAX]
            last = place + http2.FRAME_BYTES_MAX >= len(message)
            places.append(len(wire) + 5)
            wire += http2.frame(http2.DATA, http2.END_STREAM if last else 0, 0, piece)
        return _Template(bytes(wire), tuple(places), message, TIME_MARK in message)

    def _settings(self, payload: bytes) -> None:
        window = http2.read_settings(payload).get(http2.INITIAL_WINDOW_SIZE)
        if window is not None:
            for stream in self._windows:
                self._windows[stream] += window - self._initial_window
            self._initial_window = window
        self.outgoing.append(http2.frame(http2.SETTINGS, http2.ACK, 0))
        self._send_held()

    def _credit(self, stream: int, credit: int) -> None:
        if stream == 0:
            self._window += credit
        elif stream in self._windows:
            self._windows[stream] += credit
        if self._held:
            self._send_held()

    def _send_held(self) -> None:
        """Send in order what the windows allow; who waits first is served first."""
        while self._held:
            stream, rest = self._held[0]
            if stream not in self._windows:  # the peer has ended it
                self._held.popleft()
                continue
            size = min(self._window, self._windows[stream], http2.FRAME_BYTES_MAX, len(rest))
            if size <= 0:
                return
            self._window -= size
            self._windows[stream] -= size
            last = size == len(rest)
            flags = http2.END_STREAM if last else 0
            self.outgoing.append(http2.frame(http2.DATA, flags, stream, rest[:size]))
            self._held.popleft()
            if not last:
                self._held.appendleft((stream, rest[size:]))
