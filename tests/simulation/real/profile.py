"""What one seed's world is like: which faults it has at all, and how often (a swarm)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.domain.stages import JOB_TYPES, JobType


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Rates are chances at each statement, or each call of what is outside; 0 if the seed is spared.

    `switch`: that another task goes on. `pace`: the virtual seconds that a step takes, at most. `skew`: by how many
    seconds clocks differ. `caps`: how many jobs of each stage may hold a permit; `most_books`: how many of an owner's
    may be under way; `calls_at_once`: of a model, by one job. `clock` to `restores` are weights of what happens;
    `cancels` and so on of what owners do.
    """

    switch: float = 0.6
    pace: float = 0.05
    steps: int = 500
    crowd: int = 5
    crash: float = 0.0
    stall: float = 0.0
    statement_error: float = 0.0
    lost_session: float = 0.0
    unknown_commit: float = 0.0
    broker: float = 0.0
    live_documents: float = 0.0
    model: float = 0.0
    odd: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    unacknowledged: float = 0.0
    skew: float = 0.0
    clock: float = 0.0
    outage: float = 0.0
    bad_topic: float = 0.0
    gives_up: float = 0.0
    freeze: float = 0.0
    migration: float = 0.0
    days: float = 0.0
    restores: float = 0.0
    rejecting: bool = False
    blocking: bool = False
    forcing: bool = False
    cancels: float = 0.0
    deletes: float = 0.0
    searches: float = 0.0
    pool: int = 4
    most_books: int = 10
    calls_at_once: int = 1
    caps: Mapping[JobType, int] = field(default_factory=lambda: dict.fromkeys(JOB_TYPES, 4))


CALM = Profile()
"""A world where nothing fails."""


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
        restores=rate(0.5, 0.5, 2.0),
        rejecting=rng.random() < 0.1,
        blocking=rng.random() < 0.3,
        forcing=rng.random() < 0.2,
        cancels=rate(0.4, 0.1, 0.4),
        deletes=rate(0.5, 0.1, 0.4),
        searches=rate(0.5, 0.1, 0.5),
        pool=rng.choice([2, 3, 4]),
        caps={t: rng.choice([1, 1, 2, 4]) for t in JOB_TYPES},
        most_books=rng.choice([1, 2, 10]),
        calls_at_once=rng.choice([1, 1, 1, 3]),
    )


def draw_refused(rng: random.Random, profile: Profile) -> tuple[str, ...]:
    """What a model will never take, and what the generating one refuses to answer about."""
    refused = []
    if profile.rejecting:
        refused.append(f"reject {rng.choice(['embed', 'chapter'])} CHAPTER {rng.randrange(1, 4)}")
    if profile.blocking:
        chapters = [f"block chapter CHAPTER {n}" for n in range(1, 6)]
        blocked = [chapters[:1], chapters[1:3], chapters, ["block full context"], ["block quick context"]]
        refused += rng.choice(blocked)
    return tuple(refused)
