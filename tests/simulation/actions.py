"""What can happen next, each with its weight. To add something that users or operators do, add a function here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation import names
from tests.simulation.registry import Actions

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

ACTIONS: Actions[Simulation] = Actions()
action = ACTIONS.add


def act(sim: Simulation) -> bool:
    """One thing happens. False when the time of chaos is over: there was enough of it, or nothing is left to do."""
    sim.steps += 1
    if len(sim.events) > sim.world.profile.events or (sim.steps % 50 == 0 and sim.is_finished()):
        return False
    ACTIONS.do_one(sim)
    return True


def room(sim: Simulation) -> bool:
    """Whether another task may begin."""
    return len(sim.scheduler.tasks) < sim.world.profile.crowd


@action(lambda sim: 10.0 if sim.scheduler.tasks else 0.0)
def run_a_task(sim: Simulation) -> None:
    sim.scheduler.step_any()


@action(lambda sim: 5.0 if room(sim) and sim.broker.due() else 0.0)
def deliver(sim: Simulation) -> None:
    """Any message that is due: a drop, a second copy or a delivery."""
    p = sim.world.profile
    due = sim.broker.due()
    same = [s for s in due if s.job_id in sim.sleeping()]
    sent = sim.rng.choice(same if same and sim.rng.random() < 0.5 else due)
    if sim.rng.random() < p.drop:
        sim.count("message dropped")
        sim.note(f"DROP m{sent.number} {sent.job_id}")
        sim.broker.drop(sent)
        return
    if sim.rng.random() < p.duplicate:
        sim.count("message duplicated")
        sim.note(f"DUPLICATE m{sent.number} {sent.job_id}")
        sim.broker.send(sent.message, delay=sim.rng.choice([0, 0, 0, 5, 90, 700]))
    sim.deliver(sent)


@action(lambda sim: 0.5 if sim.world.profile.drop and sim.broker.due() else 0.0)
def delay(sim: Simulation) -> None:
    sent = sim.rng.choice(sim.broker.due())
    sim.count("message delayed")
    sim.broker.delay(sent, sim.rng.choice([10, 100, 1000]))


@action(lambda sim: 0.03 if sim.world.profile.drop and sim.broker.waiting else 0.0)
def the_broker_loses_all(sim: Simulation) -> None:
    sim.count("all messages lost")
    sim.note(f"LOSE ALL {len(sim.broker.waiting)} messages")
    for sent in list(sim.broker.waiting):
        sim.broker.drop(sent)


@action(lambda sim: sim.world.profile.gives_up if sim.broker.waiting else 0.0)
def give_up(sim: Simulation) -> None:
    """The broker has had enough of a message: its job ends in the dead-letter topic."""
    sent = sim.rng.choice(sim.broker.waiting)
    if sent.is_letter:
        return
    sim.count("broker gave up")
    sim.note(f"GIVE UP m{sent.number} {sent.job_id}")
    sim.broker.give_up(sent)


def _import_next(sim: Simulation) -> float:
    if not room(sim) or not any(c.has_more for c in sim.clients):
        return 0.0
    return 4.0 if sim.sleeping() else 0.7


@action(_import_next)
def import_next(sim: Simulation) -> None:
    """Rather while a handler sleeps: what it does may be of an older version when it wakes."""
    sim.rng.choice([c for c in sim.clients if c.has_more]).import_next(sim)


@action(lambda sim: 0.1 if room(sim) and any(c.last and not c.deleting for c in sim.clients) else 0.0)
def import_again(sim: Simulation) -> None:
    sim.rng.choice([c for c in sim.clients if c.last and not c.deleting]).import_again(sim)


@action(lambda sim: 0.5 if room(sim) and any(c.wants for c in sim.clients) else 0.0)
def retry_an_import(sim: Simulation) -> None:
    sim.rng.choice([c for c in sim.clients if c.wants]).retry(sim)


@action(lambda sim: 0.1 if sim.world.profile.forcing and any(c.may_force for c in sim.clients) else 0.0)
def import_with_force(sim: Simulation) -> None:
    sim.rng.choice([c for c in sim.clients if c.may_force]).force(sim)


@action(lambda sim: 0.1 if room(sim) and any(c.book_id for c in sim.clients) else 0.0)
def read(sim: Simulation) -> None:
    client = sim.rng.choice([c for c in sim.clients if c.book_id])
    what = sim.rng.choice(["/status", "/chapters", ""])
    http, path = sim.world.api.app.api.test_client(), f"/api/books/{client.book_id}{what}"
    sim.spawn(f"GET {path}", sim.world.api, lambda: http.get(path, headers={"Authorization": f"Bearer {client.user}"}))


@action(lambda sim: 0.25 if room(sim) else 0.0)
def reconcile(sim: Simulation) -> None:
    sim.reconcile()


@action(lambda sim: 1.0)
def time_passes(sim: Simulation) -> None:
    sim.clock.advance(sim.rng.choice([0.2, 1, 3, 10]))


@action(lambda sim: 2.0 if not sim.scheduler.tasks and not sim.broker.due() else 0.05)
def a_minute_passes(sim: Simulation) -> None:
    sim.clock.advance(61)
    sim.reconcile()


@action(lambda sim: 0.05 * sim.world.profile.clock)
def the_clock_jumps(sim: Simulation) -> None:
    seconds = sim.rng.choice([3600, -60, -300])
    sim.count("clock jumped forward" if seconds > 0 else "clock jumped back")
    sim.note(f"CLOCK {seconds:+d} s")
    sim.clock.advance(seconds)


@action(lambda sim: 0.1 * sim.world.profile.outage)
def a_service_goes_down(sim: Simulation) -> None:
    service = sim.rng.choice([names.PUBLISHER, names.LIVE_DOCUMENTS, names.EMBEDDER, names.EXTRACTOR])
    sim.count("outage")
    sim.note(f"OUTAGE of {service}")
    sim.boundary.outages[service] = sim.steps + sim.rng.randrange(5, 40)


@action(lambda sim: 2.0 if any(end < sim.steps for end in sim.boundary.outages.values()) else 0.0)
def services_come_back(sim: Simulation) -> None:
    ends = sim.boundary.outages
    sim.boundary.outages = {service: end for service, end in ends.items() if end >= sim.steps}
