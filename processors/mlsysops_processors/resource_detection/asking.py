"""One question by HTTP whose answer is a JSON object: bounded, and with errors that say why.

The client library is heavy: this module is loaded only with a detector that asks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from mlsysops_processors.resource_detection.detection import DetectionError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

ANSWER_BYTES_MAX: Final = 4 << 20
"""A node of Kubernetes lists its images, which are thousands at most."""
_SHOWN_BYTES: Final = 200
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which another attempt may have a better answer."""


class StatusError(DetectionError):
    """An answer that is no success. ``status``: of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, is_passing=status in _BUSY)
        self.status = status


async def ask(
    url: str,
    *,
    socket_path: str = "",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> dict[str, Any]:
    """The JSON object at ``url``. No proxy, no redirect: who is asked is near.

    ``socket_path``: of the unix socket to ask at; the host of ``url`` is only a name then.
    Raises `DetectionError`, and waits as long as its caller lets it.
    """
    connector = aiohttp.UnixConnector(socket_path) if socket_path else aiohttp.TCPConnector()
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # the caller's covers everything
            ) as session,
            session.get(url, headers=headers, allow_redirects=False, ssl=tls or True) as response,
        ):
            body = await _body(response)
            if response.status != 200:
                raise StatusError(f"{url}: HTTP {response.status}: {_shown(body)}", response.status)
    except (aiohttp.ClientError, OSError) as error:
        cause = getattr(error, "os_error", error)
        # What is not there, or not for us, will be so in a second.
        is_passing = not isinstance(cause, FileNotFoundError | PermissionError)
        message = f"{socket_path or url}: {error or type(error).__name__}"
        raise DetectionError(message, is_passing=is_passing) from error
    return _object(body, url)


async def _body(response: Any) -> bytes:
    """The body, decompressed. Raises `DetectionError` above the limit."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            message = f"{response.url}: the answer has more than {ANSWER_BYTES_MAX} bytes"
            raise DetectionError(message)
        parts.append(part)
    return b"".join(parts)


def _object(body: bytes, url: str) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DetectionError(f"{url}: the answer is no JSON: {_shown(body)}") from error
    if not isinstance(answer, dict):
        raise DetectionError(f"{url}: the answer is no object: {_shown(body)}")
    return answer


def text_at(answer: Mapping[str, Any], *path: str) -> str:
    """The text that stands at a path of keys. Raises `DetectionError` if there is none."""
    value: Any = answer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str) or not value:
        raise DetectionError(f"the answer has no {'.'.join(path)}")
    return value


def _shown(body: bytes) -> str:
    return repr(body[:_SHOWN_BYTES].decode("utf-8", "replace").strip())
