"""The rows as they have committed so far, and what must hold at each commit. No code of the product is asked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.simulation.invariants import Broken
from tests.simulation.real import rules
from tests.simulation.real.journal import Entry, Row
from tests.simulation.real.task import Task

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation

LEASE = timedelta(seconds=5)

# Readers' version is complete, but for what failed for good.
SELECT_READERS_OF_INCOMPLETE_VERSIONS = """
    SELECT b.book_id, b.current_version, r.chapter_number FROM books b
    JOIN book_versions v ON v.book_id = b.book_id AND v.version = b.current_version
    LEFT JOIN recent_chapters r ON r.book_id = b.book_id AND r.version = b.current_version
    LEFT JOIN processing_status s ON s.entity_type = 'chapter' AND s.entity_id = r.chapter_id
    WHERE b.current_version IS NOT NULL AND (
        v.completed_at IS NULL OR r.chapter_id IS NULL
        OR NOT EXISTS (SELECT 1 FROM book_contexts c WHERE c.book_id = b.book_id AND c.version = v.version
                       AND c.mode = 'full')
        OR r.embedding_vector IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM chapter_chunks k WHERE k.chapter_id = r.chapter_id)
        OR r.embedding_vector IS NULL AND NOT EXISTS (
            SELECT 1 FROM dead_letters d WHERE d.book_id = b.book_id AND d.payload->'chapter_ids' ? r.chapter_id::text))
    LIMIT 1
