"""The unit that travels through pipelines: serialized OTLP requests and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.errors import Bug
from mlsysops_pipeline.pdata.counting import count_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlsysops_pipeline.pdata.signal import Signal

_EMPTY: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the transport knew about a request. Shared by reference, never changed.

    ``headers`` are the request's headers with lower-case names, filled only if the receiver's
    `include_metadata` is on. ``auth`` holds the attributes that a server authenticator found.
    ``peer`` is the sender's address without the port. ``hops`` counts the collectors that the
    data has passed, so that loops over several processes end.
    """

    transport: str = ""
    peer: str = ""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _EMPTY)
    auth: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    hops: int = 0


NO_METADATA = Metadata()


class Payload:
    """Immutable: one or more serialized ``Export*ServiceRequest`` messages of one signal.

    ``wires`` is a rope: protobuf defines the concatenation of two serialized messages as their
    merge, so merging payloads is adding tuples, and every member keeps its boundary (a member is
    one request as it came, which is how a malformed one can be found later).

    A processor that changes data returns a new payload; nobody ever changes one, which is why
    pipelines share them freely. ``items`` spares the counting where the number is known: it must
    be what `counting.count_items` finds.
    """

    __slots__ = ("_counts", "_items", "_size", "metadata", "signal", "wires")

    def __init__(
        self,
        signal: Signal,
        wires: bytes | Sequence[bytes],
        metadata: Metadata = NO_METADATA,
        *,
        items: int | None = None,
    ) -> None:
        # Checked by type checkers only: a guard at run time costs more than all the rest here.
        self.signal: Final = signal
        self.wires: Final[tuple[bytes, ...]] = (
            (wires,) if isinstance(wires, bytes) else tuple(wires)
        )
        self.metadata: Final = metadata
        self._items = items
        self._size: int | None = None
        self._counts: tuple[int, ...] | None = None

    @property
    def items(self) -> int:
        """Data points, log records or spans. Counted once, on demand.

        Raises `MalformedError` if a member's framing is broken down to the item.
        """
        if self._items is None:
            self._items = sum(self.member_items())
        return self._items

    def member_items(self) -> tuple[int, ...]:
        """The items of each member of ``wires``. Merging keeps what was known of the parts.

        Raises `MalformedError` as ``items`` does.
        """
        if self._counts is None:
            if self._items is not None and len(self.wires) == 1:
                self._counts = (self._items,)
            else:
                self._counts = tuple([count_items(self.signal, wire) for wire in self.wires])
        return self._counts

    @property
    def size(self) -> int:
        """Bytes of all members together, before compression."""
        if self._size is None:
            self._size = sum(map(len, self.wires))
        return self._size

    def joined(self) -> bytes:
        """The whole payload as one serialized request."""
        return self.wires[0] if len(self.wires) == 1 else b"".join(self.wires)

    def with_wires(self, wires: bytes | Sequence[bytes], *, items: int | None = None) -> Payload:
        """The same request with other content."""
        return Payload(self.signal, wires, self.metadata, items=items)

    @staticmethod
    def merge(payloads: Iterable[Payload], metadata: Metadata | None = None) -> Payload:
        """Concatenate payloads of one signal, at least one.

        Without ``metadata`` the result keeps only what stays true of a mixture. (As in the
        Collector, batching loses request headers unless it groups by them.) In either case it has
        passed as many hops as the part that has passed most.
        """
        parts = list(payloads)
        first = parts[0]
        if len(parts) == 1 and (metadata is None or metadata is first.metadata):
            return first
        if any(part.signal is not first.signal for part in parts):
            raise Bug("payloads of different signals cannot be merged")
        hops = max([part.metadata.hops for part in parts])
        if metadata is None:
            metadata = Metadata(hops=hops)
        elif metadata.hops < hops:
            metadata = replace(metadata, hops=hops)
        merged = Payload(first.signal, [wire for part in parts for wire in part.wires], metadata)
        merged._take_counts(parts)
        return merged

    def _take_counts(self, parts: Sequence[Payload]) -> None:
        """Know what is known of ``parts``, of whose members this payload is made."""
        if all(part.is_counted for part in parts):
            self._items = sum([part.items for part in parts])
            if all(part._counts is not None or len(part.wires) == 1 for part in parts):  # noqa: SLF001  of its own class
                self._counts = tuple([count for part in parts for count in part.member_items()])

    @property
    def is_counted(self) -> bool:
        """Whether ``items`` is known already, and so costs nothing and cannot raise."""
        return self._items is not None

    def __repr__(self) -> str:
        return f"<Payload {self.signal} members={len(self.wires)} bytes={self.size}>"
