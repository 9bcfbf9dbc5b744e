"""Pushes of snappy blocks over HTTP, as Prometheus' remote write and Loki's API take them.

2xx: it arrived; the body means nothing. 5xx, 429 and no answer at all: try again, not before
``Retry-After``. Everything else is final, whatever part of it the receiver may have stored.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from mlsysops_pipeline.config.schema import without_password
from mlsysops_pipeline.errors import Code, PermanentError, RetryableError
from mlsysops_pipeline.transport.client_settings import OWN_HEADERS
from mlsysops_pipeline.transport.compression import compress
from mlsysops_pipeline.transport.http.client import (
    AnswerTooLargeError,
    UnreachableError,
    retry_after_s,
)
from mlsysops_pipeline.transport.outgoing import HOPS_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.transport.http.client import HttpClient, HttpReply

_CODES: Final = {
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    413: Code.RESOURCE_EXHAUSTED,
}
"""What a sender that waits for the result is told; all else is internal. Not even 400 is called bad
data: the core would look for it in what was stored, and have the rest sent again."""

_ABOUT_DATA: Final = frozenset({400, 409, 413, 422})
"""What receivers answer because of what is in a request: something they do not take, or too much
of it."""

_LINE_END: Final = re.compile(r"[\r\n\0]")
_TEXT_CHARACTERS_MAX: Final = 256
_INLINE_BYTES_MAX: Final = 1 << 20
"""What the event loop compresses itself, in about a millisecond."""


class DataRefusedError(PermanentError):
    """The receiver does not take what is in the request. Others may be welcome."""


def push_headers(given: Mapping[str, str], fixed: dict[str, str]) -> dict[str, str]:
    """The headers of a push: the configured and an authenticator's, and those nobody changes.

    Raises `PermanentError` for a value that came with the data and would end its header early.
    """
    headers = {
        name: value
        for name, value in given.items()
        if name not in OWN_HEADERS and name != HOPS_HEADER  # receivers are no collectors
    }
    for name, value in headers.items():
        if _LINE_END.search(value):
            raise PermanentError(f"header {name} has a value with a line end")
    return headers | fixed


class Push(NamedTuple):
    """One request: its body is not compressed yet."""

    client: HttpClient
    url: str
    headers: Mapping[str, str]
    body: bytes


async def push(request: Push, clock: Clock, *, peer: str) -> None:
    """Deliver one request to ``peer``, as messages call it.

    Raises `RetryableError` or `PermanentError`, which may be a `DataRefusedError`.
    """
    client, url, headers, body = request
    if len(body) <= _INLINE_BYTES_MAX:
        compressed = compress("snappy", body)
    else:
        compressed = await asyncio.to_thread(compress, "snappy", body)
    try:
        reply = await client.post(url, headers, compressed)
    except UnreachableError as failure:
        text = f"failed to make an HTTP request: {without_password(url)}: {failure}"
        raise RetryableError(text, is_unanswered=failure.was_sent) from failure
    except AnswerTooLargeError:
        return  # a success all the same
    if 200 <= reply.status < 300:
        return
    text = f"{peer} returned HTTP status {reply.status}: {_shown(reply)}"
    if reply.status == 429 or reply.status >= 500:
        wait_s = retry_after_s(reply.retry_after, clock.unix_ns() / 1e9)
        raise RetryableError(text, retry_after_s=wait_s)
    error = DataRefusedError if reply.status in _ABOUT_DATA else PermanentError
    raise error(text, code=_CODES.get(reply.status, Code.INTERNAL))


def _shown(reply: HttpReply) -> str:
    """The beginning of what the receiver says."""
    text = " ".join(reply.body[: 4 * _TEXT_CHARACTERS_MAX].decode("utf-8", "replace").split())
    printable = "".join([c if c.isprintable() else "?" for c in text])
    return printable[:_TEXT_CHARACTERS_MAX] or "it does not say why"
