"""Keeps a percentage of spans or log records, the same ones at every level (components, C13).

Decisions are the Collector's, bit by bit: with one `hash_seed` (or in the modes that follow the
W3C's ``tracestate``) all collectors keep the same traces, ours and Go's, and a smaller percentage
keeps a part of what a larger one keeps. What is kept says how much it stands for: spans in the
``tracestate`` (``ot=rv:...;th:...``), log records in ``sampling.randomness`` and
``sampling.threshold``. Spans with the attribute ``sampling.priority`` are kept (over 0) or dropped
(0) by it. One difference: a log record whose priority is 0 is dropped, as the Collector's
documentation says; its program takes it as if there was none.

What is not kept is never written again, and only what decides is opened of the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.pdata.sieve import delete
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize
from mlsysops_processors.probabilistic_sampler.numbers import SMALLEST_PROBABILITY
from mlsysops_processors.probabilistic_sampler.sampling import Mode, Rules, Sampler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.meter import Number
    from mlsysops_pipeline.pdata.payload import Payload

RULE = "probabilistic_sampler"
"""How the ledger calls what was not kept."""
_OPEN_FACTOR = 3
_POLICIES_MAX = 64


class Config(ComponentConfig):
    """How much is kept, and by what."""

    sampling_percentage: float = 0.0
    """How much is kept, in percent. 0: nothing but what has a priority; 100 and more: all."""
    mode: Literal["", "hash_seed", "proportional", "equalizing"] = ""
    """`hash_seed`: by a hash of the trace id, in steps of a 16,384th. `proportional`: this share of
    what arrives, by the W3C's randomness. `equalizing`: down to this share of what there was at
    first. Empty: `hash_seed`."""
    hash_seed: int = 0
    """What the hash begins with, 0 to 4,294,967,295. The same in all collectors of a level."""
    fail_closed: bool = True
    """Whether items without randomness, or with a broken or contradictory one, are dropped."""
    sampling_precision: int = 4
    """Significant hexadecimal digits of thresholds, 1 to 14."""
    attribute_source: Literal["traceID", "record"] = "traceID"
    """Of log records: `traceID`, and where there is none the attribute; `record`: the attribute."""
    from_attribute: str = ""
    """Of log records: the attribute whose value is hashed in the mode `hash_seed`."""
    sampling_priority: str = ""
    """Of log records: an attribute with a percentage for this one; 0 drops it, 100 keeps it."""

    def check(self) -> Iterable[Finding]:
        """The ranges."""
        percentage = self.sampling_percentage
        if percentage < 0:
            yield Finding(("sampling_percentage",), "sampling rate is negative")
        elif 0 < percentage / 100 < SMALLEST_PROBABILITY:
            yield Finding(("sampling_percentage",), "sampling rate is too small")
        if not 0 <= self.hash_seed < 1 << 32:
            yield Finding(("hash_seed",), "must be between 0 and 4294967295")
        if not 1 <= self.sampling_precision <= 14:
            yield Finding(("sampling_precision",), "must be between 1 and 14")

    def rules(self) -> Rules:
        """The same for a `Sampler`."""
        return Rules(
            self.sampling_percentage,
            Mode(self.mode or "hash_seed"),
            self.hash_seed,
            self.fail_closed,
            self.sampling_precision,
            self.attribute_source == "traceID",
            self.from_attribute,
            self.sampling_priority,
        )


class SamplerProcessor:
    """Implements `Processor`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        self._ledger = settings.pipeline_ledger
        self._samplers = {
            signal: Sampler(config.rules(), is_logs=signal is Signal.LOGS)
            for signal in (Signal.LOGS, Signal.TRACES)
        }
        self._counts: dict[tuple[bool, str], Number] = {}
        noun = "logs" if Signal.LOGS in settings.signals else "traces"
        self._counter = settings.meter.counter(
            f"otelcol_processor_probabilistic_sampler_count_{noun}_sampled",
            f"{{{noun}}}",
            f"Count of {noun} that were sampled or not",
        )

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    def process(self, payload: Payload) -> Payload | None:
        """The payload with what is kept of it. Raises `MalformedError`."""
        counts: dict[tuple[bool, str], int] = {}
        with self._settings.memory.held(_OPEN_FACTOR * payload.size):
            wires = [self._sampled(payload.signal, wire, counts) for wire in payload.wires]
        kept = sum(count for (is_kept, _), count in counts.items() if is_kept)
        for key, count in counts.items():
            self._number(key).add(count)
        if kept < payload.items:
            self._ledger.filter(RULE, payload.items - kept)
        left = [wire for wire in wires if wire]
        return payload.with_wires(left, items=kept) if left else None

    def _sampled(self, signal: Signal, wire: bytes, counts: dict[tuple[bool, str], int]) -> bytes:
        """One request with what is kept; empty if nothing is."""
        sampler = self._samplers[signal]
        is_logs = signal is Signal.LOGS
        group, inner, items = (
            ("resource_logs", "scope_logs", "log_records")
            if is_logs
            else ("resource_spans", "scope_spans", "spans")
        )
        request = parse(signal, Depth.POINT, wire)
        is_short = sampler.may_be_short(wire)
        for resource in getattr(request, group):
            for scope in getattr(resource, inner):
                opened = getattr(scope, items)
                gone = []
                for index, item in enumerate(opened):
                    key = sampler.keeps(item, is_short=is_short)
                    counts[key] = counts.get(key, 0) + 1
                    if not key[0]:
                        gone.append(index)
                delete(opened, gone)
            _keep_filled(getattr(resource, inner), items)
        _keep_filled(getattr(request, group), inner)
        return serialize(request) if getattr(request, group) else b""

    def _number(self, key: tuple[bool, str]) -> Number:
        number = self._counts.get(key)
        if number is None:
            if len(self._counts) >= _POLICIES_MAX:
                self._counts.clear()
            is_kept, policy = key
            number = self._counter.bind({"policy": policy, "sampled": str(is_kept).lower()})
            self._counts[key] = number
        return number

    def __repr__(self) -> str:
        return f"<SamplerProcessor {self._settings.id} policies={len(self._counts)}>"


def _keep_filled(groups: Any, name: str) -> None:
    """Take out the groups in which nothing is left."""
    for index in range(len(groups) - 1, -1, -1):
        if not getattr(groups[index], name):
            del groups[index]


def _create(config: Config, settings: Settings, next_: None) -> SamplerProcessor:  # noqa: ARG001
    return SamplerProcessor(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="probabilistic_sampler",
    config=Config,
    create=_create,
    signals=frozenset({Signal.LOGS, Signal.TRACES}),
)
