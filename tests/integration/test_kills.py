"""Whatever is killed while books are under way, they end as if nothing had been.

All on Google's emulators, each function in processes of its own. Moments are drawn with a seed: BINDERY_SEED
repeats a run's.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from infra.local.emulator_stack import PROJECT, EmulatorStack
from infra.local.emulators import Emulators
from infra.local.stack import run_stack
from tests.support.chaos import (
    FUNCTIONS,
    KillSchedule,
    end,
    family,
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
from tests.support.workload import BOOKS, Rows, Workload, environment, rows_without_faults
from tests.support.world import World

SEED = int(os.environ.get("BINDERY_SEED") or random.SystemRandom().randrange(2**32))
TIMES = 2

# How many jobs are completed at the end: of the function's type, or of all if it does none.
TOTALS = {
    "api": len(BOOKS) // 2,
    "reconcile": 8 * len(BOOKS),
    "process_book": len(BOOKS),
    "extract_context": 2 * len(BOOKS),
    "process_chapter": len(BOOKS),
    "embed_chapters": len(BOOKS),
    "complete_book": len(BOOKS),
}


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    print(f"BINDERY_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="module")
def expected(lasting_world: World) -> Rows:
    return rows_without_faults(lasting_world)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stack's models note."""
    return tmp_path_factory.mktemp("models") / "answers"


@pytest.fixture(scope="module")
def stack(emulators: Emulators, expected: Rows, answers: Path) -> Iterator[EmulatorStack]:
    """Started after the run without faults, whose models need not be slow."""
    with (
        environment(SLOW_MODELS | {"BINDERY_FAKE_MODEL_ANSWERS": str(answers)}),
        folder() as data,
        run_stack(data, "emulators", lambda name, line: None) as made,
    ):
        assert isinstance(made, EmulatorStack)
        yield made


@pytest.fixture
def workload(stack: EmulatorStack, request: pytest.FixtureRequest, answers: Path) -> Workload:
    answers.unlink(missing_ok=True)
    made = Workload(stack.environment, request.node.name)
    made.begin()
    return made


def tell(kills: list[tuple[datetime, str]], seconds: float, workload: Workload) -> None:
    """For whoever looks at the run (pytest -rP)."""
    print(f"{len(kills)} kills; all books were done after {seconds:.1f} s")
    for job_type, again, done in workload.taken_up_again(kills):
        print(f"  {job_type}: went on after {again:.1f} s, done after {done:.1f} s")


def test_every_function_may_be_killed_again_and_again(
    stack: EmulatorStack, workload: Workload, expected: Rows, rng: random.Random, answers: Path
) -> None:
    schedule = KillSchedule(rng, TIMES, TOTALS)
    kills: list[tuple[datetime, str]] = []

    def kill_who_is_due() -> None:
        for name in schedule.due(workload.counts()):
            kill = rng.choice([kill_function, kill_function, kill_worker])
            kills.append((kill(stack.pid(name)), FUNCTIONS.get(name, "none")))

    seconds = workload.wait(meanwhile=kill_who_is_due)

    tell(kills, seconds, workload)
    assert len(kills) >= len(TOTALS), "there was little to survive"
    workload.check(expected)
    workload.check_paid(answers)


def test_the_broker_may_lose_every_message(
    stack: EmulatorStack, workload: Workload, expected: Rows, rng: random.Random, answers: Path
) -> None:
    kills = kill_at(rng, workload, lambda: kill_all_below(stack.pid("pubsub")), times=2)

    tell(kills, workload.wait(), workload)
    workload.check(expected)
    workload.check_paid(answers)


def test_the_live_documents_may_be_lost_and_are_written_again(
    stack: EmulatorStack, workload: Workload, expected: Rows, rng: random.Random, answers: Path
) -> None:
    kills = kill_at(rng, workload, lambda: kill_all_below(stack.pid("firestore")), times=2)

    tell(kills, workload.wait(), workload)
    workload.check(expected)
    workload.check_paid(answers)
    workload.await_documents()

    forget_documents(stack)
    assert workload.documents() != workload.projections()
    assert call(workload, "/api/projections")["books"] >= len(BOOKS)
    while call(workload, "/api/projections/next")["left"]:
        pass
    assert workload.documents() == workload.projections()


def test_postgresql_may_be_killed_in_any_way(
    stack: EmulatorStack, workload: Workload, expected: Rows, rng: random.Random
) -> None:
    ways = [kill_server, lambda pid: kill_session(pid, rng), restart_at_once]
    rng.shuffle(ways)

    kills = kill_at(rng, workload, lambda: ways.pop()(stack.pid("postgres")), times=len(ways))

    tell(kills, workload.wait(), workload)
    workload.check(expected)


def test_a_machine_that_dies_goes_on_where_it_was(
    emulators: Emulators, expected: Rows, rng: random.Random, tmp_path: Path
) -> None:
    models = SLOW_MODELS | {"BINDERY_FAKE_MODEL_ANSWERS": str(tmp_path / "answers")}
    with folder() as data:
        with dev(data, "emulators", models) as first:
            workload = Workload(address(data), "machine")
            workload.begin()
            kills = kill_at(rng, workload, lambda: kill_machine(first), times=1)
        with dev(data, "emulators", models):
            workload.environment = address(data)

            tell(kills, workload.wait(), workload)
            workload.check(expected)
            workload.check_paid(tmp_path / "answers")
            workload.await_documents()


def kill_session(watchdog: int, rng: random.Random) -> datetime:
    """Then PostgreSQL ends all sessions, and recovers."""
    for _ in poll(60, "somebody to connect to PostgreSQL"):
        if found := sessions(watchdog):
            end([rng.choice(found)])
            break
    return datetime.now(UTC)


def sessions(watchdog: int) -> list[psutil.Process]:
    found = []
    for process in family(watchdog)[2:]:
        with suppress(psutil.NoSuchProcess):  # it may end meanwhile
            if "127.0.0.1" in " ".join(process.cmdline()):
                found.append(process)
    return found


def restart_at_once(watchdog: int) -> datetime:
    """An immediate shutdown: no checkpoint, and recovery at the start."""
    end(family(watchdog)[1:2], signal.SIGQUIT)
    return datetime.now(UTC)


def forget_documents(stack: EmulatorStack) -> None:
    host = stack.environment["FIRESTORE_EMULATOR_HOST"]
    url = f"http://{host}/emulator/v1/projects/{PROJECT}/databases/(default)/documents"
    requests.delete(url, timeout=30).raise_for_status()


def call(workload: Workload, path: str) -> Any:
    reply = requests.post(f"{workload.environment['BINDERY_URL']}{path}", json={}, timeout=60)
    assert reply.ok, reply.text
    return reply.json()
