"""Rows of jobs, as commits write them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import DictRow, dict_row

from shared.adapters.postgres.job_rows import add_jobs
from shared.domain.books import BookVersion
from shared.domain.jobs import Job, process_chapters_job
from tests.support.world import World, manuscript

CHAPTERS = 50


class CountingConnection(psycopg.Connection[DictRow]):
    """Counts the statements that are sent."""

    count = 0

    def execute(self, *about: Any, **more: Any) -> Any:
        self.count += 1
        return super().execute(*about, **more)


def jobs_of(book_id: str) -> list[Job]:
    version = BookVersion(UUID(book_id), 1)
    return [process_chapters_job(version, [uuid4()]) for _ in range(CHAPTERS)]


def test_the_jobs_that_are_not_there_yet_are_written_by_one_statement_and_returned_in_order(world: World) -> None:
    jobs, now = jobs_of(world.import_book(manuscript(1))), world.clock()
    with CountingConnection.connect(world.dsn, row_factory=dict_row) as connection:
        assert add_jobs(connection, jobs[10:20], "another", now) == jobs[10:20]
        connection.count = 0
        added = add_jobs(connection, [*jobs[::-1], jobs[0]], "parent", now)

        assert connection.count == 1
        assert added == [*jobs[:19:-1], *jobs[9::-1]]
    rows = world.rows("SELECT job_id, data, max_attempts, created_by FROM jobs WHERE type = 'chapter-processing'")
    assert {r["job_id"]: r["data"] for r in rows} == {j.job_id: dict(j.data) for j in jobs}
    assert [r["created_by"] for r in rows].count("parent") == CHAPTERS - 10
    assert {r["max_attempts"] for r in rows} == {jobs[0].stage.attempts}


def test_no_jobs_are_no_statement(world: World) -> None:
    with CountingConnection.connect(world.dsn, row_factory=dict_row) as connection:
        assert add_jobs(connection, [], None, world.clock()) == []
        assert connection.count == 0
