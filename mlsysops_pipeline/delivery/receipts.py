"""Telling a sender what became of its request (`sending_queue.wait_for_result`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import DropReason, RetryableError

if TYPE_CHECKING:
    import asyncio

    from mlsysops_pipeline.errors import ConsumeError


class Receipt:
    """One request whose sender waits. ``pieces``: in how many deliveries its items are.

    The result is known when the last piece is settled, and is an error if one of them failed:
    the sender then has its data back and may send it again, all of it.
    """

    __slots__ = ("_error", "pieces", "result")

    def __init__(self, result: asyncio.Future[None]) -> None:
        self.result = result
        self.pieces = 1
        self._error: ConsumeError | None = None

    @property
    def is_waited_for(self) -> bool:
        """Whether the sender is still there."""
        return not self.result.done()

    def settle(self, error: ConsumeError | None) -> None:
        """One piece was delivered, or failed."""
        self.pieces -= 1
        self._error = self._error or error
        if self.pieces == 0 and not self.result.done():
            if self._error is None:
                self.result.set_result(None)
            else:
                self.result.set_exception(self._error)

    def __repr__(self) -> str:
        return f"<Receipt pieces={self.pieces} waited_for={self.is_waited_for}>"


def resolve(future: asyncio.Future[None]) -> None:
    """Wake who waits for a future, unless somebody has done so."""
    if not future.done():
        future.set_result(None)


def interrupted() -> RetryableError:
    """The end of a delivery for which there is no time any more."""
    return RetryableError("interrupted due to shutdown", reason=DropReason.SHUTDOWN)
