"""Log records as entries of Loki's streams. Never awaits.

Nearly all records of a program have attributes that were seen before, few or none of which are
labels: for those, `Translator` joins pieces of bytes that it knows. A record with an attribute that
means more (a hint, a label, a name that another attribute has, too) is opened (`special`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from mlsysops_exporters.loki.attributes import (
    Names,
    Pairs,
    metadata,
    opened,
    opened_value,
    without_repeats,
)
from mlsysops_exporters.loki.encoding import (
    Timestamps,
    entry_field,
    line_field,
    string_as_line,
)
from mlsysops_exporters.loki.fields import NOTHING, RARE, RESERVED, rare_bytes, severity_bytes
from mlsysops_exporters.loki.pieces import Pieces
from mlsysops_exporters.loki.resources import Resource, Rules, Scope
from mlsysops_exporters.loki.special import Special
from mlsysops_exporters.loki.spread import Spread
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.any_values import as_text
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlsysops_exporters.loki.config import Config

_fields: Final[Callable[[Any], tuple[Any, ...]]] = attrgetter(
    "time_unix_nano", "severity_number", "severity_text", "body", "attributes", *RARE
)
"""What nearly every record is asked for, in one call."""

_RESOURCES_MAX: Final = 500
_PAUSE_RECORDS: Final = 500
"""Records that are translated at a time: two milliseconds or less."""


@dataclass(slots=True)
class Streams:
    """Entries (fields of a stream, serialized) by tenant and by labels, in the order they came."""

    tenants: dict[str, dict[str, list[bytes]]] = field(default_factory=dict)

    def of(self, tenant: str, labels: str) -> list[bytes]:
        """The entries of one stream."""
        return self.tenants.setdefault(tenant, {}).setdefault(labels, [])


class Translator:
    """Makes entries of records. One for an exporter: it knows what it has seen.

    ``now_ns``: the time of records that have none. ``unsendable(cause)`` is told of each record
    that cannot be sent. ``spread(label, origin)``: of a label with very many values, and what of
    the configuration makes it.
    """

    def __init__(
        self,
        config: Config,
        now_ns: Callable[[], int],
        unsendable: Callable[[str], None],
        spread: Callable[[str, str], None] = lambda _label, _origin: None,
    ) -> None:
        self._spread = spread
        self._rules = Rules(config, Spread(now_ns, self._has_many_values).see)
        self._names = Names(RESERVED)
        self._special = Special(self._rules, self._names)
        self._now_ns = now_ns
        self._unsendable = unsendable
        self._pieces = Pieces(self._rules, self._names)
        self._timestamps = Timestamps()
        self._resources: dict[tuple[bytes, ...], Resource] = {}

    def _has_many_values(self, label: str) -> None:
        self._spread(label, self._rules.origin(label))

    def translate(self, wire: bytes, streams: Streams) -> Iterator[None]:
        """Add the records of one request to ``streams``, pausing now and then.

        Raises `MalformedError` if it is no request.
        """
        request = parse(Signal.LOGS, Depth.POINT, wire)
        for block in request.resource_logs:
            resource = self._resource(tuple(block.resource.attributes))
            for scoped in block.scope_logs:
                scope = self._scope(resource, scoped.scope)
                records = scoped.log_records
                if len(records) <= _PAUSE_RECORDS:
                    self._add(records, resource, scope, streams)
                    yield
                    continue
                for start in range(0, len(records), _PAUSE_RECORDS):
                    some = records[start : start + _PAUSE_RECORDS]
                    self._add(some, resource, scope, streams)
                    yield

    def _resource(self, raw: tuple[bytes, ...]) -> Resource:
        known = self._resources.pop(raw, None)
        if known is None:
            attributes = [opened(self._names, one) for one in raw]
            known = Resource(attributes, self._rules, self._names)
            self._pieces.forget_if_contested()
            if len(self._resources) >= _RESOURCES_MAX:
                del self._resources[next(iter(self._resources))]
        self._resources[raw] = known
        return known

    def _scope(self, resource: Resource, message: Any) -> Scope:
        raw = (message.name, message.version, *message.attributes)
        known = resource.scopes.get(raw)
        if known is None:
            name = message.name.decode(errors="replace")
            version = message.version.decode(errors="replace")
            pairs: Pairs = []
            for one in message.attributes:
                pairs += metadata(self._names, "scope", opened(self._names, one))[0]
            known = resource.add_scope(raw, Scope(name, version, pairs))
            self._pieces.forget_if_contested()
        return known

    def _add(self, records: Any, resource: Resource, scope: Scope, streams: Streams) -> None:
        """The inner loop: a record costs what these few lines cost."""
        pieces, stamp, join = self._pieces, self._timestamps.field, b"".join
        targets: dict[object, tuple[Callable[[bytes], None], bytes]] = {}
        if not (resource.is_plain and scope.is_plain):
            for record in records:
                self._add_special(record, resource, scope, streams)
            return
        for record in records:
            time_ns, severity, text, bodies, raw, *rare = _fields(record)
            key: object = (severity, text)
            try:
                try:
                    attributes = join(map(pieces.get, raw))  # type: ignore[arg-type]  # see below
                except TypeError:  # it got `None`: one is not known
                    found = pieces.of(raw)
                    if found is None:
                        self._add_special(record, resource, scope, streams)
                        continue
                    attributes, labels = found
                    key = (severity, text, labels)
                line = string_as_line(bodies[0]) if len(bodies) == 1 else None
                if line is None:
                    line = line_field(as_text(opened_value(bodies)))
            except MalformedError as failure:
                self._unsendable(failure.message)
                continue
            target = targets.get(key)
            if target is None:
                target = targets[key] = self._target(key, resource, scope, streams)
            append, rest = target
            if not time_ns:
                time_ns = record.observed_time_unix_nano or self._now_ns()
            if rare != NOTHING:
                line += rare_bytes(*rare)
            entry = stamp(time_ns) + line + attributes + rest
            append(entry_field(entry))

    def _target(
        self, key: Any, resource: Resource, scope: Scope, streams: Streams
    ) -> tuple[Callable[[bytes], None], bytes]:
        """Where records of a severity and with some labels go, and the end of their entries."""
        severity, text, labels = key if len(key) == 3 else (*key, ())
        named, surplus = resource.finished(severity, labels)
        rest = without_repeats(scope.pairs, resource.pairs, surplus)
        return streams.of("", named).append, severity_bytes(severity, text) + rest

    def _add_special(self, record: Any, resource: Resource, scope: Scope, streams: Streams) -> None:
        """A record that must be opened."""
        try:
            made = self._special.entry(record, resource, scope)
        except MalformedError as failure:
            self._unsendable(failure.message)
            return
        time_ns = record.time_unix_nano or record.observed_time_unix_nano or self._now_ns()
        entry = entry_field(self._timestamps.field(time_ns) + made.content)
        streams.of(made.tenant, made.labels).append(entry)

    def __repr__(self) -> str:
        return f"<Translator {self._pieces!r} resources={len(self._resources)}>"
