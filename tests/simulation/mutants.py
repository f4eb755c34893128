"""Deliberate bugs that the simulation on one connection finds, and the seed at which each was found last."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.adapters.postgres import (
    caches,
    claims,
    control,
    dead_letter_rows,
    imports,
    job_store,
    locks,
    permits,
    projections,
    redrive_queue,
    status_rows,
    vector_rows,
)
from shared.adapters.postgres.job_store import PostgresJobStore
from shared.domain import progress
from shared.pipeline.projector import Projector
from shared.pipeline.stages import process_book
from shared.pipeline.stages.model_answer_memo import ModelAnswerMemo
from shared.pipeline.stages.process_chapters import ProcessChapters
from tests.simulation.hunting import Mutants, changed, class_rewritten, rewritten, without

MUTANTS = Mutants()
mutant = MUTANTS.add


@mutant
def an_overtaken_attempt_writes_all_the_same() -> Iterator[None]:
    end = without(job_store.END_ATTEMPT_IF_TOKEN_IS_CURRENT, "AND lease = %(fencing_token)s")
    ask = without(job_store.IS_TOKEN_CURRENT, "AND j.lease = %s", "AND %s::uuid IS NOT NULL")
    with changed(job_store, "END_ATTEMPT_IF_TOKEN_IS_CURRENT", end):
        with changed(job_store, "IS_TOKEN_CURRENT", ask):
            yield


@mutant
def every_claim_succeeds() -> Iterator[None]:
    with changed(claims, "reason_against_claim", lambda row, now: None):
        yield


@mutant
def a_lease_never_ends() -> Iterator[None]:
    new = rewritten(
        claims.reason_against_claim,
        'state is Status.PROCESSING and row["is_leased"]',
        "state is Status.PROCESSING",
    )
    with changed(claims, "reason_against_claim", new):
        yield


@mutant
def a_retry_does_not_wait() -> Iterator[None]:
    new = rewritten(claims.reason_against_claim, 'row["next_attempt_at"] > now', "False")
    with changed(claims, "reason_against_claim", new):
        yield


@mutant
def nobody_publishes_again_what_was_lost() -> Iterator[None]:
    with changed(PostgresJobStore, "stalled", lambda self, now: []):
        yield


@mutant
def a_job_that_has_ended_keeps_its_permit() -> Iterator[None]:
    end = without(
        job_store.END_ATTEMPT_IF_TOKEN_IS_CURRENT,
        "permitted_at = CASE WHEN %(finished_on)s::timestamptz IS NULL THEN permitted_at END,",
    )
    with changed(job_store, "END_ATTEMPT_IF_TOKEN_IS_CURRENT", end):
        yield


@mutant
def an_older_version_goes_on_writing() -> Iterator[None]:
    lock = rewritten(locks.lock_book, ' and row["version"] == version.version', "")
    cancel = without(imports.CANCEL_JOBS_OF_OLDER_VERSIONS, "WHERE", "WHERE false AND")
    with changed(job_store, "lock_book", lock), changed(redrive_queue, "lock_book", lock):
        with changed(imports, "CANCEL_JOBS_OF_OLDER_VERSIONS", cancel):
            yield


@mutant
def fan_in_counts_before_the_result_is_written() -> Iterator[None]:
    write = "result_rows.write(result, connection, job, now)"
    source = without(textwrap.dedent(inspect.getsource(PostgresJobStore.commit)), write, "pass")
    last = "return committed"
    names: dict[str, Any] = {}
    exec(without(source, last, f"{write}; {last}"), job_store.__dict__, names)
    with changed(PostgresJobStore, "commit", names["commit"]):
        yield


@mutant
def a_book_is_complete_before_its_vectors_are() -> Iterator[None]:
    new = rewritten(progress.due_jobs, "and not counts.pending_vectors ", "")
    with changed(progress, "due_jobs", new):
        yield


@mutant
def chapters_are_reused_by_title() -> Iterator[None]:
    with class_rewritten(process_book.ProcessBook, "content_hash(content)", "content_hash(section.title)"):
        yield


@mutant
def vectors_are_not_kept() -> Iterator[None]:
    with changed(
        caches,
        "UPSERT_VECTORS",
        without(caches.UPSERT_VECTORS, "ORDER BY content_hash", "WHERE get_byte(content_hash, 0) %% 2 = 0"),
    ):
        yield


@mutant
def a_vector_counts_as_unused_though_a_chunk_has_it() -> Iterator[None]:
    """So retention drops it, and an author's next text pays for it again."""
    new = without(vector_rows.MARK_VECTORS_USED, "SET unused_since = NULL", "SET unused_since = v.unused_since")
    with changed(vector_rows, "MARK_VECTORS_USED", new):
        yield


