"""Deliberate bugs, to see that the simulation has teeth: each is a small patch of the real code."""

from __future__ import annotations

import inspect
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.adapters.memory_statuses import MemoryStatusStore
from shared.adapters.postgres import caches, imports, jobs, projections, statuses
from shared.adapters.postgres.jobs import PostgresJobStore
from shared.domain import progress
from shared.pipeline import embed_chapters, process_book
from shared.ports import ClaimState
from tests.simulation.boundary import SimulatedDatabase
from tests.simulation.session import simulate


@dataclass(frozen=True, kw_only=True)
class Mutant:
    name: str
    patch: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Found:
    """`seed` is None if it was not found; `after` is how many seeds that took."""

    mutant: str
    seed: int | None
    after: int
    invariant: str
    seconds: float


MUTANTS: list[Mutant] = []


def mutant(patch: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    MUTANTS.append(Mutant(name=patch.__name__, patch=contextmanager(patch)))
    return patch


@contextmanager
def changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def without(text: str, part: str, instead: str = "") -> str:
    """The text with that part replaced. If it is not there any more, the mutant must be mended."""
    assert part in text, f"this mutant does not fit the code any more: {part!r} is not in it"
    return text.replace(part, instead)


def rewritten(function: Any, part: str, instead: str) -> Any:
    """The function with a part of its source replaced."""
    source = without(textwrap.dedent(inspect.getsource(function)), part, instead)
    names: dict[str, Any] = {}
    exec(
        compile(source, f"<mutant of {function.__qualname__}>", "exec"),
        sys.modules[function.__module__].__dict__,
        names,
    )
    return names[function.__name__]


@mutant
def an_overtaken_attempt_writes_all_the_same() -> Iterator[None]:
    with changed(jobs, "_END", without(jobs._END, "AND lease = %(lease)s")):
        yield


@mutant
def every_claim_succeeds() -> Iterator[None]:
    with changed(jobs, "_claimable", lambda row, now: ClaimState.CLAIMED):
        yield


@mutant
def a_lease_never_ends() -> Iterator[None]:
    new = rewritten(
        jobs._claimable, 'state is JobState.PROCESSING and row["lease_until"] > now', "state is JobState.PROCESSING"
    )
    with changed(jobs, "_claimable", new):
        yield


@mutant
def a_retry_does_not_wait() -> Iterator[None]:
    new = rewritten(jobs._claimable, 'row["next_attempt_at"] > now', "False")
    with changed(jobs, "_claimable", new):
        yield


@mutant
def reconcile_overlooks_what_was_never_published() -> Iterator[None]:
    with changed(jobs, "_STALLED", without(jobs._STALLED, "coalesce(published_at, created_at)", "published_at")):
        yield


@mutant
def nobody_publishes_children_again() -> Iterator[None]:
    with changed(PostgresJobStore, "children", lambda self, job_id: []):
        with changed(PostgresJobStore, "stalled", lambda self, now, limit: []):
            yield


@mutant
def a_stale_job_is_left_as_it_is() -> Iterator[None]:
    with changed(jobs, "_CANCEL", without(jobs._CANCEL, "WHERE", "WHERE false AND")):
        yield


@mutant
def an_older_version_goes_on_writing() -> Iterator[None]:
    new = rewritten(statuses.lock_book, ' and row["version"] == job.version', "")
    with changed(statuses, "lock_book", new):
        yield


@mutant
def fan_in_counts_before_the_result_is_written() -> Iterator[None]:
    write = "results.write(result, connection, job, now)"
    source = without(textwrap.dedent(inspect.getsource(PostgresJobStore.commit)), write, "pass")
    last = "return add_jobs(connection, due, job.job_id, now)"
    names: dict[str, Any] = {}
    exec(without(source, last, f"{write}; {last}"), jobs.__dict__, names)
    with changed(PostgresJobStore, "commit", names["commit"]):
        yield


@mutant
def a_book_is_complete_before_its_vectors_are() -> Iterator[None]:
    new = rewritten(progress.due_jobs, "and not snapshot.pending_vectors ", "")
    with changed(progress, "due_jobs", new):
        yield


@mutant
def chapters_are_reused_by_title() -> Iterator[None]:
    new = rewritten(process_book.ProcessBook._chapter, "content_hash(content)", "content_hash(section.title)")
    with changed(process_book.ProcessBook, "_chapter", new):
        yield


@mutant
def vectors_are_not_kept() -> Iterator[None]:
    with changed(
        caches,
        "_KEEP_VECTORS",
        without(caches._KEEP_VECTORS, "ORDER BY content_hash", "WHERE get_byte(content_hash, 0) %% 2 = 0"),
    ):
        yield


@mutant
def chapter_vectors_are_of_what_the_model_said() -> Iterator[None]:
    """Not of what the cache gives back: a repeated run comes to something slightly else."""
    new = rewritten(embed_chapters.EmbedChapters._compute, 'array("f", v).tolist()', "v")
    with changed(embed_chapters.EmbedChapters, "_compute", new):
        yield


@mutant
def an_equal_import_is_a_new_version() -> Iterator[None]:
    with changed(imports, "_SAME_AS_LATEST", without(imports._SAME_AS_LATEST, "WHERE", "WHERE false AND")):
        yield


@mutant
def old_documents_overwrite_new_ones() -> Iterator[None]:
    new = rewritten(MemoryStatusStore.put, "known is None or known.revision < document.revision", "True")
    with changed(MemoryStatusStore, "put", new):
        yield


@mutant
def more_counts_as_shown_than_was() -> Iterator[None]:
    with changed(
        projections,
        "_SETTLE_STATUSES",
        without(
            projections._SETTLE_STATUSES, "projected_revision, d.revision)", "projected_revision, 1000 + d.revision)"
        ),
    ):
        yield


def hunt(database: SimulatedDatabase, mutant: Mutant, limit: int) -> Found:
    """Runs seeds from 0 on until an invariant breaks."""
    began = time.monotonic()
    for seed in range(limit):
        report = simulate(database, seed, mutant.patch())
        if report.broken:
            invariant, seconds = report.broken.invariant, time.monotonic() - began
            return Found(mutant=mutant.name, seed=seed, after=seed + 1, invariant=invariant, seconds=seconds)
    return Found(mutant=mutant.name, seed=None, after=limit, invariant="", seconds=time.monotonic() - began)


def mutant_table(found: list[Found]) -> str:
    lines = ["| mutant | found at seed | after seeds | by | seconds |", "| --- | --- | --- | --- | --- |"]
    for f in found:
        seed = "not found" if f.seed is None else f.seed
        lines.append(f"| {f.mutant.replace('_', ' ')} | {seed} | {f.after} | {f.invariant} | {f.seconds:.1f} |")
    return "\n".join(lines)
