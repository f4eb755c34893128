"""Spans and metrics by OpenTelemetry. Nothing of it is imported unless OTEL_EXPORTER_OTLP_ENDPOINT is set."""
