"""The decision about one item, in each mode, as the Collector takes it (components, C13)."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.functions.attributes import Attributes, from_python
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.picking import Picker
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
from mlsysops_processors.probabilistic_sampler.carriers import (
    RANDOMNESS,
    THRESHOLD,
    RecordAttributes,
    TraceState,
)
from mlsysops_processors.probabilistic_sampler.numbers import (
    ALWAYS,
    HIGHEST,
    NEVER,
    SMALLEST_PROBABILITY,
    hash_threshold,
    hashed,
    of_trace_id,
    probability_of,
    seeded,
    threshold_of,
    write_randomness,
    write_threshold,
)

if TYPE_CHECKING:
    from mlsysops_processors.probabilistic_sampler.carriers import Carrier

PRIORITY = "sampling_priority"
"""The policy of decisions by priority, and of a percentage of 0."""
MISSING = "missing_randomness"
HASH = "trace_id_hash"
_KEPT, _LEFT = (True, HASH), (False, HASH)
_KEPT_W3C, _LEFT_W3C = (True, "trace_id_w3c"), (False, "trace_id_w3c")
_LEFT_MISSING = (False, MISSING)
_KNOWN_MAX = 4096
"""Trace ids and attributes whose hash is remembered."""
_KEY_BYTES_MAX = 512
_MARK = b"sampling."
"""Where this is not in the bytes of items, none has an attribute that is about sampling."""
_SPAN_PRIORITY = "sampling.priority"
_SPAN_PRIORITY_BYTES = _SPAN_PRIORITY.encode()
_NUMBER = re.compile(r"[0-9.eE+\-]{1,64}|[+-]?[iI][nN][fF]")
"""What may be a number in text; `float` takes more than the Collector does."""


class Mode(enum.Enum):
    """How the threshold is found."""

    HASH_SEED = "hash_seed"
    PROPORTIONAL = "proportional"
    EQUALIZING = "equalizing"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a configuration says, see `Config`."""

    percentage: float
    mode: Mode = Mode.HASH_SEED
    hash_seed: int = 0
    fail_closed: bool = True
    precision: int = 4
    by_trace_id: bool = True
    from_attribute: str = ""
    priority: str = ""


