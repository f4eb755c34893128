"""Models that embed and read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from shared.domain.contexts import BookContext, ChapterMetadata
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector

Answer = TypeVar("Answer")


class AtOnce(Protocol):
    """Makes calls of models."""

    def __call__(self, calls: Sequence[Callable[[], Answer]]) -> list[Answer | Exception]:
        """What each call returned or raised, in order."""
        ...


class TokenMeter(Protocol):
    """Hears of each answer how many tokens the service counted: they are what is paid for."""

    def __call__(self, model: str, *, read: int, written: int = 0) -> None: ...


class Embedder(Protocol):
    """Turns text into vectors."""

    @property
    def model(self) -> EmbeddingModel: ...

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        """One unit-length vector per text, in order.

        Raises Rejected for a text that it can never embed, or for more texts than it takes at once, and
        ModelUnavailable.
        """
        ...


class ContextExtractor(Protocol):
    """Reads prose. Raises Rejected for text that it can never read, Blocked if it refuses to answer about it, and
    ModelUnavailable."""

    @property
    def model(self) -> str:
        """Name and version, as stored beside what it extracted."""
        ...

    def quick(self, title: str, beginning: str) -> BookContext:
        """A first idea of a book from its beginning (some thousand words)."""
        ...

    def chapter(self, title: str, text: str) -> ChapterMetadata:
        """The metadata of one chapter."""
        ...

    def full(self, title: str, chapters: Sequence[ChapterMetadata]) -> BookContext:
        """The context of the whole book, reduced from its chapters' metadata, in order."""
        ...
