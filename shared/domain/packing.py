"""Packs things in order into groups that fit a model's request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def pack(items: Iterable[tuple[T, int]], *, max_weight: int, max_items: int | None = None) -> list[list[T]]:
    """Groups of `(item, weight)` whose weights sum to at most `max_weight`; what is heavier alone stands alone.

    >>> pack([("a", 3), ("b", 4), ("c", 9)], max_weight=8)
    [['a', 'b'], ['c']]
    """
    groups: list[list[T]] = []
    room = 0
    for item, weight in items:
        full = max_items is not None and bool(groups) and len(groups[-1]) >= max_items
        if not groups or weight > room or full:
            groups.append([])
            room = max_weight
        groups[-1].append(item)
        room -= weight
    return groups
