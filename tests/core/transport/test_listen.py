from __future__ import annotations

import errno
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.config.values import NetAddress
from mlsysops_pipeline.transport import listen

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "", "0.0.0.0", "::", "::1"])
def test_a_port_in_use_is_one_clear_line(host: str) -> None:
    sockets = listen.bind(NetAddress(host, 0))
    port = listen.port_of(sockets)
    assert port > 0
    try:
        with pytest.raises(OSError, match="already in use") as caught:
            listen.bind(NetAddress(host, port))
    finally:
        listen.close(sockets)
    assert errno.EADDRINUSE == caught.value.errno
    assert f"cannot listen on {NetAddress(host, port)}: the address is already in use" == str(
        caught.value
    )
    listen.close(listen.bind(NetAddress(host, port)))  # and it is free again at once


def test_a_port_is_never_shared_with_a_program_that_would_share() -> None:
    # grpcio sets SO_REUSEPORT unless told not to.
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="already in use"):
            listen.bind(NetAddress("127.0.0.1", other.getsockname()[1]))
    sockets = listen.bind(NetAddress("127.0.0.1", 0))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", listen.port_of(sockets)))
    listen.close(sockets)


def test_connections_whose_other_side_vanishes_end_some_time() -> None:
    (sock,) = listen.bind(NetAddress("127.0.0.1", 0))
    with sock, socket.create_connection(sock.getsockname()):
        sock.setblocking(True)  # noqa: FBT003  the library's signature
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_every_interface_is_reached_by_ipv4_and_ipv6() -> None:
    sockets = listen.bind(NetAddress("", 0))
    port = listen.port_of(sockets)
    socket.create_connection(("127.0.0.1", port)).close()
    if socket.has_dualstack_ipv6():
        socket.create_connection(("::1", port)).close()
    listen.close(sockets)


def test_a_transport_keeps_to_one_family() -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        for host in ("", "localhost"):
            try:
                sockets = listen.bind(NetAddress(host, 0), family)
            except OSError:
                assert family == socket.AF_INET6  # a machine without ::1 for localhost
                continue
            assert {family} == {sock.family for sock in sockets}
            listen.close(sockets)


def test_all_addresses_of_a_name_get_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(*_: object, **__: object) -> list[object]:
        kinds = (socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1")
        return [(kind, socket.SOCK_STREAM, 6, "", (name, 0)) for kind, name in kinds]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    sockets = listen.bind(NetAddress("name.example", 0))
    assert 2 == len(sockets)
    assert 1 == len({sock.getsockname()[1] for sock in sockets})
    listen.close(sockets)


@pytest.mark.parametrize("host", ["host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(OSError, match=f"^cannot listen on {host}:4317: "):
        listen.bind(NetAddress(host, 4317))


def test_a_unix_socket_is_removed_again(tmp_path: Path) -> None:
    address = NetAddress("", 0, str(tmp_path / "otlp.sock"))
    sockets = listen.bind(address)
    assert 0 == listen.port_of(sockets)
    with pytest.raises(OSError, match="already in use"):
        listen.bind(address)
    listen.close(sockets)
    listen.close(sockets)
    assert [] == list(tmp_path.iterdir())


def test_a_unix_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "otlp.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert stat.S_ISSOCK(path.stat().st_mode)
    listen.close(listen.bind(NetAddress("", 0, str(path))))


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(OSError, match="already in use"):
        listen.bind(NetAddress("", 0, str(path)))
    assert "mine" == path.read_text()
