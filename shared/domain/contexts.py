"""What is known of a chapter, and of a whole book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A name and how often it stands in the text."""

    name: str
    count: int


@dataclass(frozen=True, kw_only=True)
class ChapterMetadata:
    """What is known of one chapter.

    `evidence` is JSON that the extractor leaves for its own `full` step; no one else reads it.
    """

    summary: str
    characters: tuple[Mention, ...] = ()
    places: tuple[Mention, ...] = ()
    themes: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BookContext:
    """What is known of a whole book. `genre` is a guess, or None."""

    summary: str
    characters: tuple[Mention, ...] = ()
    places: tuple[Mention, ...] = ()
    themes: tuple[str, ...] = ()
    genre: str | None = None
