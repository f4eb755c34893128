"""Contexts on one machine, by rules: whole sentences of the text itself, and names by how they are used.

No bundled model writes: these summaries are extractive. It reads a novel in about two seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.adapters.local_models.context import names, summary, themes
from shared.domain.contexts import BookContext, ChapterMetadata, Mention

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
        """Reduce any extractor's metadata: what has no evidence of this one's is merged as it is."""
        others = [c for c in chapters if not c.evidence]
        uses = names.merge(c.evidence.get("names", {}) for c in chapters)
        counts = _sum(c.evidence.get("themes", {}) for c in chapters)
        people = _merge([*names.characters(uses), *(m for c in others for m in c.characters)])
        places = _merge([*names.places(uses), *(m for c in others for m in c.places)])
        shared = Counter(t for c in others for t in c.themes)
        told = [c.summary for c in chapters if c.summary]
        return BookContext(
            summary=" ".join(summary.summarise(told, [p.name for p in people[:12]], _BOOK_SENTENCES)),
            characters=tuple(people[:_MAX_CHARACTERS]),
            places=tuple(places[:_MAX_PLACES]),
            themes=(*themes.rank_themes(counts), *(t for t, _ in shared.most_common(themes.MAX_THEMES))),
            genre=themes.guess_genre(counts),
        )


def _merge(mentions: Iterable[Mention]) -> list[Mention]:
    """One for each name, the most mentioned first."""
    total: Counter[str] = Counter()
    for m in mentions:
        total[m.name] += m.count
    return [Mention(name=n, count=c) for n, c in total.most_common()]


def _sum(counts: Any) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for c in counts:
        total.update(c)
    return total
