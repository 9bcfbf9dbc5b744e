"""How targets and discovery are asked: Prometheus' HTTP client keys, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Finding,
    Opaque,
    Severity,
    no_effect,
    refused,
)
from mlsysops_pipeline.transport.client_settings import HttpUrl
from mlsysops_pipeline.transport.tls import TlsClientConfig
from mlsysops_receivers.prometheus.scalars import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

Version = Literal["", "TLS10", "TLS11", "TLS12", "TLS13"]
_VERSIONS: Final[dict[str, Literal["", "1.0", "1.1", "1.2", "1.3"]]] = {
    "": "",
    "TLS10": "1.0",
    "TLS11": "1.1",
    "TLS12": "1.2",
    "TLS13": "1.3",
}
_RESERVED_HEADERS: Final = frozenset(
    {
        "authorization",
        "host",
        "content-encoding",
        "content-length",
        "content-type",
        "user-agent",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "www-authenticate",
        "accept-encoding",
        "x-prometheus-remote-write-version",
        "x-prometheus-remote-read-version",
        "x-prometheus-scrape-timeout-seconds",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-content-sha256",
    }
)
"""Headers that Prometheus does not let `http_headers` set."""
_NO_MANAGER: Final = "there is no secret manager; write the secret or a file's path"


class BasicAuthConfig(ComponentConfig):
    """`basic_auth`: a name and a password in every request."""

    username: Text = Text("")
    """The name."""
    username_file: str = ""
    """A file that holds the name."""
    username_ref: Annotated[str, refused(_NO_MANAGER, unless="")] = ""
    """The name's place in a secret manager."""
    password: Opaque = Opaque("")
    """The password."""
    password_file: str = ""
    """A file that holds the password; it is read again when it changes."""
    password_ref: Annotated[str, refused(_NO_MANAGER, unless="")] = ""
    """The password's place in a secret manager."""

    def check(self) -> Iterable[Finding]:
        """One source for each."""
        if self.username and self.username_file:
            message = "at most one of basic_auth username & username_file must be configured"
            yield Finding(("username_file",), message)
        if self.password and self.password_file:
            message = "at most one of basic_auth password & password_file must be configured"
            yield Finding(("password_file",), message)


class AuthorizationConfig(ComponentConfig):
    """`authorization`: a header with credentials in every request."""

    type: str = "Bearer"
    """What stands before the credentials; empty means `Bearer`."""
    credentials: Opaque = Opaque("")
    """The credentials."""
    credentials_file: str = ""
    """A file that holds them; it is read again when it changes."""
    credentials_ref: Annotated[str, refused(_NO_MANAGER, unless="")] = ""
    """Their place in a secret manager."""

    def check(self) -> Iterable[Finding]:
        """One source, and no name and password in here."""
        if self.credentials and self.credentials_file:
            message = "at most one of authorization credentials & credentials_file must be"
            yield Finding(("credentials_file",), f"{message} configured")
        if self.type.strip().lower() == "basic":
            message = 'authorization type cannot be set to "basic", use "basic_auth" instead'
            yield Finding(("type",), message)


