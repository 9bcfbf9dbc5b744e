"""Whether a proxy stands between us and a host."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from mlsysops_pipeline.transport.proxies import Proxy, proxy_from_environment

if TYPE_CHECKING:
    from mlsysops_receivers.prometheus.client_config import ClientConfig
    from mlsysops_receivers.prometheus.fetch.urls import Url


def proxy_for(config: ClientConfig, url: Url) -> Proxy | None:
    """The proxy to ask ``url`` through. Raises `ValueError` for one that makes no sense."""
    if config.proxy_from_environment:
        text = proxy_from_environment(url.scheme, f"{url.host}:{url.port}")
        return Proxy.parse(text) if text else None
    if config.proxy_url and not is_exempt(url.host, url.port, config.no_proxy):
        return Proxy.parse(config.proxy_url.text)
    return None


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether a list of hosts, ``.domains``, networks and ``*`` names this one."""
    host = host.lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        name, _, wanted_port = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
        if not name or (wanted_port and wanted_port != str(port)):
            continue
        if name in {"*", host}:
            return True
        if address is None:
            domain = name.removeprefix("*")
            if host.endswith(domain if domain.startswith(".") else f".{domain}"):
                return True
            continue
        try:
            if "/" in name and address in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False
