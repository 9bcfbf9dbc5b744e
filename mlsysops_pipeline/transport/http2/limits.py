"""What one peer may ask for before it loses its connection: every bound is a constant here.

Frames that are cheap to send and worth nothing are paid for from a budget: a burst, a rate at
which it fills again, and what useful work adds to it. Who overdraws is disconnected with
ENHANCE_YOUR_CALM. The numbers are far above what any known client does and far below what would
be felt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STREAMS_MAX: Final = 1_000
"""Calls at the same time on one connection, where the configuration names no number."""

STREAM_WINDOW_BYTES: Final = 1 << 20
"""What a stream may send before anything is known about its message. It costs no memory: the
message is admitted or refused at its fifth byte, and what is refused is discarded.
"""

CONNECTION_WINDOW_BYTES: Final = 16 << 20
"""Window of the connection. Credited as data arrives; admission, not this, bounds memory."""

FRAME_BYTES: Final = 1 << 20
"""The largest frame we take. DATA is never buffered whole, other types are bounded below."""

HEADER_LIST_BYTES: Final = 16 << 10
"""Advertised; a request above it is answered with an error (RFC 9113, section 6.5.2)."""

HEADER_LIST_BYTES_MAX: Final = 64 << 10
"""A header list above this costs the connection."""

HEADER_BLOCK_BYTES_MAX: Final = 32 << 10
"""A compressed header block above this costs the connection, before it is decoded."""

CONTINUATION_FRAMES_MAX: Final = 16
"""CONTINUATION frames of one header block."""

SETTINGS_ENTRIES_MAX: Final = 64
"""Entries of one SETTINGS frame."""

CONTROL_FRAME_BYTES_MAX: Final = 32 << 10
"""Payload of any frame that is buffered whole (all but DATA and unknown types)."""

UNSENT_BYTES_MAX: Final = 8 << 20
"""Answers that wait for the peer's window, on one connection."""

REQUESTS_UNSENT_BYTES_MAX: Final = (2 << 30) - 1
"""Requests that wait for a server's window, on one connection. They are views of payloads that
somebody holds and has accounted for anyway, so this only has to be finite.
"""

DISCARDED_STREAMS_MAX: Final = 2_000
"""Streams that we ended first, whose late frames are still expected and thrown away."""

FIELD_CACHE_ENTRIES_MAX: Final = 64
"""Header blocks, header lists and strings remembered by each cache of a connection."""

HEAD_CACHE_ENTRIES_MAX: Final = 256
"""Interpreted request heads remembered by a server for all its connections."""

FIELD_CACHE_ENTRY_BYTES_MAX: Final = 2 << 10
"""Nothing larger is remembered by them."""

FIELD_CACHE_BYTES_MAX: Final = 32 << 10
"""What the entries of one cache of a connection say, together: it may be idle for ever after."""

HEADS_BYTES_MAX: Final = 16 << 20
"""Header lists above `FIELD_CACHE_ENTRY_BYTES_MAX` of the calls under way on all connections of a
server; a call whose head would exceed it is refused. Smaller ones are bounded by their number.
"""

CROWD_STREAMS: Final = 16_384
"""Open streams on all connections of a server from which on each connection may have no more than
`CROWD_STREAMS_EACH`: those it opens above that are refused, which clients know how to repeat.
"""

CROWD_STREAMS_EACH: Final = 8

CONNECTIONS_MAX: Final = 4_096
"""Connections of one server."""

HANDSHAKE_TIMEOUT_S: Final = 10.0
"""From the connection to the client's first SETTINGS."""

FRAME_TIMEOUT_S: Final = 10.0
"""For the rest of a frame, or of a header block, that has begun."""

BODY_TIMEOUT_S: Final = 30.0
"""For the first five bytes of a message, and again for the message itself; longer only while it
comes at `BODY_BYTES_PER_S` on average.
"""

BODY_BYTES_PER_S: Final = 16 << 10

