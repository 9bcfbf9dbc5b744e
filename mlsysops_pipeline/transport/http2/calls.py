"""What a gRPC server is told to do, and about what: services, their methods, and calls."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mlsysops_pipeline.transport.http2 import limits
from mlsysops_pipeline.transport.http2.fields import RequestHeads
from mlsysops_pipeline.transport.http2.lifetime import Times
from mlsysops_pipeline.transport.http2.routes import VOLATILE_FIELDS, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mlsysops_pipeline.memory import MemoryAccount
    from mlsysops_pipeline.transport.http2.events import RequestReceived
    from mlsysops_pipeline.transport.http2.headers import FieldBlock
    from mlsysops_pipeline.transport.http2.messages import MessageBuffer
    from mlsysops_pipeline.transport.http2.requests import GrpcRequest
    from mlsysops_pipeline.transport.http2.status import GrpcStatus, HttpAnswer
    from mlsysops_pipeline.transport.http2.streams import Stream

_MESSAGE_BYTES_MAX: Final = 64 << 20


class Action(enum.Enum):
    """What the caller of `GrpcConnection` has to do about a call."""

    OPEN = "open"
    """Its head is here, and the service wants to know before the message is."""
    START = "start"
    """Its message is here: run its method."""
    STOP = "stop"
    """Nobody waits for it any more: stop it, and say so with `GrpcConnection.stopped`."""


# Reading a member of an enum takes twice as long as reading a name: for what each call does.
START: Final = Action.START
STOP: Final = Action.STOP

Work: TypeAlias = "list[tuple[Action, Call]]"


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """One method of a service.

    ``handle(request)`` runs it and returns the serialized answer. ``admit(size)`` decides about a
    message of so many bytes as it comes over the wire; raising refuses it. ``handle_now`` does the
    same as ``handle`` where it need not wait; else it returns how to get the answer by waiting.
    """

    handle: Callable[[GrpcRequest], Awaitable[bytes]]
    admit: Callable[[int], None] | None = None
    handle_now: Callable[[GrpcRequest], bytes | Callable[[], Awaitable[bytes]]] | None = None


@dataclass(slots=True)
class Service:
    """What all connections of one server share.

    ``methods``: by path, ``/package.Service/Method``. ``status_of`` translates what `admit` and
    ``handle`` raise. ``message_bytes_max``: of a message as it comes over the wire.
    ``wants_heads``: calls are announced (`Action.OPEN`) before their message is complete.
    ``streams`` and ``head_bytes``: what all connections together hold, see `limits.CROWD_STREAMS`
    and `limits.HEADS_BYTES_MAX`.
    """

    methods: Mapping[str, UnaryMethod]
    memory: MemoryAccount
    status_of: Callable[[Exception], GrpcStatus]
    message_bytes_max: int = _MESSAGE_BYTES_MAX
    streams_max: int = limits.STREAMS_MAX
    times: Times = field(default_factory=Times)
    wants_heads: bool = False
    heads: RequestHeads = field(default_factory=lambda: RequestHeads(VOLATILE_FIELDS))
    streams: int = 0
    head_bytes: int = 0

    @property
    def streams_now(self) -> int:
        """How many streams a connection may have at the moment."""
        if self.streams < limits.CROWD_STREAMS:
            return self.streams_max
        return min(self.streams_max, limits.CROWD_STREAMS_EACH)

    def route(self, event: RequestReceived) -> Route:
        """Where a request goes; remembered with its head."""
        route = event.head.memo
        if not isinstance(route, Route):
            route = event.head.memo = Route(event.head, self.methods)
        return route


class Call:
    """One unary call.

    ``message``: as it came, possibly compressed (``is_compressed``, with ``encoding``).
    ``deadline_s``: when the caller gives up, by the clock that is passed to `GrpcConnection`.
    ``runner`` and ``authentication``: for whoever runs the call. ``is_over``: it has been
    answered, or never will be.
    """

    __slots__ = (
        "authentication",
        "block",
        "body_due_s",
        "body_since_s",
        "buffer",
        "charged_bytes",
        "deadline_s",
        "encoding",
        "head_bytes",
        "is_compressed",
        "is_over",
        "is_started",
        "message",
        "method",
        "runner",
        "stream",
    )

    def __init__(
        self, stream: Stream, block: FieldBlock, method: UnaryMethod, encoding: str
    ) -> None:
        self.stream = stream
        self.block = block
        self.method = method
        self.encoding = encoding
        self.message = b""
        self.is_compressed = False
        self.is_started = False
        self.is_over = False
        self.deadline_s = math.inf
        self.body_since_s = 0.0
        self.body_due_s = math.inf
        self.charged_bytes = 0
        self.head_bytes = 0
        self.buffer: MessageBuffer | None = None
        self.runner: Any = None
        self.authentication: Any = None

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""
        head = self.block.head
        return "" if head is None else head.path.decode("latin-1")

    def __repr__(self) -> str:
        state = "over" if self.is_over else "started" if self.is_started else "receiving"
        return f"<Call {self.path} {state} stream={self.stream.id} {self.buffer!r}>"


class LateAnswer:
    """What a request that is not gRPC is told once it has ended, or at ``due_s``.

    Not before: what is wrong with the rest of it would go unnoticed. It stands where a `Call` does
    with its stream.
    """

    __slots__ = ("answer", "due_s", "path", "stream")

    def __init__(self, stream: Stream, path: str, answer: HttpAnswer, due_s: float) -> None:
        self.stream = stream
        self.path = path
        self.answer = answer
        self.due_s = due_s

    def __repr__(self) -> str:
        return f"<LateAnswer {self.answer.status} stream={self.stream.id} due_s={self.due_s}>"
