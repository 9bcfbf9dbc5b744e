"""What is shown: a table that is redrawn on a terminal, a line a second elsewhere."""

from __future__ import annotations

import io

import pytest

from mlsysops_pipeline.demo.table import (
    Display,
    OutputLostError,
    Stage,
    is_terminal,
    line,
    progress,
    table,
)

STAGES = [
    Stage("SDK", {"sent": {"metrics": 1200, "logs": 3, "traces": 4}}),
    Stage(
        "node",
        {
            "received": {"metrics": 1, "logs": 2, "traces": 3},
            "sent": {},
            "refused": {"logs": 5},
            "dropped": {"traces": 7},
        },
    ),
    Stage("gone"),
]


def test_the_table_has_a_line_for_each_stage_and_signal() -> None:
    lines = table(STAGES)
    assert 1 + 3 * len(STAGES) == len(lines)
    assert ["received", "sent", "waiting", "refused", "dropped"] == lines[0].split()
    assert ["SDK", "metrics", "-", "1,200", "-", "-", "-"] == lines[1].split()
    assert ["node", "metrics", "1", "0", "-", "0", "0"] == lines[4].split()
    assert ["logs", "2", "0", "-", "5", "0"] == lines[5].split()
    assert ["traces", "3", "0", "-", "0", "7"] == lines[6].split()
    assert all(text.isascii() for text in lines)


def test_the_line_has_the_same_numbers() -> None:
    text = line(12.3, STAGES)
    assert "  12 s | SDK: sent 1200/3/4 | " in text
    assert "node: received 1/2/3 sent 0 refused 0/5/0 dropped 0/0/7" in text


def test_progress_says_how_far_it_is() -> None:
    assert "[##########..........] 15 s of 30 s" == progress(15, 30)
    assert "[####################] 30 s of 30 s" == progress(31, 30)
    assert "15 s, Ctrl-C ends it" == progress(15, 0)


def test_without_a_terminal_there_is_one_line_a_second() -> None:
    stream = io.StringIO()
    display = Display(stream)
    for tenths in range(25):
        display.show("running", tenths / 10, 30, STAGES)
    head, *lines = stream.getvalue().splitlines()
    assert "(each number: metrics/logs/traces)" == head
    assert ["   0 s", "   1 s", "   2 s"] == [text.partition(" |")[0] for text in lines]
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_the_table_is_drawn_over_the_last_one() -> None:
    stream = io.StringIO()
    display = Display(stream, terminal=True)
    display.show("running", 1, 30, STAGES)
    first = stream.getvalue()
    assert not first.startswith("\x1b[")
    display.show("running", 1.2, 30, STAGES)
    second = stream.getvalue()[len(first) :]
    assert second.startswith(f"\x1b[{first.count(chr(10))}F")
    display.say("done")
    display.show("running", 1.4, 30, STAGES)
    third = stream.getvalue()[len(first) + len(second) :]
    assert third.startswith("done\nrunning")


def test_a_terminal_that_is_too_low_gets_a_single_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    display = Display(stream, terminal=True)
    monkeypatch.setattr(display, "_size", lambda: (40, 6))
    display.show("running", 1, 30, STAGES)
    assert 1 == stream.getvalue().count("\n")
    assert len(stream.getvalue().partition("\x1b")[0]) < 40


def test_a_terminal_that_cannot_redraw_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    assert not is_terminal(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert is_terminal(Terminal())
    assert not is_terminal(io.StringIO())


def test_output_that_nobody_reads_is_an_error_of_its_own() -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(OutputLostError):
        Display(Closed()).say("anybody?")
