"""Cuts text into passages of about equal length: between paragraphs, else sentences, else words."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

from shared.domain.splitting.pieces import MAX_PIECE_BYTES, Pieces, read_pieces
from shared.domain.splitting.words import count_words

MAX_BYTES = MAX_PIECE_BYTES
"""Of a passage, in UTF-8. Models take 2,048 tokens of a text, and no vocabulary makes more of it than it has bytes.

(A model that first spells out ligatures may, where there are hundreds of ﷺ.)
"""

_SHORTEST = 0.6
_CRUMB = 0.25
_LIMIT = 1.25
# Where bytes are what limits passages, this leaves some to choose the best end among.
_FULL = 0.9
# How many words are looked at together where no sentence ends, in goals of length.
_STEP = 0.04
# What a cut within a run, after a word, a sentence, a line, a paragraph is worth, in goals of length.
_WORTH = (-0.2, 0.0, 0.2, 0.3, 0.45)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A passage: `text` is `chapter[start:end]`, in characters, with no white space at its ends."""

    index: int
    text: str
    start: int
    end: int
    word_count: int


def split_chunks(text: str, *, target_words: int = 200) -> list[Chunk]:
    """Passages of about `target_words`, or fewer where their words take more than `MAX_BYTES`.

    At most 1.25 times as many, unless one unbroken run has more. Every character that is no white space is in exactly
    one, in order. `word_count` is at least 1, even where there is only punctuation.
    """
    return [
        Chunk(index=i, text=text[a:b], start=a, end=b, word_count=max(1, count_words(text[a:b])))
        for i, (a, b) in enumerate(cut(text, target_words, MAX_BYTES))
    ]


def cut(text: str, target: int, max_bytes: float = math.inf) -> list[tuple[int, int]]:
    """Spans `(start, end)` of about `target` words, of even length so that no crumb is left at the end.

    None has more than `max_bytes` in UTF-8, which is at least `MAX_PIECE_BYTES`.
    """
    if target < 1:
        raise ValueError("a target is at least one word")
    pieces = read_pieces(text, max(1, round(target * _STEP)))
    limits = _Limits(words=_LIMIT * target, bytes=max_bytes)
    first, count = 0, len(pieces.words)
    words, size = pieces.words_of(0, count), pieces.visible_bytes_of(0, count)
    ends: list[int] = []
    while first < count:
        parts = max(1, math.ceil(words / (target * 1.2)), round(words / target), math.ceil(size / (max_bytes * _FULL)))
        whole = parts == 1 and limits.allow(pieces, first, count, words)
        end = count if whole else _best_end(pieces, first, words / parts, limits)
        words -= pieces.words_of(first, end)
        size -= pieces.visible_bytes_of(first, end)
        ends.append(end)
        first = end
    starts = [0, *_without_crumb(pieces, ends, target, limits)]
    return [(pieces.starts[a], pieces.ends[b - 1]) for a, b in pairwise(starts)]


@dataclass(frozen=True, kw_only=True)
class _Limits:
    words: float
    bytes: float

    def allow(self, pieces: Pieces, first: int, end: int, words: int) -> bool:
        """Whether these pieces, which have so many words, may be one span."""
        return words <= self.words and pieces.bytes_of(first, end) <= self.bytes


def _best_end(pieces: Pieces, first: int, goal: float, limits: _Limits) -> int:
    """One past the last piece of the span that begins at `first`."""
    before = pieces.words_before
    # The first pieces that are too much by words and by bytes, and the first that makes it long enough.
    too_wordy = bisect_right(before, before[first] + math.floor(min(goal * 1.2, limits.words))) - 1
    beyond = min(len(pieces.words), max(first + 1, min(too_wordy, pieces.first_beyond(first, limits.bytes))))
    enough = bisect_left(before, before[first] + math.ceil(goal * _SHORTEST)) - 1
    best, best_score = max(first + 1, min(enough, beyond)), -math.inf
    ranks, base = pieces.ranks, before[first]
    for i in range(max(first, enough), beyond):
        score = _WORTH[ranks[i]] - abs(before[i + 1] - base - goal) / goal
        if score >= best_score:
            best, best_score = i + 1, score
    if best_score == -math.inf and beyond < len(pieces.words):
        # A piece too long to join leaves a short span behind it, unless the two fit together.
        together = pieces.words_of(first, beyond + 1)
        return beyond + 1 if limits.allow(pieces, first, beyond + 1, together) else best
    return best


def _without_crumb(pieces: Pieces, ends: list[int], target: int, limits: _Limits) -> list[int]:
    """Join or evens out the last two spans if the last is less than a quarter of the target."""
    if len(ends) < 2:
        return ends
    begin, middle, end = ([0, *ends])[-3], ends[-2], ends[-1]
    tail = pieces.words_of(middle, end)
    if tail >= target * _CRUMB:
        return ends
    both = tail + pieces.words_of(begin, middle)
    if limits.allow(pieces, begin, end, both):
        return [*ends[:-2], end]
    while middle - 1 > begin:
        longer = tail + pieces.words[middle - 1]
        if longer > both / 2 or not limits.allow(pieces, middle - 1, end, longer):
            break
        middle, tail = middle - 1, longer
    return [*ends[:-2], middle, end]
