"""How long a server's connection may live, and how it ends: timeouts, keepalive, draining.

A graceful end takes two GOAWAYs (RFC 9113, section 6.8): the first names the highest possible
stream and a PING follows; when that comes back, the client has seen it, and the second names the
last stream that will be served. The connection closes when its calls are done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.transport.http2 import limits
from mlsysops_pipeline.transport.http2.frames import ErrorCode

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.connection import Connection

_DRAIN_PING: Final = b"drainend"
_KEEPALIVE_PING: Final = b"areyouup"


@dataclass(frozen=True, slots=True)
class Times:
    """The keepalive settings of a server, in seconds; infinity is never.

    ``idle_max_s``: without calls. ``age_max_s``, then ``age_grace_s`` for the calls under way.
    ``ping_after_s``: of silence, a PING is sent; its answer may take ``ping_timeout_s``.
    ``ping_interval_min_s``: clients that ping more often are sent away with `too_many_pings`,
    ``permits_idle_pings`` lets them ping that often without calls too.
    """

    idle_max_s: float = math.inf
    age_max_s: float = math.inf
    age_grace_s: float = math.inf
    ping_after_s: float = 7_200.0
    ping_timeout_s: float = 20.0
    ping_interval_min_s: float = 300.0
    permits_idle_pings: bool = False


class Lifetime:
    """The clockwork of one connection. ``calls`` in its methods: how many are under way.

    ``age_factor`` spreads the ages of connections that began together (gRPC: 0.9 to 1.1).
    """

    __slots__ = (
        "_age_due_s",
        "_block_mark",
        "_block_since_s",
        "_connection",
        "_drain_due_s",
        "_drain_ping_due_s",
        "_idle_since_s",
        "_last_ping_s",
        "_ping_due_s",
        "_ping_mark",
        "_ping_strikes",
        "_pinged",
        "_stall_bytes",
        "_stall_mark",
        "_stall_since_s",
        "_started_s",
        "_times",
        "is_draining",
        "is_refusing",
        "last_read_s",
    )

    def __init__(
        self, connection: Connection, times: Times, now_s: float, age_factor: float = 1.0
    ) -> None:
        self._connection = connection
        self._times = times
        self._started_s = now_s
        self.last_read_s = now_s
        self._idle_since_s = now_s
        self._age_due_s = now_s + times.age_max_s * age_factor
        self._drain_due_s = math.inf
        self._drain_ping_due_s = math.inf
        self._last_ping_s = -math.inf
        self._ping_mark = -1
        self._ping_strikes = 0
        self._ping_due_s = math.inf
        self._pinged = False
        self._block_mark = 0
        self._block_since_s = math.inf
        self._stall_mark = 0
        self._stall_bytes = 0
        self._stall_since_s = math.inf
        self.is_draining = False
        self.is_refusing = False

    # What happens.

    def on_idle(self, now_s: float) -> None:
        """The last call ended."""
        self._idle_since_s = now_s

    def on_partial_frame(self, mark: int, now_s: float) -> None:
        """A frame or header block is incomplete; ``mark`` differs for each of them."""
        if mark != self._block_mark or self._block_since_s == math.inf:
            self._block_mark = mark
            self._block_since_s = now_s

    def on_whole_frames(self) -> None:
        """Nothing is incomplete."""
        self._block_since_s = math.inf

    def on_blocked(self, now_s: float) -> float:
        """An answer waits for the peer's window. Returns until when something has to move."""
        if self._stall_since_s == math.inf:
            self._watch_stall(now_s)
        return self._stall_since_s + limits.STALL_TIMEOUT_S

    def on_ping(self, calls: int, now_s: float) -> None:
        """The peer sent a PING: does it keep the agreed distance (gRPC proposal A8)?

        What we sent since the last one clears its record, because clients measure the bandwidth
        with a PING when they receive something.
        """
        mark = self._connection.outbound.sent_frames + self._connection.completed_streams
        last, self._last_ping_s = self._last_ping_s, now_s
        if mark != self._ping_mark:
            self._ping_mark = mark
            self._ping_strikes = 0
            return
        interval = self._times.ping_interval_min_s
        if not calls and not self._times.permits_idle_pings:
            interval = max(interval, limits.IDLE_PING_INTERVAL_S)
        if last + interval > now_s:
            self._ping_strikes += 1
            if self._ping_strikes > limits.PING_STRIKES_MAX:
                self._connection.end(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")

    def on_ping_acknowledged(self, payload: bytes) -> None:
        """A PING of ours came back."""
        if payload == _KEEPALIVE_PING:
            self._ping_due_s = math.inf
            self._pinged = False
        elif payload == _DRAIN_PING and self.is_draining and not self.is_refusing:
            self._refuse()

    def drain(self, grace_s: float, now_s: float) -> None:
        """End gracefully: calls under way have ``grace_s`` left. Again: the shorter time counts."""
        self._drain_due_s = min(self._drain_due_s, now_s + grace_s)
        if self.is_draining or self._connection.is_ended:
            return
        self.is_draining = True
        if not self._connection.is_established:
            self._connection.end(ErrorCode.NO_ERROR, "the server is closing")
            return
        self._connection.warn_goaway()
        self._connection.ping(_DRAIN_PING)
        self._drain_ping_due_s = now_s + min(limits.DRAIN_PING_TIMEOUT_S, grace_s / 2)

    def _refuse(self) -> None:
        self.is_refusing = True
        self._drain_ping_due_s = math.inf
        self._connection.refuse_streams()

    # Time.

    def on_time(self, calls: int, now_s: float) -> None:
        """Do what is due."""
        connection, times = self._connection, self._times
        self._end_what_is_late(now_s)
        if connection.is_ended:
            return
        if now_s >= self._drain_ping_due_s:
            self._refuse()
        if now_s >= self._age_due_s:
            self._age_due_s = math.inf
            self.drain(times.age_grace_s, now_s)
        if not calls and now_s >= self._idle_since_s + times.idle_max_s and not self.is_draining:
            self.drain(times.age_grace_s, now_s)
        if not self._pinged and now_s >= self.last_read_s + times.ping_after_s:
            self._pinged = True
            self._ping_due_s = now_s + times.ping_timeout_s
            connection.ping(_KEEPALIVE_PING)

    def _end_what_is_late(self, now_s: float) -> None:
        connection = self._connection
        if connection.is_ended:
            return
        if not connection.is_established and now_s >= self._started_s + limits.HANDSHAKE_TIMEOUT_S:
            connection.end(ErrorCode.SETTINGS_TIMEOUT, "no preface and SETTINGS in time")
        elif now_s >= self._block_since_s + limits.FRAME_TIMEOUT_S:
            connection.end(ErrorCode.ENHANCE_YOUR_CALM, "the rest of a frame did not come in time")
        elif now_s >= self._drain_due_s:
            connection.end(ErrorCode.NO_ERROR, "the time for calls under way is over")
        elif now_s >= self._ping_due_s:
            if self.last_read_s < self._ping_due_s - self._times.ping_timeout_s:
                connection.end(ErrorCode.NO_ERROR, "no answer to a keepalive PING")
            else:
                self._ping_due_s = math.inf
                self._pinged = False
        elif self._is_stalled(now_s):
            connection.end(ErrorCode.ENHANCE_YOUR_CALM, "the peer does not read its answers")

    def _is_stalled(self, now_s: float) -> bool:
        """Whether the peer has taken too little of what waits: a byte now and then is no excuse."""
        outbound = self._connection.outbound
        oldest = outbound.oldest_blocked
        if not oldest:
            self._stall_since_s = math.inf
            return False
        moved = outbound.flushed_bytes - self._stall_bytes
        if (
            self._stall_since_s == math.inf
            or oldest > self._stall_mark  # all that waited then is gone
            or moved >= limits.STALL_BYTES
        ):
            self._watch_stall(now_s)
        return now_s >= self._stall_since_s + limits.STALL_TIMEOUT_S

    def _watch_stall(self, now_s: float) -> None:
        outbound = self._connection.outbound
        self._stall_since_s = now_s
        self._stall_mark = outbound.blocked_count
        self._stall_bytes = outbound.flushed_bytes

    def due_s(self, calls: int) -> float:
        """When `on_time` should be called next, unless something happens before."""
        times = self._times
        due = min(
            self._block_since_s + limits.FRAME_TIMEOUT_S,
            self._drain_due_s,
            self._drain_ping_due_s,
            self._age_due_s,
            self._ping_due_s if self._pinged else self.last_read_s + times.ping_after_s,
            self._stall_since_s + limits.STALL_TIMEOUT_S,
        )
        if not self._connection.is_established:
            due = min(due, self._started_s + limits.HANDSHAKE_TIMEOUT_S)
        if not calls and not self.is_draining:
            due = min(due, self._idle_since_s + times.idle_max_s)
        return due

    def __repr__(self) -> str:
        state = "refusing" if self.is_refusing else "draining" if self.is_draining else "serving"
        return f"<Lifetime {state} strikes={self._ping_strikes}>"
