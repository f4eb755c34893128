"""What an operator does: replays of all that made a novel, dead letters from the first look to the last. On Google's emulators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.cli.client import Client
from infra.cli.operations import awaited
from infra.cli.watching import await_book
from infra.local.emulators import Emulators
from infra.local.stack import run_stack
from shared.domain.stages import JOB_TYPES, JobType
from tests.support.command_line import bindery, call
from tests.support.dev_stack import address
from tests.support.workload import environment
from tests.support.world import manuscript

POISON = "xyzzy"
# A novel's size: 60 chapters, 108,000 words.
CHAPTERS, WORDS = 60, 1800
# Each is asked about by a job of five.
JOBS = 12
REPLAYED = list(JOB_TYPES)

# What a replay must leave as it is, to the last bit: with each row's own transaction.
TABLES = ("books", "book_versions", "book_contexts", "recent_chapters", "chapter_chunks", "book_vectors", "answers")
DIGEST = "SELECT count(*) AS n, md5(string_agg(t.xmin::text || t::text, ' ' ORDER BY t::text)) AS digest FROM {} t"


@pytest.fixture(scope="module")
def data(emulators: Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a stack whose model rejects what is poisoned."""
    folder = tmp_path_factory.mktemp("stack")
    with (
        environment({"BINDERY_FAKE_MODEL_REJECTS": POISON}),
        run_stack(folder, "emulators", lambda name, line: None, models="fake"),
    ):
        yield folder


@pytest.fixture(scope="module")
def novel(data: Path) -> tuple[Client, str, str]:
    """A client of the stack, which has made a novel, the stack's database, and the novel's id."""
    variables = address(data)
    client = Client(url=variables["BINDERY_URL"], environment=variables)
    client.post("/api/snapshots", {"name": "before"})
    body = {"title": "A Novel", "content": manuscript(CHAPTERS, WORDS)}
    book_id = client.post("/api/books/import", body)["book_id"]
    assert await_book(client, book_id) == "completed"
    return client, variables["BINDERY_DATABASE_URL"], book_id


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
    assert delivered[JobType.CHAPTER_PROCESSING] >= JOBS
    assert all(delivered.values())
    assert digests(dsn) == before


def test_a_replay_from_the_database_needs_nothing_of_the_broker(novel: tuple[Client, str, str]) -> None:
    client, dsn, book_id = novel
    before = digests(dsn)
    begun = client.post("/api/replays", {"stage": "chapter-processing", "book_id": book_id})
    receipt = awaited(client, begun)

    assert begun["expected"] == JOBS
    assert receipt["messages_redelivered"] >= JOBS
    assert (receipt["model_calls"], receipt["rows_changed"]) == (0, 0)
    assert digests(dsn) == before


def test_a_dead_letter_is_found_looked_at_tried_again_and_given_up(data: Path) -> None:
    """With the command line alone."""
    (reply,) = call(data, "import", "-", "--title", "Poisoned", stdin=f"Chapter 1\n\nThe word was {POISON}.\n")
    book = reply["book_id"]
    assert bindery(data, "watch", book).returncode == 1

    (listed,) = call(data, "dead-letters", "list", "--book", book)
    letter, *_ = listed["dead_letters"]
    number = str(letter["dead_letter_id"])
    (groups,) = call(data, "dead-letters", "groups")
    (shown,) = call(data, "dead-letters", "show", number)
    assert letter["fingerprint"] in [g["fingerprint"] for g in groups["groups"]]
    assert (shown["technical"]["error_class"], len(shown["failures"])) == ("Rejected", 1)
    assert "the model can't read this" in shown["traceback"]
    assert "attempt 1" in bindery(data, "dead-letters", "show", number).stdout
    for_people = bindery(data, "dead-letters", "list", "--book", book).stdout
    assert letter["fingerprint"] in for_people, "a narrow terminal must not cut what is to be copied"

    (redriven,) = call(data, "retry", book)
    assert letter["dead_letter_id"] in redriven["accepted"]
    assert bindery(data, "watch", book).returncode == 1
    (batch,) = call(data, "dead-letters", "batch", redriven["batch_id"])
    assert (batch["waiting"], batch["failed"]) == (0, len(redriven["accepted"]))
    assert call(data, "dead-letters", "stop", redriven["batch_id"]) == [{"stopped": 0}]

    given_up = call(data, "dead-letters", "discard", "--book", book, "--reason", "nobody needs it")
    assert given_up == [{"discarded": len(listed["dead_letters"])}]
    assert call(data, "dead-letters", "list", "--book", book)[0]["dead_letters"] == []
