"""Logs: an event's name, and ids as fields. Never text of a book, an address, a token or a secret.

In a terminal they are to be read by people; elsewhere each is a line of JSON as Cloud Logging takes it
(cloud.google.com/logging/docs/structured-logging), and one that has a stack is an error for Error Reporting
(cloud.google.com/error-reporting/docs/formatting-error-messages). Of an exception there is no message, which may hold
text: its class and its frames.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import structlog

from shared.domain.failures import stack_of
from shared.domain.trace_context import read_traceparent

LogFormat = Literal["auto", "json", "console"]

LABELS = ("book_id", "job_id", "version", "stage", "attempt")
"""Ids of what is worked on: Cloud Logging keeps them beside an entry, and finds by them."""

_REPORTED = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"


@dataclass(frozen=True, kw_only=True)
class Logs:
    """How to log: from which `level` on, and in which form. `project`, `service` and `revision` are what Google's
    services know the process by."""

    level: str = "info"
    format: LogFormat = "auto"
    project: str = ""
    service: str = ""
    revision: str = ""


def configure_logging(logs: Logs, out: TextIO | None = None, trace: Callable[[], str | None] = lambda: None) -> None:
    """Log to `out`, or standard error. `trace` says what is traced just now, as a traceparent."""
    out = out or sys.stderr
    in_terminal = logs.format == "console" or (logs.format == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _without_messages,
            *(_for_people() if in_terminal else _for_cloud_logging(logs, trace)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[logs.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def _without_messages(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["stack_trace"] = stack_of(error)
    return event


def _for_people() -> list[Any]:
    def stack_last(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if "stack_trace" in event:
            event["exception"] = event.pop("stack_trace")
        return event

    return [
        stack_last,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        # Quoted, so that no id from outside is something that a terminal obeys.
        structlog.dev.ConsoleRenderer(colors=True, repr_native_str=True),
    ]


def _for_cloud_logging(logs: Logs, trace: Callable[[], str | None]) -> list[Any]:
    def fields(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["severity"] = str(event.pop("level", "info")).upper()
        if labels := {name: str(event.pop(name)) for name in LABELS if event.get(name) is not None}:
            event["logging.googleapis.com/labels"] = labels
        if context := read_traceparent(trace()):
            event["logging.googleapis.com/trace"] = f"projects/{logs.project}/traces/{context.trace_id}"
            event["logging.googleapis.com/spanId"] = context.span_id
            event["logging.googleapis.com/trace_sampled"] = context.is_sampled
        if "stack_trace" in event and event["severity"] in ("ERROR", "CRITICAL"):
            event["@type"] = _REPORTED
            event["serviceContext"] = {"service": logs.service or "bindery", "version": logs.revision}
        return event

    return [
        structlog.processors.EventRenamer("message"),
        fields,
        structlog.processors.TimeStamper(fmt="iso", key="time"),
        structlog.processors.JSONRenderer(sort_keys=True),
    ]
