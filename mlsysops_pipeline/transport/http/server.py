"""An HTTP/1.1 server for requests with bodies that come whole: OTLP, health, metrics pages.

Not aiohttp's, because admission has to be decided at the head, before a byte of the body is kept;
it also takes less time (three quarters for a small request, half for 140 KB).

Order of what happens to a request: limits of its head, CORS, encoding and declared size, the
caller's ``on_head`` (which may refuse, for instance because memory is short), authentication,
body, decompression, handler. What is refused early is answered at once and the rest of it thrown
away. Body bytes are charged to the memory account from the head until the answer.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from mlsysops_pipeline.errors import CollectorError, PeerError
from mlsysops_pipeline.transport import listen
from mlsysops_pipeline.transport.auth import server_authenticator
from mlsysops_pipeline.transport.complaints import Complaints
from mlsysops_pipeline.transport.compression import compress
from mlsysops_pipeline.transport.http import http1
from mlsysops_pipeline.transport.http.connection import HttpConnection
from mlsysops_pipeline.transport.http.cors import Cors
from mlsysops_pipeline.transport.http.messages import HttpRequest, HttpResponse, plain_refusal
from mlsysops_pipeline.transport.server_settings import address_family
from mlsysops_pipeline.transport.tls import server_context, watch_handshakes

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.transport.auth import ServerAuthenticator
    from mlsysops_pipeline.transport.server_settings import HttpServerConfig

    Later = Callable[[], Awaitable[HttpResponse]]

__all__ = ["HttpRequest", "HttpResponse", "HttpServer"]

CONNECTIONS_MAX: Final = 4_096
_HANDSHAKE_TIMEOUT_S: Final = 10.0
_LINGER_S: Final = 1.0
_COMPRESSED_BYTES_MIN: Final = 1_024
_PATH_SHOWN_MAX: Final = 200
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


class HttpServer:
    """Serves ``handler`` as ``config`` says.

    ``handler(request)`` answers; what it raises is answered by ``on_error(request, error)``, as
    are requests that never reach it (``request`` is ``None`` for what could not be read).
    ``on_head(request)`` sees a request before its body is read and refuses it by raising.

    ``handle_now`` does the same as ``handler``, at once where it need not wait; else it returns how
    to get the answer by waiting. It is given requests that are complete and not compressed, of
    senders who need no authentication, and its answers are whole.

    `start` raises `OSError` or `ConfigError`; `shutdown` is safe before it and twice.
    """

    def __init__(
        self,
        config: HttpServerConfig,
        handler: Callable[[HttpRequest], Awaitable[HttpResponse]],
        *,
        settings: Settings,
        on_head: Callable[[HttpRequest], None] | None = None,
        on_error: Callable[[HttpRequest | None, Exception], HttpResponse] = plain_refusal,
        handle_now: Callable[[HttpRequest], HttpResponse | Later] | None = None,
    ) -> None:
        self.config = config
        self.handler = handler
        self.handle_now = None if config.auth is not None else handle_now
        self.on_head = on_head
        self.on_error = on_error
        self.clock = settings.clock
        self.memory = settings.memory
        self.heads = http1.Heads()
        self.encodings = frozenset({"identity", *config.compression_algorithms})
        self.body_bytes_max = config.body_bytes_max
        self.authenticator: ServerAuthenticator | None = None
        has_origins = config.cors is not None and config.cors.allowed_origins
        self.cors = Cors(config.cors) if config.cors is not None and has_origins else None
        self.port = 0
        self._settings = settings
        self._logger = settings.logger
        self._fixed_fields = [
            (name.lower(), value.reveal()) for name, value in config.response_headers
        ]
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[HttpConnection] = set()
        self._lingering: set[asyncio.Task[None]] = set()
        self._complaints = Complaints(settings.logger, settings.clock)
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._date = ""
        self._date_s = 0
        self._repeated: tuple[HttpResponse, str, bytes] | None = None
        self.is_stopping = False

    async def start(self) -> None:
        """Bind and listen."""
        config = self.config
        tls = server_context(config.tls, ("http/1.1",), self._logger) if config.tls else None
        if tls is not None:
            watch_handshakes(tls, self._handshake_failed)
        if config.auth is not None:
            self.authenticator = server_authenticator(
                self._settings.host, config.auth.authenticator
            )
        self._sockets = listen.bind(config.endpoint, address_family(config.transport))
        self.port = listen.port_of(self._sockets)
        try:
            for sock in self._sockets:
                self._servers.append(await self._serve(sock, tls))
        except BaseException:
            await self.shutdown(0.0)
            raise

    async def _serve(self, sock: socket.socket, tls: ssl.SSLContext | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        is_unix = not isinstance(sock.getsockname(), tuple)
        make: Callable[..., Awaitable[asyncio.Server]] = (
            loop.create_unix_server if is_unix else loop.create_server
        )
        return await make(
            lambda: HttpConnection(self),
            sock=sock,
            ssl=tls,
            backlog=listen.BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S if tls else None,
        )

    async def shutdown(self, grace_s: float) -> None:
        """Take nothing new; requests under way have ``grace_s`` seconds left."""
        self.is_stopping = True
        sockets, self._sockets = self._sockets, []
        servers, self._servers = self._servers, []
        listen.remove_files(sockets)
        for server in servers:
            server.close()
        listen.close(sockets)
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            await self._wait_until_empty(grace_s)
        for connection in list(self._connections):
            connection.abort()
        if self._connections:
            await self._wait_until_empty(_LINGER_S)
        if self._lingering:
            await asyncio.wait(self._lingering, timeout=_LINGER_S)

    async def _wait_until_empty(self, limit_s: float) -> None:
        """Return when no connection is left, or time is up."""
        waiter = asyncio.get_running_loop().create_task(self._is_empty.wait())
        timer = self.clock.call_later(limit_s, lambda: _cancel(waiter))
        try:
            await asyncio.wait({waiter})
        finally:
            timer.cancel()
            waiter.cancel()

    # For connections.

    def add(self, connection: HttpConnection) -> bool:
        """Whether another connection may be served."""
        if self.is_stopping:
            return False
        if len(self._connections) >= CONNECTIONS_MAX:
            self.complain("connections", f"more than {CONNECTIONS_MAX} connections")
            return False
        self._connections.add(connection)
        self._is_empty.clear()
        return True

    def remove(self, connection: HttpConnection) -> None:
        """A connection is over."""
        self._connections.discard(connection)
        if not self._connections:
            self._is_empty.set()

    def linger(self, task: asyncio.Task[None]) -> None:
        """Remember a handler that was stopped until it has ended."""
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)

    def _handshake_failed(self, why: str) -> None:
        self.complain(f"tls: {why}", f"TLS handshake failed: {why}")

    def complain(self, cause: str, message: str) -> None:
        """Log why a connection was ended, each cause once a minute at most."""
        self._complaints.say(cause, f"HTTP connection ended: {message}")

    def refuse(self, request: HttpRequest | None, error: Exception) -> HttpResponse:
        """The answer to ``error``; logged, if it is a failure of ours or the peer's fault."""
        where = request.path[:_PATH_SHOWN_MAX] if request is not None else "a request"
        if not isinstance(error, CollectorError):
            self._logger.error("%s failed: %r", where, error, exc_info=error)
        elif isinstance(error, PeerError) and request is not None:
            cause = (type(error), error.code, error.http_status)
            who = request.peer or "a client"
            self._complaints.say(cause, f"refused {who} at {where!r}: {error.message}")
        return self.on_error(request, error)

    def credentials(self, request: HttpRequest) -> Mapping[str, tuple[str, ...]]:
        """What the authenticator sees: headers, and query parameters if configured."""
        auth = self.config.auth
        if auth is None or not auth.request_params:
            return request.headers
        found = request.parameters()
        extra = {name: tuple(found[name]) for name in auth.request_params if name in found}
        return {**request.headers, **extra}

    def answer(self, request: HttpRequest | None, response: HttpResponse, *, closes: bool) -> bytes:
        """The bytes of a response to ``request``, without the pieces that it may consist of."""
        known, date = self._repeated, self._now()
        is_plain = request is not None and self._is_plain(request, response) and not closes
        if known is not None and is_plain and known[0] is response and known[1] == date:
            return known[2]
        made = self._answer(request, response, date, closes=closes)
        if is_plain:
            # The next request of this second is told the same: 0.5 instead of 4 us.
            self._repeated = (response, date, made)
        return made

    def _is_plain(self, request: HttpRequest, response: HttpResponse) -> bool:
        """Whether nothing but the response decides what the answer looks like."""
        return (
            self.cors is None
            and len(response.body) < _COMPRESSED_BYTES_MIN
            and not response.pieces
            and not request.head.is_http10
            and request.method != "HEAD"
        )

    def _answer(
        self, request: HttpRequest | None, response: HttpResponse, date: str, *, closes: bool
    ) -> bytes:
        body = response.body
        fields = [("date", date)]
        if response.content_type:
            fields.append(("content-type", response.content_type))
        fields += response.headers
        fields += self._fixed_fields
        if (
            request is not None
            and self.cors is not None
            and not self.cors.is_preflight(request.head)
        ):
            fields += self.cors.fields(request.head)
        if len(body) >= _COMPRESSED_BYTES_MIN and request is not None and request.takes_gzip:
            body = compress("gzip", body)
            fields += [("content-encoding", "gzip"), ("vary", "Accept-Encoding")]
        if closes:
            fields.append(("connection", "close"))
        elif request is not None and request.head.is_http10:
            fields.append(("connection", "keep-alive"))
        has_body = request is None or request.method != "HEAD"
        length = sum(map(len, response.pieces)) if response.pieces else len(body)
        return http1.answer(response.status, fields, body, length=length, has_body=has_body)

    def _now(self) -> str:
        """The Date of an answer (RFC 9110, section 6.6.1), made once a second."""
        now_s = self.clock.unix_ns() // 1_000_000_000
        if now_s != self._date_s:
            self._date_s = now_s
            self._date = http_date(now_s)
        return self._date

    def __repr__(self) -> str:
        return f"<HttpServer port={self.port} connections={len(self._connections)}>"


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


def http_date(unix_s: int) -> str:
    """A time as HTTP writes it (RFC 9110, section 5.6.7), whatever the language of the system."""
    at = time.gmtime(unix_s)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year:04} {clock} GMT"
