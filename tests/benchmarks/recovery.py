"""Seconds until the work goes on after each part was killed while twenty books were under way, on the emulators.

Fake models take 0.2 s a question. Every book must end as in a run without faults, or this fails.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from infra.local.database import MIGRATIONS
from infra.local.emulator_stack import EmulatorStack
from infra.local.emulators import Missing, find_emulators
from infra.local.postgres import Postgres
from shared.adapters.postgres.migrations import migrate
from tests.support.chaos import (
    FUNCTIONS,
    folder,
    kill_all_below,
    kill_at,
    kill_function,
    kill_machine,
    kill_server,
    kill_worker,
)
from tests.support.dev_stack import SLOW_MODELS, address, dev
from tests.support.waiting import poll
from tests.support.workload import BOOKS, DEADLINE, UNFINISHED, Rows, Workload, environment, rows_without_faults
from tests.support.world import World, manuscript

HEAD = ["killed", "what is measured", "samples", "median s", "worst s"]
Row = list[Any]

# Those whose jobs take long enough to be met at work.
_LATEST = len(BOOKS) // 2
_INTERRUPTED = ("process_book", "extract_context", "process_chapter", "embed_chapters")

_WAITING = "SELECT job_id FROM jobs WHERE state IN ('pending', 'retrying') AND book_id = ANY(%s::uuid[])"
_TAKEN = """
    SELECT min(processed_on) AS first, max(processed_on) AS last, count(processed_on) AS n FROM jobs
    WHERE job_id = ANY(%s) AND processed_on > %s
"""
_NEXT = "SELECT min(finished_on) AS next FROM jobs WHERE book_id = ANY(%s::uuid[]) AND finished_on > %s"


def recovery(seed: int) -> list[Row]:
    """The rows of a table; the seed draws the moments."""
    expected, rng = _without_faults(), random.Random(seed)
    rows: list[Row] = []
    with _stack() as stack:
        rows.append(_row("nothing", "all books done", [_begin(stack, "undisturbed").wait()]))
        rows += _functions(stack, expected, rng)
        rows += _broker(stack, expected, rng, "Pub/Sub, all messages gone")
        rows.append(_documents(stack, expected))
        rows.append(_postgresql(stack, expected, rng))
    with _stack(publishes_again=False) as stack:
        rows += _broker(stack, expected, rng, "the same, found by `reconcile` alone, each minute as in the cloud")
        rows += _broker(stack, expected, rng, "the same, while a new book comes every four seconds", OneMore)
    return rows + _machine(expected, rng)


def _without_faults() -> Rows:
    with folder() as data, Postgres(data / "postgres") as server:
        migrate(server.dsn, MIGRATIONS)
        world = World(server.dsn, max_books_under_way=1000)
        try:
            return rows_without_faults(world)
        finally:
            world.close()


@contextmanager
def _stack(*, publishes_again: bool = True) -> Iterator[EmulatorStack]:
    found = find_emulators()
    if isinstance(found, Missing):
        raise SystemExit(found.reason)
    with environment(SLOW_MODELS), folder() as data:
        settings = {"models": SLOW_MODELS["BINDERY_MODELS"]}
        with closing(
            EmulatorStack(data, settings, lambda name, line: None, found, publishes_again=publishes_again)
        ) as made:
            yield made


def _begin(stack: EmulatorStack, key: str) -> Workload:
    workload = Workload(stack.environment, key)
    workload.begin()
    return workload


def _functions(stack: EmulatorStack, expected: Rows, rng: random.Random) -> list[Row]:
    """One kill at a time, while the function does a job: a sample is a job that this interrupted."""
    went_on: dict[str, list[float]] = {}
    for name, kill in itertools.product(_INTERRUPTED, (kill_function, kill_worker)):
        workload = _begin(stack, f"{name} {kill.__name__} {rng.random()}")
        at = _kill_at_work(workload, FUNCTIONS[name], rng.randrange(_LATEST), lambda: kill(stack.pid(name)))  # noqa: B023
        workload.wait()
        workload.check(expected)
        for job_type, again, _ in workload.taken_up_again([(at, FUNCTIONS[name])]):
            went_on.setdefault(job_type, []).append(again)
    every = [s for samples in went_on.values() for s in samples]
    rows = [_row(f"the function of {t}", "its job goes on", s) for t, s in sorted(went_on.items())]
    return [*rows, _row("functions, all together", "its job goes on", every)]


def _kill_at_work(workload: Workload, job_type: str, moment: int, kill: Callable[[], datetime]) -> datetime:
    for _ in poll(DEADLINE, f"a job of {job_type} under way"):
        counts = workload.counts()
        done = counts[job_type, "completed"]
        if done > _LATEST or (done >= moment and counts[job_type, "processing"]):
            return kill()
    raise AssertionError


class OneMore:
    """Imports a new book every four seconds, as often as it is called."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._numbers = itertools.count(1)
        self._next = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() >= self._next:
            self._next += 4
            title = f"{self._workload.key}, one more {next(self._numbers)}"
            self._workload.post(title, manuscript(chapters=3, words=240, name=title)).raise_for_status()

    def wait(self) -> None:
        for _ in poll(DEADLINE, "the books that came meanwhile"):
            if not self._workload.query(UNFINISHED):
                return


