"""What can happen next, each with its weight. To add something that happens, add a function here."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from shared.domain.stages import HEARTBEAT_SECONDS
from tests.simulation.real.processes import Process
from tests.simulation.registry import Actions

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation

ACTIONS: Actions[RealSimulation] = Actions()
action = ACTIONS.add


def act(sim: RealSimulation) -> bool:
    """One thing happens. False when the time of chaos is over: there was enough of it, or nothing is left to do."""
    if sim.scheduler.steps > sim.profile.steps or (sim.rng.random() < 0.02 and _is_quiet(sim)):
        return False
    ACTIONS.do_one(sim)
    return True


def _is_quiet(sim: RealSimulation) -> bool:
    return not (sim.scheduler.tasks or sim.requests or sim.broker.waiting or any(c.has_more for c in sim.clients))


def go_on(sim: RealSimulation) -> None:
    """Some task goes on; if none can, time passes until one can."""
    ready = [t for t in sim.scheduler.ready() if not _is_frozen(sim, t.process)]
    if not ready:
        sim.advance(1.0)
        return
    sim.scheduler.step(sim.rng.choice(ready))
    sim.advance(sim.rng.uniform(0, sim.profile.pace))
    for process in sim.processes:
        beat_if_due(sim, process)


def _is_frozen(sim: RealSimulation, process: Process | None) -> bool:
    return process is not None and process.frozen is not None and process.frozen > sim.clock()


def beat_if_due(sim: RealSimulation, process: Process) -> None:
    """The heartbeat of a process is a task of its own, one at a time, as long as it holds leases; so is what it writes
    of held-back documents."""
    if not process.holds_leases:
        process.next_beat = None
        return
    if process.next_beat is None:
        process.next_beat = sim.clock() + timedelta(seconds=HEARTBEAT_SECONDS)
    if sim.clock() >= process.next_beat and not any(
        t.topic == "beat" and t.process is process for t in sim.scheduler.tasks
    ):
        process.next_beat = sim.clock() + timedelta(seconds=HEARTBEAT_SECONDS)
        sim.spawn("beats", process, process.beat, topic="beat")
        sim.spawn("refreshes", process, process.refresh, topic="beat")


def room(sim: RealSimulation) -> bool:
    """Whether another task may begin."""
    return sum(t.topic != "beat" for t in sim.scheduler.tasks) < sim.profile.crowd


@action(lambda sim: 12.0 if sim.scheduler.tasks else 0.0)
def a_task_goes_on(sim: RealSimulation) -> None:
    go_on(sim)


@action(lambda sim: 4.0 if room(sim) and sim.broker.due() else 0.0)
def deliver(sim: RealSimulation) -> None:
    """Any message that is due: a drop, a second copy or a delivery."""
    p, sent = sim.profile, sim.rng.choice(sim.broker.due())
    if sim.rng.random() < p.drop:
        sim.edge.count("message dropped")
        sim.note(f"DROP m{sent.number} {sent.job_id}")
        sim.broker.drop(sent)
        return
    if sim.rng.random() < p.duplicate:
        sim.edge.count("message duplicated")
        sim.broker.send(sent.message, delay=sim.rng.choice([0, 0, 3, 6, 20]))
    sim.deliver(sent)


def _left_behind(sim: RealSimulation) -> list[str]:
    """Jobs whose leases ran out while their attempts are under way."""
    at_work = {t.job_id for t in sim.scheduler.tasks if t.job_id}
    now = sim.clock()
    return [
        i for i, j in sim.history.jobs.items() if j["state"] == "processing" and j["lease_until"] < now and i in at_work
    ]


@action(lambda sim: 2.0 if sim.profile.duplicate and room(sim) and _left_behind(sim) else 0.0)
def deliver_once_more(sim: RealSimulation) -> None:
    """The message of an attempt that does not answer, and whose lease is over."""
    job_id = sim.rng.choice(_left_behind(sim))
    sent = next(s for s in reversed(sim.broker.all) if s.job_id == job_id and not s.is_letter)
    sim.edge.count("message delivered while its attempt goes on")
    sim.deliver(sim.broker.send(sent.message))


@action(lambda sim: 0.02 if sim.profile.drop and sim.broker.waiting else 0.0)
def the_broker_loses_all(sim: RealSimulation) -> None:
    sim.edge.count("all messages lost")
    sim.note("LOSE ALL messages")
    for sent in list(sim.broker.waiting):
        sim.broker.drop(sent)


@action(lambda sim: sim.profile.gives_up * 0.1 if sim.broker.waiting else 0.0)
def give_up(sim: RealSimulation) -> None:
    """The broker has had enough of a message: its job ends in the dead-letter topic."""
    sent = sim.rng.choice(sim.broker.waiting)
    if not sent.is_letter:
        sim.edge.count("broker gave up")
        sim.note(f"GIVE UP m{sent.number} {sent.job_id}")
        sim.broker.give_up(sent)


@action(lambda sim: 0.8 if room(sim) and any(c.has_more for c in sim.clients) else 0.0)
def import_next(sim: RealSimulation) -> None:
    sim.rng.choice([c for c in sim.clients if c.has_more]).import_next(sim)


@action(lambda sim: 0.1 if room(sim) and any(c.last for c in sim.clients) else 0.0)
def import_again(sim: RealSimulation) -> None:
    sim.rng.choice([c for c in sim.clients if c.last]).import_again(sim)


@action(lambda sim: 0.1 if sim.profile.forcing and room(sim) and any(c.sent for c in sim.clients) else 0.0)
def import_with_force(sim: RealSimulation) -> None:
    sim.rng.choice([c for c in sim.clients if c.sent]).force(sim)


@action(lambda sim: 1.0 if room(sim) and any(r.may_be_sent(sim.clock()) for r in sim.requests) else 0.0)
def ask_again(sim: RealSimulation) -> None:
    sim.rng.choice([r for r in sim.requests if r.may_be_sent(sim.clock())]).send(sim)


@action(lambda sim: sim.profile.cancels if room(sim) and any(c.book_id for c in sim.clients) else 0.0)
def cancel_or_resume(sim: RealSimulation) -> None:
    client = sim.rng.choice([c for c in sim.clients if c.book_id])
    client.control(sim, sim.rng.choice(["cancel", "resume"]))


@action(lambda sim: sim.profile.deletes * 0.5 if room(sim) and any(c.book_id for c in sim.clients) else 0.0)
def delete(sim: RealSimulation) -> None:
    """More often than not its text is imported once more before that is answered, as what it was or as a new version."""
    client = sim.rng.choice([c for c in sim.clients if c.book_id])
    client.delete(sim)
    if sim.rng.random() < 0.8:
        client.import_text(sim, client.texts[client.sent - 1], force=sim.rng.random() < 0.6)


@action(lambda sim: sim.profile.searches if room(sim) else 0.0)
def look(sim: RealSimulation) -> None:
    sim.rng.choice(sim.clients).look(sim, sim.rng)


@action(lambda sim: 0.15 if room(sim) else 0.0)
def reconcile(sim: RealSimulation) -> None:
    sim.reconcile()


@action(lambda sim: 0.5)
def time_passes(sim: RealSimulation) -> None:
    sim.advance(sim.rng.choice([0.2, 1, 3]))


@action(lambda sim: 2.0 if not sim.scheduler.tasks and not sim.broker.due() else 0.02)
def a_minute_passes(sim: RealSimulation) -> None:
    sim.advance(61)
    sim.reconcile()
