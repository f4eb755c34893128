"""Where a text may be cut: after sentences and paragraphs, after every few words, and within long runs without white
space."""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import accumulate, pairwise

from shared.domain.splitting.words import CHARACTERS_PER_WORD, LONG_RUN, MARKS, UNSPACED, count_words

MAX_PIECE_BYTES = 2000
"""In UTF-8. A run without white space that has more is cut anywhere: base64, or a script that is not known here."""
WITHIN_RUN, AFTER_WORD, AFTER_SENTENCE, AFTER_LINE, AFTER_PARAGRAPH = range(5)
"""How good a place for a cut is. A line counts if it ends a sentence."""

_PHRASE = 48
_MOST_RUNS = 8  # of LONG_RUN characters: fewer bytes than MAX_PIECE_BYTES
_ENDS = "。！？｡។៕။"
_PAUSES = "，、；：､၊" + _ENDS
_CLOSERS = "」』”’）》〉】｣"
_SENTENCE = re.compile(f"[^{_ENDS}]+[{_ENDS}]*[{_CLOSERS}]*|[{_ENDS}]+")
_PHRASES = re.compile(f"[^{_PAUSES}]{{1,{_PHRASE}}}[{MARKS}]{{0,8}}[{_PAUSES}{_CLOSERS}]{{0,8}}|[{_PAUSES}]{{1,8}}")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_STOPS, _AFTER_STOP = f".!?…؟۔।॥։።{_ENDS}", f"\"'”’»)]_*{_CLOSERS}"
_SENTENCE_END = re.compile(f"[{_STOPS}][{re.escape(_AFTER_STOP)}]*$")
_MAY_END_SENTENCE = frozenset(_STOPS + _AFTER_STOP)
_BETWEEN_WORDS, _END = (" ", "\n"), "\n\n"
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

    @cached_property
    def words_before(self) -> array[int]:
        """How many words are before each piece, and (the last) in all."""
        return array("q", accumulate(self.words, initial=0))

    def words_of(self, first: int, end: int) -> int:
        return self.words_before[end] - self.words_before[first]

    def bytes_of(self, first: int, end: int) -> int:
        """Of these pieces in UTF-8, with the white space between them."""
        starts, ends = self._places_in_bytes
        return ends[end - 1] - starts[first]

    def first_beyond(self, first: int, max_bytes: float) -> int:
        """The first piece up to which, from this one on, there are more bytes."""
        starts, ends = self._places_in_bytes
        return bisect_right(ends, starts[first] + max_bytes)

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


def read_pieces(text: str, runs: int = 1) -> Pieces:
    """Pieces of at most so many runs without white space, and `MAX_PIECE_BYTES`. One ends where a sentence may, and at
    any white space but one space or line break. A long run is cut within."""
    pieces = Pieces(text=text)
    for found in _pieces(min(runs, _MOST_RUNS)).finditer(text):
        last, long_run, gap = found.groups()
        start, gap = found.start(), gap if found.end() < len(text) else _END
        if last:
            end = found.end(1)
            rank = AFTER_WORD if last[-1] not in _MAY_END_SENTENCE and gap in _BETWEEN_WORDS else _rank(last, gap)
            pieces.add(start, end, max(1, count_words(text[start:end])), rank)
            continue
        for first, end, words in _parts(long_run):
            rank = _rank(long_run, gap) if end == len(long_run) else _rank_within(long_run, first, end)
            pieces.add(start + first, start + end, words, rank)
    return pieces


@cache
def _pieces(runs: int) -> re.Pattern[str]:
    run = rf"\S{{1,{LONG_RUN}}}+(?!\S)"
    may_end = re.escape("".join(_MAY_END_SENTENCE))
    return re.compile(rf"(?:(?:{run}(?<![{may_end}])[ \n]){{0,{runs - 1}}}({run})|(\S+))(\s*)")


def _rank(run: str, gap: str) -> int:
    if gap not in _BETWEEN_WORDS and _PARAGRAPH.search(gap):
        return AFTER_PARAGRAPH
    if not _SENTENCE_END.search(run, max(0, len(run) - 8)):
        return AFTER_WORD
    return AFTER_LINE if "\n" in gap or "\r" in gap else AFTER_SENTENCE


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
