"""Deliberate bugs that the simulation with real locks finds: the first ones the other can't see, by its design."""

from __future__ import annotations

from collections.abc import Iterator

from shared.adapters.postgres import claims, imports, locks, outages, permits, projections, restores, retention
from tests.simulation import mutants as fast
from tests.simulation.hunting import Mutants, changed, without

MUTANTS = Mutants()
mutant = MUTANTS.add

for _seen_by_both in (
    fast.an_overtaken_attempt_writes_all_the_same,
    fast.a_job_that_has_ended_keeps_its_permit,
    fast.a_pause_never_ends,
):
    mutant(_seen_by_both)


@mutant
def fan_in_does_not_wait_for_other_commits() -> Iterator[None]:
    """Of two commits at once, neither sees what the other has done, and nobody makes the next job."""
    with changed(locks, "LOCK_STATUS_OF_BOOK", without(locks.LOCK_STATUS_OF_BOOK, " FOR UPDATE OF s")):
        yield


@mutant
def a_claim_takes_what_has_changed_meanwhile() -> Iterator[None]:
    """So that a heartbeat may renew the lease just when another attempt takes it."""
    new = without(claims.LOCK_BOOK_AND_JOB_AS_IT_WAS, "AND j.lease_until IS NOT DISTINCT FROM %(lease_until)s")
    with changed(claims, "LOCK_BOOK_AND_JOB_AS_IT_WAS", new):
        yield


@mutant
def imports_of_an_owner_do_not_wait_for_each_other() -> Iterator[None]:
    """Two take the last place that an owner has."""
    with changed(imports, "LOCK_OWNER", "SELECT hashtextextended(%s, 1)"):
        yield


@mutant
def an_import_does_not_lock_its_book() -> Iterator[None]:
    """It is deleted in the middle."""
    with changed(imports, "LOCK_BOOK_OF_OWNER", without(locks.LOCK_BOOK_OF_OWNER, " FOR NO KEY UPDATE")):
        yield


@mutant
def a_lease_begins_by_the_clock_of_its_process() -> Iterator[None]:
    new = without(claims.START_ATTEMPT, "clock_timestamp()", "%(now)s::timestamptz")
    with changed(claims, "START_ATTEMPT", new):
        yield


@mutant
def nobody_notes_whose_turn_it_was() -> Iterator[None]:
    """So that it is always the first one's."""
    new = without(permits.GIVE_PERMITS_THAT_ARE_FREE, "FROM ordered ORDER BY turn DESC", "FROM ordered WHERE false")
    with changed(permits, "GIVE_PERMITS_THAT_ARE_FREE", new):
        yield


@mutant
def an_outage_counts_as_an_attempt() -> Iterator[None]:
    new = without(outages.UNDO_ATTEMPT_IF_TOKEN_IS_CURRENT, "attempts = attempts - 1,")
    with changed(outages, "UNDO_ATTEMPT_IF_TOKEN_IS_CURRENT", new):
        yield


@mutant
def a_restore_begins_no_epoch() -> Iterator[None]:
    """Revisions go on from where the backup was, below those that live documents have."""
    new = without(restores.BEGIN_EPOCH, "greatest(last_value + 1, %s)", "last_value + sign(%s::bigint)::bigint")
    with changed(restores, "BEGIN_EPOCH", new):
        yield


@mutant
def a_job_that_retention_drops_leaves_its_document() -> Iterator[None]:
    statement = retention.DROP_JOBS_OF_CHAPTERS_BY_AGE
    new = statement[: statement.index("INSERT INTO obsolete_documents")] + "SELECT job_id FROM dropped"
    with changed(retention, "DROP_JOBS_OF_CHAPTERS_BY_AGE", new):
        yield


@mutant
def the_states_of_chapters_are_those_of_the_oldest_version() -> Iterator[None]:
    newest = "SELECT max(version) FROM recent_chapters WHERE book_id = b.book_id"
    new = without(projections.SELECT_BOOKS_WITH_THEIR_COUNTS, newest, newest.replace("max", "min"))
    with changed(projections, "SELECT_BOOKS_WITH_THEIR_COUNTS", new):
        yield


# As in `mutants` beside this folder.
FOUND_AT = {
    "fan_in_does_not_wait_for_other_commits": 0,
    "a_claim_takes_what_has_changed_meanwhile": 5,
    "imports_of_an_owner_do_not_wait_for_each_other": 11,
    "an_import_does_not_lock_its_book": 19,
    "an_overtaken_attempt_writes_all_the_same": 4,
    "a_lease_begins_by_the_clock_of_its_process": 5,
    "a_job_that_has_ended_keeps_its_permit": 0,
    "nobody_notes_whose_turn_it_was": 12,
    "a_pause_never_ends": 8,
    "an_outage_counts_as_an_attempt": 3,
    "a_restore_begins_no_epoch": 29,
    "a_job_that_retention_drops_leaves_its_document": 0,
    "the_states_of_chapters_are_those_of_the_oldest_version": 8,
}
