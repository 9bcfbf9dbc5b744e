"""Finding a peer and opening a socket to it: names, several addresses, unix sockets."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import socket
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.tasks import Tasks

ATTEMPT_DELAY_S: Final = 0.25
"""How long one address has before the next one is tried beside it (RFC 8305, section 5)."""

ADDRESSES_MAX: Final = 64
"""Addresses of one name that are considered."""

UNACKNOWLEDGED_MAX_S: Final = 10.0
"""How long the peer's machine may leave what was sent without a sign of life before the connection
is given up. Without it a link that was dead for minutes is found alive minutes late, because TCP
waits longer before each repetition, and a connection to a machine that is gone lives a quarter of
an hour."""

_SYN_REPETITIONS: Final = 2
"""A peer that says nothing is given up after 1 + 2 + 4 s, for a fresh attempt, instead of being
asked after ever longer pauses for two minutes."""

_KERNEL_LIMITS: Final = (
    ("TCP_USER_TIMEOUT", int(UNACKNOWLEDGED_MAX_S * 1000)),
    ("TCP_SYNCNT", _SYN_REPETITIONS),
)
"""Options of sockets that Linux has."""


@dataclass(frozen=True, slots=True)
class Target:
    """A peer: a host and a port, or the path of a unix socket (then the others are empty)."""

    host: str
    port: int
    unix_path: str = ""

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix://{self.unix_path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """One place where the peer may be: arguments of `socket.socket` and ``connect``."""

    family: int
    address: Any


async def resolve(
    target: Target, *, shuffled: bool, look_up: Callable[[str, int], Awaitable[Any]] | None = None
) -> list[Address]:
    """Where ``target`` is, families in turn as RFC 8305 wants. Raises `OSError`.

    ``shuffled``: in random order within a family, so that many clients spread over the servers
    behind one name. ``look_up``: what finds names, in place of the event loop, and answers as
    `socket.getaddrinfo` does.
    """
    if target.unix_path:
        return [Address(socket.AF_UNIX, target.unix_path)]
    try:
        version = ipaddress.ip_address(target.host).version
    except ValueError:
        pass
    else:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        return [Address(family, (target.host, target.port))]
    if look_up is None:
        found = await asyncio.get_running_loop().getaddrinfo(
            target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    else:
        found = await look_up(target.host, target.port)
    by_family: dict[int, list[Address | None]] = {}
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        by_family.setdefault(family, []).append(Address(family, address))
    for addresses in by_family.values():
        if shuffled:
            random.shuffle(addresses)
    turns = chain.from_iterable(zip_longest(*by_family.values()))
    ordered = [address for address in turns if address is not None]
    if not ordered:
        raise OSError(f"{target.host} has no address")
    return ordered[:ADDRESSES_MAX]


async def open_socket(
    addresses: Sequence[Address], clock: Clock, tasks: Tasks
) -> tuple[socket.socket, Address]:
    """A connected socket to the first of ``addresses`` that answers, and which. Raises `OSError`.

    They are tried in order, the next one when the last failed or took too long; that one goes on
    meanwhile, and whoever is first wins. The caller limits how long all of it may take.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0]), addresses[0]
    attempts: dict[asyncio.Task[socket.socket | OSError], Address] = {}
    errors: list[str] = []
    waiting = list(reversed(addresses))
    try:
        while waiting or attempts:
            if waiting:
                address = waiting.pop()
                attempts[tasks.spawn("connect", _attempt(address))] = address
            await _first_or_pause(attempts, clock, tasks, is_last=not waiting)
            for attempt in [attempt for attempt in attempts if attempt.done()]:
                address = attempts.pop(attempt)
                result = attempt.result()
                if isinstance(result, socket.socket):
                    return result, address
                errors.append(str(result))
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_discard)
    raise OSError("; ".join(dict.fromkeys(errors)))


async def _first_or_pause(
    attempts: Iterable[asyncio.Task[socket.socket | OSError]],
    clock: Clock,
    tasks: Tasks,
    *,
    is_last: bool,
) -> None:
    """Return when an attempt has ended or, unless it is the last one, it is time for the next."""
    if is_last:
        await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
        return
    pause = tasks.spawn("connect-next", clock.sleep(ATTEMPT_DELAY_S))
    try:
        await asyncio.wait({*attempts, pause}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        pause.cancel()


async def _attempt(address: Address) -> socket.socket | OSError:
    """Like `_connect`, but a failure is a result: it is one of several addresses."""
    try:
        return await _connect(address)
    except OSError as error:
        return error


async def _connect(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003  the library's signature
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for name, value in _KERNEL_LIMITS:
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        await asyncio.get_running_loop().sock_connect(sock, address.address)
    except OSError as error:
        sock.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"{reason} ({_shown(address)})") from error
    except BaseException:
        sock.close()
        raise
    return sock


def _discard(attempt: asyncio.Task[Any]) -> None:
    """Close what was opened by an attempt that came too late."""
    if not attempt.cancelled() and isinstance(attempt.result(), socket.socket):
        attempt.result().close()


def _shown(address: Address) -> str:
    if isinstance(address.address, tuple):
        host, port = address.address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address.address)
