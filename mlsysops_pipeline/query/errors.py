"""Why a question has no answer, by whose fault.

``QueryError``            catches everything below.
``ExpressionError``       the server understood the request and refuses the expression.
``RefusedError``          the server answered with a status that is no success.
``PartialAnswerError``    the server says that part of the data is missing.
``NoAnswerError``         not connected, or the connection ended too early.
``QueryTimeoutError``     the answer did not come in time.
``AnswerError``           an answer came and is not what was asked for.
``MissingExtraError``     NumPy or pandas is asked for and not installed.

Arguments that cannot be right whatever the server (an empty expression, a time without a zone) are
`ValueError` and `TypeError`, raised before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import CollectorError

if TYPE_CHECKING:
    from mlsysops_pipeline.query.results import Result

__all__ = [
    "AnswerError",
    "ExpressionError",
    "MissingExtraError",
    "NoAnswerError",
    "PartialAnswerError",
    "QueryError",
    "QueryTimeoutError",
    "RefusedError",
]


class QueryError(CollectorError):
    """A question could not be answered. ``url``: who was asked, if anybody, without the form."""

    url: str = ""

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.url}: {message}" if self.url else message


class ExpressionError(QueryError):
    """The server refuses the expression, or could not evaluate it.

    ``kind``: the server's word for it, such as ``bad_data`` or ``execution``.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class RefusedError(QueryError):
    """An HTTP status that is no success, and says nothing about the expression.

    ``retry_after``: the header of that name, as it came; empty without one.
    """

    def __init__(self, message: str, *, status: int, retry_after: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def is_temporary(self) -> bool:
        """Whether the same question may be answered later."""
        return self.status == 429 or self.status >= 500


class PartialAnswerError(QueryError):
    """Part of the data is missing, by the server's own word. ``result``: what there was."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class NoAnswerError(QueryError):
    """There was no answer, or its end is missing."""


class QueryTimeoutError(NoAnswerError):
    """The answer was not complete in time."""


class AnswerError(QueryError):
    """An answer that is not what was asked for: no JSON, another shape, too large."""


class MissingExtraError(QueryError):
    """An optional library is asked for and not installed; the message names the extra."""
