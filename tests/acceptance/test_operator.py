"""Everything of a completed novel is delivered again, by Google's own emulator: by time, and from a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.cli.client import Client
from infra.cli.operations import awaited
from infra.local.emulators import Emulators
from infra.local.stack import run_stack
from shared.domain.stages import STAGES, JobType
from tests.support.workload import environment
from tests.support.world import manuscript

# A novel's size: 60 chapters, 108,000 words.
CHAPTERS, WORDS = 60, 1800
REPLAYED = [t for t in STAGES if t is not JobType.DEAD_LETTER]

# What a replay must leave as it is, to the last bit: with each row's own transaction.
TABLES = ("books", "book_versions", "book_contexts", "recent_chapters", "chapter_chunks", "embedding_cache", "answers")
DIGEST = "SELECT count(*) AS n, md5(string_agg(t.xmin::text || t::text, ' ' ORDER BY t::text)) AS digest FROM {} t"


@pytest.fixture(scope="module")
def novel(emulators: Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, str, str]]:
    """A client of a stack that has made a novel, the stack's database, and the novel's id."""
    folder: Path = tmp_path_factory.mktemp("stack")
    with environment({}), run_stack(folder, "emulators", lambda name, line: None, models="fake") as stack:
        client = Client(url=stack.url, environment=stack.environment)
        client.post("/api/snapshots", {"name": "before"})
        body = {"title": "A Novel", "content": manuscript(CHAPTERS, WORDS)}
        book_id = client.post("/api/books/import", body)["book_id"]
        with client.listen(book_id) as listener:
            for path, fields in listener.follow(120):
                if path == f"books/{book_id}" and fields["status"] in ("completed", "failed"):
                    assert fields["status"] == "completed"
                    break
        yield client, stack.environment["BINDERY_DATABASE_URL"], book_id


def digests(dsn: str) -> dict[str, Any]:
    with psycopg.connect(dsn) as connection:
        return {table: connection.execute(DIGEST.format(table)).fetchone() for table in TABLES}


@pytest.mark.parametrize("source", [{"since": "2020-01-01T00:00:00Z"}, {"snapshot": "before"}])
def test_replaying_all_that_made_a_novel_calls_no_model_and_changes_no_row(
    novel: tuple[Client, str, str], source: dict[str, str]
) -> None:
    client, dsn, _ = novel
    before = digests(dsn)
    delivered = {}
    for stage in REPLAYED:
        begun = client.post("/api/replays", {"stage": stage, **source})
        receipt = awaited(client, begun)
        assert (receipt["stages_repeated"], receipt["model_calls"], receipt["rows_changed"]) == (0, 0, 0), stage
        delivered[stage] = receipt["messages_redelivered"]

    assert delivered[JobType.BOOK_PROCESSING] == 1
    assert delivered[JobType.CHAPTER_PROCESSING] >= CHAPTERS
    assert all(delivered.values())
    assert digests(dsn) == before


def test_a_replay_from_the_database_needs_nothing_of_the_broker(novel: tuple[Client, str, str]) -> None:
    client, dsn, book_id = novel
    before = digests(dsn)
    begun = client.post("/api/replays", {"stage": "chapter-processing", "book_id": book_id})
    receipt = awaited(client, begun)

    assert begun["expected"] == CHAPTERS
    assert receipt["messages_redelivered"] >= CHAPTERS
    assert (receipt["model_calls"], receipt["rows_changed"]) == (0, 0)
    assert digests(dsn) == before
