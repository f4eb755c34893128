"""Where a text may be cut: after every word, and within runs without white space that are long."""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
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
_GAP = re.compile(r"\s+")
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


def read_pieces(text: str) -> Pieces:
    pieces = Pieces(text=text)
    # Looked up once, since a novel has more than 100,000 runs.
    add_start, add_end, add_words, add_rank = (
        column.append for column in (pieces.starts, pieces.ends, pieces.words, pieces.ranks)
    )
    start = len(text) - len(text.lstrip())
    for run, gap in zip(text.split(), [*_GAP.findall(text.strip()), _END], strict=False):
        end = start + len(run)
        rank = AFTER_WORD if run[-1] not in _MAY_END_SENTENCE and gap in _BETWEEN_WORDS else _rank(run, gap)
        if end - start > LONG_RUN:
            for first, last, words in _parts(run):
                add_start(start + first)
                add_end(start + last)
                add_words(words)
                add_rank(rank if last == len(run) else _rank_within(run, first, last))
        else:
            add_start(start)
            add_end(end)
            add_words(1 if run.isalnum() and run.isascii() else _words_of(run))
            add_rank(rank)
        start = end + len(gap)
    return pieces


@lru_cache(maxsize=20_000)
def _words_of(run: str) -> int:
    return max(1, count_words(run))


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
