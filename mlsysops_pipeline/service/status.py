"""How every component is, and who wants to know (service behaviour, section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import ComponentStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.component import ComponentID, Kind

_ENDS = {
    Status.PERMANENT_ERROR: {Status.STOPPING},
    Status.FATAL_ERROR: set[Status](),
    Status.STOPPED: set[Status](),
    Status.STOPPING: {
        Status.RECOVERABLE_ERROR,
        Status.PERMANENT_ERROR,
        Status.FATAL_ERROR,
        Status.STOPPED,
    },
}


class StatusBoard:
    """The states of all components of one collector. Moves that make no sense are ignored."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[tuple[Kind, ComponentID], ComponentStatus] = {}
        self.on_fatal: Callable[[ComponentStatus], None] | None = None

    def report(self, kind: Kind, id_: ComponentID, status: Status, message: str = "") -> None:
        """Move a component to ``status``."""
        known = self._states.get((kind, id_))
        if known is not None:
            if known.status in _ENDS and status not in _ENDS[known.status]:
                return
            if known.status is status and known.message == message:
                return
        since_ns = self._clock.unix_ns()
        if known is not None and known.status is status:
            since_ns = known.since_ns  # another reason, but the same state since then
        state = ComponentStatus(kind, id_, status, message, since_ns)
        self._states[kind, id_] = state
        if status is Status.FATAL_ERROR and self.on_fatal is not None:
            self.on_fatal(state)

    def forget(self, kind: Kind, id_: ComponentID) -> None:
        """The component is gone."""
        self._states.pop((kind, id_), None)

    def all(self) -> tuple[ComponentStatus, ...]:
        """Every component's state, in the order in which they were created."""
        return tuple(self._states.values())

    def status(self, kind: Kind, id_: ComponentID) -> Status | None:
        """The state of one component; ``None`` before it was created."""
        state = self._states.get((kind, id_))
        return None if state is None else state.status
