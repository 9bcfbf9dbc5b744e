"""Sockets: two servers on one port, and exporters that send to our own receivers.

Names are not looked up, except in the hosts file. Of an address the routing table says whether it
is one of this machine's own; nothing is sent for that.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.connections import following
from mlsysops_pipeline.config.decode import models_in
from mlsysops_pipeline.config.problems import Position, Problem, error, path_text, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import BaseModel

    from mlsysops_pipeline.config.nodes import Node
    from mlsysops_pipeline.config.outline import Defined, Outline
    from mlsysops_pipeline.config.problems import Path as KeyPath
    from mlsysops_pipeline.config.schema import Endpoint
    from mlsysops_pipeline.ids import ComponentID, PipelineID
    from mlsysops_pipeline.pdata.signal import Signal

_EVERY_4 = "every IPv4 address"
_EVERY_6 = "every IPv6 address"
_WILDCARDS = {_EVERY_4, _EVERY_6}
_LOOPBACK = ("127.0.0.1", "::1")
HOSTS_FILE = Path("/etc/hosts")
"""Names that are known without asking anybody."""
_HOSTS_CHARACTERS_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket of a component and the key that asks for it, or the one above if it is a default."""

    host: str
    port: int
    position: Position
    path: KeyPath
    is_written: bool = True

    @property
    def address(self) -> str:
        """As people write it."""
        if self.host.startswith("unix:"):
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def clashes(outline: Outline) -> Iterator[Problem]:
    """Servers that cannot both listen. The later one in file order is reported."""
    sockets: list[Socket] = []
    for component in outline.used():
        if component.config is not None:
            sockets += listeners_of(component)
    if outline.telemetry is not None:
        path: KeyPath = ("service", "telemetry")
        sockets += _listeners(outline.telemetry, outline.root.find(path)[0], path)
    sockets.sort(key=lambda s: (s.position.order, s.position.line, s.position.column))
    for index, later in enumerate(sockets):
        for earlier in sockets[:index]:
            if _overlap(earlier, later):
                message = (
                    f"{later.address} is taken by {path_text(earlier.path)} "
                    f"({earlier.position}), which listens on {earlier.address}"
                )
                yield error(later.position, later.path, message)
                break


def listeners_of(component: Defined) -> list[Socket]:
    """Where a component that could be read will listen."""
    return _listeners(component.config, component.node, component.path)


def _listeners(config: BaseModel, node: Node, path: KeyPath) -> list[Socket]:
    return [
        _socket(endpoint, node, (*path, *inner), inner)
        for inner, model in models_in(config)
        for endpoint in model.listeners()
    ]


def _destinations(component: Defined) -> list[Socket]:
    return [
        _socket(endpoint, component.node, (*component.path, *inner), inner)
        for inner, model in models_in(component.config)
        for endpoint in model.destinations()
    ]


def _socket(endpoint: Endpoint, node: Node, path: KeyPath, inner: KeyPath) -> Socket:
    found, steps = node.find((*inner, *endpoint.path))
    complete = steps == len(inner) + len(endpoint.path)
    position = found.position if complete else found.at
    return Socket(endpoint.host, endpoint.port, position, (*path, *endpoint.path), complete)


def _families(host: str) -> set[str]:
    """What a listener's host covers: wildcards, or single addresses and names."""
    host = host.lower()
    if host in {"", "::"}:
        return {_EVERY_4, _EVERY_6}
    if host == "0.0.0.0":  # noqa: S104  compared, not bound
        return {_EVERY_4}
    if host == "localhost":
        return set(_LOOPBACK)
    return {host}


def _overlap(one: Socket, other: Socket) -> bool:
    if one.host.startswith("unix:") or other.host.startswith("unix:"):
        return one.host == other.host
    if one.port != other.port or one.port == 0:
        return False
    mine, theirs = _families(one.host), _families(other.host)
    return bool(mine & theirs) or _covers(mine, theirs) or _covers(theirs, mine)


def _covers(wide: set[str], narrow: Iterable[str]) -> bool:
    """Whether one of the wildcards in ``wide`` includes one of the hosts in ``narrow``."""
    wildcards = wide & _WILDCARDS
    for host in set(narrow) - _WILDCARDS:
        if not _is_address(host) and wildcards:
            return True  # a name may stand for either family
        if _address_family(host) in wildcards:
            return True
    return False


def _address_family(host: str) -> str:
    return _EVERY_6 if ":" in host else _EVERY_4


