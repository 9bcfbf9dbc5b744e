"""What runs between components: entries, processor nodes and fan-outs.

Each node has one `consume`. The path of a payload is a chain of awaits, so returning from a
receiver's `consume` means that the last stage before a queue took responsibility. The pipeline
ledger is kept here, at the two ends; processors report what they remove themselves.

The chain exists twice: plain calls, as long as nobody has to wait (`accept_now`), and coroutines
from there on.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import (
    Code,
    ConsumeError,
    DropReason,
    MalformedError,
    PeerError,
    PermanentError,
    QueueFullError,
)
from mlsysops_pipeline.fanout import prompt, prompt_of_all
from mlsysops_pipeline.pdata.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlsysops_pipeline.component import (
        Consumer,
        Entry,
        PipelineID,
        Processor,
        Rest,
        Settings,
    )
    from mlsysops_pipeline.ledger import PipelineLedger


class ReceiverEntry:
    """What one receiver (or connector) sees of the pipelines behind it, for one signal.

    ``admit``: see `Entry.admit`; one refusing pipeline is enough, or its share would be lost. A
    full queue refuses only if that of every other pipeline is full too (see `fanout`).
    ``accept_now``: see `PromptConsumer`.
    """

    __slots__ = ("accept_now", "admit", "targets")

    def __init__(self, targets: Sequence[Entry] = ()) -> None:
        self.targets = tuple(targets)
        self.admit = admit_unless_all_full([target.admit for target in self.targets])
        self.accept_now = prompt_of_all(self.targets)

    async def consume(self, payload: Payload) -> None:
        """Give the payload to every pipeline."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def __repr__(self) -> str:
        return f"<ReceiverEntry {list(self.targets)}>"


class PipelineEntry:
    """The beginning of a pipeline: admission (`Entry.admit`), and the ledger's ``received``."""

    __slots__ = ("_accept", "admit", "id", "ledger")

    def __init__(
        self,
        id_: PipelineID,
        ledger: PipelineLedger,
        first: Consumer,
        gates: Sequence[Callable[[int], None]],
    ) -> None:
        self.id = id_
        self.ledger = ledger
        self.admit = _admit_by_all(gates)
        self._accept = prompt(first)

    async def consume(self, payload: Payload) -> None:
        """Count what the pipeline takes."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`."""
        try:
            items = payload.items
        except PeerError as error:
            raise as_consume_error(error) from error
        rest = self._accept(payload)
        if rest is not None:
            return partial(self._finish, rest, items)
        self.ledger.received += items
        return None

    async def _finish(self, rest: Rest, items: int) -> None:
        await rest()
        self.ledger.received += items

    def __repr__(self) -> str:
        return f"<PipelineEntry {self.id} received={self.ledger.received}>"


