"""The HTTP client of exporters: POST requests with bounded answers, over aiohttp.

aiohttp is imported when a client is opened, not before. What happens to the request is a value
(`HttpReply`) or `UnreachableError`; nothing of aiohttp escapes.

Redirects: 307 and 308 are followed, at most `REDIRECTS_MAX` times, since they ask for the same
request at another place; headers that may hold secrets stay with the host they were meant for, and
nobody is led from https to http. 301, 302 and 303 would turn the request into a GET that delivers
nothing (what Go's client does), so they are answers like any other.
"""

from __future__ import annotations

import io
import os
import ssl
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from mlsysops_pipeline.errors import CollectorError, PeerError
from mlsysops_pipeline.transport.compression import decompress_aside
from mlsysops_pipeline.transport.proxies import proxy_from_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.transport.client_settings import HttpClientConfig
    from mlsysops_pipeline.transport.tls import ContextSource

ANSWER_BYTES_MAX: Final = 4 << 20
"""Of a successful answer, as it comes and decompressed (OC-11)."""

ERROR_BYTES_MAX: Final = 64 << 10
"""What is read of the body of an error."""

REDIRECTS_MAX: Final = 5
CONNECTIONS_MAX: Final = 1_000
CONNECT_TIMEOUT_S: Final = 20.0
_IDLE_MAX_S: Final = 366 * 86_400.0
_LARGE_BODY_BYTES: Final = 1 << 20
_RETRY_AFTER_MAX_S: Final = 86_400.0
_DIGITS_MAX: Final = 9
_KEPT_ON_REDIRECT: Final = frozenset({"content-type", "content-encoding", "user-agent"})


class UnreachableError(CollectorError):
    """There was no answer: not connected, or the connection ended too early.

    ``was_sent``: the request may have reached the peer.
    """

    def __init__(self, message: str, *, was_sent: bool = False) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class AnswerTooLargeError(CollectorError):
    """The peer answered success, with more than we read (OC-11)."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer. ``content_type``: in lower case, without parameters. ``url``: who gave it."""

    status: int
    content_type: str
    body: bytes
    retry_after: str
    url: str


class HttpClient:
    """One pool of connections. ``open``, then ``post``; ``close`` is safe at any time."""

    def __init__(self, config: HttpClientConfig, tls: ContextSource | None) -> None:
        self._config = config
        self._tls = tls
        self._session: Any = None
        self._aiohttp: Any = None
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def open(self) -> None:
        """Make the pool; connections are made by requests."""
        import aiohttp  # noqa: PLC0415  slow to import, and only for who sends over HTTP

        config = self._config
        pool: dict[str, Any] = {"force_close": True}
        if not config.disable_keep_alives:
            pool = {"keepalive_timeout": config.idle_conn_timeout or _IDLE_MAX_S}
        self._aiohttp = aiohttp
        cookies = config.cookies.enabled
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX, limit_per_host=config.max_conns_per_host, **pool
            ),
            cookie_jar=aiohttp.CookieJar(unsafe=True) if cookies else aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            # The core limits each attempt; here only what it could not see.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpReply:
        """Send ``body`` and read the answer.

        Raises `UnreachableError`, or `AnswerTooLargeError` for a success above `ANSWER_BYTES_MAX`.
        """
        if self._session is None:
            raise UnreachableError("the client is not open")
        for _ in range(REDIRECTS_MAX + 1):
            reply, target = await self._post(url, headers, body)
            if not target:
                return reply
            if _origin(target) != _origin(url):
                headers = {
                    name: value for name, value in headers.items() if name in _KEPT_ON_REDIRECT
                }
            url = target
        raise UnreachableError(f"more than {REDIRECTS_MAX} redirects")

    async def _post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[HttpReply, str]:
        """One request; the answer, and where it leads to if it is a redirect that we follow."""
        aiohttp = self._aiohttp
        options: dict[str, Any] = {"proxy": self._proxy(url)}
        if self._tls is not None and url.startswith("https:"):
            options["ssl"] = self._tls.current()
            options["server_hostname"] = self._config.tls.server_name_override or None
        data = body if len(body) <= _LARGE_BODY_BYTES else io.BytesIO(body)
        try:
            async with self._session.post(
                url, data=data, headers=headers, allow_redirects=False, **options
            ) as response:
                target = _redirect(url, response)
                raw = await _read(response)
                reply = HttpReply(
                    status=response.status,
                    content_type=response.headers.get("content-type", "")
                    .partition(";")[0]
                    .strip()
                    .lower(),
                    body=await _decoded(response, raw),
                    retry_after=response.headers.get("retry-after", ""),
                    url=url,
                )
        except aiohttp.ClientConnectorCertificateError as error:
            reason = _reason(error.certificate_error)
            raise UnreachableError(f"its certificate is not accepted: {reason}") from error
        except aiohttp.ClientConnectorError as error:
            raise UnreachableError(f"cannot connect: {_reason(error.os_error)}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # TimeoutError is an OSError; ValueError is what odd answers and URLs can cause.
            raise UnreachableError(_reason(error), was_sent=True) from error
        return reply, target

    def _proxy(self, url: str) -> str | None:
        if self._config.proxy_url:
            return self._config.proxy_url.text
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        if key not in self._proxies:
            self._proxies.clear()
            self._proxies[key] = proxy_from_environment(parts.scheme, parts.netloc)
        return self._proxies[key]

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def __repr__(self) -> str:
        return f"<HttpClient open={self._session is not None}>"


def retry_after_s(text: str, now_unix_s: float) -> float | None:
    """Seconds to wait by a `Retry-After`: a number of them, or an HTTP date (OH-9).

    ``None`` for what is neither, which means an ordinary back-off.
    """
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
        return min(float(text), _RETRY_AFTER_MAX_S)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  milliseconds, and rarely needed

    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # "-0000"
            date = date.replace(tzinfo=UTC)
        wait_s = date.timestamp() - now_unix_s
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    return min(max(wait_s, 0.0), _RETRY_AFTER_MAX_S)


async def _read(response: Any) -> bytes:
    """The body of an answer, as far as it is wanted; the rest costs the connection."""
    is_success = 200 <= response.status < 300
    limit = ANSWER_BYTES_MAX if is_success else ERROR_BYTES_MAX
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit:
            response.close()
            if is_success:
                raise AnswerTooLargeError(f"an answer above {ANSWER_BYTES_MAX} bytes")
            break
    return b"".join(parts)[:limit]


async def _decoded(response: Any, body: bytes) -> bytes:
    """We ask for no compression, but a peer may compress all the same."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if not encoding or encoding == "identity":
        return body
    try:
        return await decompress_aside(encoding, body, ANSWER_BYTES_MAX)
    except PeerError as error:
        if 200 <= response.status < 300:
            raise AnswerTooLargeError(f"an answer that cannot be read: {error}") from error
        return b""


def _redirect(url: str, response: Any) -> str:
    """Where to send the request instead; empty if the answer is one that stands."""
    if response.status not in {307, 308}:
        return ""
    target = urljoin(url, str(response.headers.get("location", "")))
    scheme = urlsplit(target).scheme
    is_downgrade = url.startswith("https:") and scheme != "https"
    if scheme not in {"http", "https"} or is_downgrade or target == url:
        return ""
    return target


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _reason(error: BaseException) -> str:
    """What went wrong, in the system's words where there are some."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        known = os.strerror(error.errno)
        return str(error.strerror or error) if known.startswith("Unknown error") else known
    return str(error) or type(error).__name__
