"""What the two counting ends say, and how they listen."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.demo.reports import (
    STOP,
    ArrivedCounts,
    Inbox,
    SdkReport,
    SentCounts,
    SinkReport,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_report_of_the_sdk_reads_back_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    report = SdkReport(final=True)
    report.signals["logs"] = SentCounts(3, 2, 1)
    send(report)
    assert report == SdkReport.parse(capsys.readouterr().out)


def test_a_report_of_the_sink_reads_back_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    report = SinkReport(final=True, levels=[(["node", "cluster"], 7)])
    report.signals["traces"] = ArrivedCounts(9, 1, [4, 5])
    send(report)
    assert report == SinkReport.parse(capsys.readouterr().out)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not JSON",
        "[]",
        "7",
        "{}",
        '{"final": true}',
        json.dumps({"final": True, "signals": []}),
        json.dumps({"final": True, "signals": {"logs": {"unknown": 1}}}),
        json.dumps({"final": True, "signals": {"logs": 5}}),
    ],
)
def test_anything_else_is_no_report(line: str) -> None:
    for kind in (SdkReport, SinkReport):
        with pytest.raises(ValueError, match=r"not a report|Expecting"):
            kind.parse(line)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    try:
        os.close(writing)
    except OSError:
        return  # the test closed it


def test_words_come_one_by_one(pipe: tuple[int, int]) -> None:
    inbox = Inbox(pipe[0])
    assert inbox.wait(0) is None
    os.write(pipe[1], b"start\nst")
    assert "start" == inbox.wait(1)
    assert inbox.wait(0) is None
    os.write(pipe[1], b"op\n")
    assert "stop" == inbox.wait(1)


def test_the_end_of_the_input_says_stop_again_and_again(pipe: tuple[int, int]) -> None:
    inbox = Inbox(pipe[0])
    os.write(pipe[1], b"half a word")
    os.close(pipe[1])
    assert [STOP, STOP] == [inbox.wait(1), inbox.wait(1)]


def test_input_without_a_line_end_does_not_pile_up(pipe: tuple[int, int]) -> None:
    inbox = Inbox(pipe[0])
    for _ in range(8):
        os.write(pipe[1], b"x" * 4096)
        inbox.wait(0.01)
    os.write(pipe[1], b"\n")
    word = inbox.wait(1)
    assert word is not None
    assert len(word) <= 4096
