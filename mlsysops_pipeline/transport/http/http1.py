"""HTTP/1.1 requests as bytes, without I/O (RFC 9112): heads, bodies, and how answers are written.

Strict where leniency lets two programs see different requests: line ends, lengths that contradict
each other, folded or unnamed fields are refused. `HttpFault` says how; after it the connection is
of no more use. Heads are remembered by their bytes, because clients of telemetry repeat them.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_BYTES_MAX: Final = 16 << 10
"""Request line and fields; more is answered 431."""
_FIELDS_MAX: Final = 200
_HEADS_MAX: Final = 256
_HEAD_CACHE_BYTES_MAX: Final = 2 << 10

_PIECE_BYTES_MIN: Final = 4 << 10
"""Smaller pieces of a body are collected in one buffer, so that none costs more than it holds."""
_CHUNK_LINE_BYTES_MAX: Final = 256
_TRAILER_BYTES_MAX: Final = 8 << 10

_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP/(\d)\.(\d)"
)
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)

_PHRASES: Final = {
    100: "Continue",
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpFault(Exception):  # noqa: N818  the peer is at fault, not the caller
    """Not a request that can be read. ``status``: what its sender is answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Head:
    """The head of a request. Shared by all requests that begin with the same bytes.

    ``path``: percent-decoded, without query. ``headers``: names in lower case. ``media_type``:
    the Content-Type without parameters, in lower case. ``length``: of the body, -1 when it comes
    in chunks. ``keeps_alive``: whether the client wants to send more on this connection.
    """

    __slots__ = (
        "content_encoding",
        "expects_continue",
        "headers",
        "is_http10",
        "keeps_alive",
        "length",
        "media_type",
        "method",
        "path",
        "query",
    )

    def __init__(self, raw: bytes) -> None:
        lines = raw.split(b"\r\n")
        self.method, target, minor = _request_line(lines[0])
        self.path, self.query = _target(target)
        self.headers: Mapping[str, tuple[str, ...]] = MappingProxyType(_fields(lines[1:]))
        self.length = self._body_length(minor)
        self.is_http10 = not minor
        hosts = self.headers.get("host", ())
        if len(hosts) > 1 or (minor and not hosts):
            raise HttpFault(400, "a request names one Host")
        connection = self.header("connection").lower()
        options = {option.strip() for option in connection.split(",")}
        self.keeps_alive = "close" not in options if minor else "keep-alive" in options
        self.expects_continue = minor > 0 and self.header("expect").lower() == "100-continue"
        self.media_type = self.header("content-type").partition(";")[0].strip().lower()
        self.content_encoding = self.header("content-encoding").strip().lower()

    def header(self, name: str) -> str:
        """All values of a field, joined by commas; empty when there is none."""
        values = self.headers.get(name)
        if values is None:
            return ""
        return values[0] if len(values) == 1 else ", ".join(values)

    def _body_length(self, minor: int) -> int:
        lengths = self.headers.get("content-length", ())
        coding = self.header("transfer-encoding").strip().lower()
        if coding:
            if lengths or not minor:
                raise HttpFault(400, "Transfer-Encoding together with Content-Length or HTTP/1.0")
            if coding != "chunked":
                raise HttpFault(501, f"Transfer-Encoding {coding[:50]!r} is not supported")
            return -1
        if not lengths:
            return 0
        if len(set(lengths)) > 1 or not _LENGTH.fullmatch(lengths[0].encode()):
            raise HttpFault(400, "Content-Length is not one number")
        return int(lengths[0])

    def __repr__(self) -> str:
        return f"<Head {self.method} {self.path} length={self.length}>"


