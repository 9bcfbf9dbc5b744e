"""Handing on what was held, to a next stage that may refuse it for now.

What is refused as retryable is tried again until it is taken. What is refused for good, or still
refused `PATIENCE_S` after the processor began to stop, is dropped, counted and logged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from mlsysops_pipeline.delivery.receipts import resolve
from mlsysops_pipeline.errors import ConsumeError, DropReason, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import Consumer, Settings
    from mlsysops_pipeline.delivery.causes import CauseLog
    from mlsysops_pipeline.pdata.payload import Payload

WAIT_MIN_S, WAIT_MAX_S = 0.1, 5.0
"""The wait, which doubles, after a refusal by the next stage."""
PATIENCE_S = 5.0
"""How long a stopping processor keeps trying."""


class Leaving:
    """Calls ``next_`` with one payload at a time, and knows when the processor was told to stop.

    ``what`` names a payload in the log ("a window"); ``on_taken`` is told of the items of each one
    that was taken.
    """

    def __init__(
        self,
        settings: Settings,
        next_: Consumer,
        causes: CauseLog,
        what: str,
        on_taken: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._next = next_
        self._causes = causes
        self._what = what
        self._on_taken = on_taken
        self._pausing: asyncio.Future[None] | None = None
        self._stopping_since: float | None = None
        self.items = 0
        """What is on its way now; the owner sets it before `hand_on` and tells its ledger of it."""

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping_since is not None

    def stop(self) -> None:
        """Be patient no longer than `PATIENCE_S`, and end a `pause`."""
        self._stopping_since = self._settings.clock.monotonic()
        if self._pausing is not None:
            resolve(self._pausing)

    async def pause(self, seconds: float) -> None:
        """Wait; `stop` ends it."""
        pausing = self._pausing = asyncio.get_running_loop().create_future()
        timer = self._settings.clock.call_later(seconds, lambda: resolve(pausing))
        try:
            await pausing
        finally:
            timer.cancel()

    async def hand_on(self, payload: Payload) -> None:
        """Return when ``payload`` is taken or dropped; `items` is 0 then."""
        wait_s = WAIT_MIN_S
        while True:
            try:
                await self._next.consume(payload)
            except RetryableError as error:
                if self._is_out_of_patience:
                    self._lose_all(DropReason.SHUTDOWN, error.message)
                    return
                self._causes.say(
                    "retryable",
                    logging.WARNING,
                    f"the next stage does not take {self._what} now; it is kept: {error.message}",
                )
                wait = max(wait_s, error.retry_after_s or 0.0)
                await self.pause(WAIT_MIN_S if self.is_stopping else wait)
                wait_s = min(2 * wait_s, WAIT_MAX_S)
            except ConsumeError as error:
                self._lose_all(error.reason, error.message)
                return
            except Exception as error:  # noqa: BLE001  the edge: whatever it is, it is reported
                self._lose_all(DropReason.PROCESSOR_ERROR, str(error), error)
                return
            else:
                self._on_taken(self.items)
                self.items = 0
                return

    @property
    def _is_out_of_patience(self) -> bool:
        since = self._stopping_since
        return since is not None and self._settings.clock.monotonic() - since >= PATIENCE_S

    def _lose_all(self, reason: DropReason, message: str, error: Exception | None = None) -> None:
        lost, self.items = self.items, 0
        if lost:
            self.lose(reason, lost, message, error)

    def lose(
        self, reason: DropReason, items: int, message: str, error: Exception | None = None
    ) -> None:
        """Count items as dropped by the pipeline, and log it once per reason."""
        self._settings.pipeline_ledger.drop(reason, items)
        self._causes.say(
            ("lost", reason),
            logging.ERROR,
            f"dropped {items} items (reason {reason}): {message}",
            items=items,
            error=error,
        )

    def __repr__(self) -> str:
        return f"<Leaving items={self.items}>"
