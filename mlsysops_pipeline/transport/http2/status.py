"""How a unary call ends on the wire: status, message, details, and answers to what is not gRPC.

Source: the gRPC over HTTP/2 protocol description (grpc.io, "PROTOCOL-HTTP2").
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlsysops_pipeline.errors import Code
    from mlsysops_pipeline.transport.http2.headers import Field, Fields

ACCEPTED_ENCODINGS: Final = ("identity", "gzip", "deflate", "zstd", "snappy")
"""What requests may be compressed with, as `grpc-accept-encoding` tells clients."""

_STATUS_200: Final = (b":status", b"200")
_CONTENT_TYPE: Final = (b"content-type", b"application/grpc")
_ACCEPT: Final = (b"grpc-accept-encoding", ",".join(ACCEPTED_ENCODINGS).encode())
_OK: Final = (b"grpc-status", b"0")

RESPONSE_HEAD: Final[Fields] = (_STATUS_200, _CONTENT_TYPE, _ACCEPT)
RESPONSE_TRAILERS: Final[Fields] = (_OK,)
PINNED_FIELDS: Final = (_CONTENT_TYPE, _ACCEPT, _OK)
"""What every answer repeats."""

_HTTP1: Final = re.compile(rb"[A-Z]+ (/|\*|http)")
"""How requests of HTTP/1 begin."""

_MESSAGE_CHARACTERS_MAX: Final = 1_024
_DETAILS_BYTES_MAX: Final = 4_096
"""Clients refuse trailers above 8 KiB (gRPC core's default), so an error keeps below it."""


@dataclass(frozen=True, slots=True)
class GrpcStatus:
    """How a call ended. ``details``: a serialized ``google.rpc.Status``, or nothing."""

    code: Code
    message: str = ""
    details: bytes = b""

    def fields(self) -> list[Field]:
        """The trailing fields that say so."""
        fields = [(b"grpc-status", str(int(self.code)).encode())]
        if self.message:
            fields.append((b"grpc-message", percent_encoded(self.message)))
        if self.details and len(self.details) <= _DETAILS_BYTES_MAX:
            fields.append((b"grpc-status-details-bin", binary_value(self.details)))
        return fields

    def trailers_only(self) -> Fields:
        """The head of an answer that has nothing but a status."""
        return (_STATUS_200, _CONTENT_TYPE, _ACCEPT, *self.fields())


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What somebody is told who does not speak gRPC. ``text`` is a sentence."""

    status: int
    text: str
    fields: tuple[Field, ...] = ()

    def head(self) -> Fields:
        """The head of the answer; `body` follows."""
        return (
            (b":status", str(self.status).encode()),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(self.body)).encode()),
            *self.fields,
        )

    @property
    def body(self) -> bytes:
        """The text, as it is sent."""
        return f"{self.text}\n".encode()


def percent_encoded(message: str) -> bytes:
    """``message`` as a ``grpc-message`` value: printable ASCII, anything else percent-encoded."""
    if len(message) > _MESSAGE_CHARACTERS_MAX:
        message = f"{message[: _MESSAGE_CHARACTERS_MAX - 3]}..."
    return b"".join(
        bytes((octet,)) if 0x20 <= octet <= 0x7E and octet != 0x25 else b"%%%02X" % octet
        for octet in message.encode("utf-8", "replace")
    )


def binary_value(data: bytes) -> bytes:
    """``data`` as the value of a ``-bin`` field: base64 without padding."""
    return base64.b64encode(data).rstrip(b"=")


def read_binary_value(value: bytes) -> bytes:
    """What a ``-bin`` field says, padded or not; several values are joined by commas.

    Raises `ValueError` when it is not base64.
    """
    try:
        return b",".join(
            base64.b64decode(part + b"=" * (-len(part) % 4), validate=True)
            for part in value.split(b",")
        )
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


def http1_answer(begin: bytes) -> bytes:
    """What a client is told that did not begin with HTTP/2, or nothing if it is not HTTP at all.

    ``begin``: its first bytes, up to where they stopped being the preface of HTTP/2.
    """
    if _HTTP1.match(begin) is None:
        return b""
    body = (
        b"This port speaks gRPC, which needs HTTP/2 without upgrade."
        b" OTLP/HTTP has a port of its own, 4318 by default.\n"
    )
    return (
        b"HTTP/1.1 505 HTTP Version Not Supported\r\n"
        b"content-type: text/plain; charset=utf-8\r\n"
        b"content-length: %d\r\n"
        b"connection: close\r\n\r\n%b" % (len(body), body)
    )
