"""A store that refuses connections, or has no room left: nothing is lost, callers are told, and it goes on."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.local.database import MIGRATIONS
from infra.local.postgres import Postgres
from infra.local.topics import create_topics
from shared.adapters.fake_models import FakeEmbedder
from shared.adapters.google.firestore import FirestoreLiveDocuments
from shared.adapters.google.pubsub_publisher import PubSubPublisher
from shared.adapters.postgres.migrations import migrate
from shared.domain.errors import Unavailable
from shared.domain.stages import LEASE_SECONDS, JobType
from tests.support.tcp_gate import TcpGate
from tests.support.waiting import poll
from tests.support.world import World, manuscript

DEADLINE = 60.0
BOOK = {"title": "A Book", "content": manuscript(chapters=3)}
PROJECT = "test-stores-down"


@dataclass
class GatedWorld:
    """A world whose database stands behind a gate."""

    world: World
    gate: TcpGate
    before_embedding: list[Callable[[], object]]


@pytest.fixture
def gated(dsn: str) -> Iterator[GatedWorld]:
    known = conninfo_to_dict(dsn)
    gate = TcpGate(int(str(known["port"])))
    hooks: list[Callable[[], object]] = []

    def before(texts: Sequence[str]) -> None:
        while hooks:
            hooks.pop()()

    gated_dsn = make_conninfo("", **{**known, "port": gate.port})
    world = World(gated_dsn, FakeEmbedder(before), connect_seconds=1)
    yield GatedWorld(world, gate, hooks)
    gate.shut()
    world.close()


def completes(world: World, book_id: str) -> None:
    """All of it, at the first attempt of each job, and nothing is given up."""
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert world.rows("SELECT * FROM jobs WHERE state <> 'completed' OR attempts > max_attempts") == []
    assert world.rows("SELECT * FROM dead_letters") == []


def test_an_import_that_postgresql_refuses_is_answered_with_503_and_works_when_asked_again(gated: GatedWorld) -> None:
    world, gate = gated.world, gated.gate
    completes(world, world.import_book(manuscript(1), "Before"))
    gate.shut()
    refused = [world.post(BOOK, idempotency_key="one") for _ in range(3)]
    gate.open()
    taken = [world.post(BOOK, idempotency_key="one") for _ in range(2)]

    assert [(r.status_code, r.headers["Retry-After"]) for r in refused] == [(503, "5")] * 3
    assert [r.status_code for r in taken] == [202, 202]
    assert len({r.json["book_id"] for r in taken}) == 1
    completes(world, taken[0].json["book_id"])


def test_a_delivery_that_postgresql_refuses_is_no_attempt(gated: GatedWorld) -> None:
    world, gate = gated.world, gated.gate
    book_id = world.import_book(BOOK["content"])
    message = world.take(JobType.BOOK_PROCESSING)
    gate.shut()
    refused = [world.deliver(message) for _ in range(2)]
    with pytest.raises(Unavailable):
        world.app.reconcile()
    gate.open()

    assert refused == [503, 503]
    assert world.deliver(message) == 204
    completes(world, book_id)
    assert world.rows("SELECT DISTINCT attempts FROM jobs") == [{"attempts": 1}]


def test_work_whose_result_postgresql_refuses_is_done_again_when_its_lease_is_over(gated: GatedWorld) -> None:
    world, gate = gated.world, gated.gate
    book_id = world.import_book(BOOK["content"])
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.EMBEDDING_GENERATION)
    gated.before_embedding.append(gate.shut)
    refused = world.deliver(message)
    gate.open()
    too_soon = world.deliver(message)
    world.clock.advance(LEASE_SECONDS + 1)

    assert (refused, too_soon) == (503, 429)
    assert world.deliver(message) == 204
    completes(world, book_id)


def port_of(host: str) -> int:
    return int(host.rpartition(":")[2])


@pytest.fixture
def pubsub_gate(pubsub_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpGate]:
    gate = TcpGate(port_of(pubsub_host))
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", gate.address)
    create_topics(PROJECT)
    yield gate
    gate.shut()


@pytest.fixture
def firestore_gate(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpGate]:
    gate = TcpGate(port_of(firestore_host))
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", gate.address)
    yield gate
    gate.shut()


def test_what_pubsub_refuses_is_published_by_reconcile(dsn: str, pubsub_gate: TcpGate) -> None:
    with closing(World(dsn, overrides={"publisher": PubSubPublisher(PROJECT, timeout_seconds=1.0)})) as world:
        pubsub_gate.shut()
        reply = world.post(BOOK)
        with pytest.raises(Unavailable):
            after(world, 30)
        pubsub_gate.open()

        assert (reply.status_code, reply.json["published"]) == (202, False)
        await_reconcile(world)
    assert published(dsn) == [f"book-{reply.json['book_id']}-v1"]


def test_what_pubsub_refused_of_a_stage_is_sent_by_reconcile_and_no_work_is_done_again(
    dsn: str, pubsub_gate: TcpGate
) -> None:
    with closing(World(dsn)) as world:
        publisher = PubSubPublisher(PROJECT, timeout_seconds=1.0)
        world.import_book(BOOK["content"])
        message = world.take(JobType.BOOK_PROCESSING)
        held = world.broker.publish
        world.broker.publish = publisher.publish  # type: ignore[method-assign]
        pubsub_gate.shut()
        assert world.deliver(message) == 204
        assert published(dsn) == [message.data["job_id"]]
        pubsub_gate.open()

        for _ in poll(DEADLINE, "the broker"):
            with suppress(Unavailable):
                after(world, 60)
                break
        assert len(published(dsn)) >= 5, "three chapters, their vectors, the quick context"
        assert world.rows("SELECT attempts FROM jobs WHERE type = 'book-processing'") == [{"attempts": 1}]
        world.broker.publish = held  # type: ignore[method-assign]


def published(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT job_id FROM jobs WHERE published_at IS NOT NULL").fetchall()
    return [str(r[0]) for r in rows]


def after(world: World, seconds: float) -> Any:
    """`reconcile`, so much later."""
    world.clock.advance(seconds)
    return world.app.reconcile()


def await_reconcile(world: World) -> None:
    """A client whose connection was refused waits a moment before it tries again."""
    for _ in poll(DEADLINE, "reconcile"):
        with suppress(Unavailable):
            after(world, 30)
            return


def test_while_firestore_refuses_the_books_go_on_and_are_shown_afterwards(dsn: str, firestore_gate: TcpGate) -> None:
    with closing(World(dsn, overrides={"live_documents": FirestoreLiveDocuments(PROJECT, retry_seconds=0.2)})) as world:
        firestore_gate.shut()
        book_id = world.import_book(manuscript(chapters=1))
        completes(world, book_id)
        with pytest.raises(Unavailable):
            after(world, 30)
        firestore_gate.open()

        await_reconcile(world)
        assert document(f"books/{book_id}")["status"] == "completed"
        assert document(f"books/{book_id}/chapters/0001")["progress"] == 100


def document(path: str) -> Any:
    from google.cloud import firestore

    return firestore.Client(project=PROJECT).document(path).get().to_dict()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own, for PostgreSQL's user too."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", folder]
        os.chmod(folder, 0o755)
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("only root, and not in every container, may mount a small disk")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def test_a_full_disk_is_answered_with_503_and_the_work_goes_on_when_there_is_room(postgres: Postgres) -> None:
    with small_disk(40) as disk, psycopg.connect(postgres.dsn, autocommit=True) as server:
        place = disk / "place"
        place.mkdir(mode=0o700)
        owner = postgres.data.stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        server.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        server.execute("CREATE DATABASE small TEMPLATE template_bindery TABLESPACE small")
        world = World(postgres.dsn_of("small"))
        try:
            early = world.import_book(manuscript(chapters=20, words=2000), "Early")
            message = world.take(JobType.BOOK_PROCESSING)
            ballast = fill(disk)
            large = {"title": "Large", "content": manuscript(chapters=40, words=2000)}
            refused = world.post(large)
            undone = world.deliver(message)
            ballast.unlink()
            taken = world.post(large)
            world.broker.waiting.append(message)

            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert undone >= 400, "whatever there was no room for, it is not acknowledged"
            assert taken.status_code == 202
            world.clock.advance(LEASE_SECONDS + 1)
            completes(world, early)
            completes(world, taken.json["book_id"])
        finally:
            world.close()
            server.execute("DROP DATABASE small WITH (FORCE)")
            server.execute("DROP TABLESPACE small")


def test_postgresql_that_a_full_disk_ended_is_back_when_there_is_room() -> None:
    settings = {"min_wal_size": "32MB", "max_wal_size": "32MB", "shared_buffers": "16MB"}
    with small_disk(120) as disk, Postgres(disk / "data", settings=settings) as server:
        migrate(server.dsn, MIGRATIONS)
        with closing(World(server.dsn, connect_seconds=1)) as world:
            ballast = fill(disk)
            for _ in poll(DEADLINE, "the end of the disk"):
                # Its log finds no room for another segment, which ends the server.
                with suppress(psycopg.OperationalError), psycopg.connect(server.dsn) as connection:
                    connection.execute("CREATE TABLE IF NOT EXISTS filler AS SELECT 1 AS n")
                    connection.execute("INSERT INTO filler SELECT generate_series(1, 1000000)")
                refused = world.post({"title": "A Book", "content": manuscript(chapters=1)})
                if refused.status_code != 202:
                    break
            ballast.unlink()

            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            for _ in poll(DEADLINE, "the server"):
                reply = world.post(BOOK)
                if reply.status_code == 202:
                    break
            completes(world, reply.json["book_id"])
