"""The client of one job: connections that are kept, identity, redirects, decompression, proxies.

Whatever goes wrong is a `FetchError` with one line that says what; a deadline is the caller's
(`Deadline`), and leaving the block that an answer is used in closes or keeps its connection.
"""

from __future__ import annotations

import asyncio
import http
import os
import ssl
from typing import TYPE_CHECKING, Any, Final, Self

from mlsysops_pipeline import open_files
from mlsysops_pipeline.transport.dialing import Target, open_socket, resolve
from mlsysops_pipeline.transport.proxies import tunnel
from mlsysops_pipeline.transport.tls import ContextSource, client_context
from mlsysops_receivers.prometheus.fetch.answers import AnswerFault
from mlsysops_receivers.prometheus.fetch.connection import Connection
from mlsysops_receivers.prometheus.fetch.identity import Identity
from mlsysops_receivers.prometheus.fetch.inflate import InflateError, Inflater
from mlsysops_receivers.prometheus.fetch.names import Names
from mlsysops_receivers.prometheus.fetch.routes import proxy_for

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from types import TracebackType

    from mlsysops_pipeline.clock import Timer
    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.transport.proxies import Proxy
    from mlsysops_receivers.prometheus.client_config import ClientConfig
    from mlsysops_receivers.prometheus.fetch.answers import Head
    from mlsysops_receivers.prometheus.fetch.urls import Url

REDIRECTS_MAX: Final = 10
CERTIFICATES_MAX_AGE_S: Final = 60.0
"""How old a reading of certificate files may get."""
IDLE_MAX: Final = 10_000
"""Connections that one client keeps between requests, and a quarter of the files that this process
may open; what is beyond that connects anew each time."""
IDLE_MAX_S: Final = 120.0
"""How long they are kept: after a few minutes what is in between may have forgotten them, and then
a request is never answered."""
_ANSWERS_ELSEWHERE: Final = frozenset({301, 302, 303, 307, 308})
_LEFTOVER_BYTES_MAX: Final = 64 << 10

_Origin = tuple[str, str, int]


class FetchError(Exception):
    """There is no answer, or none that can be used. The text is one line that says why."""


