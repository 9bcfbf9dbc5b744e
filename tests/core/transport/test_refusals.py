"""The one table of errors for both transports."""

from __future__ import annotations

import pytest

from mlsysops_pipeline.errors import (
    Code,
    MalformedError,
    PeerError,
    PermanentError,
    RetryableError,
    TooLargeError,
)
from mlsysops_pipeline.transport.refusals import RETRY_AFTER_S, Refusal, refusal


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        # OG-2, OH-6: too large is never retryable.
        (TooLargeError("x"), Code.RESOURCE_EXHAUSTED, 413),
        (PermanentError("x", code=Code.RESOURCE_EXHAUSTED), Code.RESOURCE_EXHAUSTED, 413),
        # OG-4, OH-5: bad data.
        (MalformedError("x"), Code.INVALID_ARGUMENT, 400),
        (PermanentError("x", code=Code.INVALID_ARGUMENT), Code.INVALID_ARGUMENT, 400),
        # OH-12, OH-13.
        (PeerError("x", Code.UNAUTHENTICATED), Code.UNAUTHENTICATED, 401),
        (PeerError("x", Code.PERMISSION_DENIED), Code.PERMISSION_DENIED, 403),
        (PeerError("x", Code.UNIMPLEMENTED), Code.UNIMPLEMENTED, 404),
        (PeerError("x", Code.UNIMPLEMENTED, http_status=405), Code.UNIMPLEMENTED, 405),
        (PermanentError("x"), Code.INTERNAL, 500),
        (PermanentError("x", code=Code.UNAVAILABLE), Code.INTERNAL, 500),
        (PermanentError("x", code=Code.NOT_FOUND), Code.NOT_FOUND, 500),
        (ValueError("secret"), Code.INTERNAL, 500),
    ],
)
def test_what_cannot_be_retried_says_so(error: Exception, code: Code, status: int) -> None:
    told = refusal(error)
    assert (code, status, None, "") == (*told[0:1], told[2], told.retry_after_s, told.retry_after)


@pytest.mark.parametrize(
    ("code", "told_code", "status"),
    [
        (None, Code.UNAVAILABLE, 503),
        (Code.RESOURCE_EXHAUSTED, Code.RESOURCE_EXHAUSTED, 429),
        (Code.CANCELLED, Code.CANCELLED, 503),
        (Code.DEADLINE_EXCEEDED, Code.DEADLINE_EXCEEDED, 503),
        (Code.ABORTED, Code.ABORTED, 503),
        (Code.OUT_OF_RANGE, Code.OUT_OF_RANGE, 503),
        (Code.DATA_LOSS, Code.DATA_LOSS, 503),
        # No client retries these, so they would lose the data.
        (Code.UNKNOWN, Code.UNAVAILABLE, 503),
        (Code.INTERNAL, Code.UNAVAILABLE, 503),
    ],
)
def test_what_can_be_retried_always_has_a_hint(
    code: Code | None, told_code: Code, status: int
) -> None:
    # OG-3, OH-7, OH-13
    hinted = refusal(RetryableError("x", code=code, retry_after_s=2.2))
    assert Refusal(told_code, "x", status, 2.2) == hinted
    assert "3" == hinted.retry_after
    assert RETRY_AFTER_S == refusal(RetryableError("x", code=code)).retry_after_s


def test_hints_are_kept_within_reason() -> None:
    assert "1" == refusal(RetryableError("x", retry_after_s=-5.0)).retry_after
    assert "1" == refusal(RetryableError("x", retry_after_s=0.0)).retry_after
    assert "86400" == refusal(RetryableError("x", retry_after_s=1e12)).retry_after


def test_errors_that_are_not_ours_tell_nothing() -> None:
    assert "internal error" == refusal(ValueError("secret")).message