class Heads:
    """Reads heads and remembers them."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def read(self, raw: bytes) -> Head:
        """The head that ``raw`` is, without its empty last line. Raises `HttpFault`."""
        head = self._heads.get(raw)
        if head is None:
            head = Head(raw)
            if len(raw) <= _HEAD_CACHE_BYTES_MAX:
                if len(self._heads) >= _HEADS_MAX:
                    self._heads.clear()
                self._heads[raw] = head
        return head

    def __repr__(self) -> str:
        return f"<Heads {len(self._heads)}>"


def check_beginning(data: bytes) -> None:
    """Raise `HttpFault` when what begins like this will never be a request (TLS, HTTP/2)."""
    if data[:1] and not _NAME.fullmatch(data[:1]):
        raise HttpFault(400, "this port speaks HTTP/1.1 without TLS, and this is something else")
    if data.startswith(b"PRI * HTTP/2"):
        raise HttpFault(505, "this port speaks HTTP/1.1; gRPC has a port of its own")


def _request_line(line: bytes) -> tuple[str, str, int]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise HttpFault(400, "the first line is no HTTP request")
    if match[3] != b"1":
        raise HttpFault(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return match[1].decode(), match[2].decode("latin-1"), min(int(match[4]), 1)


def _target(target: str) -> tuple[str, str]:
    if not target.startswith("/"):
        scheme, separator, rest = target.partition("://")
        if separator and scheme.lower() in {"http", "https"}:
            slash = rest.find("/")
            target = rest[slash:] if slash >= 0 else "/"
    path, _, query = target.partition("?")
    return (unquote(path) if "%" in path else path), query


def _fields(lines: list[bytes]) -> dict[str, tuple[str, ...]]:
    if len(lines) > _FIELDS_MAX:
        raise HttpFault(431, f"more than {_FIELDS_MAX} header fields")
    fields: dict[str, tuple[str, ...]] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        if not colon or not _NAME.fullmatch(raw_name) or _BAD_VALUE.search(raw_value):
            raise HttpFault(400, "a header field is malformed")
        name = raw_name.decode().lower()
        value = raw_value.strip(b" \t").decode("utf-8", "replace")
        fields[name] = (*fields[name], value) if name in fields else (value,)
    return fields


class Body:
    """A body on its way in; `feed` it until ``is_done``, then `take` it.

    ``length``: what the head says, -1 for chunks. ``received``: bytes of content so far; above
    ``bytes_max`` they are not kept, and ``is_too_large`` says so. ``is_discarding``: nothing is
    kept any more, whatever still comes.
    """

    __slots__ = (
        "_bytes_max",
        "_chunks",
        "_left",
        "_parts",
        "_tail",
        "is_discarding",
        "is_done",
        "is_too_large",
        "length",
        "received",
    )

    def __init__(self, length: int, bytes_max: int) -> None:
        self.length = length
        self._bytes_max = bytes_max
        self._left = max(length, 0)
        self._chunks = ChunkFraming() if length < 0 else None
        self._parts: list[bytes] = []
        self._tail = bytearray()
        self.is_done = length == 0
        self.is_discarding = False
        self.is_too_large = length > bytes_max
        self.received = 0

    def feed(self, data: bytes, position: int) -> int:
        """Take what belongs to the body from ``position`` on; returns where it ends."""
        if self._chunks is None:
            stop = min(position + self._left, len(data))
            self._left -= stop - position
            self._keep(data, position, stop)
            self.is_done = not self._left
            return stop
        while position < len(data) and not self.is_done:
            start = self._chunks.find_content(data, position)
            stop = self._chunks.take_content(start, len(data))
            self._keep(data, start, stop)
            position = stop
            self.is_done = self._chunks.is_over
        return position

    def _keep(self, data: bytes, start: int, stop: int) -> None:
        size = stop - start
        self.received += size
        if self.is_discarding or not size:
            return
        if self.received > self._bytes_max:
            self.is_too_large = True
            self.discard()
        elif size < _PIECE_BYTES_MIN:
            self._tail += data[start:stop]
        else:
            if self._tail:
                self._parts.append(bytes(self._tail))
                self._tail.clear()
            self._parts.append(data[start:stop])

    def take(self) -> bytes:
        """The whole content, once."""
        parts, tail = self._parts, self._tail
        self._parts, self._tail = [], bytearray()
        if tail:
            parts.append(bytes(tail))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def discard(self) -> None:
        """Keep nothing: what is here and what is still to come."""
        self.is_discarding = True
        self._parts.clear()
        self._tail.clear()

    def __repr__(self) -> str:
        return f"<Body received={self.received} done={self.is_done}>"


class ChunkFraming:
    """Where the content of a chunked body lies (RFC 9112, section 7.1). ``is_over``: at its end."""

    __slots__ = ("_expects_line_end", "_is_trailer", "_left", "_line", "_trailer_bytes", "is_over")

    def __init__(self) -> None:
        self._left = 0
        self._line = bytearray()
        self._expects_line_end = False
        self._is_trailer = False
        self._trailer_bytes = 0
        self.is_over = False

    def find_content(self, data: bytes, position: int) -> int:
        """Read framing up to the next content; the end of ``data`` if there is none in it."""
        while not self._left and not self.is_over and position < len(data):
            end = data.find(b"\n", position)
            stop = len(data) if end < 0 else end + 1
            if len(self._line) + stop - position > _CHUNK_LINE_BYTES_MAX and not self._is_trailer:
                raise HttpFault(400, "a chunk begins with too long a line")
            self._line += data[position:stop]
            position = stop
            if self._is_trailer:
                self._limit_trailer()
            if end >= 0:
                line = bytes(self._line)
                self._line.clear()
                if not line.endswith(b"\r\n"):
                    raise HttpFault(400, "a line of chunked framing has a bare line end")
                self._take_line(line[:-2])
        return position

    def _limit_trailer(self) -> None:
        if self._trailer_bytes + len(self._line) > _TRAILER_BYTES_MAX:
            raise HttpFault(431, "the trailer is too long")

    def _take_line(self, line: bytes) -> None:
        if self._is_trailer:
            self._trailer_bytes += len(line) + 2
            self.is_over = not line
        elif self._expects_line_end:
            if line:
                raise HttpFault(400, "a chunk is longer than it said")
            self._expects_line_end = False
        else:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise HttpFault(400, "a chunk has no size")
            self._left = int(match[1], 16)
            self._is_trailer = not self._left
            self._expects_line_end = not self._is_trailer

    def take_content(self, start: int, end: int) -> int:
        """Content lies from ``start`` to the returned place, at ``end`` at most."""
        stop = min(start + self._left, end)
        self._left -= stop - start
        return stop


def answer(
    status: int,
    fields: list[tuple[str, str]],
    body: bytes,
    *,
    length: int | None = None,
    has_body: bool = True,
) -> bytes:
    """An answer, ready to be written. ``has_body`` is false for HEAD, whose lengths still tell.

    ``length``: of the whole content, where ``body`` is not all of it.
    """
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if status >= 200 and status not in {204, 304}:
        lines.append(f"content-length: {len(body) if length is None else length}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    return head + body if has_body else head
