"""Themes and genre by how much more often their words stand in a book than in English at large."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

# Theme: how often its words stand in a million words of English (wordfreq 3, all sources), and the words.
_THEMES: dict[str, tuple[float, str]] = {
    "marriage and courtship": (
        648.6, "marriage married marry wedding engagement engaged proposal husband wife bride suitor courtship"),
    "love and affection": (1037.5, "love loved affection attachment heart tender passion beloved adored"),
    "pride and prejudice": (115.1, "pride proud vanity vain prejudice conceit arrogance haughty disdain"),
    "rank and class": (
        274.4, "rank condescension ladyship gentleman gentlemen estate nobility patroness servant servants lord"),
    "money and inheritance": (
        885.9, "fortune income pounds entail inheritance money debt debts legacy rich poor heir"),
    "family": (1453.1, "sister sisters mother father brother daughter daughters aunt uncle cousin family son"),
    "manners and reputation": (
        171.8, "manners civility civil propriety disgrace reputation scandal honour respectable"),
    "letters and messages": (
        511.2, "letter letters parcel message messages wrote write postman envelope ink"),
    "books and learning": (
        1486.4, "book books page pages library reader reading manuscript printer binding paper scholar school"),
    "the sea and voyages": (
        509.6, "ship ships sea voyage sail sails boat boats crew harbour captain whale deck tide"),
    "crime and mystery": (
        743.4, "murder crime detective police clue mystery stolen thief evidence secret suspect witness"),
    "war": (849.7, "war battle army soldier soldiers regiment officer gun enemy sword"),
    "death and grief": (680.0, "death died dead grief mourning funeral grave dying widow"),
    "nature": (802.5, "wood woods hills river garden trees sea sky storm field fields flowers"),
    "faith": (695.2, "god church prayer clergyman sermon sin soul priest heaven"),
    "friendship and loyalty": (707.1, "friend friends friendship companion loyal loyalty trust"),
    "science and technology": (653.2, "machine engine science experiment computer robot laboratory planet energy"),
    "magic": (144.0, "magic wizard witch spell dragon enchanted sorcerer curse"),
}  # fmt: skip
_THEME_OF: dict[str, list[str]] = {}
for _theme, (_, _words) in _THEMES.items():
    for _word in _words.split():
        _THEME_OF.setdefault(_word, []).append(_theme)

_GENRES = {
    "romance": ("marriage and courtship", "love and affection", "pride and prejudice", "manners and reputation"),
    "adventure": ("the sea and voyages",),
    "mystery": ("crime and mystery",),
    "war story": ("war",),
    "science fiction": ("science and technology",),
    "fantasy": ("magic",),
}
_WORD = re.compile(r"[a-z]+")
_STRONG = 2.0  # times as often as in English at large
MAX_THEMES = 6


def count_themes(text: str) -> dict[str, int]:
    """How often the words of each theme stand in the text; `words` counts all."""
    counts: Counter[str] = Counter()
    for word in _WORD.findall(text.lower()):
        counts["words"] += 1
        for theme in _THEME_OF.get(word, ()):
            counts[theme] += 1
    return dict(counts)


def rank_themes(counts: Mapping[str, int]) -> tuple[str, ...]:
    """The themes that stand out, the strongest first."""
    strength = _strengths(counts)
    enough = [t for t, s in strength.items() if s >= _STRONG / 1.5 and counts[t] >= 3]
    return tuple(sorted(enough, key=lambda t: -strength[t] * math.log1p(counts[t]))[:MAX_THEMES])


def guess_genre(counts: Mapping[str, int]) -> str | None:
    """The genre whose themes stand out most, or None where none does."""
    if counts.get("words", 0) < 1000:
        return None
    strength = _strengths(counts)
    scores = {g: sum(strength.get(t, 0.0) for t in ts) / len(ts) for g, ts in _GENRES.items()}
    best = max(scores, key=lambda g: scores[g])
    return best if scores[best] >= _STRONG else None


def _strengths(counts: Mapping[str, int]) -> dict[str, float]:
    words = max(1, counts.get("words", 0))
    return {t: counts[t] / words * 1e6 / _THEMES[t][0] for t in counts if t in _THEMES}
