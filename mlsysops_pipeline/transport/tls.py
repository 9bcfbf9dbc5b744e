"""TLS settings of servers and clients, and the `ssl.SSLContext`s they make (components, A1.4).

Files are read when the component starts; what is missing or does not fit together is one line of
`OSError` that names the key. With `reload_interval` they are read again when a connection is made
and the last reading is older; a reading that fails is logged and the former one stays in use.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Finding,
    Opaque,
    no_effect,
    refused,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "ContextSource",
    "TlsClientConfig",
    "TlsServerConfig",
    "TpmConfig",
    "client_context",
    "client_context_source",
    "server_context",
]

Version = Literal["", "1.0", "1.1", "1.2", "1.3"]
_VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_CLIENT_CA_RELOAD_S: Final = 10.0
"""How old a reading may get with `client_ca_file_reload`, where the Collector watches the file."""

_CIPHERS: Final = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}
"""Cipher suites by the names that Go and files use; those of TLS 1.3 are always on, as in Go."""


class TpmConfig(ComponentConfig):
    """Keys in a trusted platform module: known, so that files with `enabled: false` run."""

    enabled: Annotated[bool, refused("keys in a TPM", unless=False)] = False
    """Whether the key is in the module."""
    path: str = ""
    """The device of the module."""
    owner_auth: Opaque = Opaque("")
    """The password of the module's owner."""
    auth: Opaque = Opaque("")
    """The password of the key."""


class _TlsConfig(ComponentConfig):
    """The keys that servers and clients share."""

    ca_file: str = ""
    """Certificates of the authorities that the other side is checked against."""
    ca_pem: Opaque = Opaque("")
    """The same, in the configuration itself."""
    cert_file: str = ""
    """Our certificate, followed by the intermediate ones."""
    cert_pem: Opaque = Opaque("")
    """The same, in the configuration itself."""
    key_file: str = ""
    """The private key of our certificate, not encrypted."""
    key_pem: Opaque = Opaque("")
    """The same, in the configuration itself."""
    include_system_ca_certs_pool: bool = False
    """Trust the authorities of the system beside those of `ca_file`."""
    cipher_suites: tuple[str, ...] = ()
    """Cipher suites of TLS 1.2 and below, by Go's names; empty means the safe ones."""
    curve_preferences: Annotated[
        tuple[str, ...], refused("the curves are those of OpenSSL's default", unless=())
    ] = ()
    """Curves for the key exchange, which OpenSSL chooses."""
    min_version: Version = "1.2"
    """The lowest version of TLS that is spoken; empty means 1.2."""
    max_version: Version = ""
    """The highest one; empty means the highest there is."""
    reload_interval: Duration = 0.0
    """Seconds after which certificate and key are read again; zero means never."""
    tpm: TpmConfig = TpmConfig()
    """Keys in a trusted platform module."""

    def check(self) -> Iterable[Finding]:
        """Keys that exclude each other, and names that are not known."""
        for kind in ("ca", "cert", "key"):
            if getattr(self, f"{kind}_file") and getattr(self, f"{kind}_pem"):
                yield Finding((f"{kind}_pem",), f"cannot be used together with {kind}_file")
        has_cert, has_key = (
            bool(self.cert_file or self.cert_pem),
            bool(self.key_file or self.key_pem),
        )
        if has_cert != has_key:
            missing = "key_file" if has_cert else "cert_file"
            given = "cert_file" if self.cert_file else "cert_pem"
            if has_key:
                given = "key_file" if self.key_file else "key_pem"
            yield Finding((given,), f"certificate and key belong together: {missing} is missing")
        for index, name in enumerate(self.cipher_suites):
            if name not in _CIPHERS:
                yield Finding(("cipher_suites", index), f"{name!r} is no known cipher suite")
        low, high = self.min_version or "1.2", self.max_version or "1.3"
        if low > high:
            yield Finding(("min_version",), f"{low} is above max_version {high}")


