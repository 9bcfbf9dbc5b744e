"""Where questions are sent, and how: `Server`."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mlsysops_pipeline.version import user_agent

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["LOCAL_URL", "Server", "local_from_environment", "server_from_environment"]

LOCAL_URL: Final = "http://localhost:9999/metrics"
"""The page of an agent on this machine."""

_API: Final = "/api/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One HTTP peer. Raises `ValueError` for what can never work.

    ``url``: for PromQL the base of the API, without ``/api/v1``: ``http://prometheus:9090``,
    ``http://mimir:8080/prometheus``, ``http://victoria:8428``,
    ``http://vmselect:8481/select/0/prometheus``. For `latest` the page itself,
    ``http://localhost:9999/metrics``. The first argument may be given by position.
    """

    url: str = field(kw_only=False)
    tenant: str = ""
    """Sent as ``X-Scope-OrgID``, which Mimir wants; several are joined by ``|``."""
    basic_auth: tuple[str, str] | None = field(default=None, repr=False)
    """User name and password."""
    bearer_token: str = field(default="", repr=False)
    """Sent as ``Authorization: Bearer``."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """More headers of every request."""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """For https; ``None`` trusts the authorities of the system. An authority of one's own:
    ``ssl.create_default_context(cafile=...)``, with `load_cert_chain` for a client certificate."""
    timeout_s: float = 30.0
    """Seconds that a whole question may take; PromQL servers are told, too."""
    answer_bytes_max: int = 256 << 20
    """Bytes of an answer, decompressed; more is an `AnswerError`. Results take less memory: 16
    bytes a point, which are 30 in JSON."""
    allow_partial: bool = False
    """Whether an answer in which data is missing is returned instead of raised."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{self.url!r} is no URL of the form http://HOST[:PORT][/PATH]")
        if parts.username is not None or parts.password is not None:
            # The URL is shown in errors.
            raise ValueError("a URL does not carry credentials here: give basic_auth")
        if parts.port == 0:
            raise ValueError(f"{self.url!r}: port 0 is nowhere")
        if self.basic_auth is not None and self.bearer_token:
            raise ValueError("basic_auth and bearer_token exclude each other")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s must be positive, not {self.timeout_s!r}")
        if self.answer_bytes_max <= 0:
            raise ValueError(f"answer_bytes_max must be positive, not {self.answer_bytes_max!r}")
        for name, value in self.request_headers().items():
            if not (name.isascii() and name.isprintable() and name) or set(name) & set(' :"'):
                raise ValueError(f"{name!r} is no name of a header")
            if not value.isprintable():
                raise ValueError(f"the header {name} has a value with control characters")

    def api_url(self, call: str) -> str:
        """The URL of ``query`` or ``query_range``. Raises `ValueError` for a base with a query."""
        if "?" in self.url or "#" in self.url:
            raise ValueError(f"{self.url!r} is no base of an API: it has a query or a fragment")
        base = self.url.rstrip("/")
        return f"{base.removesuffix(_API)}{_API}/{call}"

    def request_headers(self) -> dict[str, str]:
        """The headers of every request."""
        headers = {"User-Agent": user_agent(), **self.headers}
        if self.tenant:
            headers["X-Scope-OrgID"] = self.tenant
        if self.basic_auth is not None:
            pair = ":".join(self.basic_auth).encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        if self.bearer_token:
            headers["Authorization"] = f"Bearer {self.bearer_token}"
        return headers


def server_from_environment() -> Server:
    """By MLSYSOPS_QUERY_URL, and where set MLSYSOPS_QUERY_TENANT and MLSYSOPS_QUERY_TOKEN."""
    url = os.environ.get("MLSYSOPS_QUERY_URL", "")
    if not url:
        raise ValueError("where to ask? Give server=..., or set MLSYSOPS_QUERY_URL")
    return Server(
        url,
        tenant=os.environ.get("MLSYSOPS_QUERY_TENANT", ""),
        bearer_token=os.environ.get("MLSYSOPS_QUERY_TOKEN", ""),
    )


def local_from_environment() -> Server:
    """By MLSYSOPS_METRICS_URL, else `LOCAL_URL`."""
    return Server(os.environ.get("MLSYSOPS_METRICS_URL") or LOCAL_URL)
