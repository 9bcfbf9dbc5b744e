"""Log records as entries of Loki's streams. Never awaits.

Nearly all records of a program have attributes that were seen before, few or none of which are
labels: for those, `Translator` joins pieces of bytes that it knows, and does not even open a record
of which all but time and body was seen before (`shapes`). A record with an attribute that
means more (a hint, a label, a name that another attribute has, too) is opened (`special`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

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
from mlsysops_exporters.loki.shapes import Shapes
from mlsysops_exporters.loki.special import Special
from mlsysops_exporters.loki.spread import Spread
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.any_values import as_text
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlsysops_exporters.loki.config import Config

_fields: Final[Callable[[Any], tuple[Any, ...]]] = attrgetter(
    "time_unix_nano", "severity_number", "severity_text", "body", "attributes", *RARE
)
"""What nearly every record is asked for, in one call."""

_from_bytes: Final = int.from_bytes
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
        self._pieces = Pieces(self._rules, self._names, self._forget)
        self._timestamps = Timestamps()
        self._shapes = Shapes()
        self._known = 0
        self._record = view(Signal.LOGS, Depth.POINT, "LogRecord").FromString
        self._resources: dict[tuple[bytes, ...], Resource] = {}

    def _forget(self) -> None:
        """A name turned out to be that of another attribute, too."""
        self._shapes.forget()

    def _has_many_values(self, label: str) -> None:
        self._spread(label, self._rules.origin(label))

    def translate(self, wire: bytes, streams: Streams) -> Iterator[None]:
        """Add the records of one request to ``streams``, pausing now and then.

        Raises `MalformedError` if it is no request.
        """
        is_closed = self._shapes.is_worth_it()
        add = self._add_closed if is_closed else self._add
        known = self._known
        request = parse(Signal.LOGS, Depth.RECORD if is_closed else Depth.POINT, wire)
        total = 0
        for block in request.resource_logs:
            resource = self._resource(tuple(block.resource.attributes))
            for scoped in block.scope_logs:
                scope = self._scope(resource, scoped.scope)
                records = scoped.log_records
                total += len(records)
                if len(records) <= _PAUSE_RECORDS:
                    add(records, resource, scope, streams)
                    yield
                    continue
                for start in range(0, len(records), _PAUSE_RECORDS):
                    add(records[start : start + _PAUSE_RECORDS], resource, scope, streams)
                    yield
        if is_closed:
            known = self._known - known
            self._shapes.count(known, total - known)
        else:
            self._shapes.skipped(total)

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

    def _add_closed(self, records: Any, resource: Resource, scope: Scope, streams: Streams) -> None:
        """The inner loop for records whose shapes are known: half the price of `_add`."""
        targets: dict[object, tuple[Callable[[bytes], None], bytes]] = {}
        if not (resource.is_plain and scope.is_plain):
            self._add([self._opened(raw) for raw in records], resource, scope, streams)
            return
        shapes, stamp = self._shapes, self._timestamps.field
        get_head, get_tail = shapes.head, shapes.tail
        for raw in records:
            at = raw.find(b"*", 9)  # the tag of the body, behind the time
            head = get_head(raw[9:at]) if at >= 9 else None
            if head is None or raw[0] != 0x09 or at + 2 >= len(raw):
                self._open(raw, resource, scope, streams)
                continue
            size = raw[at + 1]
            at += 2
            if size >= 0x80:
                size += (raw[at] << 7) - 0x80
                if raw[at] >= 0x80:
                    self._open(raw, resource, scope, streams)
                    continue
                at += 1
            end = at + size
            line = string_as_line(raw[at:end])
            time_ns = _from_bytes(raw[1:9], "little")
            if line is None or end > len(raw) or not time_ns:
                self._open(raw, resource, scope, streams)
                continue
            tail = get_tail(raw[end:])
            if tail is None:
                found = shapes.tail_with_ids(raw[end:])
                if found is None:
                    self._open(raw, resource, scope, streams)
                    continue
                tail, rare = found
                line += rare
            attributes, labels = tail
            key = (*head, labels)
            target = targets.get(key)
            if target is None:
                target = targets[key] = self._target(key, resource, scope, streams)
            append, rest = target
            append(entry_field(stamp(time_ns) + line + attributes + rest))
            self._known += 1

    def _open(self, raw: bytes, resource: Resource, scope: Scope, streams: Streams) -> None:
        """A record with something that is not known yet."""
        try:
            record = self._opened(raw)
            found = self._pieces.of(record.attributes)
        except MalformedError as failure:
            self._unsendable(failure.message)
            return
        if found is not None:
            self._shapes.learn(raw, record, found)
        self._add([record], resource, scope, streams)

    def _opened(self, raw: bytes) -> Any:
        try:
            return self._record(raw)
        except DecodeError as error:
            raise MalformedError(f"no log record: {error}") from error

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
