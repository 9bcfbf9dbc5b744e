"""Refuses data while memory is short, so that the process is never killed for it.

Receivers ask `MemoryLimiter.admit` before they read or decode a message; whatever gets in without
asking is refused in `MemoryLimiter.process`. A refusal is retryable and says when to come back.
Nothing that was accepted is ever dropped here. How the two measures of memory are judged is said
in `policy`. Keys, logs and metrics: component reference A3; refusals on the wire: CV-2.

Where the Collector looks at the Go heap, this looks at bytes in flight and resident memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mlsysops_pipeline.component import Factory, Kind, Settings, Status
from mlsysops_pipeline.config.schema import ComponentConfig, Duration, Finding
from mlsysops_pipeline.errors import Code, RetryableError, TooLargeError
from mlsysops_pipeline.memory import give_back, resident_bytes
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.memory_limiter.policy import Gate, Limits, Policy, Pressure
from mlsysops_processors.memory_limiter.total import total_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.pdata.payload import Payload

_MIB = 1 << 20
_SPIKE_SHARE_PERCENT = 20
_REFUSED = "data refused due to high memory usage"


class Config(ComponentConfig):
    """Set ``check_interval`` and one of ``limit_mib`` and ``limit_percentage``."""

    belongs_first: ClassVar[bool] = True

    check_interval: Duration = 0.0
    """How often resident memory is looked at; must be set. 1s is a good value."""
    limit_mib: int = 0
    """The hard limit, in MiB. 0: ``limit_percentage`` says it."""
    spike_limit_mib: int = 0
    """Refusal begins this far below the hard limit. 0: a fifth of the limit."""
    limit_percentage: int = 0
    """The hard limit, in percent of what the cgroup or else the machine has."""
    spike_limit_percentage: int = 0
    """As ``spike_limit_mib``, in percent of the same total. 0: a fifth of the limit."""
    min_gc_interval_when_soft_limited: Duration = 10.0
    """The least time between two collections above the soft limit."""
    min_gc_interval_when_hard_limited: Duration = 0.0
    """The least time between two collections above the hard limit."""
    max_gc_interval_when_soft_limited: Duration = 30.0
    """How far useless collections are put off above the soft limit. 0: not at all."""
    max_gc_interval_when_hard_limited: Duration = 30.0
    """How far useless collections are put off above the hard limit. 0: not at all."""

    def check(self) -> Iterable[Finding]:
        """The Collector's rules, in its words."""
        if self.check_interval <= 0:
            yield Finding(("check_interval",), "'check_interval' must be greater than zero")
        yield from self._check_limits()
        yield from self._check_intervals()

    def _check_limits(self) -> Iterable[Finding]:
        keys = ("limit_mib", "spike_limit_mib", "limit_percentage", "spike_limit_percentage")
        negative = [key for key in keys if getattr(self, key) < 0]
        for key in negative:
            yield Finding((key,), "must not be negative")
        if negative:
            return
        if not self.limit_mib and not self.limit_percentage:
            yield Finding((), "'limit_mib' or 'limit_percentage' must be greater than zero")
        if self.limit_mib and self.spike_limit_mib >= self.limit_mib:
            yield Finding(
                ("spike_limit_mib",), "'spike_limit_mib' must be smaller than 'limit_mib'"
            )
        for key in ("limit_percentage", "spike_limit_percentage"):
            if getattr(self, key) > 100:
                yield Finding((key,), f"'{key}' must be greater than zero and at most 100")
        if (
            not self.limit_mib
            and self.limit_percentage
            and self.spike_limit_percentage >= self.limit_percentage
        ):
            yield Finding(
                ("spike_limit_percentage",),
                "'spike_limit_percentage' must be smaller than 'limit_percentage'",
            )

    def _check_intervals(self) -> Iterable[Finding]:
        if self.min_gc_interval_when_soft_limited < self.min_gc_interval_when_hard_limited:
            yield Finding(
                ("min_gc_interval_when_soft_limited",),
                "'min_gc_interval_when_soft_limited' should be larger than "
                "'min_gc_interval_when_hard_limited'",
            )
        for level in ("soft", "hard"):
            lowest, highest = (f"{end}_gc_interval_when_{level}_limited" for end in ("min", "max"))
            if getattr(self, highest) and getattr(self, highest) < getattr(self, lowest):
                yield Finding((highest,), f"'{highest}' should be zero or at least '{lowest}'")
        soft_s = self.max_gc_interval_when_soft_limited
        hard_s = self.max_gc_interval_when_hard_limited
        if soft_s and hard_s and soft_s < hard_s:
            yield Finding(
                ("max_gc_interval_when_soft_limited",),
                "'max_gc_interval_when_soft_limited' should be at least "
                "'max_gc_interval_when_hard_limited'",
            )


def limits_of(config: Config, total: Callable[[], int]) -> Limits:
    """The limits in bytes. ``total`` is asked only for percentages; its `OSError` passes."""
    if config.limit_mib:
        hard = config.limit_mib * _MIB
        spike = config.spike_limit_mib * _MIB
    else:
        total_bytes = total()
        hard = total_bytes * config.limit_percentage // 100
        spike = total_bytes * config.spike_limit_percentage // 100
    spike = spike or hard * _SPIKE_SHARE_PERCENT // 100
    return Limits(soft=hard - spike, hard=hard)


