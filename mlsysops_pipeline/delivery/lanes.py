"""Requests that go out side by side where they may, and one after the other where they must.

A lane is a list of requests whose order matters, because they have series or streams in common.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from mlsysops_pipeline.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_Request = TypeVar("_Request")


async def send_lanes(
    lanes: list[list[_Request]], send: Callable[[_Request], Awaitable[None]], parallelism: int
) -> None:
    """Send the requests of ``lanes``, of at most ``parallelism`` lanes at the same time.

    What was sent is taken out of its lane, and lanes that are empty out of ``lanes``, however this
    ends: what is left is to be sent. Raises the `RetryableError` that asks for the longest wait
    when ``send`` raised any; after the first, no other lane is begun.
    """
    waiting = list(reversed(lanes))
    failures: list[RetryableError] = []

    async def send_some() -> None:
        while waiting and not failures:
            lane = waiting.pop()
            try:
                while lane:
                    await send(lane[0])
                    del lane[0]
            except RetryableError as failure:
                failures.append(failure)

    try:
        if len(waiting) == 1:
            await send_some()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(parallelism, len(waiting))):
                    group.create_task(send_some())
    finally:
        lanes[:] = [lane for lane in lanes if lane]
    if failures:
        raise max(failures, key=lambda failure: failure.retry_after_s or 0.0)
