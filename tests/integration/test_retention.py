"""What is dropped when, and what goes on as if nothing had been dropped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from shared.adapters.postgres.retention import SLICES
from shared.domain.errors import Rejected, Unavailable
from shared.domain.stages import STAGES, JobType
from shared.ports import Message
from tests.support.failing_books import FailingChapters
from tests.support.world import World, manuscript

DAY = 24 * 3600.0
CHAPTER = JobType.CHAPTER_PROCESSING

# Ended a second apart, the last of them now.
_MORE_JOBS = """
    INSERT INTO jobs (job_id, type, book_id, version, data, state, max_attempts, created_at, finished_on)
    SELECT 'more-' || %s || '-' || n, %s, %s, 1, '{}', %s, 3, %s, %s::timestamptz - n * interval '1 second'
    FROM generate_series(0, %s - 1) AS n
"""


def execute(world: World, statement: str, *values: Any) -> None:
    with psycopg.connect(world.dsn) as connection:
        connection.execute(statement, values)


def more_jobs(world: World, book_id: str, count: int, job_type: JobType = CHAPTER, state: str = "completed") -> None:
    now = world.clock()
    execute(world, _MORE_JOBS, f"{job_type}-{state}", job_type, book_id, state, now, now, count)


def count(world: World, query: str, *values: Any) -> int:
    (row,) = world.rows(f"SELECT count(*) AS n FROM {query}", *values)
    return int(row["n"])


def finished_book(world: World, chapters: int = 2, **more: Any) -> str:
    book_id = world.import_book(manuscript(chapters=chapters), **more)
    world.run()
    world.clock.advance(3600)
    return book_id


def overtaken_book(world: World) -> str:
    """A completed book whose first version, of two chapters, is not its latest any more."""
    book_id = finished_book(world, google_doc_id="doc")
    world.import_book(manuscript(chapters=3, words=90), google_doc_id="doc")
    world.run()
    world.clock.advance(3600)
    return book_id


def drop(world: World, limit: int = 1000) -> dict[str, int]:
    return dict(world.app.reconcile.retention.drop(world.clock(), limit))


def failed_book(world: World, number: int = 3) -> tuple[str, set[int]]:
    """A usable book of 12 chapters, of which one failed; it heals when the set is cleared."""
    broken = {number}

    def refuse(text: str) -> None:
        if any(text.startswith(f"CHAPTER {n}\n") and "CHAPTER 12\n" not in text for n in broken):
            raise Rejected("the model refuses this chapter")

    world.extractor.before = refuse
    book_id = world.import_book(manuscript(chapters=12, words=45))
    world.run()
    world.clock.advance(3600)
    return book_id, broken


@pytest.mark.parametrize("state", ["completed", "failed"])
@pytest.mark.parametrize("job_type", [CHAPTER, JobType.EMBEDDING_GENERATION])
def test_of_an_older_version_the_newest_jobs_stay_as_many_as_the_table_of_stages_says(
    world: World, job_type: JobType, state: str
) -> None:
    book_id = overtaken_book(world)
    stage = STAGES[job_type]
    kept = stage.completed_kept if state == "completed" else stage.failed_kept
    more_jobs(world, book_id, kept + 7, job_type, state)
    own = "jobs WHERE version = 1 AND type = %s AND state = %s AND NOT starts_with(job_id, 'more')"
    expected = 7 + count(world, own, job_type, state)

    assert drop(world)["jobs"] == expected
    numbers = [
        int(r["job_id"].rsplit("-", 1)[1])
        for r in world.rows("SELECT job_id FROM jobs WHERE starts_with(job_id, 'more')")
    ]
    assert sorted(numbers) == list(range(kept))
    assert drop(world)["jobs"] == 0


@pytest.mark.parametrize("job_type", [CHAPTER, JobType.EMBEDDING_GENERATION])
def test_the_latest_version_keeps_all_its_jobs_for_a_month_however_many_books_there_are(
    world: World, job_type: JobType
) -> None:
    books = [finished_book(world), finished_book(world, title="Another", user="ben")]
    for book_id in books:
        execute(world, "UPDATE jobs SET finished_on = %s WHERE book_id = %s", world.clock(), book_id)
    more_jobs(world, books[0], 2 * STAGES[job_type].completed_kept, job_type)

    assert drop(world)["jobs"] == 0
    world.clock.advance(31 * DAY)
    drop(world)
    assert count(world, "jobs WHERE type = %s", job_type) == 0


def test_live_documents_of_dropped_jobs_are_deleted_and_those_of_others_stay(world: World) -> None:
    book_id = overtaken_book(world)
    before = {d.path for d in world.live_documents.all() if d.path.startswith("jobs/")}
    more_jobs(world, book_id, STAGES[CHAPTER].completed_kept)
    world.app.reconcile()

    after = {d.path for d in world.live_documents.all() if d.path.startswith("jobs/")}
    assert {p.split("-")[0] for p in before - after} == {"jobs/chapter"}
    assert len(before - after) == 2
    kept = {f"jobs/{r['job_id']}" for r in world.rows("SELECT job_id FROM jobs")}
    assert after <= kept
    assert all("more" in path for path in kept - after)


def test_after_thirty_days_a_books_chapter_jobs_go_and_the_steps_that_tell_how_far_it_is_stay(world: World) -> None:
    book_id = finished_book(world)
    status = world.status(book_id)
    world.clock.advance(29 * DAY)
    assert drop(world)["jobs"] == 0
    world.clock.advance(2 * DAY)
    assert drop(world)["jobs"] == 3

    types = {r["type"] for r in world.rows("SELECT type FROM jobs")}
    assert types == {JobType.BOOK_PROCESSING, JobType.CONTEXT_EXTRACTION, JobType.BOOK_COMPLETION}
    assert world.status(book_id) == status


def test_documents_of_jobs_that_ended_long_ago_are_deleted_once_and_not_written_anew_shortly_before(
    world: World,
) -> None:
    finished_book(world)
    world.app.reconcile()
    world.clock.advance(29 * DAY + 3600)
    world.app.projections.mark_unprojected(None)
    again = {d.path.split("-")[0] for d in world.app.projections.lagging(world.clock(), 100)}
    assert again & {"jobs/book", "jobs/chapter", "jobs/embedding"} == {"jobs/book"}

    world.clock.advance(2 * DAY)
    world.app.reconcile()
    shown = {d.path.split("-")[0] for d in world.live_documents.all() if d.path.startswith("jobs/")}
    assert shown == {"jobs/book", "jobs/context", "jobs/completion"}
    assert count(world, "obsolete_documents") == 0


@pytest.mark.parametrize("when", ["the new version is split", "all documents are written anew"])
def test_no_document_of_an_older_versions_chapters_is_waited_for(world: World, when: str) -> None:
    world.live_documents.down = True
    for changed in ([], [1]):
        world.import_book(manuscript(chapters=3, changed=changed), google_doc_id="doc")
        world.deliver(world.take(JobType.BOOK_PROCESSING))
    if when == "all documents are written anew":
        world.app.projections.mark_unprojected(None)

    waiting = world.rows("SELECT version FROM processing_status WHERE projected_revision < revision")
    assert [r["version"] for r in waiting] == [2, 2, 2, 2]


@pytest.mark.parametrize("end", ["run", "cancel"])
def test_a_book_under_way_never_loses_a_job_that_is_still_to_be_done(world: World, end: str) -> None:
    other = finished_book(world)
    book_id = world.import_book(manuscript(chapters=4, words=90))
    for job_type in (JobType.BOOK_PROCESSING, CHAPTER, CHAPTER):
        world.deliver(world.take(job_type))
    jobs = world.rows(
        "SELECT job_id FROM jobs WHERE book_id = %s AND (type <> %s OR state = 'pending')", book_id, CHAPTER
    )
    assert len(jobs) == 5
    if end == "cancel":
        world.call("POST", f"/api/books/{book_id}/cancel")
    world.clock.advance(40 * DAY)
    more_jobs(world, other, 200)
    drop(world)
    assert [j for j in jobs if j in world.rows("SELECT job_id FROM jobs")] == jobs

    if end == "cancel":
        world.call("POST", f"/api/books/{book_id}/resume")
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.extractor.calls["chapter"] == 4 + 2


def test_a_job_that_is_begun_again_meanwhile_is_not_dropped(world: World) -> None:
    finished_book(world)
    world.clock.advance(40 * DAY)
    (job_id, *_) = [r["job_id"] for r in world.rows("SELECT job_id FROM jobs WHERE type = %s", CHAPTER)]
    with psycopg.connect(world.dsn) as connection:
        connection.execute("UPDATE jobs SET state = 'pending', finished_on = NULL WHERE job_id = %s", (job_id,))
        assert drop(world)["jobs"] == 2

    assert count(world, "jobs WHERE job_id = %s AND state = 'pending'", job_id) == 1


def test_a_late_message_of_a_dropped_job_is_acknowledged_and_changes_nothing(world: World) -> None:
    book_id = finished_book(world)
    old = [m for m in world.broker.published if m.topic in (CHAPTER, JobType.EMBEDDING_GENERATION)]
    world.clock.advance(31 * DAY)
    world.app.reconcile()
    before = world.status(book_id), world.rows("SELECT * FROM jobs ORDER BY job_id"), world.live_documents.all()
    calls = world.extractor.calls.total(), world.embedder.calls.total()

    assert {world.deliver(m) for m in old} == {204}
    dead = [Message(topic=JobType.DEAD_LETTER, data=m.data) for m in old]
    assert {world.deliver(m) for m in dead} == {204}
    assert (
        world.status(book_id),
        world.rows("SELECT * FROM jobs ORDER BY job_id"),
        world.live_documents.all(),
    ) == before
    assert (world.extractor.calls.total(), world.embedder.calls.total()) == calls
    assert not world.broker.waiting


def test_a_failed_chapter_is_retried_after_its_job_was_dropped(world: World) -> None:
    book_id, broken = failed_book(world)
    world.clock.advance(31 * DAY)
    world.app.reconcile()
    assert count(world, "jobs WHERE type = %s", CHAPTER) == 0

    broken.clear()
    assert len(world.call("POST", f"/api/books/{book_id}/retry").json["accepted"]) == 1
    world.run()
    world.app.reconcile()
    status = world.status(book_id)
    assert (status["status"], status["chapters"]["failed"]) == ("completed", 0)
    assert world.extractor.calls["chapter"] == 12
    shown = [d for d in world.live_documents.all() if d.path.startswith("jobs/chapter-")]
    assert [d.fields["state"] for d in shown] == ["completed"]


def test_a_book_is_imported_again_after_its_jobs_were_dropped_and_pays_for_changes_alone(world: World) -> None:
    book_id = finished_book(world, chapters=8, google_doc_id="doc")
    world.clock.advance(31 * DAY)
    world.app.reconcile()
    world.import_book(manuscript(chapters=8, changed=[3]), google_doc_id="doc")
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert world.extractor.calls["chapter"] == 9


def test_an_old_version_goes_after_a_week_with_all_that_hangs_on_it(world: World) -> None:
    book_id = finished_book(world, chapters=4, google_doc_id="doc")
    world.import_book(manuscript(chapters=3, words=90), google_doc_id="doc")
    world.run()
    world.clock.advance(6 * DAY)
    assert drop(world)["versions"] == 0
    world.clock.advance(2 * DAY)
    world.app.reconcile()

    for table in ("book_versions", "recent_chapters", "jobs", "book_contexts", "processing_status"):
        assert {r["version"] for r in world.rows(f"SELECT version FROM {table}")} == {2}, table
    assert {d.path for d in world.live_documents.all() if d.path.startswith("jobs/")} == {
        f"jobs/{r['job_id']}" for r in world.rows("SELECT job_id FROM jobs")
    }
    assert len(world.get(f"/api/books/{book_id}/chapters").json["chapters"]) == 3


def test_readers_keep_their_version_however_old_while_the_next_is_not_complete(world: World) -> None:
    book_id = finished_book(world, chapters=4, google_doc_id="doc")
    world.import_book(manuscript(chapters=3, words=90), google_doc_id="doc")
    world.clock.advance(60 * DAY)

    assert drop(world)["versions"] == 0
    assert len(world.get(f"/api/books/{book_id}/chapters").json["chapters"]) == 4


def test_the_version_that_readers_left_goes_when_they_see_another_however_long_they_had_it(world: World) -> None:
    finished_book(world, chapters=4, google_doc_id="doc")
    world.import_book(manuscript(chapters=3, words=90), google_doc_id="doc")
    world.clock.advance(60 * DAY)
    drop(world)
    world.run()
    world.clock.advance(3600)

    assert drop(world)["versions"] == 1
    assert {r["version"] for r in world.rows("SELECT version FROM book_versions")} == {2}


def test_a_letter_that_was_discarded_is_settled_when_its_version_goes(world: World) -> None:
    broken = FailingChapters(world, 3)
    world.import_book(manuscript(chapters=12, words=45), google_doc_id="doc")
    world.run()
    world.call("POST", "/api/dead-letters/discard", {"all": True, "reason": "as it should be"})
    broken.numbers.clear()
    world.import_book(manuscript(chapters=2), google_doc_id="doc")
    world.run()
    world.clock.advance(20 * DAY)
    assert drop(world)["versions"] == 1
    world.clock.advance(29 * DAY)
    assert drop(world)["dead_letters"] == 0

    world.clock.advance(2 * DAY)
    assert drop(world)["dead_letters"] == 1


def test_answers_of_models_go_after_thirty_days_and_what_they_made_stays(world: World) -> None:
    book_id = finished_book(world)
    made = world.rows("SELECT metadata FROM recent_chapters ORDER BY chapter_number")
    world.clock.advance(29 * DAY)
    assert drop(world)["answers"] == 0
    world.clock.advance(2 * DAY)

    assert drop(world)["answers"] == 4
    assert world.rows("SELECT metadata FROM recent_chapters ORDER BY chapter_number") == made
    assert count(world, "book_contexts WHERE book_id = %s", book_id) == 2


def test_versions_that_were_overtaken_before_they_were_complete_go_too(world: World) -> None:
    book_id = world.import_book(manuscript(1), google_doc_id="doc")
    for n in range(2, 6):
        world.import_book(manuscript(n), google_doc_id="doc")
    world.broker.waiting.clear()
    world.clock.advance(8 * 24 * 3600)

    assert drop(world)["versions"] == 4
    assert {r["version"] for r in world.rows("SELECT version FROM book_versions")} == {5}
    assert world.status(book_id)["version"] == 5


def test_chapters_that_go_while_a_new_version_reuses_them_are_made_anew(world: World) -> None:
    book_id = finished_book(world, chapters=4, google_doc_id="doc")
    world.import_book(manuscript(chapters=4, changed=[1]), google_doc_id="doc")
    message = world.take(JobType.BOOK_PROCESSING)
    library: Any = vars(world.app.push.runner.stages[JobType.BOOK_PROCESSING])["library"]
    reusable = library.reusable

    def reusable_and_gone(*arguments: Any) -> Any:
        library.reusable = reusable
        found = reusable(*arguments)
        execute(world, "DELETE FROM recent_chapters WHERE version = 1")
        return found

    library.reusable = reusable_and_gone
    assert world.deliver(message) == 429
    world.broker.waiting.append(message)
    world.clock.advance(60)
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert count(world, "recent_chapters WHERE version = 2 AND metadata IS NOT NULL") == 4


def test_a_settled_letter_goes_after_thirty_days_and_an_open_one_stays_with_its_book(world: World) -> None:
    _, broken = failed_book(world)
    world.clock.advance(89 * DAY)
    assert drop(world)["dead_letters"] == 0
    broken.clear()
    world.call("POST", "/api/dead-letters/redrive", {"all": True})
    world.clock.advance(2 * DAY)
    assert drop(world)["dead_letters"] == 0
    world.run()
    failed_book(world, 4)
    assert count(world, "dead_letters WHERE state = 'resolved'") == 1

    world.clock.advance(31 * DAY)
    assert drop(world)["dead_letters"] == 1
    assert [r["state"] for r in world.rows("SELECT state FROM dead_letters")] == ["open"]
    world.clock.advance(60 * DAY)
    assert drop(world)["dead_letters"] == 0
    assert count(world, "dead_letter_actions") == 0


def test_idempotency_keys_and_deliveries_are_kept_for_a_week(world: World) -> None:
    body = {"title": "Once", "content": manuscript(1)}
    world.post(body, Idempotency_Key="k1")
    world.run()
    world.clock.advance(6 * DAY)
    assert world.post(body, Idempotency_Key="k1").json["version"] == 1
    dropped = drop(world)
    assert (dropped["idempotency_keys"], dropped["deliveries"]) == (0, 0)

    world.clock.advance(2 * DAY)
    dropped = drop(world)
    assert (dropped["idempotency_keys"], dropped["deliveries"]) == (1, 6)
    assert world.post(body, Idempotency_Key="k1").status_code == 202


def test_tombstones_stay_for_fifteen_minutes_and_until_their_documents_are_gone(world: World) -> None:
    book_id = finished_book(world)
    late = world.live_documents.all()
    world.call("DELETE", f"/api/books/{book_id}")
    world.clock.advance(14 * 60)
    world.app.reconcile()
    tombstones = count(world, "obsolete_documents")
    assert tombstones >= len(late)

    world.live_documents.put(late)
    world.live_documents.down = True
    world.live_documents.delete = refuse  # type: ignore[method-assign, assignment]
    world.clock.advance(3600)
    with pytest.raises(Unavailable):
        world.app.reconcile()
    assert count(world, "obsolete_documents") == tombstones

    del world.live_documents.delete
    world.live_documents.down = False
    world.app.reconcile()
    world.app.reconcile()
    assert world.live_documents.all() == []
    assert count(world, "obsolete_documents") == 0


def test_a_run_is_bounded_and_the_next_ones_do_the_rest(world: World) -> None:
    book_id = overtaken_book(world)
    kept = STAGES[CHAPTER].completed_kept
    more_jobs(world, book_id, kept + 48)

    assert [drop(world, limit=2)["jobs"] for _ in range(4)] == [2 * SLICES, 2 * SLICES, 50 - 4 * SLICES, 0]
    assert count(world, "jobs WHERE type = %s AND version = 1", CHAPTER) == kept


def test_two_runs_at_once_drop_everything_once_and_nothing_else(world: World) -> None:
    book_id = overtaken_book(world)
    kept = STAGES[CHAPTER].completed_kept
    more_jobs(world, book_id, kept + 198)
    obsolete = count(world, "obsolete_documents")
    execute(world, "UPDATE deliveries SET at = at - interval '9 days'")
    deliveries = count(world, "deliveries")
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: drop(world, limit=10), range(40)))

    assert sum(r["jobs"] for r in runs) == 200
    assert sum(r["deliveries"] for r in runs) == deliveries
    assert max(r["jobs"] for r in runs) <= 10 * SLICES
    assert count(world, "jobs WHERE type = %s AND version = 1", CHAPTER) == kept
    assert count(world, "obsolete_documents") == 200 + obsolete


def refuse(*_: Any) -> None:
    raise Unavailable("the live documents are down")
