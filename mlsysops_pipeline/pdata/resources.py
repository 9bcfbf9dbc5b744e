"""Rewriting the resources of a request; what they describe stays closed.

What the processors that change resources share. A request is walked in its wire format, as deep as
the resource of each group; groups that stay as they are are not copied piece by piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, serialize, view
from mlsysops_pipeline.pdata.wire import fields, length_prefix, message_tag

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.pdata.attribute_actions import BoundActions

_GROUPS, _RESOURCE, _SCHEMA_URL = 1, 1, 3
"""Field numbers: of ``Resource{Metrics,Logs,Spans}`` in a request, of its members in those."""
_FIRST_MESSAGE = message_tag(1)
"""The tag of both. A field of that number with another tag is unknown to OTLP."""
_URL_TAG = message_tag(_SCHEMA_URL)


def apply_to_resource(actions: BoundActions, resource: bytes) -> bytes:
    """A serialized ``Resource`` after the actions. Raises `MalformedError`."""
    # Resources are the same message in every signal.
    try:
        message = view(Signal.METRICS, Depth.RESOURCE, "Resource").FromString(resource)
    except DecodeError as error:
        raise MalformedError(f"no protobuf resource: {error}") from error
    actions.apply(message.attributes)  # type: ignore[attr-defined]  # a class built at run time
    return serialize(message)


def rewrite_resources(
    wire: bytes, change: Callable[[bytes], bytes], schema_url: bytes = b""
) -> bytes:
    """A request with every group's serialized resource changed; ``wire`` itself if none was.

    A missing resource is an empty one, and stays missing if it stays empty. One that is there
    more than once is merged, as protobuf says, so that receivers which do not merge get it all.
    ``schema_url`` becomes that of groups which have none; empty: they stay so.
    Raises `MalformedError` where a request or a group ends within a field.
    """
    pieces: list[bytes | memoryview] = []
    whole = memoryview(wire)  # so that what is kept is copied once, by the join
    done = 0
    for tag, start, content, end in fields(wire, 0, len(wire)):
        if tag == _FIRST_MESSAGE:
            body = _rewrite_group(wire, content, end, change, schema_url)
            if body is not None:
                length = sum(map(len, body))
                pieces.append(whole[done:start])
                pieces.append(length_prefix(_GROUPS, length))
                pieces += body
                done = end
    if not done:
        return wire
    pieces.append(whole[done:])
    return b"".join(pieces)


def _rewrite_group(
    wire: bytes, begin: int, end: int, change: Callable[[bytes], bytes], schema_url: bytes
) -> list[bytes | memoryview] | None:
    """The pieces of a group's new content; ``None`` if it stays as it is."""
    found = []
    for tag, start, content, stop in fields(wire, begin, end):
        if tag == _FIRST_MESSAGE:
            found.append((start, content, stop))
        elif tag == _URL_TAG and content != stop:  # it has one; an empty one is none
            schema_url = b""
    before = b"".join([wire[content:stop] for _, content, stop in found])
    after = change(before)
    if after == before and len(found) < 2 and not schema_url:
        return None
    pieces: list[bytes | memoryview] = []
    if after or found:
        pieces += (length_prefix(_RESOURCE, len(after)), after)
    whole = memoryview(wire)
    for start, _, stop in found:
        pieces.append(whole[begin:start])
        begin = stop
    pieces.append(whole[begin:end])
    if schema_url:
        pieces += (length_prefix(_SCHEMA_URL, len(schema_url)), schema_url)
    return pieces
