"""What is known of a chapter, and of a whole book."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ContextMode(StrEnum):
    """`quick`: a first idea from a book's beginning. `full`: reduced from the metadata of its chapters."""

    QUICK = "quick"
    FULL = "full"


class Lack(StrEnum):
    """Why a chapter has no metadata though none is under way: the model refuses its text, or its job failed for good.

    Such a chapter is complete for readers: it can be searched, and says what it lacks.
    """

    BLOCKED = "blocked"
    FAILED = "failed"


class Reduction(StrEnum):
    """Why a full context was reduced without the model: it refused to, or there was no metadata to ask it about."""

    BLOCKED = "blocked"
    NO_METADATA = "no_metadata"


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


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What there is in place of an answer that a generating model refused to give."""

    refused_because: str


def canonical_text(metadata: ChapterMetadata) -> str:
    """All that the metadata says, as one text that only its content can change.

    Answers that were paid for are found again by it. So its field names are written out here: renaming a field of
    ChapterMetadata must not change them. What changes this form on purpose takes another number, and is paid for anew.
    """
    content = {
        "summary": metadata.summary,
        "characters": [[m.name, m.count] for m in metadata.characters],
        "places": [[m.name, m.count] for m in metadata.places],
        "themes": list(metadata.themes),
        "evidence": metadata.evidence,
    }
    return "chapter-metadata/1 " + json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
