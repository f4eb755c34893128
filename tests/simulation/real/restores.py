"""A backup of the database, its restore, and what an operator does about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import tests.simulation.real.weather  # noqa: F401 - its actions come before these, whoever imports what first
from tests.simulation.real.actions import action
from tests.simulation.real.clients import Request
from tests.simulation.world import TABLES

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation

_TABLES = [table.strip() for table in TABLES.split(",")]
_SEQUENCES = (
    "revisions",
    "job_ordinals",
    "dead_letters_dead_letter_id_seq",
    "dead_letter_actions_action_id_seq",
    "webhook_deliveries_delivery_id_seq",
)

# At one moment: nobody else has the baton.
COPY_ALL = ";".join(
    [
        "BEGIN",
        "DROP SCHEMA IF EXISTS copies CASCADE",
        "CREATE SCHEMA copies",
        *(f"CREATE TABLE copies.{table} AS TABLE {table}" for table in _TABLES),
        "CREATE TABLE copies.sequences AS "
        + " UNION ALL ".join(f"SELECT '{name}' AS name, last_value, is_called FROM {name}" for name in _SEQUENCES),
        "COMMIT",
    ]
)

# PostgreSQL makes the others itself.
SELECT_COLUMNS_THAT_ARE_WRITTEN = """
    SELECT table_name AS table, string_agg(column_name, ', ' ORDER BY ordinal_position) AS columns
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = ANY(%s) AND is_generated = 'NEVER' GROUP BY 1
"""
PUT_ROWS_BACK = "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM copies.{table}"

# Seconds until the operator says so: meanwhile nobody knows that it was restored.
_SILENCE = (0, 0, 20, 120, 900)


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What the simulation knew of the rows that were copied. Messages, documents, clients and bills are none of it."""

    history: dict[str, Any]
    ledger: dict[str, Any]


def _backup_is_due(sim: RealSimulation) -> float:
    """Soon for the first time, so that there is much to lose. Not while a migration has locked what it would read."""
    if any(t.topic == "migration" for t in sim.scheduler.tasks):
        return 0.0
    return 0.05 if sim.backup else 0.5


@action(lambda sim: sim.profile.restores * _backup_is_due(sim))
def a_backup_is_made(sim: RealSimulation) -> None:
    """In the middle of everything. Of several, the last one is restored."""
    sim.note("BACKUP")
    sim.history.read(None)
    sim.watch.execute(COPY_ALL)
    sim.backup = Backup(history=sim.history.copy(), ledger=sim.ledger.copy())


def _restore_is_due(sim: RealSimulation) -> float:
    """Rather when books have come that it loses."""
    if sim.backup is None:
        return 0.0
    return 0.1 if sim.history.books.keys() - sim.backup.history["books"].keys() else 0.03


@action(lambda sim: sim.profile.restores * _restore_is_due(sim))
def the_database_is_restored(sim: RealSimulation) -> None:
    """The operator has stopped all functions, and says so when they run again; nobody heals it else."""
    assert sim.backup is not None
    sim.edge.count("database restored")
    sim.note("RESTORE")
    for process in [*sim.processes, sim.api]:
        process.restart()
    while sim.scheduler.tasks:
        sim.scheduler.kill(sim.scheduler.tasks[0])
    _put_all_back(sim)
    sim.history.put_back(sim.backup.history)
    sim.ledger.put_back(sim.backup.ledger)
    told = Request(name="operator", user="root", method="POST", path="/api/restores", proper=(202,))
    told.not_before = sim.clock() + timedelta(seconds=sim.rng.choice(_SILENCE))
    sim.requests.append(told)


def _put_all_back(sim: RealSimulation) -> None:
    """Without triggers: what they made was copied too, and nothing of it is news. Sequences go back as rows do."""
    columns = sim.watch.rows(SELECT_COLUMNS_THAT_ARE_WRITTEN, _TABLES)
    statements = [
        "BEGIN",
        "SET LOCAL session_replication_role = replica",
        f"TRUNCATE {TABLES}, journal",
        *(PUT_ROWS_BACK.format(**row) for row in columns),
        "SELECT setval(name::regclass, last_value, is_called) FROM copies.sequences",
        "COMMIT",
    ]
    sim.watch.execute(";".join(statements))
