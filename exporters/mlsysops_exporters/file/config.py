"""The keys of the file exporter (components, E3)."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from typing import Annotated, Literal

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Finding,
    Section,
    no_effect,
    refused,
)

_ZSTD_LEVEL_MAX = 22
_PERMISSION_BITS = 0o777


class RotationConfig(ComponentConfig):
    """When the file is put aside for a new one, and which of those put aside are kept."""

    max_megabytes: int = 100
    """Size of a file in MiB beyond which nothing is added to it. 0: 100."""
    max_days: int = 0
    """Files put aside longer ago than this are deleted. 0: never."""
    max_backups: int = 100
    """How many files put aside are kept. 0: all."""
    localtime: bool = False
    """Whether their names have local time instead of UTC."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        for name in ("max_megabytes", "max_days", "max_backups"):
            if getattr(self, name) < 0:
                yield Finding((name,), "must not be negative")

    @property
    def bytes_max(self) -> int:
        """The size of a file in bytes."""
        return (self.max_megabytes or 100) * 1024 * 1024


class CompressionParams(ComponentConfig):
    """How hard to compress."""

    level: int = 0
    """1 (fastest) to 22. 0: the default, 3."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not 0 <= self.level <= _ZSTD_LEVEL_MAX:
            yield Finding(("level",), f"must be from 0 to {_ZSTD_LEVEL_MAX}")


class GroupByConfig(ComponentConfig):
    """Files chosen by a resource attribute."""

    enabled: bool = False
    """Whether ``*`` in the path stands for the value of the resource attribute."""
    resource_attribute: str = "fileexporter.path_segment"
    """Its name. Resources that have no such string are dropped and counted."""
    max_open_files: int = 100
    """How many files are open at once. Above 0."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not self.enabled:
            return
        if not self.resource_attribute:
            message = "resource_attribute must not be empty when group_by is enabled"
            yield Finding(("resource_attribute",), message)
        if self.max_open_files <= 0:
            yield Finding(("max_open_files",), "must be positive")


class Config(ComponentConfig):
    """Keys of the file exporter."""

    path: str = ""
    """The file to write, relative to the working directory. Required."""
    append: bool = False
    """Whether a file that exists is continued. Otherwise it is emptied at start (but see
    ``rotation``, which continues it)."""
    format: Literal["json", "proto"] = "json"
    """``json``: OTLP/JSON, a line for each request. ``proto``: serialized requests, each behind
    its length in 4 bytes, big-endian."""
    encoding: Annotated[
        str | None, refused("there are no encoding extensions; use `format`", unless=None)
    ] = None
    """The encoding extension that would be used instead of ``format``."""
    compression: Literal["", "zstd"] = ""
    """``zstd``: each request is compressed by itself and stands behind its length, as in
    ``proto``. Empty: none."""
    compression_params: CompressionParams = CompressionParams()
    """How hard to compress."""
    flush_interval: Annotated[
        Duration, no_effect("each request is in the file before it is acknowledged", unless=1.0)
    ] = 1.0
    """How long the Collector may keep data in its own memory, in seconds."""
    rotation: Section[RotationConfig] = None
    """Begin a new file when this one is large. Off unless written."""
    create_directory: bool = False
    """Whether missing directories of ``path`` are created."""
    directory_permissions: str = ""
    """Their permissions, minus the umask, as octal digits. Empty: ``0755``."""
    group_by: GroupByConfig = GroupByConfig()
    """Several files, chosen by a resource attribute. Their directories are always created."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not self.path:
            yield Finding(("path",), "path must be non-empty")
        if self.append and self.rotation is not None:
            message = "append and rotation enabled at the same time is not supported"
            yield Finding(("append",), message)
        if self.group_by.enabled and self.path:
            if self.path.count("*") != 1:
                message = "path must contain exactly one * when group_by is enabled"
                yield Finding(("path",), message)
            elif self.path.startswith("*"):
                message = "path must not start with * when group_by is enabled"
                yield Finding(("path",), message)
        yield from self._check_permissions()

    def _check_permissions(self) -> Iterable[Finding]:
        text = self.directory_permissions
        if not text:
            return
        path = ("directory_permissions",)
        if not self.create_directory and not self.group_by.enabled:
            yield Finding(path, "directory_permissions requires create_directory to be true")
        try:
            bits = int(text, 8)
        except ValueError:
            message = "directory_permissions value must be a valid octal representation"
            yield Finding(path, message, suggestion="0755")
            return
        if not 0 <= bits <= _PERMISSION_BITS:
            message = "directory_permissions contain invalid bits for file access"
            yield Finding(path, message, suggestion="0755")

    @property
    def directory_mode(self) -> int:
        """The permissions of directories, as a number."""
        return int(self.directory_permissions or "0755", 8)

    @property
    def is_framed(self) -> bool:
        """Whether requests stand behind their length instead of on lines."""
        return self.format == "proto" or bool(self.compression)
