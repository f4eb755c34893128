"""The parts of a world with real connections, by name; `assembly.build_world` puts them together."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.simulation.real.clocks import DatabaseClock, VirtualClock
from tests.simulation.real.edge import Edge
from tests.simulation.real.journal import Journal
from tests.simulation.real.ledger import Ledger
from tests.simulation.real.outside import Outside, PartialLiveDocuments, TopicalBroker
from tests.simulation.real.processes import Outsider, Process
from tests.simulation.real.profile import Profile
from tests.simulation.real.scheduler import Scheduler
from tests.simulation.real.sessions import SimulatedDatabase
from tests.simulation.real.watch import Watch, simulated
from tests.simulation.world import TABLES

PROCESSES = ("p0", "p1", "p2")
API = "api"


class Cluster:
    """What outlives a seed: sessions, which cost more to open than most seeds; triggers; and the watch beside them."""

    def __init__(self, dsn: str) -> None:
        self.watch = Watch(dsn)
        self.journal = Journal(self.watch)
        self.clock = DatabaseClock(self.watch)
        # Vacuum would move rows when it likes, and with them the order of rows that are equal in an ORDER BY.
        for table in TABLES.split(","):
            self.watch.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        self._dsn = simulated(dsn)
        self._databases: dict[tuple[str, int], SimulatedDatabase] = {}

    def database(self, name: str, size: int) -> SimulatedDatabase:
        """The pool of a process."""
        if (name, size) not in self._databases:
            self._databases[name, size] = SimulatedDatabase(self._dsn, size)
        return self._databases[name, size]

    def clear(self) -> None:
        self.watch.execute(f"TRUNCATE {TABLES}, journal CASCADE")
        for sequence in ("revisions", "job_ordinals"):
            self.watch.execute(f"ALTER SEQUENCE {sequence} RESTART")

    def close(self) -> None:
        for database in self._databases.values():
            database.end()
        self.watch.close()


@dataclass(eq=False, kw_only=True)
class World:
    """`refused` is what a model rejects or blocks; `outsider` is who has nothing to do with the functions."""

    rng: random.Random
    profile: Profile
    refused: tuple[str, ...]
    cluster: Cluster
    clock: VirtualClock
    scheduler: Scheduler
    edge: Edge
    outside: Outside
    broker: TopicalBroker
    live_documents: PartialLiveDocuments
    ledger: Ledger
    models: Mapping[str, object]
    processes: list[Process] = field(default_factory=list)
    api: Process = field(init=False)
    outsider: Outsider = field(default_factory=Outsider)

    @property
    def watch(self) -> Watch:
        return self.cluster.watch

    @property
    def journal(self) -> Journal:
        return self.cluster.journal
