"""Where a text may be cut: after every word, and within runs without white space that are long."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise

from shared.domain.splitting.words import CHARACTERS_PER_WORD, LONG_RUN, MARKS, UNSPACED, count_words

MAX_PIECE_BYTES = 2000
"""In UTF-8. A run without white space that has more is cut anywhere: base64, or a script that is not known here."""
WITHIN_RUN, AFTER_WORD, AFTER_SENTENCE, AFTER_LINE, AFTER_PARAGRAPH = range(5)
"""How good a place for a cut is. A line counts if it ends a sentence."""

_PHRASE = 48
_ENDS = "。！？｡។៕။"
_PAUSES = "，、；：､၊" + _ENDS
_CLOSERS = "」』”’）》〉】｣"
_TOKEN = re.compile(r"\S+")
_SENTENCE = re.compile(f"[^{_ENDS}]+[{_ENDS}]*[{_CLOSERS}]*|[{_ENDS}]+")
_PHRASES = re.compile(f"[^{_PAUSES}]{{1,{_PHRASE}}}[{MARKS}]{{0,8}}[{_PAUSES}{_CLOSERS}]{{0,8}}|[{_PAUSES}]{{1,8}}")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_SENTENCE_END = re.compile(rf"[.!?…؟۔।॥։።{_ENDS}][\"'”’»)\]_*{_CLOSERS}]*$")
_PARAGRAPH = re.compile(r"(?:\r\n?|\n)[^\S\r\n]*(?:\r\n?|\n)|[\u2029\f]")


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What is never cut further, in order: `text[start:end]`, its words, and how good a cut after it is."""

    text: str
    starts: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    words: array[int] = field(default_factory=lambda: array("q"))
    ranks: array[int] = field(default_factory=lambda: array("b"))

    def add(self, start: int, end: int, words: int, rank: int) -> None:
        self.starts.append(start)
        self.ends.append(end)
        self.words.append(words)
        self.ranks.append(rank)

    def words_of(self, first: int, end: int) -> int:
        return sum(self.words[first:end])

    def bytes_of(self, first: int, end: int) -> int:
        """Of these pieces in UTF-8, with the white space between them."""
        starts, ends = self._places_in_bytes
        return ends[end - 1] - starts[first]

    def visible_bytes_of(self, first: int, end: int) -> int:
        """The same without the white space."""
        starts, ends = self._places_in_bytes
        return sum(ends[first:end]) - sum(starts[first:end])

    @cached_property
    def _places_in_bytes(self) -> tuple[array[int], array[int]]:
        if self.text.isascii():
            return self.starts, self.ends
        places = [0, *(place for span in zip(self.starts, self.ends, strict=True) for place in span)]
        places_in_bytes = array("q", accumulate(len(self.text[a:b].encode()) for a, b in pairwise(places)))
        return places_in_bytes[::2], places_in_bytes[1::2]


def read_pieces(text: str) -> Pieces:
    pieces = Pieces(text=text)
    previous: re.Match[str] | None = None
    for match in _TOKEN.finditer(text):
        if previous is not None:
            _add_token(pieces, previous, _rank(text, previous, match.start()))
        previous = match
    if previous is not None:
        _add_token(pieces, previous, AFTER_PARAGRAPH)
    return pieces


def _rank(text: str, token: re.Match[str], following: int) -> int:
    gap = text[token.end() : following]
    if gap not in (" ", "\n") and _PARAGRAPH.search(gap):
        return AFTER_PARAGRAPH
    if not _SENTENCE_END.search(text, max(token.start(), token.end() - 8), token.end()):
        return AFTER_WORD
    return AFTER_LINE if "\n" in gap or "\r" in gap else AFTER_SENTENCE


def _add_token(pieces: Pieces, token: re.Match[str], rank: int) -> None:
    run, start = token.group(), token.start()
    if len(run) <= LONG_RUN:
        one = len(run) == 1 or (run.isascii() and run.isalnum())
        pieces.add(start, token.end(), 1 if one else max(1, count_words(run)), rank)
        return
    for a, b, words in _parts(run):
        pieces.add(start + a, start + b, words, rank if b == len(run) else _rank_within(run, a, b))


def _parts(run: str) -> Iterator[tuple[int, int, int]]:
    """Start, end and words of each sentence; of each phrase, if it has no spaces between words or is very long."""
    for sentence in _SENTENCE.finditer(run):
        text = sentence.group()
        if not _UNSPACED.search(text) and len(text.encode()) <= MAX_PIECE_BYTES:
            yield *sentence.span(), max(1, count_words(text))
            continue
        for phrase in _PHRASES.finditer(run, *sentence.span()):
            # The second keeps count of a word that is longer than the phrase.
            least = math.ceil(len(phrase.group()) / CHARACTERS_PER_WORD)
            yield *phrase.span(), max(count_words(phrase.group()), least)


def _rank_within(run: str, start: int, end: int) -> int:
    if _SENTENCE_END.search(run, max(start, end - 8), end):
        return AFTER_SENTENCE
    return AFTER_WORD if run[end - 1] in _PAUSES + _CLOSERS else WITHIN_RUN
