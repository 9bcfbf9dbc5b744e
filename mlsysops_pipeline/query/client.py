"""The client: questions in, typed results out."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast, overload

from mlsysops_pipeline.clock import Clock, SystemClock
from mlsysops_pipeline.query.answers import AnswerReader
from mlsysops_pipeline.query.arguments import (
    Step,
    Time,
    checked_expression,
    checked_range,
    time_s,
)
from mlsysops_pipeline.query.errors import AnswerError
from mlsysops_pipeline.query.exposition import PageReader, Wanted
from mlsysops_pipeline.query.http import Transport
from mlsysops_pipeline.query.results import Matrix, Result, Scalar, String, Vector
from mlsysops_pipeline.query.server import Server, local_from_environment, server_from_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["QueryClient"]

R = TypeVar("R", Vector, Matrix, Scalar, String)

_OPEN_METRICS: Final = "application/openmetrics-text"
_PAGE_KINDS: Final = {"", "text/plain", _OPEN_METRICS}
_ACCEPT_PAGE: Final = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.9,text/plain;version=0.0.4;q=0.8,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,"
    "application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1"
)


class QueryClient:
    """Asks a PromQL server (`query`, `query_range`) and a local metrics page (`latest`).

        async with QueryClient(Server("http://mimir:8080/prometheus", tenant="edge")) as client:
            load = await client.query("sum by (node) (rate(cpu_seconds_total[1m]))")

    ``server`` and ``local`` are URLs or `Server`s; without them the environment decides (see
    `server_from_environment`, `local_from_environment`), when they are first needed. Connections
    are kept between questions, and questions may run side by side: at most 16 at a time, the others
    wait within their timeout. All errors are `QueryError`s but those of wrong arguments.
    """

    def __init__(
        self,
        server: Server | str | None = None,
        *,
        local: Server | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._server = Server(server) if isinstance(server, str) else server
        self._local = Server(local) if isinstance(local, str) else local
        self._clock = clock or SystemClock()
        self._transport = Transport()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Safe at any time; questions under way fail."""
        await self._transport.close()

    @overload
    async def query(self, expr: str, *, at: Time | None = None) -> Result: ...

    @overload
    async def query(self, expr: str, *, at: Time | None = None, expect: type[R]) -> R: ...

    async def query(
        self, expr: str, *, at: Time | None = None, expect: type[Any] | None = None
    ) -> Any:
        """Evaluate a PromQL expression at one time; ``None`` means the server's now.

        A `Vector` for what has labels, a `Scalar` or `String` for what has none, and a `Matrix` for
        a range selector such as ``up[5m]``. ``expect``: one of these; anything else is an
        `AnswerError`, and type checkers know what comes. VictoriaMetrics has no scalars: it answers
        with a vector of one sample without labels.
        """
        form = {"query": checked_expression(expr)}
        if at is not None:
            form["time"] = _decimal(time_s(at, "at"))
        return _expected(await self._ask("query", form), expect)

    async def query_range(self, expr: str, start: Time, end: Time, step: Step) -> Matrix:
        """Evaluate a PromQL expression at ``start`` and every ``step`` up to ``end``, inclusive.

        Servers limit the points of a series, Prometheus and Mimir to 11,000.
        """
        start_s, end_s, step = checked_range(start, end, step)
        form = {
            "query": checked_expression(expr),
            "start": _decimal(start_s),
            "end": _decimal(end_s),
            "step": _decimal(step),
        }
        return _expected(await self._ask("query_range", form), Matrix)

    async def latest(self, name: str, /, **labels: str) -> Vector:
        """The series of that name on the local metrics page, as they are now.

        A series must have each of ``labels`` with exactly that value; others it may have besides.
        An empty value matches where the label is missing. Labels that are no Python names are given
        as ``**{"http.method": "GET"}``. Counters of OpenMetrics end in ``_total``, and histograms
        are asked for by their series ``_bucket``, ``_sum`` and ``_count``.

        A sample without a time of its own carries the time at which the page began to arrive.
        No such series: an empty vector.
        """
        wanted = Wanted(name, labels)
        local = self._local = self._local or local_from_environment()
        # What is no UTF-8 is replaced: it may stand in a metric that nobody asked for.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async with self._transport.page(local, _ACCEPT_PAGE) as reply:
            if reply.content_type not in _PAGE_KINDS:
                raise AnswerError(f"the page is {reply.content_type}, not Prometheus text")
            page = PageReader(
                wanted,
                self._clock.unix_ns() / 1e9,
                is_open_metrics=reply.content_type == _OPEN_METRICS,
            )
            await reply.read(lambda piece: page.feed(decoder.decode(piece)))
            page.feed(decoder.decode(b"", final=True))
            return page.result()

    async def _ask(self, call: str, form: Mapping[str, str]) -> Result:
        server = self._server = self._server or server_from_environment()
        form = {**form, "timeout": f"{server.timeout_s:g}"}
        async with self._transport.ask(server, server.api_url(call), form) as reply:
            reader = AnswerReader(allow_partial=server.allow_partial)
            decoder = codecs.getincrementaldecoder("utf-8")()
            try:
                await reply.read(lambda piece: reader.feed(decoder.decode(piece)))
                reader.feed(decoder.decode(b"", final=True))
            except UnicodeDecodeError as error:
                raise AnswerError(f"the answer is no UTF-8: {error.reason}") from error
            return reader.result()

    def __repr__(self) -> str:
        return f"<QueryClient server={self._server} local={self._local} {self._transport}>"


def _expected(result: Any, expect: type[R] | None) -> R:
    """The result, if it is of the type that is expected."""
    if expect is not None and not isinstance(result, expect):
        raise AnswerError(f"the answer is a {type(result).__name__}, not a {expect.__name__}")
    return cast(R, result)


def _decimal(seconds: float) -> str:
    """Seconds with milliseconds, as servers keep them."""
    return f"{seconds:.3f}"
