"""Handing on what was made with the help of a state that changes with every request.

A sender whose request is refused sends it once more. If the state had moved on by then, all of it
would look old: deltas would be lost. So requests go through one at a time, and the state is taken
back when the next stage refuses one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import DropReason, MalformedError, PermanentError
from mlsysops_pipeline.fanout import prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import Consumer, Rest, Settings
    from mlsysops_pipeline.pdata.payload import Payload


class Turns:
    """Implements `PromptConsumer` for a processor with a state.

    ``change`` gives what is to be handed on of a payload, or nothing; ``settle`` is then told
    whether it was taken, and keeps or takes back what ``change`` did. Neither may wait.
    """

    def __init__(
        self,
        settings: Settings,
        next_: Consumer,
        change: Callable[[Payload], Payload | None],
        settle: Callable[[bool], None],
    ) -> None:
        self._accept = prompt(next_)
        self._change = change
        self._settle = settle
        self._is_busy = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        labels = {"processor": str(settings.id), "otel.signal": "metrics"}
        counter = settings.meter.counter
        self._incoming = counter("otelcol_processor_incoming_items", "{item}").bind(labels)
        self._outgoing = counter("otelcol_processor_outgoing_items", "{item}").bind(labels)

    async def consume(self, payload: Payload) -> None:
        """See `Consumer`."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`."""
        if self._is_busy or self._waiting:
            return partial(self._wait, payload)
        self._is_busy = True
        return self._begin(payload)

    def _begin(self, payload: Payload) -> Rest | None:
        """Change a payload and hand it on as far as that goes without waiting."""
        is_left = False
        try:
            try:
                result = self._change(payload)
            except MalformedError as error:
                raise PermanentError(
                    error.message, code=error.code, reason=DropReason.MALFORMED
                ) from error
            self._incoming.add(payload.items)
            if result is not None:
                rest = self._accept(result)
                if rest is not None:
                    is_left = True
                    return partial(self._finish, rest, result)
            self._taken(result)
        except BaseException:
            self._settle(False)  # noqa: FBT003  "not taken", as its contract says
            raise
        finally:
            if not is_left:
                self._release()
        return None

    async def _finish(self, rest: Rest, result: Payload) -> None:
        try:
            await rest()
        except BaseException:  # cancelled too: the sender has no answer and sends it once more
            self._settle(False)  # noqa: FBT003  the same
            raise
        else:
            self._taken(result)
        finally:
            self._release()

    async def _wait(self, payload: Payload) -> None:
        await self.turn()
        rest = self._begin(payload)
        if rest is not None:
            await rest()

    async def turn(self) -> None:
        """Wait until nothing is on its way, and keep everything back until `end_turn`."""
        if not self._is_busy and not self._waiting:
            self._is_busy = True
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._release()
            raise

    def end_turn(self) -> None:
        """See `turn`."""
        self._release()

    def _taken(self, result: Payload | None) -> None:
        self._settle(True)  # noqa: FBT003  "taken"
        if result is not None:
            self._outgoing.add(result.items)

    def _release(self) -> None:
        """The turn of whoever waits longest; busy all the while, so that nobody gets in between."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._is_busy = False
