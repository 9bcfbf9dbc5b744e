"""Whether an exporter delivers, as a state that operators see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Status

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Host
    from mlsysops_pipeline.pdata.signal import Signal


class DeliveryHealth:
    """The state of one exporter over all its signals: it is well when none of them fails.

    Bad data is no illness: a destination that refuses it is reachable and works.
    """

    __slots__ = ("_failing",)

    def __init__(self) -> None:
        self._failing: dict[Signal, str] = {}

    def failed(self, host: Host, signal: Signal, message: str) -> None:
        """A delivery failed; reported when it is the first failure of this signal."""
        if signal not in self._failing:
            self._failing[signal] = message
            host.report_status(Status.RECOVERABLE_ERROR, f"{signal}: {message}")

    def succeeded(self, host: Host, signal: Signal) -> None:
        """A delivery succeeded; reported when it ends the last failure."""
        if not self._failing or self._failing.pop(signal, None) is None:
            return
        if self._failing:
            other, message = next(iter(self._failing.items()))
            host.report_status(Status.RECOVERABLE_ERROR, f"{other}: {message}")
        else:
            host.report_status(Status.OK)

    def __repr__(self) -> str:
        return f"<DeliveryHealth failing={sorted(map(str, self._failing))}>"
