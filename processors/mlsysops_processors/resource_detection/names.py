"""Host names, by each of the sources that `hostname_sources` names. All of this may block.

Every function returns a name or raises `OSError`.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTS: Final = Path("/etc/hosts")
_HOSTS_BYTES_MAX: Final = 1 << 20
_CHARS_MAX: Final = 254
_NAME: Final = re.compile(r"[A-Za-z0-9.\-\x80-\U0010ffff]+")


def of_kernel() -> str:
    """The name that the kernel knows."""
    name = socket.gethostname()
    if not name:
        raise OSError("the kernel has no host name")
    return name


def canonical() -> str:
    """What name service calls us."""
    host = of_kernel()
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    for *_, name, _ in answers:
        if name:
            return name.rstrip(".")
    raise OSError(f"{host} has no canonical name")


def of_addresses() -> str:
    """The name of the first of our addresses that has one."""
    host = of_kernel()
    for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        with suppress(OSError):
            return socket.getnameinfo(address, socket.NI_NAMEREQD)[0].rstrip(".")
    raise OSError(f"no address of {host} has a name")


def fully_qualified() -> str:
    """The canonical name in the hosts file, or the one that name service says."""
    host = of_kernel()
    try:
        with HOSTS.open("rb") as file:
            text = file.read(_HOSTS_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        canonical_name = in_hosts_line(host, line)
        if canonical_name:
            return canonical_name
    with suppress(OSError):
        return canonical()
    return of_addresses()


def in_hosts_line(host: str, line: str) -> str:
    """The first name of a line of a hosts file that names ``host``; empty if it does not."""
    _, *found = line.partition("#")[0].split() or [""]
    if host not in found or len(found[0]) > _CHARS_MAX or not _NAME.fullmatch(found[0]):
        return ""
    return found[0]


SOURCES: Final[dict[str, Callable[[], str]]] = {
    "os": of_kernel,
    "dns": fully_qualified,
    "cname": canonical,
    "lookup": of_addresses,
}
