"""The health service of gRPC (grpc.io, "Health checking"; grpc.health.v1), as far as it is unary.

``Check`` says SERVING for the server as a whole and for each service that it has; others are
NOT_FOUND. A server that shuts down takes no new calls, so that nothing has to say NOT_SERVING.
``Watch`` streams, and is answered UNIMPLEMENTED: clients then take the server for healthy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.errors import Code, MalformedError, PeerError, TooLargeError
from mlsysops_pipeline.transport.http2.calls import UnaryMethod

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.transport.http2.requests import GrpcRequest

CHECK: Final = "/grpc.health.v1.Health/Check"

_SERVING: Final = b"\x08\x01"
"""A HealthCheckResponse: ``status``, field 1, is SERVING."""

_REQUEST_BYTES_MAX: Final = 4_096
_SHOWN_MAX: Final = 100


def health_check(methods: Iterable[str]) -> UnaryMethod:
    """The method `CHECK` of a server with these methods (paths).

    It raises `PeerError`: NOT_FOUND for a service that is not served, RESOURCE_EXHAUSTED and
    INVALID_ARGUMENT for what is no request.
    """
    services = {"", *(path[1:].rpartition("/")[0] for path in methods)}

    def admit(size: int) -> None:
        if size > _REQUEST_BYTES_MAX:
            raise TooLargeError(f"health check of {size} bytes, {_REQUEST_BYTES_MAX} are allowed")

    def check_now(request: GrpcRequest) -> bytes:
        service = _service_of(request.message)
        if service not in services:
            raise PeerError(f"unknown service {service[:_SHOWN_MAX]}", Code.NOT_FOUND)
        return _SERVING

    async def check(request: GrpcRequest) -> bytes:
        return check_now(request)

    return UnaryMethod(check, admit, check_now)


def _service_of(message: bytes) -> str:
    """``service`` of a HealthCheckRequest."""
    if not message:
        return ""
    from google.protobuf import message as protobuf  # noqa: PLC0415  for those who ask only
    from google.protobuf.wrappers_pb2 import StringValue  # noqa: PLC0415  as above

    try:
        # Both have one string, field 1.
        return str(StringValue.FromString(message).value)
    except protobuf.DecodeError as error:
        raise MalformedError(f"no health check: {error}") from error
