"""What a line of the log looks like, and which of many equal lines are shown (section 7.1)."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.service import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_console_line_has_time_level_caller_message_and_fields(root: logging.Logger) -> None:
    stream = io.StringIO()
    logs.set_up(stream=stream, fields={"host": "h"})
    logger = logging.LoggerAdapter(
        logging.getLogger("mlsysops_pipeline.x"), {"fields": {"otelcol.component.id": "otlp"}}
    )
    logger.warning("two\nlines")

    time, level, caller, message, rest, fields = stream.getvalue().rstrip("\n").split("\t")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}", time)
    assert "warn" == level
    assert caller.startswith("test_logs.py:")
    assert ("two\n", "lines") == (message + "\n" if not message.endswith("\n") else message, rest)
    assert {"host": "h", "otelcol.component.id": "otlp"} == json.loads(fields)


def test_a_json_line_is_one_object_with_the_traceback_inside(root: logging.Logger) -> None:
    stream = io.StringIO()
    logs.set_up(stream=stream, encoding="json", fields={"host": "h"})
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("x").exception("it %s", "broke")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)

    assert ("error", "it broke", "h") == (entry["level"], entry["msg"], entry["host"])
    assert "ValueError: bad" in entry["stacktrace"]


def test_levels_below_the_chosen_one_are_silent(root: logging.Logger) -> None:
    stream = io.StringIO()
    logs.set_up(stream=stream, level="error")
    logging.getLogger("x").warning("quiet")
    logging.getLogger("x").error("loud")

    assert 1 == len(stream.getvalue().splitlines())


def test_of_equal_messages_the_first_ten_and_then_every_hundredth_pass() -> None:
    sampling = logs.Sampling()
    record = logging.LogRecord("x", logging.INFO, "f", 1, "again", None, None)
    shown = [index for index in range(300) if sampling.filter(record)]

    assert [*range(10), 10, 110, 210] == shown


def test_other_messages_are_not_sampled_away() -> None:
    sampling = logs.Sampling(initial=1, thereafter=0)
    records = [
        logging.LogRecord("x", logging.INFO, "f", 1, f"message {i}", None, None) for i in range(5)
    ]

    assert 5 == sum(sampling.filter(record) for record in records)
    assert 0 == sum(sampling.filter(record) for record in records)
