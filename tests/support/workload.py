"""Imports twenty small books into a stack, and checks what must be true of them in the end, whatever died."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import requests
from psycopg.rows import dict_row, tuple_row

from infra.local.emulator_stack import PROJECT
from shared.adapters.postgres.database import Database
from shared.adapters.postgres.projections import PostgresProjections
from shared.domain.stages import MAX_LEASE_EXPIRATIONS
from tests.support.waiting import poll
from tests.support.world import World, manuscript

BOOKS = {f"Small book {n}": manuscript(chapters=3, words=240, name=f"small {n} ") for n in range(1, 21)}
DEADLINE = 180.0
LOOK_SECONDS = 0.3
"""Each look costs the machine that the books need, too."""
_EMULATOR_HOSTS = ("PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST")

_ROWS = """
    SELECT v.title AS book, v.version, v.split_method, b.current_version, b.total_word_count, r.chapter_number, r.title,
           r.content, r.start_offset, r.end_offset, r.word_count, r.metadata::text, r.metadata_model,
           r.embedding_vector::text, r.embedding_model, r.embedding_version, k.chunk_index, k.chunk_text,
           k.chunk_embedding::text, k.word_count, k.start_offset, k.end_offset, k.embedding_model, k.embedding_version
    FROM books b JOIN book_versions v USING (book_id)
    LEFT JOIN recent_chapters r USING (book_id, version) LEFT JOIN chapter_chunks k USING (chapter_id)
    WHERE b.book_id = ANY(%s) ORDER BY v.title, v.version, r.chapter_number, k.chunk_index
"""
_CONTEXTS = """
    SELECT v.title, c.version, c.mode, c.model, c.context::text
    FROM book_contexts c JOIN book_versions v USING (book_id, version) WHERE book_id = ANY(%s) ORDER BY 1, 2, 3
"""
_EXPIRED_LEASES = """
    SELECT job_id, type, (f->>'at')::timestamptz AS again, finished_on
    FROM jobs, jsonb_array_elements(failures) f
    WHERE book_id = ANY(%s) AND f->>'error_class' = 'LeaseExpired'
"""

_NEEDED_ANSWERS = """
    SELECT count(DISTINCT chunk_text) AS embed, count(DISTINCT chapter_id) AS chapter, count(DISTINCT book_id) AS quick,
           count(DISTINCT book_id) AS full
    FROM recent_chapters JOIN chapter_chunks USING (chapter_id) WHERE book_id = ANY(%s)
"""
# As often as a process died that did the job.
_ANSWERS_THAT_MAY_BE_LOST = """
    SELECT coalesce(sum(abandoned * chunks) FILTER (WHERE type = 'embedding-generation'), 0) AS embed,
           coalesce(sum(abandoned * jsonb_array_length(data->'chapter_ids')) FILTER (WHERE type = 'chapter-processing'), 0) AS chapter,
           coalesce(sum(abandoned) FILTER (WHERE data->>'mode' = 'quick'), 0) AS quick,
           coalesce(sum(abandoned) FILTER (WHERE data->>'mode' = 'full'), 0) AS full
    FROM jobs CROSS JOIN LATERAL (SELECT count(*) AS chunks FROM chapter_chunks
                                  WHERE data->'chapter_ids' ? chapter_id::text) k
    WHERE book_id = ANY(%s)
