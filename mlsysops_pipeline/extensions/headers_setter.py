"""Sets headers of outgoing requests, from fixed values or from the request that brought the data.

What comes from the incoming request needs ``include_metadata`` on the receiver, and batching by
``metadata_keys``: a batch over several requests has no headers. Component reference: F7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mlsysops_pipeline.component import ComponentID, Factory, Kind, Stability
from mlsysops_pipeline.config.problems import NOWHERE
from mlsysops_pipeline.config.problems import error as problem
from mlsysops_pipeline.config.schema import ComponentConfig, ExtensionRef, Finding, Opaque
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.transport.auth import ClientAuthenticator
from mlsysops_pipeline.transport.secret_files import SecretFile

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Metadata


class HeaderConfig(ComponentConfig):
    """One header and where its value comes from."""

    key: str = ""
    """The name, in any case."""
    action: Literal["insert", "update", "upsert", "delete"] = "upsert"
    """insert: only if it is not there; update: only if it is; upsert: in both cases."""
    value: Opaque | None = None
    """A fixed value."""
    value_file: str = ""
    """A file that holds the value; read again when it changes."""
    from_context: str = ""
    """The first value of this header of the incoming request."""
    from_attribute: str = ""
    """This attribute of the authenticated sender, such as ``username``."""
    default_value: Opaque | None = None
    """With ``from_context`` or ``from_attribute``: the value where there is none."""

    def check(self) -> Iterable[Finding]:
        """Exactly one source, unless the header is deleted."""
        if not self.key:
            yield Finding(("key",), "missing header name")
        sources = (self.value is not None, self.value_file, self.from_context, self.from_attribute)
        count = sum(map(bool, sources))
        choice = "'from_context', 'from_attribute', 'value', or 'value_file'"
        if self.action != "delete" and not count:
            yield Finding((), f"missing header source, must be {choice}")
        if count > 1:
            yield Finding((), f"invalid header source, must be only one of {choice}")
        if self.default_value is not None and not (self.from_context or self.from_attribute):
            yield Finding(("default_value",), "needs 'from_context' or 'from_attribute'")


class Config(ComponentConfig):
    """The headers, in the order in which they are applied."""

    headers: tuple[HeaderConfig, ...] = ()
    """At least one."""
    additional_auth: ExtensionRef | None = None
    """Another client authenticator, applied first."""

    def check(self) -> Iterable[Finding]:
        """An empty list is a mistake."""
        if not self.headers:
            yield Finding(("headers",), "missing headers configuration")


class Header:
    """One header, ready to be applied."""

    def __init__(self, config: HeaderConfig, settings: Settings) -> None:
        self._config = config
        self._name = config.key.lower()
        self._context = config.from_context.lower()
        self._value = None if config.value is None else config.value.reveal()
        self._default = None if config.default_value is None else config.default_value.reveal()
        self.file = (
            SecretFile(config.value_file, self._use, settings) if config.value_file else None
        )

    def _use(self, text: str) -> None:
        self._value = text.strip()

    def apply(self, headers: MutableMapping[str, str], metadata: Metadata) -> None:
        """Do the action. A value that is not there leaves the header as it is."""
        action = self._config.action
        if action == "delete":
            headers.pop(self._name, None)
            return
        if (action == "insert" and self._name in headers) or (
            action == "update" and self._name not in headers
        ):
            return
        value = self._read(metadata)
        if value is not None:
            headers[self._name] = value

    def _read(self, metadata: Metadata) -> str | None:
        if self._context:
            values = metadata.headers.get(self._context)
            return values[0] if values else self._default
        if self._config.from_attribute:
            return metadata.auth.get(self._config.from_attribute, self._default)
        return self._value


class HeadersSetter:
    """Implements `ClientAuthenticator`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        self.additional: ComponentID | None = config.additional_auth
        self._headers = [Header(header, settings) for header in config.headers]
        self._first: ClientAuthenticator | None = None

    async def start(self) -> None:
        """Read files and find the other authenticator.

        Raises `OSError` for a file, `ConfigError` if the other one is not for clients or leads
        back to this one.
        """
        self._first = self._find_first()
        for header in self._headers:
            if header.file is not None:
                await header.file.load()
                name = f"watch {header.file.path.name}"
                self._settings.tasks.spawn_forever(name, header.file.watch)

    async def shutdown(self) -> None:
        """Stop watching files."""
        await self._settings.tasks.shutdown()

    def _find_first(self) -> ClientAuthenticator | None:
        if self.additional is None:
            return None
        passed = {self._settings.id}
        next_: ComponentID | None = self.additional
        while next_ is not None:
            if next_ in passed:
                raise self._wrong(f"leads back to {next_}")
            passed.add(next_)
            next_ = getattr(self._settings.host.extension(next_), "additional", None)
        first = self._settings.host.extension(self.additional)
        if not isinstance(first, ClientAuthenticator):
            raise self._wrong(f"{self.additional} is no authenticator for clients")
        return first

    def _wrong(self, message: str) -> ConfigError:
        path = ("extensions", str(self._settings.id), "additional_auth")
        return ConfigError([problem(NOWHERE, path, message)])

    @property
    def needs_tls(self) -> bool:
        """Whether the other authenticator needs it; headers of this one do not."""
        return self._first is not None and self._first.needs_tls

    def apply(self, headers: MutableMapping[str, str], metadata: Metadata) -> None:
        """See `ClientAuthenticator.apply`."""
        if self._first is not None:
            self._first.apply(headers, metadata)
        for header in self._headers:
            header.apply(headers, metadata)

    def __repr__(self) -> str:
        return f"<HeadersSetter {self._settings.id} headers={len(self._headers)}>"


def _create(config: Config, settings: Settings, next_: None) -> HeadersSetter:  # noqa: ARG001
    return HeadersSetter(config, settings)


FACTORY = Factory(
    kind=Kind.EXTENSION,
    type="headers_setter",
    config=Config,
    create=_create,
    stability=Stability.ALPHA,
)
