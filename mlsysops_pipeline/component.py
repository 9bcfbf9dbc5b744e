"""The contracts between the core and its components: what each may rely on, and what it owes.

Data moves by one method, `Consumer.consume`. Returning means "I am responsible for it now";
raising `RetryableError` or `PermanentError` means that nothing was accepted and says whether
trying again can help. Waiting inside it is back-pressure.

Life cycle, for every component: it is created (no I/O), started, used, and shut down.
`start` returns quickly: a wrong configuration or a port in use raises, an absent peer does not
(that is a logged, retried, visible state). `shutdown` stops intake, hands on what is held, then
releases; it is safe before `start` and safe twice.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from mlsysops_pipeline.errors import Bug, DropReason
from mlsysops_pipeline.ids import ComponentID, PipelineID

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.ledger import ExporterLedger, PipelineLedger
    from mlsysops_pipeline.memory import MemoryAccount
    from mlsysops_pipeline.meter import Meter
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.pdata.signal import Signal
    from mlsysops_pipeline.tasks import Tasks

__all__ = [
    "Component",
    "ComponentID",
    "ComponentStatus",
    "Connector",
    "Consumer",
    "Entry",
    "ExportResult",
    "Exporter",
    "Extension",
    "Factory",
    "HoldingProcessor",
    "Host",
    "Kind",
    "PipelineID",
    "Processor",
    "PromptConsumer",
    "Receiver",
    "Rest",
    "Settings",
    "Stability",
    "Status",
]


class Kind(enum.Enum):
    """What a component does. The value is the section of the configuration, in the singular."""

    RECEIVER = "receiver"
    PROCESSOR = "processor"
    EXPORTER = "exporter"
    CONNECTOR = "connector"
    EXTENSION = "extension"

    @property
    def section(self) -> str:
        """The top-level key under which components of this kind are configured."""
        return f"{self.value}s"

    @property
    def entry_points(self) -> str:
        """The entry point group in which packages register components of this kind."""
        return f"mlsysops_pipeline.{self.section}"


class Stability(enum.StrEnum):
    """How far a component can be relied on (the Collector's words, and one of our own)."""

    PLACEHOLDER = "Placeholder"
    """It accepts the keys of the Collector's component, so that files run, and does nothing."""
    DEVELOPMENT = "Development"
    ALPHA = "Alpha"
    BETA = "Beta"
    STABLE = "Stable"
    DEPRECATED = "Deprecated"


class Status(enum.Enum):
    """The state of a component as health reports it (service behaviour, section 9)."""

    STARTING = "StatusStarting"
    OK = "StatusOK"
    RECOVERABLE_ERROR = "StatusRecoverableError"
    PERMANENT_ERROR = "StatusPermanentError"
    FATAL_ERROR = "StatusFatalError"
    STOPPING = "StatusStopping"
    STOPPED = "StatusStopped"


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """The state of one component. ``since_ns`` is Unix time."""

    kind: Kind
    id: ComponentID
    status: Status
    message: str
    since_ns: int


@runtime_checkable
class Consumer(Protocol):
    """Whatever takes payloads: the next stage, seen from the one before."""

    async def consume(self, payload: Payload) -> None:
        """Take responsibility for ``payload``, or raise `ConsumeError`."""


Rest: TypeAlias = "Callable[[], Awaitable[None]]"
"""What is left to be done, by awaiting it; nothing of it has been done."""


class PromptConsumer(Consumer, Protocol):
    """A consumer that seldom has to wait, and can say so at once.

    Optional: whoever has only ``consume`` is awaited (see `fanout.prompt`). Between a socket and a
    queue nothing waits as a rule, and a request then needs no task, no coroutine and no turn of
    the event loop: a fifth of the cost of a small one (`benchmarks/micro_grpc_server.py`).
    """

    def accept_now(self, payload: Payload) -> Rest | None:
        """As ``consume``, as far as that goes without waiting.

        ``None``: responsibility is taken. Otherwise what is left of ``consume``, to be called and
        awaited once, in a task, before the sender has its answer. Raises as ``consume`` does.
        """


class Entry(Consumer, Protocol):
    """The pipelines behind a receiver, as the receiver sees them (one for each signal)."""

    def admit(self, size: int) -> None:
        """Ask, before reading or decoding ``size`` bytes, whether they would be refused.

        Raises `RetryableError` with ``retry_after_s`` when a memory limiter of these pipelines
        refuses now. A receiver calls it once per message, as early as it knows the size.
        """


class Component(Protocol):
    """The life cycle that every component has."""

    async def start(self) -> None:
        """Acquire what is needed and begin. Raises `ConfigError` or `OSError` if that fails."""

    async def shutdown(self) -> None:
        """Stop intake, hand on what is held, release. Safe before `start` and twice."""


class Receiver(Component, Protocol):
    """Brings data in and gives it to the `Entry` of its signal. One object for all signals."""


class Processor(Component, Protocol):
    """Changes, drops or passes one payload at a time; never calls the next component.

    Items that it removes are reported to the ledger in its `Settings`: `filter` for what the
    configuration asks to remove, `drop` for what is lost.
    """

    def process(self, payload: Payload) -> Payload | None:
        """The payload to hand on, or ``None`` if nothing is left of it."""


class HoldingProcessor(Component, Consumer, Protocol):
    """Holds, splits or routes, and therefore calls the next consumer that it was created with.

    What it holds after returning from `consume` it registers with its ledger (`hold`), and it
    never drops what the next stage refuses as retryable: it keeps it and refuses newcomers.
    """


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A delivery that was accepted, but not entirely (OTLP partial success; never retried).

    ``rejected_items`` are counted as dropped for ``reason``; a ``message`` is logged.
    ``unsendable_items`` are others that the exporter did not send (reason ``unsendable``); it has
    logged why.
    """

    rejected_items: int = 0
    message: str = ""
    reason: DropReason = DropReason.PARTLY_REJECTED
    unsendable_items: int = 0


class Exporter(Component, Protocol):
    """Delivers payloads. One object for all signals; concurrent calls are normal.

    The core wraps queue, batching, retry, timeout and telemetry around it when its `Config`
    has the sections of `delivery.DeliveryConfig`; otherwise `export` runs inside `consume`.
    """

    async def export(self, payload: Payload) -> ExportResult | None:
        """Deliver once; no retry in here. Raises `RetryableError` or `PermanentError`."""


class Connector(Component, Consumer, Protocol):
    """Ends some pipelines and begins others; created with an `Entry` for each of the latter."""


class Extension(Component, Protocol):
    """Something beside the pipelines: health, authentication, storage."""


class Host(Protocol):
    """What a component may ask of the collector that runs it."""

    def extension(self, id_: ComponentID) -> Extension:
        """The running extension of this id.

        References are checked before anything starts, so a `KeyError` here is a bug.
        """

    def report_status(self, status: Status, message: str = "") -> None:
        """Say how this component is. Fatal stops the collector."""

    def statuses(self) -> Sequence[ComponentStatus]:
        """The state of every component, for whoever reports health."""

    @property
    def is_ready(self) -> bool:
        """Whether every component has started and none is being stopped."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What code gives to a component, beside the `Config` that its user writes.

    ``ledger``: the pipeline's for processors, ``None`` for other kinds (the core counts what
    receivers and exporters do). ``pipeline``: set for processors. ``folders``: where the files of
    the configuration are.
    """

    id: ComponentID
    kind: Kind
    logger: logging.LoggerAdapter[Any]
    meter: Meter
    clock: Clock
    tasks: Tasks
    memory: MemoryAccount
    host: Host
    signals: frozenset[Signal] = frozenset()
    pipeline: PipelineID | None = None
    ledger: PipelineLedger | None = None
    exporter_ledgers: Mapping[Signal, ExporterLedger] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()

    @property
    def pipeline_ledger(self) -> PipelineLedger:
        """``ledger``, for processors, which always have one. Raises `Bug` for other kinds."""
        if self.ledger is None:
            raise Bug(f"{self.kind.value} {self.id} is in no pipeline and has no ledger of one")
        return self.ledger


ConfigClass: TypeAlias = "type[BaseModel]"
Next: TypeAlias = "Entry | Mapping[Signal, Entry] | Mapping[PipelineID, Entry] | None"


@dataclass(frozen=True, slots=True)
class Factory:
    """How the core makes components of one type. Each component module ends in one: ``FACTORY``.

    ``create(config, settings, next)``; ``next`` is: for a receiver ``Mapping[Signal, Entry]``, for
    a processor the `Consumer` behind it, for a connector ``Mapping[PipelineID, Entry]``, and
    ``None`` for exporters and extensions. It does no I/O.

    ``chooses_exporters``: of processors that send past the rest of their pipeline: ``next`` is
    ``Mapping[ComponentID, Consumer]``, the exporters and connectors at its end, and the processor
    keeps the pipeline's ledger of what it hands on.

    ``aliases``: old spellings of the type that still work. ``pairs``: for connectors, the
    (from, to) signals they can join; ``signals`` for every other kind. ``shared``: processors
    that are one object per id instead of one per id and pipeline.
    """

    kind: Kind
    type: str
    config: ConfigClass
    create: Callable[..., Any]
    signals: frozenset[Signal] = frozenset()
    pairs: frozenset[tuple[Signal, Signal]] = frozenset()
    stability: Stability = Stability.BETA
    aliases: tuple[str, ...] = ()
    shared: bool = False
    chooses_exporters: bool = False
    notes: str = ""
