"""Makes calls that wait for something else at once, each in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

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
