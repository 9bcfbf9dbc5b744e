"""Opens the HTTP client of an exporter as its configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.transport.http.client import HttpClient
from mlsysops_pipeline.transport.outgoing import OutgoingHeaders, client_authenticator
from mlsysops_pipeline.transport.tls import client_context_source

if TYPE_CHECKING:
    from collections.abc import Collection

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.transport.client_settings import HttpClientConfig, HttpUrl


async def open_client(
    config: HttpClientConfig, urls: Collection[HttpUrl], settings: Settings
) -> tuple[HttpClient, OutgoingHeaders]:
    """A client for requests to ``urls``, and the headers of these.

    Reads certificates and finds the authenticator; connecting waits for the first request. Raises
    `OSError` for a certificate that cannot be used, `ConfigError` for such an authenticator.
    """
    authenticator = None
    if config.auth is not None:
        # As in the Collector, only gRPC refuses plaintext (components, F4 and F5).
        name = config.auth.authenticator
        authenticator = client_authenticator(settings.host, name, is_plaintext=False)
        if authenticator.needs_tls and any(url.is_plaintext for url in urls):
            settings.logger.warning("the credentials of %s are sent in plaintext", name)
    tls = None
    if any(not url.is_plaintext for url in urls):
        tls = client_context_source(config.tls, ("http/1.1",), settings.logger)
    client = HttpClient(config, tls)
    await client.open()
    return client, OutgoingHeaders(config.headers, authenticator)
