"""Runs many seeds over one database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from shared.adapters.postgres import old_versions
from tests.simulation.broker import Fate
from tests.simulation.hunting import changed
from tests.simulation.invariants import Broken
from tests.simulation.real.assembly import assemble
from tests.simulation.real.clients import Client
from tests.simulation.real.profile import Profile
from tests.simulation.real.simulation import RealSimulation
from tests.simulation.real.world import Cluster
from tests.simulation.session import without_logs
from tests.simulation.simulation import Report


@contextmanager
def session(dsn: str) -> Iterator[Cluster]:
    """A migrated database for simulations, with logs off: psycopg's too, of sessions that are ended on purpose."""
    psycopg = logging.getLogger("psycopg")
    before = psycopg.level
    psycopg.setLevel(logging.CRITICAL)
    cluster = Cluster(dsn)
    try:
        with without_logs(), changed(old_versions, "_KEPT", _keep_one()):
            yield cluster
    finally:
        cluster.close()
        psycopg.setLevel(before)


def _keep_one() -> dict[str, Any]:
    """Of older versions one job of each kind and state: so few that retention has something to drop."""
    kept: dict[str, Any] = vars(old_versions)["_KEPT"]
    return kept | {"counts": [1] * len(kept["counts"])}


def simulate(
    cluster: Cluster,
    seed: int,
    mutant: AbstractContextManager[None] | None = None,
    profile: Profile | None = None,
    clients: list[Client] | None = None,
) -> Report:
    """Runs one seed, in a world that it draws, or in this one."""
    sim = assemble(cluster, seed, profile, clients)
    broken = None
    try:
        with mutant or nullcontext():
            sim.run()
    except Broken as error:
        broken = error
    return _report(sim, broken)


def _report(sim: RealSimulation, broken: Broken | None) -> Report:
    return Report(
        seed=sim.seed,
        broken=broken,
        trace=[f"{at:%d %H:%M:%S} {who:9} {what}" for at, who, what in sim.events],
        faults=sim.edge.faults,
        books=dict(sim.books),
        delivered=sim.delivered,
        lost_answers=sim.ledger.repeated,
        forced=sim.ledger.forced,
        lost=sum(s.fate in (Fate.WAITING, Fate.DELIVERING) for s in sim.broker.all),
        paid_twice=len(sim.ledger.again),
        statements=sim.edge.statements,
        in_vain=sim.outside.in_vain.total(),
        only="real",
    )
