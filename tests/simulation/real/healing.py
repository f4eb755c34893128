"""After the storm: all goes on to its end without faults, and without an operator."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.simulation.invariants import Broken
from tests.simulation.real import actions

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation

# Far more than the slowest of some hundred seeds took.
_HEALING_STEPS = 20_000
# What reconcile tries again ever more rarely is waited for in longer steps.
_MINUTES = (1,) * 20 + (5,) * 16 + (30,) * 24
# Beyond the ages by which things are dropped: an hour, a week and a month.
_DAYS = (1, 8, 32)

SELECT_UNFINISHED = """
    SELECT 'job ' || job_id || ' ' || state AS what FROM jobs WHERE state IN ('pending', 'processing', 'retrying')
    UNION ALL SELECT 'book ' || entity_id || ' ' || status FROM processing_status
    WHERE entity_type = 'book' AND status NOT IN ('completed', 'failed')
    UNION ALL SELECT 'letter ' || d.job_id || ': ' || d.message FROM dead_letters d JOIN books b USING (book_id)
    WHERE d.is_passing AND d.state IN ('open', 'redriven') AND d.version = b.latest_version
    UNION ALL SELECT 'document of ' || entity_id FROM processing_status s WHERE projected_revision < revision
        AND (entity_type = 'book'
             OR version = (SELECT max(r.version) FROM recent_chapters r WHERE r.book_id = s.book_id))
    UNION ALL SELECT 'document of ' || job_id FROM jobs WHERE projected_revision < revision
    UNION ALL SELECT 'restore of ' || restored_at FROM restores WHERE finished_at IS NULL
"""


def calm_down(sim: RealSimulation) -> None:
    """No more faults; clocks stay as they are."""
    sim.edge.faulty = False
    sim.outside.away.clear()
    for process in [*sim.processes, sim.api]:
        process.frozen = None
    sim.note("HEALING")


def go_on_until_all_is_done(sim: RealSimulation) -> None:
    """`reconcile` runs each minute; owners resume what they cancelled, and send what was not answered. Raises Broken."""
    last_step = sim.scheduler.steps + _HEALING_STEPS
    for number, minutes in enumerate(_MINUTES):
        _settle(sim, last_step)
        # One run at least: it deletes again what was written late.
        if number and not _unfinished(sim):
            return
        if sim.scheduler.steps > last_step:
            break
        _let_pass(sim, 60 * minutes + 1, last_step)
        sim.reconcile()
    raise Broken("healing ends", f"not finished: {_unfinished(sim)[:20]}")


def let_days_pass(sim: RealSimulation) -> None:
    """All is done: retention drops what nobody needs any more, and no book. Raises Broken."""
    books = set(sim.history.books)
    for days in _DAYS:
        sim.note(f"DAYS {days}")
        sim.advance(86_400 * days)
        sim.reconcile()
        go_on_until_all_is_done(sim)
    if gone := books - sim.history.books.keys():
        raise Broken("retention drops no book", f"{gone}")


def _let_pass(sim: RealSimulation, seconds: float, last_step: int) -> None:
    """So much time, and all that the broker delivers meanwhile."""
    end = sim.clock() + timedelta(seconds=seconds)
    while due := [s.due for s in sim.broker.waiting if s.due < end]:
        sim.advance(max(0.0, (min(due) - sim.clock()).total_seconds()))
        _settle(sim, last_step)
    sim.advance(max(0.0, (end - sim.clock()).total_seconds()))


def _settle(sim: RealSimulation, last_step: int) -> None:
    """Runs all that can run now."""
    while sim.scheduler.steps <= last_step:
        if not sim.requests:
            _resume(sim)
        for request in [r for r in sim.requests if r.may_be_sent(sim.clock())]:
            request.send(sim)
        for sent in sim.broker.due():
            sim.deliver(sent)
        if not sim.scheduler.tasks:
            return
        while sim.scheduler.tasks:
            actions.go_on(sim)
            sim.look()


def _resume(sim: RealSimulation) -> None:
    """Whoever has cancelled a book goes on with it. The client that has it may not have heard of its id."""
    for book_id, status in sim.history.statuses.items():
        if status["status"] == "cancelled":
            owner = sim.history.books[book_id]["owner_uid"]
            next(c for c in sim.clients if c.user == owner).control(sim, "resume", book_id)


def _unfinished(sim: RealSimulation) -> list[str]:
    rows = [r["what"] for r in sim.watch.rows(SELECT_UNFINISHED)]
    return rows + [f"m{s.number}" for s in sim.broker.waiting] + [f"{r.name} {r.path}" for r in sim.requests]
