"""`FunctionProcessor`: runs a user's function on each payload, and survives it.

A synchronous function is called in a thread of its own, one payload after the other, so it needs
no locks and cannot hold up the event loop (but pure Python in it competes with the loop for the
interpreter). An asynchronous one runs in the event loop, up to `CONCURRENT_MAX` calls at a time,
and must not block. Views are opened and closed in the thread in either case, unless they are small.

What the function is given is a copy: a fault or an overrun leaves the payload as it was.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Status
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.errors import (
    Bug,
    Code,
    ConsumeError,
    DropReason,
    MalformedError,
    PermanentError,
)
from mlsysops_pipeline.functions.calling import Outcome, closed, run
from mlsysops_pipeline.functions.telemetry import Telemetry
from mlsysops_pipeline.functions.worker import CallFailedError, Worker
from mlsysops_pipeline.pdata.views import Depth, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import Consumer, Settings
    from mlsysops_pipeline.functions.options import Options
    from mlsysops_pipeline.pdata.payload import Payload

RULE = "function"
"""How the ledger calls what a function took out."""
OVERRUNS_MAX = 3
OVERRUN_WINDOW_S = 600.0
"""Overruns are forgotten after this; a thread that never came back is one for ever."""
CONCURRENT_MAX = 16
_INLINE_BYTES_MAX = 64 << 10
"""Up to this an asynchronous function's view is opened in the event loop: about 0.2 ms."""
_OPEN_FACTOR = 3
"""What an open view is charged, in sizes of the wire (see "Payload and views" in the design)."""


class _OverrunError(Exception):
    """The function took longer than it may."""


def _not_loaded(_: Telemetry) -> None:
    raise Bug("the function has not been loaded")


