"""Permits: how many jobs of a stage are worked on at once, and whose turn comes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import pytest

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.job_store import PostgresJobStore
from shared.domain.errors import NotPublished
from shared.domain.stages import JOB_TYPES, STAGES, JobType
from shared.ports import Message
from tests.support.world import HeldBroker, World, manuscript

CHAPTER = JobType.CHAPTER_PROCESSING
PERMITS = "SELECT type, count(*)::int AS n FROM jobs WHERE permitted_at IS NOT NULL GROUP BY type"


@contextmanager
def world_of(dsn: str, **concurrency: int) -> Iterator[World]:
    """A world in which stages (named with underscores) have these caps."""
    caps = {JobType(name.replace("_", "-")): n for name, n in concurrency.items()}
    with closing(World(dsn, concurrency=caps)) as world:
        yield world


def split(world: World, user: str, name: str, chapters: int = 3) -> str:
    """Import a book and split it: its chapters are due."""
    book_id = world.import_book(manuscript(chapters, 60, name=name), title=name, user=user)
    while world.status(book_id, user)["phase"] == "splitting":
        world.deliver(world.take(JobType.BOOK_PROCESSING))
    return book_id


def work_on(world: World, topic: JobType) -> list[str]:
    """Deliver what there is of a topic, one by one, and return whose books they were of, in order."""
    owners = []
    while messages := [m for m in world.broker.waiting if m.topic == topic]:
        world.broker.waiting.remove(messages[0])
        world.deliver(messages[0])
        owners += [
            r["title"] for r in world.rows("SELECT title FROM books WHERE book_id = %s", messages[0].data["book_id"])
        ]
    return owners


def test_a_stage_is_given_no_more_jobs_than_its_cap_and_the_next_when_one_ends(dsn: str) -> None:
    with world_of(dsn, chapter_processing=2) as world:
        split(world, "ann", "One", chapters=5)

        assert sum(m.topic == CHAPTER for m in world.broker.waiting) == 2
        world.deliver(world.take(CHAPTER))
        assert sum(m.topic == CHAPTER for m in world.broker.waiting) == 2
        world.run()
        assert world.rows(PERMITS) == []
        assert {r["state"] for r in world.rows("SELECT state FROM jobs")} == {"completed"}


def test_the_chapters_of_a_book_go_in_the_order_of_reading(dsn: str) -> None:
    with world_of(dsn, chapter_processing=1) as world:
        split(world, "ann", "One", chapters=6)

        work_on(world, CHAPTER)
        rows = world.rows("""
            SELECT chapter_number AS n FROM jobs JOIN recent_chapters ON 'chapter-' || chapter_id = job_id
            ORDER BY processed_on, jobs.revision""")
        assert [r["n"] for r in rows] == [1, 2, 3, 4, 5, 6]


def test_owners_take_turns_and_the_books_of_one_owner_go_in_order(dsn: str) -> None:
    with world_of(dsn, chapter_processing=2) as world:
        split(world, "ann", "Ann's first")
        world.clock.advance(1)
        split(world, "ann", "Ann's second")
        world.clock.advance(1)
        split(world, "ben", "Ben's")

        order = work_on(world, CHAPTER)
        # Ann had both permits when Ben came. From then on each has one.
        assert order[:2] == ["Ann's first", "Ann's first"]
        assert Counter(order[2:8]) == {"Ann's first": 1, "Ann's second": 2, "Ben's": 3}
        assert [title for title in order if title != "Ben's"] == ["Ann's first"] * 3 + ["Ann's second"] * 3


def test_of_more_owners_than_are_looked_at_each_has_a_turn_in_each_round(world: World) -> None:
    with world.app.database.transaction() as connection:
        connection.execute(
            """INSERT INTO books (book_id, owner_uid, title, latest_version)
               SELECT md5('b' || n)::uuid, 'u' || n, 'T', 1 FROM generate_series(1, 120) n"""
        )
        connection.execute(
            """INSERT INTO book_versions (book_id, version, title, content, content_hash)
               SELECT book_id, 1, 'T', 'c', '' FROM books"""
        )
        connection.execute(
            """INSERT INTO jobs (job_id, type, book_id, version, data, max_attempts, created_at, owner_uid, imported_at)
               SELECT owner_uid || '-' || n, %s, book_id, 1, '{}', 3, now(), owner_uid, now()
               FROM books, generate_series(1, 2) n""",
            (CHAPTER,),
        )
    store = PostgresJobStore(world.app.database, 0.1, {CHAPTER: 7})
    owners: list[str] = []
    while given := store.give_permits([CHAPTER], world.clock()):
        owners += [job.job_id.partition("-")[0] for job in given]
        with world.app.database.statements() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'completed', permitted_at = NULL WHERE permitted_at IS NOT NULL"
            )

    assert len(owners) == 240
    assert len(set(owners[:120])) == len(set(owners[120:])) == 120


def test_a_users_many_books_keep_no_other_from_starting(dsn: str) -> None:
    with world_of(dsn, book_processing=1) as world:
        for n in range(8):
            world.import_book(manuscript(1, 30, name=str(n)), title=str(n), user="ann")
        world.clock.advance(1)
        world.import_book(manuscript(1, 30, name="b"), title="Ben's", user="ben")

        assert work_on(world, JobType.BOOK_PROCESSING).index("Ben's") == 1


def test_a_book_that_waits_is_queued_and_says_where_it_stands(dsn: str) -> None:
    with world_of(dsn, book_processing=1) as world:
        books = [world.import_book(manuscript(1, 30, name=str(n)), title=str(n)) for n in range(4)]
        world.clock.advance(1)
        bens = world.import_book(manuscript(1, 30, name="b"), title="Ben's", user="ben")

        assert [world.status(b)["queue_position"] for b in books] == [None, 1, 2, 3]
        assert [world.status(b)["status"] for b in books] == ["pending", "queued", "queued", "queued"]
        assert (world.status(bens, "ben")["status"], world.status(bens, "ben")["queue_position"]) == ("queued", 2)
        world.clock.advance(60)
        world.app.reconcile()
        assert [world.status(b)["queue_position"] for b in books] == [None, 1, 3, 4]
        document = world.live_documents.get(f"books/{books[3]}")
        assert document is not None
        assert (document.fields["status"], document.fields["queue_position"]) == ("queued", 4)
        world.run()
        assert {world.status(b)["status"] for b in books} == {"completed"}
        assert {world.status(b)["queue_position"] for b in books} == {None}


def test_instances_that_give_permits_at_the_same_time_give_no_more_than_there_are(dsn: str) -> None:
    with world_of(dsn, chapter_processing=7) as world:
        world.broker.down = True
        for n in range(6):
            world.import_book(manuscript(8, 30, name=str(n)), title=str(n), user=f"user {n}")
        for row in world.rows("SELECT job_id FROM jobs WHERE type = 'book-processing'"):
            world.app.push.runner.run(row["job_id"])
        with closing(Database(dsn, size=8)) as database, ThreadPoolExecutor(8) as pool:
            world.rows("SELECT 1")
            store = PostgresJobStore(database, 0.1, dict.fromkeys(STAGES, 9))
            given = [
                j.job_id
                for jobs in pool.map(lambda _: store.give_permits(JOB_TYPES, world.clock()), range(40))
                for j in jobs
            ]

        assert len(given) == len(set(given))
        assert {r["type"]: r["n"] for r in world.rows(PERMITS)}[CHAPTER] == 9


@pytest.mark.parametrize("call", ["POST cancel", "DELETE"])
def test_a_book_that_is_called_off_gives_its_permits_to_the_next(dsn: str, call: str) -> None:
    with world_of(dsn, chapter_processing=2, embedding_generation=1) as world:
        first = split(world, "ann", "One")
        world.clock.advance(1)
        split(world, "ann", "Two")
        before = len(world.broker.published)
        method, _, what = call.partition(" ")
        path = f"/api/books/{first}" + (f"/{what}" if what else "")

        assert world.call(method, path).status_code in (200, 202, 204)
        assert Counter(m.topic for m in world.broker.published[before:])[CHAPTER] == 2
        world.run()
        assert world.rows(PERMITS) == []


def test_a_new_version_takes_over_the_permits_of_the_old_one(dsn: str) -> None:
    with world_of(dsn, chapter_processing=2) as world:
        book_id = split(world, "ann", "One", chapters=4)
        again = {"content": manuscript(3, 60, name="other"), "book_id": book_id}
        assert world.post(again).status_code == 202

        world.run()
        assert world.status(book_id)["status"] == "completed"
        assert world.rows(PERMITS) == []


def test_a_message_of_a_job_without_a_permit_is_acknowledged_and_begins_nothing(dsn: str) -> None:
    with world_of(dsn, chapter_processing=1) as world:
        split(world, "ann", "One")
        waiting = world.rows(
            "SELECT job_id, book_id, version FROM jobs WHERE type = %s AND permitted_at IS NULL", CHAPTER
        )
        data = {k: str(v) for k, v in waiting[0].items()} | {"version": 1}

        assert world.deliver(Message(topic=CHAPTER, data=data)) == 204
        assert world.get(f"/api/jobs/{data['job_id']}").json["state"] == "pending"


def test_a_permit_whose_publisher_died_is_published_by_reconcile(dsn: str) -> None:
    with world_of(dsn, chapter_processing=2) as world:
        book_id = world.import_book(manuscript(3, 60))
        world.app.push.runner.outbox.store.give_permits([JobType.BOOK_PROCESSING], world.clock())
        world.broker.waiting.clear()
        world.clock.advance(61)
        world.app.reconcile()

        world.run()
        assert world.status(book_id)["status"] == "completed"


class TopicThatTakesSome(HeldBroker):
    """Takes all but every third message of one topic while it `fails`."""

    def __init__(self, topic: JobType) -> None:
        super().__init__()
        self.topic = topic
        self.fails = True

    def publish(self, messages: Sequence[Message]) -> None:
        refused = {n for n, m in enumerate(messages) if self.fails and m.topic == self.topic and n % 3 == 0}
        super().publish([m for n, m in enumerate(messages) if n not in refused])
        if refused:
            raise NotPublished("the topic takes only some", refused)


def test_a_topic_that_fails_gets_no_heap_of_copies_of_what_it_took(dsn: str) -> None:
    broker = TopicThatTakesSome(CHAPTER)
    with closing(World(dsn, overrides={"publisher": broker})) as world:
        world.broker = broker
        book_id = split(world, "ann", "One", chapters=31)
        for _ in range(20):
            world.clock.advance(60)
            with suppress(NotPublished):
                world.app.reconcile()

        chapters = Counter(str(m.data["job_id"]) for m in broker.published if m.topic == CHAPTER)
        assert len(chapters) >= STAGES[CHAPTER].concurrency - 1  # it never takes the first of those it is sent
        assert max(chapters.values()) <= 7  # after 25 s, then twice as long each time
        broker.fails = False
        world.clock.advance(1000)
        world.app.reconcile()
        world.run()
        assert world.status(book_id)["status"] == "completed"
