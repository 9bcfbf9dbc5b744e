"""Shows telemetry to people: one log line for each request, or every item, or every field of it.

The layouts are the Collector's (`normal`, `detailed`), and as there they may change: they are for
people, not for programs. With `use_internal_logger` (the default) the text goes through the
collector's log and obeys its level and sampling; otherwise it is written, without time and level,
to the `output_paths`. More than `sampling_initial` equal messages in a second are thinned out to
every `sampling_thereafter`-th. What is not shown is delivered all the same.

Rendering and writing happen in a thread, in order, so that a slow terminal holds up only us.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

from mlsysops_exporters.debug import detailed, normal
from mlsysops_exporters.debug.sampling import Sampler
from mlsysops_pipeline.component import Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import (
    CaseInsensitive,
    Duration,
    Finding,
    Section,
)
from mlsysops_pipeline.delivery import DeliveryConfig, QueueConfig, RetryConfig
from mlsysops_pipeline.errors import DropReason, MalformedError, PermanentError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.pdata.payload import Payload


class Config(DeliveryConfig):
    """Keys of the debug exporter (components, A4)."""

    verbosity: Annotated[Literal["basic", "normal", "detailed"], CaseInsensitive()] = "basic"
    """``basic``: counts. ``normal``: a line for each item. ``detailed``: a line for each field."""
    sampling_initial: int = 2
    """Equal messages that are shown in a second before sampling begins."""
    sampling_thereafter: int = 1
    """Then one in so many is shown. 1: all of them. 0: none."""
    use_internal_logger: bool = True
    """Whether the collector's own log shows the messages."""
    output_paths: tuple[str, ...] | None = None
    """Where messages go otherwise: ``stdout``, ``stderr`` or paths of files. Unset: ``stdout``."""
    timeout: Duration = 0.0
    """How long showing one request may take, in seconds. 0: as long as it takes."""
    retry_on_failure: Section[RetryConfig] = None
    """Trying again. Off unless written: nothing here fails in a way that passes."""
    sending_queue: Section[QueueConfig] = None
    """The queue in which data waits for being shown. Off unless written."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        for name in ("sampling_initial", "sampling_thereafter"):
            if getattr(self, name) < 0:
                yield Finding((name,), "must not be negative")
        if self.use_internal_logger and self.output_paths is not None:
            message = "output_paths is not supported when use_internal_logger is true"
            yield Finding(("output_paths",), message)
        elif self.output_paths == ():
            message = "output_paths must not be empty when use_internal_logger is false"
            yield Finding(("output_paths",), message)


class DebugExporter:
    """Implements `Exporter`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._sampler = Sampler(config.sampling_initial, config.sampling_thereafter)
        self._turn = asyncio.Lock()
        self._outputs: list[TextIO] = []
        self._files = ExitStack()

    async def start(self) -> None:
        """Open the output paths. Raises `OSError` for one that cannot be opened."""
        if not self._config.use_internal_logger:
            await asyncio.to_thread(self._open)

    async def shutdown(self) -> None:
        """Close what was opened, once what is being written is written."""
        async with self._turn:
            self._outputs = []
            await asyncio.to_thread(self._files.close)

    async def export(self, payload: Payload) -> None:
        """Show a payload. Raises `PermanentError` if it is not the message it should be."""
        if self._config.use_internal_logger and not self._settings.logger.isEnabledFor(
            logging.INFO
        ):
            return  # nobody would see it
        async with self._turn:
            try:
                if self._config.verbosity == "basic" and self._config.use_internal_logger:
                    self._show_counts(payload)
                else:
                    await asyncio.to_thread(self._show, payload)
            except MalformedError as error:
                raise PermanentError(
                    error.message, code=error.code, reason=DropReason.MALFORMED
                ) from error

    def _show(self, payload: Payload) -> None:
        self._show_counts(payload)
        if self._config.verbosity != "basic":
            layout = normal if self._config.verbosity == "normal" else detailed
            request = parse(payload.signal, Depth.FULL, payload.joined())
            self._say(layout.render(payload.signal, request), {})

    def _show_counts(self, payload: Payload) -> None:
        self._say(str(payload.signal).capitalize(), counts(payload))

    def _say(self, message: str, fields: dict[str, int]) -> None:
        if not self._sampler.lets_through(message, self._settings.clock.monotonic()):
            return
        if self._config.use_internal_logger:
            own = self._settings.logger
            extra: dict[str, Any] = dict(own.extra or {})
            extra["fields"] = {**extra.get("fields", {}), **fields}
            logging.LoggerAdapter(own.logger, extra).info("%s", message)
            return
        line = f"{message}\t{json.dumps(fields)}" if fields else message
        for output in self._outputs:
            output.write(line + "\n")
            output.flush()

    def _open(self) -> None:
        standard = {"stdout": sys.stdout, "stderr": sys.stderr}
        for path in self._config.output_paths or ("stdout",):
            output = standard.get(path)
            if output is None:
                file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115  the stack closes it
                output = self._files.enter_context(file)
            self._outputs.append(output)

    def __repr__(self) -> str:
        return f"<DebugExporter {self._settings.id} verbosity={self._config.verbosity}>"


def counts(payload: Payload) -> dict[str, int]:
    """What ``basic`` says of a payload, by the Collector's names."""
    signal = payload.signal
    if signal is Signal.METRICS:
        groups = [
            group
            for wire in payload.wires
            for group in parse(signal, Depth.RECORD, wire).resource_metrics
        ]
        metrics = sum(len(scope.metrics) for group in groups for scope in group.scope_metrics)
        found = {"resource metrics": len(groups), "metrics": metrics, "data points": payload.items}
    else:
        noun, items = {Signal.LOGS: ("logs", "log records"), Signal.TRACES: ("spans", "spans")}[
            signal
        ]
        requests = [parse(signal, Depth.RESOURCE, wire) for wire in payload.wires]
        resources = sum(len(getattr(request, f"resource_{noun}")) for request in requests)
        found = {f"resource {noun}": resources, items: payload.items}
    return found


def _create(config: Config, settings: Settings, next_: None) -> DebugExporter:  # noqa: ARG001
    return DebugExporter(config, settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="debug",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.ALPHA,
)
