"""Authenticates by bearer tokens (RFC 6750), as a server and as a client.

A client sends the first token, a server accepts any of them. Component reference: F5.
"""

from __future__ import annotations

import hmac
from types import MappingProxyType
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Status
from mlsysops_pipeline.config.schema import ComponentConfig, Duration, Finding, Opaque, Section
from mlsysops_pipeline.errors import Code, PeerError, RetryableError
from mlsysops_pipeline.transport.secret_files import SecretFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Metadata

_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
_NO_TOKEN_WAIT_S = 5.0


class FileRetryConfig(ComponentConfig):
    """Start without the file and wait for it."""

    max_retries: int = 0
    """How often to look for it before giving up, as a permanent error. 0: for ever."""
    retry_interval: Duration = 5.0
    """The time between two looks."""

    def check(self) -> Iterable[Finding]:
        """Looking all the time would leave no time for anything else."""
        if self.retry_interval <= 0:
            yield Finding(("retry_interval",), "must be greater than zero")
        if self.max_retries < 0:
            yield Finding(("max_retries",), "must not be negative")


class Config(ComponentConfig):
    """Tokens, from one of three places."""

    scheme: str = "Bearer"
    """The word before the token. Empty: the token alone."""
    header: str = "Authorization"
    """The header that carries it."""
    token: Opaque = Opaque("")
    """The only token."""
    tokens: tuple[Opaque, ...] = ()
    """Several tokens. Not together with ``token``."""
    filename: str = ""
    """A file with a token on each line; it wins, and is read again when it changes."""
    file_retry: Section[FileRetryConfig] = None
    """On: a missing file does not fail the start."""

    def check(self) -> Iterable[Finding]:
        """Exactly one place."""
        if self.token and self.tokens:
            yield Finding(("tokens",), "either tokens or token should be provided, not both")
        if not (self.token or any(self.tokens) or self.filename):
            yield Finding((), "no bearer token provided")
        if not self.header:
            yield Finding(("header",), "must not be empty")


class BearerTokenAuth:
    """Implements `ServerAuthenticator` and `ClientAuthenticator`."""

    needs_tls = True

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._header = config.header.lower()
        self._tokens: tuple[str, ...] = ()
        self._file = SecretFile(config.filename, self._use, settings) if config.filename else None
        if self._file is None:
            written = config.tokens or (config.token,)
            self._tokens = tuple(token.reveal() for token in written if token)

    async def start(self) -> None:
        """Read the file. Raises `OSError` if that fails, unless ``file_retry`` is on."""
        if self._file is None:
            return
        try:
            await self._file.load()
        except OSError as error:
            if self._config.file_retry is None:
                raise
            self._settings.logger.warning("no token yet: %s", error)
            self._settings.host.report_status(Status.RECOVERABLE_ERROR, str(error))
        self._settings.tasks.spawn_forever("watch tokens", self._watch)

    async def shutdown(self) -> None:
        """Stop watching the file."""
        await self._settings.tasks.shutdown()

    async def _watch(self) -> None:
        file, retry = self._file, self._config.file_retry
        if file is None:
            return
        if not self._tokens and retry is not None:
            await self._wait_for(file, retry)
        if self._tokens:
            await file.watch()

    async def _wait_for(self, file: SecretFile, retry: FileRetryConfig) -> None:
        """Return when there is a token, or when it was looked for often enough."""
        host, tries = self._settings.host, 0
        while not self._tokens:
            await self._settings.clock.sleep(retry.retry_interval)
            tries += 1
            if await file.look():
                host.report_status(Status.OK)
            elif tries == retry.max_retries:
                message = f"no token in {file.path} after {tries} tries"
                self._settings.logger.error(message)
                host.report_status(Status.PERMANENT_ERROR, message)
                return

    def _use(self, text: str) -> None:
        tokens = tuple(line.strip() for line in text.splitlines() if line.strip())
        if not tokens:
            raise ValueError("no token in it")
        self._tokens = tokens

    async def authenticate(self, headers: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
        """See `ServerAuthenticator.authenticate`."""
        values = headers.get(self._header)
        if not values or not values[0]:
            raise _unauthenticated("missing or empty authorization header")
        scheme = self._config.scheme
        token = values[0]
        if scheme:
            given, _, token = values[0].partition(" ")
            if given.lower() != scheme.lower():  # RFC 9110, section 11.1: in any case
                token = ""
        given_bytes = token.encode("utf-8", "surrogateescape")
        # Every token is compared, each in constant time: how long it takes says nothing.
        matches = [hmac.compare_digest(given_bytes, known.encode()) for known in self._tokens]
        if not any(matches):
            raise _unauthenticated("provided authorization does not match expected scheme or token")
        return _NO_ATTRIBUTES

    def apply(
        self,
        headers: MutableMapping[str, str],
        metadata: Metadata,  # noqa: ARG002  the same for every request
    ) -> None:
        """See `ClientAuthenticator.apply`. Raises `RetryableError` while there is no token."""
        if not self._tokens:
            raise RetryableError(
                f"no token in {self._config.filename} yet", retry_after_s=_NO_TOKEN_WAIT_S
            )
        scheme, token = self._config.scheme, self._tokens[0]
        headers[self._header] = f"{scheme} {token}" if scheme else token

    def __repr__(self) -> str:
        return f"<BearerTokenAuth {self._settings.id} tokens={len(self._tokens)}>"


def _unauthenticated(message: str) -> PeerError:
    return PeerError(message, Code.UNAUTHENTICATED)


def _create(config: Config, settings: Settings, next_: None) -> BearerTokenAuth:  # noqa: ARG001
    return BearerTokenAuth(config, settings)


FACTORY = Factory(kind=Kind.EXTENSION, type="bearertokenauth", config=Config, create=_create)
