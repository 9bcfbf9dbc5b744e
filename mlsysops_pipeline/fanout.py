"""Giving one payload to several consumers: pipelines behind a receiver or connector, exporters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import (
    ConsumeError,
    PermanentError,
    QueueFullError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlsysops_pipeline.component import Consumer
    from mlsysops_pipeline.pdata.payload import Payload


async def give_to_all(consumers: Sequence[Consumer], payload: Payload) -> None:
    """Call every consumer, even if an earlier one failed (service behaviour, section 6).

    A full queue does not refuse what another destination took: its share is given up and counted
    there. Any other failure goes back to the sender, permanent if one of them is, with the
    longest wait that was asked for.
    """
    errors: list[ConsumeError] = []
    for consumer in consumers:
        try:
            await consumer.consume(payload)
        except ConsumeError as error:
            errors.append(error)
    if not errors:
        return
    full = [error for error in errors if isinstance(error, QueueFullError)]
    if len(errors) < len(consumers) and len(full) == len(errors):
        for refusal in full:
            refusal.forgo()
        return
    raise combined(errors)


def combined(errors: Sequence[ConsumeError]) -> ConsumeError:
    """One error that says what a sender must know of several."""
    if len(errors) == 1:
        return errors[0]
    message = "; ".join(dict.fromkeys(error.message for error in errors))
    for error in errors:
        if isinstance(error, PermanentError):
            return PermanentError(message, code=error.code, reason=error.reason)
    waits = [
        error.retry_after_s
        for error in errors
        if isinstance(error, RetryableError) and error.retry_after_s is not None
    ]
    return RetryableError(
        message,
        code=errors[0].code,
        reason=errors[0].reason,
        retry_after_s=max(waits, default=None),
    )
