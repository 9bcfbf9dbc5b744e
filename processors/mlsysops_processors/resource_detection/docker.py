"""The detector `docker`: what the Docker daemon says about the host and about our container.

Where it does otherwise than the Collector: `container.name` has no slash in front, and
`container.image.name` is the name of the image instead of its hash.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from mlsysops_processors.resource_detection.asking import ask, text_at
from mlsysops_processors.resource_detection.detection import DetectionError

if TYPE_CHECKING:
    from mlsysops_processors.resource_detection.config import DockerConfig
    from mlsysops_processors.resource_detection.detection import Found

SOCKET_PATH: Final = "/var/run/docker.sock"
_OF_CONTAINER: Final = {"container.name", "container.image.name"}
_OS_TYPES: Final = {"dragonfly": "dragonflybsd", "zos": "z_os"}


class DockerDetector:
    """Implements `Detector`."""

    has_schema = True

    def __init__(self, config: DockerConfig) -> None:
        self._wanted = config.wanted

    async def detect(self) -> Found:
        """Ask the daemon. Raises `DetectionError` with what was found until then."""
        found: Found = {}
        try:
            if self._wanted & {"host.name", "os.type"}:
                info = await _ask("/info")
                if "os.type" in self._wanted:
                    system = text_at(info, "OSType")
                    found["os.type"] = _OS_TYPES.get(system, system)
                if "host.name" in self._wanted:
                    found["host.name"] = text_at(info, "Name")
            if self._wanted & _OF_CONTAINER:
                # In a container the host name is the beginning of the container's id.
                answer = await _ask(f"/containers/{quote(socket.gethostname(), safe='')}/json")
                if "container.name" in self._wanted:
                    found["container.name"] = text_at(answer, "Name").removeprefix("/")
                if "container.image.name" in self._wanted:
                    found["container.image.name"] = text_at(answer, "Config", "Image")
        except DetectionError as error:
            error.found = found
            raise
        return found

    def known(self) -> Found:
        """Nothing."""
        return {}


async def _ask(path: str) -> dict[str, Any]:
    """What the daemon answers at a path of its API, in the version that it likes best."""
    host = os.environ.get("DOCKER_HOST", "") or f"unix://{SOCKET_PATH}"
    scheme, _, place = host.partition("://")
    if scheme == "unix" and place:
        return await ask(f"http://docker{path}", socket_path=place)
    if scheme == "tcp" and place and not os.environ.get("DOCKER_TLS_VERIFY"):
        return await ask(f"http://{place.rstrip('/')}{path}")
    raise DetectionError(f"DOCKER_HOST is {host!r}: only unix:// and plain tcp:// are supported")
