"""Authenticates by user name and password (HTTP Basic, RFC 7617), as a server or as a client.

A server verifies slow hashes in worker threads, a few at a time, and remembers credentials that
were right, because every request carries them. Component reference: F4.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.schema import ComponentConfig, Finding, Opaque, Section
from mlsysops_pipeline.errors import Code, PeerError, RetryableError
from mlsysops_pipeline.extensions import htpasswd
from mlsysops_pipeline.transport.secret_files import SecretFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Metadata

_REMEMBERED_MAX = 1024
"""Credentials that are known to be right (or wrong), each."""
_VERIFYING_MAX = 2
"""Hashes verified at a time; bcrypt takes a whole core for up to a second."""
_WAITING_MAX = 64
"""Requests that wait for that; more are told to come back."""
_WAIT_S = 1.0


class HtpasswdConfig(ComponentConfig):
    """Who may send."""

    file: str = ""
    """A file of ``USER:HASH`` lines; read again when it changes."""
    inline: Opaque = Opaque("")
    """The same lines, written here; they win over the file's."""

    def check(self) -> Iterable[Finding]:
        """Find lines that are no entries."""
        try:
            htpasswd.parse(self.inline.reveal())
        except ValueError as error:
            yield Finding(("inline",), str(error))


class ClientAuthConfig(ComponentConfig):
    """What to send."""

    username: str = ""
    """The user's name; it has no colon."""
    password: Opaque = Opaque("")
    """The user's password."""
    username_file: str = ""
    """A file that holds the name; it wins, and is read again when it changes."""
    password_file: str = ""
    """A file that holds the password; it wins, and is read again when it changes."""

    def check(self) -> Iterable[Finding]:
        """A colon would end the user name early (RFC 7617)."""
        if ":" in self.username:
            yield Finding(("username",), "must not contain a colon")


class Config(ComponentConfig):
    """One of the two sections."""

    htpasswd: Section[HtpasswdConfig] = None
    """For servers: who may send."""
    client_auth: Section[ClientAuthConfig] = None
    """For clients: what to send."""

    def check(self) -> Iterable[Finding]:
        """Exactly one role, with credentials."""
        if self.htpasswd is not None and self.client_auth is not None:
            yield Finding((), "only one of 'htpasswd' and 'client_auth' can be given")
            return
        server, client = self.htpasswd, self.client_auth
        has_server = server is not None and (server.file or server.inline)
        has_client = client is not None and (client.username or client.username_file)
        if not has_server and not has_client:
            yield Finding((), "no credentials source provided")


