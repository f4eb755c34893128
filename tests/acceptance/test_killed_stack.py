"""A local stack that is killed, whole or in part: nothing is left running, and the work goes on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.command_line import bindery, call
from tests.support.dev_stack import SLOW_MODELS, address, dev
from tests.support.waiting import poll, wait_gone


@pytest.fixture(params=["embedded", "emulators"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "emulators":
        request.getfixturevalue("emulators")
    return str(request.param)


def import_sample(data: Path, sample: Path) -> str:
    return str(call(data, "import", str(sample))[0]["book_id"])


def assert_completed(data: Path, book: str) -> None:
    done = bindery(data, "watch", book)
    assert (done.returncode, "completed" in done.stdout) == (0, True), done.stderr + done.stdout


def wait_all_gone(processes: Sequence[psutil.Process]) -> None:
    wait_gone(*(p.pid for p in processes))


def wait_for_api(data: Path) -> None:
    """It may listen, and then start anew because its database does not yet."""
    url = address(data)["BINDERY_URL"]
    for _ in poll(60, f"the API at {url}"):
        with suppress(requests.ConnectionError):
            if requests.get(f"{url}/readyz", timeout=10).ok:
                return


def watchdogs(stack: psutil.Process) -> list[psutil.Process]:
    return [p for p in stack.children() if any(part.endswith("watchdog.py") for part in p.cmdline())]


def test_a_stack_that_is_killed_leaves_nothing_behind_and_the_next_one_carries_on(
    tmp_path: Path, backend: str, sample: Path
) -> None:
    """Killed alone; then its watchdogs alone, of which it starts new ones; then both."""
    with dev(tmp_path, backend, SLOW_MODELS) as stack:
        book = import_sample(tmp_path, sample)
        before = address(tmp_path)
        family = stack.children(recursive=True)
        stack.kill()
        wait_all_gone([stack, *family])
    (tmp_path / "stack.json").chmod(0o644)  # as a folder that was unpacked may have it

    with dev(tmp_path, backend, SLOW_MODELS) as stack:
        assert [name for name, value in address(tmp_path).items() if before[name] != value] == ["BINDERY_DATABASE_URL"]
        assert_completed(tmp_path, book)
        book = import_sample(tmp_path, sample)
        family = stack.children(recursive=True)
        for watchdog in watchdogs(stack):
            watchdog.kill()
        wait_all_gone(family)
        wait_for_api(tmp_path)

        assert_completed(tmp_path, book)
        if sys.platform == "linux":  # which alone tells a process that its parent died
            kill_with_watchdogs(stack)


def kill_with_watchdogs(stack: psutil.Process) -> None:
    family = stack.children(recursive=True)
    stack.suspend()  # lest it starts anew what ends
    for watchdog in watchdogs(stack):
        watchdog.kill()
    stack.kill()
    wait_all_gone([stack, *family])
