"""Keeps the spans and metrics of a run, and reads traces of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.adapters.opentelemetry.telemetry import OpenTelemetry
from shared.ports import NoTelemetry


class KeptTelemetry(OpenTelemetry):
    """As it is exported, but into memory."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        traces = TracerProvider(shutdown_on_exit=False)
        traces.add_span_processor(SimpleSpanProcessor(self._exporter))
        super().__init__(traces, MeterProvider([self._reader], shutdown_on_exit=False), NoTelemetry())

    def spans(self) -> Sequence[ReadableSpan]:
        """Those that have ended, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def trace(self, **ids: Any) -> list[ReadableSpan]:
        """The whole trace of the first request that noted these ids."""
        roots = [s for s in self.spans() if s.parent is None and ids.items() <= dict(s.attributes or {}).items()]
        return [s for s in self.spans() if s.context.trace_id == roots[0].context.trace_id]

    def sums(self, name: str, *by: str) -> dict[tuple[Any, ...], float]:
        """A counter's sums, or how often a histogram was recorded, by these labels."""
        data: Any = self._reader.get_metrics_data()
        found: dict[tuple[Any, ...], float] = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points if metric.name == name else ():
                key = tuple(point.attributes[label] for label in by)
                found[key] = found.get(key, 0) + getattr(point, "count", getattr(point, "value", 0))
        return found


class Collector(ThreadingHTTPServer):
    """Takes what is sent by OTLP over HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []
        self.metrics: set[str] = set()
        self.services: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def names(self) -> set[str]:
        return {span.name for span in self.spans}

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.services |= {a.value.string_value for a in sent.resource.attributes if a.key == "service.name"}
                self.spans += [span for scope in sent.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for told in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics |= {metric.name for scope in told.scope_metrics for metric in scope.metrics}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def collecting(collector: Collector) -> Iterator[Collector]:
    """Serves until the end."""
    Thread(target=collector.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield collector
    finally:
        collector.shutdown()
        collector.server_close()
