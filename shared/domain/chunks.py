"""Cuts text into passages of about equal length, at paragraphs where it can, else at sentences, else at words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Longer runs without a space are cut: scripts that do not use spaces, and base64.
_MAX_RUN = 400
_RUN_PER_WORD = 8
_PIECE = re.compile(rf"\S{{1,{_MAX_RUN}}}")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]_*]*$")
_PARAGRAPH = re.compile(r"(?:\r\n?|\n)[^\S\r\n]*(?:\r\n?|\n)")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A passage: `text` is `chapter[start:end]`, in characters, with no white space at its ends."""

    index: int
    text: str
    start: int
    end: int
    word_count: int


@dataclass(frozen=True)
class _Piece:
    start: int
    end: int
    weight: int
    rank: int  # how good it is to cut after it: 2 paragraph, 1 sentence, 0 neither


def count_words(text: str) -> int:
    """Runs of characters between white space."""
    return len(text.split())


def split_chunks(text: str, *, target_words: int = 200) -> list[Chunk]:
    """Passages of about `target_words`, at most 1.25 times as many; every visible character is in exactly one.

    A run of more than 400 characters without a space is cut, and counts a word for every 8 characters.
    """
    spans = cut(text, target_words)
    return [
        Chunk(index=i, text=text[a:b], start=a, end=b, word_count=count_words(text[a:b]))
        for i, (a, b) in enumerate(spans)
    ]


def cut(text: str, target: int) -> list[tuple[int, int]]:
    """Spans `(start, end)` of about `target` words, of even length so that no crumb is left at the end."""
    pieces = list(_pieces(text))
    remaining = sum(p.weight for p in pieces)
    spans, first = [], 0
    while first < len(pieces):
        parts = max(1, round(remaining / target))
        if remaining > parts * target * 1.2:
            parts += 1
        last, weight = _best_end(pieces, first, remaining / parts, 1.25 * target, is_final=parts == 1)
        spans.append((pieces[first].start, pieces[last].end))
        remaining -= weight
        first = last + 1
    return spans


def _best_end(
    pieces: list[_Piece], first: int, goal: float, limit: float, *, is_final: bool
) -> tuple[int, int]:
    """The last piece of the span that begins at `first`, and the span's weight."""
    if is_final:
        return len(pieces) - 1, sum(p.weight for p in pieces[first:])
    best, best_score, best_weight, weight = first, -1.0, pieces[first].weight, 0
    for i in range(first, len(pieces)):
        weight += pieces[i].weight
        if weight > min(goal * 1.2, limit) and i > first:
            break
        # A better kind of cut is worth a quarter of the goal's length.
        score = pieces[i].rank * 0.25 - abs(weight - goal) / goal
        if weight >= goal * 0.6 and score >= best_score or i == first:
            best, best_score, best_weight = i, score if weight >= goal * 0.6 else -2.0, weight
        elif weight < goal * 0.6:
            best, best_score, best_weight = i, -2.0, weight
    return best, best_weight


def _pieces(text: str) -> Iterator[_Piece]:
    previous: re.Match[str] | None = None
    for match in _PIECE.finditer(text):
        if previous is not None:
            yield _piece(text, previous, match.start())
        previous = match
    if previous is not None:
        yield _piece(text, previous, len(text))


def _piece(text: str, match: re.Match[str], next_start: int) -> _Piece:
    run = match.group()
    if _PARAGRAPH.search(text, match.end(), next_start):
        rank = 2
    else:
        rank = 1 if _SENTENCE_END.search(run[-8:]) else 0
    return _Piece(match.start(), match.end(), max(1, len(run) // _RUN_PER_WORD if len(run) > 40 else 1), rank)
