"""From what discovery finds to what is scraped: labels, relabelling, URLs (pure functions)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from mlsysops_pipeline.config.schema import split_host_port
from mlsysops_receivers.prometheus.discovery_config import address_problem
from mlsysops_receivers.prometheus.fetch.urls import Url
from mlsysops_receivers.prometheus.scalars import parse_seconds, seconds_text
from mlsysops_receivers.prometheus.scrape import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlsysops_receivers.prometheus.jobs import Job
    from mlsysops_receivers.prometheus.relabel import Labels

_PORTS: Final = {"http": 80, "https": 443}
_PARAM: Final = "__param_"
_PATH_SAFE: Final = "/:@$&+,;=~"
_PROBLEMS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Group:
    """Addresses with the labels that they share, from one place (``source``)."""

    source: str
    addresses: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One target. ``key``: its identity; two with the same are one (labels and URL).

    ``offset``: between 0 and 1, where in the interval it is scraped.
    """

    key: bytes
    labels: Mapping[str, str]
    url: Url
    interval_s: float
    timeout_s: float
    offset: float

    @property
    def series_target(self) -> Target:
        """The same for the writer of series."""
        return Target(self.labels, self.url.scheme)

    def __str__(self) -> str:
        inner = ", ".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        return f"{{{inner}}}"


@dataclass(slots=True)
class Found:
    """What became of the addresses of a job.

    ``dropped``: how many relabelling took away. ``problems``: what is wrong with others, the first
    few; ``invalid``: how many those are.
    """

    targets: dict[bytes, ScrapeTarget] = field(default_factory=dict)
    dropped: int = 0
    invalid: int = 0
    problems: list[str] = field(default_factory=list)


def find_targets(job: Job, groups: Iterable[Group], seed: bytes = b"") -> Found:
    """The targets of a job. ``seed``: of this collector, so that several are not in step."""
    found = Found()
    defaults = job.target_labels()
    for group in groups:
        for address in group.addresses:
            labels = {**defaults, **group.labels, "__address__": address}
            try:
                target = _target(job, labels, seed)
            except ValueError as problem:
                found.invalid += 1
                if len(found.problems) < _PROBLEMS_MAX:
                    found.problems.append(f"{address!r} of {group.source}: {problem}")
                continue
            if target is None:
                found.dropped += 1
            else:
                found.targets[target.key] = target
    return found


def _target(job: Job, labels: Labels, seed: bytes) -> ScrapeTarget | None:
    """A target; ``None`` if a rule drops it. Raises `ValueError` if it cannot be scraped."""
    kept = labels if job.relabel is None else job.relabel(labels)
    if kept is None:
        return None
    address = kept.get("__address__", "")
    if not address:
        raise ValueError("no address")
    if problem := address_problem(address):
        raise ValueError(problem)
    scheme = kept.get("__scheme__", "http")
    if scheme not in _PORTS:
        raise ValueError(f"invalid scheme: {scheme!r}")
    host, port = _host_port(address, scheme)
    address = kept["__address__"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    interval_s, timeout_s = _times(kept, job)
    url = Url(scheme, host, port, _path(kept, job), address)
    public = {n: v for n, v in kept.items() if v and not n.startswith("__")}
    public.setdefault("instance", address)
    hidden = {n: v for n, v in kept.items() if n.startswith("__") and not n.startswith("__meta_")}
    identity = repr((sorted((public | hidden).items()), str(url))).encode()
    key = hashlib.blake2b(identity, digest_size=16).digest()
    spread = hashlib.blake2b(key + seed, digest_size=8).digest()
    offset = int.from_bytes(spread, "big") / 2**64
    return ScrapeTarget(key, public, url, interval_s, timeout_s, offset)


@lru_cache(maxsize=1_024)
def _host_port(address: str, scheme: str) -> tuple[str, int]:
    """Host and port, that of the scheme where there is none. Raises `ValueError`."""
    is_bare = address.endswith("]") if address.startswith("[") else ":" not in address
    host, port = split_host_port(f"{address}:{_PORTS[scheme]}" if is_bare else address)
    if not host or not port:
        raise ValueError(f"{address!r} is not a valid hostname")
    try:
        host.encode("idna" if not host.isascii() else "ascii")
    except UnicodeError as error:
        raise ValueError(f"{address!r} is not a valid hostname") from error
    return host, port


def _times(labels: Labels, job: Job) -> tuple[float, float]:
    interval = labels.get("__scrape_interval__") or seconds_text(job.interval_s)
    timeout = labels.get("__scrape_timeout__") or seconds_text(job.timeout_s)
    try:
        interval_s, timeout_s = parse_seconds(interval), parse_seconds(timeout)
    except ValueError as error:
        raise ValueError(f"error parsing scrape interval or timeout: {error}") from error
    if not interval_s:
        raise ValueError("scrape interval cannot be 0")
    if not timeout_s:
        raise ValueError("scrape timeout cannot be 0")
    if timeout_s > interval_s:
        message = (
            f'scrape timeout cannot be greater than scrape interval ("{timeout}" > "{interval}")'
        )
        raise ValueError(message)
    return interval_s, timeout_s


def _path(labels: Labels, job: Job) -> str:
    """Path and query. The first value of a parameter is that of its label, if it has one."""
    path = labels.get("__metrics_path__", "")
    if not path.startswith("/"):
        path = f"/{path}"
    params = {name: list(values) for name, values in job.params.items()}
    for name, value in labels.items():
        if name.startswith(_PARAM):
            known = params.setdefault(name.removeprefix(_PARAM), [])
            known[:1] = [value]
    query = urlencode(sorted(params.items()), doseq=True)
    text = quote(path, safe=_PATH_SAFE)
    return f"{text}?{query}" if query else text
