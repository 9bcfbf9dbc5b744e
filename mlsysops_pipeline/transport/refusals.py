"""What a sender is told when its request is not accepted, on either transport.

One translation from our errors to gRPC codes and HTTP statuses, so that both tell the same:
who may try again gets a retryable code and a hint when, who may not gets neither (conformance
OG-2 to OG-4, OH-5 to OH-7, OH-13).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from mlsysops_pipeline.errors import Code, ConsumeError, PeerError, RetryableError

RETRY_AFTER_S: Final = 1.0
"""The hint where whoever refused gave none."""
_RETRY_AFTER_MAX_S: Final = 86_400.0

_RETRYABLE: Final = frozenset(
    {
        Code.CANCELLED,
        Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)
_HTTP_STATUS: Final = {
    Code.CANCELLED: 503,
    Code.DEADLINE_EXCEEDED: 503,
    Code.ABORTED: 503,
    Code.OUT_OF_RANGE: 503,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 503,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.UNIMPLEMENTED: 404,
}


class Refusal(NamedTuple):
    """What both transports say. ``retry_after_s`` is set if and only if a retry may help."""

    code: Code
    message: str
    http_status: int
    retry_after_s: float | None = None

    @property
    def retry_after(self) -> str:
        """The value of ``Retry-After``, whole seconds; empty if there is none."""
        return "" if self.retry_after_s is None else str(max(1, math.ceil(self.retry_after_s)))


def refusal(error: Exception) -> Refusal:
    """How ``error`` is answered. What is none of ours is an internal error without details."""
    if isinstance(error, PeerError):
        status = error.http_status or _HTTP_STATUS.get(error.code, 500)
        return Refusal(error.code, error.message, status)
    if isinstance(error, RetryableError):
        # A code that no client retries would lose the data; an outage here is UNAVAILABLE.
        code = error.code if error.code in _RETRYABLE else Code.UNAVAILABLE
        after_s = RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        after_s = min(max(after_s, 0.0), _RETRY_AFTER_MAX_S)
        return Refusal(code, error.message, _HTTP_STATUS[code], after_s)
    if isinstance(error, ConsumeError):
        if error.code == Code.RESOURCE_EXHAUSTED:
            # Not retryable without RetryInfo in gRPC, but 429 always is: so it is 413.
            return Refusal(error.code, error.message, 413)
        code = Code.INTERNAL if error.code in _RETRYABLE else error.code
        return Refusal(code, error.message, _HTTP_STATUS.get(code, 500))
    return Refusal(Code.INTERNAL, "internal error", 500)
