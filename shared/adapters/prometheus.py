"""Metrics in Prometheus' text format, for `GET /metrics` on one machine."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shared.ports import NoTelemetry
from shared.ports.metrics import BUCKETS, METRICS, Kind, Metric

_UNITS = {"s": "seconds"}


class PrometheusTelemetry(NoTelemetry):
    """Keeps metrics in the process until they are asked for; of spans it passes on what others have begun."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._known = {metric.name: self._made(metric) for metric in METRICS}

    def _made(self, metric: Metric) -> Counter | Gauge | Histogram:
        name, unit = metric.name.replace(".", "_"), _UNITS.get(metric.unit, "")
        about, labels, registry = metric.description, metric.labels, self._registry
        if metric.kind is Kind.HISTOGRAM:
            return Histogram(name, about, labels, unit=unit, registry=registry, buckets=BUCKETS)
        made = Counter if metric.kind is Kind.COUNTER else Gauge
        return made(name, about, labels, unit=unit, registry=registry)

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        known = self._known[metric.name]
        of_labels = known.labels(**labels) if labels else known
        match of_labels:
            case Counter():
                of_labels.inc(value)
            case Gauge():
                of_labels.set(value)
            case Histogram():
                of_labels.observe(value)

    def exposition(self) -> bytes | None:
        return generate_latest(self._registry)
