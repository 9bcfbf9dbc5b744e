"""Targets from an HTTP server (`http_sd_configs`), asked in regular intervals.

A failure of any kind keeps the targets of the last answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from mlsysops_pipeline.version import user_agent
from mlsysops_receivers.prometheus.discovery.lists import LIST_BYTES_MAX, ListError, read_json
from mlsysops_receivers.prometheus.fetch.client import FetchError
from mlsysops_receivers.prometheus.fetch.deadline import Deadline
from mlsysops_receivers.prometheus.fetch.urls import Url
from mlsysops_receivers.prometheus.scalars import seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.clock import Clock
    from mlsysops_receivers.prometheus.discovery.problems import Problems
    from mlsysops_receivers.prometheus.discovery_config import HttpDiscoveryConfig
    from mlsysops_receivers.prometheus.fetch.client import Fetcher
    from mlsysops_receivers.prometheus.targets import Group

TIMEOUT_S: Final = 60.0
"""How long an answer may take; the refresh interval where that is shorter."""
_TYPE: Final = "application/json"


class HttpDiscovery:
    """One entry of `http_sd_configs`. ``publish`` gets all groups, whenever they change."""

    def __init__(
        self,
        config: HttpDiscoveryConfig,
        fetcher: Fetcher,
        clock: Clock,
        problems: Problems,
        publish: Callable[[tuple[Group, ...]], None],
    ) -> None:
        self._url = Url.parse(config.url.text)
        self._source = str(self._url)  # without name and password
        self._refresh_s = config.refresh_interval.seconds
        self._fetcher = fetcher
        self._clock = clock
        self._problems = problems
        self._publish = publish
        self._groups: tuple[Group, ...] | None = None
        self._fields = "".join(
            f"{line}\r\n"
            for line in (
                f"User-Agent: {user_agent()}",
                f"Accept: {_TYPE}",
                "Accept-Encoding: gzip",
                f"X-Prometheus-Refresh-Interval-Seconds: {config.refresh_interval.seconds:g}",
            )
        )

    async def run(self) -> NoReturn:
        """Ask, wait, ask again. For `Tasks.spawn_forever`."""
        while True:
            await self.look()
            await self._clock.sleep(self._refresh_s)

    async def look(self) -> None:
        """Ask once."""
        limit_s = min(TIMEOUT_S, self._refresh_s)
        try:
            with Deadline(self._clock, limit_s):
                groups = await self._ask()
        except TimeoutError:
            self._failed(f"no answer within {seconds_text(limit_s)}")
        except (FetchError, ListError, ValueError) as error:
            self._failed(str(error))
        else:
            self._problems.settle(self._source)
            if groups != self._groups:
                self._groups = groups
                self._publish(groups)

    def _failed(self, reason: str) -> None:
        kept = sum(len(group.addresses) for group in self._groups or ())
        message = f"{self._source}: {reason}; keeping the {kept} targets it had"
        self._problems.note(self._source, message)

    async def _ask(self) -> tuple[Group, ...]:
        async with self._fetcher.get(self._url, self._fields) as answer:
            if answer.status != 200:
                raise FetchError(f"server returned HTTP status {answer.status_text}")
            media_type = answer.header("content-type").partition(";")[0].strip().lower()
            if media_type != _TYPE:
                raise FetchError(f'unsupported content type "{media_type}"; it must be {_TYPE}')
            text = bytearray()
            async for piece in answer.pieces():
                text += piece
                if len(text) > LIST_BYTES_MAX:
                    raise FetchError(f"a list above {LIST_BYTES_MAX} bytes")
        return read_json(bytes(text), self._source, {"__meta_url": self._source})

    def __repr__(self) -> str:
        return f"<HttpDiscovery {self._url}>"
