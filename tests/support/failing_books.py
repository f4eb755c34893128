"""Books with chapters that fail, and the dead letters that come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shared.domain.errors import Rejected
from tests.support.world import World, manuscript


class Broken:
    """Fails the chapters of these numbers, as long as they are in here. A quick context is not kept from its work."""

    def __init__(self, world: World, *numbers: int, error: type[Exception] = Rejected) -> None:
        self.numbers = set(numbers)
        self._error = error
        world.extractor.before = self

    def __call__(self, text: str) -> None:
        for n in self.numbers:
            if text.startswith(f"CHAPTER {n}\n") and "CHAPTER 12\n" not in text:
                raise self._error(f"the model refuses chapter {n}")


def failed_book(world: World, *numbers: int, chapters: int = 12, **more: Any) -> tuple[str, Broken]:
    broken = Broken(world, *numbers, **more)
    book_id = world.import_book(manuscript(chapters=chapters))
    world.run()
    return book_id, broken


def letters(world: World, user: str = "ann", **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.get("/api/dead-letters", user=user, **query).json["dead_letters"]
    return found


def redrive(world: World, user: str = "ann", **body: Any) -> Any:
    return world.call("POST", "/api/dead-letters/redrive", body, user=user).json


def refuse_vectors(world: World, *numbers: int) -> set[int]:
    """The embedder rejects the chapters of these numbers, as long as they are in the set."""
    refused = set(numbers)

    def refuse(texts: Sequence[str]) -> None:
        if any(t.startswith(f"CHAPTER {n}\n") for t in texts for n in refused):
            raise Rejected("the model refuses this text")

    world.embedder.before = refuse
    return refused


def refuse_full_context(world: World) -> Callable[[], None]:
    """The extractor makes no full context until what this returns is called."""
    full = world.extractor.full

    def refuse(*about: Any) -> Any:
        raise Rejected("no context")

    world.extractor.full = refuse  # type: ignore[method-assign, assignment]
    return lambda: setattr(world.extractor, "full", full)
