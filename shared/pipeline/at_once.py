"""Makes calls that wait for something else at once, each in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from shared.domain.errors import Unavailable

Answer = TypeVar("Answer")


def at_once(calls: Sequence[Callable[[], Answer]]) -> list[Answer | Exception]:
    """What each call returned or raised, in order, when all are done. Their log lines say what the caller's do."""
    if len(calls) < 2:
        return [outcome_of(call) for call in calls]
    with ThreadPoolExecutor(len(calls), thread_name_prefix="call") as threads:
        return [f.result() for f in [threads.submit(copy_context().run, outcome_of, call) for call in calls]]


def outcome_of(call: Callable[[], Answer]) -> Answer | Exception:
    """What the call returned or raised."""
    try:
        return call()
    except Exception as error:
        return error


def raise_one_of(errors: Iterable[Exception]) -> None:
    """Raise one of what calls failed by: of those that found a service away, the one that asks for the longest pause,
    with how many calls were made in vain."""
    failed = list(errors)
    if away := [error for error in failed if isinstance(error, Unavailable)]:
        longest = max(away, key=lambda error: error.retry_after or 0)
        longest.calls = len(away)
        raise longest
    for error in failed:
        raise error