class Remembered:
    """Which credentials were right, and which wrong: the most recent of each, by keyed digest.

    Only digests are kept, under a key that exists in this process only.
    """

    def __init__(self, entries_max: int = _REMEMBERED_MAX) -> None:
        self._key = secrets.token_bytes(32)
        self._entries_max = entries_max
        self._right: OrderedDict[bytes, Mapping[str, str]] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()

    def digest(self, header: str) -> bytes:
        """The name under which credentials are remembered."""
        return hashlib.blake2b(header.encode("utf-8", "surrogateescape"), key=self._key).digest()

    def find(self, digest: bytes) -> Mapping[str, str] | None:
        """The attributes of right credentials, ``None`` if they are not known.

        Raises `PeerError` for wrong ones.
        """
        if digest in self._wrong:
            self._wrong.move_to_end(digest)
            raise _unauthenticated("invalid credentials")
        found = self._right.get(digest)
        if found is not None:
            self._right.move_to_end(digest)
        return found

    def add(self, digest: bytes, attributes: Mapping[str, str] | None) -> None:
        """Remember the attributes of right credentials, or that they were wrong."""
        if attributes is None:
            self._wrong[digest] = None
        else:
            self._right[digest] = attributes
        for known in (self._right, self._wrong):
            while len(known) > self._entries_max:
                known.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: the passwords have changed."""
        self._right.clear()
        self._wrong.clear()

    def __len__(self) -> int:
        return len(self._right) + len(self._wrong)


class BasicAuthServer:
    """Implements `ServerAuthenticator`. Attributes: ``username``, and ``raw``, the header."""

    def __init__(self, config: HtpasswdConfig, settings: Settings) -> None:
        self._settings = settings
        self._inline = htpasswd.parse(config.inline.reveal())
        self._hashes: Mapping[str, str] = self._inline
        self._file = SecretFile(config.file, self._use_file, settings) if config.file else None
        self._remembered = Remembered()
        self._verifying = asyncio.Semaphore(_VERIFYING_MAX)
        self._waiting = 0

    async def start(self) -> None:
        """Read the file. Raises `OSError` if that fails."""
        if self._file is not None:
            await self._file.load()
            self._settings.tasks.spawn_forever("watch htpasswd", self._file.watch)

    async def shutdown(self) -> None:
        """Stop watching the file."""
        await self._settings.tasks.shutdown()

    def _use_file(self, text: str) -> None:
        self._hashes = {**htpasswd.parse(text), **self._inline}
        self._remembered.clear()

    async def authenticate(self, headers: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
        """See `ServerAuthenticator.authenticate`."""
        values = headers.get("authorization")
        if not values or not values[0]:
            raise _unauthenticated("no basic auth provided")
        digest = self._remembered.digest(values[0])
        found = self._remembered.find(digest)
        if found is not None:
            return found
        user, password = parse_basic(values[0])
        hashes = self._hashes
        hash_ = hashes.get(user)
        checked = hash_ or htpasswd.decoy(hashes)
        is_right = checked is not None and await self._verify(digest, password, checked)
        attributes = None
        if is_right and hash_ is not None:
            attributes = MappingProxyType({"username": user, "raw": values[0]})
        if hashes is self._hashes:  # else the answer is about passwords of before
            self._remembered.add(digest, attributes)
        if attributes is None:
            raise _unauthenticated("invalid credentials")
        return attributes

    async def _verify(self, digest: bytes, password: bytes, hash_: str) -> bool:
        if not htpasswd.is_slow(hash_):
            return htpasswd.verify(password, hash_)
        if self._waiting >= _WAITING_MAX:
            raise RetryableError("too many logins at a time", retry_after_s=_WAIT_S)
        self._waiting += 1
        try:
            async with self._verifying:
                # Whoever was before us may have had the same credentials.
                if self._remembered.find(digest) is not None:
                    return True
                return await asyncio.to_thread(htpasswd.verify, password, hash_)
        finally:
            self._waiting -= 1

    def __repr__(self) -> str:
        return f"<BasicAuthServer {self._settings.id} users={len(self._hashes)}>"


class BasicAuthClient:
    """Implements `ClientAuthenticator`."""

    needs_tls = True

    def __init__(self, config: ClientAuthConfig, settings: Settings) -> None:
        self._settings = settings
        self._user = config.username
        self._password = config.password.reveal()
        self._files: list[SecretFile] = []
        if config.username_file:
            self._files.append(SecretFile(config.username_file, self._use_user, settings))
        if config.password_file:
            self._files.append(SecretFile(config.password_file, self._use_password, settings))
        self._header = self._build()

    async def start(self) -> None:
        """Read the files. Raises `OSError` if that fails."""
        for file in self._files:
            await file.load()
            self._settings.tasks.spawn_forever(f"watch {file.path.name}", file.watch)

    async def shutdown(self) -> None:
        """Stop watching the files."""
        await self._settings.tasks.shutdown()

    def _use_user(self, text: str) -> None:
        user = text.strip("\r\n")
        if not user or ":" in user:
            raise ValueError("expected a user name without a colon")
        self._user = user
        self._header = self._build()

    def _use_password(self, text: str) -> None:
        self._password = text.strip("\r\n")
        self._header = self._build()

    def _build(self) -> str:
        return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()

    def apply(
        self,
        headers: MutableMapping[str, str],
        metadata: Metadata,  # noqa: ARG002  the same for every request
    ) -> None:
        """See `ClientAuthenticator.apply`."""
        headers["authorization"] = self._header

    def __repr__(self) -> str:
        return f"<BasicAuthClient {self._settings.id}>"


def parse_basic(header: str) -> tuple[str, bytes]:
    """The user and the password of an ``Authorization`` header. Raises `PeerError`."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        raise _unauthenticated("invalid authorization scheme prefix")
    try:
        user, colon, password = base64.b64decode(rest.strip(), validate=True).partition(b":")
        if colon:
            return user.decode(), password
    except (binascii.Error, ValueError):
        pass  # answered as any other header that is no credentials
    raise _unauthenticated("invalid authorization format")


def _unauthenticated(message: str) -> PeerError:
    return PeerError(message, Code.UNAUTHENTICATED)


def _create(config: Config, settings: Settings, next_: None) -> Any:  # noqa: ARG001
    if config.htpasswd is not None:
        return BasicAuthServer(config.htpasswd, settings)
    if config.client_auth is not None:
        return BasicAuthClient(config.client_auth, settings)
    raise ValueError("no credentials source provided")


FACTORY = Factory(kind=Kind.EXTENSION, type="basicauth", config=Config, create=_create)
