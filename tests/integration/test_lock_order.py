"""Writers lock in one order (`locks` has it), so that no two wait for each other: step by step, and by the hundred."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict

from shared.domain.embeddings import ModelKey
from shared.domain.errors import Rejected, Unavailable
from shared.domain.jobs import book_id_for
from shared.domain.reembeddings import Books
from tests.support.failing_books import failed_book, redrive
from tests.support.waiting import poll
from tests.support.world import World, manuscript


@contextmanager
def holding(world: World, statement: str, *values: Any) -> Iterator[Callable[[], None]]:
    """Hold what the statement locks, until what this gives is called."""
    with psycopg.connect(world.dsn) as connection:
        assert connection.execute(statement, values).rowcount > 0
        yield connection.rollback


def await_waiters(world: World, number: int) -> None:
    for _ in poll(20, f"{number} to wait for a lock", pause_seconds=0.01):
        if len(world.rows("SELECT 1 FROM pg_locks WHERE NOT granted")) >= number:
            return


def together(world: World, *steps: Callable[[], Any], free: Callable[[], None]) -> list[int]:
    """Begin each when the one before it waits for a lock, then free what they wait for: what each was answered."""
    with ThreadPoolExecutor(len(steps)) as pool:
        answers = []
        for number, step in enumerate(steps, 1):
            answers.append(pool.submit(step))
            await_waiters(world, number)
        free()
        return [a.result(20).status_code for a in answers]


def next_version(world: World, book_id: str) -> Any:
    return world.post({"title": "Next", "content": manuscript(2, name="next "), "book_id": book_id})


def test_a_book_is_imported_and_resumed_at_once(world: World) -> None:
    """An import holds the user, and waits for the book; a resume has the book, and may not wait for the user."""
    book_id = world.import_book(manuscript(chapters=2))
    world.call("POST", f"/api/books/{book_id}/cancel")
    with holding(world, "SELECT 1 FROM jobs FOR UPDATE") as free:
        answers = together(
            world,
            lambda: world.call("POST", f"/api/books/{book_id}/resume"),
            lambda: next_version(world, book_id),
            free=free,
        )

    assert answers == [200, 202]


def test_a_book_is_deleted_and_imported_at_once(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=2))
    world.run()
    with holding(world, "SELECT 1 FROM deliveries ORDER BY job_id LIMIT 1 FOR UPDATE") as free:
        answers = together(
            world,
            lambda: world.call("DELETE", f"/api/books/{book_id}"),
            lambda: next_version(world, book_id),
            free=free,
        )

    assert answers == [204, 404]


def test_a_document_is_imported_while_its_book_is_deleted(world: World) -> None:
    document = {"title": "A Book", "content": manuscript(2), "google_doc_id": "a document"}
    book_id = world.post(document).json["book_id"]
    world.run()
    with holding(world, "SELECT 1 FROM deliveries ORDER BY job_id LIMIT 1 FOR UPDATE") as free:
        answers = together(
            world, lambda: world.call("DELETE", f"/api/books/{book_id}"), lambda: world.post(document), free=free
        )
    world.run()

    assert answers == [204, 202]
    assert (world.status(book_id)["status"], world.status(book_id)["version"]) == ("completed", 1)


def test_a_cancel_that_waited_for_an_import_ends_what_was_imported(world: World) -> None:
    book_id, _ = failed_book(world, 1, chapters=2)
    with holding(world, "SELECT 1 FROM dead_letters LIMIT 1 FOR UPDATE") as free:
        answers = together(
            world,
            lambda: next_version(world, book_id),
            lambda: world.call("POST", f"/api/books/{book_id}/cancel"),
            free=free,
        )

    assert answers == [202, 200]
    assert world.rows("SELECT version, state FROM jobs WHERE state <> 'completed' ORDER BY version DESC LIMIT 1") == [
        {"version": 2, "state": "cancelled"}
    ]


class Writers:
    """All that writes, over the books of two documents of one user. What has nothing to do is refused, and no fault."""

    def __init__(self, world: World) -> None:
        self.world = world
        # So that books live long enough to have what can be locked.
        self.often = {
            self.import_version: 3,
            self.work: 40,
            self.cancel: 1,
            self.resume: 3,
            self.delete: 1,
            self.redrive: 2,
            self.discard: 1,
            self.note_publication: 2,
            self.project: 1,
            self.drop_old: 1,
            self.reembed: 3,
        }

    def write(self, chance: random.Random, times: int) -> None:
        for kind in chance.choices(list(self.often), list(self.often.values()), k=times):
            with suppress(Unavailable):
                kind(chance)

    def import_version(self, chance: random.Random) -> None:
        text = manuscript(4, 40, changed=[chance.randint(1, 4)], name=chance.choice(["", "other "]))
        self.world.post({"title": "A Book", "content": text, "google_doc_id": chance.choice("ab")})

    def work(self, chance: random.Random) -> None:
        waiting = self.world.broker.waiting
        for _ in range(min(3, len(waiting))):
            with suppress(IndexError):  # another was quicker
                message = waiting.pop(chance.randrange(len(waiting) or 1))
                if self.world.deliver(message) >= 300:
                    waiting.append(message)

    def cancel(self, chance: random.Random) -> None:
        self.world.call("POST", f"/api/books/{self._book(chance)}/cancel")

    def resume(self, chance: random.Random) -> None:
        self.world.call("POST", f"/api/books/{self._book(chance)}/resume")

    def delete(self, chance: random.Random) -> None:
        self.world.call("DELETE", f"/api/books/{self._book(chance)}")

    def redrive(self, chance: random.Random) -> None:
        redrive(self.world, all=True, canary=chance.random() < 0.5)
        self.world.app.redrive.release(100)

    def discard(self, chance: random.Random) -> None:
        self.world.call("POST", "/api/dead-letters/discard", {"all": True, "reason": "enough"})

    def note_publication(self, chance: random.Random) -> None:
        job_ids = [r["job_id"] for r in self.world.rows("SELECT job_id FROM jobs")]
        chance.shuffle(job_ids)
        self.world.app.store.mark_published(job_ids, self.world.clock())

    def project(self, chance: random.Random) -> None:
        self.world.app.projections.mark_unprojected(None)
        self.world.app.projector.project_lagging(50)

    def drop_old(self, chance: random.Random) -> None:
        self.world.app.retention.drop(self.world.clock() + timedelta(days=40), 200)

    def reembed(self, chance: random.Random) -> None:
        """For the model that is there, or for one that is not: what was begun for that begins anew."""
        reembeddings, now = self.world.app.reembed.reembeddings, self.world.clock()
        model = ModelKey(name="fake", version=chance.choice("12"))
        reembeddings.add(Books(), model, "root", self.world.app.new_id(), now)
        reembeddings.begin_due(model, 5, now)
        reembeddings.begin_anew(self.world.embedder.model.key, 5, now)
        if chance.random() < 0.2:
            reembeddings.stop(now)

    def _book(self, chance: random.Random) -> UUID:
        return book_id_for("ann", f"google-doc/{chance.choice('ab')}")


# A session tells of its deadlocks when it ends, at the latest.
SELECT_OTHER_SESSIONS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
COUNT_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
AT_ONCE, TURNS = 6, 100


def test_writers_of_all_kinds_at_once_never_deadlock(dsn: str) -> None:
    chances = [random.Random(n) for n in range(AT_ONCE)]
    with psycopg.connect(dsn, autocommit=True) as operator:
        # So that each is found, however short.
        operator.execute(f"ALTER DATABASE {conninfo_to_dict(dsn)['dbname']} SET deadlock_timeout = '10ms'")
        with closing(World(dsn)) as world:
            fail_sometimes(world, chances[0])
            writers = Writers(world)

            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda chance: writers.write(chance, TURNS), chances))
        for _ in poll(20, "the end of the sessions"):
            if not operator.execute(SELECT_OTHER_SESSIONS).fetchall():
                break

        assert operator.execute(COUNT_DEADLOCKS).fetchone() == (0,)


def fail_sometimes(world: World, chance: random.Random) -> None:
    def fail(texts: str | Sequence[str]) -> None:
        if chance.random() < 0.05:
            raise Rejected("the model refuses this text")

    world.extractor.before = world.embedder.before = fail
