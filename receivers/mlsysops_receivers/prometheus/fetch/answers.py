"""HTTP/1.1 answers as bytes, without I/O (RFC 9112): heads, and where bodies end.

Answers are fed in the pieces in which they come; the content of the body comes out in pieces, too.
After an `AnswerFault` the connection is of no more use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.transport.http.http1 import ChunkFraming, HttpFault

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_BYTES_MAX: Final = 64 << 10
"""Status line and fields of an answer."""
_FIELDS_MAX: Final = 500
_INTERIM_MAX: Final = 10
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: .*)?", re.DOTALL)
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_UNTIL_CLOSE: Final = -1


class AnswerFault(Exception):  # noqa: N818  the peer is at fault, not the caller
    """Not an answer that can be read; the text says why."""


class Head:
    """Status and fields of an answer. ``headers``: names in lower case, equal ones joined."""

    __slots__ = ("headers", "is_chunked", "keeps_alive", "length", "status")

    def __init__(self, raw: bytes) -> None:
        lines = raw.replace(b"\r\n", b"\n").split(b"\n")
        match = _STATUS_LINE.fullmatch(lines[0])
        if match is None:
            raise AnswerFault(f"malformed HTTP response: {lines[0][:40]!r}")
        self.status = int(match[2])
        self.headers: Mapping[str, str] = _fields(lines[1:])
        connection = {word.strip() for word in self.header("connection").lower().split(",")}
        is_http11 = match[1] == b"1"
        self.keeps_alive = "close" not in connection if is_http11 else "keep-alive" in connection
        coding = self.header("transfer-encoding").strip().lower()
        if coding not in {"", "chunked", "identity"}:
            raise AnswerFault(f"unsupported transfer encoding: {coding[:40]!r}")
        self.is_chunked = coding == "chunked"
        self.length = self._length()
        if self.length == _UNTIL_CLOSE and not self.is_chunked:
            self.keeps_alive = False

    def header(self, name: str) -> str:
        """The value of a field; empty when there is none."""
        return self.headers.get(name, "")

    def _length(self) -> int:
        """Of the body; `_UNTIL_CLOSE` when it does not say."""
        if self.status in {204, 304} or 100 <= self.status < 200:
            return 0
        if self.is_chunked:
            return _UNTIL_CLOSE
        text = self.headers.get("content-length")
        if text is None:
            return _UNTIL_CLOSE
        lengths = {part.strip() for part in text.split(",")}
        (length,) = lengths if len(lengths) == 1 else ("",)
        if not _LENGTH.fullmatch(length):
            raise AnswerFault(f"bad Content-Length {text[:40]!r}")
        return int(length)

    def __repr__(self) -> str:
        return f"<Head {self.status} length={self.length}>"


def _fields(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > _FIELDS_MAX:
        raise AnswerFault(f"more than {_FIELDS_MAX} header fields")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise AnswerFault(f"malformed header field: {line[:40]!r}")
        key = name.decode("latin-1").lower()
        text = value.strip(b" \t").decode("utf-8", "replace")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


class AnswerReader:
    """One answer on its way in.

    ``head``: once it is complete. ``is_done``: the body has ended. ``is_overrun``: something came
    behind it, so that the connection must not be used again.
    """

    __slots__ = ("_chunks", "_interims", "_left", "_start", "head", "is_done", "is_overrun")

    def __init__(self) -> None:
        self.head: Head | None = None
        self.is_done = False
        self.is_overrun = False
        self._start = b""
        self._chunks: ChunkFraming | None = None
        self._left = 0
        self._interims = 0

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return self.head is not None or bool(self._start) or self._interims > 0

    def feed(self, data: bytes) -> list[bytes]:
        """The content of the body in ``data``. Raises `AnswerFault`."""
        if self.head is None:
            data = self._take_head(self._start + data if self._start else data)
            if self.head is None:
                return []
        if self.is_done:
            self.is_overrun = self.is_overrun or bool(data)
            return []
        if not data:
            return []
        return self._take_body(data)

    def _take_head(self, data: bytes) -> bytes:
        """What is behind the head, as soon as it is complete."""
        while True:
            end = data.find(b"\r\n\r\n")
            skip = 4
            if end < 0:
                bare = data.find(b"\n\n")
                end, skip = bare, 2
            if end < 0:
                if len(data) > HEAD_BYTES_MAX:
                    raise AnswerFault(f"an answer's header above {HEAD_BYTES_MAX} bytes")
                if data[:5] != b"HTTP/"[: len(data[:5])]:
                    raise AnswerFault(f"malformed HTTP response: {data[:40]!r}")
                self._start = data
                return b""
            head = Head(data[:end])
            data = data[end + skip :]
            if not 100 <= head.status < 200 or head.status == 101:
                break
            self._interims += 1
            if self._interims > _INTERIM_MAX:
                raise AnswerFault("too many 1xx informational responses")
        self._start = b""
        self.head = head
        if head.is_chunked:
            self._chunks = ChunkFraming()
        self._left = head.length
        self.is_done = head.length == 0
        return data

    def _take_body(self, data: bytes) -> list[bytes]:
        if self._chunks is not None:
            return self._take_chunks(data, self._chunks)
        if self._left == _UNTIL_CLOSE:
            return [data]
        if len(data) > self._left:
            self.is_overrun = True
            data = data[: self._left]
        self._left -= len(data)
        self.is_done = not self._left
        return [data]

    def _take_chunks(self, data: bytes, chunks: ChunkFraming) -> list[bytes]:
        content = []
        position = 0
        try:
            while position < len(data) and not chunks.is_over:
                start = chunks.find_content(data, position)
                position = chunks.take_content(start, len(data))
                if position > start:
                    content.append(data[start:position])
        except HttpFault as fault:
            raise AnswerFault(fault.message) from fault
        self.is_done = chunks.is_over
        self.is_overrun = position < len(data)
        return content

    def end(self) -> None:
        """The peer has ended the connection. Raises `AnswerFault` if that is too early."""
        if self.is_done:
            return
        if self.head is not None and self._left == _UNTIL_CLOSE and self._chunks is None:
            self.is_done = True
            return
        raise AnswerFault("unexpected EOF" if self.head or self._start else "EOF")

    def __repr__(self) -> str:
        return f"<AnswerReader {self.head} done={self.is_done}>"
