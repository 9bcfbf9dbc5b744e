"""The telemetry API: what is known about the system, as typed values for programs and models.

    from mlsysops_pipeline.query import QueryClient, latest, query, query_range

    load = await query("avg by (node) (node_load1)", expect=Vector)       # PromQL, now
    past = await query_range("node_load1", start, end, step="15s")        # PromQL, over time
    temp = (await latest("temperature_celsius", zone="cpu")).value        # this machine's agent

    past.frame()                      # pandas: UTC times, labels as columns, float64
    past.series[0].values             # NumPy, float64
    load.samples[0].value             # plain Python; needs no library

The three functions ask by a connection of their own, where the environment or ``server`` says;
programs that ask often, or several servers, make a `QueryClient`. NumPy and pandas are optional
(extras ``numpy`` and ``pandas``) and imported when first needed; programs that mind the time this
takes in their event loop import them at their start. `frame` works without letting others run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from mlsysops_pipeline.query.client import QueryClient, R
from mlsysops_pipeline.query.errors import (
    AnswerError,
    ExpressionError,
    MissingExtraError,
    NoAnswerError,
    PartialAnswerError,
    QueryError,
    QueryTimeoutError,
    RefusedError,
)
from mlsysops_pipeline.query.results import (
    Bucket,
    Histogram,
    HistogramPoint,
    Labels,
    Matrix,
    Result,
    Sample,
    Scalar,
    Series,
    String,
    Vector,
)
from mlsysops_pipeline.query.server import Server

if TYPE_CHECKING:
    from mlsysops_pipeline.query.arguments import Step, Time

__all__ = [
    "AnswerError",
    "Bucket",
    "ExpressionError",
    "Histogram",
    "HistogramPoint",
    "Labels",
    "Matrix",
    "MissingExtraError",
    "NoAnswerError",
    "PartialAnswerError",
    "QueryClient",
    "QueryError",
    "QueryTimeoutError",
    "RefusedError",
    "Result",
    "Sample",
    "Scalar",
    "Series",
    "Server",
    "String",
    "Vector",
    "latest",
    "query",
    "query_range",
]


@overload
async def query(
    expr: str, *, at: Time | None = None, server: Server | str | None = None
) -> Result: ...


@overload
async def query(
    expr: str, *, at: Time | None = None, server: Server | str | None = None, expect: type[R]
) -> R: ...


async def query(
    expr: str,
    *,
    at: Time | None = None,
    server: Server | str | None = None,
    expect: type[Any] | None = None,
) -> Any:
    """`QueryClient.query` by a connection of its own.

    Without ``server``: MLSYSOPS_QUERY_URL, and where set MLSYSOPS_QUERY_TENANT and
    MLSYSOPS_QUERY_TOKEN.
    """
    async with QueryClient(server) as client:
        if expect is None:
            return await client.query(expr, at=at)
        return await client.query(expr, at=at, expect=expect)


async def query_range(
    expr: str, start: Time, end: Time, step: Step, *, server: Server | str | None = None
) -> Matrix:
    """`QueryClient.query_range` by a connection of its own; for ``server`` see `query`."""
    async with QueryClient(server) as client:
        return await client.query_range(expr, start, end, step)


async def latest(name: str, /, **labels: str) -> Vector:
    """`QueryClient.latest` by a connection of its own.

    The page: MLSYSOPS_METRICS_URL, else that of an agent on this machine, port 9999.
    """
    async with QueryClient() as client:
        return await client.latest(name, **labels)
