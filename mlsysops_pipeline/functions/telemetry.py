"""What a user's function is given: the telemetry of one payload, open for reading and changing.

The objects here are thin: each holds a message of the view in ``message``, for whatever has no
property. They are used by one thread at a time and mean nothing after the function has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.functions.attributes import Attributes, from_python, to_python
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import PATHS, Depth, parse, serialize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlsysops_pipeline.pdata.payload import Metadata

_NO_RECORDED_VALUE = 1
_METRIC = 3
_SINGLY_MAX = 64
"""Up to as many removals from one list are made singly; each moves what is behind it."""


class ViewError(TypeError):
    """A function asked for what its ``view`` leaves closed, or what its signal does not have."""


class Part:
    """Anything that can be dropped. ``message``: the part as the view has it.

    ``resource`` is the group that the part is in, for a resource itself.
    """

    __slots__ = ("message", "resource", "telemetry")

    def __init__(self, telemetry: Telemetry, message: Any, resource: Resource | None) -> None:
        self.telemetry = telemetry
        self.message = message
        self.resource: Resource = self if resource is None else resource  # type: ignore[assignment]

    @property
    def attributes(self) -> Attributes:
        """Its attributes, as a mapping that can be changed."""
        return Attributes(self.message)

    def drop(self) -> None:
        """Take it out, with all that is in it, when the function returns."""
        self.telemetry.drop(self.message)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.message.DESCRIPTOR.name}>"


class Resource(Part):
    """A resource and all that came from it. ``message`` is the ``Resource{Metrics,Logs,Spans}``."""

    __slots__ = ()

    @property
    def attributes(self) -> Attributes:
        """The attributes of the resource."""
        return Attributes(self.message.resource)


class Metric(Part):
    """A metric; ``scope`` is the ``ScopeMetrics`` that it is in."""

    __slots__ = ("scope",)

    def __init__(self, telemetry: Telemetry, message: Any, resource: Resource, scope: Any) -> None:
        super().__init__(telemetry, message, resource)
        self.scope = scope

    @property
    def name(self) -> str:
        """Its name."""
        return _text(self.message.name)

    @name.setter
    def name(self, name: str) -> None:
        self.message.name = name.encode()

    @property
    def unit(self) -> str:
        """Its unit."""
        return _text(self.message.unit)

    @unit.setter
    def unit(self, unit: str) -> None:
        self.message.unit = unit.encode()

    @property
    def type(self) -> str:
        """One of gauge, sum, histogram, exponential_histogram, summary; empty if it has no data."""
        return self.message.WhichOneof("data") or ""

    @property
    def attributes(self) -> Attributes:
        """A metric has none: its points and its resource have."""
        raise ViewError("a metric has no attributes: its points and its resource have")

    def points(self) -> Iterator[Point]:
        """Its points. Needs the view `point` or `full`."""
        self.telemetry.need("points")
        if self.type:
            for message in list(getattr(self.message, self.type).data_points):
                yield Point(self.telemetry, message, self)


class Point(Part):
    """A data point of ``metric``."""

    __slots__ = ("metric",)

    def __init__(self, telemetry: Telemetry, message: Any, metric: Metric) -> None:
        super().__init__(telemetry, message, metric.resource)
        self.metric = metric

    @property
    def value(self) -> float | int | None:
        """The number of a gauge or sum; ``None`` where there is none, and for histograms.

        Assigning an `int` writes an integer, anything else a double. Raises `ViewError` when
        assigned to a histogram or summary.
        """
        if self.metric.type not in {"gauge", "sum"} or self.message.flags & _NO_RECORDED_VALUE:
            return None
        kind = self.message.WhichOneof("value")
        return None if kind is None else getattr(self.message, kind)

    @value.setter
    def value(self, value: float) -> None:
        if self.metric.type not in {"gauge", "sum"}:
            raise ViewError(f"a point of a {self.metric.type} has no single value")
        _set_number(self.message, value)

    @property
    def time_ns(self) -> int:
        """When it was measured, in nanoseconds since 1970."""
        return int(self.message.time_unix_nano)

    def add_gauge(
        self, name: str, value: float, unit: str = "", attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Add a point to the gauge ``name`` beside this one: same resource, scope and time.

        It has the attributes of this point, and ``attributes`` over them.
        """
        self.telemetry.add_gauge(self, name, value, unit, attributes or {})


class LogRecord(Part):
    """A log record."""

    __slots__ = ()

    @property
    def body(self) -> Any:
        """Its body as a Python value. Needs the view `full`."""
        self.telemetry.need("body")
        return to_python(self.message.body)

    @body.setter
    def body(self, value: Any) -> None:
        self.telemetry.need("body")
        self.message.body.ParseFromString(from_python(value))

    @property
    def severity(self) -> int:
        """Its severity number, 1 (trace) to 24 (fatal); 0 if it has none."""
        return int(self.message.severity_number)

    @property
    def time_ns(self) -> int:
        """When it happened, or else was observed, in nanoseconds since 1970."""
        return int(self.message.time_unix_nano or self.message.observed_time_unix_nano)


