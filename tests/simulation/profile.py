"""What one seed's world is like: each seed draws which faults it has at all, and how often (a swarm)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.domain.stages import JOB_TYPES, JobType
from tests.simulation import names
from tests.support.world import manuscript


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Rates are chances at each boundary of a port's call, or of each message; 0 if the seed is spared.

    `caps`: how many jobs of each stage may hold a permit. `calls_at_once`: of a model, by one job. `cancels` to
    `projections` are the weights of what owners and operators do. `sore` is where
    this seed crashes every other time: before or after which call, in jobs of which type.
    """

    switch: float
    events: int
    crash: float
    slow: float
    database: float
    broker: float
    live_documents: float
    model: float
    drop: float
    duplicate: float
    unacknowledged: float
    clock: float
    outage: float
    gives_up: float
    rejecting: bool
    forcing: bool
    crowd: int
    caps: Mapping[JobType, int]
    cancels: float
    deletes: float
    redrives: float
    replays: float
    projections: float
    sore: tuple[str, str, str] | None
    calls_at_once: int


def draw_profile(rng: random.Random) -> Profile:
    def rate(chance: float, low: float, high: float) -> float:
        drawn, value = rng.random(), rng.uniform(low, high)
        return value if drawn < chance else 0.0

    return Profile(
        switch=rng.choice([0.15, 0.4, 0.8]),
        events=rng.randrange(250, 800),
        crash=rate(0.75, 0.001, 0.01),
        slow=rate(0.6, 0.002, 0.01),
        database=rate(0.4, 0.002, 0.01),
        broker=rate(0.5, 0.01, 0.15),
        live_documents=rate(0.5, 0.01, 0.1),
        model=rate(0.6, 0.02, 0.2),
        drop=rate(0.6, 0.02, 0.3),
        duplicate=rate(0.7, 0.05, 0.5),
        unacknowledged=rate(0.5, 0.02, 0.2),
        clock=rate(0.4, 0.5, 2.0),
        outage=rate(0.4, 0.5, 2.0),
        gives_up=rate(0.08, 0.5, 1.0),
        rejecting=rng.random() < 0.12,
        forcing=rng.random() < 0.2,
        crowd=rng.choice([2, 4, 8]),
        caps={t: rng.choice([1, 2, 5]) for t in JOB_TYPES},
        cancels=rate(0.4, 0.05, 0.3),
        deletes=rate(0.5, 0.05, 0.2),
        redrives=rate(0.5, 0.05, 0.2),
        replays=rate(0.3, 0.05, 0.2),
        projections=rate(0.3, 0.05, 0.2),
        sore=(*rng.choice(SORE), rng.choice(JOB_TYPES)) if rng.random() < 0.6 else None,
        calls_at_once=rng.choice([1, 1, 2, 3]),
    )


_COMMITTED = (names.COMMIT, "after")
SORE: Sequence[tuple[str, str]] = (
    *(_COMMITTED, _COMMITTED, _COMMITTED),
    (names.CLAIM, "after"),
    (names.KEEP_VECTORS, "after"),
    (names.PUBLISH, "after"),
    (names.PUT, "after"),
    (names.PUT, "before"),
)


CHAPTERS, WORDS = (3, 3, 4, 6), (100, 250, 450)
CHANGES: Sequence[Sequence[int]] = ((), (1,), (2, 3))


def draw_texts(rng: random.Random) -> list[str]:
    """What one book is imported as, one after the other: much stays the same, chapters come, go and change.

    They are of 27 manuscripts in all, so that what a run without faults makes of each is computed once.
    """
    chapters, words, changed = rng.choice(CHAPTERS), rng.choice(WORDS), rng.choice(CHANGES)
    texts = [manuscript(chapters, words, changed)]
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        if rng.random() < 0.4:
            chapters = rng.choice(CHAPTERS)
        if rng.random() < 0.7:
            changed = rng.choice(CHANGES)
        texts.append(manuscript(chapters, words, changed))
    return texts


def draw_refused(rng: random.Random) -> tuple[str, ...]:
    """Which chapter the models will never take: one of them, for its vectors or for its metadata."""
    return (f"{rng.choice(['embed', 'read'])} CHAPTER {rng.randrange(1, 5)}",)


def draw_blocked(rng: random.Random) -> tuple[str, ...]:
    """What the generating model refuses to answer about: in two of five worlds, chapters, or a context, or both."""
    if rng.random() >= 0.4:
        return ()
    one, some, every = (rng.randrange(1, 5),), (1, 2, 3), range(1, max(CHAPTERS) + 1)
    chapters = tuple(f"block CHAPTER {n}" for n in rng.choice([one, some, every]))
    context = f"block {rng.choice(['quick', 'full'])}"
    return rng.choice([chapters, chapters, (context,), (*chapters, context)])
