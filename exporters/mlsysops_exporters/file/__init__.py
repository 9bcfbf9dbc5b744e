"""Writes telemetry to files: lines of OTLP/JSON, or serialized requests.

The Collector's `otlp_json_file` receiver reads the lines. Files can be rotated and compressed, and
there can be one for each value of a resource attribute.

An export returns when the data is with the operating system, so an acknowledged request survives
the end of this process; rotation and shutdown bring it to the disk. A full disk or another passing
trouble is a `RetryableError`, and leaves no half request behind. With several files a retry may
write again what the first attempt had written to some of them.

All work on files happens in one thread of our own, in order.
"""

from __future__ import annotations

import asyncio
import errno
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mlsysops_exporters.file.config import Config
from mlsysops_exporters.file.groups import by_attribute, path_of
from mlsysops_exporters.file.output import OutputFile
from mlsysops_pipeline.component import ExportResult, Factory, Kind, Settings, Stability
from mlsysops_pipeline.errors import (
    DropReason,
    MalformedError,
    PermanentError,
    RetryableError,
)
from mlsysops_pipeline.pdata.counting import count_items
from mlsysops_pipeline.pdata.otlp_json import encode
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.transport.compression import compress

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload

_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EINTR,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EBUSY,
    }
)
"""Troubles that may pass, or that somebody will be called to end: the data is worth keeping."""

_REMEMBERED_PATHS_MAX = 10_000


class FileExporter:
    """Implements `Exporter`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._thread: ThreadPoolExecutor | None = None
        self._is_stopped = False
        # What follows belongs to the thread.
        self._files: OrderedDict[str, OutputFile] = OrderedDict()
        self._begun: set[str] = set()

    async def start(self) -> None:
        """Open the file, if the path names one. Raises `OSError`."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"file {self._settings.id}")
        if not self._config.group_by.enabled:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open_only)

    async def shutdown(self) -> None:
        """Write what is waiting, bring everything to the disk, and close."""
        self._is_stopped = True
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
        finally:
            thread.shutdown(wait=False)

    async def export(self, payload: Payload) -> ExportResult | None:
        """Write a payload: see `Exporter.export`."""
        if self._thread is None or self._is_stopped:
            raise RetryableError("the file exporter is not running")
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._export, payload
            )
        except MalformedError as error:
            raise PermanentError(
                error.message, code=error.code, reason=DropReason.MALFORMED
            ) from error
        except OSError as error:
            message = f"cannot write {error.filename or self._config.path}: {error.strerror}"
            if error.errno in _PASSING:
                raise RetryableError(message) from error
            raise PermanentError(message, reason=DropReason.EXPORT_ERROR) from error

    def _export(self, payload: Payload) -> ExportResult | None:
        """Encode everything before anything is written, so that bad data leaves no trace."""
        if not self._config.group_by.enabled:
            data = b"".join(self._record(payload.signal, wire) for wire in payload.wires)
            self._file(self._config.path).write(data)
            return None
        signal, attribute = payload.signal, self._config.group_by.resource_attribute
        rejected = 0
        by_path: dict[str, tuple[bytes, int]] = {}
        for wire in payload.wires:
            for segment, part in by_attribute(signal, wire, attribute).items():
                items = count_items(signal, part)
                if segment is None:
                    rejected += items
                    continue
                path = path_of(self._config.path, segment)
                data, sum_ = by_path.get(path, (b"", 0))
                by_path[path] = (data + self._record(signal, part), sum_ + items)
        message = f"resources without the attribute {attribute} have no file" if rejected else ""
        for path, (data, items) in by_path.items():
            try:
                self._file(path).write(data)
            except OSError as error:
                if error.errno in _PASSING:
                    raise
                rejected += items  # a name that cannot be, for example: the others are fine
                message = f"cannot write {path}: {error.strerror}"
        return ExportResult(rejected, message) if rejected else None

    def _record(self, signal: Signal, wire: bytes) -> bytes:
        config = self._config
        data = wire if config.format == "proto" else encode(signal, wire)
        if config.compression:
            data = compress(config.compression, data, config.compression_params.level or None)
        if config.is_framed:
            return len(data).to_bytes(4, "big") + data
        return data + b"\n"

    def _open_only(self) -> None:
        path = Path(self._config.path)
        if self._config.create_directory:
            _make_directories(path.parent, self._config.directory_mode)
        self._file(self._config.path)

    def _file(self, path: str) -> OutputFile:
        """The open file of a path. The one that was not used for longest makes room for it."""
        file = self._files.get(path)
        if file is not None:
            self._files.move_to_end(path)
            return file
        if self._config.group_by.enabled:
            _make_directories(Path(path).parent, self._config.directory_mode)
            if len(self._files) >= self._config.group_by.max_open_files:
                self._files.popitem(last=False)[1].close()
        unix_ns, logger = self._settings.clock.unix_ns, self._settings.logger
        file = OutputFile(Path(path), self._config.rotation, unix_ns, logger.warning)
        file.open(truncate=self._begins(path))
        self._files[path] = file
        return file

    def _begins(self, path: str) -> bool:
        """Whether the file is to be emptied: only when this process opens it for the first time.

        Beyond a number of files that is not remembered, and no file is emptied.
        """
        if self._config.append or self._config.rotation is not None:
            return False
        if path in self._begun or len(self._begun) >= _REMEMBERED_PATHS_MAX:
            return False
        self._begun.add(path)
        return True

    def _close(self) -> None:
        while self._files:
            path, file = self._files.popitem()
            try:
                file.close()
            except OSError as error:
                self._settings.logger.error(  # noqa: TRY400  not our traceback
                    "what was written to %s may not be on the disk: %s", path, error
                )

    def __repr__(self) -> str:
        return f"<FileExporter {self._settings.id} open={len(self._files)}>"


def _make_directories(directory: Path, mode: int) -> None:
    """Create a directory and its parents, all with the same permissions (minus the umask)."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode, exist_ok=True)


def _create(config: Config, settings: Settings, next_: None) -> FileExporter:  # noqa: ARG001
    return FileExporter(config, settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="file",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.ALPHA,
)
