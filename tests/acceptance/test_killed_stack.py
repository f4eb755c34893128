"""A local stack that is killed, whole or in part: nothing is left running, and the work goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.local.processes import is_listening
from tests.support.chaos import SLOW_MODELS

DEADLINE = 30
START_SECONDS = 150
CLI = [sys.executable, "-m", "infra.cli.main"]


@pytest.fixture(params=["embedded", "emulators"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "emulators":
        request.getfixturevalue("emulators")
    return str(request.param)


@contextmanager
def dev(data: Path, backend: str) -> Iterator[psutil.Process]:
    """A `bindery dev`, once it is up."""
    command = [*CLI, "dev", "--json", "--backend", backend, "--data-dir", str(data)]
    with (data / "log").open("a") as log:
        # Slow fakes: what is killed is at work.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | SLOW_MODELS)
    assert process.stdout is not None
    too_late = threading.Timer(START_SECONDS, process.kill)
    too_late.start()
    with process, process.stdout as out:
        if not any(line.startswith("{") for line in out):
            pytest.fail(f"not up after {START_SECONDS} s at most: {(data / 'log').read_text()}")
        too_late.cancel()
        with (data / "log").open("a") as log:
            reader = subprocess.Popen(["cat"], stdin=out, stdout=log)  # else its pipe fills up
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)
            reader.wait(DEADLINE)


def bindery(data: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*CLI, *arguments, "--data-dir", str(data)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def import_sample(data: Path, sample: Path) -> str:
    return str(json.loads(bindery(data, "import", str(sample), "--json").splitlines()[0])["book_id"])


def wait_gone(processes: Sequence[psutil.Process]) -> None:
    """A zombie is gone: it awaits its parent, which may be a container's idle first process."""
    assert processes
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE)
    assert [p for p in alive if _runs(p)] == []


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_for_api(data: Path) -> None:
    url = json.loads((data / "stack.json").read_text())["environment"]["BINDERY_URL"]
    poll = threading.Event()
    for _ in range(2 * DEADLINE * 20):
        if is_listening(int(url.rpartition(":")[2])):
            return
        poll.wait(0.05)
    pytest.fail(f"{url} is still down")


def watchdogs(stack: psutil.Process) -> list[psutil.Process]:
    return [p for p in stack.children() if any(part.endswith("watchdog.py") for part in p.cmdline())]


def test_a_stack_that_is_killed_leaves_nothing_behind_and_the_next_one_carries_on(
    tmp_path: Path, backend: str, sample: Path
) -> None:
    """Killed alone, then with its watchdogs; then its watchdogs alone. Each time the next part is what carries on."""
    with dev(tmp_path, backend) as stack:
        book = import_sample(tmp_path, sample)
        family = stack.children(recursive=True)
        stack.kill()
        wait_gone([stack, *family])

    with dev(tmp_path, backend) as stack:
        assert "completed" in bindery(tmp_path, "watch", book)
        if sys.platform == "linux":  # which alone tells a process that its parent died
            kill_with_watchdogs(stack)

    with dev(tmp_path, backend) as stack:
        book = import_sample(tmp_path, sample)
        family = stack.children(recursive=True)
        for watchdog in watchdogs(stack):
            watchdog.kill()
        wait_gone(family)
        wait_for_api(tmp_path)

        assert "completed" in bindery(tmp_path, "watch", book)


def kill_with_watchdogs(stack: psutil.Process) -> None:
    family = stack.children(recursive=True)
    stack.suspend()  # lest it starts anew what ends
    for watchdog in watchdogs(stack):
        watchdog.kill()
    stack.kill()
    wait_gone([stack, *family])
