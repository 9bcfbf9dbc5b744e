"""Giving one payload to several consumers: pipelines behind a receiver or connector, exporters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import (
    ConsumeError,
    PermanentError,
    QueueFullError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlsysops_pipeline.component import Consumer, Rest
    from mlsysops_pipeline.pdata.payload import Payload

    Accept = Callable[[Payload], Rest | None]


def prompt(consumer: Consumer) -> Accept:
    """`PromptConsumer.accept_now` of any consumer: the whole is left where it has none."""
    accept: Accept | None = getattr(consumer, "accept_now", None)
    if accept is not None:
        return accept
    consume = consumer.consume
    return lambda payload: partial(consume, payload)


def prompt_of_all(consumers: Sequence[Consumer]) -> Accept:
    """The same for several that all get the payload: see `give_to_all`."""
    accepts = [prompt(consumer) for consumer in consumers]
    if len(accepts) == 1:
        return accepts[0]
    return partial(_accept_all, accepts)


async def give_to_all(consumers: Sequence[Consumer], payload: Payload) -> None:
    """Call every consumer, even if an earlier one failed (service behaviour, section 6).

    A full queue does not refuse what another destination took: its share is given up and counted
    there. Any other failure goes back to the sender, permanent if one of them is, with the
    longest wait that was asked for.
    """
    rest = _accept_all([prompt(consumer) for consumer in consumers], payload)
    if rest is not None:
        await rest()


def _accept_all(accepts: Sequence[Accept], payload: Payload) -> Rest | None:
    errors: list[ConsumeError] = []
    left = iter(accepts)
    for accept in left:
        try:
            rest = accept(payload)
        except ConsumeError as error:
            errors.append(error)
            continue
        if rest is not None:
            return partial(_go_on, rest, left, payload, errors, len(accepts))
    _judge(errors, len(accepts))
    return None


async def _go_on(
    rest: Rest, left: Iterator[Accept], payload: Payload, errors: list[ConsumeError], count: int
) -> None:
    """Go through those that are ``left``, of ``count``, one of which has to be awaited."""
    waiting: Rest | None = rest
    while True:
        try:
            if waiting is not None:
                await waiting()
            waiting = None
            accept = next(left, None)
            if accept is None:
                break
            waiting = accept(payload)
        except ConsumeError as error:
            waiting = None
            errors.append(error)
    _judge(errors, count)


async def give_parts(parts: Sequence[tuple[Accept, Payload]]) -> None:
    """Give each consumer its own payload, even if an earlier one failed; raise what failed.

    The parts are different data, so that none of them may be given up because another was taken.
    """
    errors: list[ConsumeError] = []
    for accept, payload in parts:
        try:
            rest = accept(payload)
            if rest is not None:
                await rest()
        except ConsumeError as error:
            errors.append(error)
    if errors:
        raise combined(errors)


def _judge(errors: Sequence[ConsumeError], count: int) -> None:
    """What the errors of some of ``count`` destinations mean for the sender."""
    if not errors:
        return
    full = [error for error in errors if isinstance(error, QueueFullError)]
    if len(errors) < count and len(full) == len(errors):
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