class Span(Part):
    """A span."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """Its name."""
        return _text(self.message.name)

    @name.setter
    def name(self, name: str) -> None:
        self.message.name = name.encode()

    @property
    def trace_id(self) -> bytes:
        """The id of its trace, 16 bytes."""
        return bytes(self.message.trace_id)

    @property
    def duration_s(self) -> float:
        """How long it took, in seconds."""
        return float(self.message.end_time_unix_nano - self.message.start_time_unix_nano) / 1e9


class Telemetry:
    """One payload, opened as deep as ``view`` says: `resource`, `record`, `point` or `full`.

    ``requests`` are the opened messages, ``metadata`` is what the transport knew. Use it in tests
    of functions too: ``Telemetry(payload)``, and `payload` for the result. Raises `MalformedError`.
    """

    __slots__ = ("_dropped", "_gauges", "_wires", "added", "metadata", "requests", "signal", "view")

    def __init__(self, payload: Payload, view: str = "full") -> None:
        self.signal: Signal = payload.signal
        self.metadata: Metadata = payload.metadata
        self.view = view
        self.added = 0
        """Points that `Point.add_gauge` has made."""
        self.requests = [parse(payload.signal, Depth(view), wire) for wire in payload.wires]
        self._wires = payload.wires
        self._dropped: dict[int, Any] = {}
        self._gauges: dict[tuple[int, str], Any] = {}

    def resources(self) -> Iterator[Resource]:
        """Every resource, in every view."""
        name = PATHS[self.signal][0][0]
        for request in self.requests:
            for message in list(getattr(request, name)):
                yield Resource(self, message, None)

    def metrics(self) -> Iterator[Metric]:
        """Every metric. Needs the view `record`, `point` or `full`."""
        self._need_signal(Signal.METRICS)
        for resource, scope in self._scopes():
            for message in list(scope.metrics):
                yield Metric(self, message, resource, scope)

    def points(self, name: str | None = None) -> Iterator[Point]:
        """Every data point, or those of the metrics called ``name``. Needs `point` or `full`."""
        for metric in self.metrics():
            if name is None or name == metric.name:
                yield from metric.points()

    def log_records(self) -> Iterator[LogRecord]:
        """Every log record. Needs the view `point` or `full`."""
        self._need_signal(Signal.LOGS)
        self.need("log records")
        for resource, scope in self._scopes():
            for message in list(scope.log_records):
                yield LogRecord(self, message, resource)

    def spans(self) -> Iterator[Span]:
        """Every span. Needs the view `point` or `full`."""
        self._need_signal(Signal.TRACES)
        self.need("spans")
        for resource, scope in self._scopes():
            for message in list(scope.spans):
                yield Span(self, message, resource)

    def _scopes(self) -> Iterator[tuple[Resource, Any]]:
        if self.view == "resource":
            raise ViewError("the view resource opens nothing but resources")
        name = PATHS[self.signal][1][0]
        for resource in self.resources():
            for scope in list(getattr(resource.message, name)):
                yield resource, scope

    def need(self, what: str) -> None:
        """Raise `ViewError` if the view leaves ``what`` closed."""
        views = {"full"} if what == "body" else {"point", "full"}
        if self.view not in views:
            raise ViewError(f"the view {self.view} has no {what}: use {' or '.join(sorted(views))}")

    def _need_signal(self, signal: Signal) -> None:
        if self.signal is not signal:
            raise ViewError(f"these are {self.signal}, not {signal}")

    def drop(self, message: Any) -> None:
        """See `Part.drop`. Whoever is left empty by it goes too."""
        self._dropped[id(message)] = message  # held, so that the id stays its own

    def add_gauge(
        self, point: Point, name: str, value: float, unit: str, attributes: Mapping[str, Any]
    ) -> None:
        """See `Point.add_gauge`."""
        scope = point.metric.scope
        gauge = self._gauges.get((id(scope), name))
        if gauge is None:
            metric = scope.metrics.add(name=name.encode(), unit=unit.encode())
            gauge = self._gauges[id(scope), name] = metric.gauge
        added = gauge.data_points.add(time_unix_nano=point.message.time_unix_nano)
        added.attributes.extend(point.message.attributes)
        _set_number(added, value)
        if attributes:
            Attributes(added).update(attributes)
        self.added += 1

    def payload(self) -> Payload:
        """What it is now, as a payload. What was dropped is gone from the messages afterwards.

        Members in which nothing is left are left out, so it may have none.
        """
        if self._dropped:
            for request in self.requests:
                self._sweep(request, 0)
            self._dropped.clear()
        wires = []
        for request in self.requests:
            wire = serialize(request)
            if wire:
                wires.append(wire)
        same = len(wires) == len(self._wires) and all(
            new == old for new, old in zip(wires, self._wires, strict=True)
        )
        return Payload(self.signal, self._wires if same else wires, self.metadata)

    def _sweep(self, message: Any, level: int) -> bool:
        """Remove what was dropped below ``message``; whether that left it empty."""
        if self.signal is Signal.METRICS and level == _METRIC:
            kind = message.WhichOneof("data")
            if kind is None:
                return False
            message, level = getattr(message, kind), level + 1
        path = PATHS[self.signal]
        container = getattr(message, path[level][0])
        if message.DESCRIPTOR.fields_by_name[path[level][0]].message_type is None:
            return False  # closed: nobody had it to drop it
        is_last = level == len(path) - 1
        gone = {
            index
            for index, child in enumerate(container)
            if id(child) in self._dropped or (not is_last and self._sweep(child, level + 1))
        }
        _remove(container, gone)
        return bool(gone) and not container

    def __repr__(self) -> str:
        return f"<Telemetry {self.signal} view={self.view} requests={len(self.requests)}>"


def _remove(container: Any, gone: set[int]) -> None:
    if len(gone) <= _SINGLY_MAX:
        for index in sorted(gone, reverse=True):
            del container[index]
        return
    kept: Sequence[Any] = [child for index, child in enumerate(container) if index not in gone]
    del container[:]
    container.extend(kept)


def _set_number(message: Any, value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        message.as_int = value
    else:
        message.as_double = float(value)
    message.flags &= ~_NO_RECORDED_VALUE


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
