"""Requests that write go before jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra.local.precedence import Precedence
from tests.support.waiting import poll

PATIENCE = 60.0


class Held:
    """An application whose answers wait for `go`; `began` says which requests it has, in order."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.go = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.began.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/broken":
            raise RuntimeError("broken")
        self.go.wait(PATIENCE)
        return [b"done"]


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def pool(held: Held) -> Iterable[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made
        held.go.set()


def ask(precedence: Precedence, path: str, method: str = "POST") -> Any:
    return precedence({"REQUEST_METHOD": method, "PATH_INFO": path}, None)  # type: ignore[arg-type]


def wait_for(held: Held, count: int) -> None:
    for _ in poll(PATIENCE, f"{count} requests"):
        if len(held.began) >= count:
            return


def test_a_job_waits_until_a_request_that_writes_is_answered(held: Held, pool: ThreadPoolExecutor) -> None:
    precedence = Precedence(held)
    asked = pool.submit(ask, precedence, "/import")
    wait_for(held, 1)

    job = pool.submit(precedence.give_way, PATIENCE)
    held.go.set()
    job.result(PATIENCE)

    assert asked.result(PATIENCE) == [b"done"]


def test_a_job_begins_though_requests_never_end(held: Held, pool: ThreadPoolExecutor) -> None:
    precedence = Precedence(held)
    pool.submit(ask, precedence, "/import")
    wait_for(held, 1)

    precedence.give_way(0)

    assert not held.go.is_set()


def test_a_job_waits_for_no_request_that_reads(held: Held, pool: ThreadPoolExecutor) -> None:
    precedence = Precedence(held)
    pool.submit(ask, precedence, "/status", "GET")
    wait_for(held, 1)

    pool.submit(precedence.give_way, 10 * PATIENCE).result(PATIENCE)


def test_a_request_that_fails_holds_up_nothing(held: Held, pool: ThreadPoolExecutor) -> None:
    precedence = Precedence(held, at_once=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            ask(precedence, "/broken")

    pool.submit(precedence.give_way, 10 * PATIENCE).result(PATIENCE)


def test_requests_that_write_are_answered_a_few_at_once(held: Held, pool: ThreadPoolExecutor) -> None:
    precedence = Precedence(held, at_once=2)
    asked = [pool.submit(ask, precedence, f"/{n}") for n in range(5)]
    wait_for(held, 2)
    assert ask_while_full(precedence, pool, held) == 3, "a read passes by those that wait"

    held.go.set()

    assert [a.result(PATIENCE) for a in asked] == [[b"done"]] * 5


def ask_while_full(precedence: Precedence, pool: ThreadPoolExecutor, held: Held) -> int:
    """How many have begun once a request that reads has, too."""
    pool.submit(ask, precedence, "/status", "GET")
    wait_for(held, 3)
    return len(held.began)
