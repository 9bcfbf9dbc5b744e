"""The errors of the collector, split by whose fault they are.

``ConfigError``   the operator wrote something that cannot run; carries every problem at once.
``PeerError``     a request sent to us is wrong; carries the status that its sender is answered.
``ConsumeError``  a payload was not accepted further on. ``RetryableError``: the same payload may
                  be accepted later. ``PermanentError``: it never will be.
``Bug``           an invariant of ours is broken.

Foreign exceptions (grpc, aiohttp, protobuf, OS) are translated into these once, where they enter.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlsysops_pipeline.config.problems import Problem


class Code(enum.IntEnum):
    """gRPC status codes (grpc.io, "Status codes and their use in gRPC")."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class DropReason(enum.StrEnum):
    """Why items were lost. Closed: dashboards and the ledger rely on these words."""

    NO_DESTINATION = "no_destination"
    """A mode was started without ``--export-to``."""
    QUEUE_FULL = "queue_full"
    """The sending queue had no room (another destination took the data, or `on_full` drops)."""
    RETRIES_EXHAUSTED = "retries_exhausted"
    """`retry_on_failure.max_elapsed_time` passed."""
    REJECTED = "rejected"
    """The destination answered with an error for which trying again cannot help."""
    PARTLY_REJECTED = "partly_rejected"
    """The destination took the request but rejected some items (OTLP partial success)."""
    MALFORMED = "malformed"
    """The bytes are not the protobuf message they should be."""
    UNSENDABLE = "unsendable"
    """The protocol of the destination has no valid form for it: a delta, a metric without a name, a
    point that is older than what was sent of its series."""
    UNCONVERTIBLE = "unconvertible"
    """A processor cannot turn it into what it should: its stream was reset, has other buckets than
    before or is past it, or it is no number."""
    LATE = "late"
    """Its window of time was closed when it came, or has not begun by far."""
    TOO_LARGE = "too_large"
    """A single item exceeds the limit of a request or queue."""
    LOOP = "loop"
    """The data would come back to this process, or passed too many collectors."""
    SHUTDOWN = "shutdown"
    """Not delivered when the deadline for draining passed, and no storage to keep it."""
    PROCESSOR_ERROR = "processor_error"
    """A processor failed on it."""
    EXPORT_ERROR = "export_error"
    """An exporter failed on it with an error of its own."""
    NO_ROUTE = "no_route"
    """No route of a routing table was for it, and the table has no default."""
    CARDINALITY = "cardinality"
    """A limit on distinct keys was reached."""
    REFUSED = "refused"
    """The next component did not accept it and there is nobody left to hold it."""


class CollectorError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(CollectorError):
    """The configuration cannot run. ``problems`` lists everything wrong, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PeerError(CollectorError):
    """A request is at fault. The sender is answered ``code`` and ``message``.

    ``http_status`` overrides the status derived from ``code`` where HTTP knows better
    (405, 413, 415).
    """

    def __init__(self, message: str, code: Code, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.http_status = http_status


class MalformedError(PeerError):
    """Bytes are not the message they should be: INVALID_ARGUMENT / 400."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.INVALID_ARGUMENT)


class TooLargeError(PeerError):
    """Over a size limit: RESOURCE_EXHAUSTED without RetryInfo / 413 (OTLP spec, OG-2, OH-6)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.RESOURCE_EXHAUSTED, http_status=413)


class ConsumeError(CollectorError):
    """A payload was not accepted. Raised by `Consumer.consume` and `Exporter.export`.

    ``code``: the gRPC status to hand back to a waiting sender. ``reason``: how the ledger counts
    the items if the raiser's caller gives up on them.
    """

    default_code = Code.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        reason: DropReason = DropReason.REJECTED,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.reason = reason


class PermanentError(ConsumeError):
    """Trying again cannot help. Receivers answer INTERNAL unless ``code`` says otherwise."""

    default_code = Code.INTERNAL

    @property
    def is_bad_data(self) -> bool:
        """The destination says that the bytes are wrong, so members are worth checking singly."""
        return self.code == Code.INVALID_ARGUMENT


class RetryableError(ConsumeError):
    """The same payload may be accepted later, not before ``retry_after_s`` where given.

    ``is_unanswered``: it was sent and nothing was said about it, so it may have been accepted now.
    """

    default_code = Code.UNAVAILABLE

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        reason: DropReason = DropReason.REFUSED,
        retry_after_s: float | None = None,
        is_unanswered: bool = False,
    ) -> None:
        super().__init__(message, code=code, reason=reason)
        self.retry_after_s = retry_after_s
        self.is_unanswered = is_unanswered


class QueueFullError(RetryableError):
    """A sending queue has no room. ``forgo()`` tells it that nobody will try again.

    A fan-out calls it when another destination took the payload: the share of this destination is
    then counted as dropped, instead of refusing what the other one has.
    """

    def __init__(
        self, message: str, forgo: Callable[[], None], *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, reason=DropReason.QUEUE_FULL, retry_after_s=retry_after_s)
        self.forgo = forgo


class Bug(CollectorError):  # noqa: N818  it is not the caller's error but ours
    """An invariant of this package does not hold."""
