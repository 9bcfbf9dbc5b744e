"""The short way for text attributes takes only what it understands, and remembers little."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from mlsysops_pipeline.pdata.otlp_json.attributes import Memory, from_wire, to_wire

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=150)


def _official(key: str, text: str) -> bytes:
    attribute = KeyValue(key=key)
    attribute.value.string_value = text
    return attribute.SerializeToString()


@given(_texts, _texts)
def test_a_text_attribute_is_written_as_protobuf_would(key: str, text: str) -> None:
    data = to_wire((("key", key), ("value", (("stringValue", text),))))
    assert data is not None
    start = 1 if data[0] < 0x80 else 2
    expected = KeyValue.FromString(_official(key, text))
    assert expected == KeyValue.FromString(data[start:])


def test_every_other_form_is_left_to_the_long_way() -> None:
    for value in (
        (("key", "k"), ("value", (("intValue", "1"),))),
        (("key", "k"), ("value", (("stringValue", 1),))),
        (("key", 1), ("value", (("stringValue", "x"),))),
        (("key", "k"), ("value", (("stringValue", "x"), ("stringValue", "y")))),
        (("key", "k"), ("value", (("stringValue", "x"),)), ("key", "l")),
        (("key", "k"), ("value", None)),
        (("key", "k"),),
        [["key", "k"], ["value", [["stringValue", "x"]]]],
        (("key", "k"), ("value", [["stringValue", "x"]])),
        "kv",
        None,
        5,
    ):
        assert to_wire(value) is None


@given(_texts, _texts)
def test_key_and_text_are_found_in_short_attributes(key: str, text: str) -> None:
    wire = _official(key, text)
    found = from_wire(wire)
    if 6 <= len(wire) < 0x80 and key:  # an empty key is not on the wire
        assert (key.encode(), text.encode()) == found
    else:
        assert found is None


@given(st.binary(max_size=140) | st.builds(_official, _texts, _texts), st.data())
def test_whatever_is_found_is_what_protobuf_finds(wire: bytes, data: st.DataObject) -> None:
    """Also in bytes that differ a little from an attribute."""
    if wire:
        place = data.draw(st.integers(0, len(wire) - 1))
        wire = wire[:place] + data.draw(st.binary(max_size=2)) + wire[place + 1 :]
    found = from_wire(wire)
    if found is None:
        return
    if all(_is_utf8(part) for part in found):
        attribute = KeyValue.FromString(wire)
        assert found == (attribute.key.encode(), attribute.value.string_value.encode())
        assert "string_value" == attribute.value.WhichOneof("value")
        assert wire == attribute.SerializeToString() or not attribute.key


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_the_memory_has_a_limit_in_number_and_size() -> None:
    memory: Memory[int, str] = Memory()
    for number in range(10_000):
        memory.keep(number, "x", 10)
    assert len(memory._known) <= 4096
    assert "x" == memory.get(9_999)
    memory.keep(-1, "long", 513)
    assert memory.get(-1) is None
