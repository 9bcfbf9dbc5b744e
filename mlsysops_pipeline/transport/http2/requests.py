"""What a method of a gRPC service is given."""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.transport.http2.status import read_binary_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.transport.http2.fields import RequestHead
    from mlsysops_pipeline.transport.http2.headers import FieldBlock

NO_AUTH: Final[Mapping[str, str]] = MappingProxyType({})


class GrpcRequest:
    """A unary request.

    ``message``: serialized, without compression. ``wire_bytes``: its size as it came. ``peer``:
    the sender's address without the port. ``auth``: what the authenticator found.
    """

    __slots__ = ("_block", "auth", "message", "peer", "wire_bytes")

    def __init__(
        self,
        message: bytes,
        wire_bytes: int,
        peer: str,
        auth: Mapping[str, str],
        block: FieldBlock,
    ) -> None:
        self.message = message
        self.wire_bytes = wire_bytes
        self.peer = peer
        self.auth = auth
        self._block = block

    @property
    def head(self) -> RequestHead | None:
        """What its head says: one object for all requests that say the same."""
        return self._block.head

    @property
    def headers(self) -> dict[str, tuple[str, ...]]:
        """The request's fields with lower-case names; see `read_headers`. Made on demand."""
        return read_headers(self._block)

    def header(self, name: bytes) -> str | None:
        """The last value of one field, without making all of them."""
        found = None
        for candidate, value in self._block.fields:
            if candidate == name:
                found = value.decode("utf-8", "replace")
        return found

    def __repr__(self) -> str:
        return f"<GrpcRequest {self.head!r} bytes={len(self.message)} peer={self.peer}>"


def read_headers(block: FieldBlock) -> dict[str, tuple[str, ...]]:
    """Fields by name: `:authority` as ``host``, other pseudo-headers left out.

    Values of ``-bin`` fields are decoded; what is not base64 is kept as it came.
    """
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in block.fields:
        if name[:1] == b":":
            if name != b":authority":
                continue
            key = "host"
        else:
            key = name.decode("latin-1")
        if key.endswith("-bin"):
            with contextlib.suppress(ValueError):
                value = read_binary_value(value)  # noqa: PLW2901  decoded in place
        headers[key] = (*headers.get(key, ()), value.decode("utf-8", "replace"))
    return headers
