"""Spans and metrics as OpenTelemetry's: what is kept of an exception is its class, since its message may hold text."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as contexts
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from shared.domain.trace_context import TraceContext, read_traceparent
from shared.ports import Telemetry
from shared.ports.metrics import BUCKETS, METRICS, Kind, Metric
from shared.ports.telemetry import ERROR, NOTHING, About
from shared.ports.telemetry import SpanKind as Side

_SCOPE = "bindery"
_FAILED = Status(StatusCode.ERROR)

# Whoever gets metrics wants no more of them.
_METRICS_SECONDS = 10.0
_CLOSE_SECONDS = 3.0

# After a flush that was not done in time: a collector that is away costs a request a minute its patience.
_PAUSE_SECONDS = 60.0


class OpenTelemetry:
    """Tells the providers, and of metrics `beside`, too, which has their exposition. `flush_seconds` is how long a
    request waits for what it told to be sent; 0 if the background sends it.

    The providers are its own, not the process's: Google's clients would add spans by the process's.
    """

    sends = True

    def __init__(
        self, traces: TracerProvider, metrics: MeterProvider, beside: Telemetry, flush_seconds: float = 0.0
    ) -> None:
        self._traces, self._metrics, self._beside = traces, metrics, beside
        self._flush_seconds = flush_seconds
        self._tracer = traces.get_tracer(_SCOPE)
        self._instruments = self._made(metrics)
        self._metrics_sent = self._flushes_since = time.monotonic()
        self._closed = False
        # No server of functions closes what they made.
        atexit.register(self.close)

    @contextmanager
    def span(
        self, name: str, about: About = NOTHING, *, parent: str | None = None, kind: Side = "internal"
    ) -> Iterator[None]:
        span = self._tracer.start_span(name, _context_of(parent), SpanKind[kind.upper()], about)
        token = contexts.attach(set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            span.set_attribute(ERROR, type(error).__name__)
            span.set_status(_FAILED)
            raise
        finally:
            contexts.detach(token)
            span.end()

    def note(self, about: About) -> None:
        span = get_current_span()
        span.set_attributes(about)
        if ERROR in about:
            span.set_status(_FAILED)

    def traceparent(self) -> str | None:
        known = get_current_span().get_span_context()
        if not known.is_valid:
            return None
        return str(TraceContext(f"{known.trace_id:032x}", f"{known.span_id:016x}", known.trace_flags.sampled))

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        self._instruments[metric.name](value, labels)
        self._beside.record(metric, value, labels)

    def exposition(self) -> bytes | None:
        return self._beside.exposition()

    def flush(self) -> None:
        is_due = self._flush_seconds and time.monotonic() >= self._flushes_since
        if is_due and not _is_done_within(self._flush_seconds, self._send):
            self._flushes_since = time.monotonic() + _PAUSE_SECONDS

    def close(self) -> None:
        atexit.unregister(self.close)
        if not self._closed:
            self._closed = True
            _is_done_within(_CLOSE_SECONDS, self._end)

    def _send(self) -> None:
        self._traces.force_flush()
        if time.monotonic() - self._metrics_sent >= _METRICS_SECONDS:
            self._metrics_sent = time.monotonic()
            self._metrics.force_flush()

    def _end(self) -> None:
        self._traces.shutdown()
        self._metrics.shutdown()

    @staticmethod
    def _made(provider: MeterProvider) -> dict[str, Callable[[float, Mapping[str, str]], None]]:
        """How each metric is recorded."""
        meter = provider.get_meter(_SCOPE)
        made: dict[str, Callable[[float, Mapping[str, str]], None]] = {}
        for m in METRICS:
            if m.kind is Kind.COUNTER:
                made[m.name] = meter.create_counter(m.name, m.unit, m.description).add
            elif m.kind is Kind.GAUGE:
                made[m.name] = meter.create_gauge(m.name, m.unit, m.description).set
            else:
                instrument = meter.create_histogram(
                    m.name, m.unit, m.description, explicit_bucket_boundaries_advisory=BUCKETS
                )
                made[m.name] = instrument.record
        return made


def _is_done_within(seconds: float, act: Callable[[], None]) -> bool:
    """What goes on for longer is left alone. OpenTelemetry keeps no timeouts (opentelemetry-python's #4568)."""
    at_work = threading.Thread(target=act, name="telemetry", daemon=True)
    at_work.start()
    at_work.join(seconds)
    return not at_work.is_alive()


def _context_of(parent: str | None) -> contexts.Context | None:
    """Of the span that it names, in another process; None: of the span that is open."""
    named = read_traceparent(parent)
    if named is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if named.is_sampled else TraceFlags.DEFAULT)
    known = SpanContext(int(named.trace_id, 16), int(named.span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(known))
