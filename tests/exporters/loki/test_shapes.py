"""Records that are taken apart as bytes become the entries that protobuf would make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_exporters.loki.config import Config
from mlsysops_exporters.loki.streams import Streams, Translator
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import MalformedError
from tests.exporters.loki.otlp import T0, payload, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord


def field(tag: int, content: bytes) -> bytes:
    """A field with a length, below 16 KiB."""
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([tag]) + length + content


def text(content: bytes) -> bytes:
    return field(0x0A, content)


def attribute(key: bytes, value: bytes) -> bytes:
    return field(0x32, field(0x0A, key) + field(0x12, text(value)))


TIME = b"\x09" + T0.to_bytes(8, "little")
OBSERVED = b"\x59" + (T0 + 5).to_bytes(8, "little")
IDS = [field(0x4A, b"J\x10R\x08" * 4), field(0x52, b"YYYYR\x08YY")]
ATTRIBUTES = [
    *(attribute(b"k", b"v"), attribute(b"k", b"Y12345678"), attribute(b"level", b"LOUD")),
    *(attribute(b"zone", b"z1"), attribute(b"loki.format", b"json"), attribute(b"K", b"\xff")),
]
ENDS = [
    *(b"", OBSERVED, b"".join(IDS), b"".join([*IDS, OBSERVED])),
    *(b"\x45\x01\x00\x00\x00" + b"".join(IDS), b"\x45\x00\x00\x00\x00", b"\x38\x02"),
    b"\x45\x01\x02\x00\x00" + b"".join([*IDS, OBSERVED]),
    b"\x38\x81\x80\x80\x01" + b"".join(IDS),  # as long as flags
]
CHUNKS = [
    *(TIME, b"\x09" + bytes(8), b"\x10\x09", b"\x10\x11", b"\x10\x80\x01"),
    *(field(0x1A, b"INFO"), field(0x1A, b"*"), field(0x1A, b"x" * 42)),
    *(field(0x2A, text(b)) for b in (b"", b"hello", b"*" * 42, b"b" * 200, b"\xff", "é".encode())),
    *(field(0x2A, b""), field(0x2A, b"\x18\x05"), field(0x2A, text(b"a") + text(b"b"))),
    *(field(0x4A, bytes(16)), field(0x4A, b"odd"), field(0x62, b"event"), b"\xf8\x07\x01"),
    *(*ATTRIBUTES, *ENDS, *IDS),
]
USUAL = [TIME, b"\x10\x09", field(0x1A, b"INFO"), field(0x2A, text(b"hello"))]


@st.composite
def raws(draw: st.DrawFn) -> bytes:
    """A record of whole fields: as programs send them, or any in any order."""
    if draw(st.booleans()):
        attributes = draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=3))
        return b"".join([*USUAL, *attributes, draw(st.sampled_from(ENDS))])
    found = b"".join(draw(st.lists(st.sampled_from(CHUNKS), max_size=8)))
    return TIME + found if draw(st.booleans()) else found


CONFIG = parse_config(
    Config, {"endpoint": "http://loki", "labels": {"attributes": {"zone": ""}}, "max_labels": 20}
)


class Made:
    """What a translator makes of raw records."""

    def __init__(self, *, opens_all: bool) -> None:
        self.unsendable: list[str] = []
        self.translator = Translator(CONFIG, lambda: 1, self.unsendable.append)
        if opens_all:
            self.translator._shapes.skipped(-(1 << 60))

    def of(self, some: Iterable[bytes]) -> dict[str, dict[str, list[bytes]]]:
        scoped = b"".join([field(0x12, one) for one in some])
        request = _long(0x0A, _long(0x12, scoped))
        streams = Streams()
        for _ in self.translator.translate(request, streams):
            pass
        return streams.tenants


def _long(tag: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([tag]) + length + bytes([size]) + content


@settings(max_examples=100, deadline=None)
@given(st.lists(raws(), min_size=1, max_size=6))
def test_known_parts_make_the_entry_that_an_opened_record_makes(some: list[bytes]) -> None:
    opening, closed = Made(opens_all=True), Made(opens_all=False)
    closed.of(some)
    closed.unsendable.clear()

    assert opening.of(some) == closed.of(some)
    assert opening.unsendable == closed.unsendable


@settings(max_examples=100, deadline=None)
@given(st.lists(raws(), min_size=1, max_size=3), st.data())
def test_bytes_that_were_changed_are_read_as_protobuf_reads_them(
    some: list[bytes], data: st.DataObject
) -> None:
    closed = Made(opens_all=False)
    closed.of(some)
    closed.unsendable.clear()
    changed = bytearray(data.draw(st.sampled_from(some)) or b"\x10\x09")
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] = data.draw(st.integers(0, 255) | st.sampled_from(b"*Y\x09\x0a\x12\x2a\x32"))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))])

    for one in (bytes(changed), cut):
        opening = Made(opens_all=True)
        closed.unsendable.clear()
        try:
            expected = opening.of([one])
        except MalformedError:
            continue
        assert expected == closed.of([one])
        assert opening.unsendable == closed.unsendable


def wire(some: Sequence[LogRecord]) -> bytes:
    return payload(*some).joined()


def translated(made: Translator, some: Sequence[LogRecord]) -> None:
    for _ in made.translate(wire(some), Streams()):
        pass


@pytest.mark.parametrize("ids", [{}, {"trace_id": bytes(range(16)), "span_id": bytes(range(8))}])
@pytest.mark.parametrize("rest", [{}, {"flags": 1}, {"observed_time_unix_nano": T0 + 1}])
def test_what_programs_send_is_known_the_second_time(
    ids: dict[str, bytes], rest: dict[str, int]
) -> None:
    made = Translator(CONFIG, lambda: 1, print)
    if rest and "flags" in rest and not ids:
        rest = {}  # flags say something of ids only
    some = [record(str(number), at=T0 + number, user="u", zone="z") for number in range(10)]
    for one in some:
        for key, value in (ids | rest).items():
            setattr(one, key, value)

    translated(made, some)
    first = made._known
    translated(made, some)

    assert 10 == made._known - first


def test_what_never_comes_again_is_opened_at_once_and_tried_again_now_and_then() -> None:
    made = Translator(CONFIG, lambda: 1, print)
    for number in range(12):
        translated(made, [record("x", user=f"{number} {one}") for one in range(500)])

    assert not made._shapes.is_worth_it()
    assert 0 == made._known
    made._shapes.skipped(32_000)
    translated(made, [record("x", user="u")] * 1_000)
    assert made._shapes.is_worth_it()
    assert 999 == made._known


def test_shapes_are_bounded() -> None:
    made = Translator(CONFIG, lambda: 1, print)
    for number in range(3):
        made._shapes.skipped(64_000)
        some = [record("x", user=f"{number} {one}" + "y" * 3_000) for one in range(900)]
        for one in some:
            one.severity_text = one.attributes[0].value.string_value[:9]
        translated(made, some)

    assert made._shapes._tails_bytes <= 4 << 20
    assert len(made._shapes._heads) <= 1_000
    assert "heads=1000" in repr(made._shapes)
