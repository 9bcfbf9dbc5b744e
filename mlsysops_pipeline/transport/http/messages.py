"""What an HTTP handler is given and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from mlsysops_pipeline.transport.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlsysops_pipeline.transport.http.http1 import Head

NO_AUTH: Final[Mapping[str, str]] = MappingProxyType({})
TEXT: Final = "text/plain; charset=utf-8"


class HttpRequest:
    """A request. ``body``: complete and decompressed; empty while only the head is here.

    ``path``: percent-decoded, without ``query``. ``headers``: lower-case names; shared with other
    requests, so never changed. ``media_type``: the Content-Type without parameters, in lower
    case. ``peer``: the sender's address without the port. ``auth``: what the authenticator found.
    """

    __slots__ = ("auth", "body", "head", "peer")

    def __init__(self, head: Head, peer: str) -> None:
        self.head = head
        self.peer = peer
        self.auth: Mapping[str, str] = NO_AUTH
        self.body = b""

    @property
    def method(self) -> str:
        """GET, POST, ..."""
        return self.head.method

    @property
    def path(self) -> str:
        """The path, decoded."""
        return self.head.path

    @property
    def query(self) -> str:
        """What stands after the question mark, as it came."""
        return self.head.query

    @property
    def headers(self) -> Mapping[str, tuple[str, ...]]:
        """The fields of the head."""
        return self.head.headers

    @property
    def media_type(self) -> str:
        """What the body is."""
        return self.head.media_type

    def header(self, name: str) -> str:
        """All values of one field (lower-case name), joined by commas; empty if there is none."""
        return self.head.header(name)

    @property
    def takes_gzip(self) -> bool:
        """Whether Accept-Encoding allows gzip by name (OH-11)."""
        for part in self.header("accept-encoding").split(","):
            coding, _, parameters = part.partition(";")
            if coding.strip().lower() == "gzip":
                weight = parameters.replace(" ", "").lower()
                return weight not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        return False

    def parameters(self) -> dict[str, list[str]]:
        """The query, taken apart."""
        return parse_qs(self.head.query, keep_blank_values=True)

    def __repr__(self) -> str:
        return f"<HttpRequest {self.method} {self.path} bytes={len(self.body)} peer={self.peer}>"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer. ``headers`` come beside Content-Type, Content-Length and the configured ones.

    A large answer is given as ``pieces`` instead of a ``body``: they are written one after the
    other as the peer reads, with other work in between, and as they are (``headers`` name their
    Content-Encoding). ``finished`` is called once, when all is written or nobody reads any more.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    pieces: tuple[bytes, ...] = ()
    finished: Callable[[], None] | None = None


def plain_refusal(_request: HttpRequest | None, error: Exception) -> HttpResponse:
    """The answer to what went wrong, as text; for servers whose clients are people."""
    told = refusal(error)
    headers = (("retry-after", told.retry_after),) if told.retry_after else ()
    return HttpResponse(told.http_status, f"{told.message}\n".encode(), TEXT, headers)