@mutant
def an_equal_import_is_a_new_version() -> Iterator[None]:
    with changed(imports, "IS_SAME_AS_VERSION", without(imports.IS_SAME_AS_VERSION, "WHERE", "WHERE false AND")):
        yield


@mutant
def old_documents_overwrite_new_ones() -> Iterator[None]:
    new = rewritten(MemoryLiveDocuments.put, "known is None or known.revision < document.revision", "True")
    with changed(MemoryLiveDocuments, "put", new):
        yield


@mutant
def more_counts_as_shown_than_was() -> Iterator[None]:
    with changed(
        projections,
        "MARK_PROJECTED",
        without(
            projections.MARK_PROJECTED,
            "projected_revision, free.revision)",
            "projected_revision, 1000 + free.revision)",
        ),
    ):
        yield


@mutant
def a_document_counts_as_written_before_it_is() -> Iterator[None]:
    """So it is forgotten if the store is down."""
    put, mark = (
        "self.live_documents.put(documents)",
        "self._delete(self.projections.mark_projected(documents, book_id))",
    )
    with class_rewritten(Projector, f"{put}\n        {mark}", f"{mark}\n        {put}"):
        yield


@mutant
def answers_are_not_kept() -> Iterator[None]:
    new = without(caches.UPSERT_ANSWERS_UNLESS_BOOK_IS_GONE, "WHERE book_id", "WHERE false AND book_id")
    with changed(caches, "UPSERT_ANSWERS_UNLESS_BOOK_IS_GONE", new):
        yield


@mutant
def cancel_leaves_the_lease() -> Iterator[None]:
    new = without(control.CANCEL_JOBS_UNLESS_ENDED, "lease = NULL, lease_until = NULL, ")
    with changed(control, "CANCEL_JOBS_UNLESS_ENDED", new):
        yield


@mutant
def resume_forgets_what_was_cancelled() -> Iterator[None]:
    new = without(control.RESUME_JOBS_THAT_ARE_CANCELLED, "AND state = 'cancelled'", "AND state = 'retrying'")
    with changed(control, "RESUME_JOBS_THAT_ARE_CANCELLED", new):
        yield


@mutant
def delete_leaves_no_tombstones() -> Iterator[None]:
    with changed(control, "add_book_tombstones", lambda connection, book_id, now: None):
        yield


@mutant
def a_tombstone_deletes_newer_documents() -> Iterator[None]:
    new = rewritten(MemoryLiveDocuments.delete, "known and known.revision < tombstone.revision", "known")
    with changed(MemoryLiveDocuments, "delete", new):
        yield


@mutant
def what_was_written_late_is_not_deleted() -> Iterator[None]:
    with class_rewritten(Projector, "if obsolete:", "if False:"):
        yield


@mutant
def a_redrive_leaves_the_fan_in_as_it_was() -> Iterator[None]:
    new = without(redrive_queue.DELETE_FAN_IN_JOBS, "WHERE", "WHERE false AND")
    with changed(redrive_queue, "DELETE_FAN_IN_JOBS", new):
        yield


