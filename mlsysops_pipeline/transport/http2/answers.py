"""What the answer to a unary call says: its head, its trailers, and how HTTP errors translate.

Sources: the gRPC over HTTP/2 protocol description ("PROTOCOL-HTTP2"), and "HTTP to gRPC status
code mapping" (both grpc.io). Where a peer is silent or odd, the outcome must not lose data: what
says "accepted" is a success, what says "not looked at" may be sent again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.transport.http2.frames import ErrorCode
from mlsysops_pipeline.transport.http2.status import read_binary_value

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.headers import FieldBlock, Fields

_CONTENT_TYPE: Final = re.compile(rb"application/grpc([+;].*)?", re.IGNORECASE)
_STATUS: Final = re.compile(rb"[0-9]{1,10}")
_TEXT_CHARACTERS_MAX: Final = 1_024

_OF_HTTP_STATUS: Final = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}

_OF_RESET: Final = {
    ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCode.CANCEL: Code.CANCELLED,
    # gRPC says RESOURCE_EXHAUSTED. To OTLP that is final, but a proxy or server that asks to be
    # left alone for a while has not judged the data.
    ErrorCode.ENHANCE_YOUR_CALM: Code.UNAVAILABLE,
    ErrorCode.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}


class Outcome:
    """How a call ended. ``message``: what the peer, or we, said about it.

    ``body``: the answer as it came, compressed with ``encoding`` unless that is ``identity``.
    ``details``: a serialized `google.rpc.Status`, or nothing. ``is_unprocessed``: the peer
    certainly did not look at the request, so that it may be sent again at once. ``is_unanswered``:
    the request was sent, and the peer may have done what it asks for.
    """

    __slots__ = (
        "body",
        "code",
        "details",
        "encoding",
        "is_unanswered",
        "is_unprocessed",
        "message",
    )

    def __init__(
        self,
        code: Code,
        message: str = "",
        *,
        details: bytes = b"",
        is_unprocessed: bool = False,
        is_unanswered: bool = False,
    ) -> None:
        self.code = code
        self.message = message
        self.details = details
        self.is_unprocessed = is_unprocessed
        self.is_unanswered = is_unanswered
        self.body = b""
        self.encoding = "identity"

    def __repr__(self) -> str:
        return f"<Outcome {self.code.name} {self.message!r} body={len(self.body)}>"


class AnswerFields:
    """What a header block of an answer says, be it head, trailers or both.

    ``code``: ``None`` if there is no `grpc-status`. ``http_status``: 0 in trailers. ``is_grpc``:
    it is the head of an answer by a gRPC server.
    """

    __slots__ = ("code", "content_type", "details", "encoding", "http_status", "is_grpc", "message")

    def __init__(self, fields: Fields) -> None:
        self.http_status = 0
        self.content_type = b""
        self.encoding = "identity"
        self.code: Code | None = None
        self.message = ""
        self.details = b""
        for name, value in fields:
            if name == b"grpc-status":
                self.code = _code(value)
            elif name == b"grpc-message":
                self.message = _text(unquote_to_bytes(value))
            elif name == b"grpc-status-details-bin":
                self.details = _details(value)
            elif name == b"grpc-encoding":
                self.encoding = value.decode("latin-1")
            elif name == b"content-type":
                self.content_type = value
            elif name == b":status":
                self.http_status = int(value)
        is_grpc = _CONTENT_TYPE.fullmatch(self.content_type) is not None
        self.is_grpc = is_grpc and self.http_status == 200

    @classmethod
    def of(cls, block: FieldBlock) -> AnswerFields:
        """The meaning of a block, remembered with it."""
        answer = block.answer
        if answer is None:
            answer = block.answer = cls(block.fields)
        return answer

    def outcome(self) -> Outcome:
        """The end of a call whose last block this is."""
        code = self.code
        if code is None:
            if self.http_status and not self.is_grpc:
                return self.http_outcome("")
            return Outcome(Code.INTERNAL, "the peer ended its answer without a grpc-status")
        return Outcome(code, self.message, details=self.details)

    def http_outcome(self, text: str) -> Outcome:
        """The end of a call that something else than a gRPC server answered, with ``text``."""
        kind = _text(self.content_type) or "none"
        message = f"not a gRPC answer: HTTP status {self.http_status}, content-type {kind}"
        if text:
            message += f": {text}"
        return Outcome(_OF_HTTP_STATUS.get(self.http_status, Code.UNKNOWN), message)

    def __repr__(self) -> str:
        return f"<AnswerFields http_status={self.http_status} code={self.code}>"


def reset_outcome(error_code: int, message: str, *, by_peer: bool) -> Outcome:
    """The end of a call whose stream was reset, by the peer or because it broke a rule."""
    if not by_peer:
        return Outcome(Code.INTERNAL, f"the peer broke HTTP/2: {message}")
    try:
        known = ErrorCode(error_code)
    except ValueError:
        return Outcome(Code.UNKNOWN, f"the peer reset the stream (HTTP/2 error {error_code})")
    return Outcome(
        _OF_RESET.get(known, Code.INTERNAL),
        f"the peer reset the stream ({known.name})",
        is_unprocessed=known is ErrorCode.REFUSED_STREAM,
    )


def readable(data: bytes) -> str:
    """The beginning of a foreign answer's body, for an error message."""
    return " ".join(_text(data).split())


def _code(value: bytes) -> Code:
    if _STATUS.fullmatch(value) is None:
        return Code.UNKNOWN
    number = int(value)
    return Code(number) if number <= Code.UNAUTHENTICATED else Code.UNKNOWN


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")[:_TEXT_CHARACTERS_MAX]


def _details(value: bytes) -> bytes:
    try:
        return read_binary_value(value)
    except ValueError:
        return b""