class Fetcher:
    """Implements GET for one `ClientConfig`. `open` first; `close` is safe at any time."""

    def __init__(self, config: ClientConfig, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._identity = Identity(config, settings)
        self._tls: ContextSource | None = None
        self._names = Names()
        self._contexts_turn = asyncio.Lock()
        self._idle: dict[_Origin, list[Connection]] = {}
        self._idle_count = 0
        self._idle_max = min(IDLE_MAX, open_files.limit() // 4)
        self._sweeper: Timer | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Read what files the configuration names. Raises `OSError` that names one."""
        await self._identity.load()
        tls = self._config.tls_config
        if tls.ca_file or tls.cert_file or tls.key_file or tls.ca or tls.cert:
            self._tls = await asyncio.to_thread(self._contexts)
        for file in self._identity.files:
            self._settings.tasks.spawn_forever(f"watch {file.path}", file.watch)

    def _contexts(self) -> ContextSource:
        tls = self._config.tls_config
        has_files = bool(tls.ca_file or tls.cert_file)
        return ContextSource(
            lambda: client_context(tls.settings, ("http/1.1",)),
            CERTIFICATES_MAX_AGE_S if has_files else 0.0,
            self._settings.logger,
            self._settings.clock.monotonic,
        )

    def get(self, url: Url, fields: str) -> Answer:
        """A request for ``url``: ``async with fetcher.get(...) as answer``.

        ``fields``: complete header lines beside those for identity, which a redirect to another
        host does not take along. Entering the block raises `FetchError`.
        """
        return Answer(self, url, fields)

    async def ask(self, url: Url, fields: str) -> tuple[Connection, Head, Url]:
        """What `Answer` enters with: the head of the last answer, behind redirects."""
        identity = self._identity.lines
        origin = url.origin
        for _ in range(REDIRECTS_MAX + 1):
            lines = fields + identity if url.origin == origin else fields
            connection, head = await self._ask_once(url, lines)
            location = head.header("location")
            follows = self._config.follow_redirects and head.status in _ANSWERS_ELSEWHERE
            if not follows or not location:
                return connection, head, url
            await self._leave(connection, url)
            try:
                url = url.following(location)
            except ValueError as error:
                raise FetchError(f"it leads elsewhere, but not to a URL: {error}") from error
        raise FetchError(f"stopped after {REDIRECTS_MAX} redirects")

    async def _ask_once(self, url: Url, lines: str) -> tuple[Connection, Head]:
        proxy = proxy_for(self._config, url)
        by_proxy = proxy is not None and url.scheme == "http"
        target = str(url) if by_proxy else url.target
        if by_proxy and proxy is not None and proxy.credentials:
            lines += f"Proxy-Authorization: {proxy.credentials}\r\n"
        request = f"GET {target} HTTP/1.1\r\nHost: {url.authority}\r\n{lines}\r\n".encode()
        connection = self._take_idle(url.origin)
        if connection is not None:
            try:
                return connection, await self._head_of(connection, request)
            except (OSError, AnswerFault):
                # The peer may have closed it just when we wrote: nothing came, so ask anew.
                if connection.has_answer:
                    raise
        connection = await self._connect(url, proxy)
        return connection, await self._head_of(connection, request)

    @staticmethod
    async def _head_of(connection: Connection, request: bytes) -> Head:
        try:
            return await connection.ask(request)
        except BaseException:
            connection.close()
            raise

    def _take_idle(self, origin: _Origin) -> Connection | None:
        waiting = self._idle.get(origin)
        while waiting:
            connection = waiting.pop()
            self._idle_count -= 1
            if connection.is_open:
                return connection
        return None

    def _sweep(self) -> None:
        """Close what has not been used for long, or was closed by the peer."""
        self._sweeper = None
        oldest_s = self._settings.clock.monotonic() - IDLE_MAX_S
        for origin, waiting in list(self._idle.items()):
            kept = [each for each in waiting if each.is_open and each.idle_since_s > oldest_s]
            for connection in waiting:
                if connection not in kept:
                    connection.close()
            self._idle_count -= len(waiting) - len(kept)
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self._sweeper is None and self._idle_count:
            self._sweeper = self._settings.clock.call_later(IDLE_MAX_S / 2, self._sweep)

    async def _connect(self, url: Url, proxy: Proxy | None) -> Connection:
        clock, tasks = self._settings.clock, self._settings.tasks
        peer = Target(url.host, url.port)
        where = peer if proxy is None else proxy.target
        addresses = await resolve(where, shuffled=False, look_up=self._names.look_up)
        sock, _ = await open_socket(addresses, clock, tasks)
        try:
            if proxy is not None and url.scheme == "https":
                await tunnel(sock, proxy, peer)
            return await self._wrapped(sock, url)
        except BaseException:
            sock.close()
            raise

    async def _wrapped(self, sock: socket.socket, url: Url) -> Connection:
        """A connection over a socket that leads to ``url``."""
        options: dict[str, Any] = {}
        if url.scheme == "https":
            async with self._contexts_turn:
                if self._tls is None:
                    self._tls = await asyncio.to_thread(self._contexts)
            name = self._config.tls_config.server_name or url.host
            options = {"ssl": self._tls.current(), "server_hostname": name}
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, sock=sock, **options)
        return connection

    async def _leave(self, connection: Connection, url: Url) -> None:
        """Read the short body of an answer that is not wanted, or give the connection up."""
        left = _LEFTOVER_BYTES_MAX
        while left > 0 and (piece := await connection.read()):
            left -= len(piece)
        self.give_back(connection, url)

    def give_back(self, connection: Connection, url: Url) -> None:
        """The answer has been used, or nobody wants the rest of it."""
        if not connection.release():
            return
        if self._is_closed or self._idle_count >= self._idle_max:
            connection.close()
            return
        connection.idle_since_s = self._settings.clock.monotonic()
        self._idle.setdefault(url.origin, []).append(connection)
        self._idle_count += 1
        self._sweep_later()

    def forget(self, url: Url) -> None:
        """Nobody will ask there again: close what is kept."""
        for connection in self._idle.pop(url.origin, ()):
            self._idle_count -= 1
            connection.close()

    def close(self) -> None:
        """Close what is kept; answers that are being read go on."""
        self._is_closed = True
        self._names.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for waiting in self._idle.values():
            for connection in waiting:
                connection.close()
        self._idle.clear()
        self._idle_count = 0

    def __repr__(self) -> str:
        return f"<Fetcher idle={self._idle_count}>"


class Answer:
    """An answer being read. ``wire_bytes``: of the body as they came."""

    def __init__(self, fetcher: Fetcher, url: Url, fields: str) -> None:
        self._fetcher = fetcher
        self._url = url
        self._fields = fields
        self._connection: Connection | None = None
        self._head: Head | None = None
        self.wire_bytes = 0

    async def __aenter__(self) -> Self:
        try:
            found = await self._fetcher.ask(self._url, self._fields)
        except (OSError, AnswerFault, InflateError, ValueError) as error:
            raise FetchError(explained(error)) from error
        self._connection, self._head, self._url = found
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._fetcher.give_back(connection, self._url)

    @property
    def status(self) -> int:
        """The status of the answer."""
        return 0 if self._head is None else self._head.status

    @property
    def status_text(self) -> str:
        """The status as people read it."""
        try:
            return f"{self.status} {http.HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)

    def header(self, name: str) -> str:
        """A field of the answer; empty if there is none."""
        return "" if self._head is None else self._head.header(name)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, decompressed, in pieces of a few ten KiB. Raises `FetchError`."""
        connection = self._connection
        if connection is None:
            return
        encoding = self.header("content-encoding").strip().lower()
        try:
            inflater = Inflater(encoding) if encoding not in {"", "identity"} else None
            while piece := await connection.read():
                self.wire_bytes += len(piece)
                if inflater is None:
                    yield piece
                else:
                    for plain in inflater.feed(piece):
                        yield plain
            if inflater is not None and self.wire_bytes:
                inflater.finish()
        except (OSError, AnswerFault, InflateError) as error:
            raise FetchError(explained(error)) from error

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self._url}>"


def explained(error: BaseException) -> str:
    """What went wrong, in the system's words where there are some."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message or error.reason}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno and not error.filename:
        text = str(error.strerror or "")
        return text or os.strerror(error.errno)
    return str(error) or type(error).__name__
