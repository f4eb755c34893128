"""A whole run of the embedded stack, with all that can go wrong in it: its logs hold nothing that anybody wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import pytest
import requests
import structlog

from infra.local.embedded_stack import EmbeddedStack
from shared.adapters.fake_models import FakeContextExtractor, FakeEmbedder
from shared.domain.errors import Rejected, Unavailable
from tests.support.waiting import poll
from tests.support.world import manuscript

TITLE, DOCUMENT = "The Binder of Saltmarsh Quay", "doc-of-ann@example.com"
SECONDS = 60.0


class Talkative:
    """Fails some chapters, each in another way, with the text in the message: as a vendor's library may."""

    def __init__(self) -> None:
        self.is_away = True

    def embed(self, texts: Sequence[str]) -> None:
        for text in texts:
            if text.startswith("CHAPTER 3\n"):
                raise Rejected(f"this can't be embedded: {text}") from ValueError(text)

    def extract(self, text: str) -> None:
        if "CHAPTER 9\n" in text:
            return  # it is the beginning of the book, for its quick context
        if text.startswith("CHAPTER 4\n") and self.is_away:
            self.is_away = False
            raise Unavailable("429: try again")
        if text.startswith("CHAPTER 5\n"):
            raise KeyError(text)
        self.embed([text])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[EmbeddedStack]:
    failing = Talkative()
    embedder, extractor = FakeEmbedder(failing.embed), FakeContextExtractor()
    extractor.before = failing.extract
    settings = {"models": "fake", "calls_at_once": 2, "failed_chapters_tolerated": 0.5}
    made = EmbeddedStack(
        tmp_path,
        settings,
        lambda name, line: None,
        {"embedder": embedder, "extractor": extractor, "random": lambda: 0.0},
    )
    yield made
    made.close()


def written(text: str) -> set[str]:
    """The sentences of a manuscript, and every four of their words: what a cut text would still hold."""
    words = text.split()
    return {" ".join(words[n : n + 4]) for n in range(len(words) - 3)} - {" ".join(words[:4])}


def leaked(logs: str, text: str) -> set[str]:
    return {part for part in written(text) if part in logs}


def test_nothing_of_a_text_is_in_the_logs_of_a_run_in_which_chapters_fail(stack: EmbeddedStack, logs: StringIO) -> None:
    text = manuscript(chapters=9, words=450)
    body = {"title": TITLE, "content": text, "google_doc_id": DOCUMENT}
    with requests.Session() as session:
        session.trust_env = False
        book_id = session.post(f"{stack.url}/api/books/import", json=body).json()["book_id"]
        for _ in poll(SECONDS, "the book to end"):
            status = session.get(f"{stack.url}/api/books/{book_id}/status").json()
            if status["status"] in ("completed", "failed") and stack.broker.idle():
                break
        session.post(f"{stack.url}/api/books/import", json={"title": TITLE, "content": "..."})
        session.get(f"{stack.url}/api/search", params={"q": text[:300]})

    events = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert {e["error_class"] for e in events if e["message"] == "stage.failed"} >= {"Rejected", "KeyError"}
    assert {"stage.claim", "stage.retry", "stage.wait", "book.imported"} <= {e["message"] for e in events}
    stages = {e["logging.googleapis.com/labels"]["stage"] for e in events if e["message"] == "stage.done"}
    assert stages == {
        "book-processing",
        "book-context-extraction",
        "chapter-processing",
        "embedding-generation",
        "book-completion",
    }
    assert leaked(logs.getvalue(), text) == set()
    assert TITLE not in logs.getvalue()
    assert "@example.com" not in logs.getvalue()


def test_a_log_that_had_a_text_would_be_found(logs: StringIO) -> None:
    text = manuscript(chapters=1, words=45)

    structlog.get_logger().error("stage.failed", error=f"can't read {text[:120]}")

    assert leaked(logs.getvalue(), text)
