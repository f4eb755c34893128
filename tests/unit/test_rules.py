"""The small pure rules: stages, backoff, progress, packing, ranking, failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.books import BookVersion, Status
from shared.domain.breaker import LONGEST_PAUSE_SECONDS
from shared.domain.embeddings import ModelKey
from shared.domain.failures import describe
from shared.domain.packing import pack
from shared.domain.progress import VersionCounts, due_jobs, eta_seconds, measure
from shared.domain.ranking import Candidate, rank
from shared.domain.stages import (
    MAX_BACKOFF_SECONDS,
    STAGES,
    JobType,
    backoff_seconds,
    wait_seconds,
)

BOOK = uuid4()
DONE, FAILED = Status.COMPLETED, Status.FAILED


def test_the_stage_table_has_the_contracts_numbers() -> None:
    numbers = {
        t: (s.attempts, s.first_backoff_seconds, s.completed_kept, s.failed_kept, s.concurrency)
        for t, s in STAGES.items()
    }
    assert numbers[JobType.BOOK_PROCESSING] == (3, 5, 100, 500, 10)
    assert numbers[JobType.CONTEXT_EXTRACTION] == (3, 5, 100, 500, 10)
    assert numbers[JobType.CHAPTER_PROCESSING] == (3, 3, 100, 500, 10)
    assert numbers[JobType.EMBEDDING_GENERATION] == (5, 2, 200, 1000, 3)


@given(st.sampled_from(list(STAGES.values())), st.integers(1, 40), st.floats(0, 1, exclude_max=True))
def test_backoff_doubles_with_full_jitter_up_to_a_cap(stage, attempt: int, jitter: float) -> None:  # type: ignore[no-untyped-def]
    seconds = backoff_seconds(stage, attempt, jitter)
    ceiling = min(MAX_BACKOFF_SECONDS, stage.first_backoff_seconds * 2 ** (attempt - 1))
    assert seconds == ceiling * jitter


def test_a_service_that_is_away_is_given_as_long_again_within_bounds() -> None:
    stage = STAGES[JobType.CHAPTER_PROCESSING]
    assert wait_seconds(stage, 0.0, 1.0) == stage.first_backoff_seconds
    assert wait_seconds(stage, 30.0, 1.0) == 30.0
    assert wait_seconds(stage, 3_600.0, 1.0) == LONGEST_PAUSE_SECONDS


def counts(**more: object) -> VersionCounts:
    base: dict[str, object] = {
        "version": BookVersion(BOOK, 1),
        "total": 10,
        "pending_metadata": 10,
        "pending_vectors": 10,
    }
    return VersionCounts(**(base | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "percent"),
    [
        ({"steps": {"split": Status.PENDING}}, 0),
        ({"steps": {"split": DONE}}, 10),
        ({"steps": {"split": DONE, "quick": DONE}}, 25),
        ({"steps": {"split": DONE, "quick": DONE}, "pending_metadata": 5}, 35),
        ({"steps": {"split": DONE, "quick": DONE, "full": DONE}, "pending_metadata": 0}, 70),
        ({"steps": {"split": DONE, "quick": DONE, "full": DONE}, "pending_metadata": 0, "pending_vectors": 0}, 90),
        ({"steps": {"split": DONE, "completion": DONE}}, 100),
    ],
)
def test_progress_passes_the_old_milestones(more: dict[str, object], percent: int) -> None:
    assert measure(counts(**more), 0.1).percent == percent


def test_the_full_context_is_due_when_the_last_chapter_is_read() -> None:
    almost = counts(steps={"split": DONE}, pending_metadata=1)
    last = counts(steps={"split": DONE}, pending_metadata=0)

    assert due_jobs(almost, 0.1) == []
    assert [j.job_id for j in due_jobs(last, 0.1)] == [f"context-full-{BOOK}-v1"]


def test_completion_waits_for_both_the_full_context_and_every_vector() -> None:
    steps = {"split": DONE, "full": DONE}
    assert due_jobs(counts(steps=steps, pending_metadata=0, pending_vectors=1), 0.1) == []
    assert due_jobs(counts(steps={"split": DONE, "full": Status.PROCESSING}, pending_metadata=0), 0.1) == []
    (job,) = due_jobs(counts(steps=steps, pending_metadata=0, pending_vectors=0), 0.1)
    assert job.type is JobType.BOOK_COMPLETION


def test_a_failed_quick_context_does_not_fail_the_book() -> None:
    assert measure(counts(steps={"split": DONE, "quick": FAILED}), 0.1).status is Status.PROCESSING


@pytest.mark.parametrize(("failed", "status"), [(1, Status.PROCESSING), (2, FAILED), (10, FAILED)])
def test_a_book_fails_when_more_chapters_fail_than_are_tolerated(failed: int, status: Status) -> None:
    assert measure(counts(steps={"split": DONE}, failed=failed), 0.1).status is status


def test_a_book_whose_only_work_waits_for_a_retry_is_retrying() -> None:
    waiting = counts(steps={"split": DONE}, next_attempt_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert measure(waiting, 0.1).status is Status.RETRYING


def test_the_eta_grows_with_what_is_left() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert eta_seconds(50, start, start + timedelta(seconds=30)) == 30
    assert eta_seconds(5, start, start) is None
    assert eta_seconds(100, start, start) is None


@given(st.lists(st.integers(0, 50)), st.integers(1, 100), st.integers(1, 5))
def test_packing_keeps_order_limits_and_everything(weights: list[int], limit: int, most: int) -> None:
    groups = pack(list(enumerate(weights)), max_weight=limit, max_items=most)

    assert [i for g in groups for i in g] == list(range(len(weights)))
    assert all(0 < len(g) <= most for g in groups)
    assert all(len(g) == 1 or sum(weights[i] for i in g) <= limit for g in groups)


def candidate(n: int, similarity: float | None, text_rank: float, model: str = "m") -> Candidate:
    return Candidate(
        book_id=BOOK, book_title="B", chapter_id=BOOK, chapter_number=1, chapter_title="C", chunk_index=n,
        passage="p", start_offset=0, end_offset=1, model=ModelKey(name=model, version="1"), similarity=similarity,
        text_rank=text_rank,
    )  # fmt: skip


def test_ranking_weighs_words_against_meaning() -> None:
    found = [candidate(0, 0.9, 0.0), candidate(1, 0.1, 0.9), candidate(2, 0.1, 0.0)]

    assert rank(found, text_weight=0.0, k=1)[0].candidate.chunk_index == 0
    assert rank(found, text_weight=5.0, k=1)[0].candidate.chunk_index == 1
    assert rank([], text_weight=1.0, k=5) == []
    assert len(rank([candidate(0, 0.5, 0.5)], text_weight=1.0, k=5)) == 1


def test_the_nearest_of_each_model_are_ranked_alike_however_their_cosines_lie() -> None:
    found = [candidate(n, 0.9 + n / 100, 0.0, "high") for n in range(3)]
    found += [candidate(n + 3, 0.1 + n / 100, 0.0, "low") for n in range(3)]

    best = rank(found, text_weight=1.0, k=6)
    assert [{h.candidate.chunk_index for h in best[n : n + 2]} for n in (0, 2, 4)] == [{2, 5}, {1, 4}, {0, 3}]
    assert best[0].score == pytest.approx(best[1].score)


def test_a_passage_without_a_similarity_is_ranked_by_its_words_alone() -> None:
    found = [candidate(0, 0.9, 0.0), candidate(1, 0.1, 0.0), candidate(2, None, 0.5), candidate(3, None, 0.0)]

    assert [h.candidate.chunk_index for h in rank(found, text_weight=1.0, k=4)] == [2, 0, 3, 1]
    alone = [candidate(n, None, n / 10) for n in range(3)]
    assert [h.candidate.chunk_index for h in rank(alone, text_weight=1.5, k=2)] == [2, 1]


def raised(message: str) -> BaseException:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_a_fingerprint_ignores_ids_and_numbers_but_not_the_error() -> None:
    one = describe(raised("chapter 5b1ad3a2-6f0c-4e0e-9d0c-b1d0b1d0b1d0 at 17"))
    two = describe(raised("chapter 00000000-6f0c-4e0e-9d0c-b1d0b1d0b1d0 at 4"))

    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != describe(raised("something else")).fingerprint
    assert "ValueError" in one.traceback
    assert "traceback" not in one.summary
