"""Pages that several readers share: one is made at a time, a few are kept until they are read.

A large page takes a few tenths of a second to make and as many megabytes as it has. Readers who ask
for the same kind of page before one is begun get the same one, and never one that was begun before
they asked. So memory does not grow with the number of readers, nor with how slow they are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mlsysops_pipeline.memory import MemoryAccount

PAGES_MAX: Final = 4
"""Pages that are kept at a time. Who asks for another one waits until one of them is read."""

K = TypeVar("K")


@dataclass(eq=False, slots=True)
class Page:
    """One page. ``pieces``: ``None`` until it is made. ``readers``: who waits for it or reads."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    pieces: tuple[bytes, ...] | None = None
    readers: int = 0
    charged: int = 0


class Pages(Generic[K]):
    """Makes and keeps pages. ``make(kind)`` gives the pieces of one; charged to ``memory``."""

    def __init__(
        self,
        make: Callable[[K], AsyncIterator[bytes]],
        memory: MemoryAccount,
        pages_max: int,
    ) -> None:
        self._make = make
        self._memory = memory
        self._places = asyncio.Semaphore(pages_max)
        self._turn = asyncio.Lock()
        self._asked_for: dict[K, Page] = {}
        """Not begun yet, so that others may still have them too."""
        self._kept = 0

    async def read(self, kind: K) -> Page:
        """A page, made; whoever gets it must call `finished` once."""
        page = self._asked_for.setdefault(kind, Page())
        page.readers += 1
        try:
            # Should the reader that makes it go away, the next one does.
            async with page.lock:
                if page.pieces is None:
                    await self._fill(kind, page)
        except BaseException:
            self.finished(page)
            if not page.readers:
                self._begin(kind, page)  # there is nobody to do so
            raise
        return page

    async def _fill(self, kind: K, page: Page) -> None:
        await self._places.acquire()
        self._kept += 1
        pieces: list[bytes] = []
        try:
            async with self._turn:
                self._begin(kind, page)
                async for piece in self._make(kind):
                    pieces.append(piece)
                    page.charged += len(piece)
                    self._memory.charge(len(piece))
        except BaseException:
            self._let_go(page)
            raise
        page.pieces = tuple(pieces)

    def _begin(self, kind: K, page: Page) -> None:
        if self._asked_for.get(kind) is page:
            del self._asked_for[kind]

    def finished(self, page: Page) -> None:
        """A reader needs a page no longer."""
        page.readers -= 1
        if not page.readers and page.pieces is not None:
            self._let_go(page)

    def _let_go(self, page: Page) -> None:
        self._memory.release(page.charged)
        page.charged = 0
        page.pieces = None
        self._kept -= 1
        self._places.release()

    def __repr__(self) -> str:
        return f"<Pages kept={self._kept} asked_for={len(self._asked_for)}>"
