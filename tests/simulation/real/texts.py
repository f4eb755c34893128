"""Manuscripts whose chapters come twice, move, change and go from one version to the next."""

from __future__ import annotations

import random
import re

from tests.support.world import manuscript

ORDERS = ([1, 2, 3], [1, 3, 2], [1, 2, 2], [2, 1], [3, 1, 2, 4], [1, 1, 2], [1, 2, 1, 2], [4, 3], [1, 2, 3, 4, 5, 6])
WORDS = (20, 60, 260)
FRONT, BACK = "A front page.\n\n", "\n\nAPPENDIX\n\nWhat comes last.\n"


def draw_texts(rng: random.Random, name: str) -> list[str]:
    """What one book is imported as, one after the other."""
    words, changed = rng.choice(WORDS), rng.choice([(), (1,), (2, 3)])
    texts = []
    for _ in range(rng.choice([1, 1, 2])):
        if rng.random() < 0.4:
            changed = rng.choice([(), (1,), (2, 3)])
        texts.append(make_text(rng.choice(ORDERS), words, changed, name, rng.random() < 0.5))
    return texts


def make_text(order: list[int], words: int, changed: tuple[int, ...], name: str, framed: bool) -> str:
    """The chapters of these numbers in this order, with or without front and back matter."""
    chapters = re.split(r"\n+(?=CHAPTER )", manuscript(max(order), words, changed, name).strip())
    text = "\n\n".join(chapters[n - 1] for n in order)
    return f"{FRONT}{text}{BACK}" if framed else f"{text}\n"
