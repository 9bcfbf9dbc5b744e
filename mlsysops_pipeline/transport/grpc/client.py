"""The native gRPC client: sockets, connecting and waiting around `ClientConnection`.

Unary calls only, which is all that OTLP needs. A channel connects when the first call is made and
again after a pause that grows (with jitter) while the peer cannot be reached, until nobody has
called for a while; meanwhile calls fail at once, because whoever sends has a queue and a retry of
his own, and is told when the peer is there. All calls share one connection,
or take turns over one for each address of the peer's name if they are balanced; others are opened
only when the peer takes no more calls on those.

What the peer certainly did not look at (refused streams, those above a GOAWAY's last one) is sent
again by the channel itself.
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.transport.dialing import open_socket, resolve
from mlsysops_pipeline.transport.grpc.link import CLOSE_TIMEOUT_S, GrpcLink
from mlsysops_pipeline.transport.http2.answers import Outcome
from mlsysops_pipeline.transport.http2.client import ClientCall, ClientTimes
from mlsysops_pipeline.transport.proxies import tunnel

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.clock import Clock, Timer
    from mlsysops_pipeline.tasks import Tasks
    from mlsysops_pipeline.transport.dialing import Target
    from mlsysops_pipeline.transport.http2.client import Message
    from mlsysops_pipeline.transport.http2.headers import Field, Fields
    from mlsysops_pipeline.transport.proxies import Proxy

CONNECT_TIMEOUT_S: Final = 20.0
"""For finding the peer's addresses, connecting, TLS and the first SETTINGS, together."""

BACKOFF_FIRST_S: Final = 1.0
BACKOFF_FACTOR: Final = 1.6
BACKOFF_MAX_S: Final = 5.0
BACKOFF_LEAST_S: Final = 0.5
BACKOFF_JITTER: Final = 0.2
"""From one attempt to connect to the next: as gRPC's, but a peer that returns is found sooner. An
attempt that took long is followed by the next after the least pause."""

PATIENCE_S: Final = 0.3
"""How long calls wait for an attempt to connect again, if they are told about its success."""

SEARCH_S: Final = 60.0
"""How long after a call the channel goes on looking for a peer by itself. Whoever tries again does
so more often than that."""

CONNECTIONS_MAX: Final = 4
"""Connections that are opened because others are full."""

ADDRESSES_MAX: Final = 8
"""Addresses of a name that calls take turns over."""

SPREAD_INTERVAL_S: Final = 30.0
"""Before an address that could not be reached, beside others that can, is tried again."""

CALLS_WAITING_MAX: Final = 10_000
"""Calls that wait for a connection or for room on one; above it they fail at once."""

_RESENDS_MAX: Final = 4
_FAILURES_MAX: Final = 100
_PING_AFTER_MAX_S: Final = 7_200.0


class ContextSource(Protocol):
    """Where the TLS context of the next connection comes from."""

    def current(self) -> ssl.SSLContext:
        """The context to use now."""


