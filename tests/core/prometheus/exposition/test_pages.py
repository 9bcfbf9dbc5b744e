"""The parser beside that of prometheus_client, fed in pieces, and on bad pages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as open_metrics_parser
from prometheus_client.parser import text_string_to_metric_families

from mlsysops_pipeline.prometheus.exposition import (
    Comment,
    ExpositionError,
    PageReader,
    Sample,
    Topic,
    read_number,
)
from tests.core.prometheus.exposition.pages import open_metrics_pages, text_pages

if TYPE_CHECKING:
    from collections.abc import Iterable

_TEXT = "text/plain; version=0.0.4"
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def _entries(content_type: str, *pieces: bytes) -> list[Sample | Comment]:
    reader = PageReader(content_type)
    found = [entry for piece in pieces for entry in reader.feed(piece)]
    return found + reader.finish()


def _samples(content_type: str, page: str) -> list[tuple[Any, ...]]:
    return [
        (
            entry.name,
            dict(entry.labels),
            _number(entry.value),
            entry.timestamp_ms,
            _exemplar(entry),
        )
        for entry in _entries(content_type, page.encode())
        if isinstance(entry, Sample)
    ]


def _exemplar(sample: Sample) -> Any:
    found = sample.exemplar
    return None if found is None else (dict(found.labels), found.value, found.timestamp_s)


def _number(value: float) -> float | str:
    return "NaN" if math.isnan(value) else value


def _theirs(families: Iterable[Any]) -> list[tuple[Any, ...]]:
    return [
        (
            sample.name,
            sample.labels,
            _number(sample.value),
            None if sample.timestamp is None else round(float(sample.timestamp) * 1000),
            None
            if sample.exemplar is None
            else (
                sample.exemplar.labels,
                sample.exemplar.value,
                None if sample.exemplar.timestamp is None else float(sample.exemplar.timestamp),
            ),
        )
        for family in families
        for sample in family.samples
    ]


def _munged(samples: list[tuple[Any, ...]], page: str) -> list[tuple[Any, ...]]:
    """Counters of text 0.0.4 as prometheus_client has them: with their suffix."""
    counters = {
        entry.name
        for entry in _entries(_TEXT, page.encode())
        if isinstance(entry, Comment) and entry.text == "counter"
    }
    return [
        (
            sample[0].removesuffix("_total") + "_total" if sample[0] in counters else sample[0],
            *sample[1:],
        )
        for sample in samples
    ]


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(text_pages())
def test_text_says_what_it_says_to_prometheus_client(page: str) -> None:
    """TX-1, TX-2."""
    theirs = _theirs(text_string_to_metric_families(page))
    assert theirs == _munged(_samples(_TEXT, page), page)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(open_metrics_pages())
def test_open_metrics_says_what_it_says_to_prometheus_client(page: str) -> None:
    """OM-1 to OM-4."""
    read: Any = open_metrics_parser.text_string_to_metric_families  # has no types
    theirs = _theirs(read(page))
    assert theirs == _samples(_OPEN_METRICS, page)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.one_of(text_pages(), open_metrics_pages()), st.data())
def test_pieces_of_any_size_say_the_same(page: str, data: st.DataObject) -> None:
    content_type = _OPEN_METRICS if page.endswith("# EOF\n") else _TEXT
    wire = page.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    pieces = [wire[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    whole, cut = _entries(content_type, wire), _entries(content_type, *pieces)
    assert repr(whole) == repr(cut)


@given(st.binary(max_size=80), st.sampled_from([_TEXT, _OPEN_METRICS]))
def test_any_bytes_are_read_or_refused(page: bytes, content_type: str) -> None:
    messages = []
    try:
        _entries(content_type, page)
    except ExpositionError as error:
        messages.append(str(error))
    assert all(message.startswith("line ") for message in messages)


@pytest.mark.parametrize(
    ("content_type", "page", "line"),
    [
        (_TEXT, b"<html>\n", 1),
        (_TEXT, b'a 1\nb{c="d} 2\n', 2),
        (_TEXT, b"a 1\n\nb 2\nc\n", 4),
        (_TEXT, b'a 1\nb{c="\xff"} 1', 2),
        (_TEXT, b"# HELP a \xff\n", 1),
        (_TEXT, b'{"\xff"} 1\n', 1),
        (_TEXT, b"a 1\r\n", 1),
        (_TEXT, b"a 1 99999999999999999999\n", 1),
        (_TEXT, b"a 1e999\n", 1),
        (_TEXT, b'a{"b"} 1\n', 1),
        (_TEXT, b'{a="b"} 1\n', 1),
        (_TEXT, b'a{b="c\nd"} 1\n', 1),
        (_OPEN_METRICS, b"a 1\n", 2),
        (_OPEN_METRICS, b"a 1\n# EOF\nb 1\n", 3),
        (_OPEN_METRICS, b"a 1\n# EOFX", 2),
        (_OPEN_METRICS, b"# a comment\n# EOF\n", 1),
        (_OPEN_METRICS, b"a 1\n\n# EOF\n", 2),
        (_OPEN_METRICS, b"", 1),
    ],
)
def test_an_error_names_the_line(content_type: str, page: bytes, line: int) -> None:
    """TX-1, OM-1, OM-5."""
    with pytest.raises(ExpositionError, match=f"^line {line}: "):
        _entries(content_type, page)


def test_a_long_line_is_refused_before_it_ends() -> None:
    reader = PageReader(_TEXT, line_bytes_max=100)
    reader.feed(b"a 1\n" + b"x" * 60)
    with pytest.raises(ExpositionError, match=r"^line 2: a line of more than 100 bytes"):
        reader.feed(b"x" * 60)
    with pytest.raises(ExpositionError, match="more than 100 bytes"):
        PageReader(_TEXT, line_bytes_max=100).feed(b"y" * 101 + b"\n")


def test_a_comment_for_people_says_nothing() -> None:
    assert _entries(_TEXT, b"# TYPED x\n#\n#HELP a b\n# HELPa b\n \t# x\n") == []


def test_unescaped_backslashes_stay() -> None:
    [sample] = _entries(_TEXT, rb'a{b="\t\\\"\n"} 1')
    assert sample == Sample("a", (("b", '\\t\\"\n'),), 1.0, None, None)


def test_help_has_fewer_escapes_in_text() -> None:
    [text] = _entries(_TEXT, rb"# HELP a \"x\\\n")
    assert text == Comment(Topic.HELP, "a", '\\"x\\\n')
    [open_metrics, _] = _entries(_OPEN_METRICS, b'# HELP a \\"x\\\\\\n\n# EOF')
    assert open_metrics == Comment(Topic.HELP, "a", '"x\\\n')


@pytest.mark.parametrize("text", [b"1_0", b" 1", b"0x1", b"1e", b"", b"+nan", b"\xd9\xa1", b"1\n"])
def test_what_only_python_reads_is_no_number(text: bytes) -> None:
    with pytest.raises(ExpositionError, match="no number"):
        read_number(text)


@pytest.mark.parametrize(
    ("text", "value"), [(b"1.", 1.0), (b".5", 0.5), (b"-INF", -math.inf), (b"+infinity", math.inf)]
)
def test_numbers_of_all_forms(text: bytes, value: float) -> None:
    """SC-7."""
    assert value == read_number(text)
    assert math.isnan(read_number(b"nAn"))


def test_heads_take_time_in_proportion_to_their_length() -> None:
    """Patterns that try again and again would take minutes here."""
    for line in (b"a{" + b'b="c",' * 5000, b'a{b="' + b"\\\\" * 20000, b"a " * 20000, b"a" * 50000):
        with pytest.raises(ExpositionError):
            _entries(_TEXT, line)
        with pytest.raises(ExpositionError):
            _entries(_OPEN_METRICS, line + b"\n")
