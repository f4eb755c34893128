"""Sends spans and metrics by OTLP over HTTP. All but where to is said by OpenTelemetry's own variables: headers,
sampler, batches (opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables)."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import uuid4

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from shared.adapters.opentelemetry.telemetry import OpenTelemetry
from shared.ports import Telemetry


def exporting_telemetry(
    endpoint: str, service: str, project: str, beside: Telemetry, flush_seconds: float
) -> OpenTelemetry:
    """Begins to send in the background. Raises google.auth's DefaultCredentialsError if Google is to be told and the
    process has no credentials."""
    # An instance is a process, since each counts for itself. Google's endpoint takes nothing that names no project.
    own = {"service.name": service or "bindery", "service.instance.id": str(uuid4()), "gcp.project_id": project}
    resource = Resource(own).merge(OTELResourceDetector().detect())
    url = endpoint.rstrip("/")
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces", session=session_of(url))))
    sender = OTLPMetricExporter(f"{url}/v1/metrics", session=session_of(url))
    metrics = MeterProvider([PeriodicExportingMetricReader(sender)], resource=resource, shutdown_on_exit=False)
    return OpenTelemetry(traces, metrics, beside, flush_seconds)


def session_of(url: str) -> requests.Session | None:
    """Google's own endpoint asks for a token of the function's account, of an hour: no header could hold it."""
    if not (urlsplit(url).hostname or "").endswith(".googleapis.com"):
        return None
    from google.auth import default
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
