"""The headers of requests that we send: configured ones, an authenticator's, and the hop count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.config.problems import NOWHERE, error
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.transport.auth import ClientAuthenticator

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Host
    from mlsysops_pipeline.config.schema import Headers
    from mlsysops_pipeline.ids import ComponentID
    from mlsysops_pipeline.pdata.payload import Metadata

HOPS_HEADER: Final = "mlsysops-hops"
"""How many collectors a request has passed, so that loops over several processes end."""

_HOPS_DIGITS_MAX: Final = 6


def read_hops(text: str) -> int:
    """The hop count that a request carries; what is not a number counts as none."""
    text = text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > _HOPS_DIGITS_MAX:
        return 0
    return int(text)


def client_authenticator(
    host: Host, id_: ComponentID, *, is_plaintext: bool
) -> ClientAuthenticator:
    """The extension that identifies us. Raises `ConfigError` if it cannot, or must not here."""
    path = ("auth", "authenticator")
    extension = host.extension(id_)
    if not isinstance(extension, ClientAuthenticator):
        message = f"{id_} does not authenticate clients"
        raise ConfigError([error(NOWHERE, path, message)])
    if is_plaintext and extension.needs_tls:
        message = f"the credentials of {id_} must not be sent in plaintext"
        raise ConfigError([error(NOWHERE, path, message, "use TLS")])
    return extension


class OutgoingHeaders:
    """Makes the headers of each request.

    The authenticator sees the configured headers, and has the last word about them.
    """

    __slots__ = ("_authenticator", "_configured")

    def __init__(self, configured: Headers, authenticator: ClientAuthenticator | None) -> None:
        self._configured: dict[str, str] = {}
        for name, value in configured:
            known = self._configured.get(name.lower())
            text = value.reveal()
            self._configured[name.lower()] = text if known is None else f"{known},{text}"
        self._authenticator = authenticator

    def of(self, metadata: Metadata) -> dict[str, str]:
        """The headers, with lower-case names, of a request with such metadata.

        Raises what the authenticator raises.
        """
        headers = self._configured.copy()
        if self._authenticator is not None:
            self._authenticator.apply(headers, metadata)
        headers[HOPS_HEADER] = str(metadata.hops + 1)
        return headers

    def __repr__(self) -> str:
        return f"<OutgoingHeaders configured={sorted(self._configured)}>"