def loops(outline: Outline) -> tuple[frozenset[ComponentID], list[Problem]]:
    """Exporters that send to a listener of this configuration.

    In the set are those whose data comes back to them: it would go round for ever. Those whose
    data ends elsewhere are only warned about.
    """
    used = outline.used()
    own = [
        (receiver, socket_)
        for receiver in used
        if receiver.kind is Kind.RECEIVER and receiver.config is not None
        for socket_ in listeners_of(receiver)
    ]
    hops: dict[ComponentID, tuple[Socket, list[ComponentID]]] = {}
    for exporter in used:
        if exporter.kind is not Kind.EXPORTER or exporter.config is None:
            continue
        for destination in _destinations(exporter):
            met = [r.id for r, listener in own if _reaches(destination, listener)]
            if met:
                hops[exporter.id] = (destination, met)
    to = {exporter: receivers for exporter, (_, receivers) in hops.items()}
    circular = frozenset(exporter for exporter in hops if _returns(outline, exporter, to))
    problems = []
    for exporter_id, (destination, receivers) in hops.items():
        names = ", ".join(map(str, receivers))
        message = f"sends to {destination.address}, which is the receiver {names} of this collector"
        if exporter_id in circular:
            message += "; its data would come back for ever and is dropped (reason loop)"
            hint = "give the address of the next collector"
        else:
            hint = "a forward connector does that without the network"
        problems.append(warning(destination.position, destination.path, message, hint))
    return circular, problems


def _reaches(destination: Socket, listener: Socket) -> bool:
    if destination.host.startswith("unix:") or listener.host.startswith("unix:"):
        return destination.host == listener.host
    if destination.port != listener.port or destination.port == 0:
        return False
    target, served = destination.host.lower(), _families(listener.host)
    if _is_this_machine(target):
        local = {target} if _is_address(target) else set(_LOOPBACK)
        return bool(local & served) or _covers(served, local) or target in served
    return target in served


def _is_this_machine(host: str) -> bool:
    if host in {"", "0.0.0.0", "::", "localhost", socket.gethostname().lower()}:  # noqa: S104
        return True
    if not _is_address(host):
        return any(_is_ours(address) for address in _in_hosts_file(host))
    return _is_ours(host)


def _in_hosts_file(name: str) -> list[str]:
    """The addresses that this machine's own list has for a name."""
    try:
        with HOSTS_FILE.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(_HOSTS_CHARACTERS_MAX).lower().splitlines()
    except OSError:
        return []
    entries = [line.partition("#")[0].split() for line in lines]
    return [entry[0] for entry in entries if name in entry[1:] and _is_address(entry[0])]


def _is_ours(address: str) -> bool:
    """Whether an address is that of an interface: then what goes there comes from there, too."""
    if ipaddress.ip_address(address).is_loopback:
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0)
            probe.connect((address, 9))  # of a datagram socket: chooses the route, sends nothing
            return ipaddress.ip_address(probe.getsockname()[0]) == ipaddress.ip_address(address)
    except (OSError, ValueError):
        return False


def _is_address(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _returns(
    outline: Outline, exporter: ComponentID, to: dict[ComponentID, list[ComponentID]]
) -> bool:
    """Whether what the exporter sends reaches it again, over receivers and connectors."""
    starts = {p.id.signal for p in outline.using("exporters", exporter)}
    return any(_returns_signal(outline, exporter, signal, to) for signal in starts)


def _returns_signal(
    outline: Outline,
    exporter: ComponentID,
    signal: Signal,
    to: dict[ComponentID, list[ComponentID]],
) -> bool:
    seen: set[PipelineID] = set()
    waiting = list(_entered(outline, to[exporter], signal))
    while waiting:
        pipeline_id = waiting.pop()
        if pipeline_id in seen:
            continue
        seen.add(pipeline_id)
        pipeline = outline.pipelines[pipeline_id]
        members = pipeline.ids("exporters")
        if exporter in members:
            return True
        waiting += [target for _, target in following(outline, pipeline_id)]
        for member in members:
            waiting += _entered(outline, to.get(member, []), pipeline_id.signal)
    return False


def _entered(
    outline: Outline, receivers: Iterable[ComponentID], signal: Signal
) -> Iterator[PipelineID]:
    for receiver in receivers:
        for pipeline in outline.using("receivers", receiver):
            if pipeline.id.signal is signal:
                yield pipeline.id
