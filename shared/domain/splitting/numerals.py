"""Reads the numbers that books print: digits, Roman numerals and English words."""

from __future__ import annotations

import re

_UNITS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_ORDINAL_UNITS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_CARDINALS = {w: i for i, w in enumerate(_UNITS.split(), 1)} | {w: 10 * i for i, w in enumerate(_TENS.split(), 2)}
_ORDINALS = {w: i for i, w in enumerate(_ORDINAL_UNITS.split(), 1)} | {
    w[:-1] + "ieth": 10 * i for i, w in enumerate(_TENS.split(), 2)
}
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ROMAN_SHAPE = re.compile(r"M{0,3}(?:CM|CD|D?C{0,4})(?:XC|XL|L?X{0,4})(?:IX|IV|V?I{0,4})", re.IGNORECASE)
ROMAN = re.compile(r"(?:[IVXLCDM]{1,15}|[ivxlcdm]{1,15})(?!\w)")
_DIGITS = re.compile(r"(\d{1,5})[a-zA-Z]?(?!\w)")
_LETTERS = re.compile(r"[A-Za-z]+")


def read_number(text: str) -> tuple[int | None, int]:
    """The number that the text begins with, and its length, 0 if there is none.

    Reads `12`, `XII`, `Twelve`, `the Twelfth`, `Twenty-One`, `One Hundred and Five`; `the Last` has no value.
    """
    if match := _DIGITS.match(text):
        return int(match[1]), match.end()
    match = ROMAN.match(text)
    if match and _ROMAN_SHAPE.fullmatch(match.group()):
        return _roman(match.group().upper()), match.end()
    article = 4 if text[:4].casefold() == "the " else 0
    value, used = _read_words(text[article : article + 60])
    return value, used + article if used else 0


def _roman(text: str) -> int:
    values = [_ROMAN_DIGITS[c] for c in text]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))


def _read_words(text: str) -> tuple[int | None, int]:
    value, used = 0, 0
    for match in _LETTERS.finditer(text):
        word = match.group().casefold()
        gap = text[used : match.start()]
        if gap not in ((" ", "-", "‐", "‑", " and ") if used else ("",)):
            break
        if word == "and" and used:
            continue
        if word in ("last", "final", "premier", "première") and not used:
            return None, match.end()
        if word in ("hundred", "hundredth") and 0 < value < 20:
            value, used = value * 100, match.end()
            continue
        small = _CARDINALS.get(word) or _ORDINALS.get(word)
        fits = value % 100 == 0 or (value % 100 >= 20 and value % 10 == 0 and (small or 10) < 10)
        if not small or not fits:
            break
        value, used = value + small, match.end()
        if word in _ORDINALS:
            break
    return (value, used) if used else (None, 0)