"""

UNFINISHED = "SELECT job_id, state FROM jobs WHERE state <> 'completed'"

Rows = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]


def rows_of(dsn: str, books: Sequence[str]) -> Rows:
    """Return all that the pipeline made of books: chapters, chunks, vectors, metadata, contexts. No ids, no times."""
    with psycopg.connect(dsn, row_factory=tuple_row) as connection:
        found = [connection.execute(query, (list(books),)).fetchall() for query in (_ROWS, _CONTEXTS)]
    return found[0], found[1]


def rows_without_faults(world: World) -> Rows:
    """Return what the same manuscripts come to where nothing dies."""
    books = [world.import_book(content, title) for title, content in BOOKS.items()]
    world.run()
    return rows_of(world.dsn, books)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables until the end of the block, and take back those that a stack sets itself, too."""
    before = {name: os.environ.get(name) for name in (*values, *_EMULATOR_HOSTS)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class Workload:
    """The books, imported through the API by a client who asks again, with one key for each, until it is heard.

    `environment` is a local stack's; where a stack is started again, what it is then may be put in its place.
    """

    def __init__(self, environment: Mapping[str, str], key: str) -> None:
        self.environment = environment
        self.key = key
        self.books: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(4)
        self._imports: list[Future[None]] = []

    def begin(self) -> None:
        """Starts importing. No vector is known from a run before, so that all the work is done."""
        with psycopg.connect(self.environment["BINDERY_DATABASE_URL"]) as connection:
            connection.execute("DELETE FROM book_vectors")
        self._imports = [self._pool.submit(self._import, *book) for book in BOOKS.items()]

    def post(self, title: str, content: str) -> requests.Response:
        body, headers = {"title": title, "content": content}, {"Idempotency-Key": f"{self.key} {title}"}
        return requests.post(
            f"{self.environment['BINDERY_URL']}/api/books/import", json=body, headers=headers, timeout=30
        )

    def _import(self, title: str, content: str) -> None:
        for _ in poll(DEADLINE, f"the import of {title}"):
            try:
                reply = self.post(title, content)
            except requests.RequestException:
                continue
            assert reply.status_code in (202, 500, 502, 503), reply.text
            if reply.status_code == 202:
                self.books[title] = reply.json()["book_id"]
                return

    def query(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Raises psycopg.OperationalError while the server is down."""
        with psycopg.connect(self.environment["BINDERY_DATABASE_URL"], row_factory=dict_row) as connection:
            return list(connection.execute(statement, values))

    def counts(self) -> Counter[tuple[str, str]]:
        """Count the books' jobs by type and state."""
        statement = "SELECT type, state, count(*)::int AS n FROM jobs WHERE book_id = ANY(%s::uuid[]) GROUP BY 1, 2"
        try:
            rows = self.query(statement, list(self.books.values()))
        except psycopg.OperationalError:
            return Counter()
        return Counter({(r["type"], r["state"]): r["n"] for r in rows})

    def wait(self, meanwhile: Callable[[], object] = lambda: None) -> float:
        """Wait until the API says that all books are completed, and no job is left. Return how many seconds that took.

        A quick context may come after its book's completion, which does not wait for it.
        """
        started = time.monotonic()
        for _ in poll(DEADLINE, "all books", pause_seconds=LOOK_SECONDS):
            meanwhile()
            done = len(self.books) == len(BOOKS) and set(self.statuses()) == {"completed"}
            if done and {state for _, state in self.counts()} == {"completed"}:
                break
        for imported in self._imports:
            imported.result()
        self._pool.shutdown()
        return time.monotonic() - started

    def statuses(self) -> list[str]:
        """Return the books' statuses, as the API tells them; none while it does not answer."""
        ours = set(self.books.values())
        try:
            reply = requests.get(f"{self.environment['BINDERY_URL']}/api/books?limit=200", timeout=30)
            return [b["status"] for b in reply.json()["books"] if b["book_id"] in ours] if reply.ok else []
        except requests.RequestException:
            return []

    def check(self, expected: Rows) -> None:
        """Check that every row is there once, that every job is completed, and that none gave up."""
        books = list(self.books.values())
        assert len(set(books)) == len(BOOKS)
        assert rows_of(self.environment["BINDERY_DATABASE_URL"], books) == expected
        assert self.query(UNFINISHED) == []
        assert self.query("SELECT * FROM dead_letters") == []
        worn = "SELECT job_id FROM jobs WHERE attempts > max_attempts OR abandoned >= %s"
        assert self.query(worn, MAX_LEASE_EXPIRATIONS) == []
        assert self.query("SELECT entity_id, status FROM processing_status WHERE status <> 'completed'") == []

    def check_paid(self, answers: Path) -> None:
        """Check that models were asked once for each text, but for what died with the process that asked.

        `answers` is what the models noted since the beginning.
        """
        given = Counter(line.split()[0] for line in answers.read_text().splitlines())
        (needed,) = self.query(_NEEDED_ANSWERS, list(self.books.values()))
        (lost,) = self.query(_ANSWERS_THAT_MAY_BE_LOST, list(self.books.values()))
        for kind, number in needed.items():
            assert number <= given[kind] <= number + lost[kind], (kind, given[kind], number, lost[kind])

    def documents(self) -> dict[str, Any]:
        """Return the live documents of the books and their chapters, by path."""
        from google.cloud import firestore

        with environment({"FIRESTORE_EMULATOR_HOST": self.environment["FIRESTORE_EMULATOR_HOST"]}):
            client = firestore.Client(project=PROJECT)
        references = [client.document(path) for path in self.projections()]
        return {d.reference.path: d.to_dict() for d in client.get_all(references) if d.exists}

    def projections(self) -> dict[str, Any]:
        """Return what the live documents should be, by path."""
        database = Database(self.environment["BINDERY_DATABASE_URL"])
        of_book = PostgresProjections(database, lambda: datetime.now(UTC)).of_book
        found = [d for book_id in self.books.values() for d in of_book(UUID(book_id), chapters=True)]
        database.close()
        assert len(found) == 5 * len(BOOKS)
        return {d.path: {**d.fields, "revision": d.revision} for d in found}

    def await_documents(self) -> None:
        for _ in poll(DEADLINE, "the live documents"):
            if self.documents() == self.projections():
                return

    def taken_up_again(self, kills: Sequence[tuple[datetime, str]]) -> list[tuple[str, float, float]]:
        """Return, for each job that a kill interrupted, its type, and the seconds until its next claim and until its end.

        `kills` are times and job types; the kill before a claim is what interrupted it.
        """
        found = []
        for row in self.query(_EXPIRED_LEASES, list(self.books.values())):
            before = [at for at, job_type in kills if job_type in (row["type"], "") and at < row["again"]]
            if before:
                at = max(before)
                found.append((row["type"], (row["again"] - at).total_seconds(), _seconds(at, row["finished_on"])))
        return found


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
