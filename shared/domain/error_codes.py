"""What users are told of an error: a code for machines, and a message that holds nothing technical."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from shared.domain.errors import (
    Blocked,
    DeliveriesExhausted,
    EmptyManuscript,
    ModelUnavailable,
    OtherModel,
    Rejected,
    Unavailable,
)

LEASE_EXPIRED, DISCARDED = "LeaseExpired", "Discarded"
"""Classes of errors that no exception tells: a process that died, and a dead letter that was given up."""


class ErrorCode(StrEnum):
    """Kinds of errors of books, chapters and jobs. A code stays what it is, whatever its message says."""

    EMPTY_MANUSCRIPT = "empty_manuscript"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    MODEL_UNAVAILABLE = "model_unavailable"
    UNAVAILABLE = "unavailable"
    INTERRUPTED = "interrupted"
    DISCARDED = "discarded"
    UNEXPECTED = "unexpected"


MESSAGES: Mapping[ErrorCode, str] = {
    ErrorCode.EMPTY_MANUSCRIPT: "the manuscript holds no words: import it again with its text",
    ErrorCode.BLOCKED: "the model refuses to answer about this text, however often it is asked",
    ErrorCode.REJECTED: "this can't be processed as it is: change the text and import it again",
    ErrorCode.MODEL_UNAVAILABLE: "a model did not answer: what failed by that is tried again when it does",
    ErrorCode.UNAVAILABLE: "a service that is needed was away: what failed by that is tried again when it is back",
    ErrorCode.INTERRUPTED: "the work was interrupted too often: retry the book",
    ErrorCode.DISCARDED: "an operator has given this up: import the book again",
    ErrorCode.UNEXPECTED: "something unexpected went wrong, and the operators can see what: retry the book",
}
"""What users read, and what they can do."""

_CODES: Mapping[str, ErrorCode] = {
    EmptyManuscript.__name__: ErrorCode.EMPTY_MANUSCRIPT,
    Blocked.__name__: ErrorCode.BLOCKED,
    Rejected.__name__: ErrorCode.REJECTED,
    ModelUnavailable.__name__: ErrorCode.MODEL_UNAVAILABLE,
    OtherModel.__name__: ErrorCode.MODEL_UNAVAILABLE,
    Unavailable.__name__: ErrorCode.UNAVAILABLE,
    DeliveriesExhausted.__name__: ErrorCode.INTERRUPTED,
    LEASE_EXPIRED: ErrorCode.INTERRUPTED,
    DISCARDED: ErrorCode.DISCARDED,
}


def error_code(error_class: str) -> ErrorCode:
    """The code of an error that was kept."""
    return _CODES.get(error_class, ErrorCode.UNEXPECTED)


def shown_to_users(error: Mapping[str, Any]) -> dict[str, str]:
    """The `code` and `message` for an error as it is kept."""
    code = error_code(error["error_class"])
    return {"code": str(code), "message": MESSAGES[code]}
