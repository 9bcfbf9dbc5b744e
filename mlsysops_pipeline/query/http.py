"""HTTP of questions: one request, a bounded answer in small pieces, and errors that say why."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import aiohttp
from yarl import URL  # aiohttp's own

from mlsysops_pipeline.query.errors import (
    AnswerError,
    ExpressionError,
    NoAnswerError,
    QueryError,
    QueryTimeoutError,
    RefusedError,
)
from mlsysops_pipeline.transport.proxies import proxy_from_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from mlsysops_pipeline.query.server import Server

PIECE_BYTES: Final = 8 << 10
"""What is handled before others run: well under a millisecond of work (benchmarks/micro_query)."""

CONNECTIONS_MAX: Final = 16
ERROR_BYTES_MAX: Final = 64 << 10
"""What is read of the body of an error."""

_GET_CHARS_MAX: Final = 2_000
"""A longer form is posted: servers and proxies limit the length of a URL."""

_SHOWN_CHARS: Final = 200
_HTML: Final = "text/html"
_EITHER_ZLIB_OR_GZIP: Final = 47
_GZIP_NAMES: Final = {"gzip", "x-gzip", "deflate"}
_MARKUP: Final = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class Reply:
    """A successful answer whose body has not been read."""

    def __init__(self, response: aiohttp.ClientResponse, bytes_max: int) -> None:
        self._response = response
        self._bytes_max = bytes_max
        self.content_type = (
            response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        )
        """In lower case, without parameters; empty if there is none."""

    async def read(self, feed: Callable[[bytes], None]) -> None:
        """Hand the body to ``feed``, decompressed, in pieces of at most `PIECE_BYTES`.

        The event loop runs between any two of them. Raises `AnswerError` above the limit, and
        `NoAnswerError` if the end is missing.
        """
        inflate = _inflater(self._response.headers.get("Content-Encoding", ""))
        left = self._bytes_max
        async for raw in self._response.content.iter_any():
            rest = raw
            while rest:
                if inflate is None:
                    piece, rest = rest[:PIECE_BYTES], rest[PIECE_BYTES:]
                else:
                    piece, rest = _inflated(inflate, rest)
                left -= len(piece)
                if left < 0:
                    self._response.close()
                    raise AnswerError(f"the answer has more than {self._bytes_max} bytes")
                feed(piece)
                await asyncio.sleep(0)
        if inflate is not None and not inflate.eof:
            raise NoAnswerError("the compressed answer ends too early")


class Transport:
    """A pool of connections, made by the first request. ``close`` is safe at any time."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Close every connection; requests fail from now on."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def ask(self, server: Server, url: str, form: Mapping[str, str]) -> AsyncIterator[Reply]:
        """Send a form: GET if it is short, POST if not. The body of the reply is JSON, or odd."""
        encoded = urlencode(form)
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if len(encoded) <= _GET_CHARS_MAX:
            # Encoded already; aiohttp would do it in its own way again.
            whole = URL(f"{URL(url)}?{encoded}", encoded=True)
            sent = self._send(server, "GET", whole, headers, b"")
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            sent = self._send(server, "POST", URL(url), headers, encoded.encode())
        async with sent as reply:
            yield reply

    @asynccontextmanager
    async def page(self, server: Server, accept: str) -> AsyncIterator[Reply]:
        """Get the page at the server's URL. It is near, and not worth compressing."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        async with self._send(server, "GET", URL(server.url), headers, b"") as reply:
            yield reply

    @asynccontextmanager
    async def _send(
        self, server: Server, method: str, url: URL, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[Reply]:
        """One request, within the server's timeout, and the handling of its reply."""
        shown = str(url.with_query(None))
        try:
            async with (
                asyncio.timeout(server.timeout_s),
                self._open_session().request(
                    method,
                    url,
                    data=body or None,
                    headers={**headers, **server.request_headers()},
                    allow_redirects=False,
                    ssl=server.tls or True,
                    proxy=proxy_from_environment(url.scheme, url.raw_authority),
                ) as response,
            ):
                reply = Reply(response, server.answer_bytes_max)
                if not 200 <= response.status < 300:
                    raise await _refusal(response, server)
                if reply.content_type == _HTML:
                    text = await _beginning(response)
                    raise AnswerError(f"the answer is a web page, not data: {_shown(text)!r}")
                yield reply
        except QueryError as error:
            error.url = error.url or shown
            raise
        except TimeoutError as error:
            late = QueryTimeoutError(f"no complete answer within {server.timeout_s:g} s")
            late.url = shown
            raise late from error
        except (aiohttp.ClientError, OSError) as error:
            missing = NoAnswerError(_reason(error))
            missing.url = shown
            raise missing from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise NoAnswerError("the client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=None),  # ours covers the whole question
            )
        return self._session

    def __repr__(self) -> str:
        return f"<Transport closed={self._is_closed} used={self._session is not None}>"


