"""Some seeds in the ordinary suite, the same seed twice, and a hunt for deliberate bugs.

More seeds are a command: `./infra/dev sim --seeds 0:1000`.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from infra.local.database import MIGRATIONS
from infra.local.postgres import Postgres
from shared.adapters.postgres.migrations import migrate
from tests.simulation.boundary import SimulatedDatabase
from tests.simulation.hunting import Mutant, hunt
from tests.simulation.mutants import FOUND_AT, MUTANTS
from tests.simulation.session import session, simulate

BATCH, BATCHES = 4, 3
FOUND_WITHIN = 60


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Iterator[SimulatedDatabase]:
    """One for all seeds, cleared for each."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE simulation")
    dsn = postgres.dsn_of("simulation")
    migrate(dsn, MIGRATIONS)
    with session(dsn) as found:
        yield found


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_invariant_holds_whatever_fails(database: SimulatedDatabase, batch: int) -> None:
    reports = [simulate(database, seed) for seed in range(batch * BATCH, (batch + 1) * BATCH)]

    broken = [str(report) for report in reports if report.broken]
    assert not broken, "\n\n".join(broken)


@pytest.mark.parametrize("seed", [114, 466])
def test_a_seed_that_once_broke_an_invariant_does_so_no_more(database: SimulatedDatabase, seed: int) -> None:
    """Both: a book was deleted while a job waited for its retry, and imported again with the same key."""
    report = simulate(database, seed)

    assert not report.broken, str(report)


@pytest.mark.parametrize("seed", [3, 17])
def test_the_same_seed_gives_the_same_trace(database: SimulatedDatabase, seed: int) -> None:
    first, second = simulate(database, seed), simulate(database, seed)

    assert first.trace == second.trace
    assert first.faults == second.faults


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_deliberate_bug_is_found_within_sixty_seeds(database: SimulatedDatabase, mutant: Mutant) -> None:
    found = hunt(lambda seed, patch: simulate(database, seed, patch), mutant, FOUND_AT, FOUND_WITHIN)

    assert found.seed is not None, f"{found.tried} seeds show nothing of it"