class TlsServerConfig(_TlsConfig):
    """`tls` of a receiver or of an extension that listens."""

    ca_file: Annotated[str, no_effect("client_ca_file is what clients are checked against")] = ""
    """Authorities of servers, which a server has nothing to do with."""
    ca_pem: Annotated[Opaque, no_effect("client_ca_file is what clients are checked against")] = (
        Opaque("")
    )
    """The same, in the configuration itself."""
    client_ca_file: str = ""
    """Authorities of client certificates; clients without such a certificate are refused."""
    client_ca_file_reload: bool = False
    """Read `client_ca_file` again when it may have changed."""

    def check(self) -> Iterable[Finding]:
        """A server needs both certificate and key."""
        yield from super().check()
        if not (self.cert_file or self.cert_pem or self.key_file or self.key_pem):
            yield Finding(
                (),
                "TLS configuration must include both certificate and key for server connections",
            )


class TlsClientConfig(_TlsConfig):
    """`tls` of an exporter."""

    insecure: bool = False
    """No TLS at all, unless an authority is given."""
    insecure_skip_verify: bool = False
    """Accept any certificate from the server."""
    server_name_override: str = ""
    """The name that the server's certificate must carry, instead of the endpoint's host."""

    @property
    def is_plaintext(self) -> bool:
        """Whether connections are not encrypted: `insecure` without an authority."""
        return self.insecure and not self.ca_file and not self.ca_pem


class ContextSource:
    """The current context of a configuration that may be read again.

    ``build`` reads the files and raises `OSError`. ``max_age_s``: how old a reading may get, zero
    means any age. It blocks for as long as reading three small files takes.
    """

    def __init__(
        self,
        build: Callable[[], ssl.SSLContext],
        max_age_s: float,
        logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build = build
        self._max_age_s = max_age_s
        self._logger = logger
        self._monotonic = monotonic
        self._read_s = monotonic()
        self._context = build()

    def current(self) -> ssl.SSLContext:
        """The context for a connection that is made now."""
        if self._max_age_s and self._monotonic() - self._read_s >= self._max_age_s:
            self._read_s = self._monotonic()
            try:
                self._context = self._build()
            except OSError as error:
                if self._logger is not None:
                    self._logger.warning("certificates are not reloaded: %s", error)
        return self._context

    def __repr__(self) -> str:
        return f"<ContextSource max_age_s={self._max_age_s:g}>"


def server_context(
    config: TlsServerConfig,
    alpn: Sequence[str] = (),
    logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
) -> ssl.SSLContext:
    """The context of a server, which looks after reloading itself. ``alpn``: protocols it offers.

    Raises `OSError` with one line that names the key whose file cannot be used.
    """

    def build() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _apply(context, config, alpn)
        if config.client_ca_file:
            context.verify_mode = ssl.CERT_REQUIRED
            with _reading("client_ca_file", config.client_ca_file):
                context.load_verify_locations(cafile=config.client_ca_file)
        return context

    max_age_s = config.reload_interval
    if config.client_ca_file_reload:
        max_age_s = min(max_age_s or _CLIENT_CA_RELOAD_S, _CLIENT_CA_RELOAD_S)
    if not max_age_s:
        return build()
    source = ContextSource(build, max_age_s, logger)
    front = source.current()

    def choose(connection: ssl.SSLObject, _name: str | None, _front: ssl.SSLContext) -> None:
        # Once a handshake, before the certificate is chosen.
        connection.context = source.current()

    front.sni_callback = choose
    return front


def watch_handshakes(context: ssl.SSLContext, on_failure: Callable[[str], None]) -> None:
    """Have ``on_failure`` told why a handshake of a server failed, which event loops keep quiet.

    Not that a peer hung up in the middle: probes of ports do, and nothing is wrong with TLS then.
    """

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError):
                raise
            except ssl.SSLError as error:
                on_failure(_handshake_problem(error))
                raise

    context.sslobject_class = Watched


