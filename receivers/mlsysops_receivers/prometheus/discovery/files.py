"""Targets from files (`file_sd_configs`), which are looked at every second.

A file that has changed is read when it has stayed as it is for one look, since whoever writes it
may be in the middle; one that is gone counts as gone at the second look. A file that cannot be
used, an empty one among them, keeps the targets that it had: `[]` says that there are none.
"""

from __future__ import annotations

import asyncio
import glob
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from mlsysops_receivers.prometheus.discovery.lists import (
    LIST_BYTES_MAX,
    ListError,
    read_json,
    read_yaml,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.clock import Clock
    from mlsysops_receivers.prometheus.discovery.problems import Problems
    from mlsysops_receivers.prometheus.discovery_config import FileDiscoveryConfig
    from mlsysops_receivers.prometheus.targets import Group

LOOK_INTERVAL_S: Final = 1.0
FILES_MAX: Final = 10_000
"""Files of one entry of `file_sd_configs`."""

Stamp: TypeAlias = "tuple[int, int, int]"


class FileDiscovery:
    """One entry of `file_sd_configs`. ``publish`` gets all groups, whenever they change."""

    def __init__(
        self,
        config: FileDiscoveryConfig,
        clock: Clock,
        problems: Problems,
        publish: Callable[[tuple[Group, ...]], None],
    ) -> None:
        self._patterns = config.files
        self._refresh_s = config.refresh_interval.seconds
        self._clock = clock
        self._problems = problems
        self._publish = publish
        self._groups: dict[str, tuple[Group, ...]] = {}
        self._used: dict[str, Stamp] = {}
        self._seen: dict[str, Stamp] | None = None
        self._missing: set[str] = set()
        self._read_all_s = 0.0

    async def run(self) -> NoReturn:
        """Look, wait, look again. For `Tasks.spawn_forever`."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_INTERVAL_S)

    async def look(self) -> None:
        """Read what is new or has changed, and forget what is gone."""
        stamps = await asyncio.to_thread(_scan, self._patterns)
        before, self._seen = self._seen, stamps
        is_first = before is None
        if is_first:
            self._complain_about_missing(stamps)
        now_s = self._clock.monotonic()
        is_due = is_first or now_s - self._read_all_s >= self._refresh_s
        if is_due:
            self._read_all_s = now_s
        changed = self._forget_missing(stamps)
        for path, stamp in stamps.items():
            has_settled = before is None or before.get(path) == stamp
            if has_settled and (is_due or self._used.get(path) != stamp):
                self._used[path] = stamp
                changed |= await self._read(path)
        if changed or is_first:
            self._publish(
                tuple(group for path in sorted(self._groups) for group in self._groups[path])
            )

    def _complain_about_missing(self, stamps: dict[str, Stamp]) -> None:
        for pattern in self._patterns:
            if "*" not in pattern and pattern not in stamps:
                self._problems.note(pattern, f'file "{pattern}" does not exist; it is waited for')

    def _forget_missing(self, stamps: dict[str, Stamp]) -> bool:
        """Whether targets went with files that have been missing for two looks."""
        missing = {path for path in self._used if path not in stamps}
        gone = missing & self._missing
        self._missing = missing - gone
        for path in gone:
            del self._used[path]
            self._problems.settle(path)
        return bool([self._groups.pop(path) for path in gone if path in self._groups])

    async def _read(self, path: str) -> bool:
        """Whether a file has other targets than before."""
        try:
            groups = await asyncio.to_thread(read_file, path)
        except ListError as error:
            kept = sum(len(group.addresses) for group in self._groups.get(path, ()))
            self._problems.note(path, f"{error}; keeping the {kept} targets it had")
            return False
        self._problems.settle(path)
        known = self._groups.get(path)
        self._groups[path] = groups
        return groups != known

    def __repr__(self) -> str:
        return f"<FileDiscovery {list(self._patterns)} files={len(self._groups)}>"


def _scan(patterns: tuple[str, ...]) -> dict[str, Stamp]:
    """The files there are, by path."""
    stamps: dict[str, Stamp] = {}
    for pattern in patterns:
        is_many = "*" in pattern
        paths = sorted(glob.glob(pattern)) if is_many else [pattern]  # noqa: PTH207  as written
        for path in paths:
            try:
                status = Path(path).stat()
            except OSError:
                continue
            if len(stamps) < FILES_MAX:
                stamps[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return stamps


def read_file(path: str) -> tuple[Group, ...]:
    """The groups of a file. It blocks. Raises `ListError`."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(LIST_BYTES_MAX + 1)
    except OSError as error:
        raise ListError(f"{path}: {error.strerror or error}") from error
    if len(text) > LIST_BYTES_MAX:
        raise ListError(f"{path}: larger than {LIST_BYTES_MAX} bytes")
    if not text.strip():
        raise ListError(f"{path}: empty, perhaps half written (write [] for no targets)")
    read = read_json if path.endswith(".json") else read_yaml
    return read(text, path, {"__meta_filepath": path})
