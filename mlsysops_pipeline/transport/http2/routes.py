"""What the head of a gRPC request asks for, and how it is refused if it cannot be had."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.transport.http2 import limits
from mlsysops_pipeline.transport.http2.status import ACCEPTED_ENCODINGS, GrpcStatus, HttpAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.transport.http2.calls import UnaryMethod
    from mlsysops_pipeline.transport.http2.fields import RequestHead
    from mlsysops_pipeline.transport.http2.headers import Fields

VOLATILE_FIELDS: Final = frozenset({b"grpc-timeout"})
"""grpc-go writes what is left of the deadline, in microseconds: a new value each time."""

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_TIMEOUTS_MAX: Final = 1_024
"""Values that are remembered: those of grpc-go come from a few hundred that lie close together."""

_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PROTOBUF: Final = re.compile(rb"application/grpc(\+proto)?[ \t]*(;.*)?", re.IGNORECASE)
_GRPC: Final = re.compile(rb"application/grpc([+;].*)?", re.IGNORECASE)


class Route:
    """Where a request goes. ``refusal`` says why it goes nowhere; ``method`` is then ``None``.

    ``encoding``: how compressed messages are compressed.
    """

    __slots__ = ("encoding", "method", "refusal")

    def __init__(self, head: RequestHead, methods: Mapping[str, UnaryMethod]) -> None:
        self.method: UnaryMethod | None = None
        self.encoding = "identity"
        self.refusal: GrpcStatus | HttpAnswer | None = self._find(head, methods)

    def _find(
        self, head: RequestHead, methods: Mapping[str, UnaryMethod]
    ) -> GrpcStatus | HttpAnswer | None:
        content_type = _value(head.fields, b"content-type")
        if head.method != b"POST":
            return HttpAnswer(405, "gRPC requests are POST requests.", ((b"allow", b"POST"),))
        if not _GRPC.fullmatch(content_type):
            shown = ascii(content_type[:100].decode("latin-1"))
            return HttpAnswer(415, f"The content-type of gRPC is application/grpc, not {shown}.")
        if not _PROTOBUF.fullmatch(content_type):
            shown = content_type[:100].decode("latin-1")
            return GrpcStatus(Code.UNIMPLEMENTED, f"content-type {shown} is not supported")
        path = head.path.decode("latin-1")
        method = methods.get(path)
        if method is None:
            return GrpcStatus(Code.UNIMPLEMENTED, _unknown(path, methods))
        encoding = _value(head.fields, b"grpc-encoding").decode("latin-1") or "identity"
        if encoding not in ACCEPTED_ENCODINGS:
            return GrpcStatus(
                Code.UNIMPLEMENTED,
                f"grpc-encoding {encoding[:100]!r} is not supported,"
                f" these are: {', '.join(ACCEPTED_ENCODINGS)}",
            )
        self.method = method
        self.encoding = encoding
        return None

    def __repr__(self) -> str:
        return f"<Route encoding={self.encoding} refusal={self.refusal}>"


TOO_LARGE: Final = GrpcStatus(
    Code.RESOURCE_EXHAUSTED, f"metadata above {limits.HEADER_LIST_BYTES} bytes"
)


def _unknown(path: str, methods: Mapping[str, UnaryMethod]) -> str:
    service, _, name = path[:200].lstrip("/").rpartition("/")
    if any(known.startswith(f"/{service}/") for known in methods):
        return f"unknown method {name} for service {service}"
    return f"unknown service {service}"


def _value(fields: Fields, wanted: bytes) -> bytes:
    """The last value of a field, or nothing."""
    value = b""
    for name, candidate in fields:
        if name == wanted:
            value = candidate
    return value


def read_timeout(volatile: Fields) -> float | None:
    """Seconds that the caller will wait, if it says so. Raises `ValueError` if it says nonsense."""
    return _timeout_s(volatile[-1][1]) if volatile else None


@lru_cache(_TIMEOUTS_MAX)
def _timeout_s(value: bytes) -> float:
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise ValueError(f"malformed grpc-timeout {value[:32]!r}")
    return int(match[1]) * _UNIT_S[match[2]]
