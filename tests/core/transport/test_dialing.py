"""Finding a peer and opening a socket to it."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.testing import JumpClock
from mlsysops_pipeline.transport import dialing
from mlsysops_pipeline.transport.dialing import Address, Target, open_socket, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INET = socket.AF_INET


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks(logging.getLogger("test"))
    yield tasks
    await tasks.shutdown()


class Network:
    """Stands for `_connect`: an address fails, hangs or opens as its port says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[int] = []
        self.opened: list[socket.socket] = []
        self.hanging = asyncio.Event()
        monkeypatch.setattr(dialing, "_connect", self.connect)

    async def connect(self, address: Address) -> socket.socket:
        port = address.address[1]
        self.tried.append(port)
        if port == 1:
            raise OSError(111, f"refused {port}")
        if port == 2:
            await self.hanging.wait()
        self.opened.append(socket.socket())
        return self.opened[-1]

    async def close(self) -> None:
        self.hanging.set()
        await asyncio.sleep(0.01)
        for sock in self.opened:
            sock.close()


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Network]:
    network = Network(monkeypatch)
    yield network
    await network.close()


def at(*ports: int) -> list[Address]:
    return [Address(INET, ("10.0.0.1", port)) for port in ports]


@pytest.mark.parametrize(
    ("target", "address"),
    [
        (Target("127.0.0.1", 5), Address(INET, ("127.0.0.1", 5))),
        (Target("::1", 5), Address(socket.AF_INET6, ("::1", 5))),
        (Target("", 0, "/run/x"), Address(socket.AF_UNIX, "/run/x")),
    ],
)
async def test_what_is_no_name_is_not_looked_up(target: Target, address: Address) -> None:
    assert [address] == await resolve(target, shuffled=True)


async def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    found = [(six, "a"), (six, "b"), (six, "c"), (four, "d"), (four, "d"), (four, "e")]

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(family, 1, 6, "", (name, 1)) for family, name in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    addresses = await resolve(Target("peer", 1), shuffled=False)

    assert ["a", "d", "b", "e", "c"] == [address.address[0] for address in addresses]
    shuffled = await resolve(Target("peer", 1), shuffled=True)
    assert set(addresses) == set(shuffled)


async def test_a_name_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match="peer has no address"):
        await resolve(Target("peer", 1), shuffled=False)


async def test_the_first_address_that_answers_wins(network: Network, tasks: Tasks) -> None:
    sock, address = await open_socket(at(1, 1, 3, 4), JumpClock(), tasks)

    assert network.opened == [sock]
    assert at(3) == [address]
    assert [1, 1, 3] == network.tried


async def test_an_address_that_hangs_is_passed_after_a_quarter_of_a_second(
    network: Network, tasks: Tasks
) -> None:
    clock = JumpClock()
    opening = tasks.spawn("open", open_socket(at(2, 3), clock, tasks))
    await clock.advance(0.2)
    assert [2] == network.tried
    await clock.advance(0.1)

    assert network.opened == [(await opening)[0]]
    assert [2, 3] == network.tried


async def test_one_that_hung_may_still_be_the_first(network: Network, tasks: Tasks) -> None:
    clock = JumpClock()
    opening = tasks.spawn("open", open_socket(at(2, 2), clock, tasks))
    await clock.advance(0.3)
    network.hanging.set()
    sock, _ = await opening
    await asyncio.sleep(0.01)

    assert sock in network.opened
    assert 1 == sum(opened.fileno() >= 0 for opened in network.opened)


async def test_all_failures_are_told_once_each(network: Network, tasks: Tasks) -> None:
    with pytest.raises(OSError, match=r"^\[Errno 111\] refused 1$"):
        await open_socket(at(1, 1, 1), JumpClock(), tasks)


async def test_giving_up_ends_every_attempt(network: Network, tasks: Tasks) -> None:
    clock = JumpClock()
    opening = tasks.spawn("open", open_socket(at(2, 2, 2), clock, tasks))
    await clock.advance(0.6)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await clock.advance(1)

    assert 0 == len(tasks)


async def test_a_refused_connection_says_who_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(OSError, match=rf"Connection refused \(127.0.0.1:{port}\)"):
            await open_socket(
                [Address(INET, ("127.0.0.1", port))],
                JumpClock(),
                Tasks(logging.getLogger("test")),
            )


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="not on this system")
async def test_sockets_give_dead_links_up_by_themselves(tasks: Tasks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(INET, server.getsockname())
        sock, _ = await open_socket([address], JumpClock(), tasks)
        with sock:
            limit_ms = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert dialing.UNACKNOWLEDGED_MAX_S * 1000 == limit_ms
