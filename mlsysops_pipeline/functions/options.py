"""How a function wants to be called: by keys of a configuration, or by a decorator on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from mlsysops_pipeline.config.schema import ComponentConfig, Duration

if TYPE_CHECKING:
    from collections.abc import Callable

View: TypeAlias = Literal["resource", "record", "point", "full"]
ErrorMode: TypeAlias = Literal["ignore", "silent", "propagate"]
Function = TypeVar("Function", bound="Callable[..., Any]")

_MARK = "__collector_processor__"


@dataclass(frozen=True, slots=True)
class Options:
    """See `CallConfig`. ``timeout`` in seconds."""

    view: View = "full"
    error_mode: ErrorMode = "propagate"
    timeout: float = 1.0


class CallConfig(ComponentConfig):
    """How the function is called. What is not written is as its decorator says, if it has one."""

    view: View | None = None
    """How deep telemetry is opened for it; deeper costs more. `resource`: resources only.
    `record`: names and units of metrics as well. `point`: all but log bodies, events, links and
    exemplars. `full`: everything. `full` unless written."""
    error_mode: ErrorMode | None = None
    """What a fault of the function costs: `propagate` refuses the payload, so that its sender is
    told; `ignore` logs it and hands on what came in; `silent` does so without a log. `propagate`
    unless written."""
    timeout: Duration | None = None
    """How long one call may take, in seconds (files: `500ms`). 1 second unless written. After three
    overruns within ten minutes the function is called no more and data passes through; 0: as long
    as it takes, and whoever sends waits as long."""

    def over(self, defaults: Options) -> Options:
        """The options: what is written here, over ``defaults``."""
        written = {
            name: value
            for name in ("view", "error_mode", "timeout")
            if (value := getattr(self, name)) is not None
        }
        return replace(defaults, **written)


def collector_processor(
    *, view: View = "full", error_mode: ErrorMode = "propagate", timeout: float = 1.0
) -> Callable[[Function], Function]:
    """Say how a function is to be called as a processor; the function stays what it is.

    ``view``, ``error_mode``, ``timeout`` (seconds): see `CallConfig`. What a configuration writes
    goes over them.
    """

    def mark(function: Function) -> Function:
        setattr(function, _MARK, Options(view, error_mode, timeout))
        return function

    return mark


def options_of(function: object) -> Options:
    """What the decorator of a function says, or the defaults."""
    found = getattr(function, _MARK, None)
    return found if isinstance(found, Options) else Options()
