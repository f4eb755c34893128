"""Cuts text into passages of about equal length: between paragraphs, else sentences, else words."""

from __future__ import annotations

import math
import re
from array import array
from dataclasses import dataclass, field
from itertools import pairwise

# A run without white space that is longer than this is cut: scripts that do not use spaces, and base64.
MAX_RUN = 2000
_RUN_PIECE = 400
# Scripts without spaces have no gaps to count by: in a run this long, 8 characters count as a word.
_LONG_WORD = 40
_CHARACTERS_PER_WORD = 8
_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\S+")
_CLAUSE = re.compile(r"[^。！？]+[。！？」』”’）]*|[。！？]+")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]_*」』]*$")
_PARAGRAPH = re.compile(r"(?:\r\n?|\n)[^\S\r\n]*(?:\r\n?|\n)|[\u2029\f]")
_SHORTEST = 0.6
_CRUMB = 0.25
_LIMIT = 1.25
# What a cut after a word, a sentence, a line that ends a sentence, a paragraph is worth, in goals of length.
_WORTH = (0.0, 0.2, 0.3, 0.45)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A passage: `text` is `chapter[start:end]`, in characters, with no white space at its ends."""

    index: int
    text: str
    start: int
    end: int
    word_count: int


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """What is never cut further, in order: offsets, words, and an index into `_WORTH`."""

    starts: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    words: array[int] = field(default_factory=lambda: array("q"))
    ranks: array[int] = field(default_factory=lambda: array("b"))

    def add(self, start: int, end: int, words: int, rank: int) -> None:
        self.starts.append(start)
        self.ends.append(end)
        self.words.append(words)
        self.ranks.append(rank)


def has_word(text: str) -> bool:
    return _WORD.search(text) is not None


def count_words(text: str) -> int:
    """Run of letters, digits and underscores; a run of more than 40 counts a word for every 8 characters."""
    return sum(
        1 if len(run) <= _LONG_WORD else math.ceil(len(run) / _CHARACTERS_PER_WORD) for run in _WORD.findall(text)
    )


def split_chunks(text: str, *, target_words: int = 200) -> list[Chunk]:
    """Passages of about `target_words`, at most 1.25 times as many unless one unbroken run has more.

    Every character that is no white space is in exactly one, in order. A run of more than 2,000 characters
    without white space is cut. `word_count` is at least 1, even where there is only punctuation.
    """
    return [
        Chunk(index=i, text=text[a:b], start=a, end=b, word_count=max(1, count_words(text[a:b])))
        for i, (a, b) in enumerate(cut(text, target_words))
    ]


def cut(text: str, target: int) -> list[tuple[int, int]]:
    """Spans `(start, end)` of about `target` words, of even length so that no crumb is left at the end."""
    if target < 1:
        raise ValueError("a target is at least one word")
    pieces = _pieces(text, _LIMIT * target)
    remaining, first, count = sum(pieces.words), 0, len(pieces.words)
    ends: list[int] = []
    while first < count:
        parts = max(1, math.ceil(remaining / (target * 1.2)), round(remaining / target))
        end = count if parts == 1 else _best_end(pieces, first, remaining / parts, _LIMIT * target)
        remaining -= sum(pieces.words[first:end])
        ends.append(end)
        first = end
    starts = [0, *_without_crumb(pieces, ends, target)]
    return [(pieces.starts[a], pieces.ends[b - 1]) for a, b in pairwise(starts)]


def _best_end(pieces: _Pieces, first: int, goal: float, limit: float) -> int:
    """One past the last piece of the span that begins at `first`."""
    best, best_score, words = first + 1, -math.inf, 0
    for i in range(first, len(pieces.words)):
        words += pieces.words[i]
        if words > min(goal * 1.2, limit) and i > first:
            # A piece too long to join leaves a short span behind it, unless the two fit together.
            return i + 1 if best_score == -math.inf and words <= limit else best
        if words < goal * _SHORTEST:
            best = i + 1
            continue
        score = _WORTH[pieces.ranks[i]] - abs(words - goal) / goal
        if score >= best_score:
            best, best_score = i + 1, score
    return best


def _without_crumb(pieces: _Pieces, ends: list[int], target: int) -> list[int]:
    """Join or evens out the last two spans if the last is less than a quarter of the target."""
    if len(ends) < 2:
        return ends
    begin, middle, end = ([0, *ends])[-3], ends[-2], ends[-1]
    tail = sum(pieces.words[middle:end])
    if tail >= target * _CRUMB:
        return ends
    both = tail + sum(pieces.words[begin:middle])
    if both <= _LIMIT * target:
        return [*ends[:-2], end]
    while middle - 1 > begin and tail + pieces.words[middle - 1] <= both / 2:
        middle -= 1
        tail += pieces.words[middle]
    return [*ends[:-2], middle, end]


def _pieces(text: str, limit: float) -> _Pieces:
    pieces = _Pieces()
    previous: re.Match[str] | None = None
    for match in _TOKEN.finditer(text):
        if previous is not None:
            _add_token(pieces, previous, _rank(text, previous, match.start()), limit)
        previous = match
    if previous is not None:
        _add_token(pieces, previous, len(_WORTH) - 1, limit)
    return pieces


def _rank(text: str, token: re.Match[str], following: int) -> int:
    gap = text[token.end() : following]
    if gap not in (" ", "\n") and _PARAGRAPH.search(gap):
        return 3
    if not _SENTENCE_END.search(text, max(token.start(), token.end() - 8), token.end()):
        return 0
    return 2 if "\n" in gap or "\r" in gap else 1


def _add_token(pieces: _Pieces, token: re.Match[str], rank: int, limit: float) -> None:
    run, start = token.group(), token.start()
    if len(run) <= _LONG_WORD:
        pieces.add(start, token.end(), 1 if len(run) == 1 or run.isalnum() else max(1, count_words(run)), rank)
        return
    spans = [
        (a, min(a + _RUN_PIECE if clause.end() - clause.start() > MAX_RUN else clause.end(), clause.end()))
        for clause in _CLAUSE.finditer(run)
        for a in range(clause.start(), clause.end(), _step(clause))
    ]
    for a, b in spans:
        words = max(1, count_words(run[a:b]))
        if len(run) > MAX_RUN:
            # So many words that a chunk of nothing else stays within 2,000 characters.
            words = max(words, math.ceil((b - a) * limit / MAX_RUN))
        inner = 1 if _SENTENCE_END.search(run, max(a, b - 8), b) else 0
        pieces.add(start + a, start + b, words, rank if b == len(run) else inner)


def _step(clause: re.Match[str]) -> int:
    length = clause.end() - clause.start()
    return _RUN_PIECE if length > MAX_RUN else length