class GrpcChannel:
    """A peer, as seen by those who call it.

    ``tls``: ``None`` for plain text; ``server_name``: what its certificate must say, instead of
    the host. ``pinned``: fields that most calls have. ``waits_for_ready``: calls wait for a peer
    that cannot be reached until their deadline, instead of failing at once. ``is_balanced``: all
    addresses of the peer's name are used in turn, not the first that answers. ``proxy``: leads to
    the peer, which is not balanced then.

    ``on_state(is_up, message)`` is called when the peer is reached, and when it is not: once for
    each change. ``on_ready()`` is called when a connection was made and there was none; it says
    whether that woke anybody up.
    ``waiting``: calls for which there is no room yet.
    """

    def __init__(
        self,
        target: Target,
        *,
        clock: Clock,
        tasks: Tasks,
        tls: ContextSource | None = None,
        server_name: str = "",
        times: ClientTimes | None = None,
        pinned: Iterable[Field] = (),
        waits_for_ready: bool = False,
        is_balanced: bool = True,
        proxy: Proxy | None = None,
        on_state: Callable[[bool, str], None] | None = None,
        on_ready: Callable[[], object] | None = None,
    ) -> None:
        self.target = target
        self.clock = clock
        self.times = times or ClientTimes()
        self.pinned = tuple(pinned)
        self._tasks = tasks
        self._tls = tls
        self._server_name = server_name or target.host or "localhost"
        self._waits_for_ready = waits_for_ready
        self._is_balanced = is_balanced and proxy is None
        self._proxy = proxy
        self._on_state = on_state
        self._on_ready = on_ready
        self._is_up: bool | None = None
        self._links: list[GrpcLink] = []
        self._turn = 0
        self._unlinked = 0
        self._spread_timer: Timer | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.waiting: deque[ClientCall] = deque()
        self._failures = 0
        self._retry_at_s = 0.0
        self._connecting_since_s = 0.0
        self._called_s = -math.inf
        self._retry_timer: Timer | None = None
        self._last_error = ""
        self._is_closed = False

    async def call(
        self, fields: Fields, message: Message, timeout_s: float, *, is_compressed: bool = False
    ) -> Outcome:
        """Make one call: ``fields`` is the whole head of the request (see `request_fields`).

        ``message``: already compressed if ``is_compressed``. Returns however the call ends;
        cancelling the caller resets the call. ``timeout_s``: infinity is for ever.
        """
        loop = asyncio.get_running_loop()
        self._called_s = now_s = self.clock.monotonic()
        deadline_s = now_s + timeout_s
        for _ in range(_RESENDS_MAX):
            call = ClientCall(fields, message, deadline_s, is_compressed=is_compressed)
            call.waiter = loop.create_future()
            timer = None
            if not self._begin(call, now_s):
                refusal = self._refusal()
                if refusal is not None:
                    return refusal
                timer = self._wait(call, now_s)
            try:
                outcome = cast(Outcome, await call.waiter)
            finally:
                if timer is not None:
                    timer.cancel()
                if call.outcome is None:
                    self._forget(call)
            if not outcome.is_unprocessed:
                break
            now_s = self.clock.monotonic()
        return outcome

    def _wait(self, call: ClientCall, now_s: float) -> Timer | None:
        """Let a call wait for a connection, or for room on one."""
        self.waiting.append(call)
        self._connect_if_needed()
        if call.deadline_s == math.inf:
            return None
        delay_s = max(call.deadline_s - now_s, 0.0)
        return self.clock.call_later(delay_s, lambda: self._expire(call))

    def _begin(self, call: ClientCall, now_s: float) -> bool:
        """Send the call on the next connection that has room."""
        links = self._links
        if len(links) == 1:
            return links[0].begin(call, now_s)
        for _ in range(len(links)):
            self._turn = (self._turn + 1) % len(links)
            if links[self._turn].begin(call, now_s):
                return True
        return False

    def _refusal(self) -> Outcome | None:
        """Why a call cannot even wait."""
        if self._is_closed:
            return Outcome(Code.UNAVAILABLE, "this exporter is shutting down")
        if len(self.waiting) >= CALLS_WAITING_MAX:
            return Outcome(Code.UNAVAILABLE, "too many calls wait for the peer")
        if self._waits_for_ready or self._links:
            return None
        now_s = self.clock.monotonic()
        if self._connecting is not None:
            # Who fails now is told when the peer is there, as are all who failed before: then the
            # oldest goes first. But an attempt that has just begun is worth a moment.
            is_late = now_s >= self._connecting_since_s + PATIENCE_S
            if self._on_ready is None or self._is_up is None or not is_late:
                return None
            return Outcome(Code.UNAVAILABLE, self._last_error or f"connecting to {self.target}")
        if self._last_error and now_s < self._retry_at_s:
            return Outcome(Code.UNAVAILABLE, self._last_error)
        return None

    def _expire(self, call: ClientCall) -> None:
        """The deadline of a call that may still be waiting here."""
        if call.stream is not None or call.waiter.done():
            return
        self.waiting.remove(call)
        state = self._last_error or f"no connection to {self.target} yet"
        if self._links:
            state = f"{self.target} took no more calls"
        _settle(call, Outcome(Code.DEADLINE_EXCEEDED, f"the deadline has passed: {state}"))

    def _forget(self, call: ClientCall) -> None:
        """Its caller was cancelled."""
        if call.stream is None:
            if call in self.waiting:
                self.waiting.remove(call)
            return
        for link in self._links:
            if link.cancel(call):
                break
        if self.waiting:
            self.pump()

    # For links.

    def pump(self) -> None:
        """There may be room: begin calls that wait."""
        waiting = self.waiting
        while waiting:
            if not self._begin(waiting[0], self.clock.monotonic()):
                self._connect_if_needed()
                return
            waiting.popleft()

    def on_answers(self, calls: Iterable[ClientCall]) -> None:
        """The peer answered: connecting to it makes sense."""
        if self._failures:
            self._failures = 0
            self._retry_at_s = 0.0
        self.settle(calls)

    @staticmethod
    def settle(calls: Iterable[ClientCall]) -> None:
        """Tell those who wait that their calls are over."""
        for call in calls:
            if call.outcome is not None:
                _settle(call, call.outcome)

    def remove(self, link: GrpcLink, message: str) -> None:
        """A connection is over."""
        if link not in self._links:
            return
        self._links.remove(link)
        if link.grpc.was_called_calm:
            self._ping_less()
        # That a connection ends is no news: proxies end idle ones. Only who cannot connect again
        # is down. But one that ended before it was of any use counts as a failure to connect.
        if not link.grpc.connection.completed_streams:
            self._pause(
                f"{self.target}: {message or 'the peer ended the connection'}",
                self.clock.monotonic(),
            )
        if self.waiting or (self._is_wanted and not self._usable()):
            self._connect_if_needed()
        elif self._is_balanced and self._links:
            self._spread_later(BACKOFF_FIRST_S)

    def _ping_less(self) -> None:
        """The peer sent us away for pinging too often (gRPC proposal A8)."""
        after_s = min(self.times.ping_after_s * 2, _PING_AFTER_MAX_S)
        self.times = replace(self.times, ping_after_s=after_s)

    def _report(self, *, is_up: bool, message: str) -> None:
        if is_up is not self._is_up:
            self._is_up = is_up
            if self._on_state is not None:
                self._on_state(is_up, message)

    # Connecting.

    def _connect_if_needed(self) -> None:
        """Open a connection if that would help and is not being done already."""
        if self._is_closed or self._connecting is not None or self._retry_timer is not None:
            return
        usable = self._usable()
        if len(usable) >= CONNECTIONS_MAX or any(link.is_paused for link in usable):
            return
        delay_s = self._retry_at_s - self.clock.monotonic()
        if delay_s > 0:
            if not usable:
                self._retry_timer = self.clock.call_later(delay_s, self._on_retry_timer)
            return
        self._connecting = self._tasks.spawn("connect", self._connect())

    def _usable(self) -> list[GrpcLink]:
        return [link for link in self._links if not link.grpc.is_draining]

    @property
    def _is_wanted(self) -> bool:
        """Whether somebody has called who will call again."""
        return bool(self.waiting) or self.clock.monotonic() < self._called_s + SEARCH_S

    def _on_retry_timer(self) -> None:
        self._retry_timer = None
        if self._is_wanted:
            self._connect_if_needed()

    def _spread_later(self, delay_s: float) -> None:
        """See after a while whether there are addresses without a connection."""
        if self._spread_timer is None and not self._is_closed:
            self._spread_timer = self.clock.call_later(delay_s, self._on_spread_timer)

    def _on_spread_timer(self) -> None:
        self._spread_timer = None
        self._spread()

    def _spread(self) -> None:
        """Connect to another address beside those in use. Without any in use there is no need."""
        if self._connecting is None and 0 < len(self._usable()) < ADDRESSES_MAX:
            self._connecting = self._tasks.spawn("connect", self._connect(is_spare=True))

    async def _connect(self, *, is_spare: bool = False) -> None:
        """Make one attempt, whatever its result. ``is_spare``: only to an address not in use."""
        started_s = self._connecting_since_s = self.clock.monotonic()
        attempt = self._tasks.spawn("open", self._open(is_spare=is_spare))
        timer = self.clock.call_later(CONNECT_TIMEOUT_S, lambda: _cancel(attempt))
        error = "an internal error"
        try:
            await asyncio.wait({attempt})
            if attempt.cancelled():
                error = f"no connection within {CONNECT_TIMEOUT_S:g} s"
            else:
                error = attempt.result()
        finally:
            timer.cancel()
            attempt.cancel()
            self._connecting = None
            self._take_result(error, started_s, is_spare=is_spare)

    def _take_result(self, error: str, started_s: float, *, is_spare: bool) -> None:
        if self._is_closed:
            return
        if not error:
            self._report(is_up=True, message=f"connected to {self.target}")
            self.pump()
            if self._is_balanced and self._unlinked:
                self._spread()
            return
        if is_spare and self._usable():
            self._spread_later(SPREAD_INTERVAL_S)
            return
        self._pause(f"cannot connect to {self.target}: {error}", started_s)
        if self._usable():
            return  # those that wait go on waiting for the connections that there are
        self._report(is_up=False, message=self._last_error)
        if self._is_wanted:
            self._connect_if_needed()
        if self._waits_for_ready:
            return
        waiting, self.waiting = self.waiting, deque()
        for call in waiting:
            _settle(call, Outcome(Code.UNAVAILABLE, self._last_error))

    def _pause(self, error: str, started_s: float) -> None:
        """Try again after a while, a longer one each time (OH-10, gRPC connection backoff).

        ``started_s``: when the attempt that failed began.
        """
        pause_s = min(BACKOFF_FIRST_S * BACKOFF_FACTOR**self._failures, BACKOFF_MAX_S)
        pause_s *= random.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)  # noqa: S311  spreads load
        self._failures = min(self._failures + 1, _FAILURES_MAX)
        least_s = self.clock.monotonic() + BACKOFF_LEAST_S
        self._retry_at_s = max(started_s + pause_s, least_s)
        self._last_error = error

    async def _open(self, *, is_spare: bool) -> str:
        """Connect and wait until the peer has spoken HTTP/2; says what went wrong, if anything."""
        loop = asyncio.get_running_loop()
        link = GrpcLink(self)
        try:
            place = self.target if self._proxy is None else self._proxy.target
            addresses = await resolve(place, shuffled=self._is_balanced)
            in_use = {known.address for known in self._usable()}
            unused = [address for address in addresses if address not in in_use]
            if in_use:
                # A server has an address of each family more often than not: once is enough.
                families = {address.family for address in in_use if address is not None}
                unused = [address for address in unused if address.family in families]
            self._unlinked = max(len(unused) - 1, 0)
            if is_spare and not unused:
                return ""
            if self._is_balanced:
                addresses = unused or addresses
            sock, link.address = await open_socket(addresses, self.clock, self._tasks)
            await self._tunnel(sock)
            options: dict[str, Any] = {}
            if self._tls is not None:
                options = {"ssl": self._tls.current(), "server_hostname": self._server_name}
            make = loop.create_unix_connection if self.target.unix_path else loop.create_connection
            await make(lambda: link, sock=sock, **options)
            await link.opened
        except asyncio.CancelledError:
            link.abort()
            raise
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not accepted: {error.verify_message}"
        except ssl.SSLError as error:
            return f"TLS failed: {error.reason or error}"
        except OSError as error:
            return str(error.strerror or error)
        except ValueError as error:
            return str(error)  # a host name that is none: its codec, or OpenSSL, refuses it
        if link.ended.done() or link.grpc.is_draining:
            return link.problem or "the peer ended the connection"
        self._links.append(link)
        # At once: what is called in a moment, and goes first then, is newer than what waits.
        if len(self._links) == 1 and self._on_ready is not None and self._on_ready():
            # Whoever is woken up by that has waited longer than those who wait here.
            loop.call_soon(self.pump)
        else:
            self.pump()
        return ""

    async def _tunnel(self, sock: socket.socket) -> None:
        """Go on to the peer, if the socket leads to a proxy."""
        if self._proxy is None:
            return
        try:
            await tunnel(sock, self._proxy, self.target)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        """Fail what waits, say goodbye and close. Calls that are under way are given up."""
        self._is_closed = True
        for timer in (self._retry_timer, self._spread_timer):
            if timer is not None:
                timer.cancel()
        self._retry_timer = self._spread_timer = None
        if self._connecting is not None:
            self._connecting.cancel()
        waiting, self.waiting = self.waiting, deque()
        for call in waiting:
            _settle(call, Outcome(Code.UNAVAILABLE, "this exporter is shutting down"))
        links = list(self._links)
        for link in links:
            link.close()
        ended = [link.ended for link in links if not link.ended.done()]
        if ended:
            cuts = [self.clock.call_later(CLOSE_TIMEOUT_S, link.abort) for link in links]
            await asyncio.wait(ended)
            for cut in cuts:
                cut.cancel()

    def __repr__(self) -> str:
        state = "up" if self._is_up else "down"
        return (
            f"<GrpcChannel {self.target} {state} connections={len(self._links)}"
            f" waiting={len(self.waiting)} failures={self._failures}>"
        )


def _settle(call: ClientCall, outcome: Outcome) -> None:
    call.outcome = outcome
    if not call.waiter.done():
        call.waiter.set_result(outcome)


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