class MemoryLimiter:
    """Implements `Processor`, and `admit` of `Entry` for the receivers before it.

    One object for all pipelines. ``resident``, ``collect`` and ``total`` are the machine's unless
    a test says otherwise.
    """

    def __init__(
        self,
        config: Config,
        settings: Settings,
        *,
        resident: Callable[[], int] = resident_bytes,
        collect: Callable[[], None] = give_back,
        total: Callable[[], int] = total_memory,
    ) -> None:
        self._config = config
        self._settings = settings
        self._resident = resident
        self._collect = collect
        self._total = total
        self._policy: Policy | None = None
        attributes = {"processor": str(settings.id)}
        meter = settings.meter
        self._counters = {
            signal: tuple(
                meter.counter(
                    f"otelcol_processor_memory_limiter_{outcome}_{signal.item_noun}",
                    "{item}",
                    f"Items that the memory limiter {outcome}",
                ).bind(attributes)
                for outcome in ("accepted", "refused")
            )
            for signal in Signal
        }
        self._refused_requests = meter.counter(
            "mlsysops_memory_limiter_refused_requests",
            "{request}",
            "Requests refused before they were read, so that nobody knows their items",
        ).bind(attributes)

    async def start(self) -> None:
        """Find out the limits and begin to look. Raises `OSError` if the total is unknown."""
        config, logger = self._config, self._settings.logger
        try:
            limits = limits_of(config, self._total)
        except OSError as error:
            raise OSError(
                f"failed to get total memory, use fixed memory settings (limit_mib): {error}"
            ) from error
        if not config.limit_mib:
            logger.info(
                "Using percentage memory limiter: limit_percentage=%d spike_limit_percentage=%d",
                config.limit_percentage,
                config.spike_limit_percentage,
            )
        logger.info(
            "Memory limiter configured: limit_mib=%d spike_limit_mib=%d check_interval=%gs",
            limits.hard // _MIB,
            limits.spike // _MIB,
            config.check_interval,
        )
        self._policy = Policy(
            limits,
            soft=Gate(
                config.min_gc_interval_when_soft_limited,
                config.max_gc_interval_when_soft_limited,
                config.check_interval,
            ),
            hard=Gate(
                config.min_gc_interval_when_hard_limited,
                config.max_gc_interval_when_hard_limited,
                config.check_interval,
            ),
        )
        self._policy.begin(self._resident())
        self._settings.tasks.spawn_forever("memory check", self._check_regularly)

    async def shutdown(self) -> None:
        """Stop looking. What was refused stays refused, and nothing is held."""
        await self._settings.tasks.shutdown()

    def admit(self, size: int) -> None:
        """See `Entry.admit`. Raises `TooLargeError` for what can never fit."""
        policy = self._policy
        if policy is None:
            return
        if size > policy.limits.hard:
            self._refused_requests.add(1)
            raise TooLargeError(
                f"message of {size} bytes, the memory limit is {policy.limits.hard}"
            )
        if not policy.admits(size, self._settings.memory.in_flight):
            self._refused_requests.add(1)
            raise self._refusal()

    def process(self, payload: Payload) -> Payload:
        """Pass what may be kept; its bytes are in flight already. Raises `RetryableError`.

        Between two looks it matters for what has become larger since it was admitted, by
        decompression.
        """
        accepted, refused = self._counters[payload.signal]
        policy = self._policy
        if policy is not None and not policy.keeps(self._settings.memory.in_flight):
            refused.add(payload.items)
            raise self._refusal()
        accepted.add(payload.items)
        return payload

    def _refusal(self) -> RetryableError:
        # The next look is the first chance that the answer will be another.
        return RetryableError(
            _REFUSED, code=Code.UNAVAILABLE, retry_after_s=self._config.check_interval
        )

    async def _check_regularly(self) -> None:
        while True:
            await self._settings.clock.sleep(self._config.check_interval)
            self.check_memory()

    def check_memory(self) -> None:
        """Look once: collect if that is due, then decide until the next look."""
        policy = self._policy
        if policy is None:
            return
        resident = self._collected(policy, self._resident())
        was_refusing = policy.refusing
        is_refusing = policy.judge(self._settings.memory.in_flight, resident)
        if is_refusing != was_refusing:
            self._tell(is_refusing, resident)

    def _collected(self, policy: Policy, resident: int) -> int:
        """Resident memory, after a collection if there was one."""
        clock, logger = self._settings.clock, self._settings.logger
        before_s = clock.monotonic()
        pressure = policy.wants_collection(before_s, resident)
        if pressure is Pressure.NONE:
            return resident
        if pressure is Pressure.HARD:
            message = "Memory usage is above hard limit. Forcing a GC. cur_mem_mib=%d"
            logger.warning(message, resident // _MIB)
        else:
            message = "Memory usage is above soft limit. Forcing a GC. cur_mem_mib=%d"
            logger.info(message, resident // _MIB)
        self._collect()
        after = self._resident()
        now_s = clock.monotonic()
        logger.info("Memory usage after GC. cur_mem_mib=%d", after // _MIB)
        if not policy.collected(pressure, now_s, now_s - before_s, resident, after):
            logger.warning(
                "Forced GC did not reclaim enough memory. The next one is put off. cur_mem_mib=%d",
                after // _MIB,
            )
        return after

    def _tell(self, is_refusing: bool, resident: int) -> None:  # noqa: FBT001  private
        settings = self._settings
        shown = f"cur_mem_mib={resident // _MIB} in_flight_mib={settings.memory.in_flight // _MIB}"
        if is_refusing:
            settings.logger.warning("Memory usage is above soft limit. Refusing data. %s", shown)
            settings.host.report_status(Status.RECOVERABLE_ERROR, _REFUSED)
        else:
            settings.logger.info(
                "Memory usage back within limits. Resuming normal operation. %s", shown
            )
            settings.host.report_status(Status.OK)

    def __repr__(self) -> str:
        return f"<MemoryLimiter {self._settings.id} {self._policy}>"


def _create(config: Config, settings: Settings, next_: None) -> MemoryLimiter:  # noqa: ARG001
    return MemoryLimiter(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="memory_limiter",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    shared=True,
)