def _broker(
    stack: EmulatorStack, expected: Rows, rng: random.Random, what: str, others: type[OneMore] | None = None
) -> list[Row]:
    """Of the jobs that waited when all messages went; what was being worked on goes on by itself."""
    first, last, done = [], [], []
    for run in range(3):
        workload = _begin(stack, f"{what} {run}")
        (at, _), *_ = kill_at(rng, workload, lambda: kill_all_below(stack.pid("pubsub")), times=1)
        waiting = [r["job_id"] for r in workload.query(_WAITING, list(workload.books.values()))]
        meanwhile = others(workload) if others else None
        done.append(workload.wait(meanwhile or (lambda: None)))
        if meanwhile:
            meanwhile.wait()
        workload.check(expected)
        (taken,) = workload.query(_TAKEN, waiting, at)
        if taken["n"]:
            first.append((taken["first"] - at).total_seconds())
            last.append((taken["last"] - at).total_seconds())
    return [
        _row(what, "the first job whose message was lost goes on", first),
        _row(what, "the last one goes on", last),
        _row(what, "all books done", done),
    ]


def _documents(stack: EmulatorStack, expected: Rows) -> Row:
    """Killed when all is done, so that every document has to be written again."""
    workload = _begin(stack, "documents")
    workload.wait()
    workload.await_documents()
    samples = []
    for _ in range(3):
        at = kill_all_below(stack.pid("firestore"))
        workload.await_documents()
        samples.append(_since(at))
    workload.check(expected)
    return _row("Firestore, all documents gone", f"the {5 * len(BOOKS)} documents are back", samples)


def _postgresql(stack: EmulatorStack, expected: Rows, rng: random.Random) -> Row:
    workload = _begin(stack, "postgresql")
    samples = []

    def kill() -> datetime:
        at = kill_server(stack.pid("postgres"))
        samples.append(_until_a_job_ends(workload, at))
        return at

    kill_at(rng, workload, kill, times=3)
    workload.wait()
    workload.check(expected)
    return _row("PostgreSQL", "the next job ends", samples)


def _machine(expected: Rows, rng: random.Random) -> list[Row]:
    with folder() as data:
        with dev(data, "emulators", SLOW_MODELS) as first:
            workload = Workload(address(data), "machine")
            workload.begin()
            kill_at(rng, workload, lambda: kill_machine(first), times=1)
        at = datetime.now(UTC)
        with dev(data, "emulators", SLOW_MODELS):
            workload.environment = address(data)
            next_job = _until_a_job_ends(workload, at)
            workload.wait()
            done = _since(at)
            workload.check(expected)
    what = "everything, and started again"
    return [_row(what, "the next job ends", [next_job]), _row(what, "all books done", [done])]


def _until_a_job_ends(workload: Workload, at: datetime) -> float:
    for _ in poll(120, "a job's end"):
        try:
            (row,) = workload.query(_NEXT, list(workload.books.values()), at)
        except psycopg.OperationalError:
            continue
        if row["next"]:
            return float((row["next"] - at).total_seconds())
    raise AssertionError


def _since(at: datetime) -> float:
    return (datetime.now(UTC) - at).total_seconds()


def _row(killed: str, measured: str, samples: Sequence[float]) -> Row:
    if not samples:
        return [killed, measured, 0, "none", "none"]
    return [killed, measured, len(samples), statistics.median(samples), max(samples)]
