"""Extractive summaries: the sentences that most others resemble (TextRank, Mihalcea and Tarau 2004)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared.adapters.local_models.context import lexicon

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ABBREVIATION = re.compile(r"\b(Mr|Mrs|Ms|Dr|St|Col|Capt|Rev|No|Vol)\.")
_SENTENCE = re.compile(r"(?<=[.!?…])[\"”’)]*\s+(?=[\"“‘(]?[A-Z])")
_WORD = re.compile(r"[a-z]{3,}")
_SPOKEN = re.compile(r"[\"“”]")
_ADDRESS = re.compile(r"\b(?:you|your|we)\b")
_MAX_SENTENCES = 400  # the matrix grows with the square
_HEADING = re.compile(r"^\s*(?:#|(?:chapter|volume|part|book|letter|prologue|epilogue)\b)", re.IGNORECASE)


def prose(text: str) -> list[str]:
    """The paragraphs of a text, white space folded, without headings and marks of emphasis."""
    paragraphs = re.split(r"(?:\r?\n|\r)[ \t]*(?:\r?\n|\r)", text)
    if paragraphs and (_HEADING.match(paragraphs[0]) or len(paragraphs[0].split()) <= 12 < len(text.split())):
        first_lines = paragraphs[0].strip().splitlines()
        paragraphs[0] = "\n".join(first_lines[1:]) if len(first_lines) > 3 else ""
    folded = (
        " ".join(p.replace("_", "").replace("*", "").split()) for p in paragraphs if not p.lstrip().startswith("#")
    )
    return [p for p in folded if p]


def sentences(paragraphs: Sequence[str]) -> list[str]:
    marked = (_ABBREVIATION.sub(r"\1§", p) for p in paragraphs)
    found = (s.replace("§", ".").strip() for p in marked for s in _SENTENCE.split(p))
    return [s for s in found if s]


def summarise(paragraphs: Sequence[str], names: Sequence[str], count: int) -> list[str]:
    """At most `count` whole sentences, in the order of the text; narrative before dialogue."""
    found = sentences(paragraphs)
    step = max(1, math.ceil(len(found) / _MAX_SENTENCES))
    found = found[::step]
    if len(found) <= count:
        return found
    likeness = _likeness([_words(s) for s in found])
    scores = _page_rank(likeness)
    best = max(scores) or 1.0
    weighed = [s / best * _weight(x, i, names) for i, (s, x) in enumerate(zip(scores, found, strict=True))]
    chosen: list[int] = []
    for i in sorted(range(len(found)), key=lambda i: -weighed[i]):
        if all(likeness[i, j] < 0.3 for j in chosen):
            chosen.append(i)
        if len(chosen) == count:
            break
    return [found[i] for i in sorted(chosen)]


def _words(sentence: str) -> Counter[str]:
    return Counter(w for w in _WORD.findall(sentence.lower()) if w not in lexicon.STOP_WORDS)


def _weight(sentence: str, position: int, names: Sequence[str]) -> float:
    length = len(sentence.split())
    weight = 1.0
    weight *= 0.35 if _SPOKEN.search(sentence) or sentence[:1] in "'‘" else 1.0
    weight *= 0.5 if _ADDRESS.search(sentence) else 1.0
    weight *= 0.4 if sentence.rstrip('"”’)').endswith("?") else 1.0
    weight *= 0.3 if length < 9 else 0.4 if length > 45 else 1.0
    weight *= 0.5 if not sentence[:1].isupper() or not sentence.rstrip('"”’)').endswith((".", "!", "?", "…")) else 1.0
    weight *= 1 + 0.25 * min(3, sum(n in sentence for n in names))
    return weight * (1.15 if position < 3 else 1.0)


def _likeness(bags: Sequence[Counter[str]]) -> NDArray[Any]:
    """Cosines of the sentences' weighted words; row i says how like i the others are."""
    import numpy as np

    spread = Counter(w for bag in bags for w in bag)
    column = {w: i for i, w in enumerate(spread)}
    matrix = np.zeros((len(bags), max(1, len(column))), np.float32)
    for row, bag in enumerate(bags):
        for word, times in bag.items():
            matrix[row, column[word]] = (1 + math.log(times)) * math.log(1 + len(bags) / spread[word])
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-6)
    cosines = matrix @ matrix.T
    np.fill_diagonal(cosines, 0)
    cosines[cosines < 0.05] = 0
    return cosines


def _page_rank(likeness: NDArray[Any]) -> list[float]:
    import numpy as np

    total = likeness.sum(1, keepdims=True)
    count = len(likeness)
    links = np.where(total > 0, likeness / np.maximum(total, 1e-9), 1 / count)
    rank = np.full(count, 1 / count, np.float32)
    for _ in range(30):
        rank = 0.15 / count + 0.85 * (links.T @ rank)
    return [float(x) for x in rank]
