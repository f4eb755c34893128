"""Short codes of vectors, by which all of an owner's passages are compared with a query in a moment.

A passage's code has three bits for each number, whose sum is its level, 0 to 3 (`code_of_vector` in the database). The
query's numbers have eight levels, one bit of which is in each of its planes. So what the planes differ from a code by,
4, 2 and 1 times, falls as the product of the two vectors rises.

Of the nearest 100 of 500,000 passages, .994 were among the 2,000 that codes took for the nearest, of 200,000 .997
(`./infra/dev bench search`). Signs alone lose too many: of 200,000, the best 8,000 held .94. So does an HNSW index of
the vectors: of 200,000 it found .70 to .97, by its settings and the owner's share, and took 2.9 ms to add one.
"""

from __future__ import annotations

import math

from shared.domain.embeddings import MAX_DIMENSIONS, Vector

_HALF = MAX_DIMENSIONS // 2
_LEVELS = 8
# In standard deviations of a unit vector's numbers: what lies beyond has the outermost level.
_SCALE = 2.33


def code_dimensions(vector: Vector) -> int:
    """How many numbers a code is made of, for vectors of these dimensions."""
    return _HALF if len(vector) <= _HALF else MAX_DIMENSIONS


def query_planes(vector: Vector) -> tuple[str, str, str]:
    """The planes of a unit vector, as bit strings of the length of codes: to count 4, 2 and 1 times."""
    padded = vector + [0.0] * (code_dimensions(vector) - len(vector))
    levels = [_level(x * math.sqrt(len(padded)) / _SCALE) for x in padded]
    first, second, third = (3 * "".join(str(level >> bit & 1) for level in levels) for bit in (2, 1, 0))
    return first, second, third


def _level(x: float) -> int:
    return min(max(int((x + 1) / 2 * _LEVELS), 0), _LEVELS - 1)
