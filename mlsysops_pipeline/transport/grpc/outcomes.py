"""What the outcome of a gRPC call means for the data: accepted, once more later, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.component import ExportResult
from mlsysops_pipeline.errors import (
    Code,
    ConsumeError,
    MalformedError,
    PermanentError,
    RetryableError,
)
from mlsysops_pipeline.transport.rpc_status import RpcStatus, decode_answer, decode_status

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.answers import Outcome

_RETRYABLE: Final = frozenset(
    {
        Code.CANCELLED,
        Code.DEADLINE_EXCEEDED,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)


def error_of(outcome: Outcome) -> ConsumeError:
    """The error for a call that did not end with OK (OG-5, OG-6, OG-7, OC-12).

    RESOURCE_EXHAUSTED can be tried again only if the peer says when.
    """
    code = outcome.code
    status = RpcStatus()
    if outcome.details:
        try:
            status = decode_status(outcome.details)
        except MalformedError:
            status = RpcStatus(details="details that cannot be read")
    text = f"{code.name}: {outcome.message or status.message or 'no message'}"
    if status.details:
        text += f" ({status.details})"
    wait_s = status.retry_after_s
    if code in _RETRYABLE or (code == Code.RESOURCE_EXHAUSTED and wait_s is not None):
        return RetryableError(
            text, code=code, retry_after_s=wait_s or None, is_unanswered=outcome.is_unanswered
        )
    return PermanentError(text, code=code)


def result_of(body: bytes, items: int) -> ExportResult | None:
    """What an ``Export*ServiceResponse`` says about a request of ``items`` items (OC-7).

    ``None``: everything was accepted. Raises `PermanentError` if it cannot be read.
    """
    try:
        answer = decode_answer(body)
    except MalformedError as error:
        raise PermanentError(f"the answer cannot be read: {error.message}") from error
    if not answer.rejected_items and not answer.message:
        return None
    return ExportResult(min(answer.rejected_items, items), answer.message)
