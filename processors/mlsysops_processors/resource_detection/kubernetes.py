"""The detector `k8snode`, or `k8s_api`: what the API server says about our node and cluster.

The name of the node is in our environment, so it is known even if the API server is not there. Who
may not see the namespace `kube-system` gets no `k8s.cluster.uid`, and is told once a detection.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from mlsysops_processors.resource_detection.asking import StatusError, ask, text_at
from mlsysops_processors.resource_detection.detection import DetectionError

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings
    from mlsysops_processors.resource_detection.config import KubernetesConfig
    from mlsysops_processors.resource_detection.detection import Found

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where every pod has the token and the certificate authority."""
_FILE_BYTES_MAX: Final = 1 << 20
_METADATA_ONLY: Final = (
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json"
)
_FORBIDDEN: Final = frozenset({401, 403})
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


class KubernetesDetector:
    """Implements `Detector`."""

    has_schema = True

    def __init__(self, config: KubernetesConfig, settings: Settings) -> None:
        self._config = config
        self._wanted = config.wanted
        self._settings = settings

    async def detect(self) -> Found:
        """Ask the API server. Raises `DetectionError`, fatal if the name of the node is missing."""
        if not self._node():
            message = f"node name can't be found: set {self._config.node_from_env_var}"
            raise DetectionError(f"{message} by the downward API (spec.nodeName)", is_fatal=True)
        found = self.known()
        try:
            if "k8s.node.uid" in self._wanted:
                node = await self._ask(f"/api/v1/nodes/{quote(self._node(), safe='')}")
                found["k8s.node.uid"] = text_at(node, "metadata", "uid")
            if "k8s.cluster.uid" in self._wanted:
                await self._find_cluster(found)
        except DetectionError as error:
            error.found = found
            raise
        return found

    def known(self) -> Found:
        """The name of the node."""
        node = self._node()
        return {"k8s.node.name": node} if node and "k8s.node.name" in self._wanted else {}

    def _node(self) -> str:
        return os.environ.get(self._config.node_from_env_var or "K8S_NODE_NAME", "")

    async def _find_cluster(self, found: Found) -> None:
        try:
            namespace = await self._ask("/api/v1/namespaces/kube-system")
        except StatusError as error:
            if error.status not in _FORBIDDEN:
                raise
            self._settings.logger.warning(
                "no permission to get namespaces/kube-system, so there is no k8s.cluster.uid: %s",
                error,
            )
            return
        found["k8s.cluster.uid"] = text_at(namespace, "metadata", "uid")

    async def _ask(self, path: str) -> dict[str, Any]:
        host, port = os.environ.get(_HOST, ""), os.environ.get(_PORT, "")
        if not host or not port:
            raise DetectionError(f"{_HOST} and {_PORT} are not set: this is no pod of a cluster")
        headers = {"Accept": _METADATA_ONLY}
        is_named = self._config.auth_type == "serviceAccount"
        try:
            # The token is renewed every hour, so it is read for every question.
            token, tls = await asyncio.to_thread(_credentials, is_named=is_named)
        except OSError as error:
            message = f"the service account cannot be used: {error}"
            raise DetectionError(message) from error
        if token:
            headers["Authorization"] = f"Bearer {token}"
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return await ask(f"https://{authority}{path}", headers=headers, tls=tls)


def _credentials(*, is_named: bool) -> tuple[str, ssl.SSLContext]:
    """The token, and how the server is known. Raises `OSError`."""
    if not is_named:  # as in the Collector, who does not name himself asks for no name either
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        return "", tls
    with (SERVICE_ACCOUNT / "token").open("rb") as file:
        token = file.read(_FILE_BYTES_MAX).decode("utf-8", "replace").strip()
    if not token or not token.isprintable() or not token.isascii():
        raise OSError(f"{SERVICE_ACCOUNT / 'token'} has no token")
    return token, ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
