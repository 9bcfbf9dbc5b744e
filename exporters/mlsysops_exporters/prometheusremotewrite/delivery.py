"""The delivery of one payload: what of it is still to be sent, over as many attempts as it takes.

A payload is assembled in stages of limited size. The requests of a stage are in lanes that have no
series in common: lanes go out at the same time, the requests of a lane one after the other (R1-5).
What arrived is not sent again when the core tries the same payload once more.

A refusal is final (R1-6). But what waits together is sent together, and then one sender's bad point
would cost the points of all others. So what is refused for what is in it, and was put together from
several payloads, is sent in parts, in its order; these are final when each is from one payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.component import ExportResult
from mlsysops_pipeline.delivery.lanes import send_lanes
from mlsysops_pipeline.errors import DropReason, PermanentError
from mlsysops_pipeline.transport.http.push import DataRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mlsysops_exporters.prometheusremotewrite.order import Latest
    from mlsysops_exporters.prometheusremotewrite.packing import Request
    from mlsysops_exporters.prometheusremotewrite.stages import Stages
    from mlsysops_pipeline.pdata.payload import Payload

    Post = Callable[[bytes], Awaitable[None]]


IN_VAIN_MAX: Final = 50
"""Refusals in a row after which nothing is taken apart any more: it is not one sender's fault."""


class Delivery:
    """What is left of one payload.

    ``post`` sends a body or raises `RetryableError` or `PermanentError`. ``latest`` learns what
    arrived.
    """

    def __init__(self, payload: Payload, latest: Latest, post: Post, stages: Stages) -> None:
        self.payload = payload
        self._latest = latest
        self._post = post
        self._stages = stages
        self._lanes: list[list[Request]] = []
        self._accepted = 0
        self._rejected = 0
        self._refusal: PermanentError | None = None
        self._refused: list[tuple[Request, PermanentError]] = []
        """Of this stage."""
        self._in_vain = 0

    async def attempt(self, parallelism: int) -> ExportResult | None:
        """Send what is left; what is to be reported of it all.

        Raises `RetryableError` if something is still left, and `PermanentError` if the receiver
        refused all of it.
        """
        while True:
            if not self._lanes:
                lanes = await self._stages.next()
                if lanes is None:
                    return self._result()
                self._lanes = lanes
            await send_lanes(self._lanes, self._send, parallelism)
            self._judge()

    async def _send(self, request: Request) -> None:
        try:
            await self._post(request.body)
        except PermanentError as refusal:
            self._refused.append((request, refusal))
            self._in_vain += 1
        else:
            self._accepted += request.items
            self._in_vain = 0
            self._latest.delivered(request.times_ms)

    def _judge(self) -> None:
        """A stage has been sent: what was refused of it is lost, or sent in its parts.

        Not to a receiver that seems to refuse everything.
        """
        refused, self._refused = self._refused, []
        is_bad_data = any(isinstance(refusal, DataRefusedError) for _, refusal in refused)
        is_hopeless = self._latest.is_refused or self._in_vain > IN_VAIN_MAX
        if is_bad_data and not is_hopeless and self._stages.take_apart():
            refused = [one for one in refused if not isinstance(one[1], DataRefusedError)]
        for request, refusal in refused:
            # Counted whole: the receiver does not say what of it it took (R1-6).
            self._rejected += request.items
            self._refusal = refusal

    def _result(self) -> ExportResult | None:
        refusal = self._refusal
        if refusal is not None and not self._accepted:
            self._latest.refused()
            raise refusal
        unsendable = self.payload.items - self._accepted - self._rejected
        if not self._rejected and not unsendable:
            return None
        return ExportResult(
            self._rejected,
            refusal.message if refusal is not None else "",
            DropReason.REJECTED,
            unsendable,
        )

    def __repr__(self) -> str:
        return (
            f"<Delivery of {self.payload!r} accepted={self._accepted} rejected={self._rejected} "
            f"lanes={len(self._lanes)}>"
        )
