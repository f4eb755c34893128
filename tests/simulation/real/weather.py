"""What befalls a world, each with its weight: outages, frozen machines, clocks that jump, and those who lock tables."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from shared.adapters.postgres.sessions import SessionLimits
from shared.domain.stages import JOB_TYPES, Dependency
from tests.simulation.real.actions import action, beat_if_due
from tests.simulation.real.processes import Process

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation

# As `ALTER TABLE` does, with the lock_timeout that migrations ask for.
LOCK_AS_A_MIGRATION = "LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"
MIGRATION_LIMITS = SessionLimits(lock=2.0, idle_in_transaction=60.0)


@action(lambda sim: 0.08 * sim.profile.outage)
def a_service_goes_away(sim: RealSimulation) -> None:
    """A model, with or without saying for how long; or the live documents."""
    service = sim.rng.choice([*Dependency, "live documents"])
    seconds = sim.rng.choice([10, 60, 200, 600])
    sim.outside.retry_after = sim.rng.choice([None, None, 5, 60])
    sim.edge.count("outage")
    sim.note(f"OUTAGE of {service} for {seconds} s")
    sim.outside.goes_away(service, seconds)


@action(lambda sim: 0.08 * sim.profile.bad_topic)
def a_topic_fails(sim: RealSimulation) -> None:
    topic, seconds = sim.rng.choice(JOB_TYPES), sim.rng.choice([30, 120, 400])
    sim.edge.count("failing topic")
    sim.note(f"OUTAGE of topic {topic} for {seconds} s")
    sim.outside.goes_away(topic, seconds)


@action(lambda sim: 0.25 * sim.profile.freeze if not _frozen(sim) else 0.0)
def a_process_freezes(sim: RealSimulation) -> None:
    """It gets no processor for a while, nor does its heartbeat: its leases run out, and it does not know."""
    process, seconds = sim.rng.choice(sim.processes), sim.rng.choice([3, 8, 20, 60])
    sim.edge.count("process frozen")
    sim.note(f"FREEZE {process.name} for {seconds} s")
    process.frozen = sim.clock() + timedelta(seconds=seconds)


def _frozen(sim: RealSimulation) -> list[Process]:
    return [p for p in sim.processes if p.frozen is not None and p.frozen > sim.clock()]


def _thaws(sim: RealSimulation) -> float:
    """Rather when another process has just taken up what a frozen one was at."""
    frozen = _frozen(sim)
    theirs = {t.job_id for t in sim.scheduler.tasks if t.process in frozen and t.job_id}
    is_contested = any(t.job_id in theirs and t.process not in frozen for t in sim.scheduler.tasks)
    return 4.0 if is_contested else 0.05 if frozen else 0.0


@action(_thaws)
def a_process_thaws(sim: RealSimulation) -> None:
    """Its heartbeat is the first that it makes up for."""
    process = sim.rng.choice(_frozen(sim))
    sim.note(f"THAW {process.name}")
    process.frozen = None
    process.next_beat = sim.clock()
    beat_if_due(sim, process)


@action(lambda sim: 0.06 * sim.profile.clock)
def a_clock_jumps(sim: RealSimulation) -> None:
    process, seconds = sim.rng.choice([*sim.processes, sim.api]), sim.rng.choice([30, 300, -30, -300])
    sim.edge.count("clock jumped forward" if seconds > 0 else "clock jumped back")
    sim.note(f"CLOCK of {process.name} {seconds:+d} s")
    process.clock.ahead += seconds


@action(lambda sim: 0.05 * sim.profile.days if not sim.scheduler.tasks else 0.0)
def days_pass(sim: RealSimulation) -> None:
    """So that retention has something to drop."""
    days = sim.rng.choice([0.1, 8, 32])
    sim.edge.count("days passed")
    sim.note(f"DAYS {days:g}")
    sim.advance(86_400 * days)
    sim.reconcile()


@action(
    lambda sim: 0.06 * sim.profile.migration if not any(t.topic == "migration" for t in sim.scheduler.tasks) else 0.0
)
def a_migration_locks_jobs(sim: RealSimulation) -> None:
    """It waits for all transactions that have read or written jobs, and whoever comes after waits for it."""
    seconds = sim.rng.choice([0.2, 1.0, 3.5])
    sim.edge.count("migration")

    def migrate() -> None:
        database = sim.world.cluster.database("outsider", 1).apart(1, MIGRATION_LIMITS)
        with database.transaction() as connection:
            connection.execute(LOCK_AS_A_MIGRATION)
            sim.edge.hold(task, seconds)

    task = sim.spawn("a migration", sim.world.outsider, migrate, topic="migration")
