"""Words, in scripts with spaces between them and without."""

from __future__ import annotations

import math
import re
import unicodedata
from itertools import groupby

# Han, kana, bopomofo: neither spaces nor letters to count by.
_CHARACTERS = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
# Thai, Lao, Burmese with its relatives, Khmer: letters, vowels and tones, but no digits and no punctuation.
_LETTERS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecf\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109d"
    "\ua9e0-\ua9ef\uaa60-\uaa76\uaa7a-\uaa7f\u1780-\u17d3\u17d7\u17dc\u17dd"
)
UNSPACED = _CHARACTERS + _LETTERS
"""What is written without spaces between words, for a class of a regular expression."""


def _ranges(points: list[int]) -> str:
    runs = ([p for _, p in run] for _, run in groupby(enumerate(points), lambda pair: pair[1] - pair[0]))
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


# The blocks of the basic plane that have any. Python's \w leaves them out: it would see three words in हिन्दी.
_WITH_MARKS = (*range(0x0300, 0x2000), *range(0x20D0, 0x2100), *range(0x2CEF, 0x3100), *range(0xA660, 0xAC00))
MARKS = "\u200c\u200d\ufe00-\ufe0f" + _ranges([p for p in _WITH_MARKS if unicodedata.category(chr(p))[0] == "M"])
"""Vowel signs, accents and joiners, which belong to the character before them, for the same."""

LONG_RUN = 40
CHARACTERS_PER_WORD = 8
_LETTERS_PER_WORD = 4
_WORD = re.compile(r"\w")
# Makes spaces of what no word has, among ASCII.
_SPACED_OUT = bytes(b if b >= 0x80 or chr(b).isalnum() or chr(b) == "_" else 0x20 for b in range(0x100))
_SPACED_RUN = re.compile(rf"[^\W{UNSPACED}]+(?:[{MARKS}]+[^\W{UNSPACED}]*)*")
_UNSPACED_RUN = re.compile(f"[{_LETTERS}]+")
_CHARACTER = re.compile(f"[{_CHARACTERS}]")


def has_word(text: str) -> bool:
    return _WORD.search(text) is not None


def count_words(text: str) -> int:
    """Count runs of letters, digits and underscores, as far as a script puts spaces between its words.

    A Han character, a kana and the like count as a word each, as Microsoft Word and WordPress count them. In Thai, Lao,
    Khmer and Burmese four letters, vowels and tones count as one: ICU's dictionaries find 3.8 to 5.1 of them in a word
    of the Universal Declaration of Human Rights. Any other run of more than 40 counts as a word for every 8 characters.
    """
    runs = text.encode("utf-8", "surrogatepass").translate(_SPACED_OUT).split()
    if text.isascii() and max(map(len, runs), default=0) <= LONG_RUN:
        return len(runs)
    odd = [run for run in runs if len(run) > LONG_RUN or not run.isascii()]
    return len(runs) - len(odd) + sum(_count_words(run.decode("utf-8", "surrogatepass")) for run in odd)


def _count_words(text: str) -> int:
    words = sum(
        1 if len(run) <= LONG_RUN else math.ceil(len(run) / CHARACTERS_PER_WORD) for run in _SPACED_RUN.findall(text)
    )
    letters = (len(run) for run in _UNSPACED_RUN.findall(text))
    return words + len(_CHARACTER.findall(text)) + sum(math.ceil(n / _LETTERS_PER_WORD) for n in letters)
