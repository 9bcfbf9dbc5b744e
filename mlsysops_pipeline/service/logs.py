"""How the collector logs when it runs as a program. Embedded, logging belongs to the host program.

Lines are those of the Collector's console and json encodings (service behaviour, section 7.1).
Identical messages are sampled: the first ten of a level and text in ten seconds pass, and then
every hundredth, unless `service.telemetry.logs.sampling` says otherwise.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "dpanic": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
_WORDS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}
_SAMPLED_MESSAGES_MAX = 4096


class ConsoleFormatter(logging.Formatter):
    """Time, level, caller, message and fields, separated by tabs."""

    def __init__(self, fields: Mapping[str, Any], *, caller: bool = True) -> None:
        super().__init__()
        self._fields = dict(fields)
        self._caller = caller

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        parts = [_time_text(record.created), _WORDS.get(record.levelno, "info")]
        if self._caller:
            parts.append(_caller(record))
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            # Such a line may quote a peer. The debug exporter's text is meant to have lines.
            message = _single_line(message)
        parts.append(message)
        fields = {**self._fields, **getattr(record, "fields", {})}
        if fields:
            parts.append(json.dumps(fields, default=str, ensure_ascii=False))
        line = "\t".join(parts)
        if record.exc_info:
            line += "\n" + _traceback(record)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line with the keys level, ts, caller, msg and the fields."""

    def __init__(self, fields: Mapping[str, Any], *, caller: bool = True) -> None:
        super().__init__()
        self._fields = dict(fields)
        self._caller = caller

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        entry: dict[str, Any] = {
            "level": _WORDS.get(record.levelno, "info"),
            "ts": _time_text(record.created),
        }
        if self._caller:
            entry["caller"] = _caller(record)
        entry["msg"] = record.getMessage()
        entry.update(self._fields)
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["stacktrace"] = _traceback(record)
        return json.dumps(entry, default=str, ensure_ascii=False)


class Sampling(logging.Filter):
    """Lets ``initial`` equal messages through in each ``tick_s``, then every ``thereafter``-th."""

    def __init__(self, tick_s: float = 10.0, initial: int = 10, thereafter: int = 100) -> None:
        super().__init__()
        self._tick_s = tick_s
        self._initial = initial
        self._thereafter = thereafter
        self._counts: dict[tuple[int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        key = (record.levelno, str(record.msg))
        now = time.monotonic()
        started, count = self._counts.get(key, (now, 0))
        if now - started >= self._tick_s:
            started, count = now, 0
        if key not in self._counts and len(self._counts) >= _SAMPLED_MESSAGES_MAX:
            self._counts.clear()
        self._counts[key] = (started, count + 1)
        if count < self._initial:
            return True
        return self._thereafter > 0 and (count - self._initial) % self._thereafter == 0


def set_up(
    *,
    level: str = "info",
    encoding: str = "console",
    fields: Mapping[str, Any] | None = None,
    sampling: Sampling | None = None,
    caller: bool = True,
    stream: TextIO | None = None,
) -> None:
    """Send the root logger to standard error in the chosen form, replacing earlier handlers."""
    handler = logging.StreamHandler(stream or sys.stderr)
    make = JsonFormatter if encoding == "json" else ConsoleFormatter
    handler.setFormatter(make(fields or {}, caller=caller))
    if sampling is not None:
        handler.addFilter(sampling)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for noisy in ("asyncio", "aiohttp.access", "grpc._cython.cygrpc"):
        logging.getLogger(noisy).setLevel(max(LEVELS[level], logging.WARNING))


def _time_text(seconds: float) -> str:
    moment = dt.datetime.fromtimestamp(seconds).astimezone()
    return (
        moment.strftime("%Y-%m-%dT%H:%M:%S.")
        + f"{moment.microsecond // 1000:03d}"
        + moment.strftime("%z")
    )


def _caller(record: logging.LogRecord) -> str:
    return f"{record.module}.py:{record.lineno}"


def _single_line(text: str) -> str:
    return text if "\n" not in text else text.replace("\n", "\n\t")


def _traceback(record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return "".join(traceback.format_exception(*record.exc_info)).rstrip()
