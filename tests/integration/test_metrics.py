"""What is measured of a run: as OpenTelemetry has it, and as Prometheus reads it on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from flask import Request
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import EnvironBuilder

from shared.adapters.google.vertex_context import VertexContextExtractor
from shared.adapters.google.vertex_embedder import VertexEmbedder
from shared.bootstrap import App
from shared.config import Config
from shared.domain.embeddings import EmbeddingTask
from shared.domain.errors import ModelUnavailable, Rejected, Unavailable
from shared.ports.metrics import METRICS
from tests.support.fake_vertex import FakeVertex, client_of, count_tokens
from tests.support.tracing import KeptTelemetry
from tests.support.world import World, manuscript


@pytest.fixture
def kept() -> KeptTelemetry:
    return KeptTelemetry()


@pytest.fixture
def measured(dsn: str, kept: KeptTelemetry) -> Iterator[World]:
    with closing(World(dsn, overrides={"telemetry": kept})) as made:
        yield made


def metrics_of(app: App, **environ: Any) -> Any:
    return app.probes(Request(EnvironBuilder("/metrics", **environ).get_environ()))


def scraped(world: World) -> dict[tuple[str, ...], float]:
    """Each sample of `GET /metrics`: by its name, and the values of its labels in the order of their names."""
    text = metrics_of(world.app).get_data(as_text=True)
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name.removeprefix("bindery_"), *(s.labels[k] for k in sorted(s.labels))): s.value for s in samples}


def test_jobs_attempts_calls_and_lookups_are_counted_by_stage_and_outcome(measured: World, kept: KeptTelemetry) -> None:
    away = [ModelUnavailable("429")]

    def fail(text: str) -> None:
        if text.startswith("CHAPTER 1\n") and "CHAPTER 3\n" not in text:
            raise Rejected("no")
        if away and text.startswith("CHAPTER 2\n"):
            raise away.pop()

    measured.extractor.before = fail
    measured.import_book(manuscript(3))
    measured.run()
    measured.extractor.before = None
    measured.import_book(manuscript(3) + "\n\nCHAPTER 4\n\nNew.", title="Another")
    measured.run()
    measured.get("/api/search", q="lantern")

    rows = measured.rows("SELECT type, state, count(*) FROM jobs GROUP BY type, state")
    ended = {(r["type"], r["state"]): r["count"] for r in rows}
    assert kept.sums("bindery.jobs", "stage", "outcome") == ended
    attempts = kept.sums("bindery.attempt.duration", "stage", "outcome")
    assert attempts == ended | {("chapter-processing", "waiting"): 1}
    calls = kept.sums("bindery.model.call.duration", "operation", "outcome")
    assert calls["chapter", "rejected"] == 1
    assert calls["chapter", "unavailable"] == 1
    assert calls["chapter", "answered"] == 2 + 4
    assert calls["embed", "answered"] == ended["embedding-generation", "completed"] + 1, "the search is one"
    lookups = kept.sums("bindery.cache.lookups", "cache", "result")
    assert lookups["answers", "miss"] == 1 + 4 + 1 + 1 + 4 + 1, "quick, chapters (one twice), full; and of the second"
    assert lookups["vectors", "hit"] > 0, "the second book has passages of the first"


def test_tokens_are_those_that_the_service_counted_and_cost_what_the_settings_say(
    vertex: FakeVertex, kept: KeptTelemetry, dsn: str
) -> None:
    prices = {"e": (0.1, 0.0), "g": (0.25, 1.5)}
    with closing(World(dsn, overrides={"telemetry": kept}, model_prices=prices)) as world:
        meter = world.app.meter
    embedder = VertexEmbedder("p", "l", "e", new_client=lambda: client_of(vertex), meter=meter)
    extractor = VertexContextExtractor("p", "l", "g", new_client=lambda: client_of(vertex), meter=meter)
    unpriced = VertexEmbedder("p", "l", "new", new_client=lambda: client_of(vertex), meter=meter)

    texts = ["one two three", "four"]
    embedder.embed(texts, EmbeddingTask.DOCUMENT)
    unpriced.embed(texts, EmbeddingTask.DOCUMENT)
    extractor.chapter("T", "one two")

    read, written = sum(map(count_tokens, texts)), 5 + 2
    tokens = kept.sums("bindery.model.tokens", "model", "direction")
    assert {key: n for key, n in tokens.items() if n} == {
        ("e", "read"): read,
        ("new", "read"): read,
        ("g/1", "read"): 7,
        ("g/1", "written"): written,
    }
    costs = kept.sums("bindery.model.cost", "model")
    assert costs == pytest.approx({("e",): read * 0.1e-6, ("g/1",): 7 * 0.25e-6 + written * 1.5e-6})


def test_prometheus_reads_every_metric_on_one_machine(dsn: str) -> None:
    with closing(World(dsn, concurrency={"chapter-processing": 1})) as world:
        world.import_book(manuscript(3))
        world.deliver(world.take("book-processing"))  # type: ignore[arg-type]
        world.clock.advance(30)
        waiting = scraped(world)
        world.run()
        done = scraped(world)

    names = {m.name.removeprefix("bindery.").replace(".", "_") for m in METRICS}
    silent = {"model_tokens", "model_cost"}
    assert {name for name in names if any(known[0].startswith(name) for known in done)} == names - silent
    assert waiting["queue_jobs", "chapter-processing"] == 2
    assert waiting["queue_age_seconds", "chapter-processing"] == 30
    assert waiting["permits", "chapter-processing"] == 1
    assert done["jobs_total", "completed", "chapter-processing"] == 3
    assert done["queue_jobs", "chapter-processing"] == 0
    assert done["queue_age_seconds", "chapter-processing"] == 0
    assert done["permits", "chapter-processing"] == 0


def test_dead_letters_and_documents_that_lag_are_counted_over_all_processes_and_sent_by_reconcile(
    measured: World, kept: KeptTelemetry
) -> None:
    def fail(text: str) -> None:
        if text.startswith("CHAPTER 1\n") and "CHAPTER 3\n" not in text:
            raise Rejected("no")

    measured.extractor.before = fail
    measured.live_documents.down = True
    measured.import_book(manuscript(3))
    measured.run()
    measured.clock.advance(60)
    with pytest.raises(Unavailable):
        measured.app.reconcile()

    assert kept.sums("bindery.dead_letters", "stage")["chapter-processing",] == 1
    assert kept.sums("bindery.projection.lag")[()] > 0


def test_metrics_are_for_this_machine_alone(world: World) -> None:
    cloud: Any = {"auth": "firebase", "push_audience": "a", "push_service_account": "b", "models": "fake"}
    with closing(App(Config(database_url=world.dsn, project="p", **cloud))) as app:
        assert metrics_of(app) is None, "it is answered as any address that is unknown"
    assert metrics_of(world.app, headers={"Host": "evil.example"}).status_code == 403
    assert metrics_of(world.app).content_type.startswith("text/plain; version=0.0.4")
