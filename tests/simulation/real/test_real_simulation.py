"""Some seeds with real locks, the same seed twice, ten minutes of throttling, and the deliberate bugs.

More seeds are a command: `./infra/dev sim --only real --seeds 0:1000`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from infra.local.database import MIGRATIONS
from infra.local.postgres import Postgres
from shared.adapters.postgres.migrations import migrate
from shared.domain.stages import Dependency
from tests.simulation.hunting import Mutant, hunt
from tests.simulation.invariants import Broken
from tests.simulation.real import actions, restores
from tests.simulation.real.assembly import assemble
from tests.simulation.real.clients import Client
from tests.simulation.real.clocks import BEGIN
from tests.simulation.real.mutants import FOUND_AT, MUTANTS
from tests.simulation.real.profile import CALM
from tests.simulation.real.session import session, simulate
from tests.simulation.real.texts import make_text
from tests.simulation.real.world import Cluster

SEEDS, FOUND_WITHIN = 4, 60
# Of one model: each minute once or twice, and those that were under way.
IN_VAIN_AT_MOST = 20


@pytest.fixture(scope="module")
def cluster(postgres: Postgres) -> Iterator[Cluster]:
    """One for all seeds, cleared for each."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE real_simulation")
    dsn = postgres.dsn_of("real_simulation")
    migrate(dsn, MIGRATIONS)
    with session(dsn) as found:
        yield found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_invariant_holds_whatever_fails(cluster: Cluster, seed: int) -> None:
    report = simulate(cluster, seed)

    assert not report.broken, str(report)


@pytest.mark.parametrize("seed", [3])
def test_the_same_seed_gives_the_same_trace(cluster: Cluster, seed: int) -> None:
    first, second = simulate(cluster, seed), simulate(cluster, seed)

    assert first.trace == second.trace
    assert first.faults == second.faults


def test_ten_minutes_of_throttling_are_over_without_an_operator(cluster: Cluster) -> None:
    """In the middle of some books both models answer 429, and do not say for how long."""
    clients = [
        Client(name=f"c{n}", user=user, texts=[make_text([1, 2, 3, 4], 60, (), user, True)], has_document=True)
        for n, user in enumerate(("ann", "ben", "cat"), 1)
    ]
    sim = assemble(cluster, 1, CALM, clients)
    while len(sim.ledger.calls) < 3:
        actions.act(sim)
    for model in Dependency:
        sim.outside.goes_away(model, 600)

    sim.finish()

    assert sim.books == {"completed": 3}
    assert 0 < max(sim.outside.in_vain.values()) <= IN_VAIN_AT_MOST
    assert sim.clock() - BEGIN > timedelta(seconds=600)


def test_a_restore_takes_back_rows_and_nothing_else(cluster: Cluster) -> None:
    """A book is imported and completed after the backup: its live documents are there until the operator has told."""
    clients = [Client(name="c1", user="ann", texts=[make_text([1, 2], 60, (), "ann", True)], has_document=True)]
    sim = assemble(cluster, 2, CALM, clients)  # of whose client no request is open when the restore comes
    restores.a_backup_is_made(sim)
    while not any(s["status"] == "completed" for s in sim.history.statuses.values()):
        actions.act(sim)
    restores.the_database_is_restored(sim)
    rows, documents, paid = sim.watch.rows("SELECT 1 FROM books"), sim.world.live_documents.all(), len(sim.ledger.calls)
    sim.finish()

    assert rows == []
    assert documents
    assert paid
    assert sim.books == {}
    assert sim.world.live_documents.all() == []


def test_postgresqls_clock_is_the_worlds(cluster: Cluster) -> None:
    sim = assemble(cluster, 1, CALM)
    read = list[object]()

    def ask() -> None:
        with sim.api.database.statements() as connection:
            read.extend(connection.execute("SELECT clock_timestamp() AS now").fetchall())

    sim.spawn("asks", sim.api, ask)
    sim.clock.advance(90.5)
    while sim.scheduler.tasks:
        sim.scheduler.step(sim.scheduler.ready()[0])

    assert read == [{"now": sim.clock()}]


def test_a_task_that_waits_for_a_lock_lets_others_go_on(cluster: Cluster) -> None:
    """Two lock one row: whoever comes second goes on when the first has committed."""
    sim = assemble(cluster, 1, replace(CALM, switch=1.0))
    order: list[str] = []

    def lock(name: str) -> None:
        with sim.api.database.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(1)")
            order.append(f"{name} has it")

    first, second = (sim.spawn(name, sim.api, lambda name=name: lock(name)) for name in ("first", "second"))  # type: ignore[misc]
    for task in (first, first, second, second):
        sim.scheduler.step(task)
    waiting = list(sim.scheduler.waiting)
    while sim.scheduler.tasks:
        sim.scheduler.step(sim.scheduler.ready()[0])

    assert waiting == [second]
    assert order == ["first has it", "second has it"]


def test_two_that_wait_for_each_other_are_found(cluster: Cluster) -> None:
    sim = assemble(cluster, 1, replace(CALM, switch=1.0))

    def lock(one: int, other: int) -> None:
        with sim.api.database.transaction() as connection:
            for key in (one, other):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))

    first = sim.spawn("first", sim.api, lambda: lock(1, 2))
    second = sim.spawn("second", sim.api, lambda: lock(2, 1))
    for task in (first, first, second, second, first, second):
        sim.scheduler.step(task)
    while sim.scheduler.tasks:
        sim.scheduler.step(sim.scheduler.ready()[0])

    with pytest.raises(Broken, match="deadlock"):
        sim.look()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_deliberate_bug_is_found_within_sixty_seeds(cluster: Cluster, mutant: Mutant) -> None:
    found = hunt(lambda seed, patch: simulate(cluster, seed, patch), mutant, FOUND_AT, FOUND_WITHIN)

    assert found.seed is not None, f"{found.tried} seeds show nothing of it"
