"""Starting and stopping a graph, in order and within a deadline.

Starting goes against the data: extensions, exporters, connectors and processors, receivers last.
Stopping goes with it, so that everything accepted can still be handed on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from typing import Any

    from mlsysops_pipeline.component import Component, ComponentID
    from mlsysops_pipeline.service.graph import Graph
    from mlsysops_pipeline.service.host import Surroundings

_LOGGER = logging.getLogger("mlsysops_pipeline.service")
_CLEANUP_S = 2.0
"""What a stage may still take for releasing things when the deadline has passed already."""


class StartError(Exception):
    """A component could not start; the message is what the operator needs to know."""


async def start(graph: Graph, around: Surroundings) -> None:
    """Start every component. If one fails, all are shut down and `StartError` is raised."""
    for kind, id_, component in graph.components():
        around.statuses.report(kind, id_, Status.STARTING)
        try:
            await component.start()
            if kind is Kind.EXPORTER:
                for sender in graph.exporters[id_].senders.values():
                    await sender.start()
        except Exception as error:
            around.statuses.report(kind, id_, Status.PERMANENT_ERROR, str(error))
            await shutdown(graph, around, deadline_s=_CLEANUP_S)
            reason = str(error) or type(error).__name__
            raise StartError(f'failed to start "{id_}" {kind.value}: {reason}') from error
        if around.statuses.status(kind, id_) is Status.STARTING:
            around.statuses.report(kind, id_, Status.OK)


async def shutdown(graph: Graph, around: Surroundings, *, deadline_s: float) -> None:
    """Stop intake, hand on what is held, release. Logs what fails and goes on."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s

    def left_s() -> float:
        return max(deadline - loop.time(), _CLEANUP_S)

    def stop(kind: Kind, items: Iterable[tuple[ComponentID, Component]]) -> list[Any]:
        return [_stop(around, kind, id_, component, left_s()) for id_, component in items]

    await asyncio.gather(*stop(Kind.RECEIVER, graph.receivers.items()))
    for id_, processor in graph.processors():
        await _stop(around, Kind.PROCESSOR, id_, processor, left_s())
    await asyncio.gather(*stop(Kind.CONNECTOR, graph.connectors.items()))
    drains: list[Coroutine[Any, Any, None]] = [
        _drained(str(id_), sender.shutdown(max(deadline - loop.time(), 0)))
        for id_, slot in graph.exporters.items()
        for sender in slot.senders.values()
    ]
    await asyncio.gather(*drains)
    exporters = [(id_, slot.component) for id_, slot in graph.exporters.items()]
    await asyncio.gather(*stop(Kind.EXPORTER, exporters))
    for id_, extension in reversed(graph.extensions.items()):
        await _stop(around, Kind.EXTENSION, id_, extension, left_s())
    for tasks in around.tasks:
        await tasks.shutdown()


async def _stop(
    around: Surroundings, kind: Kind, id_: ComponentID, component: Component, limit_s: float
) -> None:
    around.statuses.report(kind, id_, Status.STOPPING)
    try:
        async with asyncio.timeout(limit_s):
            await component.shutdown()
    except TimeoutError:
        _LOGGER.error("%s %s did not stop within %.1f s", kind.value, id_, limit_s)  # noqa: TRY400
        around.statuses.report(kind, id_, Status.PERMANENT_ERROR, "did not stop in time")
    except Exception as error:
        _LOGGER.exception("%s %s failed to shut down", kind.value, id_)
        around.statuses.report(kind, id_, Status.PERMANENT_ERROR, str(error))
    else:
        around.statuses.report(kind, id_, Status.STOPPED)


async def _drained(name: str, drain: Coroutine[Any, Any, None]) -> None:
    try:
        await drain
    except Exception:
        _LOGGER.exception("exporter %s failed to drain its queue", name)
