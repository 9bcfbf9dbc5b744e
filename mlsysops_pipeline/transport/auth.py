"""What an authentication extension does for servers and for clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mlsysops_pipeline.config.problems import NOWHERE, error
from mlsysops_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from mlsysops_pipeline.component import Host
    from mlsysops_pipeline.ids import ComponentID
    from mlsysops_pipeline.pdata.payload import Metadata


@runtime_checkable
class ServerAuthenticator(Protocol):
    """Decides who may send. Used by a receiver through `auth.authenticator`."""

    async def authenticate(self, headers: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
        """The attributes of the authenticated sender, kept in `Metadata.auth`.

        ``headers`` have lower-case names. Raises `PeerError` with ``Code.UNAUTHENTICATED``.
        """


@runtime_checkable
class ClientAuthenticator(Protocol):
    """Makes requests acceptable to a server. Used by an exporter through `auth.authenticator`."""

    needs_tls: bool
    """Whether the credentials should not travel in plain text: gRPC clients refuse to, HTTP
    clients warn, when they start."""

    def apply(self, headers: MutableMapping[str, str], metadata: Metadata) -> None:
        """Add to, change or remove from the headers (lower-case names) of one request."""


def server_authenticator(host: Host, id_: ComponentID) -> ServerAuthenticator:
    """The extension that decides who may send. Raises `ConfigError` if it is of another kind."""
    extension = host.extension(id_)
    if not isinstance(extension, ServerAuthenticator):
        problem = error(NOWHERE, ("auth", "authenticator"), f"{id_} does not authenticate senders")
        raise ConfigError([problem])
    return extension
