"""Puts one seed's simulation together. Read it from the top: what is drawn, what is simulated, who tells whom."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import cast
from uuid import UUID

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.postgres.database import Database
from shared.bootstrap import App
from shared.config import Config
from shared.domain.errors import Rejected
from shared.ports import ContextExtractor, Embedder, LiveDocuments, Publisher
from tests.simulation.baseline import fault_free
from tests.simulation.boundary import Boundary, Proxy, SimulatedDatabase
from tests.simulation.broker import SimulatedBroker
from tests.simulation.clients import draw_clients
from tests.simulation.ledger import Ledger, PaidEmbedder, PaidExtractor
from tests.simulation.profile import draw_blocked, draw_profile, draw_refused
from tests.simulation.simulation import Simulation
from tests.simulation.tasks import Scheduler
from tests.simulation.world import (
    NoHeartbeat,
    NoLeases,
    NoRefresh,
    Process,
    RecordingLiveDocuments,
    RefusingExtractor,
    SimulatedClock,
    SmallEmbedder,
    World,
    first_line,
)
from tests.support.world import FakeAuthenticator, one_by_one

PROCESSES = ("p0", "p1", "p2")
# Half of the chapters may be rejected, so that partial success is seen too.
TOLERATED = 0.5


def assemble(database: SimulatedDatabase, seed: int) -> Simulation:
    """The simulation of a seed: the same seed on the same code gives the same events."""
    world = build_world(database, seed)
    simulation = Simulation(
        seed,
        world,
        draw_clients(world.rng),
        without_faults=lambda text: fault_free(database, text, world.refused, build_world),
    )

    # Who is told of what.
    world.boundary.note = simulation.note
    world.boundary.crash = simulation.crash
    world.boundary.slow = simulation.outlive_lease
    world.boundary.on_commit = simulation.history.committed
    world.boundary.on_fault = world.ledger.fault
    world.scheduler.on_end = simulation.ended
    world.clock.moved = simulation.clock_moved
    return simulation


def build_world(database: SimulatedDatabase, seed: int | str, refused: tuple[str, ...] | None = None) -> World:
    """The parts of a world. `refused` is what models will not take, if it is not to be drawn."""
    # All that is left to chance comes from here, in an order that depends on nothing else.
    rng = random.Random(seed)
    profile = draw_profile(rng)
    if refused is None:
        refused = draw_refused(rng) if profile.rejecting else ()
        # By chance of its own: worlds in which nothing is blocked stay as they are.
        refused += draw_blocked(random.Random(f"what is blocked in {seed}"))

    # Time, and whose turn it is.
    clock = SimulatedClock()
    scheduler = Scheduler(rng)

    # The edge of every port's call: here control changes hands, and here things fail.
    boundary = Boundary(rng, scheduler, profile)
    database.boundary, database.clock = boundary, clock

    # What lies beyond the edge. The database alone is real.
    broker = SimulatedBroker(rng, boundary, clock, partial=profile.broker / 4)
    live_documents = RecordingLiveDocuments()
    ledger = Ledger()
    embedder = SmallEmbedder(before=_refuse_texts(refused, boundary))
    extractor = RefusingExtractor(refused, boundary.count)

    world = World(
        rng=rng,
        profile=profile,
        refused=refused,
        database=database,
        clock=clock,
        scheduler=scheduler,
        boundary=boundary,
        broker=broker,
        live_documents=live_documents,
        ledger=ledger,
        embedder=PaidEmbedder(embedder, ledger, lambda: scheduler.current),
        extractor=PaidExtractor(extractor, ledger, lambda: scheduler.current),
    )

    # What is tested: the functions, in processes that crash and are started again.
    def start_app(process: Process) -> App:
        return _app(world, process)

    world.processes = [Process(name, start_app) for name in PROCESSES]
    world.api = Process("api", start_app)
    return world


def _app(world: World, process: Process) -> App:
    """The real composition root, with what is simulated in place of what would leave the process."""
    config = Config(
        project="test",
        database_url="host=127.0.0.1",
        auth="local",
        models="fake",
        failed_chapters_tolerated=TOLERATED,
        concurrency=world.profile.caps,
        calls_at_once=world.profile.calls_at_once,
    )

    app = App(
        config,
        {
            "at_once": one_by_one,
            "authenticator": FakeAuthenticator(),
            "clock": world.clock,
            "database": cast(Database, world.database),
            "embedder": cast(Embedder, Proxy(world.embedder, Embedder, world.boundary)),
            "extractor": cast(ContextExtractor, Proxy(world.extractor, ContextExtractor, world.boundary)),
            "live_documents": cast(LiveDocuments, Proxy(world.live_documents, LiveDocuments, world.boundary)),
            "new_id": lambda: UUID(int=world.rng.getrandbits(128), version=4),
            "publisher": cast(Publisher, Proxy(world.broker, Publisher, world.boundary)),
            "random": world.rng.random,
            "seekable_broker": MemoryBroker(),
        },
    )
    app.overrides["heartbeat"] = NoHeartbeat(leases=NoLeases(), clock=world.clock)
    app.overrides["refresh"] = NoRefresh(projector=app.projector)
    return app


def _refuse_texts(refused: tuple[str, ...], boundary: Boundary) -> Callable[[Sequence[str]], None]:
    def refuse(texts: Sequence[str]) -> None:
        if any(f"embed {first_line(t)}" in refused for t in texts):
            boundary.count("model rejects")
            raise Rejected("simulated: the model refuses this text")

    return refuse
