"""Runs many seeds over one database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import structlog

from tests.simulation.boundary import SimulatedDatabase
from tests.simulation.invariants import Broken
from tests.simulation.profile import Profile
from tests.simulation.simulation import Report, Simulation
from tests.simulation.world import TABLES, clear


@contextmanager
def session(dsn: str) -> Iterator[SimulatedDatabase]:
    """A migrated database for simulations, with logs off."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    database = SimulatedDatabase(dsn)
    # Vacuum would move rows when it likes, and with them the order of rows that are equal in an ORDER BY.
    for table in TABLES.split(","):
        database.connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    database.connection.commit()
    try:
        yield database
    finally:
        database.connection.close()
        structlog.configure(**before)


def simulate(database: SimulatedDatabase, seed: int, profile: Profile | None = None) -> Report:
    clear(database)
    sim = Simulation(database, seed, profile)
    broken = None
    try:
        sim.run()
    except Broken as error:
        broken = error
        database.connection.rollback()
    states = () if broken else sim.ended_as
    return Report(
        seed=seed,
        broken=broken,
        trace=[f"{who:12} {what}" for who, what in sim.events],
        faults=sim.boundary.faults,
        books=_count(states),
        delivered=sim.delivered,
        excused=sim.ledger.excused,
        raced=sim.ledger.raced,
    )


def _count(states: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for state in states:
        found[state] = found.get(state, 0) + 1
    return found
