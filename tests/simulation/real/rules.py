"""What must hold of all jobs at once, whenever a transaction has committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from shared.domain.stages import JobType
from tests.simulation.invariants import Broken
from tests.simulation.real.journal import Row

Jobs = Mapping[str, Row]

UNDER_WAY = ("pending", "processing", "retrying", "waiting")
UNFINISHED = ("pending", "processing", "retrying")
# In a row, by others who hold more permits: so often an owner's job may just be locked.
PASSED_OVER_AT_MOST = 4


def caps_hold(jobs: Jobs, caps: Mapping[JobType, int]) -> None:
    held = Counter(j["type"] for j in jobs.values() if j["permitted_at"])
    at_work = Counter(j["type"] for j in jobs.values() if j["state"] == "processing")
    for name, cap in caps.items():
        if held[name] > cap or at_work[name] > cap:
            what = f"{held[name]} jobs of {name} hold permits, {at_work[name]} are worked on, {cap} may"
            raise Broken("a cap holds", what)


def book_goes_on(jobs: Jobs, book_id: str, status: Row | None) -> None:
    """Whoever ended the last job has made the next, in the same transaction: nobody has to find the book."""
    if status is None or status["status"] not in UNDER_WAY:
        return
    those = [j["state"] for j in jobs.values() if (j["book_id"], j["version"]) == (book_id, status["version"])]
    if not any(state in UNFINISHED for state in those):
        what = f"{book_id} v{status['version']} is {status['status']}; its jobs: {Counter(those)}"
        raise Broken("a book that is under way has a job", what)


class Turns:
    """One bound: who waits is not passed over again and again by those who hold more permits of the stage."""

    def __init__(self) -> None:
        self._passed_over: Counter[tuple[str, str]] = Counter()

    def given(self, jobs: Jobs, given: Sequence[Row]) -> None:
        """These were given permits in one transaction."""
        for kind, owner in sorted({(r["type"], r["owner_uid"]) for r in given}):
            self._passed_over[kind, owner] = 0
            of_stage = [j for j in jobs.values() if j["type"] == kind]
            held = Counter(j["owner_uid"] for j in of_stage if j["permitted_at"])
            for other in sorted({j["owner_uid"] for j in of_stage if _waits(j)} - {owner}):
                if held[other] >= held[owner]:
                    continue
                self._passed_over[kind, other] += 1
                if self._passed_over[kind, other] > PASSED_OVER_AT_MOST:
                    raise Broken("owners take turns", f"{other} waits for {kind}, and {owner} holds {held[owner]}")
        waiting = {(j["type"], j["owner_uid"]) for j in jobs.values() if _waits(j)}
        for key in self._passed_over.keys() - waiting:
            del self._passed_over[key]


def _waits(job: Row) -> bool:
    return job["permitted_at"] is None and job["state"] in ("pending", "retrying")
