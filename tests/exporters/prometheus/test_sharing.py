"""Readers share pages, and memory is held for no more than a few of them (conformance OM-5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mlsysops_exporters.prometheus.sharing import Page, Pages
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.testing import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Press:
    """Makes pages of one piece when it is let."""

    def __init__(self, pages_max: int = 9) -> None:
        self.memory = MemoryAccount()
        self.begun: list[str] = []
        self.go_on = asyncio.Event()
        self.fails = False
        self.pages: Pages[str] = Pages(self._make, self.memory, pages_max)

    async def _make(self, kind: str) -> AsyncIterator[bytes]:
        number = len(self.begun)
        self.begun.append(kind)
        yield b"begun "
        await self.go_on.wait()
        if self.fails:
            raise ValueError("no page")
        yield f"{kind} {number}".encode()

    def reading(self, kind: str = "text") -> asyncio.Task[Page]:
        return asyncio.get_running_loop().create_task(self.pages.read(kind))


def content(page: Page) -> str:
    return b"".join(page.pieces or ()).decode()


async def test_who_asks_before_it_is_begun_gets_the_same_page() -> None:
    press = Press()
    before = press.reading()
    await settle()
    readers = [press.reading(kind) for kind in ("text", "text", "open")]
    await settle()
    press.go_on.set()
    first, second, other = await asyncio.gather(*readers)
    assert first is second
    assert ["begun text 1", "begun open 2"] == [content(first), content(other)]
    press.pages.finished(await before)
    assert len("begun text 1") + len("begun open 2") == press.memory.in_flight
    press.pages.finished(first)
    assert "begun text 1" == content(second)
    press.pages.finished(second)
    press.pages.finished(other)
    assert 0 == press.memory.in_flight
    assert "<Pages kept=0 asked_for=0>" == repr(press.pages)


async def test_who_asks_later_gets_what_came_meanwhile() -> None:
    press = Press()
    first = press.reading()
    await settle()
    late = [press.reading(), press.reading()]
    await settle()
    assert ["text"] == press.begun
    press.go_on.set()
    assert "begun text 0" == content(await first)
    pages = await asyncio.gather(*late)
    assert ["begun text 1"] * 2 == [content(page) for page in pages]


async def test_one_page_is_made_at_a_time() -> None:
    press = Press()
    reading = [press.reading(kind) for kind in ("a", "b", "c")]
    await settle()
    assert ["a"] == press.begun
    press.go_on.set()
    await asyncio.gather(*reading)
    assert ["a", "b", "c"] == press.begun


async def test_pages_that_nobody_has_read_keep_others_from_being_made() -> None:
    press = Press(pages_max=2)
    press.go_on.set()
    kept = [await press.reading(), await press.reading()]
    waiting = [press.reading(), press.reading("open"), press.reading()]
    await settle()
    assert 2 == len(press.begun)
    assert 2 * len("begun text 0") == press.memory.in_flight
    for page in kept:
        press.pages.finished(page)
    for page in await asyncio.gather(*waiting):
        press.pages.finished(page)
    assert 0 == press.memory.in_flight


@pytest.mark.parametrize("begun", [True, False])
async def test_readers_who_go_away_take_nothing_from_the_others(begun: bool) -> None:
    press = Press()
    before = None if begun else press.reading("other")
    await settle()
    maker, patient, impatient = press.reading(), press.reading(), press.reading()
    await settle()
    for reader in (maker, impatient):
        reader.cancel()
    await settle()
    press.go_on.set()
    page = await patient
    assert content(page).startswith("begun text")
    assert 1 == page.readers
    press.pages.finished(page)
    if before is not None:
        press.pages.finished(await before)
    assert 0 == press.memory.in_flight
    assert "<Pages kept=0 asked_for=0>" == repr(press.pages)


async def test_when_all_go_away_nothing_is_left() -> None:
    press = Press(pages_max=1)
    for _ in range(3):
        readers = [press.reading(), press.reading()]
        await settle()
        for reader in reversed(readers):
            reader.cancel()
            await settle()
        assert 0 == press.memory.in_flight
        assert "<Pages kept=0 asked_for=0>" == repr(press.pages)


async def test_a_page_that_cannot_be_made_leaves_nothing() -> None:
    press = Press(pages_max=1)
    press.fails = True
    press.go_on.set()
    readers = [press.reading(), press.reading()]
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert [ValueError, ValueError] == [type(each) for each in found]
    assert 0 == press.memory.in_flight
    press.fails = False
    assert content(await press.reading()).startswith("begun text")
