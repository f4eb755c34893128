"""What one seed's world is like: which faults it has at all, and how often (a swarm)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.stages import JOB_TYPES, JobType


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Rates are chances at each statement, or each call of what is outside; 0 if the seed is spared.

    `switch`: that another task goes on. `pace`: the virtual seconds that a step takes, at most. `skew`: by how many
    seconds clocks differ. `caps`: how many jobs of each stage may hold a permit; `most_books`: how many of an owner's
    may be under way. `clock` to `migration` are weights of what happens; `cancels` and so on of what owners do.
    """

    switch: float
    pace: float
    steps: int
    crowd: int
    crash: float
    stall: float
    statement_error: float
    lost_session: float
    unknown_commit: float
    broker: float
    live_documents: float
    model: float
    odd: float
    drop: float
    duplicate: float
    unacknowledged: float
    skew: float
    clock: float
    outage: float
    bad_topic: float
    gives_up: float
    freeze: float
    migration: float
    days: float
    rejecting: bool
    forcing: bool
    cancels: float
    deletes: float
    searches: float
    pool: int
    caps: Mapping[JobType, int]
    most_books: int


def draw_profile(rng: random.Random) -> Profile:
    def rate(chance: float, low: float, high: float) -> float:
        drawn, value = rng.random(), rng.uniform(low, high)
        return value if drawn < chance else 0.0

    return Profile(
        switch=rng.choice([0.3, 0.6, 0.9]),
        pace=rng.choice([0.01, 0.05, 0.2]),
        steps=rng.randrange(300, 800),
        crowd=rng.choice([3, 5, 8]),
        crash=rate(0.6, 0.0005, 0.004),
        stall=rate(0.7, 0.002, 0.02),
        statement_error=rate(0.4, 0.001, 0.01),
        lost_session=rate(0.4, 0.001, 0.005),
        unknown_commit=rate(0.4, 0.002, 0.02),
        broker=rate(0.4, 0.02, 0.15),
        live_documents=rate(0.5, 0.02, 0.15),
        model=rate(0.6, 0.02, 0.2),
        odd=rate(0.3, 0.01, 0.05),
        drop=rate(0.5, 0.02, 0.25),
        duplicate=rate(0.8, 0.1, 0.6),
        unacknowledged=rate(0.4, 0.02, 0.2),
        skew=rate(0.5, 0.2, 180.0),
        clock=rate(0.3, 0.5, 2.0),
        outage=rate(0.5, 0.5, 2.0),
        bad_topic=rate(0.3, 0.5, 2.0),
        gives_up=rate(0.08, 0.5, 1.0),
        freeze=rate(0.7, 0.5, 2.0),
        migration=rate(0.4, 0.5, 2.0),
        days=rate(0.25, 0.5, 2.0),
        rejecting=rng.random() < 0.1,
        forcing=rng.random() < 0.2,
        cancels=rate(0.4, 0.1, 0.4),
        deletes=rate(0.5, 0.1, 0.4),
        searches=rate(0.5, 0.1, 0.5),
        pool=rng.choice([2, 3, 4]),
        caps={t: rng.choice([1, 2, 4]) for t in JOB_TYPES},
        most_books=rng.choice([1, 2, 10]),
    )


def draw_refused(rng: random.Random, rejecting: bool) -> tuple[str, ...]:
    """What a model will never take, and what the generating one refuses to answer about."""
    refused = []
    if rejecting:
        refused.append(f"reject {rng.choice(['embed', 'chapter'])} CHAPTER {rng.randrange(1, 4)}")
    if rng.random() < 0.3:
        chapters = [f"block chapter CHAPTER {n}" for n in range(1, 6)]
        blocked = [chapters[:1], chapters[1:3], chapters, ["block full context"], ["block quick context"]]
        refused += rng.choice(blocked)
    return tuple(refused)
