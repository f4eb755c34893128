"""Puts one seed's simulation together. Read it from the top: what is drawn, what is simulated, who tells whom."""

from __future__ import annotations

import random
from typing import Any, cast
from uuid import UUID

from shared.adapters.memory.broker import MemoryBroker
from shared.bootstrap import App
from shared.config import Config
from shared.domain.stages import Dependency
from tests.simulation.real.clients import Client, draw_clients
from tests.simulation.real.clocks import ProcessClock, VirtualClock
from tests.simulation.real.edge import Edge
from tests.simulation.real.ledger import Ledger
from tests.simulation.real.outside import (
    Moody,
    Outside,
    PartialLiveDocuments,
    TopicalBroker,
    VaryingEmbedder,
    VaryingExtractor,
)
from tests.simulation.real.processes import Process, SteppedHeartbeat, SteppedRefresh
from tests.simulation.real.profile import Profile, draw_profile, draw_refused
from tests.simulation.real.scheduler import Scheduler
from tests.simulation.real.simulation import RealSimulation
from tests.simulation.real.world import API, PROCESSES, Cluster, World
from tests.support.world import FakeAuthenticator, one_by_one

# Half of the chapters may be rejected, so that partial success is seen too.
TOLERATED = 0.5


def assemble(
    cluster: Cluster, seed: int, profile: Profile | None = None, clients: list[Client] | None = None
) -> RealSimulation:
    """The simulation of a seed: the same seed on the same code gives the same events. A test may set what it is about."""
    # All that is left to chance comes from here, in an order that depends on nothing else.
    rng = random.Random(seed)
    world = _build_world(cluster, rng, profile or draw_profile(rng))
    simulation = RealSimulation(seed, world, clients or draw_clients(rng))

    # Who is told of what.
    world.edge.note = simulation.note
    world.edge.crash = simulation.crash
    world.edge.committed = simulation.history.read
    world.scheduler.on_end = simulation.ended
    world.ledger.is_forced = simulation.is_forced
    return simulation


def _build_world(cluster: Cluster, rng: random.Random, profile: Profile) -> World:
    cluster.clear()
    refused = draw_refused(rng, profile)

    # Time, whose turn it is, and where things fail.
    clock = VirtualClock()
    scheduler = Scheduler(cluster.watch, clock)
    edge = Edge(rng, scheduler, profile, clock, cluster.clock, cluster.watch)

    # What lies beyond the edge. PostgreSQL alone is real.
    outside = Outside(rng, edge, profile, clock)
    ledger = Ledger(lambda: scheduler.steps)
    embedder = VaryingEmbedder(Moody(outside, ledger, Dependency.EMBEDDING_MODEL, refused))
    extractor = VaryingExtractor(Moody(outside, ledger, Dependency.GENERATING_MODEL, refused))
    world = World(
        rng=rng,
        profile=profile,
        refused=refused,
        cluster=cluster,
        clock=clock,
        scheduler=scheduler,
        edge=edge,
        outside=outside,
        broker=TopicalBroker(outside),
        live_documents=PartialLiveDocuments(outside),
        ledger=ledger,
        models={"embedder": embedder, "extractor": extractor},
    )

    # What is tested: the functions, in processes that crash and are started again.
    world.processes = [_process(world, name) for name in PROCESSES]
    world.api = _process(world, API)
    return world


def _process(world: World, name: str) -> Process:
    clock = ProcessClock(world.clock, world.rng.uniform(-1, 1) * world.profile.skew)
    database = world.cluster.database(name, world.profile.pool)
    return Process(name, database, clock, lambda process: _app(world, cast(Process, process)))


def _app(world: World, process: Process) -> App:
    """The real composition root, with what is simulated in place of what would leave the process."""
    config = Config(
        project="test",
        database_url="host=127.0.0.1",
        auth="local",
        models="fake",
        failed_chapters_tolerated=TOLERATED,
        concurrency=dict(world.profile.caps),
        calls_at_once=world.profile.calls_at_once,
        max_books_under_way=world.profile.most_books,
    )
    overrides: Any = {
        "at_once": one_by_one,
        "authenticator": FakeAuthenticator(),
        "clock": process.clock,
        "database": process.database,
        "live_documents": world.live_documents,
        "new_id": lambda: UUID(int=world.rng.getrandbits(128), version=4),
        "publisher": world.broker,
        "random": world.rng.random,
        "seekable_broker": MemoryBroker(),
        **world.models,
    }
    app = App(config, overrides)
    app.overrides["heartbeat"] = SteppedHeartbeat(leases=app.leases, clock=process.clock)
    app.overrides["refresh"] = SteppedRefresh(projector=app.projector)
    return app
