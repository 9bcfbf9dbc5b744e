"""Requests put together: resources, scopes, metrics."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from mlsysops_receivers.prometheus.scrape.encoding import (
    attribute,
    attributes,
    bytes_field,
    text_field,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_receivers.prometheus.scrape.options import Target
    from mlsysops_receivers.prometheus.scrape.series import Place, Scope

__all__ = ["Request", "resource_attributes"]

_OWN_KEYS = frozenset({"service.name", "service.instance.id"})


class Request:
    """An ``ExportMetricsServiceRequest`` that grows."""

    def __init__(self) -> None:
        self._places: dict[Place, list[bytes]] = {}

    def pieces(self, place: Place) -> list[bytes]:
        """The serialized metrics of a place, in pieces, to add to."""
        found = self._places.get(place)
        if found is None:
            found = self._places[place] = []
        return found

    def wire(self, target: Target, infos: Mapping[tuple[str, str], Mapping[str, str]]) -> bytes:
        """The request. ``infos``: what ``target_info`` says, by job and instance."""
        resources: dict[tuple[str, str], list[bytes]] = {}
        for place, pieces in self._places.items():
            if not pieces:
                continue
            key = (place.job, place.instance)
            blocks = resources.get(key)
            if blocks is None:
                found = resource_attributes(target, *key, infos.get(key, {}))
                pairs = attributes(0x0A, (attribute(*pair) for pair in found.items()))
                blocks = resources[key] = [bytes_field(1, pairs)]
            schema = text_field(3, place.scope.schema_url)
            blocks.append(bytes_field(2, b"".join((_scope(place.scope), *pieces, schema))))
        return b"".join([bytes_field(1, b"".join(blocks)) for blocks in resources.values()])


def resource_attributes(
    target: Target, job: str, instance: str, info: Mapping[str, str]
) -> dict[str, str]:
    """The attributes of a resource (PI-7): the target's own ones win over ``target_info``."""
    host, port = _address(instance)
    found = {
        "service.name": job,
        "service.instance.id": instance,
        "server.address": host if _tells_something(host) else "",
        "server.port": port,
        "url.scheme": target.scheme,
        **target.resource,
    }
    found = {key: value for key, value in found.items() if value}
    found.update((key, value) for key, value in info.items() if key not in _OWN_KEYS)
    return found


def _address(instance: str) -> tuple[str, str]:
    """Host and port; an instance that is no address is a host."""
    host, colon, port = instance.rpartition(":")
    if not colon or not port.isdecimal():
        return instance, ""
    return host.removeprefix("[").removesuffix("]"), port


def _tells_something(host: str) -> bool:
    """Whether a host is known by this name elsewhere too."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost"
    return not (address.is_loopback or address.is_unspecified)


def _scope(scope: Scope) -> bytes:
    pairs = attributes(0x1A, (attribute(*pair) for pair in scope.attributes))
    return bytes_field(1, text_field(1, scope.name) + text_field(2, scope.version) + pairs)
