"""Sockets to listen on. A port is never shared, so a port in use is found when we start.

`SO_REUSEPORT` is not set; a second program that sets it (grpcio does, unless told not to) cannot
join a port that is bound here either.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.config.values import NetAddress

BACKLOG: Final = 1_024
_Name: TypeAlias = "tuple[socket.AddressFamily, tuple[Any, ...]]"
_ANY: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  what users write for every interface
_PORT_ATTEMPTS_MAX: Final = 20
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 9))
"""Seconds, seconds and times: what Go programs have."""


class ListenError(OSError):
    """An address cannot be listened on. ``str()`` is one line that names it."""

    def __str__(self) -> str:
        return str(self.strerror)


def bind(address: NetAddress, family: socket.AddressFamily | None = None) -> list[socket.socket]:
    """Listening sockets for ``address``, which the caller closes (see `close`).

    An empty host and ``::`` mean every interface, IPv4 and IPv6 alike; ``0.0.0.0`` every
    interface by IPv4. A name gets a socket for each of its addresses (``localhost``: 127.0.0.1
    and, where there is one, ::1), all with the same port. ``family`` keeps to one kind of
    address. Raises `ListenError`.
    """
    try:
        if address.unix_path:
            return [_bind_unix(address.unix_path)]
        if address.host in _ANY:
            return [_bind_any(address, family)]
        return _bind_name(address, family)
    except OSError as error:
        raise ListenError(error.errno, _reason(address, error)) from error


def port_of(sockets: Iterable[socket.socket]) -> int:
    """The port that the sockets listen on; 0 for unix sockets."""
    for sock in sockets:
        name = sock.getsockname()
        if isinstance(name, tuple):
            return int(name[1])
    return 0


def remove_files(sockets: Iterable[socket.socket]) -> None:
    """Remove the files of unix sockets that are still open, before a server closes them."""
    for sock in sockets:
        if sock.fileno() >= 0 and sock.family == socket.AF_UNIX:
            with contextlib.suppress(OSError):
                os.unlink(sock.getsockname())  # noqa: PTH108  a socket, not a document


def close(sockets: Iterable[socket.socket]) -> None:
    """Close sockets of `bind` that no server has taken over. Safe twice."""
    for sock in sockets:
        remove_files([sock])
        sock.close()


def _reason(address: NetAddress, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {address}: the address is already in use"
    text = error.strerror or str(error)
    return f"cannot listen on {address}: {text[:1].lower()}{text[1:]}"


def _bind_unix(path: str) -> socket.socket:
    """A unix socket. A file that a dead process left behind is replaced."""
    if _is_stale(path):
        os.unlink(path)  # noqa: PTH108  a socket, not a document
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    return _listen(sock, path)


def _is_stale(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116  one look at a socket
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _bind_any(address: NetAddress, family: socket.AddressFamily | None) -> socket.socket:
    wants_six = address.host != "0.0.0.0" and family != socket.AF_INET  # noqa: S104  compared
    if wants_six and socket.has_dualstack_ipv6():
        sock = _socket(socket.AF_INET6)
        only_six = family == socket.AF_INET6
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_six))
        return _listen(sock, ("::", address.port))
    return _listen(_socket(socket.AF_INET), ("0.0.0.0", address.port))  # noqa: S104  as asked


def _bind_name(address: NetAddress, family: socket.AddressFamily | None) -> list[socket.socket]:
    """Every address of a name. With port 0 the first one chooses for all."""
    found = socket.getaddrinfo(
        address.host,
        address.port,
        family=family or socket.AF_UNSPEC,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    names: list[_Name] = list(dict.fromkeys((kind, name) for kind, _, _, _, name in found))
    names.sort(key=lambda item: item[0] != socket.AF_INET)
    for attempt in range(_PORT_ATTEMPTS_MAX):
        try:
            return _bind_all(names)
        except OSError as error:
            is_last = attempt == _PORT_ATTEMPTS_MAX - 1
            if address.port or error.errno != errno.EADDRINUSE or is_last:
                raise
    raise AssertionError("the last attempt returns or raises")


def _bind_all(names: list[_Name]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, name in names:
            port = port_of(sockets) or name[1]
            sock = _socket(family)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sockets.append(_listen(sock, (name[0], port, *name[2:])))
            except OSError as error:
                # A host without IPv6 still lists ::1 for localhost.
                if not sockets or error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
    except OSError:
        close(sockets)
        raise
    return sockets


def _socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        # So that a restart does not wait for old connections; elsewhere it would share the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it: one whose other side has vanished without a word ends some time.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def _listen(sock: socket.socket, name: str | tuple[object, ...]) -> socket.socket:
    try:
        sock.bind(name)
        # Listening at once makes the port ours: two bound sockets could still both get here.
        sock.listen(BACKLOG)
        sock.setblocking(False)  # noqa: FBT003  the library's signature
    except BaseException:
        sock.close()
        raise
    return sock
