"""TLS settings: what is checked, what a handshake makes of them, and reading files again."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from mlsysops_pipeline.config.decode import decode, parse_config
from mlsysops_pipeline.config.nodes import from_plain
from mlsysops_pipeline.config.schema import Opaque
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.transport.tls import (
    ContextSource,
    TlsClientConfig,
    TlsServerConfig,
    client_context,
    client_context_source,
    server_context,
)

AUTHORITY = trustme.CA()
OTHER_AUTHORITY = trustme.CA()


class Files:
    """Certificates in a folder: ``ca``, ``other_ca``, ``cert``, ``key``."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.other_ca = str(folder / "ca.pem"), str(folder / "other.pem")
        self.cert, self.key = str(folder / "cert.pem"), str(folder / "key.pem")
        AUTHORITY.cert_pem.write_to_path(self.ca)
        OTHER_AUTHORITY.cert_pem.write_to_path(self.other_ca)
        self.issue("localhost")

    def issue(self, name: str, authority: trustme.CA = AUTHORITY) -> None:
        """Write a new certificate and its key."""
        issued = authority.issue_cert(name)
        Path(self.cert).write_bytes(b"".join(b.bytes() for b in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)

    def server(self, **keys: Any) -> TlsServerConfig:
        return TlsServerConfig(**{"cert_file": self.cert, "key_file": self.key, **keys})

    def client(self, **keys: Any) -> TlsClientConfig:
        return TlsClientConfig(**{"ca_file": self.ca, **keys})


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake in memory: server side, client side. Raises `ssl.SSLError` if either refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    )
    for _ in range(10):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    try:  # TLS 1.3 tells a client about its certificate after the handshake
        sides[0].write(b"x")
        assert b"x" == sides[1].read(1)
        sides[1].write(b"y")
        assert b"y" == sides[0].read(1)
    except ssl.SSLWantReadError as error:
        raise ssl.SSLError("the handshake is not complete") from error
    return sides


def test_a_client_knows_its_server(files: Files) -> None:
    server, client = shake(
        server_context(files.server(), ("h2",)), client_context(files.client(), ("h2", "x"))
    )
    assert ("TLSv1.3", "h2") == (client.version(), client.selected_alpn_protocol())
    assert "h2" == server.selected_alpn_protocol()


@pytest.mark.parametrize(
    ("keys", "name"),
    [({"ca_file": "other"}, "localhost"), ({}, "elsewhere"), ({"ca_file": ""}, "localhost")],
)
def test_a_client_refuses_servers_that_it_does_not_know(
    files: Files, keys: dict[str, str], name: str
) -> None:
    if keys.get("ca_file") == "other":
        keys = {"ca_file": files.other_ca}
    with pytest.raises(ssl.SSLError):
        shake(server_context(files.server()), client_context(files.client(**keys)), name)


def test_verification_can_be_skipped(files: Files) -> None:
    client = client_context(TlsClientConfig(insecure_skip_verify=True))
    shake(server_context(files.server()), client, "elsewhere")


def test_mutual_tls(files: Files) -> None:
    server = server_context(files.server(client_ca_file=files.ca))
    shake(server, client_context(files.client(cert_file=files.cert, key_file=files.key)))
    with pytest.raises(ssl.SSLError):
        shake(server, client_context(files.client()))
    files.issue("localhost", OTHER_AUTHORITY)
    with pytest.raises(ssl.SSLError):
        shake(server, client_context(files.client(cert_file=files.cert, key_file=files.key)))


def test_certificates_may_stand_in_the_configuration(files: Files) -> None:
    server = TlsServerConfig(
        cert_pem=Opaque(Path(files.cert).read_text()), key_pem=Opaque(Path(files.key).read_text())
    )
    client = TlsClientConfig(ca_pem=Opaque(Path(files.ca).read_text()))
    shake(server_context(server), client_context(client))


@pytest.mark.parametrize(
    ("server", "client", "version"),
    [
        ({}, {"max_version": "1.2"}, "TLSv1.2"),
        ({"max_version": "1.2"}, {}, "TLSv1.2"),
        ({"min_version": "1.3"}, {"min_version": ""}, "TLSv1.3"),
        ({"min_version": "1.3"}, {"max_version": "1.2"}, ""),
    ],
)
def test_versions(
    files: Files, server: dict[str, str], client: dict[str, str], version: str
) -> None:
    contexts = server_context(files.server(**server)), client_context(files.client(**client))
    if not version:
        with pytest.raises(ssl.SSLError):
            shake(*contexts)
        return
    assert version == shake(*contexts)[1].version()