STALL_TIMEOUT_S: Final = 30.0
"""How long a peer may leave its window shut, or its socket unread, while answers wait. In that time
it takes all that waited when it began, or `STALL_BYTES`.
"""

STALL_BYTES: Final = 64 << 10

DRAIN_PING_TIMEOUT_S: Final = 5.0
"""How long the peer's acknowledgement is awaited between the two GOAWAYs of a graceful end."""

PING_STRIKES_MAX: Final = 2
"""Pings that may come sooner than keepalive enforcement allows (as in gRPC)."""

IDLE_PING_INTERVAL_S: Final = 7_200.0
"""Least time between pings without calls, where those are not permitted (as in gRPC)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A burst, and how much of it comes back each second."""

    burst: float
    per_s: float


RESETS: Final = Rate(burst=1_000, per_s=100)
"""Streams that end by RST_STREAM, from either side; a call that ends well gives one back.

Rapid reset (CVE-2023-44487) and resets provoked from us (CVE-2025-8671) alike.
"""

SETTINGS_FRAMES: Final = Rate(burst=50, per_s=2)
PINGS: Final = Rate(burst=100, per_s=20)
"""PING frames whatever keepalive enforcement says; DATA that we send gives one back."""

EMPTY_FRAMES: Final = Rate(burst=100, per_s=10)
"""DATA, HEADERS or CONTINUATION without content that end nothing."""

LARGE_HEADERS: Final = Rate(burst=100, per_s=10)
"""Requests whose header list is above `HEADER_LIST_BYTES`; each has been unpacked for nothing."""

WINDOW_UPDATES: Final = Rate(burst=5_000, per_s=500)
"""WINDOW_UPDATE frames; each stream gives four back, each 16 KiB of DATA that we send eight: what
Go's `net/http` sends at most.
"""

IDLE_FRAMES: Final = Rate(burst=1_000, per_s=100)
"""PRIORITY, unknown types, late frames of closed streams; each stream gives four back."""

STREAMS_REFUSED: Final = Rate(burst=2_000, per_s=100)
"""Streams opened above the limit. A client may exceed it until it has seen our SETTINGS."""


class Budget:
    """What is left of a `Rate`. Time is an argument, in seconds that never go back."""

    __slots__ = ("_at_s", "_burst", "_left", "_per_s", "_worth")

    def __init__(self, rate: Rate) -> None:
        self._burst = rate.burst
        self._per_s = rate.per_s
        self._left = rate.burst
        self._at_s = 0.0
        self._worth = 0.0

    def spend(self, now_s: float, worth: float = 0.0) -> bool:
        """Take one; ``False`` when nothing is left.

        ``worth``: all that useful work has given so far, a number that only grows. It is looked
        at here and not when the work is done, because work is frequent and overdrafts are not.
        """
        if self._left < 1.0:
            earned = (now_s - self._at_s) * self._per_s + worth - self._worth
            self._left = min(self._burst, self._left + earned)
            self._at_s = now_s
            self._worth = worth
            if self._left < 1.0:
                return False
        self._left -= 1.0
        return True

    def __repr__(self) -> str:
        return f"<Budget left={self._left:.1f} of {self._burst:g} per_s={self._per_s:g}>"


class Allowance:
    """What one peer may still do, by kind of frame."""

    __slots__ = ("empties", "idles", "large", "pings", "refusals", "resets", "settings", "updates")

    def __init__(self) -> None:
        self.resets = Budget(RESETS)
        self.settings = Budget(SETTINGS_FRAMES)
        self.pings = Budget(PINGS)
        self.empties = Budget(EMPTY_FRAMES)
        self.large = Budget(LARGE_HEADERS)
        self.updates = Budget(WINDOW_UPDATES)
        self.idles = Budget(IDLE_FRAMES)
        self.refusals = Budget(STREAMS_REFUSED)

    def __repr__(self) -> str:
        return f"<Allowance resets={self.resets!r} idles={self.idles!r}>"
