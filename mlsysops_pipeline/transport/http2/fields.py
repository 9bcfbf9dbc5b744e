"""Which header lists are well formed, and what a request or response head says.

Source: RFC 9113, sections 8.1.1 (malformed messages), 8.2 (fields) and 8.3 (control data).
A malformed head is a value, not an exception: it ends one stream, and it is remembered like any
other, so that repeating it costs its sender more than us.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.transport.http2.limits import (
    FIELD_CACHE_ENTRY_BYTES_MAX,
    HEAD_CACHE_ENTRIES_MAX,
)

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.headers import Field, FieldBlock, Fields

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# RFC 9113 also forbids white space around a value. Tokens with a blank at the end are common in
# the field and every server known to us takes them, so that alone does not refuse a request.
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]")
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_REQUEST_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_RESPONSE_PSEUDO: Final = frozenset({b":status"})
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")

NO_LENGTH: Final = -1
"""``content_length`` of a message that does not declare one."""


class RequestHead:
    """What the head of a request says. Shared by all requests that say the same.

    ``fields``: the regular fields, without those that change with nearly every request (see
    `RequestHeads`). ``problem``: why the head is malformed; everything else is then meaningless.
    ``memo``: for whoever serves the request, to keep what it derived.
    """

    __slots__ = (
        "authority",
        "content_length",
        "fields",
        "memo",
        "method",
        "path",
        "problem",
        "scheme",
    )

    def __init__(self, fields: Fields) -> None:
        self.method = b""
        self.scheme = b""
        self.path = b""
        self.authority = b""
        self.content_length = NO_LENGTH
        self.fields: Fields = ()
        self.memo: object = None
        self.problem = self._read(fields)

    def _read(self, fields: Fields) -> str:
        pseudo: dict[bytes, bytes] = {}
        regular: list[Field] = []
        problem = _split(fields, _REQUEST_PSEUDO, pseudo, regular)
        if problem:
            return problem
        self.fields = tuple(regular)
        self.method = pseudo.get(b":method", b"")
        self.scheme = pseudo.get(b":scheme", b"")
        self.path = pseudo.get(b":path", b"")
        self.authority = pseudo.get(b":authority", b"")
        if not self.method:
            return "no :method"
        if self.method == b"CONNECT":
            if b":scheme" in pseudo or b":path" in pseudo:
                return ":scheme or :path with CONNECT"
        elif not self.scheme or not self.path:
            return "no :scheme or no :path"
        self.content_length, problem = _content_length(regular)
        return problem

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.path!r} problem={self.problem!r}>"


class RequestHeads:
    """Interprets request heads, and remembers what it interpreted; shared by all connections.

    ``volatile``: names of regular fields that differ in nearly every request. They are left out
    of `RequestHead.fields` and kept in `FieldBlock.volatile`.
    """

    def __init__(self, volatile: frozenset[bytes] = frozenset()) -> None:
        self._volatile = volatile
        self._heads: dict[Fields, RequestHead] = {}

    def of(self, block: FieldBlock) -> RequestHead:
        """The head that ``block`` holds; ``block.head`` from then on."""
        head = block.head
        if head is not None:
            return head
        stable = self._part(block)
        head = self._heads.get(stable)
        if head is None:
            head = RequestHead(stable)
            if not head.problem and block.list_bytes <= FIELD_CACHE_ENTRY_BYTES_MAX:
                if len(self._heads) >= HEAD_CACHE_ENTRIES_MAX:
                    self._heads.clear()
                self._heads[stable] = head
        block.head = head
        return head

    def _part(self, block: FieldBlock) -> Fields:
        """The fields to interpret; the others go to ``block.volatile``, if they are in order."""
        names = self._volatile
        fields = block.fields
        stable = tuple([field for field in fields if field[0] not in names])
        if len(stable) == len(fields):
            return fields
        volatile = tuple([field for field in fields if field[0] in names])
        first = fields.index(volatile[0])
        if any(_BAD_VALUE.search(value) for _, value in volatile) or any(
            name[:1] == b":" for name, _ in fields[first:]
        ):
            return fields  # malformed: interpreting all of them will say how
        block.volatile = volatile
        if len(volatile) == 1:
            block.volatile_at = first
        return stable

    def __repr__(self) -> str:
        return f"<RequestHeads heads={len(self._heads)}>"


def trailers_problem(block: FieldBlock) -> str:
    """Why a trailer section is malformed; empty when it is not."""
    if block.well_formed_as == "trailers":
        return ""
    problem = _split(block.fields, frozenset(), {}, [])
    if not problem:
        block.well_formed_as = "trailers"
    return problem


def response_problem(block: FieldBlock, *, ended: bool = False) -> str:
    """Why the head of a response is malformed; empty when it is not.

    ``ended``: it is all of the response. Sets ``block.content_length``.
    """
    if block.well_formed_as != "response":
        pseudo: dict[bytes, bytes] = {}
        regular: list[Field] = []
        problem = _split(block.fields, _RESPONSE_PSEUDO, pseudo, regular)
        if not problem and not _STATUS.fullmatch(pseudo.get(b":status", b"")):
            problem = ":status is no code" if b":status" in pseudo else "no :status"
        if not problem:
            block.content_length, problem = _content_length(regular)
        if problem:
            return problem
        block.well_formed_as = "response"
    if ended and block.fields[0][1][:1] == b"1":
        return "1xx ends the stream"
    if ended and block.content_length > 0:
        return "body is not as long as content-length"
    return ""


def _content_length(fields: list[Field]) -> tuple[int, str]:
    """What ``content-length`` says, or `NO_LENGTH`; and what is wrong with it."""
    lengths = {value for name, value in fields if name == b"content-length"}
    if not lengths:
        return NO_LENGTH, ""
    if len(lengths) > 1:
        return NO_LENGTH, "several values of content-length"
    value = lengths.pop()
    if not _LENGTH.fullmatch(value):
        return NO_LENGTH, "content-length is not a number"
    return int(value), ""


def _split(
    fields: Fields, known: frozenset[bytes], pseudo: dict[bytes, bytes], regular: list[Field]
) -> str:
    """Sort fields into pseudo-headers and regular ones; what is wrong with them."""
    for field in fields:
        name, value = field
        if _BAD_VALUE.search(value):
            return f"value of {_shown(name)} has a forbidden character"
        if name[:1] == b":":
            if regular:
                return f"{_shown(name)} after a regular field"
            if name not in known:
                return f"{_shown(name)} does not belong here"
            if name in pseudo:
                return f"{_shown(name)} twice"
            pseudo[name] = value
            continue
        if not _NAME.fullmatch(name):
            return f"{_shown(name)} is not a field name"
        if name in _CONNECTION_SPECIFIC:
            return f"{_shown(name)} is not allowed in HTTP/2"
        if name == b"te" and value.lower() != b"trailers":
            return "te is not 'trailers'"
        regular.append(field)
    return ""


def _shown(name: bytes) -> str:
    return ascii(name[:64].decode("latin-1"))
