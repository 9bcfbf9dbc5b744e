"""One call of a user's function: opening, calling, judging what it returned, closing.

Pure but for the function itself. The two halves can run in different threads, one after the other.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.functions.telemetry import Telemetry
from mlsysops_pipeline.pdata.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Callable

GROWTH_BYTES_MAX = 64 << 20
"""What a function may add to a payload."""


class ResultError(Exception):
    """A function returned what nobody can use."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``payload``, with ``items``: what is handed on, ``None`` for nothing.

    ``added``: items made on the way. ``malformed``: items that the function was not given.
    """

    payload: Payload | None
    items: int = 0
    added: int = 0
    malformed: int = 0


def run(function: Callable[[Telemetry], Any], payload: Payload, view: str) -> Outcome:
    """The whole of a synchronous call. Raises whatever the function raises, and `ResultError`."""
    telemetry = Telemetry(payload, view)
    return closed(telemetry, function(telemetry), payload)


def closed(telemetry: Telemetry, result: Any, payload: Payload) -> Outcome:
    """What comes of a call that was given ``telemetry`` of ``payload`` and returned ``result``.

    ``None`` or ``True``: the telemetry as it is now. ``False``: nothing. Another `Telemetry`, or a
    `Payload`, of the same signal: that. Raises `ResultError` for anything else.
    """
    added = telemetry.added
    if result is None or result is True:
        changed = telemetry.payload()
    elif result is False:
        return Outcome(None)
    elif isinstance(result, Telemetry):
        added = result.added
        changed = result.payload()
    elif isinstance(result, Payload):
        changed = result
    else:
        if inspect.iscoroutine(result):
            result.close()
        raise ResultError(
            f"the function returned {type(result).__name__}; "
            "None, True, False, Telemetry or Payload can be used"
        )
    if changed.signal is not payload.signal:
        raise ResultError(f"the function made {changed.signal} of {payload.signal}")
    if changed.size > payload.size + GROWTH_BYTES_MAX:
        raise ResultError(f"the function made {changed.size} bytes of {payload.size}")
    if changed.wires is payload.wires:
        return Outcome(payload, payload.items, added)
    try:
        items = changed.items
    except MalformedError as error:
        raise ResultError(f"the function returned broken bytes: {error}") from error
    if not items and payload.items:
        return Outcome(None, 0, added)
    return Outcome(payload.with_wires(changed.wires, items=items), items, added)