def _inflater(encoding: str) -> Any:
    """What undoes a content encoding; ``None`` if nothing is to undo."""
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return None
    if name not in _GZIP_NAMES:
        raise AnswerError(f"the answer is compressed by {name!r}, which was not asked for")
    return zlib.decompressobj(wbits=_EITHER_ZLIB_OR_GZIP)


def _inflated(inflate: Any, data: bytes) -> tuple[bytes, bytes]:
    """A piece of the body, and what is left to decompress."""
    if inflate.eof:
        raise AnswerError("the compressed answer goes on behind its end")
    try:
        return inflate.decompress(data, PIECE_BYTES), inflate.unconsumed_tail or inflate.unused_data
    except zlib.error as error:
        raise AnswerError(f"the compressed answer is damaged: {error}") from error


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The first `ERROR_BYTES_MAX` of a body, as text; the rest costs the connection."""
    parts: list[bytes] = []

    def keep(piece: bytes) -> None:
        parts.append(piece)

    try:
        await Reply(response, ERROR_BYTES_MAX).read(keep)
    except QueryError:
        response.close()
    return b"".join(parts).decode("utf-8", "replace")


async def _refusal(response: aiohttp.ClientResponse, server: Server) -> QueryError:
    """What an answer that is no success means."""
    status = response.status
    text = await _beginning(response)
    kind, message = _api_error(text)
    if message and kind in {"timeout", "canceled"}:
        return QueryTimeoutError(f"the server gave up: {message}")
    if message and status in {400, 422}:
        return ExpressionError(message, kind=kind)
    said = message or _shown(text)
    answer = f"HTTP {status} {response.reason or ''}".rstrip() + (f": {said}" if said else "")
    return RefusedError(
        answer + _hint(response, server),
        status=status,
        retry_after=response.headers.get("Retry-After", ""),
    )


def _hint(response: aiohttp.ClientResponse, server: Server) -> str:
    """What the caller may have forgotten."""
    status = response.status
    if 300 <= status < 400:
        return f" (redirects are not followed; it leads to {response.headers.get('Location', '')})"
    if status in {401, 403}:
        has_credentials = server.basic_auth is not None or bool(server.bearer_token)
        missing = [] if has_credentials else ["credentials"]
        missing += [] if server.tenant else ["tenant"]
        return f" (no {' and no '.join(missing)} given)" if missing else ""
    if status == 404:
        return " (is this the base of a Prometheus API? Mimir's ends in /prometheus)"
    return ""


def _api_error(text: str) -> tuple[str, str]:
    """``errorType`` and ``error`` of a JSON answer; empty if it is none."""
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(members, dict) or not isinstance(members.get("error"), str):
        return "", ""
    return str(members.get("errorType") or ""), members["error"]


def _shown(text: str) -> str:
    """The beginning of a text for people, without markup."""
    words = " ".join(_MARKUP.sub(" ", text).split())
    return words if len(words) <= _SHOWN_CHARS else words[:_SHOWN_CHARS] + "..."


def _reason(error: BaseException) -> str:
    """What went wrong, in the system's words where there are some."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        message = getattr(inner, "verify_message", "") or str(inner)
        return f"its certificate is not accepted: {message}"
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        if inner.errno and not isinstance(inner, ssl.SSLError):
            known = os.strerror(inner.errno)
            is_known = not known.startswith("Unknown error")
            return f"cannot connect: {known if is_known else inner.strerror or inner}"
        return f"cannot connect: {inner.strerror or inner}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer ends too early"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer"
    return str(error) or type(error).__name__
