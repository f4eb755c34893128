"""One trace of a book, from its import to its completion: whoever publishes a job, and whenever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.sdk.trace import ReadableSpan

from infra.local.embedded_stack import EmbeddedStack
from shared.domain.trace_context import read_traceparent
from tests.support.tracing import KeptTelemetry
from tests.support.waiting import poll
from tests.support.world import World, manuscript

SECONDS = 60.0
IMPORT = "POST /api/books/import"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
STAGES = {
    "stage book-processing",
    "stage book-context-extraction",
    "stage chapter-processing",
    "stage embedding-generation",
    "stage book-completion",
}


@pytest.fixture
def kept() -> KeptTelemetry:
    return KeptTelemetry()


@pytest.fixture
def world(dsn: str, kept: KeptTelemetry) -> Iterator[World]:
    with closing(World(dsn, overrides={"telemetry": kept})) as made:
        yield made


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def trace_of(message: Any) -> str | None:
    context = read_traceparent(message.attributes.get("traceparent"))
    return context.trace_id if context else None


def test_a_book_is_one_trace_on_the_embedded_stack(tmp_path: Path, kept: KeptTelemetry) -> None:
    text = manuscript(chapters=7, words=200)
    settings = {"models": "fake", "calls_at_once": 2}
    with closing(EmbeddedStack(tmp_path, settings, lambda name, line: None, {"telemetry": kept})) as stack:
        with requests.Session() as session:
            session.trust_env = False
            body = {"title": "A Book", "content": text}
            book_id = session.post(f"{stack.url}/api/books/import", json=body).json()["book_id"]
            for _ in poll(SECONDS, "the book to be completed"):
                reply = session.get(f"{stack.url}/api/books/{book_id}/status").json()
                if reply["status"] == "completed" and stack.broker.idle():
                    break

    trace = kept.trace(book_id=book_id)
    by_id = {s.context.span_id: s for s in trace}
    assert [s.name for s in trace if s.parent is None] == [IMPORT]
    assert [s.name for s in trace if s.parent and s.parent.span_id not in by_id] == []

    stages = [s for s in trace if s.name in STAGES]
    assert {s.name for s in stages} == STAGES
    assert (stages[0].name, stages[-1].name) == ("stage book-processing", "stage book-completion")
    worked = [s for s in stages if "outcome" in about(s)]
    assert {about(s)["outcome"] for s in worked} == {"completed"}
    jobs = Counter(about(s)["job_id"] for s in worked)
    assert set(jobs.values()) == {1}
    for span in worked:
        assert {"book_id": book_id, "version": 1, "attempt": 1}.items() <= about(span).items()
        parts = [s.name for s in trace if s.parent and s.parent.span_id == span.context.span_id]
        assert {"claim", "project", "work", "commit", "publish"} <= set(parts)
        assert parts.index("claim") < parts.index("work") < parts.index("commit") < parts.index("publish")
    calls = [s for s in trace if s.name.startswith("model ")]
    assert Counter(s.name for s in calls if s.name != "model embed") == {
        "model chapter": 7,
        "model quick": 1,
        "model full": 1,
    }
    assert {by_id[s.parent.span_id].name for s in calls if s.parent} == {"work"}

    told = " ".join(span.to_json() for span in kept.spans())
    words = text.split()
    assert not {w for n in range(len(words) - 3) if (w := " ".join(words[n : n + 4])) in told}


def test_a_job_that_reconcile_publishes_goes_on_with_its_books_trace(world: World, kept: KeptTelemetry) -> None:
    world.broker.down = True
    book_id = world.import_book(manuscript(2))
    world.broker.down = False
    world.clock.advance(60)

    world.app.reconcile()
    world.run()

    assert world.status(book_id)["status"] == "completed"
    names = Counter(s.name for s in kept.trace(book_id=book_id))
    assert set(names) >= STAGES


def test_a_job_that_waited_for_anothers_permit_goes_on_with_its_own_books_trace(dsn: str, kept: KeptTelemetry) -> None:
    caps = {"book-processing": 1, "chapter-processing": 1, "embedding-generation": 1}
    with closing(World(dsn, overrides={"telemetry": kept}, concurrency=caps)) as world:
        books = [world.import_book(manuscript(3, name=user), user=user) for user in ("ann", "bob", "cid")]
        world.run()

    traces = {book_id: f"{kept.trace(book_id=book_id)[0].context.trace_id:032x}" for book_id in books}
    assert len(set(traces.values())) == 3
    assert {(m.data["book_id"], trace_of(m)) for m in world.broker.published} == set(traces.items())


def test_another_attempt_is_in_the_same_trace_and_the_one_that_failed_says_by_what(
    world: World, kept: KeptTelemetry
) -> None:
    calls = Counter[str]()

    def fail_once(text: str) -> None:
        calls[text[:9]] += 1
        if text.startswith("CHAPTER 2") and calls[text[:9]] == 1:
            raise RuntimeError(f"can't read {text}")

    world.extractor.before = fail_once
    book_id = world.import_book(manuscript(3, words=60))
    world.run()

    trace = kept.trace(book_id=book_id)
    failed = [s for s in trace if about(s).get("error.type")]
    assert [about(s)["error.type"] for s in failed] == ["RuntimeError"] * 3, "the attempt, its work and its call"
    assert {s.status.status_code.name for s in failed} == {"ERROR"}
    again = [about(s) for s in trace if about(s).get("attempt") == 2]
    assert [a["outcome"] for a in again] == ["completed"]
    assert not [event for span in trace for event in span.events], "events would hold an exception's message"
    assert "can't read" not in "".join(s.to_json() for s in trace)


@pytest.mark.parametrize(("flags", "told"), [("01", STAGES | {IMPORT}), ("00", set())])
def test_a_book_is_in_its_callers_trace_and_told_if_the_caller_traces(
    world: World, kept: KeptTelemetry, flags: str, told: set[str]
) -> None:
    world.post({"content": manuscript(1)}, traceparent=f"00-{TRACE}-00f067aa0ba902b7-{flags}")
    world.run()

    assert {trace_of(m) for m in world.broker.published} == {TRACE}
    found = {s.name for s in kept.spans() if s.context.trace_id == int(TRACE, 16)}
    assert found & (STAGES | {IMPORT}) == told


def test_an_address_is_not_told_for_it_is_the_callers_text(world: World, kept: KeptTelemetry) -> None:
    for path in ("/api/jobs/the-lantern-went-out", "/the/lantern/went/out"):
        assert world.get(path).status_code == 404

    assert {s.name for s in kept.spans()} == {"GET /api/jobs/<job_id>", "HTTP unknown"}
    assert "lantern" not in "".join(s.to_json() for s in kept.spans())


def test_without_telemetry_a_trace_that_others_began_is_passed_on_and_none_is_begun(dsn: str) -> None:
    with closing(World(dsn)) as world:
        world.import_book(manuscript(1), user="bob")
        world.run()
        assert {trace_of(m) for m in world.broker.published} == {None}
        assert world.rows("SELECT count(trace_context) AS n FROM jobs") == [{"n": 0}]
        world.broker.published.clear()

        world.post({"content": manuscript(1)}, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        world.run()

        assert {trace_of(m) for m in world.broker.published} == {TRACE}
        assert world.app.telemetry.traceparent() is None


def test_what_a_redrive_makes_due_goes_on_with_the_trace(world: World, kept: KeptTelemetry) -> None:
    def fail(text: str) -> None:
        if text.startswith("CHAPTER 2\n"):
            raise KeyError(text)

    world.extractor.before = fail
    book_id = world.import_book(manuscript(3, words=60))
    world.run()
    world.extractor.before = None
    before = len([s for s in kept.trace(book_id=book_id) if s.name == "stage book-completion"])

    assert world.call("POST", "/api/dead-letters/redrive", {"book_id": book_id}).status_code == 200
    world.app.reconcile()
    world.run()

    assert len([s for s in kept.trace(book_id=book_id) if s.name == "stage book-completion"]) > before