class ProcessorNode:
    """Runs a `Processor` and hands its result on.

    A payload of several members in which the processor finds malformed bytes is processed member
    by member: the bad ones are dropped and counted, the others go on. A payload of one member is
    returned to whoever sent it.
    """

    __slots__ = ("_accept", "_incoming", "_ledger", "_logger", "_outgoing", "id", "processor")

    def __init__(self, processor: Processor, settings: Settings, next_: Consumer) -> None:
        self.id = settings.id
        self.processor = processor
        self._accept = prompt(next_)
        self._logger = settings.logger
        if settings.ledger is None or settings.pipeline is None:
            raise ValueError("a processor runs in a pipeline")
        self._ledger = settings.ledger
        attributes = {"processor": str(settings.id), "otel.signal": str(settings.pipeline.signal)}
        meter = settings.meter
        self._incoming = meter.counter("otelcol_processor_incoming_items", "{item}").bind(
            attributes
        )
        self._outgoing = meter.counter("otelcol_processor_outgoing_items", "{item}").bind(
            attributes
        )

    async def consume(self, payload: Payload) -> None:
        """Process and hand on; an empty result ends here."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`."""
        try:
            result = self.processor.process(payload)
        except Exception as error:  # noqa: BLE001  the edge: whatever it is, it is translated
            result = self._recovered(payload, error)
        self._incoming.add(payload.items)
        if result is None:
            return None
        try:
            rest = self._accept(result)
        except ConsumeError:
            self._give_back(payload, result)
            raise
        if rest is not None:
            return partial(self._finish, rest, payload, result)
        self._outgoing.add(result.items)
        return None

    async def _finish(self, rest: Rest, payload: Payload, result: Payload) -> None:
        try:
            await rest()
        except ConsumeError:
            self._give_back(payload, result)
            raise
        self._outgoing.add(result.items)

    def _give_back(self, payload: Payload, result: Payload) -> None:
        """What was removed on the way has been counted, and goes back all the same."""
        self._ledger.created += payload.items - result.items

    def _recovered(self, payload: Payload, error: Exception) -> Payload | None:
        """What is left of a payload that the processor could not take as it is; or raise."""
        if not isinstance(error, MalformedError):
            raise self._translated(error)
        if len(payload.wires) == 1:
            raise as_consume_error(error) from error
        return self._run_by_member(payload)

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, (ConsumeError, PeerError)):
            return error
        self._logger.error("processor failed; the payload is refused", exc_info=error)
        failure = PermanentError(
            f"processor {self.id} failed: {type(error).__name__}",
            reason=DropReason.PROCESSOR_ERROR,
        )
        failure.__cause__ = error
        return failure

    def _run_by_member(self, payload: Payload) -> Payload | None:
        results = []
        for wire in payload.wires:
            member = payload.with_wires(wire)
            try:
                result = self.processor.process(member)
            except MalformedError as error:
                self._ledger.drop(DropReason.MALFORMED, member.items)
                self._logger.error(  # noqa: TRY400  a peer's bytes, not our traceback
                    "dropped malformed data from %s: %s", payload.metadata.peer or "?", error
                )
                continue
            except Exception as error:  # noqa: BLE001  the edge
                raise self._translated(error)  # noqa: B904  it carries its cause
            if result is not None:
                results.append(result)
        return Payload.merge(results, payload.metadata) if results else None

    def __repr__(self) -> str:
        return f"<ProcessorNode {self.id} incoming={self._incoming.value}>"


class PipelineExit:
    """The end of a pipeline: every destination gets the payload, and the ledger counts each."""

    __slots__ = ("_accept", "_ledger", "destinations")

    def __init__(self, ledger: PipelineLedger, destinations: Sequence[Consumer]) -> None:
        self._ledger = ledger
        self.destinations = tuple(destinations)
        self._accept = prompt_of_all(self.destinations)

    async def consume(self, payload: Payload) -> None:
        """Hand on to every destination."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`."""
        rest = self._accept(payload)
        if rest is not None:
            return partial(self._finish, rest, payload)
        self._count(payload)
        return None

    async def _finish(self, rest: Rest, payload: Payload) -> None:
        await rest()
        self._count(payload)

    def _count(self, payload: Payload) -> None:
        copies = len(self.destinations)
        self._ledger.created += payload.items * (copies - 1)
        self._ledger.handed_on += payload.items * copies

    def __repr__(self) -> str:
        return f"<PipelineExit destinations={len(self.destinations)}>"


def _admit_by_all(gates: Sequence[Callable[[int], None]]) -> Callable[[int], None]:
    """One function that asks all; the only one itself, which is asked once a request."""
    if len(gates) == 1:
        return gates[0]
    asked = tuple(gates)

    def admit(size: int) -> None:
        for gate in asked:
            gate(size)

    return admit


def admit_unless_all_full(gates: Sequence[Callable[[int], None]]) -> Callable[[int], None]:
    """The same for destinations that all get the payload: those with full queues refuse together.

    One of them does not refuse what another destination takes; any other refusal does.
    """
    if len(gates) == 1:
        return gates[0]
    asked = tuple(gates)

    def admit(size: int) -> None:
        full: list[QueueFullError] = []
        for gate in asked:
            try:
                gate(size)
            except QueueFullError as error:
                full.append(error)
        if full and len(full) == len(asked):
            raise full[0]
        for refusal in full:
            refusal.forgo()

    return admit


def as_consume_error(error: PeerError) -> PermanentError:
    """A payload's own fault, found after the receiver had taken it."""
    is_data = error.code == Code.INVALID_ARGUMENT
    reason = DropReason.MALFORMED if is_data else DropReason.TOO_LARGE
    return PermanentError(error.message, code=error.code, reason=reason)