class Sampler:
    """Decides for the items of one signal. `keeps` changes an item that is kept."""

    __slots__ = (
        "_hashes",
        "_known",
        "_marks",
        "_probability",
        "_rules",
        "_source",
        "_state",
        "_suffix",
        "_threshold",
        "_without",
        "is_logs",
    )

    def __init__(self, rules: Rules, *, is_logs: bool) -> None:
        self._rules = rules
        self.is_logs = is_logs
        self._state = seeded(rules.hash_seed)
        percentage = min(rules.percentage, 100.0)
        self._probability = max(percentage / 100, SMALLEST_PROBABILITY)
        self._threshold = NEVER
        self._without = _LEFT_MISSING if rules.fail_closed else None
        """The short decision about what has no randomness."""
        self._suffix = b""
        """What kept items get, where they may be decided in short."""
        self._known: dict[bytes, int] = {}
        self._hashes: dict[bytes, int] = {}
        self._source = Picker((rules.from_attribute.encode("utf-8", "replace"),))
        self._marks = [_MARK]
        """What is not in the bytes of items that may be decided in short."""
        if is_logs and rules.priority:
            self._marks.append(rules.priority.encode("utf-8", "replace"))
        if percentage and rules.mode is Mode.HASH_SEED:
            self._threshold = hash_threshold(percentage)
        elif percentage:
            self._threshold = threshold_of(self._probability, rules.precision) or ALWAYS
        if self._threshold < NEVER:
            threshold = write_threshold(self._threshold)
            pair = any_values.key_value(THRESHOLD.encode(), from_python(threshold))
            self._suffix = pair if is_logs else b"th:" + threshold.encode()

    def may_be_short(self, wire: bytes) -> bool:
        """Whether no item of a request can have an attribute that says something of sampling."""
        return bool(self._suffix) and not any(mark in wire for mark in self._marks)

    def keeps(self, item: Any, *, is_short: bool) -> tuple[bool, str]:
        """Whether an opened span or log record is kept, and by which policy.

        ``is_short``: what `may_be_short` says of the bytes that it is from.
        """
        if is_short:
            found = self._short_log(item) if self.is_logs else self._short_span(item)
            if found is not None:
                return found
        return self._decision(item)

    def _short_span(self, span: Any) -> tuple[bool, str] | None:
        """The decision about a span that carries nothing; nothing if it has no trace id."""
        if span.trace_state:
            return None
        randomness = self._of_trace(span.trace_id)
        if randomness is None:
            return self._without
        is_hashed = self._rules.mode is Mode.HASH_SEED
        if randomness < self._threshold:
            return _LEFT if is_hashed else _LEFT_W3C
        if is_hashed:
            span.trace_state = b"ot=rv:%014x;%b" % (randomness, self._suffix)
            return _KEPT
        span.trace_state = b"ot=" + self._suffix
        return _KEPT_W3C

    def _short_log(self, record: Any) -> tuple[bool, str] | None:
        """The same of a log record; nothing if it has no randomness."""
        if self._rules.mode is not Mode.HASH_SEED:
            randomness = self._of_trace(record.trace_id)
            if randomness is None:
                return self._without
            if randomness < self._threshold:
                return _LEFT_W3C
            record.attributes.append(self._suffix)
            return _KEPT_W3C
        policy = HASH
        randomness = self._of_trace(record.trace_id) if self._rules.by_trace_id else None
        if randomness is None:
            policy = self._rules.from_attribute
            pairs = self._source.pick(record.attributes[:]) if policy else ()
            if not pairs:
                return self._without
            randomness = self._hashes.get(pairs[0])
            if randomness is None:
                data = self._attribute(record)
                if not data:
                    return None
                randomness = _remembered(self._hashes, pairs[0], hashed(data, self._state))
        if randomness < self._threshold:
            return False, policy
        content = from_python(write_randomness(randomness))
        record.attributes.extend((any_values.key_value(RANDOMNESS.encode(), content), self._suffix))
        return True, policy

    def _of_trace(self, trace_id: bytes) -> int | None:
        """The randomness of a trace id, nothing of none; spans of a trace come together."""
        known = self._known.get(trace_id)
        if known is None and any(trace_id):
            if self._rules.mode is not Mode.HASH_SEED:
                return of_trace_id(trace_id)
            known = _remembered(self._known, trace_id, hashed(trace_id, self._state))
        return known

    def _decision(self, item: Any) -> tuple[bool, str]:
        """The same for any item; the above is for most."""
        carrier, is_broken = self._carrier(item)
        randomness, policy, is_usable = self._randomness(item, carrier)
        failed = is_broken or not is_usable or policy == MISSING
        before = None if failed or carrier is None else carrier.threshold
        if carrier is not None and before is not None and randomness < before:
            carrier.threshold = None  # whoever wrote it would not have kept the item
            failed = True
        if not is_usable:
            carrier = None  # it stays as others wrote it
        if failed:
            threshold = NEVER if self._rules.fail_closed else ALWAYS
        else:
            threshold = self._decided(carrier)
        by_priority = self._priority(item)
        if by_priority is not None:
            threshold, policy = by_priority, PRIORITY
        is_kept = randomness >= threshold
        if is_kept and carrier is not None:
            # A probability never rises on the way.
            carrier.threshold = max(threshold, carrier.threshold or ALWAYS)
            carrier.write()
        return is_kept, policy

    def _carrier(self, item: Any) -> tuple[Carrier | None, bool]:
        try:
            return (RecordAttributes(item) if self.is_logs else TraceState(item)), False
        except ValueError:
            return None, True

    def _randomness(self, item: Any, carrier: Carrier | None) -> tuple[int, str, bool]:
        """The randomness, where it is from, and whether the mode can be used on the item."""
        if self._threshold == NEVER:
            return HIGHEST, PRIORITY, True
        trace_id = bytes(item.trace_id)
        trace_id = trace_id if any(trace_id) else b""
        if self._rules.mode is not Mode.HASH_SEED:
            if carrier is not None and carrier.randomness is not None:
                return carrier.randomness, "sampling_randomness", True
            if trace_id and carrier is not None:
                return of_trace_id(trace_id), "trace_id_w3c", True
            return HIGHEST, MISSING, True
        randomness, policy = HIGHEST, MISSING
        if trace_id and (self._rules.by_trace_id or not self.is_logs):
            randomness, policy = hashed(trace_id, self._state), HASH
        elif self.is_logs and (data := self._attribute(item)):
            randomness, policy = hashed(data, self._state), self._rules.from_attribute
        if carrier is None:
            return randomness, policy, True
        if carrier.randomness is not None or carrier.threshold is not None:
            return randomness, policy, False  # others sample consistently, and this mode does not
        if policy != MISSING or not self.is_logs:
            carrier.randomness = randomness
        return randomness, policy, True

    def _attribute(self, item: Any) -> bytes:
        """The bytes of the attribute that a log record is sampled by; empty if there is none."""
        name = self._rules.from_attribute
        value = Attributes(item).get(name) if name else None
        if isinstance(value, bytes):
            return value
        if value is None:
            return b""
        opened: Any = view(Signal.METRICS, Depth.FULL, "AnyValue").FromString(
            any_values.serialize(value)
        )
        return any_values.as_text(opened).encode()

    def _decided(self, carrier: Carrier | None) -> int:
        before = None if carrier is None else carrier.threshold
        if before is None or self._threshold == NEVER or self._rules.mode is Mode.HASH_SEED:
            return self._threshold
        if self._rules.mode is Mode.EQUALIZING:
            return max(self._threshold, before)
        share = probability_of(before) * self._probability
        threshold = threshold_of(share, self._rules.precision)
        return NEVER if threshold is None else threshold

    def _priority(self, item: Any) -> int | None:
        """The threshold that an attribute of the item asks for."""
        if not self.is_logs:
            if not _has_priority(item.attributes):
                return None
            number = _number(Attributes(item).get(_SPAN_PRIORITY))
            if number is None or number < 0:
                return None
            return ALWAYS if number else NEVER
        if not self._rules.priority:
            return None
        number = _number(Attributes(item).get(self._rules.priority), from_text=False)
        if number is None or number < 0:
            return None
        if not number:
            return NEVER
        return threshold_of(min(number / 100, 1.0), self._rules.precision)


def _remembered(known: dict[bytes, int], key: bytes, randomness: int) -> int:
    if len(known) >= _KNOWN_MAX:
        known.clear()
    if len(key) <= _KEY_BYTES_MAX:
        known[key] = randomness
    return randomness


def _has_priority(closed: Any) -> bool:
    """Whether one of a span's closed attributes may be its priority."""
    for attribute in closed:  # noqa: SIM110  a generator costs more than the search
        if _SPAN_PRIORITY_BYTES in attribute:
            return True
    return False


def _number(value: Any, *, from_text: bool = True) -> float | None:
    """A number that is not NaN; also from text where priorities may have become text."""
    if isinstance(value, str) and from_text:
        try:
            value = float(value) if _NUMBER.fullmatch(value) else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return value
