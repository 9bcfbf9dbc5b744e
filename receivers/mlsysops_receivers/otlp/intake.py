"""The way of a request of one signal into its pipelines, whatever transport it came by."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.fanout import prompt
from mlsysops_pipeline.pdata.counting import checked_counter
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.transport.outgoing import read_hops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlsysops_pipeline.component import Entry, Rest, Settings
    from mlsysops_receivers.otlp.config import Config

METADATA_MAX: Final = 1_024
_UNITS: Final = {Signal.METRICS: "{datapoint}", Signal.LOGS: "{record}", Signal.TRACES: "{span}"}


class Intake:
    """Checks, counts and hands on. ``admit`` is that of the pipelines: see `Entry.admit`."""

    __slots__ = (
        "_accept",
        "_accepted",
        "_count",
        "_refused",
        "_validate",
        "admit",
        "signal",
    )

    def __init__(
        self, signal: Signal, entry: Entry, config: Config, settings: Settings, transport: str
    ) -> None:
        self.signal = signal
        self.admit = entry.admit
        self._accept = prompt(entry)
        self._count = checked_counter(signal, config.max_elements)
        self._validate: Callable[[Signal, bytes], None] | None = None
        if config.validation == "full":
            from mlsysops_pipeline.pdata.validation import validate  # noqa: PLC0415  if it is on

            self._validate = validate
        attributes = {"receiver": str(settings.id), "transport": transport}
        name, unit = signal.item_noun, _UNITS[signal]
        self._accepted = settings.meter.counter(f"otelcol_receiver_accepted_{name}", unit).bind(
            attributes
        )
        self._refused = settings.meter.counter(f"otelcol_receiver_refused_{name}", unit).bind(
            attributes
        )

    async def take(self, wire: bytes, metadata: Metadata) -> None:
        """Return when the pipelines took responsibility for a serialized request.

        A request without items is a success that nobody hears of (OC-3). Raises `PeerError` if
        the request is at fault, `ConsumeError` if the pipelines do not accept it.
        """
        rest = self.take_now(wire, metadata)
        if rest is not None:
            await rest()

    def take_now(self, wire: bytes, metadata: Metadata) -> Rest | None:
        """The same as far as it goes without waiting: see `PromptConsumer.accept_now`."""
        items = self._count(wire)
        if self._validate is not None:
            self._validate(self.signal, wire)
        if not items:
            return None
        try:
            rest = self._accept(Payload(self.signal, wire, metadata, items=items))
        except Exception:
            self._refused.add(items)
            raise
        if rest is not None:
            return partial(self._finish, rest, items)
        self._accepted.add(items)
        return None

    async def _finish(self, rest: Rest, items: int) -> None:
        try:
            await rest()
        except Exception:
            self._refused.add(items)
            raise
        self._accepted.add(items)

    def __repr__(self) -> str:
        return f"<Intake {self.signal} accepted={self._accepted.value}>"


class Senders:
    """The `Metadata` of requests by one transport, kept because it is the same for most of them."""

    def __init__(self, transport: str) -> None:
        self._transport = transport
        self._known: dict[tuple[str, str], Metadata] = {}

    def metadata(
        self,
        peer: str,
        hops: str | None,
        headers: Mapping[str, tuple[str, ...]] | None,
        auth: Mapping[str, str],
    ) -> Metadata:
        """What is known about a request. ``headers``: ``None`` unless they are to be kept."""
        if headers is not None or auth:
            return Metadata(self._transport, peer, headers or {}, auth, read_hops(hops or ""))
        key = (peer, hops or "")
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= METADATA_MAX:
                self._known.clear()
            known = Metadata(self._transport, peer, hops=read_hops(hops or ""))
            self._known[key] = known
        return known

    def __repr__(self) -> str:
        return f"<Senders {self._transport} known={len(self._known)}>"