class TlsConfig(ComponentConfig):
    """`tls_config`: certificates for https targets."""

    ca: Opaque = Opaque("")
    """Authorities that the target's certificate is checked against, in PEM."""
    ca_file: str = ""
    """A file with them; neither means those of the system."""
    cert: Opaque = Opaque("")
    """Our certificate, in PEM."""
    cert_file: str = ""
    """A file with it."""
    key: Opaque = Opaque("")
    """Its private key, in PEM."""
    key_file: str = ""
    """A file with it."""
    ca_ref: Annotated[str, refused(_NO_MANAGER, unless="")] = ""
    """The authorities' place in a secret manager."""
    cert_ref: Annotated[str, refused(_NO_MANAGER, unless="")] = ""
    """The certificate's place in a secret manager."""
    key_ref: Annotated[str, refused(_NO_MANAGER, unless="")] = ""
    """The key's place in a secret manager."""
    server_name: str = ""
    """The name that the certificate must carry, instead of the target's host."""
    insecure_skip_verify: bool = False
    """Accept any certificate."""
    min_version: Version = ""
    """The lowest version of TLS; empty means TLS12."""
    max_version: Version = ""
    """The highest one; empty means the highest there is."""

    def check(self) -> Iterable[Finding]:
        """One source for each, and certificate and key together."""
        for name in ("ca", "cert", "key"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                message = f"at most one of {name} and {name}_file must be configured"
                yield Finding((f"{name}_file",), message)
        has_cert, has_key = bool(self.cert or self.cert_file), bool(self.key or self.key_file)
        if has_cert and not has_key:
            yield Finding(
                (), "exactly one of key or key_file must be configured with a client certificate"
            )
        if has_key and not has_cert:
            yield Finding(
                (), "exactly one of cert or cert_file must be configured with a client key"
            )

    @property
    def settings(self) -> TlsClientConfig:
        """The same in the words of the rest of this program."""
        return TlsClientConfig(
            ca_file=self.ca_file,
            ca_pem=self.ca,
            cert_file=self.cert_file,
            cert_pem=self.cert,
            key_file=self.key_file,
            key_pem=self.key,
            server_name_override=self.server_name,
            insecure_skip_verify=self.insecure_skip_verify,
            min_version=_VERSIONS[self.min_version],
            max_version=_VERSIONS[self.max_version],
        )


class HeaderConfig(ComponentConfig):
    """One entry of `http_headers`."""

    values: tuple[Text, ...] = ()
    """Values of the header."""
    secrets: tuple[Opaque, ...] = ()
    """Values that are not shown."""
    files: tuple[str, ...] = ()
    """Files that hold values; they are read again when they change."""


class ClientConfig(ComponentConfig):
    """The keys of an HTTP client, as scrape jobs and HTTP discovery have them."""

    basic_auth: BasicAuthConfig | None = None
    """Name and password."""
    authorization: AuthorizationConfig | None = None
    """A header with credentials."""
    oauth2: Annotated[
        Any,
        refused(
            "OAuth 2.0 for scrapes comes later; write authorization.credentials_file and keep the "
            "token there",
            unless=None,
        ),
    ] = None
    """Tokens from an OAuth 2.0 server."""
    bearer_token: Opaque = Opaque("")
    """Old spelling of authorization.credentials."""
    bearer_token_file: str = ""
    """Old spelling of authorization.credentials_file."""
    tls_config: TlsConfig = TlsConfig()
    """Certificates."""
    follow_redirects: bool = True
    """Whether an answer that points elsewhere is followed, ten times at most."""
    enable_http2: Annotated[
        bool, no_effect("targets are asked over HTTP/1.1, which all of them speak", unless=False)
    ] = True
    """Whether HTTP/2 is used where the target offers it."""
    proxy_url: HttpUrl = HttpUrl("")
    """An HTTP proxy."""
    no_proxy: str = ""
    """Hosts, domains and networks that are asked directly, separated by commas."""
    proxy_from_environment: bool = False
    """Use the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name."""
    proxy_connect_header: Annotated[
        dict[str, Any],
        refused("headers for a proxy; put name and password into proxy_url", unless={}),
    ] = {}  # noqa: RUF012  models are frozen
    """Headers for the proxy of https targets."""
    http_headers: dict[str, HeaderConfig] = {}  # noqa: RUF012  models are frozen
    """More headers for every request."""

    def check(self) -> Iterable[Finding]:
        """One way to identify ourselves, one source of a proxy, headers that may be set."""
        ways = [
            key
            for key in ("basic_auth", "authorization", "bearer_token", "bearer_token_file")
            if getattr(self, key)
        ]
        if self.bearer_token and self.bearer_token_file:
            message = "at most one of bearer_token & bearer_token_file must be configured"
            yield Finding(("bearer_token_file",), message)
        elif len(ways) > 1:
            message = "at most one of basic_auth, authorization & bearer_token must be configured"
            yield Finding((ways[-1],), message)
        if self.proxy_from_environment and (self.proxy_url or self.no_proxy):
            message = "if proxy_from_environment is configured, proxy_url and no_proxy must not be"
            yield Finding(("proxy_from_environment",), message)
        if self.no_proxy and not self.proxy_url:
            message = "if no_proxy is configured, proxy_url must also be configured"
            yield Finding(("no_proxy",), message)
        for name in self.http_headers:
            if name.lower() in _RESERVED_HEADERS:
                message = f'setting header "{name}" is not allowed'
                yield Finding(("http_headers", name), message)
            elif not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                yield Finding(("http_headers", name), f"{name!r} is no name of a header")
        for key in ("bearer_token", "bearer_token_file"):
            if getattr(self, key):
                new = "credentials_file" if key.endswith("file") else "credentials"
                hint = f"use authorization.{new}"
                yield Finding((key,), "is deprecated", Severity.WARNING, hint)

    def secret_files(self) -> Iterable[tuple[str, str]]:
        """The files that hold secrets: what they are, and their paths."""
        if self.basic_auth is not None:
            yield "basic_auth username", self.basic_auth.username_file
            yield "basic_auth password", self.basic_auth.password_file
        if self.authorization is not None:
            yield "authorization credentials", self.authorization.credentials_file
        yield "bearer token", self.bearer_token_file
        for name, header in self.http_headers.items():
            for path in header.files:
                yield f"http_headers {name}", path
