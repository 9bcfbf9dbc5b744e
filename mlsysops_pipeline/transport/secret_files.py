"""Secrets that live in files and change while we run, as Kubernetes mounts and renews them.

A file is looked at every few seconds, in a worker thread, because a mounted volume may be slow.
When a changed file cannot be read or makes no sense, the last good content stays in use.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import Settings

Stamp: TypeAlias = "tuple[int, int, int]"

FILE_BYTES_MAX = 1 << 20
"""A file of secrets that is larger than this is a mistake in the configuration."""
LOOK_INTERVAL_S = 5.0
"""How long an old secret may stay in use."""


class SecretFile:
    """One file. ``use`` gets its text at `load` and after every change; it may raise `ValueError`.

    ``use`` replaces state at once and never awaits.
    """

    def __init__(self, path: str, use: Callable[[str], None], settings: Settings) -> None:
        self.path = Path(path)
        self._use = use
        self._settings = settings
        self._seen: Stamp | None = None
        self._is_failing = False

    async def load(self) -> None:
        """Read the file for the first time. Raises `OSError` that names the file."""
        stamp, text = await asyncio.to_thread(_read, self.path)
        try:
            self._use(text)
        except ValueError as error:
            raise OSError(f"{self.path}: {error}") from error
        self._seen = stamp

    async def watch(self, interval_s: float = LOOK_INTERVAL_S) -> NoReturn:
        """Never ends: look at the file again and again. For `Tasks.spawn_forever`."""
        while True:
            await self._settings.clock.sleep(interval_s)
            await self.look()

    async def look(self) -> bool:
        """Use the file if it changed. False: it cannot be used; that is logged once."""
        try:
            if await asyncio.to_thread(_stamp, self.path) != self._seen:
                await self.load()
                self._settings.logger.info("read %s again: it has changed", self.path)
        except OSError as error:
            if not self._is_failing:
                self._settings.logger.warning("keeping what %s said before: %s", self.path, error)
            self._is_failing = True
            return False
        self._is_failing = False
        return True

    def __repr__(self) -> str:
        return f"<SecretFile {self.path}>"


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> tuple[Stamp, str]:
    stamp = _stamp(path)
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise OSError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return stamp, data.decode()
    except UnicodeDecodeError as error:
        raise OSError(f"{path}: not UTF-8: {error}") from error
