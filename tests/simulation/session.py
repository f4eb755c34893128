"""Runs many seeds over one database."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import structlog

from tests.simulation.assembly import assemble
from tests.simulation.boundary import SimulatedDatabase
from tests.simulation.broker import Fate
from tests.simulation.invariants import Broken
from tests.simulation.simulation import Report
from tests.simulation.world import TABLES, clear


@contextmanager
def without_logs() -> Iterator[None]:
    """Simulated faults are no news."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def session(dsn: str) -> Iterator[SimulatedDatabase]:
    """A migrated database for simulations, with logs off."""
    database = SimulatedDatabase(dsn)
    # Vacuum would move rows when it likes, and with them the order of rows that are equal in an ORDER BY.
    for table in TABLES.split(","):
        database.connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    database.connection.commit()
    try:
        with without_logs():
            yield database
    finally:
        database.connection.close()


@dataclass
class Totals:
    """The sum of many reports, as a table."""

    runs: int = 0
    broken: int = 0
    numbers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        self.runs += 1
        self.broken += report.broken is not None
        self.faults += report.faults
        self.numbers.update(
            {
                "books": sum(report.books.values()),
                **{f"books {state}": n for state, n in report.books.items()},
                "messages delivered": report.delivered,
                "events": len(report.trace),
                "answers lost to a fault, paid again": report.lost_answers,
                "answers dropped with their book, paid again": report.paid_anew,
                "answers paid again on purpose (force)": report.forced,
                "answers asked for twice at once": report.raced,
                "messages unaccounted for": report.lost,
                "paid twice": report.paid_twice,
                "statements": report.statements,
                "calls of models that were away": report.in_vain,
            }
        )

    def rows(self) -> dict[str, int]:
        """By name: the sums, then the faults, the most frequent first."""
        sums = {"runs": self.runs, **dict(sorted(self.numbers.items())), "runs that broke an invariant": self.broken}
        return {**sums, **dict(self.faults.most_common()), "all faults": self.faults.total()}


def table(totals: Mapping[str, Totals]) -> str:
    """The sums of simulations side by side. What one does not know, or does not do, is 0 there."""
    columns = [t.rows() for t in totals.values()]
    names = dict.fromkeys(name for rows in columns for name in rows if name != "all faults")
    lines = [f"{'':46}" + "".join(f" {name:>9}" for name in totals)]
    for name in [*names, "all faults"]:
        lines.append(f"{name:46}" + "".join(f" {rows.get(name, 0):>9,}" for rows in columns))
    return "\n".join(lines)


def simulate(database: SimulatedDatabase, seed: int, mutant: AbstractContextManager[None] | None = None) -> Report:
    """Runs one seed; what it is compared with is computed without the mutant."""
    clear(database)
    sim = assemble(database, seed)
    broken = None
    try:
        with mutant or nullcontext():
            sim.run()
        sim.check()
    except Broken as error:
        broken = error
        database.connection.rollback()
    states = () if broken else sim.ended_as
    return Report(
        seed=seed,
        broken=broken,
        trace=[f"{at:%H:%M:%S} {who:9} {what}" for at, who, what in sim.events],
        faults=sim.boundary.faults,
        books=_count(states),
        delivered=sim.delivered,
        lost_answers=sim.ledger.lost,
        paid_anew=sim.ledger.paid_anew,
        forced=sim.ledger.forced,
        raced=sim.ledger.raced,
        lost=sum(s.fate in (Fate.WAITING, Fate.DELIVERING) for s in sim.broker.all),
        paid_twice=sim.paid_twice,
    )


def _count(states: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for state in states:
        found[state] = found.get(state, 0) + 1
    return found