"""


# What of a history goes back with the rows.
_OF_ROWS = ("jobs", "books", "statuses", "_entered_by_import", "_turns", "_questions")


class History:
    """`jobs`, `books`, `statuses` mirror the tables by id. The first thing that is wrong is kept in `broken`."""

    def __init__(self, sim: RealSimulation) -> None:
        self._sim = sim
        self.jobs: dict[str, Row] = {}
        self.books: dict[str, Row] = {}
        self.statuses: dict[str, Row] = {}
        self.broken: Broken | None = None
        self._entered_by_import: set[str] = set()
        self._turns = rules.Turns()
        self._questions: dict[str, tuple[str, ...]] = {}

    def copy(self) -> dict[str, Any]:
        """All that it has taken so far, for `put_back`."""
        return {name: copy.deepcopy(getattr(self, name)) for name in _OF_ROWS}

    def put_back(self, those: dict[str, Any]) -> None:
        """The database is what it was then: readers may go back, and nothing is said to have changed."""
        vars(self).update(copy.deepcopy(those))

    def read(self, task: Task | None) -> None:
        """Take what has committed, and see whether it may be so."""
        entries = self._sim.journal.take()
        try:
            for entry in entries:
                _READERS[entry.table](self, entry, self._sim.task_of(entry.backend) or task)
            self._look_at(entries)
        except Broken as error:
            # Not raised from here: the task would take it for a fault of its own.
            self.broken = self.broken or error

    def _look_at(self, entries: Iterable[Entry]) -> None:
        """What must hold of all rows, once a transaction is in."""
        jobs = [e for e in entries if e.table == "jobs"]
        books = {e.row["book_id"] for e in entries if e.table in ("jobs", "processing_status")}
        if jobs:
            rules.caps_hold(self.jobs, self._sim.profile.caps)
            self._turns.given(self.jobs, [e.row for e in jobs if _is_given_a_permit(e)])
        for book_id in books:
            rules.book_goes_on(self.jobs, book_id, self.statuses.get(book_id))
        if any(e.table == "book_versions" for e in entries):
            self._limit_holds({e.row["book_id"] for e in entries if e.table == "book_versions"})
        if any(e.table == "books" for e in entries) or any(e.row["state"] == "completed" for e in jobs):
            for row in self._sim.watch.rows(SELECT_READERS_OF_INCOMPLETE_VERSIONS):
                raise Broken("readers see complete versions", f"{row}")

    def _limit_holds(self, imported: set[Any]) -> None:
        """As many as an owner may have, by imports: what is resumed or redriven may come on top."""
        for book_id in imported & self.books.keys():
            owner = self.books[book_id]["owner_uid"]
            under_way = [
                b
                for b, s in self.statuses.items()
                if s["status"] in rules.UNDER_WAY
                and b in self._entered_by_import
                and self.books[b]["owner_uid"] == owner
            ]
            if len(under_way) > self._sim.profile.most_books:
                raise Broken("an owner has a limit", f"{owner} has {len(under_way)} books under way")

    # What each table's rows tell.

    def note_job(self, entry: Entry, task: Task | None) -> None:
        before, after = entry.before, entry.after
        if after is None:
            self.jobs.pop(entry.row["job_id"], None)
            return
        self.jobs[after["job_id"]] = after
        if before is None:
            return
        if entry.became("lease") and after["lease"]:
            self._begins(before, after, task)
        elif before["state"] == "processing" and entry.became("state"):
            self._ends(before, after, task)
        allowed = 1 + self._sim.ledger.odd_errors[after["job_id"]]
        if after["attempts"] > allowed:
            what = f"{after['job_id']}: attempt {after['attempts']}, and {allowed - 1} unexpected errors"
            raise Broken("an outage is no attempt", what)

    def _begins(self, before: Row, after: Row, task: Task | None) -> None:
        now = after["lease_until"] - LEASE
        if before["state"] == "processing":
            self._sim.edge.count("lease taken that ran out")
        if before["state"] == "processing" and before["lease_until"] > now:
            what = (
                f"{task and task.name} takes {after['job_id']} at {now:%H:%M:%S}, leased until {before['lease_until']}"
            )
            raise Broken("a lease that is valid is not taken", what)
        if after["permitted_at"] is None:
            raise Broken("who works holds a permit", f"{after['job_id']}")
        if task is not None:
            task.notes["lease"] = after["lease"]

    def _ends(self, before: Row, after: Row, task: Task | None) -> None:
        by_token = task is not None and task.notes.get("lease") == before["lease"]
        by_others = after["state"] == "cancelled" or (
            after["state"] == "failed" and task and task.topic == "dead-letter"
        )
        if not by_token and not by_others:
            what = f"{task and task.name} writes that {after['job_id']} is {after['state']}; its lease is another's"
            raise Broken("who was overtaken writes nothing", what)

    def note_book(self, entry: Entry, task: Task | None) -> None:
        if entry.after is None:
            self.books.pop(entry.row["book_id"], None)
            return
        self.books[entry.row["book_id"]] = entry.after
        self._sim.ledger.owners[entry.row["book_id"]] = entry.row["owner_uid"]
        seen = (entry.before or {}).get("current_version") or 0
        if entry.became("current_version") and (entry.after["current_version"] or 0) < seen:
            raise Broken("readers never go back", f"{entry.row['book_id']}: v{seen}, then {entry.after}")

    def note_status(self, entry: Entry, task: Task | None) -> None:
        book_id, after = entry.row["book_id"], entry.after
        if after is None:
            self.statuses.pop(book_id, None)
            return
        before = entry.before or {}
        self.statuses[book_id] = after
        if entry.became("version"):
            self._entered_by_import.add(book_id)
        elif before.get("status") not in rules.UNDER_WAY and after["status"] in rules.UNDER_WAY:
            self._entered_by_import.discard(book_id)

    def note_version(self, entry: Entry, task: Task | None) -> None:
        """Only that it is there is of use, for `_look_at`."""

    def note_answer(self, entry: Entry, task: Task | None) -> None:
        question = f"{entry.row['book_id']} {entry.row['question']}"
        if entry.after is None:
            self._sim.ledger.kept.pop(self._questions.pop(question, ()), None)
        elif task is not None and "asked" in task.notes:
            self._questions[question] = key = task.notes.pop("asked")
            self._sim.ledger.kept[key] = self._sim.scheduler.steps

    def note_vector(self, entry: Entry, task: Task | None) -> None:
        key = (entry.row["book_id"], "embed", entry.row["hash"])
        if entry.after is None:
            self._sim.ledger.kept.pop(key, None)
        elif entry.before is None:
            self._sim.ledger.kept[key] = self._sim.scheduler.steps


def _is_given_a_permit(entry: Entry) -> bool:
    """Not one that asks a model again, and kept its permit meanwhile."""
    return entry.before is not None and not entry.before["permitted_at"] and entry.row["permitted_at"] is not None


_READERS: dict[str, Callable[[History, Entry, Task | None], None]] = {
    "jobs": History.note_job,
    "books": History.note_book,
    "processing_status": History.note_status,
    "book_versions": History.note_version,
    "answers": History.note_answer,
    "book_vectors": History.note_vector,
}
