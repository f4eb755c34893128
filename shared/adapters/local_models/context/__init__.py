"""Contexts on one machine, by rules: whole sentences of the text itself, and names by how they are used.

No bundled model writes: these summaries are extractive. It reads a novel in about two seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from shared.adapters.local_models.context import names, summary, themes
from shared.domain.contexts import BookContext, ChapterMetadata

__all__ = ["LocalContextExtractor"]

_MAX_CHARACTERS, _MAX_PLACES = 30, 20
_CHAPTER_NAMES = 15
_BOOK_SENTENCES = 6


class LocalContextExtractor:
    """Takes English best; any other text gets a summary, and what names can be told."""

    @property
    def model(self) -> str:
        return "bindery-local-context/1"

    def quick(self, title: str, beginning: str) -> BookContext:
        paragraphs = summary.prose(beginning)
        uses = names.gather(paragraphs)
        counts = themes.count_themes(beginning)
        people = names.characters(uses, least=3)
        return BookContext(
            summary=" ".join(summary.summarise(paragraphs, [p.name for p in people[:8]], 3)),
            characters=tuple(people[:_MAX_CHARACTERS]),
            places=tuple(names.places(uses, least=2)[:_MAX_PLACES]),
            themes=themes.rank_themes(counts),
            genre=themes.guess_genre(counts),
        )

    def chapter(self, title: str, text: str) -> ChapterMetadata:
        paragraphs = summary.prose(text)
        uses = names.gather(paragraphs)
        counts = themes.count_themes(text)
        people = names.characters(uses, least=2)
        return ChapterMetadata(
            summary=" ".join(summary.summarise(paragraphs, [p.name for p in people[:8]], 3)),
            characters=tuple(people[:_CHAPTER_NAMES]),
            places=tuple(names.places(uses, least=2)[:_CHAPTER_NAMES]),
            themes=themes.rank_themes(counts),
            evidence={"names": uses, "themes": counts},
        )

    def full(self, title: str, chapters: Sequence[ChapterMetadata]) -> BookContext:
        uses = names.merge(c.evidence.get("names", {}) for c in chapters)
        counts = _sum(c.evidence.get("themes", {}) for c in chapters)
        people = names.characters(uses)
        told = [c.summary for c in chapters if c.summary]
        return BookContext(
            summary=" ".join(summary.summarise(told, [p.name for p in people[:12]], _BOOK_SENTENCES)),
            characters=tuple(people[:_MAX_CHARACTERS]),
            places=tuple(names.places(uses)[:_MAX_PLACES]),
            themes=themes.rank_themes(counts),
            genre=themes.guess_genre(counts),
        )


def _sum(counts: Any) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for c in counts:
        total.update(c)
    return total
