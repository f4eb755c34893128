"""Makes chapters fail, or go without metadata, and lists and redrives the dead letters that come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shared.domain.errors import Blocked, Rejected
from tests.support.world import World, manuscript


class FailingChapters:
    """Fails the metadata of the chapters in `numbers`, which a test may change; never a book's quick context.

    For chapters that fail there is `refuse_vectors`: those without metadata are usable. With `error` Blocked, the
    extractor refuses to answer about them.
    """

    def __init__(self, world: World, *numbers: int, error: type[Exception] = Rejected) -> None:
        self.numbers = set(numbers)
        self._error = error
        world.extractor.before = self

    def __call__(self, text: str) -> None:
        for n in self.numbers:
            if text.startswith(f"CHAPTER {n}\n") and "CHAPTER 12\n" not in text:
                raise self._error(f"the model refuses chapter {n}")


def failed_book(world: World, *numbers: int, chapters: int = 12, **more: Any) -> tuple[str, FailingChapters]:
    """Import a book of which these chapters' metadata fails, and run it. Return its id, and what makes it fail."""
    broken = FailingChapters(world, *numbers, **more)
    book_id = world.import_book(manuscript(chapters=chapters))
    world.run()
    return book_id, broken


def chapters(world: World, book_id: str) -> list[dict[str, Any]]:
    """Return the book's chapters, as its owner sees them."""
    found: list[dict[str, Any]] = world.get(f"/api/books/{book_id}/chapters").json["chapters"]
    return found


def list_dead_letters(world: World, user: str = "ann", **query: Any) -> list[dict[str, Any]]:
    """Return the dead letters that a user sees, by the query of the API."""
    found: list[dict[str, Any]] = world.get("/api/dead-letters", user=user, **query).json["dead_letters"]
    return found


def redrive(world: World, user: str = "ann", **body: Any) -> Any:
    """Redrive dead letters, and return the answer."""
    return world.call("POST", "/api/dead-letters/redrive", body, user=user).json


def refuse_vectors(world: World, *numbers: int) -> set[int]:
    """Make the embedder reject the chapters in the set that this returns, which a test may change."""
    refused = set(numbers)

    def refuse(texts: Sequence[str]) -> None:
        if any(t.startswith(f"CHAPTER {n}\n") for t in texts for n in refused):
            raise Rejected("the model refuses this text")

    world.embedder.before = refuse
    return refused


def block_contexts(world: World, *modes: str) -> None:
    """Make the extractor refuse to answer about contexts of these modes."""

    def refuse(*about: Any) -> Any:
        world.extractor.calls["refused"] += 1
        raise Blocked("the model refuses this book")

    for mode in modes:
        setattr(world.extractor, mode, refuse)


def refuse_full_context(world: World) -> Callable[[], None]:
    """Make the extractor reject every full context, until what this returns is called."""
    full = world.extractor.full

    def refuse(*about: Any) -> Any:
        raise Rejected("no context")

    world.extractor.full = refuse  # type: ignore[method-assign, assignment]
    return lambda: setattr(world.extractor, "full", full)