def test_cipher_suites_by_their_names_in_go(files: Files) -> None:
    suites = tuple(f"TLS_ECDHE_{kind}_WITH_CHACHA20_POLY1305_SHA256" for kind in ("ECDSA", "RSA"))
    suites = (*suites, "TLS_AES_128_GCM_SHA256")
    server = files.server(max_version="1.2", cipher_suites=suites)
    chosen = shake(server_context(server), client_context(files.client()))[1].cipher()
    assert chosen is not None
    assert "CHACHA20" in chosen[0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "must include both certificate and key for server connections"),
        ({"cert_file": "a"}, "cert_file: certificate and key belong together: key_file"),
        ({"key_pem": "a"}, "key_pem: certificate and key belong together: cert_file"),
        ({"cert_file": "a", "cert_pem": "b", "key_file": "c"}, "cannot be used together"),
        ({"cert_file": "a", "key_file": "b", "cipher_suites": ["X"]}, "no known cipher suite"),
        ({"cert_file": "a", "key_file": "b", "min_version": "1.4"}, "min_version"),
        ({"cert_file": "a", "key_file": "b", "max_version": "1.0"}, "above max_version"),
        ({"cert_file": "a", "key_file": "b", "curve_preferences": ["P256"]}, "not supported"),
        ({"cert_file": "a", "key_file": "b", "tpm": {"enabled": True}}, "not supported"),
        ({"cert_file": "a", "key_file": "b", "ca_fil": "x"}, "unknown key"),
    ],
)
def test_configurations_that_cannot_run(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(TlsServerConfig, value)


def test_configurations_that_can_run() -> None:
    value = {"cert_file": "a", "key_file": "b", "tpm": {"enabled": False}, "curve_preferences": []}
    config = parse_config(TlsServerConfig, {**value, "reload_interval": "1h"})
    assert 3_600.0 == config.reload_interval
    _, problems = decode(TlsServerConfig, from_plain({**value, "ca_file": "x"}))
    assert ["has no effect here: client_ca_file is what clients are checked against"] == [
        problem.message for problem in problems
    ]


def test_plain_text_only_without_an_authority() -> None:
    assert TlsClientConfig(insecure=True).is_plaintext
    assert not TlsClientConfig(insecure=True, ca_file="x").is_plaintext
    assert not TlsClientConfig().is_plaintext


@pytest.mark.parametrize("key", ["cert_file", "key_file", "client_ca_file"])
def test_a_missing_file_is_one_clear_line(files: Files, key: str) -> None:
    missing = str(Path(files.cert).parent / "missing.pem")
    with pytest.raises(OSError, match="No such file") as caught:
        server_context(files.server(**{key: missing}))
    assert f"tls.{key}: {missing}: No such file or directory" == str(caught.value)


def test_files_that_are_no_certificates_are_named(files: Files) -> None:
    Path(files.cert).write_text("not a certificate")
    with pytest.raises(OSError, match=r"^tls\.cert_file: .*/cert\.pem: not in PEM format$"):
        server_context(files.server())
    Path(files.ca).write_text("neither")
    with pytest.raises(OSError, match=r"^tls\.ca_file: .*/ca\.pem: "):
        client_context(files.client())
    with pytest.raises(OSError, match=r"^tls\.ca_pem: "):
        client_context(TlsClientConfig(ca_pem=Opaque("neither")))


def test_an_encrypted_key_never_asks_for_its_password(files: Files) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    Path(files.key).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(OSError, match="the key is encrypted, which is not supported"):
        server_context(files.server())


def _common_name(client: ssl.SSLObject) -> str:
    found: Any = client.getpeercert()
    return str(found["subjectAltName"][0][1])


def test_a_server_reads_its_certificate_again(
    files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr("mlsysops_pipeline.transport.tls.time.monotonic", lambda: now[0])
    monkeypatch.setattr(ContextSource.__init__, "__defaults__", (None, lambda: now[0]))
    server = server_context(files.server(reload_interval=60.0), ("h2",), logging.getLogger())
    client = client_context(files.client(), ("h2",))
    assert "localhost" == _common_name(shake(server, client)[1])
    files.issue("renewed.example")
    with pytest.raises(ssl.SSLError):
        shake(server, client, "renewed.example")
    now[0] += 61.0
    renewed = shake(server, client, "renewed.example")[1]
    assert ("renewed.example", "h2") == (_common_name(renewed), renewed.selected_alpn_protocol())
    Path(files.key).write_text("half written")
    now[0] += 61.0
    assert "renewed.example" == _common_name(shake(server, client, "renewed.example")[1])
    assert 1 == len(caplog.messages)
    assert caplog.messages[0].startswith("certificates are not reloaded: tls.cert_file: ")


def test_client_authorities_are_read_again(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(ContextSource.__init__, "__defaults__", (None, lambda: now[0]))
    config = files.server(client_ca_file=files.other_ca, client_ca_file_reload=True)
    server = server_context(config)
    client = client_context(files.client(cert_file=files.cert, key_file=files.key))
    with pytest.raises(ssl.SSLError):
        shake(server, client)
    AUTHORITY.cert_pem.write_to_path(files.other_ca)
    now[0] += 11.0
    shake(server, client)


def test_a_client_reads_its_files_again(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(ContextSource.__init__, "__defaults__", (None, lambda: now[0]))
    source = client_context_source(files.client(reload_interval=5.0))
    first = source.current()
    assert first is source.current()
    now[0] += 6.0
    assert first is not source.current()
    assert client_context_source(files.client()).current()
