"""What the process does, for whoever operates it: spans of traces, and metrics. Names, ids and numbers, never text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import datetime
from typing import Literal, Protocol

from shared.domain.trace_context import read_traceparent
from shared.ports.metrics import Metric

SpanKind = Literal["internal", "server", "client", "consumer", "producer"]

About = Mapping[str, str | int]
"""Ids and numbers, by their names."""

NOTHING: About = {}
FLUSH_SECONDS = 1.0
"""How long an answer waits for what was told to be sent."""

ERROR = "error.type"
"""The name by which a span that failed notes the error's class."""


class Telemetry(Protocol):
    """Nothing here raises, and nothing waits for whom it tells, but `flush` and `close`."""

    @property
    def sends(self) -> bool:
        """Whether metrics are sent by themselves: what costs a statement is found out for that alone."""
        ...

    def span(
        self, name: str, about: About = NOTHING, *, parent: str | None = None, kind: SpanKind = "internal"
    ) -> AbstractContextManager[None]:
        """A piece of work, which lasts as long as the block, and has failed if that raises. It is a part of the one
        that `parent` names (a traceparent; what is none is passed over), or of the one that is open."""
        ...

    def note(self, about: About) -> None:
        """Add to the span that is open; with ERROR, it has failed."""
        ...

    def traceparent(self) -> str | None:
        """Where we are in a trace: for whoever goes on with it in another process."""
        ...

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None: ...

    def exposition(self) -> bytes | None:
        """The metrics of this process in Prometheus' text format, if they are kept for that."""
        ...

    def flush(self) -> None:
        """Send what there is, within FLUSH_SECONDS, if the process may be given no CPU until its next request."""
        ...

    def close(self) -> None:
        """Send what there is, within some seconds, and no more after that. Safe to repeat."""
        ...


class Gauges(Protocol):
    """What is so just now, over all processes."""

    def record(self, now: datetime) -> None:
        """Find out, and record it. Raises Unavailable."""
        ...


_passed_on: ContextVar[str | None] = ContextVar("traceparent", default=None)
_UNTOLD = nullcontext()


class NoTelemetry:
    """Tells nobody. A trace that others have begun is passed on all the same, so that the logs of a book are found by
    its trace."""

    sends = False

    def span(
        self, name: str, about: About = NOTHING, *, parent: str | None = None, kind: SpanKind = "internal"
    ) -> AbstractContextManager[None]:
        return _UNTOLD if parent is None else _pass_on(parent)

    def note(self, about: About) -> None:
        pass

    def traceparent(self) -> str | None:
        return _passed_on.get()

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        pass

    def exposition(self) -> bytes | None:
        return None

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


NO_TELEMETRY: Telemetry = NoTelemetry()


@contextmanager
def _pass_on(parent: str) -> Iterator[None]:
    token = _passed_on.set(str(context) if (context := read_traceparent(parent)) else None)
    try:
        yield
    finally:
        _passed_on.reset(token)
