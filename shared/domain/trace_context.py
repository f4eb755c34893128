"""Where a piece of work stands in its trace: the traceparent of W3C's Trace Context (w3.org/TR/trace-context)."""

from __future__ import annotations

import re
from dataclasses import dataclass

TRACEPARENT = "traceparent"
"""The name of the HTTP header, and of the attribute of messages."""

# A later version may have more fields, which this one passes over.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_MAX_LENGTH = 200


@dataclass(frozen=True)
class TraceContext:
    """`trace_id` and `span_id` are hexadecimal, `is_sampled` whether the trace is kept."""

    trace_id: str
    span_id: str
    is_sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


def read_traceparent(text: str | None) -> TraceContext | None:
    """What it says, or None for what is none: it comes from outside.

    >>> read_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").is_sampled
    True
    >>> read_traceparent("nonsense")
    """
    if not text or len(text) > _MAX_LENGTH or not (found := _TRACEPARENT.fullmatch(text)):
        return None
    trace_id, span_id, flags = found.groups()
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))
