"""What happened so far, as far as an invariant needs to know it: told of every transaction that committed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from tests.simulation import invariants, names
from tests.simulation.invariants import Broken
from tests.simulation.tasks import Task

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

# After these a job may begin at once that waited for its next attempt. A deleted book that is imported again with the
# same key has the same jobs.
_BEGIN_ANEW = (names.CANCEL, names.RESUME, names.SEND_REDRIVE, names.FAIL_UNDELIVERED, names.DROP_ROWS)
_ENDS = (names.COMMIT, names.SCHEDULE_RETRY, names.WAIT, names.FAIL)


class History:
    """`seen` is the version that readers saw last, `began` the revision at which each import of a book began."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._rows = sim.world.database.rows
        self.changed = False
        self.broken: Broken | None = None
        self.seen: dict[UUID, int] = {}
        self.began: dict[UUID, list[int]] = {}
        self._imports_before: dict[UUID, int] = {}
        self.deleted: set[UUID] = set()
        self.not_before: dict[str, datetime] = {}
        self._leases: dict[str, UUID] = {}
        self._redrives: dict[UUID, list[tuple[int, int]]] = {}

    def committed(self, task: Task, port: str) -> None:
        self._sim.ledger.committed(task, port)
        self.changed = self.changed or port.startswith(names.WRITE_WHAT_READERS_SEE)
        if port == names.CLAIM:
            self._claimed(task)
        elif port in (names.SCHEDULE_RETRY, names.WAIT):
            (row,) = self._rows("SELECT next_attempt_at FROM jobs WHERE job_id = %s", task.job_id)
            self.not_before[str(task.job_id)] = row["next_attempt_at"]
        elif port == names.GIVE_PERMITS:
            self._hold(lambda: invariants.no_more_hold_permits_than_may(self._sim))
        elif port == names.IMPORT:
            self._imported()
        elif port == names.DROP_ROWS:
            self._deleted()
        elif port == names.SEND_REDRIVE:
            self._redriven()
        if port in _BEGIN_ANEW:
            rows = self._rows("SELECT job_id, next_attempt_at FROM jobs WHERE state = 'retrying'")
            self.not_before = {r["job_id"]: r["next_attempt_at"] for r in rows}
        if port in _ENDS:
            self._hold(lambda: invariants.a_cancelled_book_stands_still(self._sim, task, "commits"))

    def version_of(self, book_id: UUID, revision: int) -> int:
        """Which import of the book a revision belongs to: revisions grow over imports."""
        return sum(revision >= began for began in self.began.get(book_id, ()))

    def was_redriven(self, book_id: UUID, revision: int, position: int) -> bool:
        """Whether something of the book was redriven after a document's revision, before that place of the history."""
        return any(revision < r and p <= position for r, p in self._redrives.get(book_id, ()))

    def _claimed(self, task: Task) -> None:
        rows = self._rows(
            """
            SELECT lease, lease_until, attempts, book_id, books.owner_uid, force, permitted_at
            FROM jobs JOIN book_versions USING (book_id, version) JOIN books USING (book_id)
            WHERE job_id = %s AND state = 'processing'""",
            task.job_id,
        )
        if not rows or self._leases.get(str(task.job_id)) == rows[0]["lease"]:
            return
        row = rows[0]
        self._leases[str(task.job_id)] = row["lease"]
        task.lease_until, task.highest = row["lease_until"], self._sim.clock()
        task.notes.update(book=row["book_id"], owner=row["owner_uid"], forced=row["force"], claimed=True)
        self._sim.note(f"attempt {row['attempts']}")
        self._hold(lambda: invariants.retries_wait(self._sim, str(task.job_id)))
        self._hold(lambda: invariants.who_works_holds_a_permit(task, row["permitted_at"]))
        self._hold(lambda: invariants.a_cancelled_book_stands_still(self._sim, task, "begins"))

    def _hold(self, check: Callable[[], None]) -> None:
        """Not raised from here: the task would take it for a fault of its own."""
        try:
            check()
        except Broken as error:
            self.broken = self.broken or error

    def _imported(self) -> None:
        for row in (
            self._rows("""
            SELECT entity_id, version, revision FROM processing_status WHERE entity_type = 'book' ORDER BY entity_id""")
        ):
            book_id = row["entity_id"]
            self.deleted.discard(book_id)
            self._sim.ledger.gone.discard(book_id)
            began = self.began.setdefault(book_id, [])
            if len(began) - self._imports_before.get(book_id, 0) < row["version"]:
                began.append(row["revision"])

    def _deleted(self) -> None:
        there = {r["book_id"] for r in self._rows("SELECT book_id FROM books")}
        rows = self._rows("SELECT owner_uid, content_hash FROM book_vectors")
        vectors = {(r["owner_uid"], bytes(r["content_hash"])) for r in rows}
        for book_id in self.began.keys() - there - self.deleted:
            self.deleted.add(book_id)
            self.seen.pop(book_id, None)
            self._imports_before[book_id] = len(self.began[book_id])
            self._sim.ledger.forget(book_id, vectors)

    def _redriven(self) -> None:
        (last,) = self._rows("SELECT last_value AS n FROM revisions")
        rows = self._rows("""
            SELECT book_id FROM processing_status WHERE entity_type = 'book' ORDER BY revision DESC LIMIT 1""")
        for row in rows:
            position = len(self._sim.world.live_documents.taken)
            self._redrives.setdefault(row["book_id"], []).append((last["n"], position))
