"""From serialized OTLP metrics requests to points of canonical Prometheus series (A7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from mlsysops_pipeline.prometheus.names import Kind, Strategy
from mlsysops_pipeline.prometheus.points import Batch, Family, S, Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlsysops_pipeline.prometheus.points import Cause, Labels

TARGET_INFO = Family("target_info", Kind.GAUGE, Type.INFO, help_="Target metadata", unit="")
"""The family of target infos, always this object: compare with ``is``."""

CACHE_BYTES = 128 << 20
"""What a translator may remember unless told otherwise: about 200,000 series."""

S_co = TypeVar("S_co", covariant=True)


class MakeSeries(Protocol[S_co]):
    """Makes what a caller calls a series. Called when one is seen that is not (or no longer) known.

    The same family name and labels can be asked for again: after other descriptions, after
    attributes in another order, or after the cache forgot. Must not raise.
    """

    def __call__(self, family: Family, labels: Labels, /) -> S_co:
        """The series of a family with these labels."""


@dataclass(frozen=True, slots=True)
class Options:
    """How requests are translated.

    ``has_scope_labels``: put ``otel_scope_*`` on every series (PO-13). ``has_target_info``: give a
    ``target_info`` for each resource that has more attributes than those of the service (PO-14).
    ``takes_deltas``: the caller adds up deltas; they are dropped otherwise (PO-6).
    ``resource_labels``: says which resource attributes become labels of every series, by key; of a
    point that has the same attribute, its own counts.
    ``cache_bytes_max``: memory for what is known of series.
    """

    strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES
    namespace: str = ""
    has_scope_labels: bool = True
    has_target_info: bool = True
    takes_deltas: bool = False
    resource_labels: Callable[[str], bool] | None = None
    cache_bytes_max: int = CACHE_BYTES


class Translator(Generic[S]):
    """Translates requests of many senders, remembering their series.

    ``report`` is told how many points were dropped for which cause, with the metric's name.
    """

    def __init__(
        self,
        options: Options,
        make_series: MakeSeries[S],
        report: Callable[[Cause, int, str], None],
    ) -> None: ...

    def translate(self, wire: bytes) -> Iterator[Batch[S]]:
        """The points of one request, in its order, in batches of at most 1,000 points.

        Target infos come last, one for each job and instance (PO-14); another one with the same
        job and instance, in whatever request, replaces the one before.

        Raises `MalformedError` before the first batch if the bytes are no request. A malformed
        point costs only itself. Other requests may be translated between two batches.
        """
        raise NotImplementedError
