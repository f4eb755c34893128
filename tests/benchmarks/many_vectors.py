"""Any number of vectors that lie as a few real ones do, for want of a library of a million real passages.

Each lies between a real passage and one of its ten nearest, and off that line by noise that varies as the real ones vary
among themselves. How much of it makes them as hard to tell apart as real ones was found by `lying`: at equal numbers,
local dimensionality and distances of neighbours are about the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_NEIGHBOURS = 10
_NOISE = 0.6
_SLICE = 20_000


def multiply(seeds: Vectors, count: int, rng: np.random.Generator) -> Iterator[Vectors]:
    """Slices of unit vectors, `count` in all."""
    nearest = np.argsort(-(seeds @ seeds.T), axis=1)[:, 1 : _NEIGHBOURS + 1]
    values, axes = np.linalg.eigh(np.cov(seeds.T))
    spread = (axes * np.sqrt(np.maximum(values, 0))).T.astype(np.float32)
    for first in range(0, count, _SLICE):
        size = min(_SLICE, count - first)
        one = rng.integers(len(seeds), size=size)
        other = nearest[one, rng.integers(nearest.shape[1], size=size)]
        share = rng.random((size, 1), np.float32)
        noise = rng.standard_normal((size, seeds.shape[1]), np.float32) @ spread
        made = seeds[one] * (1 - share) + seeds[other] * share + _NOISE * noise
        yield made / np.linalg.norm(made, axis=1, keepdims=True)


def lying(vectors: Vectors, neighbours: int = 50) -> tuple[float, float, float]:
    """Local dimensionality (Levina and Bickel's estimate), and the mean distances of the nearest and the tenth."""
    squares = np.maximum(2 - 2 * (vectors @ vectors.T), 0)
    distances = np.sqrt(np.sort(squares, axis=1)[:, 1 : neighbours + 1])
    dimensionality = -1 / np.mean(np.log(distances[:, :-1] / distances[:, -1:]), axis=1)
    return float(np.mean(dimensionality)), float(np.mean(distances[:, 0])), float(np.mean(distances[:, 9]))