@mutant
def a_redrive_has_no_outcome() -> Iterator[None]:
    new = without(dead_letter_rows.FINISH_ACTION_THAT_WAS_SENT, "WHERE", "WHERE false AND")
    with changed(dead_letter_rows, "FINISH_ACTION_THAT_WAS_SENT", new):
        yield


@mutant
def a_cap_is_forgotten() -> Iterator[None]:
    new = without(permits.GIVE_PERMITS_THAT_ARE_FREE, "%(cap)s - count(*)", "%(cap)s")
    with changed(permits, "GIVE_PERMITS_THAT_ARE_FREE", new):
        yield


@mutant
def a_pause_never_ends() -> Iterator[None]:
    new = rewritten(permits.most_permits, "if now < breaker.retry_at:", "if True:")
    with changed(permits, "most_permits", new):
        yield


@mutant
def a_message_without_a_permit_begins_its_job() -> Iterator[None]:
    new = rewritten(claims.reason_against_claim, 'row["permitted_at"] is None', "False")
    with changed(claims, "reason_against_claim", new):
        yield


@mutant
def a_refusal_is_not_kept() -> Iterator[None]:
    """Or so that it is not found again."""
    with class_rewritten(ModelAnswerMemo, "{d: _kept", '{b"" if isinstance(answer, Blocked) else d: _kept'):
        yield


@mutant
def a_refusal_is_a_failure() -> Iterator[None]:
    with class_rewritten(ProcessChapters, " and not isinstance(e, Blocked)", ""):
        yield


@mutant
def what_a_chapter_lacks_is_waited_for() -> Iterator[None]:
    new = without(status_rows.COUNT_VERSION, "m.missing - l.lacking", "m.missing")
    with changed(status_rows, "COUNT_VERSION", new):
        yield


@mutant
def a_redrive_waits_for_no_metadata() -> Iterator[None]:
    new = without(status_rows.AWAIT_METADATA_OF_CHAPTERS_THAT_LACK_IT, "WHERE", "WHERE false AND")
    with changed(status_rows, "AWAIT_METADATA_OF_CHAPTERS_THAT_LACK_IT", new):
        yield


# The first seed at which each was found when it was looked for from 0 on. One that has moved costs time, no more.
FOUND_AT = {
    "an_overtaken_attempt_writes_all_the_same": 1,
    "every_claim_succeeds": 0,
    "a_lease_never_ends": 2,
    "a_retry_does_not_wait": 32,
    "nobody_publishes_again_what_was_lost": 0,
    "a_job_that_has_ended_keeps_its_permit": 0,
    "an_older_version_goes_on_writing": 55,
    "fan_in_counts_before_the_result_is_written": 0,
    "a_book_is_complete_before_its_vectors_are": 10,
    "chapters_are_reused_by_title": 0,
    "vectors_are_not_kept": 0,
    "a_vector_counts_as_unused_though_a_chunk_has_it": 0,
    "an_equal_import_is_a_new_version": 0,
    "old_documents_overwrite_new_ones": 0,
    "more_counts_as_shown_than_was": 22,
    "a_document_counts_as_written_before_it_is": 1,
    "answers_are_not_kept": 7,
    "cancel_leaves_the_lease": 1,
    "resume_forgets_what_was_cancelled": 0,
    "delete_leaves_no_tombstones": 1,
    "a_tombstone_deletes_newer_documents": 12,
    "what_was_written_late_is_not_deleted": 1,
    "a_redrive_leaves_the_fan_in_as_it_was": 12,
    "a_redrive_has_no_outcome": 12,
    "a_cap_is_forgotten": 0,
    "a_pause_never_ends": 2,
    "a_message_without_a_permit_begins_its_job": 7,
    "a_refusal_is_not_kept": 14,
    "a_refusal_is_a_failure": 5,
    "what_a_chapter_lacks_is_waited_for": 5,
    "a_redrive_waits_for_no_metadata": 12,
}