def _handshake_problem(error: ssl.SSLError) -> str:
    """One phrase, which names whose certificate it is about."""
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if reason == "certificate verify failed":
        message = getattr(error, "verify_message", "")
        return f"the client's certificate is not accepted{message and f': {message}'}"
    if "alert" in reason:
        return f"the client does not accept ours: {reason}"
    return reason


def client_context(config: TlsClientConfig, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """The context of a client as of now; see `client_context_source` for reloading.

    Not for plain text: ask `TlsClientConfig.is_plaintext` first. Raises `OSError` with one line
    that names the key whose file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _apply(context, config, alpn)
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if config.ca_file:
        with _reading("ca_file", config.ca_file):
            context.load_verify_locations(cafile=config.ca_file)
    if config.ca_pem:
        with _reading("ca_pem", ""):
            context.load_verify_locations(cadata=config.ca_pem.reveal())
    if config.include_system_ca_certs_pool or not (config.ca_file or config.ca_pem):
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def client_context_source(
    config: TlsClientConfig,
    alpn: Sequence[str] = (),
    logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
) -> ContextSource:
    """Contexts of a client; ask for the current one before each connection."""
    return ContextSource(lambda: client_context(config, alpn), config.reload_interval, logger)


def _apply(context: ssl.SSLContext, config: _TlsConfig, alpn: Sequence[str]) -> None:
    """What servers and clients have in common: versions, ciphers, our own certificate."""
    context.minimum_version = _VERSIONS[config.min_version or "1.2"]
    if config.max_version:
        context.maximum_version = _VERSIONS[config.max_version]
    ciphers = [name for name in map(_CIPHERS.get, config.cipher_suites) if name]
    if ciphers:
        context.set_ciphers(":".join(ciphers))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if not (config.cert_file or config.cert_pem):
        return
    with (
        _as_file("cert", config.cert_file, config.cert_pem) as cert,
        _as_file("key", config.key_file, config.key_pem) as key,
        _reading("cert_file" if config.cert_file else "cert_pem", config.cert_file),
    ):
        # An encrypted key must not make OpenSSL ask for its password on the terminal.
        context.load_cert_chain(cert, key, password=_no_password)


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted, which is not supported")


@contextlib.contextmanager
def _as_file(kind: str, path: str, pem: Opaque) -> Iterator[str]:
    """A path to read ``path`` or ``pem`` from: the ssl module loads our certificate from files."""
    if path:
        with _reading(f"{kind}_file", path), open(path, "rb"):  # noqa: PTH123  can it be read?
            pass
        yield path
        return
    if hasattr(os, "memfd_create"):  # Linux: the key does not touch a disk
        descriptor = os.memfd_create(f"tls-{kind}")
        name = f"/proc/self/fd/{descriptor}"
    else:
        import tempfile  # noqa: PLC0415  few need it

        descriptor, name = tempfile.mkstemp()  # readable by us only
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pem.reveal().encode())
        yield name
    finally:
        os.close(descriptor)
        if not name.startswith("/proc/"):
            os.unlink(name)  # noqa: PTH108  by the name that mkstemp gave


@contextlib.contextmanager
def _reading(key: str, path: str) -> Iterator[None]:
    """Errors say which key they are about, in one line."""
    place = f"tls.{key}: {path}" if path else f"tls.{key}"
    try:
        yield
    except ssl.SSLError as error:
        raise TlsFileError(f"{place}: {_why(error)}") from error
    except OSError as error:
        raise TlsFileError(f"{place}: {error.strerror or error}") from error


def _why(error: ssl.SSLError) -> str:
    """What OpenSSL says, in words; its usual answer to a file of another kind is "PEM lib"."""
    reason: str | None = getattr(error, "reason", None)
    if reason:
        return reason.replace("_", " ").lower()
    return "not in PEM format" if "PEM lib" in str(error) else str(error.args[-1])


class TlsFileError(OSError):
    """A certificate or key cannot be used; the message names the key and the file."""
