"""One file that grows, and is put aside when it is large. Blocking: only for a worker thread.

What was written before a failure is taken back, so that a file never holds half a request; one
that has been put aside is complete and on the disk. Nothing is kept in memory: when `write`
returns, the data is with the operating system, and survives the end of this process.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlsysops_exporters.file.config import RotationConfig

_FILE_MODE = 0o644
_TIME_FORMAT = "%Y-%m-%dT%H-%M-%S"
_NO_SYNC = frozenset({errno.EINVAL, errno.EROFS, errno.ENOTSUP, errno.ENOSYS})


class OutputFile:
    """A file at ``path``. ``unix_ns`` tells the time for the names of files put aside.

    ``report(what)`` is told what went wrong without a loss.
    """

    def __init__(
        self,
        path: Path,
        rotation: RotationConfig | None,
        unix_ns: Callable[[], int],
        report: Callable[[str], None],
    ) -> None:
        self.path = path
        self._rotation = rotation
        self._unix_ns = unix_ns
        self._report = report
        self._fd = -1
        self._size = 0
        self._is_regular = True

    def open(self, *, truncate: bool) -> None:
        """Open or create the file. Raises `OSError`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        if truncate:
            flags |= os.O_TRUNC
        fd = os.open(self.path, flags, _FILE_MODE)
        status = os.fstat(fd)
        self._fd = fd
        self._size = status.st_size
        self._is_regular = stat.S_ISREG(status.st_mode)

    def write(self, data: bytes) -> None:
        """Add ``data``, or raise `OSError` and leave the file as it was."""
        if self._fd < 0:  # a new file could not be created after the last one was put aside
            self.open(truncate=False)
        rotation = self._rotation
        if rotation and self._size and self._size + len(data) > rotation.bytes_max:
            self._rotate(rotation)
        written = 0
        view = memoryview(data)
        try:
            while written < len(data):
                written += os.write(self._fd, view[written:])
        except OSError:
            if written and self._is_regular:
                self._take_back(written)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Bring everything to the disk and close. Raises `OSError` if the disk refuses."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _NO_SYNC:  # pipes and terminals have no disk
                raise
        finally:
            os.close(fd)

    def _take_back(self, count: int) -> None:
        """Remove the last bytes of the file, which a failed write left."""
        try:
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - count)
        except OSError as error:
            self._report(f"{self.path} may end with half a request: {error}")

    def _rotate(self, rotation: RotationConfig) -> None:
        self.close()
        self.path.rename(self._backup_path(rotation))
        self.open(truncate=False)
        try:
            self._delete_old(rotation)
        except OSError as error:
            self._report(f"old files beside {self.path} were not deleted: {error}")

    def _backup_path(self, rotation: RotationConfig) -> Path:
        """A free name with the time in it, to the millisecond, in front of the suffix."""
        milliseconds = self._unix_ns() // 1_000_000
        while True:
            seconds, rest = divmod(milliseconds, 1000)
            zone = None if rotation.localtime else dt.UTC
            moment = dt.datetime.fromtimestamp(seconds, tz=zone)
            stamp = f"{moment.strftime(_TIME_FORMAT)}.{rest:03d}"
            path = self.path.with_name(f"{self.path.stem}-{stamp}{self.path.suffix}")
            if not path.exists():
                return path
            milliseconds += 1

    def _delete_old(self, rotation: RotationConfig) -> None:
        if not rotation.max_backups and not rotation.max_days:
            return
        stem, suffix = re.escape(self.path.stem), re.escape(self.path.suffix)
        pattern = re.compile(rf"{stem}-(\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{{3}})(-\w+)?{suffix}")
        backups = sorted(
            (
                (match[1], path)
                for path in self.path.parent.iterdir()
                if (match := pattern.fullmatch(path.name))
            ),
            reverse=True,
        )
        oldest = ""
        if rotation.max_days:
            zone = None if rotation.localtime else dt.UTC
            now = dt.datetime.fromtimestamp(self._unix_ns() / 1e9, tz=zone)
            oldest = (now - dt.timedelta(days=rotation.max_days)).strftime(_TIME_FORMAT)
        for index, (stamp, path) in enumerate(backups):
            if (rotation.max_backups and index >= rotation.max_backups) or stamp < oldest:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def __repr__(self) -> str:
        return f"<OutputFile {self.path} bytes={self._size}>"
