"""HTTP proxies between us and a peer: which one, and a tunnel through it (RFC 9110, 9.3.6).

Collectors read HTTP_PROXY, HTTPS_PROXY and NO_PROXY whatever the protocol of the exporter; gRPC
counts as HTTPS there, with TLS or without.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit

from mlsysops_pipeline.transport.dialing import Target
from mlsysops_pipeline.version import user_agent

if TYPE_CHECKING:
    import socket

_ANSWER_BYTES_MAX: Final = 16 << 10
_PORT: Final = 3128


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. ``credentials``: the value of Proxy-Authorization, if it wants one."""

    target: Target
    credentials: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``http://[USER:PASSWORD@]HOST:PORT``. Raises `ValueError`."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("a proxy needs a host")
        credentials = ""
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return cls(Target(parts.hostname, parts.port or _PORT), credentials)

    def __repr__(self) -> str:
        return f"Proxy({self.target})"


def proxy_from_environment(scheme: str, netloc: str) -> str | None:
    """The URL of the proxy for a peer, by the environment. This machine is asked directly."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    if not any(os.environ.get(name) for name in names):
        return None
    import urllib.request  # noqa: PLC0415  slow to import, and few have a proxy

    host = urlsplit(f"//{netloc}").hostname or ""
    if host == "localhost":
        return None
    try:
        if ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        pass
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(scheme)
    if not proxy or urllib.request.proxy_bypass_environment(netloc, proxies):  # type: ignore[attr-defined]  # typeshed lacks it
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


async def tunnel(sock: socket.socket, proxy: Proxy, target: Target) -> None:
    """Turn a socket that leads to ``proxy`` into one that leads to ``target``. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", f"User-Agent: {user_agent()}"]
    if proxy.credentials:
        lines.append(f"Proxy-Authorization: {proxy.credentials}")
    await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        # One byte at a time: what follows the answer is not for us but for who uses the tunnel.
        piece = await loop.sock_recv(sock, 1)
        answer += piece
        if not piece or len(answer) > _ANSWER_BYTES_MAX:
            raise OSError(f"the proxy {proxy.target} does not answer with HTTP")
    first = answer.partition(b"\r\n")[0].decode("latin-1")
    protocol, _, rest = first.partition(" ")
    if not protocol.startswith("HTTP/1.") or not rest.startswith("2"):
        raise OSError(f"the proxy {proxy.target} answered {first[:100]!r}")
