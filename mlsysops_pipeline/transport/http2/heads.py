"""The head of a unary gRPC request (grpc.io, "PROTOCOL-HTTP2")."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.transport.http2.status import ACCEPTED_ENCODINGS, binary_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.transport.http2.headers import Field, Fields

_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_RESERVED: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_ACCEPT: Final = ",".join(ACCEPTED_ENCODINGS).encode()
_DIGITS_MAX: Final = 99_999_999


def request_fields(
    path: str,
    authority: str,
    user_agent: str,
    timeout_s: float,
    metadata: Iterable[Field] = (),
    *,
    encoding: str = "",
    is_tls: bool = False,
) -> Fields:
    """The fields of a request, in the order in which they are sent.

    ``path``: ``/package.Service/Method``. ``timeout_s``: what the server is told; zero and
    infinity say nothing. ``encoding``: how the message is compressed, empty if it is not.
    """
    fields: list[Field] = [
        (b":method", b"POST"),
        (b":scheme", b"https" if is_tls else b"http"),
        (b":path", path.encode()),
        (b":authority", authority.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", user_agent.encode("utf-8", "replace")),
    ]
    if 0 < timeout_s < math.inf:
        fields.append((b"grpc-timeout", timeout_value(timeout_s)))
    if encoding:
        fields.append((b"grpc-encoding", encoding.encode()))
    fields.append((b"grpc-accept-encoding", _ACCEPT))
    fields.extend(metadata)
    return tuple(fields)


def timeout_value(timeout_s: float) -> bytes:
    """``timeout_s`` as `grpc-timeout`: at most eight digits and a unit, never rounded to zero."""
    milliseconds = math.ceil(timeout_s * 1e3)
    if milliseconds <= _DIGITS_MAX:
        return b"%dm" % milliseconds
    return b"%dS" % min(math.ceil(timeout_s), _DIGITS_MAX)


def is_reserved(name: str) -> bool:
    """Whether the client itself says this. Metadata of such a name is left out, as in gRPC."""
    return name.startswith("grpc-") or name in _RESERVED


def metadata_problem(name: str, value: str) -> str:
    """Why a field cannot be sent as metadata; empty when it can. ``name`` in lower case."""
    if _NAME.fullmatch(name) is None:
        return "is no name of gRPC metadata (lower-case letters, digits, _ - .)"
    if not name.endswith("-bin") and _VALUE.fullmatch(value) is None:
        return "has a value that is not printable ASCII; binary metadata has a name ending in -bin"
    return ""


def metadata_field(name: str, value: str) -> Field:
    """One field of metadata; the value of a ``-bin`` one is encoded."""
    if name.endswith("-bin"):
        return name.encode(), binary_value(value.encode())
    return name.encode(), value.encode("latin-1", "replace")
