"""What is known of chapters, as the text by which paid answers are found again."""

from __future__ import annotations

import hashlib

from shared.domain.contexts import ChapterMetadata, Mention, canonical_text

METADATA = ChapterMetadata(
    summary="Ann leaves the harbour — “for good”.",
    characters=(Mention(name="Ann", count=3), Mention(name="Zoë", count=1)),
    places=(Mention(name="Saltmarsh Quay", count=2),),
    themes=("the sea and voyages",),
    evidence={"themes": {"words": 120}, "names": {"Ann": {"all": 3}}},
)


def test_the_canonical_text_is_what_it_always_was() -> None:
    # If this fails, every full context that was paid for is paid for again: give the form another number, and say so.
    assert canonical_text(METADATA) == (
        'chapter-metadata/1 {"characters":[["Ann",3],["Zo\\u00eb",1]],"evidence":{"names":{"Ann":{"all":3}},'
        '"themes":{"words":120}},"places":[["Saltmarsh Quay",2]],'
        '"summary":"Ann leaves the harbour \\u2014 \\u201cfor good\\u201d.","themes":["the sea and voyages"]}'
    )
    assert hashlib.sha256(canonical_text(METADATA).encode()).hexdigest()[:16] == "bf6276310ae699a1"


def test_what_differs_has_another_canonical_text() -> None:
    others = [
        ChapterMetadata(summary=METADATA.summary),
        ChapterMetadata(summary="Ann", themes=("a", "b")),
        ChapterMetadata(summary="Ann", themes=("a,b",)),
        ChapterMetadata(summary="Ann", characters=(Mention(name="Ann", count=1),)),
        ChapterMetadata(summary="Ann", places=(Mention(name="Ann", count=1),)),
        ChapterMetadata(summary="Ann", evidence={"a": 1}),
    ]

    assert len({canonical_text(m) for m in [METADATA, *others]}) == 1 + len(others)


def test_the_order_of_what_an_extractor_left_for_itself_does_not_matter() -> None:
    one, other = (ChapterMetadata(summary="S", evidence=e) for e in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))

    assert canonical_text(one) == canonical_text(other)
