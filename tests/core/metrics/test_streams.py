"""What is kept of streams can be undone and is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from mlsysops_pipeline.metrics.identity import Identities
from mlsysops_pipeline.metrics.streams import Streams

CHANGES = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["put", "forget"])))


def apply(streams: Streams[tuple[float, int]], changes: list[tuple[int, str]]) -> None:
    for at, (key, change) in enumerate(changes):
        if change == "put":
            streams.put(key, (1.0, at))
        else:
            streams.forget(key)


@given(kept=CHANGES, undone=CHANGES)
def test_undone_changes_leave_no_trace(
    kept: list[tuple[int, str]], undone: list[tuple[int, str]]
) -> None:
    streams: Streams[tuple[float, int]] = Streams()
    apply(streams, kept)
    streams.keep()
    before = {key: streams.get(key) for key in range(6)}
    apply(streams, undone)
    streams.undo()

    assert before == {key: streams.get(key) for key in range(6)}


def test_silent_streams_go_first() -> None:
    streams: Streams[tuple[float, int]] = Streams()
    for key in range(200):
        streams.put(key, (float(key), 0))
    streams.put(0, (200.0, 0))
    streams.keep()

    assert streams.expire(50.0) == 49
    assert streams.get(0) is not None
    assert streams.shrink(128) == 25
    assert streams.get(50) is None
    assert len(streams) == 126


def attribute(key: str, **value: object) -> bytes:
    return bytes(KeyValue(key=key, value=value).SerializeToString())  # type: ignore[arg-type]  # a mapping is a message


def test_streams_are_told_by_attributes_in_any_order() -> None:
    """DM-1."""
    identities = Identities()
    a, b = attribute("a", string_value="1"), attribute("b", int_value=1)
    inner = KeyValue.FromString(attribute("x", int_value=1)), KeyValue.FromString(b)
    one = attribute("m", kvlist_value={"values": list(inner)})
    other = attribute("m", kvlist_value={"values": list(reversed(inner))})
    nan = attribute("n", double_value=float("nan"))

    assert identities.attributes([a, b]) == identities.attributes([b, a])
    assert identities.attributes([one]) == identities.attributes([other])
    assert Identities().attributes([nan]) == Identities().attributes([nan])
    assert identities.attributes([a]) != identities.attributes([b])
    assert identities.attributes([attribute("a", int_value=1)]) != identities.attributes(
        [attribute("a", bool_value=True)]
    )