class FunctionProcessor:
    """Implements `HoldingProcessor`: it waits, so it hands on itself. It holds nothing.

    ``load`` finds the function when the collector starts, in a thread, as importing may take long;
    it raises what says why it cannot be used.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Callable[[Telemetry], Any], Options]],
        settings: Settings,
        next_: Consumer,
    ) -> None:
        self._load = load
        self._settings = settings
        self._clock = settings.clock
        self._ledger = settings.pipeline_ledger
        self._next = next_
        self._causes = CauseLog(settings.logger, settings.clock)
        self._function: Callable[[Telemetry], Any] = _not_loaded
        self._options: Options | None = None
        self._is_async = False
        self._worker: Worker | None = None
        self._turn = asyncio.Semaphore(1)
        self._overruns: deque[float] = deque(maxlen=OVERRUNS_MAX)
        self._stuck = 0
        self._is_stopped = False
        self.is_passing = False
        """Whether the function is called no more."""
        self._bind_metrics()

    def _bind_metrics(self) -> None:
        settings, meter = self._settings, self._settings.meter
        labels = {"processor": str(settings.id)}
        if settings.pipeline is not None:
            labels["otel.signal"] = str(settings.pipeline.signal)
        self._incoming = meter.counter("otelcol_processor_incoming_items", "{item}").bind(labels)
        self._outgoing = meter.counter("otelcol_processor_outgoing_items", "{item}").bind(labels)
        calls = meter.counter(
            "mlsysops_processor_function_calls", "{call}", "Payloads of a function, by outcome"
        )
        self._counts = {
            outcome: calls.bind({**labels, "outcome": outcome})
            for outcome in ("success", "failure", "overrun", "passed")
        }
        self._seconds = meter.counter(
            "mlsysops_processor_function_seconds", "s", "Time spent in calls of a function"
        ).bind(labels)
        meter.gauge(
            "mlsysops_processor_function_passing",
            "1",
            "1 when a function is called no more, because it took too long too often",
        ).observe(labels, lambda: float(self.is_passing))

    async def start(self) -> None:
        """Find the function. Raises what says why it cannot be used."""
        self._worker = self._new_worker()
        self._function, self._options = await self._worker.call(self._load)
        call = getattr(self._function, "__call__", None)  # noqa: B004  of an object, to look at it
        self._is_async = inspect.iscoroutinefunction(self._function) or (
            inspect.iscoroutinefunction(call)
        )
        self._turn = asyncio.Semaphore(CONCURRENT_MAX if self._is_async else 1)

    async def shutdown(self) -> None:
        """Let the thread go; a call that does not end is not waited for."""
        self._is_stopped = True
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.leave()

    async def consume(self, payload: Payload) -> None:
        """Call the function and hand on what comes of it."""
        self._incoming.add(payload.items)
        outcome = await self._outcome(payload)
        if outcome.payload is not None:
            await self._next.consume(outcome.payload)
            self._outgoing.add(outcome.items)
        ledger, bad = self._ledger, outcome.malformed
        if bad:
            ledger.drop(DropReason.MALFORMED, bad)
        # What the function took out or made otherwise shows in the numbers of items only.
        removed = payload.items - bad + outcome.added - outcome.items
        ledger.created += outcome.added + max(-removed, 0)
        if removed > 0:
            ledger.filter(RULE, removed)

    async def _outcome(self, payload: Payload) -> Outcome:
        """What comes of the payload; of members that are no protobuf, nothing. Or raise."""
        try:
            return await self._called(payload)
        except MalformedError as error:
            if len(payload.wires) == 1:
                raise PermanentError(
                    error.message, code=error.code, reason=DropReason.MALFORMED
                ) from error
        sound = self._sound(payload)
        bad = payload.items - sound.items
        source = payload.metadata.peer or "?"
        self._causes.say(
            "malformed", logging.ERROR, f"dropped malformed data from {source}", items=bad
        )
        if not sound.wires:
            return Outcome(None, malformed=bad)
        return replace(await self._called(sound), malformed=bad)

    def _sound(self, payload: Payload) -> Payload:
        depth = Depth(self._chosen.view)
        wires = []
        for wire in payload.wires:
            try:
                parse(payload.signal, depth, wire)
            except MalformedError:
                continue
            wires.append(wire)
        return payload.with_wires(wires)

    @property
    def _chosen(self) -> Options:
        if self._options is None:
            raise PermanentError("the function has not been loaded")
        return self._options

    async def _called(self, payload: Payload) -> Outcome:
        """One call, when its turn has come. Whoever waits for it may go away meanwhile.

        A synchronous call goes on then, as it cannot be stopped, and the next waits its turn.
        """
        options = self._chosen
        await self._turn.acquire()
        if self.is_passing:
            self._turn.release()
            self._counts["passed"].add(1)
            return Outcome(payload, payload.items)
        if self._is_async:
            outcome = await self._judged(payload, options)
        else:
            name = f"call of {self._settings.id}"
            outcome = await asyncio.shield(
                self._settings.tasks.spawn(name, self._judged(payload, options))
            )
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _judged(self, payload: Payload, options: Options) -> Outcome | Exception:
        """What comes of one call, or what it costs; ends its turn."""
        began = self._clock.monotonic()
        try:
            call = self._call_async if self._is_async else self._call_sync
            outcome = await call(payload, options)
        except MalformedError as error:
            return error
        except Exception as error:  # noqa: BLE001  the edge: it is a user's code
            return self._cost(error, payload, options) or Outcome(payload, payload.items)
        finally:
            self._seconds.add(self._clock.monotonic() - began)
            self._turn.release()
        self._counts["success"].add(1)
        return outcome

    def _cost(self, error: Exception, payload: Payload, options: Options) -> Exception | None:
        """Count and log a fault; what is raised for it, if anything is."""
        is_overrun = isinstance(error, _OverrunError)
        self._counts["overrun" if is_overrun else "failure"].add(1)
        if is_overrun:
            what = f"the function took longer than {options.timeout:g} s"
            self._overran()
        else:
            what = f"the function failed: {type(error).__name__}: {error}"
        is_refusal = isinstance(error, ConsumeError) and options.error_mode == "propagate"
        if options.error_mode != "silent" and not is_refusal:
            ends = "is refused" if options.error_mode == "propagate" else "is handed on unchanged"
            self._causes.say(
                type(error).__qualname__,
                logging.ERROR if options.error_mode == "propagate" else logging.WARNING,
                f"{what}; the payload {ends}",
                items=payload.items,
                error=None if is_overrun else error,
            )
        if options.error_mode != "propagate" or is_refusal:
            return error if is_refusal else None
        cost = PermanentError(
            f"processor {self._settings.id}: {what}",
            code=Code.INTERNAL,  # not DEADLINE_EXCEEDED, after which senders try again
            reason=DropReason.PROCESSOR_ERROR,
        )
        cost.__cause__ = error
        return cost

    def _overran(self) -> None:
        now = self._clock.monotonic()
        self._overruns.append(now)
        recent = sum(now - when < OVERRUN_WINDOW_S for when in self._overruns)
        if (recent >= OVERRUNS_MAX or self._stuck >= OVERRUNS_MAX) and not self.is_passing:
            self.is_passing = True
            message = (
                f"the function took too long {OVERRUNS_MAX} times: it is called no more, and data "
                "passes through unchanged until the collector starts again"
            )
            self._settings.logger.error(message)
            self._settings.host.report_status(Status.PERMANENT_ERROR, message)

    async def _call_sync(self, payload: Payload, options: Options) -> Outcome:
        call = partial(run, self._function, payload, options.view)
        outcome: Outcome = await self._in_thread(call, payload.size, options.timeout)
        return outcome

    async def _in_thread(self, call: Callable[[], Any], size: int, timeout_s: float) -> Any:
        """Call in the thread. One that takes too long is left behind, and another one begun."""
        memory = self._settings.memory
        memory.charge(_OPEN_FACTOR * size)
        worker = self._worker
        if worker is None:
            worker = self._worker = self._new_worker()
        work = worker.call(call)
        if self._is_stopped:  # a request that came before: the thread is for it alone
            worker.leave()
            self._worker = None
        work.add_done_callback(lambda _: memory.release(_OPEN_FACTOR * size))
        await self._wait(work, timeout_s)
        if not work.done():
            worker.leave()
            self._worker = None
            self._stuck += 1
            work.add_done_callback(self._came_back)
            raise _OverrunError
        return work.result()

    def _came_back(self, work: asyncio.Future[Any]) -> None:
        """A call that was left behind has ended; its result is thrown away."""
        self._stuck -= 1
        work.exception()  # looked at, or asyncio complains that nobody did

    async def _call_async(self, payload: Payload, options: Options) -> Outcome:
        opening = partial(Telemetry, payload, options.view)
        is_small = payload.size <= _INLINE_BYTES_MAX
        size = payload.size
        telemetry = opening() if is_small else await self._in_thread(opening, size, 0)
        with self._settings.memory.held(_OPEN_FACTOR * size):
            result = await self._answer(telemetry, options)
            closing = partial(closed, telemetry, result, payload)
            return closing() if is_small else await self._in_thread(closing, size, 0)

    async def _answer(self, telemetry: Telemetry, options: Options) -> Any:
        """What the asynchronous function returns; it is cancelled at the limit."""
        name = f"function of {self._settings.id}"
        task = self._settings.tasks.spawn(name, self._guarded(telemetry))
        try:
            await self._wait(task, options.timeout)
        finally:
            task.cancel()  # when it is done, this does nothing
        if not task.done():
            raise _OverrunError
        result, error = task.result()
        if error is not None:
            raise error
        return result

    async def _guarded(self, telemetry: Telemetry) -> tuple[Any, Exception | None]:
        try:
            return await self._function(telemetry), None
        except MalformedError as error:
            return None, CallFailedError(f"MalformedError: {error}")
        except Exception as error:  # noqa: BLE001  the edge: it is a user's code
            return None, error
        except (SystemExit, KeyboardInterrupt) as error:  # would end the event loop
            return None, CallFailedError(f"{type(error).__name__}: {error}")
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None, CallFailedError(f"CancelledError: {error}")

    async def _wait(self, work: asyncio.Future[Any], timeout_s: float) -> None:
        """Return when ``work`` is done or the time is up; neither cancels nor raises."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def wake(_: object = None) -> None:
            if not done.done():
                done.set_result(None)

        work.add_done_callback(wake)
        timer = self._clock.call_later(timeout_s, wake) if timeout_s else None
        try:
            await done
        finally:
            work.remove_done_callback(wake)
            if timer is not None:
                timer.cancel()

    def _new_worker(self) -> Worker:
        return Worker(f"function-{self._settings.id}")

    def __repr__(self) -> str:
        state = "passing" if self.is_passing else "calling"
        return f"<FunctionProcessor {self._settings.id} {state} overruns={len(self._overruns)}>"
