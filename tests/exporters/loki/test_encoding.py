"""The shortcuts that read and write bytes, against protobuf itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from mlsysops_exporters.loki.encoding import (
    Timestamps,
    labels_text,
    length,
    line_field,
    pair,
    stream_field,
    stream_head,
    string_as_line,
    string_attribute,
)
from tests.exporters.loki import logproto
from tests.exporters.loki.fake import read_labels

TEXT = st.text(max_size=300)
TIMES = st.integers(0, (1 << 64) - 1)


@given(TEXT, st.lists(st.tuples(TIMES, TEXT, TEXT, TEXT), max_size=4))
def test_a_request_is_what_protobuf_reads(
    labels: str, entries: list[tuple[int, str, str, str]]
) -> None:
    stamps = Timestamps()
    made = []
    for time_ns, line, name, value in entries:
        entry = stamps.field(time_ns) + line_field(line) + pair(name, value)
        made.append(b"\x12" + length(len(entry)) + entry)

    (stream,) = logproto.parse(stream_field(stream_head(labels), made)).streams

    assert labels == stream.labels
    found = [
        (
            one.timestamp.seconds * 10**9 + one.timestamp.nanos,
            one.line,
            one.metadata[0].name,
            one.metadata[0].value,
        )
        for one in stream.entries
    ]
    assert entries == found


@given(TEXT | st.text("é", min_size=50, max_size=20_000))
def test_a_body_that_is_text_is_the_line_as_it_is(text: str) -> None:
    wire = AnyValue(string_value=text).SerializeToString()

    found = string_as_line(wire)

    assert found is None if len(text.encode()) >= 1 << 14 else found == line_field(text)


@given(st.binary(max_size=40) | TEXT.map(lambda text: b"\x0a" + text.encode()))
def test_other_bytes_are_no_text_unless_protobuf_says_so(wire: bytes) -> None:
    found = string_as_line(wire)

    if found is not None:
        value = AnyValue.FromString(wire)
        assert "string_value" == value.WhichOneof("value")
        assert found == line_field(value.string_value)


@given(TEXT, TEXT)
def test_an_attribute_of_text_is_read_as_protobuf_does(key: str, value: str) -> None:
    wire = KeyValue(key=key, value=AnyValue(string_value=value)).SerializeToString()

    found = string_attribute(wire)

    is_short = key and len(key.encode()) < 128 and len(value.encode()) < 126
    assert found == ((key.encode(), value.encode()) if is_short else None)


@given(st.binary(max_size=40))
def test_other_bytes_are_no_attribute_of_text_unless_protobuf_says_so(wire: bytes) -> None:
    found = string_attribute(wire)

    if found is not None:
        read = KeyValue.FromString(wire) if _is_text(found) else None
        assert read is None or found == (read.key.encode(), read.value.string_value.encode())


def _is_text(parts: tuple[bytes, bytes]) -> bool:
    try:
        return all(part.decode() is not None for part in parts)
    except UnicodeDecodeError:
        return False


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]*", fullmatch=True),
        TEXT.filter(bool),
        min_size=1,
        max_size=5,
    )
)
def test_labels_can_be_read_back(labels: dict[str, str]) -> None:
    assert labels == read_labels(labels_text(labels))
