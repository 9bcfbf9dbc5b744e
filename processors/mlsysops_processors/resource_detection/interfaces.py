"""The machine's network interfaces: names, hardware addresses, IP addresses.

The standard library knows only their names; Linux tells the rest in ``/sys`` and, the addresses,
through a netlink socket. Loopback interfaces and those that are down do not count.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlsysops_processors.resource_detection.releases import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

CLASS_NET: Final = Path("/sys/class/net")
_UP, _LOOPBACK = 0x1, 0x8
_HEADER: Final = struct.Struct("=IHHII")
"""Length, type, flags, sequence and process of a netlink message."""
_ADDRESS: Final = struct.Struct("=BBBBI")
"""Family, length of the prefix, flags, scope and interface of an address."""
_ATTRIBUTE: Final = struct.Struct("=HH")
"""Length and type of an attribute."""
_ERROR, _DONE, _NEW_ADDRESS, _GET_ADDRESSES = 2, 3, 20, 22
_REQUEST_DUMP: Final = 0x301
_OF_PEER, _LOCAL = 1, 2
_PIECE_BYTES: Final = 1 << 16
_PIECES_MAX: Final = 1_000
_TIMEOUT_S: Final = 1.0


def interface_names() -> list[str]:
    """The names of all interfaces, by their number."""
    return [name for _, name in sorted(socket.if_nameindex())]


def hardware_addresses() -> list[str]:
    """Hardware addresses as the IEEE writes them: ``AC-DE-48-23-45-67``."""
    found = [read_text(CLASS_NET / name / "address").strip() for name in _in_use().values()]
    return [address.replace(":", "-").upper() for address in found if address]


def addresses() -> list[str]:
    """The IP addresses of the interfaces, by the number of these. Raises `OSError`."""
    used = _in_use()
    found = sorted(
        (number, order, address)
        for order, (number, address) in enumerate(parsed_addresses(_dump()))
        if number in used
    )
    return [str(address) for _, _, address in found if not address.is_loopback]


def _in_use() -> dict[int, str]:
    """The interfaces that count, by number."""
    found = {}
    for number, name in sorted(socket.if_nameindex()):
        flags = int(read_text(CLASS_NET / name / "flags"), 16)
        if flags & _UP and not flags & _LOOPBACK:
            found[number] = name
    return found


def _dump() -> Iterator[bytes]:
    """What the kernel answers when it is asked for all addresses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asked:
        asked.settimeout(_TIMEOUT_S)
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        size = _HEADER.size + len(body)
        asked.sendall(_HEADER.pack(size, _GET_ADDRESSES, _REQUEST_DUMP, 1, 0) + body)
        for _ in range(_PIECES_MAX):
            yield asked.recv(_PIECE_BYTES)
    raise OSError("the kernel has no end of addresses")


def parsed_addresses(
    pieces: Iterator[bytes],
) -> Iterator[tuple[int, ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """Interface and address, of each address in the kernel's answer. Raises `OSError`."""
    for piece in pieces:
        at = 0
        while at + _HEADER.size <= len(piece):
            length, kind, *_ = _HEADER.unpack_from(piece, at)
            if kind == _DONE:
                return
            if kind == _ERROR or length < _HEADER.size:
                raise OSError("the kernel refuses to list addresses")
            if kind == _NEW_ADDRESS:
                number, address = _parsed(piece[at + _HEADER.size : at + length])
                if address is not None:
                    yield number, address
            at += (length + 3) & ~3


def _parsed(body: bytes) -> tuple[int, ipaddress.IPv4Address | ipaddress.IPv6Address | None]:
    *_, number = _ADDRESS.unpack_from(body)
    found: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    # Of a link between two points the other attribute is the address of the other end.
    packed = found.get(_LOCAL, found.get(_OF_PEER, b""))
    if len(packed) == 4:
        return number, ipaddress.IPv4Address(packed)
    return number, ipaddress.IPv6Address(packed) if len(packed) == 16 else None
