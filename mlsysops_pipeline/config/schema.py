"""What component authors build their `Config` from.

    class Config(ComponentConfig):
        endpoint: NetAddress = NetAddress("localhost", 4317)
        timeout: Duration = 5.0
        tls: Section[TlsServerConfig] = None
        headers: Headers = ()
        read_buffer_size: Annotated[int, no_effect("asyncio sizes its buffers itself")] = 0

A string literal under a field is its documentation. Types are strict as in the Collector (service
behaviour, section 1.2): a number is no string, ``"true"`` is no bool. Plain `str`, `int`, `float`,
`bool`, `Literal`, enums, `tuple[X, ...]`, `dict[str, X]` and nested models work as one expects;
the types of this module add what the Collector's files need. Any class with
``parse(text) -> Self`` that raises `ValueError` is read from a string; with
``takes_scalars = True`` from numbers and bools too, as they are written.

Files are read by `decode`; a model that is constructed in code takes Python values (a `Duration`
is seconds).
"""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from mlsysops_pipeline.config.problems import Path, Severity
from mlsysops_pipeline.config.values import (
    REDACTED,
    NetAddress,
    Opaque,
    format_duration,
    parse_duration,
    split_host_port,
    without_password,
)
from mlsysops_pipeline.ids import ComponentID, PipelineID

__all__ = [
    "REDACTED",
    "CaseInsensitive",
    "ComponentConfig",
    "Duration",
    "Endpoint",
    "ExtensionRef",
    "Finding",
    "Headers",
    "NetAddress",
    "Opaque",
    "Section",
    "Severity",
    "WhenWritten",
    "deprecated",
    "format_duration",
    "no_effect",
    "parse_duration",
    "refused",
    "split_host_port",
    "without_password",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `ComponentConfig.check` found. ``path`` starts at the model that found it."""

    path: Path
    message: str
    severity: Severity = Severity.ERROR
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A socket that a component listens on or sends to.

    ``path`` leads from the model to the key that says so. ``host`` empty, ``0.0.0.0`` and ``::``
    mean every interface; ``port`` 0 means any free one. For a unix socket ``host`` is
    ``unix:PATH`` and ``port`` 0.
    """

    path: Path
    host: str
    port: int

    @classmethod
    def of(cls, path: Path, address: NetAddress) -> Endpoint:
        """The endpoint of an address."""
        if address.unix_path:
            return cls(path, f"unix:{address.unix_path}", 0)
        return cls(path, address.host, address.port)


class ComponentConfig(BaseModel):
    """Base of every section of a configuration file. Frozen; unknown keys are errors.

    The hooks below are called on every model, nested ones too, after its keys were found right;
    each speaks for its own keys. They do no I/O.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
        defer_build=True,  # most models of a program are in no file
    )

    belongs_first: ClassVar[bool] = False
    """Of a processor: another processor in front of it defeats its purpose (a warning)."""
    acknowledges_from_memory: ClassVar[bool] = False
    """Of a processor: it takes responsibility before the next stage did (a warning in front of
    an exporter that delivers from storage)."""

    if not TYPE_CHECKING:

        def __init__(self, /, **values: Any) -> None:
            """Defaults alone need no validator; building one takes a millisecond of the start."""
            model = type(self)
            is_required = any(field.is_required() for field in model.model_fields.values())
            if values or is_required or not has_plain_rules(model):
                super().__init__(**values)
            else:
                self.__setstate__(model.model_construct().__getstate__())

    def check(self) -> Iterable[Finding]:
        """Rules over several keys. Every finding is reported, with the place of its key."""
        return ()

    def listeners(self) -> Iterable[Endpoint]:
        """The sockets that the component will listen on, so that clashes are found early."""
        return ()

    def destinations(self) -> Iterable[Endpoint]:
        """The peers that the component will send to, so that loops are found early."""
        return ()

    def sends_to(self) -> Iterable[tuple[Path, ComponentID | PipelineID]]:
        """Whom a component that chooses sends to, each with the place of its key.

        Of a connector pipelines, of a processor exporters; they must be where it can reach them.
        """
        return ()

    def delivers_from_storage(self) -> bool:
        """Of an exporter: whether accepted data survives a crash of this process."""
        return False


@cache
def has_plain_rules(model: type[BaseModel]) -> bool:
    """Whether the fields say all that pydantic knows about a model: it has no validators."""
    rules = model.__pydantic_decorators__
    return (
        issubclass(model, ComponentConfig)
        and model.__init__ is ComponentConfig.__init__
        and model.model_config == ComponentConfig.model_config
        and not (rules.validators or rules.field_validators)
        and not (rules.root_validators or rules.model_validators)
    )


@dataclass(frozen=True, slots=True)
class DurationText:
    """Marks seconds that files write as Go durations."""


Duration: TypeAlias = Annotated[float, DurationText()]
"""Seconds. Files write ``5s``, ``200ms``, ``1h30m``; a bare integer counts nanoseconds there and is
warned about. Never negative."""


@dataclass(frozen=True, slots=True)
class HeaderPairs:
    """Marks headers: a map, or a list of ``{name, value}``."""


Headers: TypeAlias = Annotated[tuple[tuple[str, Opaque], ...], HeaderPairs()]
"""Header names, as written, and secret values. Files write a map or a list of ``{name, value}``."""


@dataclass(frozen=True, slots=True)
class OptionalSection:
    """Marks a section that can be left out or switched off by ``enabled: false``."""


Section: TypeAlias = Annotated[T | None, OptionalSection()]
"""A nested model that is on or off (``None``). Written with nothing behind it: on, with defaults.
``enabled: false``: off, whatever else stands there. Default ``None``: off unless written;
``Field(default_factory=Model)``: on unless switched off."""


@dataclass(frozen=True, slots=True)
class ExtensionName:
    """Marks ids of extensions; the check wants them defined and listed in service.extensions."""


ExtensionRef: TypeAlias = Annotated[ComponentID, ExtensionName()]
"""The id of an extension, as in ``auth.authenticator`` or ``sending_queue.storage``."""


@dataclass(frozen=True, slots=True)
class CaseInsensitive:
    """Put into `Annotated` beside a `Literal` or enum whose words may be written in any case."""


@dataclass(frozen=True, slots=True)
class WhenWritten:
    """Reported at a key's position when a file has the key (but see ``unless``)."""

    severity: Severity
    message: str
    unless: Any = ...
    """The value with which nothing is reported."""

    @property
    def is_final(self) -> bool:
        """Whether no value of the key is accepted."""
        return self.severity is Severity.ERROR and self.unless is ...


def no_effect(reason: str, *, unless: Any = ...) -> WhenWritten:
    """A key that is accepted and does nothing here: a warning.

    ``unless``: the value that asks for what this program does anyway.
    """
    return WhenWritten(Severity.WARNING, f"has no effect here: {reason}", unless)


def deprecated(advice: str) -> WhenWritten:
    """A key that works but has a better one: a warning. ``advice``: "use X"."""
    return WhenWritten(Severity.WARNING, f"is deprecated: {advice}")


def refused(reason: str, *, unless: Any = ...) -> WhenWritten:
    """A key whose neglect would change which data arrives, or its security: an error.

    ``unless``: the value with which nothing would change, usually the Collector's default.
    """
    return WhenWritten(Severity.ERROR, f"is not supported: {reason}", unless)
