"""The delivery of one payload: which of its requests are still to be sent.

What arrived is not sent again when the core tries the same payload once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import ExportResult
from mlsysops_pipeline.delivery.lanes import send_lanes
from mlsysops_pipeline.errors import DropReason, PermanentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mlsysops_exporters.loki.requests import Lane, Request
    from mlsysops_pipeline.pdata.payload import Payload


class Delivery:
    """What is left of one payload. ``post`` sends a request or raises a `ConsumeError`."""

    def __init__(
        self, payload: Payload, lanes: list[Lane], post: Callable[[Request], Awaitable[None]]
    ) -> None:
        self.payload = payload
        self._lanes = lanes
        self._post = post
        self._accepted = 0
        self._rejected = 0
        self._refusal: PermanentError | None = None

    async def attempt(self, parallelism: int) -> ExportResult | None:
        """Send what is left; what is to be reported of it all.

        Raises `RetryableError` if something is still left, and `PermanentError` if Loki refused
        all of it.
        """
        await send_lanes(self._lanes, self._send, parallelism)
        return self._result()

    async def _send(self, request: Request) -> None:
        try:
            await self._post(request)
        except PermanentError as refusal:
            self._rejected += request.items  # whole: Loki does not say what of it it took
            self._refusal = refusal
        else:
            self._accepted += request.items

    def _result(self) -> ExportResult | None:
        refusal = self._refusal
        unsendable = self.payload.items - self._accepted - self._rejected
        if refusal is not None and not self._accepted and not unsendable:
            raise refusal
        if not self._rejected and not unsendable:
            return None
        message = "" if refusal is None else refusal.message
        return ExportResult(self._rejected, message, DropReason.REJECTED, unsendable)

    def __repr__(self) -> str:
        return (
            f"<Delivery of {self.payload!r} accepted={self._accepted} rejected={self._rejected} "
            f"lanes={len(self._lanes)}>"
        )
