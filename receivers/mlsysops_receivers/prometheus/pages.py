"""One page: asked for, checked, decompressed, limited and fed to whoever reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_receivers.prometheus.fetch.client import FetchError
from mlsysops_receivers.prometheus.scrape import FEED_BYTES, ScrapeError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.memory import MemoryAccount
    from mlsysops_receivers.prometheus.fetch.client import Answer, Fetcher
    from mlsysops_receivers.prometheus.fetch.deadline import Deadline
    from mlsysops_receivers.prometheus.jobs import Job
    from mlsysops_receivers.prometheus.scrape import Scrape, TargetSeries
    from mlsysops_receivers.prometheus.targets import ScrapeTarget

_SLICE_S: Final = 0.005
"""How long a page may be read before others have their turn."""
_TURN_S: Final = 0.05
"""How long a page whose series are new is read before it is another one's turn."""
_STEP_BYTES_MIN: Final = 2 << 10
_PROTOBUF: Final = "application/vnd.google.protobuf"
_TEXT_TYPES: Final = frozenset({"text/plain", "application/openmetrics-text"})


class BodyTooLargeError(Exception):
    """A page above its limit.

    ``is_ceiling``: one of ours, not one of the job, and it was not said beforehand.
    """

    is_ceiling = False


class Page:
    """One page of one target. ``body_bytes``: decompressed, so far; charged until `drop`."""

    __slots__ = ("_clock", "_job", "_memory", "_target", "body_bytes", "media_type")

    def __init__(self, job: Job, target: ScrapeTarget, clock: Clock, memory: MemoryAccount) -> None:
        self._job = job
        self._target = target
        self._clock = clock
        self._memory = memory
        self.body_bytes = 0
        self.media_type = ""

    async def read(
        self,
        fetcher: Fetcher,
        series: TargetSeries,
        at_ns: int,
        *,
        admit: Callable[[int], None],
        deadline: Deadline,
        turn: asyncio.Lock,
    ) -> Scrape:
        """The page, read to its end, ready to be finished.

        ``admit``: asked as soon as the size of the body is known, may raise. ``turn``: which all
        pages share that have much to read. Raises `FetchError`, `ScrapeError` or
        `BodyTooLargeError`.
        """
        job, target = self._job, self._target
        timeout = f"X-Prometheus-Scrape-Timeout-Seconds: {target.timeout_s:g}\r\n"
        async with fetcher.get(target.url, job.fields + timeout) as answer:
            if answer.status != 200:
                raise FetchError(f"server returned HTTP status {answer.status_text}")
            scrape = series.begin(self._content_type(answer), at_ns)
            admit(self._announced(answer))
            await self._feed(answer, scrape, deadline, turn)
        return scrape

    def _content_type(self, answer: Answer) -> str:
        """As what the page is read. Raises `FetchError`."""
        content_type = answer.header("content-type")
        self.media_type = content_type.partition(";")[0].strip().lower()
        if self.media_type in _TEXT_TYPES:
            return content_type
        if self.media_type == _PROTOBUF:
            raise FetchError("it answers in the protobuf format, which was not asked for")
        return self._job.fallback_type

    def _announced(self, answer: Answer) -> int:
        """The size of the body, as far as it is said."""
        length = answer.header("content-length")
        size = int(length) if length.isascii() and length.isdigit() else 0
        if size > self._job.body_bytes_max:
            raise self._too_large()
        return size

    def _too_large(self) -> BodyTooLargeError:
        limit = self._job.body_bytes_max
        return BodyTooLargeError(f"body size limit exceeded: a page above {limit} bytes")

    async def _feed(
        self, answer: Answer, scrape: Scrape, deadline: Deadline, turn: asyncio.Lock
    ) -> None:
        """Feed the body while it comes."""
        async for piece in answer.pieces():
            self._memory.charge(len(piece))
            self.body_bytes += len(piece)
            if self.body_bytes > self._job.body_bytes_max:
                error = self._too_large()
                error.is_ceiling = not self._job.has_body_limit
                raise error
            fed = self._feed_quickly(scrape, piece)
            if fed < len(piece):
                # That we are busy is no fault of the target.
                deadline.pause()
                await self._feed_in_turn(scrape, piece, fed, turn)
                deadline.resume()

    def _feed_quickly(self, scrape: Scrape, piece: bytes) -> int:
        """Feed what takes no longer than `_SLICE_S`, which is all unless series are new."""
        monotonic = self._clock.monotonic
        until_s = monotonic() + _SLICE_S
        for start in range(0, len(piece), FEED_BYTES):
            scrape.feed(piece[start : start + FEED_BYTES])
            if monotonic() > until_s:
                return start + FEED_BYTES
        return len(piece)

    async def _feed_in_turn(
        self, scrape: Scrape, piece: bytes, start: int, turn: asyncio.Lock
    ) -> None:
        """Feed the rest in small steps, one page at a time: many at once would all be late."""
        clock, step = self._clock, FEED_BYTES // 2
        while start < len(piece):
            async with turn:
                now_s = clock.monotonic()
                turn_ends_s = now_s + _TURN_S
                while start < len(piece) and now_s < turn_ends_s:
                    began_s = now_s
                    scrape.feed(piece[start : start + step])
                    start += step
                    if clock.monotonic() - began_s > _SLICE_S:
                        step = max(step // 2, _STEP_BYTES_MIN)
                    await clock.sleep(0)
                    now_s = clock.monotonic()

    def explained(self, error: ScrapeError) -> str:
        """Why a page was not kept, with its type where that is the likely reason."""
        if self.media_type and self.media_type not in _TEXT_TYPES:
            return f"{error} (the page is {self.media_type[:100]!r})"
        return str(error)

    def drop(self) -> None:
        """Nothing of it is held any more."""
        self._memory.release(self.body_bytes)
        self.body_bytes = 0

    def __repr__(self) -> str:
        return f"<Page {self._target.url} bytes={self.body_bytes}>"
